"""Bottom line: a terminal's last line for us, all others for who else writes there.

As apt does it: the terminal is told to scroll the lines above only. Whatever a command
prints goes on as before, and the line below stays.
"""

import os
from collections.abc import Callable

__all__ = ["BottomLine"]

# ECMA-48 and DEC's: save and restore the cursor, scroll these lines, go there, clear.
_SAVE, _RESTORE = "\x1b7", "\x1b8"
_SCROLL = "\x1b[{first};{last}r"
_GO = "\x1b[{row};1H"
_CLEAR = "\x1b[2K"
_UP = "\x1b[1A"
# With fewer there is no room for a line of ours. Chosen.
_LEAST_ROWS = 4


class BottomLine:
    """The line.

    Args:
        descriptor: of the terminal.
        size: says its columns and rows; they may change.
    """

    def __init__(
        self,
        descriptor: int,
        size: Callable[[int], os.terminal_size] = os.get_terminal_size,
    ) -> None:
        self._descriptor = descriptor
        self._size = size
        self._rows = 0  # as they were when the line was taken; 0: it was not

    @property
    def columns(self) -> int:
        """How long the line is."""
        return self._size(self._descriptor).columns

    def draw(self, text: str) -> None:
        """Show a text, of one line; take the line first, if need be."""
        rows = self._size(self._descriptor).lines
        if rows < _LEAST_ROWS:
            return
        words = "" if rows == self._rows else self._take(rows)
        self._rows = rows
        self._write(f"{words}{_SAVE}{_GO.format(row=rows)}{_CLEAR}{text}{_RESTORE}")

    def release(self) -> None:
        """Clear it and give it back; twice is once."""
        if self._rows:
            everything = _SCROLL.format(first=1, last=self._rows)
            there = _GO.format(row=self._rows)
            self._write(f"{_SAVE}{everything}{there}{_CLEAR}{_RESTORE}")
            self._rows = 0

    def _take(self, rows: int) -> str:
        # Who writes on the last line must come off it first; to say what scrolls moves
        # the cursor, too.
        scroll = _SCROLL.format(first=1, last=rows - 1)
        return f"\n{_SAVE}{scroll}{_RESTORE}{_UP}"

    def _write(self, text: str) -> None:
        # At once, so that nobody else writes in between.
        os.write(self._descriptor, text.encode())
