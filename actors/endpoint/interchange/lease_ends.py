"""Lease ends: a task is finished, handed back, or lost with its manager. Pure.

    Finished ─► outcome at its client       Returned ─► it waits again
    lost, or failed by the infrastructure ─► it waits again, while its retries last

What makes a manager forget, `AckFinished`, waits until the records are on disk; the
outcome itself does not: if power is lost before, its client knows it already, and the
manager tells it again.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.delivery import Delivery
from actors.endpoint.interchange.leasing import Leasing
from actors.endpoint.interchange.restoration import put_back_record
from actors.logic.fleet import ManagerEntry
from actors.logic.ledger import Entry
from actors.logic.records import TasksLeased
from actors.logic.turn import Turn
from actors.messages import (
    AckFinished,
    BlockId,
    CancelTasks,
    ClientId,
    Delta,
    Failure,
    FailureKind,
    Holding,
    Outcome,
    StatesChanged,
    TaskId,
    TaskState,
)

__all__ = ["LeaseEnds"]

# Looked up once: in Python 3.11 that takes long.
_SUCCESS = TaskState.SUCCESS
# Failures that cost an infrastructure attempt instead of ending the task.
_INFRASTRUCTURE = frozenset(
    {
        FailureKind.WORKER_DIED,
        FailureKind.OUT_OF_MEMORY,
        FailureKind.MANAGER_LOST,
        FailureKind.BLOCK_FAILED,
    }
)


class LeaseEnds:
    """The machine; see the module's docstring.

    Args:
        books: of the interchange.
        leasing: of what comes next.
        delivery: of outcomes.
    """

    def __init__(self, books: Books, leasing: Leasing, delivery: Delivery) -> None:
        self._wall_offset = books.settings.wall_offset
        self._ledger = books.ledger
        self._fleet = books.fleet
        self._clients = books.clients
        self._block_errors = books.block_errors
        self._calls = books.roster.calls
        self._members = books.members
        self._leasing = leasing
        self._delivery = delivery

    def progress(
        self, deltas: list[Delta], manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        """Pass on what has become of leases so far."""
        by_client: dict[ClientId, list[Delta]] = {}
        for delta in deltas:
            if delta.task_id in manager.leases:
                entry = self._ledger.progress(delta)
                if entry is not None:
                    by_client.setdefault(entry.client_id, []).append(delta)
        for client_id, news in by_client.items():
            client = self._clients[client_id]
            if client.gone_at == math.inf:
                self._members.send(client.peer, StatesChanged(news), now, turn)

    # Finished

    def finished(
        self, outcomes: list[Outcome], manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        """Take a manager's outcomes, acknowledge them, and fill its room."""
        by_client: defaultdict[ClientId, list[Outcome]] = defaultdict(list)
        held, finish = manager.leases, self._ledger.finish
        is_plain = manager.has_plain_leases_only
        freed: ManagerEntry | None = manager  # None: perhaps others, too
        for outcome in outcomes:
            entry = held.get(outcome.task_id)
            if entry is not None and outcome.state is _SUCCESS:
                # As `_finish` would, which has more to ask.
                if is_plain:
                    del held[outcome.task_id]
                else:
                    manager.release(outcome.task_id, now)
                ended = finish(entry, _SUCCESS, now, tried=outcome)
                by_client[entry.client_id].append(ended)
                continue
            freed = None
            final = self._finish(outcome, manager, now, turn)
            if final is not None:
                client_id, ended = final
                by_client[client_id].append(ended)
        # A duplicate, or a task that nobody knows, is acknowledged again.
        firsts = [o.task_id for o in outcomes if o.attempt == 1]
        if firsts:
            turn.promise(manager.peer, AckFinished(firsts))
        if len(firsts) < len(outcomes):
            for outcome in outcomes:
                if outcome.attempt != 1:
                    ack = AckFinished([outcome.task_id], outcome.attempt)
                    turn.promise(manager.peer, ack)
        if by_client:
            manager.note_idle(now)
            self._block_errors.note_worked(manager.block_id)
        deliver, send = self._delivery.deliver, self._members.send_eagerly
        for client_id, ended_now in by_client.items():
            # Forgotten, they are told again: the manager keeps them until the ack.
            deliver(ended_now, self._clients[client_id], now, turn, send=send)
        self._leasing.place(now, turn, only=freed)

    def _finish(
        self, outcome: Outcome, manager: ManagerEntry, now: float, turn: Turn
    ) -> tuple[ClientId, Outcome] | None:
        entry = self._ledger.entries.get(outcome.task_id)
        if entry is None:
            manager.release(outcome.task_id, now)
            return None
        is_holder = entry.manager_id == manager.manager_id
        failure = outcome.failure
        is_infrastructure = failure is not None and failure.kind in _INFRASTRUCTURE
        is_conclusive = outcome.state is TaskState.SUCCESS or (
            outcome.state is TaskState.FAILED and not is_infrastructure
        )
        if not is_holder and not is_conclusive:
            return None
        if (
            is_holder
            and not is_conclusive
            and outcome.attempt < entry.attempt
            and outcome.attempt != entry.claimed
        ):
            # Told again, as our acknowledgement was lost: it has a newer lease by now.
            return None
        if is_holder:
            manager.release(outcome.task_id, now)
        elif entry.manager_id:
            # It came back from the lost with a result: the other try is in vain.
            other = self._fleet.managers[entry.manager_id]
            other.release(outcome.task_id, now)
            turn.promise(other.peer, CancelTasks([outcome.task_id]))
        # The death of an older attempt was counted when that attempt was given up.
        is_counted = outcome.attempt != entry.attempt
        if (
            failure is not None
            and is_infrastructure
            and not entry.is_cancelling
            and (is_counted or self._ledger.may_start_again(entry))
        ):
            self._ledger.put_back(
                entry,
                failure.message,
                now,
                was_lost=not is_counted,
                avoid=manager.block_id,
                tried=outcome,
            )
            self._waits_again(entry, turn)
            return None
        state = outcome.state
        if is_infrastructure and entry.is_cancelling:
            state, failure = TaskState.CANCELLED, None
        elif is_infrastructure and entry.task.actor is not None:
            failure, payload = self._calls.failure_for(entry)
            outcome = msgspec.structs.replace(outcome, payload=payload)
        elif failure is not None and is_infrastructure:
            failure = _without_retries(failure, entry)
        ended = self._ledger.finish(entry, state, now, tried=outcome, failure=failure)
        return entry.client_id, ended

    def _waits_again(self, entry: Entry, turn: Turn) -> None:
        """Write down that a task was put back; a call waits with its actor."""
        turn.records.append(put_back_record(entry))
        if entry.task.actor is not None:
            self._calls.wait_again(entry)

    # Handed back, or lost

    def returned(
        self, leases: Sequence[Holding], manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        """Take back what a manager has not begun."""
        # Each goes before all that wait: so the last one first.
        for lease in reversed(leases):
            entry = self._lease_of(lease.task_id, manager)
            if entry is not None:
                self._put_back(entry, manager, "handed back", now, turn)

    def compare(
        self, manager: ManagerEntry, told: list[Holding], now: float, turn: Turn
    ) -> list[Holding]:
        """Compare what a manager holds with what it was given.

        Returns:
            What it keeps; it drops the others.
        """
        ledger = self._ledger
        manager_id = manager.manager_id
        # What it says of an earlier try of a call is no word on the present one.
        calls = ledger.calls
        said = [
            holding
            for holding in told
            if holding.task_id not in calls
            or holding.attempt >= calls[holding.task_id].attempt
        ]
        held = {holding.task_id for holding in said}
        for task_id in reversed([t for t in manager.all_leases if t not in held]):
            # The lease never reached it: nothing has begun.
            entry = ledger.entries[task_id]
            why = f"lease did not reach {manager_id}"
            self._put_back(entry, manager, why, now, turn)
        for task_id in list(manager.all_leases):
            entry = ledger.entries[task_id]
            if entry.is_cancelling:
                # It drops what is not adopted, and says no more of it.
                manager.release(task_id, now)
                self._delivery.end(entry, TaskState.CANCELLED, None, now, turn)
        adopted: list[Holding] = []
        unrecorded: list[TaskId] = []
        # Of one task it may have both an old outcome and a lease.
        claims: dict[TaskId, int] = {}
        for holding in said:
            newest = max(claims.get(holding.task_id, 0), holding.attempt)
            claims[holding.task_id] = newest
        for task_id, claimed in claims.items():
            attempt = ledger.adopt(task_id, claimed, manager_id, now)
            if attempt is not None:
                entry = ledger.entries[task_id]
                if task_id not in manager.all_leases:
                    unrecorded.append(task_id)
                    manager.hold(entry)
                adopted.append(Holding(task_id, attempt))
        if unrecorded:
            at = now + self._wall_offset
            turn.records.append(TasksLeased(manager_id, at, unrecorded))
        return adopted

    def lost(
        self,
        manager: ManagerEntry,
        where: str,
        failure: Failure,
        now: float,
        turn: Turn,
    ) -> None:
        """Take back all that a manager has, which may have begun.

        Args:
            manager: it is given up.
            where: its name, for the histories of tasks.
            failure: of those that may not begin again.
            now: monotonic seconds.
            turn: what follows goes in here.
        """
        # Each goes before all that wait: so the last one first.
        for task_id in reversed(list(manager.all_leases)):
            entry = self._lease_of(task_id, manager)
            manager.release(task_id, now)
            if entry is None:
                continue
            if entry.is_cancelling:
                self._delivery.end(entry, TaskState.CANCELLED, None, now, turn)
            elif self._ledger.may_start_again(entry):
                self._ledger.put_back(
                    entry,
                    f"{where} was lost",
                    now,
                    was_lost=True,
                    avoid=manager.block_id,
                )
                self._waits_again(entry, turn)
            elif entry.task.actor is not None:
                why, _ = self._calls.failure_for(entry)
                self._delivery.end(entry, TaskState.FAILED, why, now, turn)
            else:
                why = _without_retries(failure, entry)
                self._delivery.end(entry, TaskState.FAILED, why, now, turn)

    def _put_back(
        self, entry: Entry, manager: ManagerEntry, why: str, now: float, turn: Turn
    ) -> None:
        """Let an unstarted task wait again, or end it if it was being cancelled."""
        manager.release(entry.task.task_id, now)
        if entry.is_cancelling:
            self._delivery.end(entry, TaskState.CANCELLED, None, now, turn)
        else:
            self._ledger.put_back(entry, why, now, was_lost=False, avoid=BlockId(""))
            self._waits_again(entry, turn)

    def _lease_of(self, task_id: TaskId, manager: ManagerEntry) -> Entry | None:
        entry = self._ledger.entries.get(task_id)
        if entry is not None and entry.manager_id == manager.manager_id:
            return entry
        return None


def _without_retries(failure: Failure, entry: Entry) -> Failure:
    starts = entry.lost_starts + 1
    return Failure(
        failure.kind,
        f"{failure.message} (start {starts} of {entry.task.retries + 1} that retries="
        f"{entry.task.retries} allows)",
        failure.detail,
    )
