"""Clients: they submit, cancel, and keep every outcome that they are told of."""

from collections import defaultdict
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from actors.api.session import (
    BeBarred,
    CancelNow,
    Leave,
    Progress,
    Receive,
    Resolve,
    Session,
    Show,
    SubmitNow,
    TakeNow,
)
from actors.logic.item_streams import ALL_ITEMS
from actors.logic.restarts import RestartKind
from actors.logic.turn import Exit
from actors.messages import (
    ActorOptions,
    ActorWork,
    FailureKind,
    GroupOptions,
    Item,
    Needs,
    NewActor,
    NewChild,
    NewGroup,
    Outcome,
    Task,
    TaskId,
    TaskState,
    encode_one,
)
from tests.simulation.batch import FAILING, ITEMS, item_of
from tests.simulation.network import Node, Surroundings

__all__ = ["ClientNode", "Stage"]


KINDS: tuple[RestartKind, ...] = ("permanent", "permanent", "transient", "temporary")


class Stage(Surroundings, Protocol):
    """What clients need of their world."""

    has_actors: bool
    has_groups: bool
    has_large: bool  # all payloads lie in memory
    slots: int

    def note(self, text: str) -> None: ...
    def draw_needs(self) -> Needs | None: ...


class Reader:
    """Reads a generator's items, some at a time; one in ten lets go of it.

    Args:
        client: whose.
        task: the generator.
    """

    def __init__(self, client: "ClientNode", task: Task) -> None:
        self._client = client
        self._task = task
        self.known = 0
        self.taken = 0

    def add(self, item: Item) -> None:
        if item.index < self.known:
            if item.index < self.taken:
                self._tell()
            return
        assert item.index == self.known, f"{item} after {self.known} items"
        payload = self._client.world.memory.read(item.payload)
        assert payload == item_of(self._task.arguments, item.index), item
        self.known += 1
        chance = self._client.world.chance
        self._client.world.heart.after(chance.choice((0.0, 0.1, 3.0)), self._read)

    def _read(self) -> None:
        if self.taken < self.known:
            let_go = self._client.world.chance.random() < 0.02
            self.taken = ALL_ITEMS if let_go else self.known
            self._tell()

    def _tell(self) -> None:
        self._client.tell(TakeNow(self._task.task_id, self.taken))


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
        self.readers: dict[TaskId, Reader] = {}
        self.actors: list[str] = []  # on which it has handles
        self.groups: list[str] = []
        self._made_actors = 0
        self._is_winding_up = False  # it makes no more calls, and drops its handles
        self._ranks: dict[TaskId, tuple[int, int]] = {}
        self.lines: list[bytes] = []  # that workers have printed for it

    def submit(self, count: int) -> None:
        chance = self.world.chance
        if self.world.has_actors and chance.random() < 0.7:
            self._call(count)
            return
        tasks = []
        for _ in range(count):
            task_id = TaskId(f"{self.name}-{len(self.submitted)}")
            retries = chance.choice((0, 1, 3, 100))
            priority = chance.choice((0, 0, 0, 5))
            arguments = task_id.encode()
            if chance.random() < 0.1:
                arguments = FAILING + arguments
            timeout, streams_from = None, -1
            if self.world.has_actors and chance.random() < 0.2:
                timeout = chance.choice((0.1, 1.0))
            if self.world.has_actors and chance.random() < 0.4:
                streams_from = 0
            needs = self.world.draw_needs()
            task = Task(
                task_id,
                b"f",
                arguments,
                self.world.now,
                retries,
                priority,
                timeout=timeout,
                needs=needs,
                streams_from=streams_from,
            )
            self._enter(task)
            tasks.append(task)
        self.tell(SubmitNow(self._written(tasks)))

    def _written(self, tasks: list[Task]) -> list[Task]:
        """Put arguments into memory, if they are large."""
        if not self.world.has_large:
            return tasks
        return [
            replace(task, arguments=self.world.memory.write(self, task.arguments))
            if task.actor is None or task.actor.verb in ("create", "call")
            else task
            for task in tasks
        ]

    def _read(self, outcome: Outcome) -> Outcome:
        payload = self.world.memory.read(outcome.payload)
        return replace(outcome, payload=payload)

    def _call(self, count: int) -> None:
        """Call an actor, new or known, of our own."""
        chance = self.world.chance
        tasks: list[Task] = []
        if not self.actors or chance.random() < 0.3:
            actor_id = f"{self.name}-a{self._made_actors}"
            # One alone may take a place for good, or all others might wait for ever.
            takes_place = self.world.slots > 1 and actor_id == "c0-a0"
            self._made_actors += 1
            self.actors.append(actor_id)
            options = ActorOptions(
                "Actor",
                max_restarts=chance.choice((0, 1, 5, -1)),
                max_concurrency=1,
                fails_on_restart=chance.random() < 0.2,
                num_cpus=1.0 if takes_place else 0.0,
            )
            # What can never be constructed would be tried for ever.
            may_fail = options.max_restarts >= 0
            creation = ActorWork(actor_id, "create", options)
            tasks.append(self._work(creation, may_fail=may_fail))
        if self.world.has_groups and chance.random() < 0.4:
            tasks += self._supervise()
        work = ActorWork(chance.choice(self.actors), "call")
        for _ in range(count):
            tasks.append(self._work(work, retries=chance.choice((0, 0, 1, 3))))
        if chance.random() < 0.2:
            tasks.append(self._work(ActorWork(work.actor_id, "watch")))
        if chance.random() < 0.1:
            is_final = chance.random() < 0.5
            ended = ActorWork(work.actor_id, "kill" if is_final else "restart")
            tasks.append(self._work(ended))
        self.tell(SubmitNow(self._written(tasks)))

    def _supervise(self) -> list[Task]:
        """Make a supervisor, or stop one."""
        chance = self.world.chance
        if self.groups and chance.random() < 0.3:
            return [self._work(ActorWork(chance.choice(self.groups), "stop"))]
        group_id = f"{self.name}-g{len(self.groups)}"
        inner = self._group(f"{group_id}i")
        group = self._group(group_id)
        if chance.random() < 0.5:
            group.children.insert(1, NewChild("inner", "permanent", group=inner))
        self.groups.append(group_id)
        # Also those that are not made, and are dead to who calls them.
        for each in (*group.children, *inner.children):
            if each.actor is not None:
                self.actors.append(each.actor.actor_id)
        work = self._work(ActorWork(group_id, "supervise"), may_fail=False)
        work = msgspec.structs.replace(work, arguments=encode_one(group))
        self._enter(work)
        return [work, self._work(ActorWork(group_id, "watch"))]

    def _group(self, group_id: str) -> NewGroup:
        chance = self.world.chance
        options = GroupOptions(
            chance.choice(("one_for_one", "rest_for_one", "one_for_all")),
            chance.choice((0, 1, 5)),
            chance.choice((1.0, 10.0)),
            chance.choice((0.1, 5.0)),
            0.05,
            1.0,
        )
        made = ActorOptions("Child", max_concurrency=1)
        children = []
        for number in range(chance.choice((1, 2, 3))):
            actor_id = f"{group_id}-a{number}"
            arguments = actor_id.encode()
            if chance.random() < 0.03:
                arguments = FAILING + arguments
            kind = chance.choice(KINDS)
            actor = NewActor(actor_id, b"class", arguments, made)
            children.append(NewChild(f"a{number}", kind, actor))
        return NewGroup(group_id, options, children)

    def _work(
        self, work: ActorWork, retries: int = 3, *, may_fail: bool = True
    ) -> Task:
        task_id = TaskId(f"{self.name}-{len(self.submitted)}")
        arguments = task_id.encode()
        if may_fail and self.world.chance.random() < 0.1:
            arguments = FAILING + arguments
        now = self.world.now
        is_stream = work.verb == "call" and self.world.chance.random() < 0.2
        streams_from = 0 if is_stream else -1
        task = Task(
            task_id,
            b"@m",
            arguments,
            now,
            retries,
            actor=work,
            streams_from=streams_from,
        )
        self._enter(task)
        return task

    def _enter(self, task: Task) -> None:
        self.submitted[task.task_id] = task
        if task.streams_from >= 0:
            self.readers[task.task_id] = Reader(self, task)

    def wind_up(self) -> None:
        """Drop all handles once all calls have been answered."""
        self._is_winding_up = True
        self._drop_handles()

    def _drop_handles(self) -> None:
        unanswered = [
            task_id
            for task_id in self.submitted.keys() - self.resolved.keys()
            # Whoever watches an actor keeps nobody alive.
            if not _is_watch(self.submitted[task_id])
        ]
        if self.actors and not unanswered:
            gone, self.actors = [*self.actors, *self.groups], []
            tasks = [self._work(ActorWork(a, "release")) for a in gone]
            self.tell(SubmitNow(tasks))

    def cancel_some(self) -> None:
        chance = self.world.chance
        open_ids = [t for t in self.submitted if t not in self.resolved]
        if open_ids:
            some = chance.sample(open_ids, min(3, len(open_ids)))
            self.cancelled.update(some)
            grace = None
            if self.world.has_actors:
                grace = chance.choice((None, -1.0, 0.0, 0.5))
            self.tell(CancelNow(some, chance.random() < 0.7, grace=grace))

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
                for outcome in map(self._read, outcomes):
                    self.resolved[outcome.task_id].append(outcome)
                    self._check_items(outcome)
                if self._is_winding_up:
                    self.world.heart.after(0.01, self._drop_handles)
            case Receive(items):
                for item in items:
                    reader = self.readers[item.task_id]
                    if item.task_id in self.resolved and item.index >= reader.known:
                        # Who told of the end was gone before that was written down.
                        self.tell(TakeNow(item.task_id, ALL_ITEMS))
                    else:
                        reader.add(item)
            case Progress(deltas):
                for delta in deltas:
                    rank = (delta.attempt, int(delta.state))
                    assert rank > self._ranks.get(delta.task_id, (0, 0)), delta
                    self._ranks[delta.task_id] = rank
            case Show(text=text):
                assert self.machine.settings.wants_output
                self.lines += text.splitlines()
            case BeBarred(reason):
                raise AssertionError(f"{self.name} was barred: {reason}")
            case Exit():
                self.is_alive = False
                # What was sent before the exit still arrives.
                self.world.heart.after(2.0, self.crash)
            case _:
                super().do(effect)

    def _check_items(self, outcome: Outcome) -> None:
        """All items come before their end does."""
        reader = self.readers.get(outcome.task_id)
        if reader is None or reader.taken == ALL_ITEMS:
            return
        task, failure = self.submitted[outcome.task_id], outcome.failure
        if outcome.state is TaskState.SUCCESS:
            assert reader.known == ITEMS, (outcome, reader.known)
        elif failure is not None and failure.kind is FailureKind.EXCEPTION:
            assert task.arguments.startswith(FAILING)
            assert reader.known == ITEMS // 2, (outcome, reader.known)

    @property
    def is_done(self) -> bool:
        return self.is_guest or (
            not self.actors and self.submitted.keys() == self.resolved.keys()
        )


def _is_watch(task: Task) -> bool:
    return task.actor is not None and task.actor.verb == "watch"
