"""Mailbox: what comes in, on its way to the machine, and what that answers.

descriptors, sources ──drain──► mailbox ──► machine ──► turns ──► whoever runs it
"""

import os
import select
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from actors.inbox import Source
from actors.logic.turn import Machine, Turn

__all__ = ["Mailbox"]


class Mailbox:
    """What one machine is told, and its answers.

    Args:
        machine: what decides.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.handle = machine.handle
        # Not yet carried out; who does that takes the list, and leaves a new one.
        self.turns: list[Turn] = []
        self.now = 0.0  # when something was read, or told, the last time
        self.is_over = False  # nothing that comes in counts any more
        # Directly: `selectors` takes longer for the smallest round than we do.
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], object]] = {}  # {descriptor: reader}

    def watch(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Have `drain` call something when a descriptor is readable."""
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Watch a descriptor no longer; call it before closing the descriptor."""
        del self._callbacks[descriptor]
        self._epoll.unregister(descriptor)

    def add_source(self, source: Source) -> None:
        """Read a source from now on, whenever it has something."""
        self.watch(source.fileno(), partial(self.read, source))

    def drain(self, longest: float, awake: float = 0.0) -> None:
        """Wait until there is something to read, and read it.

        Args:
            longest: seconds to wait at most.
            awake: for so many of them look again and again instead of sleeping.
        """
        ready = self._epoll.poll(0.0) if awake else []
        if awake and not ready:
            until = time.monotonic() + min(awake, longest)
            while not ready and time.monotonic() < until:
                # Whoever has something to do for us goes first.
                os.sched_yield()
                ready = self._epoll.poll(0.0)
        if not ready:
            ready = self._epoll.poll(longest)
        self.now = time.monotonic()
        for descriptor, _ in ready:
            read = self._callbacks.get(descriptor)
            if read is not None:  # else another reader has just closed it
                read()

    def read(self, source: Source) -> None:
        """Tell the machine what a source has; its messages come with sender ""."""
        handle, turns = self.handle, self.turns
        messages = source.read()
        now = self.now
        for message in messages:
            turns.append(handle(message, "", now))

    def tell(self, message: Any, sender: str = "") -> None:
        """Tell the machine something."""
        self.now = now = time.monotonic()
        self.turns.append(self.handle(message, sender, now))

    def close(self) -> None:
        """Watch nothing any more; twice is fine."""
        self._epoll.close()
        # Let go of what would otherwise wait for the garbage collector.
        self._callbacks.clear()
