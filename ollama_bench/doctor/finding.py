"""What a check of the doctor finds: well, worth a note, or wrong with the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mark = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line. ``mend`` is the command that helps, "" where none is needed or known."""

    mark: Mark
    about: str
    text: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"; run: {self.mend}" if self.mend else ""
        return f"{self.mark:<5}  {self.about}: {self.text}{mend}"
