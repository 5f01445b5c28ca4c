"""Endings: tasks that shall end before they would by themselves. Pure.

    waits at a worker ──recalled──► never begins
    runs ──interrupted──► ends in order
                └──its grace is over──► killed, with its worker

Three wish for it: who cancels a task, its own timeout, and an interchange that wants it
no more (it is *dropped*: it ends without an outcome). And an interchange may ask for
what has not begun: that goes back unless it begins.

Marks are kept by (task_id, attempt): the same task may come back as a new attempt while
the worker of the old one is still dying.
"""

import enum
import math
from collections.abc import Container

import msgspec

from actors.endpoint.manager.crew import Crew, KnownWorker
from actors.endpoint.manager.outcomes import Outcomes
from actors.logic.patience import INTERRUPT_GRACE
from actors.logic.turn import Effect
from actors.logic.workers import TellWorker, WorkerDied
from actors.messages import (
    CancelTasks,
    Interrupt,
    Leased,
    Outcome,
    Ran,
    TaskId,
    TaskState,
)

__all__ = ["Endings", "LeaseKey", "key_of"]

LeaseKey = tuple[TaskId, int]


class _Ending(enum.IntEnum):
    """How a task that is given up shall end; a higher one is the harsher one."""

    IF_UNBEGUN = 0  # one that has begun goes on
    INTERRUPT = 1
    KILL = 2


class _Wish(msgspec.Struct, frozen=True):
    """That a task shall end."""

    how: _Ending
    grace: float = -1.0  # seconds until it is killed after all; < 0: never
    is_recursive: bool = False

    @staticmethod
    def of(order: CancelTasks) -> "_Wish":
        if not order.if_running:
            return _Wish(_Ending.IF_UNBEGUN)
        if order.grace is None or order.grace == 0:
            return _Wish(_Ending.KILL)
        return _Wish(_Ending.INTERRUPT, order.grace, order.is_recursive)


