"""Outflow: items of a manager's generators that the interchange has not taken. Pure.

    Yielded ──► kept, and told ──ItemsTaken──► forgotten ──MoreItems──► the generator

They outlive their worker, as outcomes do, and are told again at each registration.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator

from actors.logic.item_streams import ALL_ITEMS
from actors.logic.turn import Effect
from actors.logic.workers import TellWorker
from actors.messages import (
    STREAMING,
    Call,
    Interrupt,
    Item,
    ItemsMark,
    Leased,
    LeasedCall,
    MoreItems,
    TaskId,
    TaskOptions,
    Value,
    WorkerId,
    Yielded,
)

__all__ = ["Outflow", "call_of"]


class _Stream:
    __slots__ = ("attempt", "is_spoilt", "items", "known", "seq", "worker_id")

    def __init__(self, attempt: int, first: int, worker_id: WorkerId, seq: int) -> None:
        self.attempt = attempt
        self.known = first  # items that there have been
        self.items: deque[Item] = deque()  # not taken
        self.worker_id = worker_id
        self.seq = seq
        self.is_spoilt = False  # an item was too large


class Outflow:
    """The machine; see the module's docstring."""

    def __init__(self) -> None:
        self._streams: dict[TaskId, _Stream] = {}

    def __bool__(self) -> bool:
        return bool(self._streams)

    def begin(self, task: Leased | LeasedCall, worker_id: WorkerId, seq: int) -> None:
        """Note that a generator was given to a worker."""
        stream = _Stream(task.attempt, task.streams_from, worker_id, seq)
        self._streams[task.task_id] = stream

    def yielded(
        self,
        task: Leased | LeasedCall,
        said: Yielded,
        limit: int,
        effects: list[Effect],
    ) -> Item | None:
        """Take the next item.

        Args:
            task: whose.
            said: by the worker.
            limit: bytes that fit into a message; 0: any number.
            effects: what follows goes in here.

        Returns:
            What to tell; None: nobody wants it.
        """
        stream = self._streams.get(task.task_id)
        is_its = stream is not None and stream.seq == said.seq
        if stream is None or not is_its or said.index < stream.known:
            return None
        # It may have passed over some that another try has yielded.
        stream.known = said.index + 1
        payload = said.value.payload
        if len(payload) > limit > 0 and not stream.is_spoilt:
            stream.is_spoilt = True
            effects.append(TellWorker(stream.worker_id, Interrupt(stream.seq)))
        if stream.is_spoilt:
            more = MoreItems(stream.seq, stream.known)
            effects.append(TellWorker(stream.worker_id, more))
            return None
        item = Item(task.task_id, said.index, payload)
        stream.items.append(item)
        return item

    def taken(self, marks: Iterable[ItemsMark], effects: list[Effect]) -> None:
        """Forget what the interchange has; let generators go on."""
        for mark in marks:
            stream = self._streams.get(mark.task_id)
            if stream is None:
                continue
            items = stream.items
            while items and items[0].index < mark.count:
                items.popleft()
            more = MoreItems(stream.seq, mark.count)
            effects.append(TellWorker(stream.worker_id, more))

    def is_spoilt(self, task_id: TaskId) -> bool:
        """Tell whether an item of a generator was too large to be sent."""
        stream = self._streams.get(task_id)
        return stream is not None and stream.is_spoilt

    def untaken(self) -> Iterator[Item]:
        """Give all items that the interchange may not have, of each task in order."""
        for stream in self._streams.values():
            yield from stream.items

    def end(self, task_id: TaskId, attempt: int) -> None:
        """Forget a task whose end the interchange knows."""
        stream = self._streams.get(task_id)
        if stream is not None and stream.attempt == attempt:
            del self._streams[task_id]

    def renumber(self, task: Leased | LeasedCall, attempt: int) -> None:
        """Note that a task goes on as another attempt."""
        stream = self._streams.get(task.task_id)
        if stream is not None and stream.attempt == task.attempt:
            stream.attempt = attempt

    def keep_only(self, task_ids: Collection[TaskId], effects: list[Effect]) -> None:
        """Forget all others; those that go on do so for nobody."""
        for task_id in [t for t in self._streams if t not in task_ids]:
            stream = self._streams.pop(task_id)
            more = MoreItems(stream.seq, ALL_ITEMS)
            effects.append(TellWorker(stream.worker_id, more))


def call_of(seq: int, function: bytes, task: Leased | LeasedCall) -> Call:
    """Make the message for what needs more than a `Run`."""
    options = TaskOptions(
        num_returns=STREAMING if task.streams_from >= 0 else 1,
        timeout=task.timeout or 0.0,
    )
    return Call(
        seq, function, Value(task.arguments), [], options, max(0, task.streams_from)
    )
