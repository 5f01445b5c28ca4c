"""Screen: what workers of an endpoint print appears on our standard error.

It is written by the thread that also tells the endpoint that we live: who reads our
standard error, and stops reading (a pager, a terminal with Ctrl-S), must not stop that.
"""

import math
import socket
import time
from collections.abc import Callable

from actors.standard_error import StandardError, prefixed

__all__ = ["Screen"]

# How often it is said at most that something is not shown, in seconds. Chosen.
_NOTICE_PERIOD = 1.0
# For so many seconds it is waited for who reads slowly. Chosen: less than after which
# the endpoint would miss us.
_PATIENCE = 2.0


class Screen:
    """Shows lines as they come; of what is left out it tells how much that was.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stderr = StandardError(clock)
        self._here = socket.gethostname()
        self._left_out_bytes = 0
        self._noticed_at = -math.inf
        self._is_cut = False  # the last line that was written has no end

    def show(self, pid: int, host: str, text: bytes, left_out_bytes: int) -> None:
        """Show what a worker has written.

        Args:
            pid: the worker's.
            host: the worker's; it is shown if it is not ours.
            text: whole lines.
            left_out_bytes: what was not told to us, before the text.
        """
        self._left_out_bytes += left_out_bytes
        elsewhere = "" if host == self._here else host
        lines = text.removesuffix(b"\n").split(b"\n") if text else []
        shown = "".join(prefixed(pid, line, elsewhere) for line in lines)
        self._write(shown)

    def close(self) -> None:
        """Tell what has not been told of what was left out."""
        self._noticed_at = -math.inf
        self._write("")

    def _write(self, text: str) -> None:
        now = self._clock()
        is_told = self._left_out_bytes > 0 and now >= self._noticed_at + _NOTICE_PERIOD
        before = "\n" * self._is_cut
        if is_told:
            hint = "bytes are not shown here: see `actors logs`"
            before += f"(actors) {self._left_out_bytes} {hint}\n"
        patience = 0.0 if self._stderr.is_behind else _PATIENCE
        written = self._stderr.write(before + text, patience)
        if written:
            # What comes before fits into the first piece.
            self._is_cut = (before + text)[written - 1] != "\n"
            if is_told:
                self._left_out_bytes = 0
                self._noticed_at = now
        shown = max(0, written - len(before))
        self._left_out_bytes += len(text[shown:].encode())
