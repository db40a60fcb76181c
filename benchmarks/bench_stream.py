"""Times the parsing of a usual piece of a streamed answer: one line or one event.

python benchmarks/bench_stream.py    # microseconds per piece, best of nine rounds
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ollama_bench.protocols.ollama_stream import OllamaStream  # noqa: E402
from ollama_bench.protocols.openai_stream import OpenAIStream  # noqa: E402

PIECES, ROUNDS = 20_000, 9
OLLAMA = (
    b'{"model":"deepseek-r1:7b","created_at":"2026-11-22T21:57:26.639004913Z",'
    b'%s,"done":false}\n'
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
    ("Ollama, answer", OllamaStream, OLLAMA % b'"response":" indefinite"'),
    (
        "Ollama, thinking",
        OllamaStream,
        OLLAMA % b'"response":"","thinking":" indefinite"',
    ),
    (
        "Ollama, not ASCII",
        OllamaStream,
        OLLAMA % '"response":" déjà"'.encode(),
    ),
    (
        "llama-server, answer",
        OpenAIStream,
        LLAMA_SERVER % b'"content":" indefinite"',
    ),
    (
        "llama-server, reasoning",
        OpenAIStream,
        LLAMA_SERVER % b'"reasoning_content":" indefinite"',
    ),
    ("vLLM, answer", OpenAIStream, VLLM % b'"content":" indefinite"'),
]


def microseconds(kind, piece: bytes) -> float:
    """Return the time per piece in the best round."""
    rounds = []
    for _ in range(ROUNDS):
        feed = kind().feed
        pieces = [piece] * PIECES
        started = time.perf_counter()
        for data in pieces:
            feed(data)
        rounds.append(time.perf_counter() - started)
    return min(rounds) / PIECES * 1e6


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="bench_stream.py",
        description="time the parsing of a usual piece of a streamed answer",
    ).parse_args()
    for name, kind, piece in USUAL:
        print(f"{name:24}{microseconds(kind, piece):6.2f} us")
