"""Items of generators that wait at the interchange until their clients have read them.

    manager ──ItemsYielded──► kept ──ItemsYielded──► client ──ItemsTaken──► forgotten
       ◄──ItemsTaken (unless too much is unread)──┘

An item counts once, whoever yields it: a generator that is started again begins with
the first item that is not known, and what is known already changes nothing. What is
kept is written down, like outcomes. A client that reads too little gets its generators
stopped: their managers hear no more that items were taken, and let no more be made.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence

from actors.logic.records import InterchangeRecord, ItemsKept, ItemsRead
from actors.messages import ClientId, Item, ItemsMark, Outcome, Task, TaskId

__all__ = ["ALL_ITEMS", "ITEM_BYTES", "STREAM_BYTES", "ItemStream", "ItemStreams"]

# What an item takes beside its payload. Chosen: about what it does.
ITEM_BYTES = 200
# One generator may be so far ahead of its reader. Chosen: no reader waits for items
# that are there, and an endpoint bears a hundred that nobody reads.
STREAM_BYTES = 16 << 20
# What who does not want to read has taken: more than any generator yields.
ALL_ITEMS = 1 << 62
# A portion of a snapshot ends before its payloads exceed this.
_PORTION_BYTES = 1 << 20


class ItemStream:
    """One generator's items."""

    __slots__ = (
        "client_id",
        "is_over",
        "is_owed",
        "known",
        "payloads",
        "read",
        "task_id",
        "unread_bytes",
    )

    def __init__(self, client_id: ClientId, task_id: TaskId, first: int) -> None:
        self.client_id = client_id
        self.task_id = task_id
        self.known = first  # items that there have been
        self.read = first  # of them, or of all that there will be
        self.payloads: deque[bytes] = deque()  # of the others
        self.unread_bytes = 0
        self.is_over = False  # its task has ended
        self.is_owed = False  # its manager was not told what was taken

    @property
    def first(self) -> int:
        """Index of the first item that is kept."""
        return self.known - len(self.payloads)

    @property
    def unread(self) -> list[Item]:
        first = self.first
        return [Item(self.task_id, first + n, p) for n, p in enumerate(self.payloads)]


