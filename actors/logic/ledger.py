"""The interchange's table of tasks that are accepted and not finished.

    accept ──► waiting-for-nodes ──lease──► waiting-for-launch ──report──► running
                     ▲                             │                          │
                     └──────── put_back ◄──────────┴──────────────────────────┘
    finish (from any of them) takes the task out and gives its outcome

States are ordered by (attempt, rank); a report about an older attempt, or an earlier
state of the same attempt, changes nothing. An attempt is one lease. A start that the
infrastructure lost counts against `Task.retries`; a lease handed back unstarted does
not.

Those that wait do so in the backlog, or, if they ask for something of where they run,
in a queue with those that ask for the same. Tickets tell who came first; nobody draws
one before something of that kind waits, nor once nothing waits any more.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from actors.logic.backlog import Backlog
from actors.logic.demanding import Demanding, rank
from actors.logic.ended import SAMPLE, EndedTasks
from actors.messages import (
    BlockId,
    ClientId,
    Delta,
    Failure,
    ManagerId,
    Needs,
    Outcome,
    Step,
    Task,
    TaskId,
    TaskState,
)

__all__ = ["Entry", "Ledger"]

_QUEUED = TaskState.WAITING_FOR_NODES
_LEASED = TaskState.WAITING_FOR_LAUNCH
_SUCCESS = TaskState.SUCCESS
_NOBODY = ManagerId("")
_NOWHERE = BlockId("")


class Entry(msgspec.Struct, gc=False, eq=False):
    """One unfinished task.

    A struct, as each task makes one: measured, that takes a quarter of the time of a
    class with slots. It is in no reference cycle.
    """

    task: Task
    client_id: ClientId
    queued_at: float
    # The task's, for those it waits with
    priority: int = 0
    is_waiting: bool = False  # in the backlog
    attempt: int = 1  # the current lease's, or the next one's
    state: TaskState = _QUEUED
    manager_id: ManagerId = _NOBODY  # who has the lease
    claimed: int = 0  # the attempt that this one says to have; 0: it has said none
    avoid: BlockId = _NOWHERE  # the block that lost the last attempt
    lost_starts: int = 0
    is_cancelling: bool = False
    leased_at: float = 0.0
    running_at: float = 0.0
    past: tuple[Step, ...] = ()  # of earlier attempts
    ticket: int = 0  # 0: it came before all that have one
    # Set by `Demanding` alone: the queue that it waits in.
    wish: Needs | None = None
    # Set by the roster alone: the place of a call among others.
    number: int = 0


class Ledger:
    """The table, and the queue of those that wait in it.

    Args:
        wall_offset: what to add to `now` to get seconds since 1970.
    """

    def __init__(self, wall_offset: float) -> None:
        self.entries: dict[TaskId, Entry] = {}
        # {id: entry}: those of `entries` that are for actors; they wait elsewhere.
        self.calls: dict[TaskId, Entry] = {}
        self.backlog: Backlog[Entry] = Backlog()
        # Those that ask for something, but for no amounts
        self.demanding: Demanding[Entry] = Demanding()
        # Those that ask for amounts of something: see `matching`
        self.asking: Demanding[Entry] = Demanding()
        self._tickets = 0  # drawn so far
        self._is_drawing = False  # everybody who comes draws one
        # {client: its tasks that wait until it has read some results}; some may have
        # ended meanwhile.
        self.held_back: dict[ClientId, deque[Entry]] = {}
        self.ended = EndedTasks()
        self._wall_offset = wall_offset
        self._told_at = -math.inf  # the moment of the last end
        self._room = 0  # how many more successes of that moment are remembered

    @property
    def waiting(self) -> int:
        """Tasks that wait for a manager, whatever they ask for."""
        if self.asking or self.demanding:
            return len(self.backlog) + len(self.asking) + len(self.demanding)
        return len(self.backlog)

    @property
    def leased(self) -> int:
        held_back = sum(sum(map(self._is_here, e)) for e in self.held_back.values())
        elsewhere = held_back + len(self.calls)
        return len(self.entries) - self.waiting - elsewhere

    @property
    def those_waiting(self) -> Iterator[Entry]:
        """All that wait, of each queue in its order."""
        return chain(self.backlog, self.demanding, self.asking)

    def queue(self, entry: Entry) -> None:
        """Let a task, which does not wait yet, wait behind all of its priority."""
        entry.ticket = self._draw(entry)
        self._home(entry).append(entry)

    def _queue_first(self, entry: Entry) -> None:
        entry.ticket = -self._draw(entry)
        self._home(entry).push_front(entry)

    def queue_as_before(self, entry: Entry) -> None:
        """Put a task back into its place, after all before it were put back, too."""
        self._home(entry).push_front(entry)

    def _withdraw(self, entry: Entry) -> bool:
        return self._home(entry).withdraw(entry)

    def _home(self, entry: Entry) -> Backlog[Entry] | Demanding[Entry]:
        """Return where a task waits, if it does."""
        needs = entry.task.needs
        if needs is None:
            return self.backlog
        return self.demanding if needs.amounts is None else self.asking

    def _draw(self, entry: Entry) -> int:
        if entry.task.needs is None and not self._must_draw():
            return 0
        self._is_drawing = True
        self._tickets += 1
        return self._tickets

    def _must_draw(self) -> bool:
        if self._is_drawing and not (self.backlog or self.demanding or self.asking):
            self._is_drawing = False
        return self._is_drawing

    def _is_here(self, entry: Entry) -> bool:
        """Tell whether a task that was held back has not ended since."""
        return self.entries.get(entry.task.task_id) is entry

    def hold_back(self, client_id: ClientId) -> None:
        """Lease none of a client's tasks that wait, until `let_go`."""

        def is_its(entry: Entry) -> bool:
            return entry.client_id == client_id

        queues = (self.backlog, self.demanding, self.asking)
        taken = [entry for queue in queues for entry in queue.take_out(is_its)]
        self.held_back[client_id] = deque(sorted(taken, key=rank))

    def let_go(self, client_id: ClientId) -> None:
        """Let a client's tasks wait again, behind the others."""
        for entry in self.held_back.pop(client_id, ()):
            if self._is_here(entry):
                self.queue(entry)

    def accept_first(
        self, tasks: Iterable[Task], client_id: ClientId, now: float
    ) -> int:
        """Enter tasks that are not known, and let them wait before all others."""
        at = now + self._wall_offset
        entries = [Entry(task, client_id, at, task.priority) for task in tasks]
        for entry in reversed(entries):
            self.entries[entry.task.task_id] = entry
            self._queue_first(entry)
        return len(entries)

    def accept(self, tasks: Iterable[Task], client_id: ClientId, now: float) -> int:
        """Enter tasks and let them wait; a known id is not entered twice.

        Returns:
            How many were entered.
        """
        at = now + self._wall_offset
        entries = self.entries
        entered: list[Entry] = []
        enter = entered.append
        has_needs = False
        for task in tasks:
            if task.task_id not in entries:
                entry = Entry(task, client_id, at, task.priority)
                entries[task.task_id] = entry
                enter(entry)
                if task.needs is not None:
                    has_needs = True
        if has_needs or self._must_draw():
            for entry in entered:
                self.queue(entry)
        else:
            self.backlog.extend(entered)
        return len(entered)

    def lease(
        self,
        manager_id: ManagerId,
        block_id: BlockId,
        count: int,
        now: float,
        *,
        is_only_block: bool,
    ) -> list[Entry]:
        """Lease up to `count` tasks of the backlog to a manager, oldest first.

        A lease has no deadline: it ends when the manager finishes the task, hands it
        back, or is declared lost.

        Args:
            manager_id: who gets them.
            block_id: its block; tasks that avoid it are passed over.
            count: at most so many, >= 0.
            now: monotonic seconds.
            is_only_block: there is no other block: nothing is passed over.
        """
        at = now + self._wall_offset
        leases: list[Entry] = []
        passed_over: list[Entry] = []
        while entries := self.backlog.pop(count - len(leases)):
            for entry in entries:
                if entry.avoid and entry.avoid == block_id and not is_only_block:
                    passed_over.append(entry)
                    continue
                entry.state = _LEASED
                entry.manager_id = manager_id
                entry.leased_at = at
                leases.append(entry)
        for entry in reversed(passed_over):
            self.backlog.push_front(entry)
        return leases

    def lease_one(self, entry: Entry, manager_id: ManagerId, now: float) -> None:
        """Lease a task that was taken out of where it waited."""
        entry.state = _LEASED
        entry.manager_id = manager_id
        entry.leased_at = now + self._wall_offset

    def enter_call(self, task: Task, client_id: ClientId, now: float) -> Entry:
        """Enter a task that is for an actor, and was not known; it waits elsewhere."""
        entry = Entry(task, client_id, now + self._wall_offset, task.priority)
        self.entries[task.task_id] = self.calls[task.task_id] = entry
        return entry

    def hold(self, entry: Entry, manager_id: ManagerId) -> None:
        """Enter the lease of a task that does not wait: it was there before us."""
        entry.state = _LEASED
        entry.manager_id = manager_id

    def adopt(
        self, task_id: TaskId, attempt: int, manager_id: ManagerId, now: float
    ) -> int | None:
        """Take a manager's word that it holds a task.

        Returns:
            The attempt under which it keeps the task; None: it must drop it, because
            the task is finished, unknown, being cancelled, or leased to another.
        """
        entry = self.entries.get(task_id)
        if entry is None or entry.is_cancelling:
            return None
        if entry.manager_id == manager_id:
            entry.claimed = attempt
            # It may not have heard yet under which attempt it has kept the task. Or we
            # come from a machine that lost its power, and have forgotten an attempt.
            entry.attempt = max(entry.attempt, attempt)
            return entry.attempt
        if entry.manager_id or not self._withdraw(entry):
            return None
        entry.claimed = attempt
        entry.attempt = max(entry.attempt, attempt)
        entry.state = _LEASED
        entry.manager_id = manager_id
        entry.leased_at = now + self._wall_offset
        return entry.attempt

    def progress(self, delta: Delta) -> Entry | None:
        """Note a manager's report; None: it is no news."""
        entry = self.entries.get(delta.task_id)
        if (
            entry is None
            or delta.state.is_final
            or (delta.attempt, delta.state) <= (entry.attempt, entry.state)
            or delta.attempt > entry.attempt
        ):
            return None
        entry.state = delta.state
        entry.running_at = delta.at
        return entry

    def put_back(
        self,
        entry: Entry,
        why: str,
        now: float,
        *,
        was_lost: bool,
        avoid: BlockId,
        tried: Outcome | None = None,
    ) -> None:
        """Let a leased task wait again, before all others.

        A call waits elsewhere; a task of a client that is held back, with its others.

        Args:
            entry: leased.
            why: for its history.
            now: monotonic seconds.
            was_lost: it may have begun: one start less is left.
            avoid: the block that should not have it next, or "".
            tried: what its manager knows of the attempt.
        """
        at = now + self._wall_offset
        began_at, place = entry.running_at, str(entry.manager_id)
        if tried is not None and tried.began_at:
            began_at, place = tried.began_at, tried.worker_id
        attempt = Outcome(
            entry.task.task_id,
            entry.attempt,
            _QUEUED,
            b"",
            began_at=began_at,
            worker_id=place,
            queued_at=entry.queued_at,
            leased_at=entry.leased_at,
            manager_id=entry.manager_id,
        )
        entry.past = (
            *entry.past,
            *attempt.steps,
            Step(_QUEUED, entry.attempt, at, why),
        )
        entry.attempt += 1
        entry.lost_starts += was_lost
        entry.avoid = avoid
        entry.state = _QUEUED
        entry.manager_id = _NOBODY
        entry.claimed = 0
        entry.queued_at = at
        entry.leased_at = entry.running_at = 0.0
        if entry.task.actor is not None:
            return
        held_back = self.held_back.get(entry.client_id)
        if held_back is None:
            self._queue_first(entry)
        else:
            held_back.appendleft(entry)

    def may_start_again(self, entry: Entry) -> bool:
        """Tell whether another start may be lost after this one."""
        return entry.lost_starts < entry.task.retries

    def finish(
        self,
        entry: Entry,
        state: TaskState,
        now: float,
        *,
        tried: Outcome | None = None,
        failure: Failure | None = None,
    ) -> Outcome:
        """Take a task out and make its outcome.

        Args:
            entry: in the table.
            state: a final one.
            now: monotonic seconds.
            tried: what its manager says of the attempt, if that made its end.
            failure: why it has no result.
        """
        task_id = entry.task.task_id
        del self.entries[task_id]
        if self.calls:
            self.calls.pop(task_id, None)
        if entry.is_waiting:
            self._home(entry).remove(entry)
        if tried is not None:
            payload, ended_at = tried.payload, tried.ended_at
            began_at, worker_id = tried.began_at, tried.worker_id
        else:
            payload, ended_at = b"", now + self._wall_offset
            began_at, worker_id = entry.running_at, entry.manager_id
        outcome = Outcome(
            task_id,
            entry.attempt,
            state,
            payload,
            failure,
            ended_at,
            began_at,
            worker_id,
            entry.queued_at,
            entry.leased_at,
            entry.manager_id,
            entry.past,
        )
        if now != self._told_at:
            self._told_at, self._room = now, SAMPLE
        if self._room > 0 or state is not _SUCCESS:
            self._room -= 1
            self.ended.note(entry.task.name, entry.client_id, outcome)
        return outcome

    def check(self) -> None:
        """Raise AssertionError unless table and queue agree."""
        self.backlog.check()
        self.demanding.check()
        self.asking.check()
        queued = {entry.task.task_id for entry in self.those_waiting}
        assert not any(entry.task.needs for entry in self.backlog)
        ranks = [rank(entry) for entry in self.backlog]
        assert ranks == sorted(ranks), "tickets are out of order"
        for entries in self.held_back.values():
            queued |= {e.task.task_id for e in entries if self._is_here(e)}
        for task_id, entry in self.entries.items():
            is_queued = task_id in queued
            assert (task_id in self.calls) == (entry.task.actor is not None), task_id
            if task_id in self.calls:
                assert not is_queued, task_id
                is_queued = entry.state is _QUEUED
            assert is_queued == (entry.state is _QUEUED), task_id
            assert is_queued == (not entry.manager_id), task_id
            assert entry.lost_starts <= max(0, entry.task.retries), task_id
            assert not entry.state.is_final, task_id
        assert queued <= self.entries.keys(), "a task waits that is not in the table"
