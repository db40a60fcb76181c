"""What a stream yields: chunks of text, then a summary.

A chunk is reported as one byte, ``ANSWER`` or ``REASONING``, because the parser runs once per
token: bytes are concatenated, counted and stored faster than any object. The text itself is kept
in the stream.
"""

from __future__ import annotations

from dataclasses import dataclass

ANSWER = b"\0"
REASONING = b"\1"


@dataclass
class StreamSummary:
    """What the server reported by the end of a stream; None where it reported nothing."""

    done: bool = False
    done_reason: str | None = None
    model: str | None = None  # that the server says has answered
    error: str | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    # speculative decoding: tokens that a draft proposed, and those kept
    draft_tokens: int | None = None
    draft_accepted_tokens: int | None = None
    server_total_ns: int | None = None
    server_load_ns: int | None = None
    server_prefill_ns: int | None = None
    server_decode_ns: int | None = None
    error_is_from_server: bool = (
        False  # False: we describe a broken stream
    )

    def record_broken_stream(self, description: str) -> None:
        """Note what is wrong with the stream itself, unless an error is already known."""
        self.error = self.error or description
