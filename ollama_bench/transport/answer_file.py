"""The file that http.client reads an answer from."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class AnswerFile(io.RawIOBase):
    """A file of what ``read`` hands out; ``free`` is called when nobody will read on."""

    def __init__(
        self,
        read: Callable[[memoryview], int],
        free: Callable[[], None],
    ) -> None:
        self._read, self._free = read, free

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._read(memoryview(buffer))

    def close(self) -> None:
        """Free what is large: http.client's connection holds this file until its next answer."""
        self._free()
        super().close()
