"""The protocols there are, by the names that --api takes."""

from __future__ import annotations

from ollama_bench.protocols.ollama import Ollama
from ollama_bench.protocols.openai import OpenAI
from ollama_bench.protocols.protocol import ServerProtocol

PROTOCOLS: dict[str, ServerProtocol] = {
    protocol.name: protocol for protocol in (Ollama(), OpenAI())
}
