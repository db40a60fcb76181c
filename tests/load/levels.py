"""Levels to fire in tests, and what an observer has seen of them."""

import time

from ollama_bench.load import attempt
from ollama_bench.load.load import Burst, Load
from ollama_bench.load.observer import Observer
from ollama_bench.load.request import Limits, Task
from ollama_bench.protocols.registry import PROTOCOLS

NEVER = Limits(stall_s=None)


class Seen(Observer):
    """Keeps what it is told."""

    def __init__(self):
        self.ready_numbers, self.begun_numbers, self.outcomes = [], [], []

    def ready(self, tasks):
        self.ready_numbers += [task.number for task in tasks]

    def begun(self, task):
        self.begun_numbers.append(task.number)

    def ended(self, outcome):
        self.outcomes.append(outcome)


class WatchedLoad(Load):
    """A level that keeps the outcomes of any load."""

    def run_watched(self):
        seen = Seen()
        self.run(seen)
        self.seen = sorted(
            seen.outcomes, key=lambda outcome: outcome.task.number
        )
        return self


def ask_model(url):
    """Return a source that asks a simulated model one question each."""
    ollama = PROTOCOLS["ollama"]

    def ask(number):
        body = ollama.build_body("deepseek-r1:7b", f"[{number}]")
        return Task(number, ollama, url + ollama.path, body)

    return ask


def fire_burst(
    sim_url,
    count=1,
    api_name="ollama",
    limits=NEVER,
    interrupt=None,
    headers=None,
    observer=None,
    **body,
):
    """Run a burst against a simulator."""
    protocol = PROTOCOLS[api_name]
    tasks = []
    for number in range(1, count + 1):
        question = protocol.build_body(
            "deepseek-r1:7b", f"[{number}] why?", **body
        )
        tasks.append(
            Task(
                number,
                protocol,
                sim_url + protocol.path,
                question,
                headers or {},
            )
        )
    level = Burst(tasks, limits, interrupt)
    level.run(observer)
    return level


def fire(
    url,
    workers,
    api_name="ollama",
    limits=NEVER,
    source=None,
    interrupt=None,
    **way,
):
    """Run a level against a URL."""
    protocol = PROTOCOLS[api_name]

    def ask(number):
        return Task(number, protocol, url, {"number": number})

    return WatchedLoad(
        source or ask, limits, workers, interrupt=interrupt, **way
    ).run_watched()


def slow_digest(monkeypatch, seconds):
    """Reading what a reply says takes so long."""
    real = attempt.read_stream

    def read_stream(*arguments):
        time.sleep(seconds)
        real(*arguments)

    monkeypatch.setattr(attempt, "read_stream", read_stream)