class Endings:
    """The machine; see the module's docstring.

    Args:
        crew: whose tasks they are.
        outcomes: what is said of them.
    """

    def __init__(self, crew: Crew, outcomes: Outcomes) -> None:
        self._crew = crew
        self._outcomes = outcomes
        # To be ended, not handed back: {lease: how, if it has begun}.
        self._cancelled: dict[LeaseKey, _Wish] = {}
        self._dropped: set[LeaseKey] = set()  # to be ended without an outcome
        self._timed_out: set[LeaseKey] = set()  # they were told to end
        self._asked_for: set[LeaseKey] = set()  # to be handed back, if unbegun
        # {lease: when its worker is killed if it goes on}
        self._kill_at: dict[LeaseKey, float] = {}
        self.has_timeouts = False  # some task here may run for so long only

    def __bool__(self) -> bool:
        return bool(
            self._cancelled or self._dropped or self._timed_out or self._asked_for
        )

    # Wishes

    def cancel(
        self,
        order: CancelTasks,
        wanted: Container[TaskId],
        now: float,
        effects: list[Effect],
    ) -> None:
        """End what workers have of the tasks that an order is about.

        Args:
            order: from the interchange.
            wanted: its tasks.
            now: monotonic seconds.
            effects: what follows goes in here.
        """
        wish = _Wish.of(order)
        for worker in self._crew.workers.values():
            for index, (_, task) in enumerate(worker.backlog):
                if task.task_id not in wanted:
                    continue
                key = key_of(task)
                known = self._cancelled.get(key)
                # The same wish again, as after a new registration, interrupts once.
                is_news = known is None or known.how < wish.how
                if index > 0:
                    if is_news:
                        self._cancelled[key] = wish
                    self._crew.recall(worker, effects)
                elif wish.how is not _Ending.IF_UNBEGUN and is_news:
                    self._cancelled[key] = wish
                    self.end_head(worker, now, effects)

    def drop(self, worker: KnownWorker, index: int, effects: list[Effect]) -> None:
        """End a worker's task without an outcome: nobody wants it any more."""
        self._dropped.add(key_of(worker.backlog[index][1]))
        if index == 0:
            self._crew.kill(worker, effects)
        else:
            self._crew.recall(worker, effects)

    def ask_for(self, wanted: Container[TaskId], effects: list[Effect]) -> None:
        """Take back what workers have of some tasks, and have not begun."""
        for worker in self._crew.workers.values():
            behind = [task for _, task in worker.backlog if task.task_id in wanted]
            if behind and behind[0] is worker.head:
                # That one has begun, or is about to.
                del behind[0]
            if behind:
                self._asked_for.update(map(key_of, behind))
                self._crew.recall(worker, effects)

    def end_head(self, worker: KnownWorker, now: float, effects: list[Effect]) -> None:
        """End what a worker runs, if it began before it could be recalled."""
        head = worker.head
        if head is None:
            return
        key = key_of(head)
        wish = self._cancelled.get(key)
        if key in self._dropped or (wish and wish.how is _Ending.KILL):
            self._crew.kill(worker, effects)
        elif wish is not None and wish.how is _Ending.INTERRUPT:
            self._interrupt(worker, wish.is_recursive, effects)
            if wish.grace >= 0:
                self._kill_at.setdefault(key, now + wish.grace)

    @staticmethod
    def _interrupt(
        worker: KnownWorker, is_recursive: bool, effects: list[Effect]
    ) -> None:
        seq = worker.backlog[0][0]
        if worker.interrupted != seq:
            # Twice would interrupt what it does to end in order.
            worker.interrupted = seq
            said = Interrupt(seq, is_recursive)
            effects.append(TellWorker(worker.worker_id, said))

    # Marks

    def is_unwanted(self, task: Leased) -> bool:
        """Tell whether a task was cancelled or dropped."""
        return key_of(task) in self._cancelled or key_of(task) in self._dropped

    def is_dropped(self, task: Leased) -> bool:
        """Tell whether nobody wants to know of a task's end."""
        return key_of(task) in self._dropped

    def is_asked_for(self, task: Leased) -> bool:
        """Tell whether a task is to be handed back."""
        return key_of(task) in self._asked_for

    def is_cancelled(self, task: Leased) -> bool:
        """Tell whether somebody has cancelled a task."""
        return key_of(task) in self._cancelled

    def forget(self, task: Leased) -> None:
        """Let go of all marks of a task that has ended, or begins anew."""
        # It may have all of these at once.
        key = key_of(task)
        self._cancelled.pop(key, None)
        self._dropped.discard(key)
        self._timed_out.discard(key)
        self._asked_for.discard(key)
        self._kill_at.pop(key, None)

    def renumber(self, task: Leased, kept: Leased) -> None:
        """Note that a task goes on as another attempt."""
        key, new_key = key_of(task), key_of(kept)
        if key in self._kill_at:
            self._kill_at[new_key] = self._kill_at.pop(key)
        if key in self._cancelled:
            self._cancelled[new_key] = self._cancelled.pop(key)
        if key in self._timed_out:
            self._timed_out.discard(key)
            self._timed_out.add(new_key)
        if key in self._asked_for:
            self._asked_for.discard(key)
            self._asked_for.add(new_key)

    # What is said

    def of_run(
        self,
        task: Leased,
        ran: Ran,
        outcome: Outcome,
        worker: KnownWorker,
        now: float,
    ) -> Outcome | None:
        """Say that a task has failed because it was to end, if it was.

        Args:
            task: which has run.
            ran: what its worker says; a success stays one.
            outcome: what would be said of it otherwise.
            worker: that one.
            now: monotonic seconds.

        Returns:
            None: nobody wants to know.
        """
        key = key_of(task)
        if key in self._dropped:
            self.forget(task)
            return None
        wish, is_late = self._cancelled.get(key), key in self._timed_out
        self.forget(task)
        if worker.why_terminated is not None and not ran.is_success:
            return self._outcomes.terminated(task, worker, now)
        if outcome.state is TaskState.SUCCESS:
            return outcome
        if wish is not None and wish.how is not _Ending.IF_UNBEGUN:
            return self._outcomes.cancelled(task, now)
        return self._outcomes.as_late(task, outcome) if is_late else outcome

    def of_death(
        self, task: Leased, death: WorkerDied, worker: KnownWorker, now: float
    ) -> Outcome | None:
        """Say why a task has ended with its worker; None: nobody wants to know."""
        key = key_of(task)
        is_cancelled, is_late = key in self._cancelled, key in self._timed_out
        is_dropped = key in self._dropped
        self.forget(task)
        if is_dropped:
            return None
        if is_cancelled:
            return self._outcomes.cancelled(task, now)
        if is_late:
            return self._outcomes.too_late(task, worker, now)
        if worker.why_terminated is not None and not worker.over_bytes:
            return self._outcomes.terminated(task, worker, now)
        return self._outcomes.of_death(task, death, worker, now)

    # Time

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted next; infinity: only messages matter."""
        at = min(self._kill_at.values()) if self._kill_at else math.inf
        return min(at, self._timeout_at()) if self.has_timeouts else at

    def _timeout_at(self) -> float:
        """When the next head has run for too long."""
        return min(
            (
                worker.head_since + worker.backlog[0][1].timeout
                for worker in self._crew.workers.values()
                if worker.backlog
                and worker.backlog[0][1].timeout is not None
                and not worker.is_killed
                and key_of(worker.backlog[0][1]) not in self._timed_out
            ),
            default=math.inf,
        )

    def tick(self, now: float, effects: list[Effect]) -> None:
        """Interrupt what has run for too long; kill what went on after that."""
        if self.has_timeouts:
            self._end_late(now, effects)
        if self._kill_at:
            self._kill_late(now, effects)

    def _end_late(self, now: float, effects: list[Effect]) -> None:
        self.has_timeouts = False
        for worker in self._crew.workers.values():
            for index, (_, task) in enumerate(worker.backlog):
                if task.timeout is None or worker.is_killed:
                    continue
                self.has_timeouts = True
                if index or worker.head_since + task.timeout > now:
                    continue
                key = key_of(task)
                if key not in self._timed_out:
                    self._timed_out.add(key)
                    self._kill_at[key] = now + INTERRUPT_GRACE
                    self._interrupt(worker, False, effects)

    def _kill_late(self, now: float, effects: list[Effect]) -> None:
        for worker in self._crew.workers.values():
            if worker.backlog:
                key = key_of(worker.backlog[0][1])
                if self._kill_at.get(key, math.inf) <= now:
                    self._crew.kill(worker, effects)
        self._kill_at = {k: at for k, at in self._kill_at.items() if at > now}

    def check(self, here: Container[LeaseKey]) -> None:
        """Raise AssertionError if something is marked that is not here."""
        marked = self._cancelled.keys() | self._dropped | self._timed_out
        marked |= self._kill_at.keys() | self._asked_for
        stray = [key for key in marked if key not in here]
        assert not stray, f"marked but not here: {stray}"


def key_of(task: Leased) -> LeaseKey:
    """Return what tells one attempt at a task from another."""
    return task.task_id, task.attempt
