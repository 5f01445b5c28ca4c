"""From records to books, and from books to records. Pure.

Replay touches the table of tasks only; the queue, the leases and the counts, which
follow from it, are made at the end. Clients and managers come back as members that are
away: each has its grace to return before it is judged.
"""

from collections.abc import Iterator
from itertools import islice

from actors.endpoint.interchange.books import Books
from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet, ManagerEntry
from actors.logic.ledger import Entry
from actors.logic.records import (
    ActorAdmitted,
    ActorDoomed,
    ActorForgotten,
    ActorHeld,
    ActorPlaced,
    ClientAdmitted,
    ClientForgotten,
    FleetSteered,
    GroupAdmitted,
    GroupEnded,
    GroupsStand,
    IncarnationEnded,
    InterchangeRecord,
    ItemsKept,
    ItemsRead,
    ManagerAdmitted,
    ManagerRemoved,
    RestartsOrdered,
    TaskPutBack,
    TasksAccepted,
    TasksCancelling,
    TasksFinished,
    TasksForgotten,
    TasksLeased,
)
from actors.messages import ClientId, ManagerId, Outcome, Task, TaskId

__all__ = [
    "Restoration",
    "put_back_record",
    "steering_record",
    "take_snapshot",
]

# Tasks, or outcomes, in one portion of a snapshot. Chosen: a portion of small ones
# takes about a millisecond.
_PORTION = 500
# A portion ends before its payloads exceed this; one payload alone may.
_PORTION_BYTES = 1 << 20


