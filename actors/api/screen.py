"""Screen: what workers of an endpoint print appears on our standard error.

It is written by the thread that also tells the endpoint that we live: who reads our
standard error, and stops reading (a pager, a terminal with Ctrl-S), must not stop that.
"""

import contextlib
import math
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator

from actors.embedded.output import prefixed

__all__ = ["Screen"]

# How often it is said at most that something is not shown, in seconds. Chosen.
_NOTICE_PERIOD = 1.0
# For so many seconds it is waited for who reads slowly. Chosen: less than after which
# the endpoint would miss us.
_PATIENCE = 2.0
# A pipe that can be written to at all takes 4 KiB at once: PIPE_BUF of Linux. That many
# characters have at most as many bytes.
_PIECE_CHARACTERS = 1024
_MILLISECONDS = 1000


class Screen:
    """Shows lines as they come; of what is left out it tells how much that was.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._here = socket.gethostname()
        self._left_out_bytes = 0
        self._noticed_at = -math.inf
        self._is_slow = False  # who reads it did not keep up, the last time
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

    def _notice(self) -> str:
        now = self._clock()
        if not self._left_out_bytes or now < self._noticed_at + _NOTICE_PERIOD:
            return ""
        left_out, self._left_out_bytes = self._left_out_bytes, 0
        self._noticed_at = now
        return f"(actors) {left_out} bytes are not shown here: see `actors logs`\n"

    def _write(self, text: str) -> None:
        until = self._clock() + (0.0 if self._is_slow else _PATIENCE)
        self._is_slow = False
        # Closed, or a full disk: it is no reason to end.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if (self._left_out_bytes or self._is_cut) and self._has_room(until):
                sys.stderr.write("\n" * self._is_cut + self._notice())
                sys.stderr.flush()
                self._is_cut = False
            at = 0
            for end in _cuts(text):
                if not self._has_room(until):
                    self._left_out_bytes += len(text[at:].encode())
                    break
                sys.stderr.write(text[at:end])
                sys.stderr.flush()
                self._is_cut = text[end - 1] != "\n"
                at = end

    def _has_room(self, until: float) -> bool:
        """Wait until a piece can be written; false: not in time."""
        try:
            descriptor = sys.stderr.fileno()
        except (OSError, ValueError, AttributeError):
            # It is no file, but something that the program has put there.
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if poll.poll(0):
            return True
        self._is_slow = True
        return bool(poll.poll(max(0.0, until - self._clock()) * _MILLISECONDS))


def _cuts(text: str) -> Iterator[int]:
    """Say where to cut a text: at ends of lines where there are some."""
    begin = 0
    while begin < len(text):
        limit = begin + _PIECE_CHARACTERS
        end = len(text) if limit >= len(text) else text.rfind("\n", begin, limit) + 1
        begin = end or limit
        yield begin
