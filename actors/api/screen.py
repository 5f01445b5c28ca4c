"""Screen: what workers of an endpoint print appears on our standard error."""

import contextlib
import math
import socket
import sys
import time
from collections.abc import Callable

from actors.embedded.output import prefixed

__all__ = ["Screen"]

# How often it is said at most that something is not shown, in seconds. Chosen.
_NOTICE_PERIOD = 1.0


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
        self._write(self._notice() + shown)

    def close(self) -> None:
        """Tell what has not been told of what was left out."""
        self._noticed_at = -math.inf
        self._write(self._notice())

    def _notice(self) -> str:
        now = self._clock()
        if not self._left_out_bytes or now < self._noticed_at + _NOTICE_PERIOD:
            return ""
        left_out, self._left_out_bytes = self._left_out_bytes, 0
        self._noticed_at = now
        return f"(actors) {left_out} bytes are not shown here: see `actors logs`\n"

    @staticmethod
    def _write(text: str) -> None:
        if text:
            # Closed, or a full disk: it is no reason to end.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stderr.write(text)
