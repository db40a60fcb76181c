"""What a worker runs to watch its machine beside the load, and how the coordinator asks it.

The coordinator sends what makes the watch, and from then on asks for what was seen. Such a
question takes as long as it takes: it is answered in a thread beside Dask's event loop.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Protocol

# what a worker is asked beside its part of a level
WATCH, SEEN, UNWATCH = "watch", "seen", "unwatch"
WATCHING_WORDS = (WATCH, SEEN, UNWATCH)


class Watch(Protocol):
    """Watches a machine from when it is made until stop()."""

    def take(self, wish: str) -> object:
        """Return what was seen since the last call, after what is wished was done."""

    def stop(self) -> None:
        """End all threads and samplers; what was seen until then can be taken."""


MakeWatch = Callable[[], Watch]


class Watching:
    """The watch of a worker, at most one at a time."""

    def __init__(self) -> None:
        self._watch: Watch | None = None

    def answer(self, word: str, content: bytes) -> bytes:
        """Do what a word says and return a pickle of what was seen, b"" where nothing watches."""
        if word == WATCH:
            self._end()
            make_watch: MakeWatch = pickle.loads(content)
            self._watch = make_watch()
        watch = self._watch
        if word == UNWATCH:
            self._end()
        if watch is None:
            return b""
        seen = watch.take(content.decode() if word == SEEN else "")
        return pickle.dumps(seen, pickle.HIGHEST_PROTOCOL)

    def _end(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
