"""What bench.py writes while it runs, and what a scrape says of it."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ollama_bench.prometheus.run_figures import RunFigures
from ollama_bench.storage.request_ids import make_request_id
from ollama_bench.storage.writer import Writer

S = 1_000_000_000
REPLY = {  # sent at 1 s, the first token after 0.5 s, 11 tokens in 1 s
    "status": "completed",
    "sent_ns": 1 * S,
    "first_text_ns": int(1.5 * S),
    "last_text_ns": int(2.5 * S),
    "ended_ns": 3 * S,
    "output_tokens": 11,
    "output_tokens_source": "words",
    "prompt_tokens": 20,
}


class Bench:
    """Writes a run's rows in the order of bench.py."""

    def __init__(self, path, model="tiny", host="http://127.0.0.1:11434"):
        self.path = str(path)
        self.writer = Writer(path)
        self.run = self.begin_run()
        self.target = self.writer.insert(
            "target",
            {
                "run_id": self.run,
                "host": host,
                "api": "openai",
                "model": model,
            },
        )
        self.level = self.begin_level(4, model)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.writer.close()

    def begin_run(self, source="bench"):
        row = {
            "source": source,
            "status": "running",
            "started_unix": time.time(),
            "arguments": "{}",
            "tool_version": "test",
        }
        return self.writer.insert("run", row)

    def begin_level(self, concurrency, model="tiny", run=None, **more):
        row = {
            "run_id": run or self.run,
            "model": model,
            "concurrency": concurrency,
            "load": "closed",
            "status": "running",
            **more,
        }
        return self.writer.insert("level", row)

    def begin(self, *numbers, **more):
        for number in numbers:
            self.add(number, **more)
        self.writer.flush()

    def add(self, number, level=None, target=True):
        level = level or self.level
        row = {
            "id": make_request_id(level, number),
            "level_id": level,
            "target_id": self.target if target else None,
            "number": number,
        }
        self.writer.add("request", row)

    def end(self, *numbers, **more):
        for number in numbers:
            self.change(number, **more)
        self.writer.flush()

    def change(self, number, level=None, **changes):
        row_id = make_request_id(level or self.level, number)
        self.writer.update("request", row_id, {**REPLY, **changes})

    def end_level(self, level=None):
        changes = {"status": "finished"}
        self.writer.update("level", level or self.level, changes)
        self.writer.flush()


class Shown:
    """Families as Prometheus gets them."""

    def __init__(self, collector):
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        self.text = generate_latest(registry).decode()
        self.samples = [
            sample
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        ]

    def values(self, name, /, **labels):
        """Return the values of the series with these labels."""
        return [
            sample.value
            for sample in self.samples
            if sample.name == name
            and labels.items() <= sample.labels.items()
        ]

    def value(self, name, /, **labels):
        (value,) = self.values(name, **labels)
        return value


class Scraped:
    """The figures of runs alone, as a collector."""

    def __init__(self, path):
        self.figures = RunFigures(path)

    def collect(self):
        return self.figures.make_families()

    def scrape(self):
        self.figures.update()
        return Shown(self)
