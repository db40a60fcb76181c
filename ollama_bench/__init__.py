"""ollama-bench: how many people a local language model can serve, how fast, at what energy."""

__version__ = "1.1.0"
