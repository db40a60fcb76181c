"""Rows, requests and a screen for the tests of the terminal."""

import io
import time
from types import SimpleNamespace

from rich.console import Console as RichConsole

from ollama_bench.terminal.screen import Console

ROW = {
    "concurrency": 19,
    "repeat": 1,
    "cache": "cold",
    "completed": 19,
    "requests": 19,
    "errors": 0,
    "ttft_mean_s": 0.328,
    "ttft_max_s": 0.33,
    "tokens_per_s_mean": 9.5,
    "output_tokens_per_s": 155.7,
    "requests_per_s": 2.66,
    "peak_streaming": 19,
    "duration_s": 7.2,
    "mean_w": 21.2,
    "mean_gpu_mhz": 1396.0,
    "joules_per_output_token": 0.1361,
    "client_limited": 0,
    "client_limited_why": None,
    "slept_s": 0.0,
    "gpu_power_w": None,
    "gpu_joules_per_output_token": None,
}


def exchange(number, sent=0, stamps=(), ended=None, cancelled=None):
    return SimpleNamespace(
        task=SimpleNamespace(number=number),
        sent_ns=sent,
        first_ns=stamps[0] if stamps else None,
        ended_ns=ended,
        cancelled=cancelled,
        reads=len(stamps),
        last_read_ns=stamps[-1] if stamps else None,
    )


def level(exchanges, planned=None):
    return SimpleNamespace(
        exchanges=exchanges,
        outcomes=[],
        is_burst=True,
        planned=planned or len(exchanges),
        workers=len(exchanges),
        started_ns=time.perf_counter_ns(),
        ended_ns=None,
        until_s=None,
        tally=SimpleNamespace(ended=0, tokens=0),
    )


def create_screen(height=14, width=80):
    """Return a live console that draws into a text."""
    made = Console()
    made._rich = RichConsole(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=height,
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    made.live = True
    return made
