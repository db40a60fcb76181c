"""Levels as lines of Go's benchmark format, as Ollama's own cmd/bench prints them.

    DIR/benchstat/<model>.txt    then: benchstat old/benchstat/m.txt new/benchstat/m.txt

One set of lines for each completed request, under a line `concurrency: N`: benchstat makes a table
of each level. Prefill, load and total are the server's own clock and stand only where it tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlite_utils import Database

from ollama_bench import __version__
from ollama_bench.analysis.study import Row, Study
from ollama_bench.formats.level_data import LevelData, read_levels
from ollama_bench.formats.own_files import write_own

FOLDER = "benchstat"
MARK = "# ollama-bench "
NS_PER_S = 1e9


def write(database: Database, studies: Iterable[Study], top: Path) -> int:
    """Write a file for each model and return how many there are. Raises OutputError, OSError."""
    count = 0
    for study in studies:
        lines = [MARK + __version__]
        if study.simulated:
            lines.append("# simulated: not a measurement of a machine")
        if study.targets:
            lines.append(write_model_line(study.targets[0]))
        for data in read_levels(database, study):
            lines += write_level(data)
        path = top / FOLDER / f"{study.folder}.txt"
        write_own(path, "\n".join(lines) + "\n", top, MARK)
        count += 1
    return count


def write_model_line(target: Row) -> str:
    """Return the comment with which cmd/bench begins a model."""
    params, quant, family = (
        target[name] or "unknown"
        for name in ("parameter_size", "quantization", "family")
    )
    line = (
        f"# Model: {one_word(target['model'])} | Params: {one_word(params)} | "
        f"Quant: {one_word(quant)} | Family: {one_word(family)}"
    )
    if target["size_bytes"]:
        vram = target["vram_bytes"] or 0
        line += f" | Size: {target['size_bytes']} | VRAM: {vram}"
    if target["context_tokens"]:
        line += f" | NumCtx: {target['context_tokens']}"
    return line


def one_word(text: object) -> str:
    """Return a text without blanks and line ends, which would end it in a line of benchmarks."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", "_", str(text))


def write_level(data: LevelData) -> Iterator[str]:
    """Yield the lines of a level: of each request, then of the level as a whole."""
    level, model = data.level, one_word(data.study.model)
    yield f"concurrency: {level['concurrency']}"
    if lengths := level["prompt_mix"] or level["asked_prompt_tokens"]:
        yield f"prompt-tokens: {lengths}"
    for request in data.completed:
        for step, figures in list_steps(request):
            yield f"BenchmarkModel/name={model}/step={step} 1 {figures}"
    figures = " ".join(
        f"{level[column]:.4f} {unit}"
        for column, unit in (
            ("output_tokens_per_s", "token/sec"),
            ("joules_per_output_token", "J/token"),
        )
        if level[column] is not None
    )
    if figures:
        yield f"BenchmarkLevel/name={model} 1 {figures}"


def list_steps(request: Row) -> Iterator[tuple[str, str]]:
    """Yield the steps of a request that are known, in the order of cmd/bench."""
    yield from write_tokens(
        "prefill", request["prompt_tokens"], request["server_prefill_ns"]
    )
    decode = request["output_tokens"], request["server_decode_ns"]
    if decode[1] is not None:
        yield from write_tokens("generate", *decode)
    elif request["stream_tpot_s"] is not None:
        tpot_ns = request["stream_tpot_s"] * NS_PER_S
        yield from write_tokens("generate", 1, tpot_ns)
    if request["ttft_s"] is not None:
        yield "ttft", f"{round(request['ttft_s'] * NS_PER_S)} ns/op"
    for step in ("load", "total"):
        if request[f"server_{step}_ns"] is not None:
            yield step, f"{request[f'server_{step}_ns']} ns/op"


def write_tokens(
    step: str, tokens: int | None, duration_ns: float | None
) -> Iterator[tuple[str, str]]:
    """Yield a step that makes tokens, where both are known."""
    if tokens and duration_ns:
        each = duration_ns / tokens
        yield step, f"{each:.2f} ns/token {NS_PER_S / each:.2f} token/sec"
