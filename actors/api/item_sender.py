"""How a generator's items leave the process that makes them.

    yield ──► Yielded ──► owner ──► ... ──► reader
      ▲                                       │
      └──── MoreItems, when they were taken ──┘

A generator that is too far ahead of what was taken waits in its `yield`.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from actors.errors import NotSerializable, PayloadTooLarge
from actors.logic.item_streams import ALL_ITEMS
from actors.messages import Message, Value, Yielded
from actors.payload import describe_bad_result, dump_result
from actors.perform import MAX_RESULT_BYTES
from actors.store.parts import Parts, join_parts

__all__ = ["ItemSender"]

# So many bytes may be under way to where they are safe. Chosen: what comes back takes
# some milliseconds, in which a generator shall not stand still.
_AHEAD_BYTES = 4 << 20
# How often a generator on an event loop looks whether it may go on, in seconds. Chosen.
_LOOK_PERIOD = 0.01
# How many unwanted calls are remembered. Chosen: more than wait at one actor.
_MAX_UNWANTED = 2048
# What an item takes besides its payload, roughly.
_MESSAGE_BYTES = 200


class _Say(Protocol):
    def __call__(self, message: Message, message_bytes: int, *, now: bool) -> None: ...


class _Stream:
    __slots__ = ("bytes", "first", "sizes", "taken")

    def __init__(self, first: int) -> None:
        self.first = first  # index of the first that is under way
        self.sizes: deque[int] = deque()  # of those that are
        self.bytes = 0
        self.taken = first  # of all, also of those that are still to come


class ItemSender:
    """The generators of one process.

    Args:
        say: to the owner.
        waits: told when a generator of the main thread begins (true) or ends (false)
            to wait for its reader.
        write: puts what is large of an item in one place.
    """

    def __init__(
        self,
        say: _Say,
        waits: Callable[[bool], None],
        write: Callable[[Parts], bytes] = join_parts,
    ) -> None:
        self._say = say
        self._write = write
        self._waits = waits
        self._streams: dict[int, _Stream] = {}  # {seq: those that go on}
        # Those that nobody wants any more, told before they have begun.
        self._unwanted: deque[int] = deque(maxlen=_MAX_UNWANTED)
        self._changed = threading.Condition()

    @contextmanager
    def open(self, seq: int, first: int) -> Iterator[None]:
        """Be ready for the items of a call, from `first` on, while entered."""
        with self._changed:
            stream = self._streams[seq] = _Stream(first)
            if seq in self._unwanted:
                self._unwanted.remove(seq)
                stream.taken = ALL_ITEMS
        try:
            yield
        finally:
            del self._streams[seq]

    def send_all(self, seq: int, items: Any, first: int) -> int:
        """Send what a generator gives; return how many that is.

        Args:
            seq: of its call, which is open.
            items: the generator, or anything else that has items.
            first: what comes before is known already.

        Raises:
            NotSerializable: an item cannot be pickled.
            PayloadTooLarge: an item does not fit into a frame.
            BaseException: the generator's own.
        """
        index = 0
        for item in items:
            if index >= first:
                if not self._has_room(seq):
                    self._wait_for_room(seq)
                self.send(seq, index, item)
            index += 1
        return index

    def send(self, seq: int, index: int, item: Any) -> None:
        """Send one item, unless nobody wants it."""
        stream = self._streams[seq]
        if index < stream.taken:
            return
        what = f"Item {index}"
        try:
            payload = dump_result(item, write=self._write)
        except NotSerializable as error:
            cause = error.__cause__ or error
            assert isinstance(cause, Exception)
            raise describe_bad_result(what, item, cause) from cause
        if len(payload) > MAX_RESULT_BYTES:
            raise PayloadTooLarge(
                f"{what} of {len(payload)} bytes exceeds {MAX_RESULT_BYTES} bytes; "
                "write it to a file and yield its name"
            )
        size = len(payload) + _MESSAGE_BYTES
        with self._changed:
            stream.sizes.append(size)
            stream.bytes += size
        self._say(Yielded(seq, index, Value(payload)), size, now=True)

    def _has_room(self, seq: int) -> bool:
        return self._streams[seq].bytes < _AHEAD_BYTES

    async def make_room(self, seq: int) -> None:
        """Wait until a generator may send the next item, on its event loop."""
        # Who has a loop has asyncio; who does not need not pay for its import.
        asyncio = sys.modules["asyncio"]
        while not self._has_room(seq):
            # It is seldom, and nobody's turn: so no thread of the loop's is taken.
            await asyncio.sleep(_LOOK_PERIOD)

    def _wait_in_thread(self, seq: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(seq))

    def _wait_for_room(self, seq: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            self._wait_in_thread(seq)
            return
        # Its place is another's meanwhile: perhaps its reader's.
        self._waits(True)
        try:
            self._wait_in_thread(seq)
        finally:
            self._waits(False)

    def taken(self, seq: int, count: int) -> None:
        """Note how many items were taken; from any thread."""
        with self._changed:
            stream = self._streams.get(seq)
            if stream is None:
                # Either it is over, or it has not begun and would wait for ever.
                if count >= ALL_ITEMS:
                    self._unwanted.append(seq)
                return
            stream.taken = max(stream.taken, count)
            while stream.sizes and stream.first < count:
                stream.bytes -= stream.sizes.popleft()
                stream.first += 1
            self._changed.notify_all()
