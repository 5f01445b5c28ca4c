"""Signs of life of an actor to the root process that started it, over a pipe.

    actor's loop ──a byte each `heartbeat.period`──► pipe ──► root: `ChildBeat`

They come from the very loop that does the actor's work, from its first moments on, and
need no link: so an actor that is stopped, or stuck, is found also before it has joined
anybody, and while the interchange is away. The other way the kernel does it: an actor
dies with its root.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from actors.process import Alarm

__all__ = ["Pulse", "PulseReader"]

Item = TypeVar("Item")

# Items between two beats of `along`. Chosen: a journal gives so many in some ten
# milliseconds.
_ITEMS_PER_BEAT = 1000
# More than can come between two looks.
_READ_BYTES = 4096


class Pulse:
    """The actor's end, a source for its loop.

    Args:
        descriptor: of the pipe's end; it is closed at `close`.
        period: seconds between two beats.
    """

    def __init__(self, descriptor: int, period: float) -> None:
        self._descriptor = descriptor
        # Blocks and workers are none of the root's children.
        os.set_inheritable(descriptor, False)
        os.set_blocking(descriptor, False)
        self._alarm = Alarm(period)
        self._alarm.set()
        self.beat()

    def fileno(self) -> int:
        return self._alarm.fileno()

    def read(self) -> Sequence[Any]:
        """Beat, as it is time to."""
        self._alarm.set()
        self.beat()
        return ()

    def beat(self) -> None:
        """Show life now; a root that does not listen is none of our business."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, b".")

    def along(self, items: Iterable[Item]) -> Iterator[Item]:
        """Give the items on, and beat as they come: what is long is not stuck."""
        for number, item in enumerate(items, 1):
            yield item
            if number % _ITEMS_PER_BEAT == 0:
                self.beat()

    def close(self) -> None:
        """Close both descriptors."""
        self._alarm.close()
        os.close(self._descriptor)


class PulseReader:
    """The root's end, a source for its loop.

    Args:
        descriptor: of the pipe's end; it is closed with the source.
        beat: told to the machine when the actor shows life.
        ended: called once no more beats can come, before the source is closed.
    """

    def __init__(
        self,
        descriptor: int,
        beat: object,
        ended: Callable[["PulseReader"], None],
    ) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._beat = beat
        self._ended = ended

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> Sequence[Any]:
        if os.read(self._descriptor, _READ_BYTES):
            return [self._beat]
        self._ended(self)
        os.close(self._descriptor)
        return ()
