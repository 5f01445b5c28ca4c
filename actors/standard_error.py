"""Our standard error, as a place to show what workers print.

Who reads it, and stops reading (a pager, a terminal with Ctrl-S), must not stop the
thread that writes: it has other things to do.
"""

import contextlib
import select
import sys
import time
from collections.abc import Callable, Iterator

__all__ = ["StandardError", "prefixed"]

# A pipe that can be written to at all takes 4 KiB at once: PIPE_BUF of Linux. That many
# characters have at most as many bytes.
_PIECE_CHARACTERS = 1024
_MILLISECONDS = 1000


class StandardError:
    """Takes text as long as it is read.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.is_behind = False  # it had to be waited for, the last time

    def write(self, text: str, patience: float) -> int:
        """Write what there is room for.

        Args:
            text: perhaps nothing.
            patience: seconds to wait in all for who reads slowly.

        Returns:
            How many characters are written; all of them if there is nobody to read any.
        """
        until = self._clock() + patience
        self.is_behind = False
        at = 0
        # Closed, or a full disk: it is no reason to end.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for end in _cuts(text):
                if not self._has_room(until):
                    return at
                sys.stderr.write(text[at:end])
                sys.stderr.flush()
                at = end
        return len(text)

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
        self.is_behind = True
        return bool(poll.poll(max(0.0, until - self._clock()) * _MILLISECONDS))


def prefixed(pid: int, line: bytes, host: str = "") -> str:
    """Return a line for people to read, with its end.

    Args:
        pid: who has written it.
        line: without its end.
        host: where, if it is not here.
    """
    text = line.decode("utf-8", "replace")
    where = f", host={host}" if host else ""
    return f"(pid={pid}{where}) {text}\n"


def _cuts(text: str) -> Iterator[int]:
    """Say where to cut a text: at ends of lines where there are some."""
    begin = 0
    while begin < len(text):
        limit = begin + _PIECE_CHARACTERS
        end = len(text) if limit >= len(text) else text.rfind("\n", begin, limit) + 1
        begin = end or limit
        yield begin
