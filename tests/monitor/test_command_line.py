"""Command lines of Ollama and its runners."""

from __future__ import annotations

import os

import pytest

from ollama_bench.monitor.command_line import (
    is_ollama_server,
    is_runner,
    read_slots,
)


@pytest.mark.parametrize(
    "cmdline, expected",
    [
        (["ollama", "serve"], True),
        (["/usr/local/bin/ollama", "serve"], True),
        (["C:\\x\\ollama.exe", "serve"], os.name == "nt"),
        (["ollama.exe", "start"], True),
        (["ollama", "--verbose", "serve"], True),
        (["ollama", "run", "serve"], False),
        (["ollama", "runner", "--model", "x"], False),
        (["bash", "ollama", "serve"], False),
        (["ollama"], False),
        ([], False),
    ],
)
def test_serve_rule(cmdline, expected):
    assert is_ollama_server(cmdline) is expected


@pytest.mark.parametrize(
    "cmdline, expected",
    [
        (["llama-server", "--model", "blob", "--port", "2"], True),
        (["ollama", "runner", "--ollama-engine", "--model=blob"], True),
        (["VLLM::EngineCore"], True),
        (["VLLM::EngineCore_DP0"], True),
        (["VLLM::Worker_TP1"], True),
        (["VLLM::ApiServer_0"], False),
        (["python3", "-c", "import multiprocessing.spawn"], False),
        (["llama-server", "--list-devices"], False),
        (["ollama", "gpu-discover"], False),
        ([], False),
    ],
)
def test_runner_rule(cmdline, expected):
    assert is_runner(cmdline) is expected


@pytest.mark.parametrize(
    "cmdline, slots",
    [
        (["llama-server", "-np", "19", "--model", "x"], 19),
        (["ollama", "runner", "--parallel", "4"], 4),
        (["x", "--parallel=8"], 8),
        (["python3", "vllm", "serve", "m", "--max-num-seqs", "8"], 8),
        (["vllm", "serve", "m", "--max_num_seqs=16"], 16),
        (["vllm", "serve", "m", "--max-num-seqs", "auto"], None),
        (["x", "-np"], None),
        (["x", "-np", "many"], None),
        (["x", "-np", "0"], None),
        ([], None),
    ],
)
def test_slots_in_a_command_line(cmdline, slots):
    assert read_slots(cmdline) == slots
