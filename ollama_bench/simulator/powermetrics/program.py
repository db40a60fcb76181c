"""The program: its command line, its loop, and the ways in which it can fail."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from typing import BinaryIO

from ollama_bench.simulator.powermetrics.documents import (
    CHIPS,
    Chip,
    format_plist,
    format_text,
    format_text_header,
)
from ollama_bench.simulator.powermetrics.samples import (
    PowerWindow,
    Sampler,
    StateSource,
)
from ollama_bench.simulator.settings import PROGRAM

USAGE_CODE = 64  # exit code of powermetrics for a wrong command line
SAMPLERS = frozenset(
    (
        "tasks",
        "battery",
        "network",
        "disk",
        "interrupts",
        "cpu_power",
        "gpu_power",
        "thermal",
    )
    + ("ane_power", "sfi", "all", "default")
)
FAULTS = (
    *(
        "no_root",
        "unrecognized",
        "silent",
        "stall",
        "die",
        "truncated",
        "zero_cpu",
        "split",
    ),
    "duplicate_idle",
)
SPLIT_S = 0.05  # between the parts of a split document


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    port: int
    chip: Chip
    fault: str  # empty is none
    fault_count: int  # the document that the fault is about, from 1
    samplers: tuple[str, ...]
    is_plist: bool
    interval_s: float
    count: int  # of documents; -1 is unlimited


def run(argv: list[str]) -> int:
    """Write documents to standard output as powermetrics does, until told to stop."""
    options = parse_args(argv)
    code = refuse(options)
    if code:
        return code
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with contextlib.closing(StateSource(options.port)) as source:
            Powermetrics(options, source, sys.stdout.buffer).run()
    except (BrokenPipeError, KeyboardInterrupt):
        # or Python reports an error at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def refuse(options: Options) -> int:
    """Print why the real one would refuse to run, and return its exit code; 0 if it would run."""
    if options.fault == "no_root":
        print(
            "powermetrics must be invoked as the superuser",
            file=sys.stderr,
        )
        return 1
    unknown = [name for name in options.samplers if name not in SAMPLERS]
    if options.fault == "unrecognized":
        unknown.append("gpu_power")
    if unknown:
        print(
            f"powermetrics: unrecognized sampler: {unknown[0]}",
            file=sys.stderr,
        )
        return USAGE_CODE
    return 0


def parse_args(argv: list[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} powermetrics",
        description="A stand-in for macOS' powermetrics.",
    )
    add = parser.add_argument
    add(
        "--port",
        type=int,
        default=11434,
        help="port of the simulator; idle when there is none",
    )
    add(
        "--chip",
        choices=CHIPS,
        default="small",
        help="small: M2 Pro; ultra: documents of 65 KB",
    )
    add(
        "--fault",
        default="",
        metavar="NAME[:N]",
        help=f"{', '.join(FAULTS)}; N: the document it is about",
    )
    add("--samplers", "-s", default="cpu_power,gpu_power,thermal")
    add("--format", "-f", choices=("text", "plist"), default="text")
    add("--buffer-size", "-b", type=int, default=0)
    add("--sample-rate", "-i", type=int, default=5000, metavar="MS")
    add("--sample-count", "-n", type=int, default=-1)
    try:
        args = parser.parse_args(argv)
        fault, _, number = args.fault.partition(":")
        if fault and fault not in FAULTS:
            parser.error(
                f"invalid --fault {fault!r}: expected {', '.join(FAULTS)}"
            )
    except SystemExit as end:
        raise SystemExit(USAGE_CODE if end.code else 0) from None
    return Options(
        port=args.port,
        chip=CHIPS[args.chip],
        fault=fault,
        fault_count=int(number or 1),
        samplers=tuple(args.samplers.split(",")),
        is_plist=args.format == "plist",
        interval_s=args.sample_rate / 1e3,
        count=args.sample_count,
    )


class Powermetrics:
    """One run: sample the simulator's state and write what changed."""

    def __init__(
        self, options: Options, source: StateSource, output: BinaryIO
    ) -> None:
        self._options = options
        self._output = output
        self._sampler = Sampler(source)

    def run(self) -> None:
        options, output = self._options, self._output
        if not options.is_plist:
            output.write(format_text_header(options.chip))
        for number in itertools.count():
            output.flush()
            if number == options.count:
                return
            if options.fault == "die" and number == options.fault_count:
                return
            time.sleep(options.interval_s)
            if options.fault == "silent":
                continue
            if options.fault == "stall" and number >= options.fault_count:
                continue
            self._write(self._format(self._take(), number), number)
            if self._is_truncated(number):
                return

    def _take(self) -> PowerWindow:
        sample = self._sampler.take()
        if self._options.fault == "zero_cpu":
            return dataclasses.replace(sample, cpu_mj=0)
        return sample

    def _format(self, sample: PowerWindow, number: int) -> bytes:
        options = self._options
        if options.is_plist:
            return format_plist(
                sample, options.chip, options.samplers, number
            )
        return format_text(sample, options.samplers)

    def _is_truncated(self, number: int) -> bool:
        options = self._options
        return (
            options.fault == "truncated"
            and number + 1 == options.fault_count
        )

    def _write(self, document: bytes, number: int) -> None:
        output, fault = self._output, self._options.fault
        if fault == "duplicate_idle":
            document = repeat_idle(document)
        if self._is_truncated(number):
            document = document[: len(document) // 2]
        if fault == "split":
            middle = document.find(b"_energy</key>") + 3
            output.write(document[:middle])
            output.flush()
            time.sleep(SPLIT_S)
            document = document[middle:]
        output.write(document)
        output.flush()


def repeat_idle(document: bytes) -> bytes:
    """Return a plist in which the GPU's idle keys come twice."""
    idle = re.search(
        rb"(?s)<key>gpu</key>.*?(<key>idle_ns</key>.*?</real>\n)", document
    )
    if idle is None:
        return document
    head, key, tail = document.rpartition(b"<key>gpu_energy</key>")
    return head + idle[1] + key + tail
