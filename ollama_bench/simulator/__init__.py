"""A stand-in model server with exact timing, and the powermetrics of the machine it pretends to be.

It speaks Ollama (NDJSON) and OpenAI (server-sent events), has slots, a queue and batching like the
real servers, and knows its own energy: GET /sim/state. Run `python -m ollama_bench.simulator`.
It imports no other part of this project, so it can be a witness of what the client reports.
"""
