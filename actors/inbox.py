"""What a loop reads: descriptors, and what other threads have to say to it."""

import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["Bell", "Inbox", "Source"]


class Source(Protocol):
    """Anything with a descriptor that is readable while `read` has something."""

    def fileno(self) -> int:
        """Return the descriptor; always the same one."""
        ...

    def read(self) -> Sequence[Any]:
        """Return messages for the machine, perhaps none; never block."""
        ...


class Bell:
    """A descriptor that other threads make readable, to wake a loop."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_rung = False
        # The handler of a signal may ring while this very thread does.
        self._lock = threading.RLock()

    def fileno(self) -> int:
        return self._fd

    def ring(self) -> None:
        """Wake the loop; from any thread, and to no effect after `close`."""
        # Ringing costs a system call: once until the loop has looked.
        if not self._is_rung:
            with self._lock:
                self._is_rung = True
                if self._fd >= 0:
                    os.eventfd_write(self._fd, 1)

    def hear(self) -> None:
        """Be silent again; call it before looking for what the ringing was about."""
        os.eventfd_read(self._fd)
        self._is_rung = False

    def close(self) -> None:
        with self._lock:
            os.close(self._fd)
            self._fd = -1


class Inbox:
    """A source that other threads may put messages into."""

    def __init__(self) -> None:
        self._bell = Bell()
        self._messages: deque[Any] = deque()

    def fileno(self) -> int:
        return self._bell.fileno()

    def put(self, message: Any) -> None:
        """Add a message; from any thread, and to no effect after `close`."""
        self._messages.append(message)
        self._bell.ring()

    def wake(self) -> None:
        """Make it readable although there is nothing; from any thread."""
        self._bell.ring()

    def read(self) -> Sequence[Any]:
        self._bell.hear()
        taken = []
        while self._messages:
            taken.append(self._messages.popleft())
        return taken

    def close(self) -> None:
        self._bell.close()