class Restoration:
    """Rebuild books that are new."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._holders: dict[TaskId, ManagerId] = {}  # {task: who has its lease}

    def apply(self, record: InterchangeRecord) -> None:
        """Take the next record; what it says of unknown tasks has no effect."""
        entries, fleet = self._books.ledger.entries, self._books.fleet
        match record:
            case TasksAccepted(client_id, at, tasks):
                ended = self._client(client_id).unacknowledged
                for task in tasks:
                    if task.task_id not in entries and task.task_id not in ended:
                        entries[task.task_id] = Entry(
                            task, client_id, at, task.priority
                        )
            case TasksLeased(manager_id, at, task_ids):
                for task_id in task_ids:
                    entry = entries.get(task_id)
                    if entry is not None:
                        self._holders[task_id] = manager_id
                        entry.leased_at = at
            case TaskPutBack():
                self._put_back(record)
            case TasksCancelling(task_ids):
                for task_id in task_ids:
                    entry = entries.get(task_id)
                    if entry is not None:
                        entry.is_cancelling = True
            case TasksFinished(client_id, outcomes):
                kept = self._client(client_id).unacknowledged
                for outcome in outcomes:
                    self._drop(outcome.task_id)
                    kept[outcome.task_id] = outcome
            case TasksForgotten(client_id, task_ids):
                kept = self._client(client_id).unacknowledged
                for task_id in task_ids:
                    self._drop(task_id)
                    kept.pop(task_id, None)
            case ItemsKept() | ItemsRead():
                self._books.streams.replay(record)
            case ClientForgotten(client_id):
                self._books.streams.forget(client_id)
                client = self._client(client_id)
                client.is_leaving = True
                client.unacknowledged.clear()
            case ClientAdmitted(client_id, is_within):
                client = self._client(client_id)
                client.is_leaving, client.is_within = False, is_within
            case ManagerAdmitted():
                manager = ManagerEntry(
                    record.manager_id, record.block_id, max(1, record.slots), 0.0
                )
                manager.instance = record.instance
                manager.host, manager.pid = record.host, record.pid
                manager.is_connected = False
                fleet.managers[record.manager_id] = manager
            case ManagerRemoved(manager_id):
                fleet.managers.pop(manager_id, None)
            case (
                ActorAdmitted()
                | ActorHeld()
                | ActorPlaced()
                | ActorDoomed()
                | RestartsOrdered()
                | IncarnationEnded()
                | ActorForgotten()
                | GroupAdmitted()
                | GroupsStand()
                | GroupEnded()
            ):
                self._books.roster.replay(record)
            case FleetSteered(held, retired, is_quiesced, bad_state):
                fleet.held, fleet.retired = set(held), set(retired)
                fleet.is_quiesced, fleet.bad_state = is_quiesced, bad_state

    def finish(self, now: float) -> None:
        """Build what follows from the table; call it after the last record.

        Args:
            now: monotonic seconds.
        """
        books = self._books
        ledger, fleet, clients = books.ledger, books.fleet, books.clients
        for manager in fleet.managers.values():
            manager.idle_since = now
            manager.is_draining = manager.block_id in fleet.retired
        for client_id in books.roster.those_who_hold():
            self._client(client_id)
        books.roster.restored(now)
        books.streams.restored(ledger.entries)
        for stream in books.streams.streams.values():
            self._client(stream.client_id)
        first: list[Entry] = []
        others: list[Entry] = []
        for task_id, entry in ledger.entries.items():
            self._client(entry.client_id).unfinished += 1
            holder = fleet.managers.get(self._holders.get(task_id, ManagerId("")))
            is_call = entry.task.actor is not None
            if is_call:
                ledger.calls[task_id] = entry
            if holder is not None:
                ledger.hold(entry, holder.manager_id)
                holder.hold(entry)
                if is_call:
                    books.roster.calls.adopt(entry)
            elif is_call:
                books.roster.calls.queue(entry)
            else:
                # Who tried before goes first, as in the lifetime that has ended.
                (first if entry.attempt > 1 else others).append(entry)
        for entry in (*first, *others):
            entry.leased_at = 0.0
            entry.is_cancelling = False
            ledger.queue(entry)
        for client in list(clients.values()):
            client.gone_at = now
            is_empty = not (
                client.unfinished
                or client.unacknowledged
                or client.held_actors
                or books.streams.of_client(client.client_id)
            )
            if is_empty:
                del clients[client.client_id]

    def _client(self, client_id: ClientId) -> ClientEntry:
        clients = self._books.clients
        client = clients.get(client_id)
        if client is None:
            client = clients[client_id] = ClientEntry(client_id, "")
        return client

    def _put_back(self, record: TaskPutBack) -> None:
        entry = self._books.ledger.entries.get(record.task_id)
        if entry is not None:
            self._holders.pop(record.task_id, None)
            entry.attempt = record.attempt
            entry.lost_starts = record.lost_starts
            entry.queued_at = record.at
            entry.avoid = record.avoid
            entry.past = record.past

    def _drop(self, task_id: TaskId) -> None:
        self._books.ledger.entries.pop(task_id, None)
        self._holders.pop(task_id, None)


def steering_record(fleet: Fleet) -> FleetSteered:
    """Write down what gets no tasks."""
    return FleetSteered(
        sorted(fleet.held), sorted(fleet.retired), fleet.is_quiesced, fleet.bad_state
    )


def put_back_record(entry: Entry) -> TaskPutBack:
    """Write down all that attempts have left behind with a task."""
    return TaskPutBack(
        entry.task.task_id,
        entry.attempt,
        entry.lost_starts,
        entry.queued_at,
        entry.avoid,
        entry.past,
    )


def take_snapshot(books: Books) -> Iterator[list[InterchangeRecord]]:
    """Give the records that books can be rebuilt from, in portions.

    The books may change between two portions: what changes is recorded behind them.
    """
    fleet = books.fleet
    yield [
        steering_record(fleet),
        *(
            ManagerAdmitted(
                m.manager_id, m.instance, m.block_id, m.slots, m.host, m.pid
            )
            for m in fleet.managers.values()
        ),
        *(
            ClientAdmitted(c.client_id, True)
            for c in books.clients.values()
            if c.is_within
        ),
        *(ClientForgotten(c.client_id) for c in books.clients.values() if c.is_leaving),
    ]
    yield from books.roster.snapshot()
    task_ids = iter(list(books.ledger.entries))
    while some := list(islice(task_ids, _PORTION)):
        entries = books.ledger.entries
        yield from _tasks([entries[t] for t in some if t in entries])
    yield from books.streams.snapshot()
    for client in list(books.clients.values()):
        ended = iter(list(client.unacknowledged))
        while some := list(islice(ended, _PORTION)):
            kept = client.unacknowledged
            yield from _outcomes(client.client_id, [kept[t] for t in some if t in kept])


def _tasks(entries: list[Entry]) -> Iterator[list[InterchangeRecord]]:
    """Record unfinished tasks, those that came together as one."""
    records: list[InterchangeRecord] = []
    together: list[Task] = []
    size = 0
    for number, entry in enumerate(entries):
        together.append(entry.task)
        size += len(entry.task.function) + len(entry.task.arguments)
        following = entries[number + 1] if number + 1 < len(entries) else None
        if (
            following is None
            or following.client_id != entry.client_id
            or following.queued_at != entry.queued_at
            or size > _PORTION_BYTES
        ):
            records.append(TasksAccepted(entry.client_id, entry.queued_at, together))
            together = []
        if size > _PORTION_BYTES:
            yield records
            records, size = [], 0
    yield [*records, *_attempts(entries)]


def _attempts(entries: list[Entry]) -> Iterator[InterchangeRecord]:
    """Record what has become of unfinished tasks so far."""
    for entry in entries:
        if entry.attempt > 1:
            yield put_back_record(entry)
    leased: dict[tuple[ManagerId, float], list[TaskId]] = {}
    for entry in entries:
        if entry.manager_id:
            key = entry.manager_id, entry.leased_at
            leased.setdefault(key, []).append(entry.task.task_id)
    for (manager_id, at), task_ids in leased.items():
        yield TasksLeased(manager_id, at, task_ids)
    cancelling = [entry.task.task_id for entry in entries if entry.is_cancelling]
    if cancelling:
        yield TasksCancelling(cancelling)


def _outcomes(
    client_id: ClientId, outcomes: list[Outcome]
) -> Iterator[list[InterchangeRecord]]:
    portion: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        portion.append(outcome)
        size += len(outcome.payload)
        if size > _PORTION_BYTES:
            yield [TasksFinished(client_id, portion)]
            portion, size = [], 0
    if portion:
        yield [TasksFinished(client_id, portion)]
