"""bench_stream.py - how long api.py's streams take for a usual piece of an answer, one line or event.

python benchmarks/bench_stream.py         # best of nine rounds, in microseconds a piece
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ollama_bench.protocols import api  # noqa: E402

PIECES, ROUNDS = 20_000, 9
OLLAMA = (
    b'{"model":"deepseek-r1:7b","created_at":"2026-11-22T21:57:26.639004913Z",%s,"done":false}\n'
)
LLAMA_SERVER = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{%s}}],"created":1795384568,'
    b'"id":"chatcmpl-iwFaP1CwYBCHiaLLutpiqbTaG4QCpEbt","model":"mid.gguf",'
    b'"system_fingerprint":"b1-0c1e570","object":"chat.completion.chunk"}\n\n'
)
VLLM = (
    b'data: {"id":"chatcmpl-7a1f","object":"chat.completion.chunk","created":1795384568,'
    b'"model":"Qwen/Qwen3-8B","choices":[{"index":0,"delta":{%s},"logprobs":null,'
    b'"finish_reason":null,"token_ids":null}]}\n\n'
)
USUAL = [
    ("Ollama, answer", api.OllamaStream, OLLAMA % b'"response":" indefinite"'),
    ("Ollama, thinking", api.OllamaStream, OLLAMA % b'"response":"","thinking":" indefinite"'),
    ("Ollama, not ASCII", api.OllamaStream, OLLAMA % '"response":" déjà"'.encode()),
    ("llama-server, answer", api.OpenAIStream, LLAMA_SERVER % b'"content":" indefinite"'),
    (
        "llama-server, reasoning",
        api.OpenAIStream,
        LLAMA_SERVER % b'"reasoning_content":" indefinite"',
    ),
    ("vLLM, answer", api.OpenAIStream, VLLM % b'"content":" indefinite"'),
]


def microseconds(kind, piece: bytes) -> float:
    """The time of one piece in the best round."""
    rounds = []
    for _ in range(ROUNDS):
        feed = kind().feed
        pieces = [piece] * PIECES
        began = time.perf_counter()
        for data in pieces:
            feed(data)
        rounds.append(time.perf_counter() - began)
    return min(rounds) / PIECES * 1e6


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="bench_stream.py", description="how long a usual piece of an answer takes to parse"
    ).parse_args()
    for name, kind, piece in USUAL:
        print(f"{name:24}{microseconds(kind, piece):6.2f} us")
