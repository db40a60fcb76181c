"""How much memory a slot's context takes, from a model's geometry as /api/show tells it."""

from __future__ import annotations

from ollama_bench.protocols.json_values import JsonObject, read_count

# of a cache in F16, the default
BYTES_PER_VALUE = 2
MOST_LAYERS = (
    10_000  # no model has more; a made-up number must not fill the memory
)
# of models that attend to a window only in most layers: every n-th attends to all (llama.cpp)
WINDOW_PATTERNS = {
    "gemma2": 2,
    "gemma3": 6,
    "gptoss": 2,
    "gpt-oss": 2,
    "cohere2": 4,
}


def estimate_slot_bytes(
    model_info: JsonObject, context_tokens: int | None
) -> int | None:
    """Return the memory of one context in F16; None where the geometry is not told.

    Where the pattern of sliding windows is unknown each layer counts in full: it is the most.
    """
    architecture = model_info.get("general.architecture")

    def read(name: str) -> int | None:
        return read_count(model_info.get(f"{architecture}.{name}"))

    layers, heads = read("block_count"), read("attention.head_count")
    width = read("embedding_length")
    head = width // heads if width and heads else None
    key = read("attention.key_length") or head
    value = read("attention.value_length") or head
    if not (layers and key and value and context_tokens):
        return None
    if layers > MOST_LAYERS:
        return None
    kv_heads = model_info.get(f"{architecture}.attention.head_count_kv")
    by_layer = read_layers(kv_heads, layers, heads)
    if by_layer is None:
        return None
    window = read("attention.sliding_window")
    every = read("attention.sliding_window_pattern")
    every = every or WINDOW_PATTERNS.get(str(architecture), 1)
    tokens = [
        min(context_tokens, window)
        if window and (place + 1) % every
        else context_tokens
        for place in range(layers)
    ]
    values = sum(
        count * kept for count, kept in zip(by_layer, tokens, strict=True)
    )
    return read_count(values * (key + value) * BYTES_PER_VALUE)


def read_layers(
    kv_heads: object, layers: int, heads: int | None
) -> list[int] | None:
    """Return the heads of the cache in each layer: one number for all, or a list."""
    if isinstance(kv_heads, list):
        counts = [read_count(count) for count in kv_heads]
        known = [count for count in counts if count is not None]
        return known if len(known) == layers else None
    count = read_count(kv_heads) or heads
    return [count] * layers if count else None
