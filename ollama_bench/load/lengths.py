"""Tells from the server's own counts whether a prompt or a reply was cut."""

from __future__ import annotations

from dataclasses import dataclass

from ollama_bench.protocols.chunks import StreamSummary

# A made-up prompt is within 3 % of its length, and no text has fewer tokens than words.
CUT_BELOW_RATIO = 0.9
# some servers count the token that ends a reply, some do not
COUNT_SLACK = 1


@dataclass(frozen=True)
class Lengths:
    """What is known of a request before it is sent, in tokens; None is unknown."""

    prompt: int | None = None  # at least, up to CUT_BELOW_RATIO
    most_output: int | None = None  # as asked for
    context: int | None = None  # of a slot: prompt and reply together
    asked: int | None = None  # that the prompt was made up to have

    def is_prompt_cut(self, summary: StreamSummary) -> bool | None:
        """Tell whether the server counted fewer tokens than were sent, or no more fitted."""
        counted = summary.prompt_tokens
        if counted is None:
            return None
        if self.context is not None and counted >= self.context:
            return True
        if self.prompt is None:
            return None
        return counted < CUT_BELOW_RATIO * self.prompt

    def is_reply_cut(self, summary: StreamSummary) -> bool | None:
        """Tell whether the reply ended since the context did, before its own limit or end."""
        if summary.done_reason is None:
            return None
        if summary.done_reason != "length":
            return False
        counted = summary.output_tokens
        if counted is None:
            return None
        if self.most_output is not None:
            return counted + COUNT_SLACK < self.most_output
        if self.context is None or summary.prompt_tokens is None:
            return None
        return (
            summary.prompt_tokens + counted + COUNT_SLACK >= self.context
        )
