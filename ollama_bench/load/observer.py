"""Who is told how a level goes."""

from __future__ import annotations

from ollama_bench.load.request import Outcome, Task
from ollama_bench.load.result import LevelResult


class Observer:
    """Is told what happens; every call comes from the thread that runs the level."""

    def ready(self, tasks: list[Task]) -> None:
        """Every first connection is made, nothing is sent yet."""

    def begun(self, task: Task) -> None:
        """A later request has left."""

    def ended(self, outcome: Outcome) -> None:
        """A request has ended."""

    def tick(self, level: LevelResult) -> None:
        """See what the level has come to so far; called four times a second."""