class ItemStreams:
    """All of them.

    Args:
        limit: bytes that one client may leave unread.
    """

    def __init__(self, limit: int) -> None:
        self.streams: dict[TaskId, ItemStream] = {}
        self._limit = limit
        self._unread: defaultdict[ClientId, int] = defaultdict(int)  # {client: bytes}

    def __bool__(self) -> bool:
        return bool(self.streams)

    def known(self, task: Task) -> int:
        """Return the index of the first item that is not known."""
        stream = self.streams.get(task.task_id)
        return max(0, task.streams_from) if stream is None else stream.known

    def of_task(self, task: Task, client_id: ClientId) -> ItemStream:
        """Return the stream of an unfinished task."""
        stream = self.streams.get(task.task_id)
        if stream is None:
            first = max(0, task.streams_from)
            stream = ItemStream(client_id, task.task_id, first)
            self.streams[task.task_id] = stream
        return stream

    def add(self, stream: ItemStream, item: Item) -> bool:
        """Take an item; tell whether it is news for the client."""
        if item.index < stream.known:
            return False
        if item.index > stream.known:
            # What came before was lost with the disk's power: the client will see.
            self._forget(stream, stream.known)
            stream.read = max(stream.read, item.index)
        stream.known = item.index + 1
        if item.index < stream.read:
            return False
        stream.payloads.append(item.payload)
        self._count(stream, len(item.payload) + ITEM_BYTES)
        return True

    def has_room(self, stream: ItemStream) -> bool:
        """Tell whether a generator may go on, as its client reads."""
        return (
            stream.unread_bytes < STREAM_BYTES
            and self._unread[stream.client_id] < self._limit
        )

    def take(self, stream: ItemStream, count: int) -> None:
        """Forget the first items."""
        if count > stream.read:
            self._forget(stream, count)
            stream.read = count
            if count < ALL_ITEMS:
                stream.known = max(stream.known, count)
            self._drop_if_done(stream)

    def _forget(self, stream: ItemStream, count: int) -> None:
        for _ in range(min(count, stream.known) - stream.first):
            self._count(stream, -len(stream.payloads.popleft()) - ITEM_BYTES)

    def _count(self, stream: ItemStream, size: int) -> None:
        stream.unread_bytes += size
        self._unread[stream.client_id] += size

    def owed(self, client_id: ClientId) -> list[ItemStream]:
        """List those of a client whose managers wait for word, and may go on."""
        return [
            stream
            for stream in self.streams.values()
            if stream.is_owed
            and stream.client_id == client_id
            and self.has_room(stream)
        ]

    def of_client(self, client_id: ClientId) -> list[ItemStream]:
        return [s for s in self.streams.values() if s.client_id == client_id]

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """Note that tasks have ended: no more items of theirs will come."""
        for outcome in outcomes:
            stream = self.streams.get(outcome.task_id)
            if stream is not None:
                stream.is_over = True
                stream.is_owed = False
                self._drop_if_done(stream)

    def forget(self, client_id: ClientId) -> None:
        """Drop all that a client will not read."""
        for stream in self.of_client(client_id):
            del self.streams[stream.task_id]
        self._unread.pop(client_id, None)

    def _drop_if_done(self, stream: ItemStream) -> None:
        if stream.is_over and not stream.payloads:
            self.streams.pop(stream.task_id, None)
            if not self._unread[stream.client_id]:
                del self._unread[stream.client_id]

    # What an earlier process left

    def replay(self, record: ItemsKept | ItemsRead) -> None:
        """Take the next record."""
        stream = self.streams.get(record.task_id)
        if stream is None:
            stream = ItemStream(record.client_id, record.task_id, 0)
            self.streams[record.task_id] = stream
        if isinstance(record, ItemsRead):
            self.take(stream, record.count)
            return
        for index, payload in enumerate(record.payloads, record.first):
            self.add(stream, Item(record.task_id, index, payload))

    def restored(self, unfinished: Iterable[TaskId]) -> None:
        """Go on from the records; call it after the last one.

        Args:
            unfinished: tasks that have not ended.
        """
        going_on = set(unfinished)
        for stream in list(self.streams.values()):
            stream.is_over = stream.task_id not in going_on
            # Its manager says again what it has, and hears then.
            self._drop_if_done(stream)

    def snapshot(self) -> Iterator[list[InterchangeRecord]]:
        """Give the records that stand for all before them, in portions."""
        for stream in list(self.streams.values()):
            if self.streams.get(stream.task_id) is not stream:
                continue
            who = stream.client_id, stream.task_id
            yield [ItemsRead(*who, max(stream.first, stream.read))]
            some: list[bytes] = []
            size, first = 0, stream.first
            for payload in list(stream.payloads):
                some.append(payload)
                size += len(payload)
                if size > _PORTION_BYTES:
                    yield [ItemsKept(*who, first, some)]
                    first, some, size = first + len(some), [], 0
            if some:
                yield [ItemsKept(*who, first, some)]

    def mark_for(self, stream: ItemStream) -> ItemsMark:
        """Say how far its manager may forget."""
        return ItemsMark(stream.task_id, max(stream.known, stream.read))

    def check(self) -> None:
        """Raise AssertionError if counts contradict what is kept."""
        unread: defaultdict[ClientId, int] = defaultdict(int)
        for stream in self.streams.values():
            size = sum(len(p) + ITEM_BYTES for p in stream.payloads)
            assert size == stream.unread_bytes, stream.task_id
            assert stream.payloads or not stream.is_over, stream.task_id
            unread[stream.client_id] += size
        for client_id, size in self._unread.items():
            assert unread[client_id] == size, client_id
