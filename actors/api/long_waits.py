"""Waits of an endpoint's code that take long: perhaps they will never end.

waits ──(a while)──► WaitsLong ──► manager ──► interchange, who knows who else waits
  ▲                                                              │
  └──── DeadlockError ◄──────────── Deadlocked ◄─────────────────┘
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Protocol

from actors.messages import Deadlocked, Message, TaskId, WaitsLong

__all__ = ["LONG", "LongWaits", "Say"]

# A wait is told after so many seconds. Chosen: nobody pays for the usual ones, and who
# waits for ever hears so soon.
LONG = 0.2
# What a message takes, roughly.
_MESSAGE_BYTES = 64


class Say(Protocol):
    """Tells the manager something; see `Worker.say`."""

    def __call__(self, message: Message, message_bytes: int, *, now: bool) -> None: ...


class LongWaits:
    """Those of a process's main thread, one at a time.

    Args:
        say: to the manager.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._numbers = itertools.count(1)
        self._number = 0  # of the one that is under way
        self._doom: Future[str] = Future()

    def begin(self, task_ids: Sequence[TaskId], spare: int) -> "Future[str]":
        """Tell of a wait.

        Args:
            task_ids: what for.
            spare: so many of them may never end.

        Returns:
            A future that is known if the wait will never end: why.
        """
        self._doom = Future()
        self._number = next(self._numbers)
        message = WaitsLong(self._number, list(task_ids), spare)
        self._say(message, _MESSAGE_BYTES * len(task_ids), now=True)
        return self._doom

    def end(self) -> None:
        """Tell that it is over."""
        number, self._number = self._number, 0
        self._say(WaitsLong(number, [], 0), _MESSAGE_BYTES, now=True)

    def hear(self, message: Deadlocked) -> None:
        """Note that it will never end; from any thread."""
        if message.number == self._number:
            with suppress(InvalidStateError):
                self._doom.set_result(message.text)
