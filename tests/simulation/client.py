"""Clients: they submit, cancel, and keep every outcome that they are told of."""

from collections import defaultdict
from typing import Any, Protocol

from actors.api.session import (
    BeBarred,
    CancelNow,
    Leave,
    Progress,
    Resolve,
    Session,
    SubmitNow,
)
from actors.logic.turn import Exit
from actors.messages import Outcome, Task, TaskId
from tests.simulation.batch import FAILING
from tests.simulation.network import Node, Surroundings

__all__ = ["ClientNode", "Stage"]


class Stage(Surroundings, Protocol):
    """What clients need of their world."""

    def note(self, text: str) -> None: ...


class ClientNode(Node):
    """A client that keeps every outcome that it is told of.

    Args:
        is_guest: it goes away, or dies, before its tasks are done.
    """

    machine: Session
    world: Stage

    def __init__(
        self, world: Stage, name: str, machine: Session, *, is_guest: bool
    ) -> None:
        super().__init__(world, name, machine)
        self.is_guest = is_guest
        self.resolved: dict[TaskId, list[Outcome]] = defaultdict(list)
        self.submitted: dict[TaskId, Task] = {}
        self.cancelled: set[TaskId] = set()
        self._ranks: dict[TaskId, tuple[int, int]] = {}

    def submit(self, count: int) -> None:
        chance = self.world.chance
        tasks = []
        for _ in range(count):
            task_id = TaskId(f"{self.name}-{len(self.submitted)}")
            retries = chance.choice((0, 1, 3, 100))
            priority = chance.choice((0, 0, 0, 5))
            arguments = task_id.encode()
            if chance.random() < 0.1:
                arguments = FAILING + arguments
            task = Task(task_id, b"f", arguments, self.world.now, retries, priority)
            self.submitted[task_id] = task
            tasks.append(task)
        self.tell(SubmitNow(tasks))

    def cancel_some(self) -> None:
        chance = self.world.chance
        open_ids = [t for t in self.submitted if t not in self.resolved]
        if open_ids:
            some = chance.sample(open_ids, min(3, len(open_ids)))
            self.cancelled.update(some)
            self.tell(CancelNow(some, chance.random() < 0.7))

    def depart(self) -> None:
        """End for good: in order, or like a process that is killed."""
        if self.world.chance.random() < 0.5:
            self.world.note(f"{self.name} leaves")
            self.tell(Leave())
        else:
            self.world.note(f"{self.name} dies")
            self.crash()

    def do(self, effect: Any) -> None:
        match effect:
            case Resolve(outcomes):
                for outcome in outcomes:
                    self.resolved[outcome.task_id].append(outcome)
            case Progress(deltas):
                for delta in deltas:
                    rank = (delta.attempt, int(delta.state))
                    assert rank > self._ranks.get(delta.task_id, (0, 0)), delta
                    self._ranks[delta.task_id] = rank
            case BeBarred(reason):
                raise AssertionError(f"{self.name} was barred: {reason}")
            case Exit():
                self.is_alive = False
                # What was sent before the exit still arrives.
                self.world.heart.after(2.0, self.crash)
            case _:
                super().do(effect)

    @property
    def is_done(self) -> bool:
        return self.is_guest or self.submitted.keys() == self.resolved.keys()
