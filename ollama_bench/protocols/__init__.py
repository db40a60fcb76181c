"""Ollama's NDJSON and OpenAI's server-sent events: bytes to chunks, no clock and no socket."""
