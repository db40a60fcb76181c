"""What --api and the results call the protocols; importing it costs --help nothing."""

from __future__ import annotations

OLLAMA = "ollama"
OPENAI = "openai"
NAMES = (OLLAMA, OPENAI)
