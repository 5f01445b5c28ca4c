"""Pictures: what one program's runtime knows, for people to look at. Pure.

Fields have Ray's names where Ray has them.
"""

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from actors.embedded.actor_calls import Actor, ActorCall
from actors.embedded.directory import Directory
from actors.embedded.hub import Hub
from actors.embedded.tasks import Task, TaskStage
from actors.embedded.workers import HubWorker
from actors.logic.actor_life import LifeState

__all__ = [
    "ActorState",
    "ObjectState",
    "ProgramState",
    "Span",
    "TaskState",
    "WorkerState",
    "picture_of_actors",
    "picture_of_program",
    "picture_of_tasks",
    "picture_of_workers",
]

# The rate is of the calls that ended within so many seconds; and of so many spans, if
# they were more. Chosen: what a person takes for now; a millisecond.
_LATELY, _SPANS_COUNTED = 5.0, 5000

# (worker's pid, what ran, began, ended, how many): moments in seconds since 1970.
# Calls shorter than a millisecond come several at a time; then it is the last one's
# name, and from the first one's begin to the last one's end.
Span = tuple[int, str, float, float, int]


@dataclass(frozen=True)
class TaskState:
    """A task, or a call of an actor, that has not ended.

    Args:
        task_id: unique in this program; "": the runtime has not seen it yet.
        name: of the function or method.
        state: PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT, SUBMITTED_TO_WORKER (waits
            at a worker or actor) or RUNNING.
        type: NORMAL_TASK, ACTOR_TASK or ACTOR_CREATION_TASK.
        worker_id: where it is; "": nowhere.
        worker_pid: of that; 0: nowhere.
        actor_id: whose call it is; "": nobody's.
        attempt_number: starts before this one that failed.
    """

    task_id: str
    name: str
    state: str
    type: str
    worker_id: str
    worker_pid: int
    actor_id: str
    attempt_number: int


@dataclass(frozen=True)
class ActorState:
    """An actor.

    Args:
        actor_id: unique in this program.
        class_name: of its class.
        state: PENDING_CREATION, ALIVE, RESTARTING or DEAD.
        name: empty: it has none.
        ray_namespace: of the name.
        pid: of its process; 0: it has none now.
        num_restarts: so far.
        pending_calls: without an outcome.
        death_cause: how its last incarnation ended; empty: none has.
    """

    actor_id: str
    class_name: str
    state: str
    name: str
    ray_namespace: str
    pid: int
    num_restarts: int
    pending_calls: int
    death_cause: str


@dataclass(frozen=True)
class WorkerState:
    """A worker process, or an actor's.

    Args:
        worker_id: unique in this program.
        worker_type: WORKER or ACTOR.
        pid: 0: it is being started.
        is_idle: whether it has nothing to run.
        tasks: that it runs, or that wait there.
    """

    worker_id: str
    worker_type: str
    pid: int
    is_idle: bool
    tasks: int


@dataclass(frozen=True)
class ObjectState:
    """A value: in shared memory, or of a program on an endpoint.

    Args:
        object_id: its segment; on an endpoint named after its task, if it has one.
        object_size: bytes that it takes, rounded up; on an endpoint those that it took
            on its way here; -1: unknown.
        holders: {who keeps it: how often}; "owner": references in this program.
        state: READY, FAILED, or PENDING.
        where: "shared memory", "program" (in its memory), "endpoint" (it is being
            made there), or "" (it waits for others).
    """

    object_id: str
    object_size: int
    holders: Mapping[str, int]
    state: str = "READY"
    where: str = "shared memory"


@dataclass(frozen=True)
class ProgramState:
    """What one runtime of a program does, for who looks from outside.

    Args:
        unended: tasks and calls of actors.
        finished: calls that ended lately, and in how many seconds, see `rate_of`.
        tasks: the oldest of those that have not ended.
        actors: as `picture_of_actors`, not all of many.
        workers: as `picture_of_workers`.
        objects: of those in shared memory, the largest.
        stored: how many there are, and their bytes.
        total: what there is to run tasks with.
        free: what of it nobody takes.
        uptime: seconds.
    """

    unended: int
    finished: tuple[int, float]
    tasks: list[TaskState]
    actors: list[ActorState]
    workers: list[WorkerState]
    objects: list[ObjectState]
    stored: tuple[int, int]
    total: dict[str, float]
    free: dict[str, float]
    uptime: float


_LIFE = {
    LifeState.STARTING: "PENDING_CREATION",
    LifeState.ALIVE: "ALIVE",
    LifeState.RESTARTING: "RESTARTING",
    LifeState.DEAD: "DEAD",
}


def picture_of_tasks(hub: Hub) -> list[TaskState]:
    """Return all that has not ended, oldest first."""
    return [_task(task) for task in hub.unended]


def picture_of_program(
    hub: Hub,
    directory: Directory,
    stored: Sequence[tuple[str, int, dict[str, int]]],
    *,
    most: int,
    uptime: float,
    wall: float,
) -> ProgramState:
    """Return all there is to see, of many rows only some.

    Args:
        hub: with the tasks.
        directory: with the actors.
        stored: values in shared memory: name, bytes, holders.
        most: rows of one kind.
        uptime: of the runtime, in seconds.
        wall: seconds since 1970.
    """
    largest = heapq.nlargest(most, stored, key=lambda row: row[1])
    living = itertools.islice(directory.actors.values(), most)
    dead = itertools.islice(reversed(directory.late), most)
    return ProgramState(
        len(hub.unended),
        _ended_lately(hub.spans, min(uptime, _LATELY), wall),
        [_task(task) for task in itertools.islice(hub.unended, most)],
        [_actor(actor) for actor in itertools.chain(living, dead)],
        picture_of_workers(hub, directory.actors.values())[:most],
        [ObjectState(*row) for row in largest],
        (len(stored), sum(size for _, size, _ in stored)),
        hub.capacity.total(),
        hub.capacity.free(),
        uptime,
    )


def _ended_lately(
    spans: Sequence[Span], period: float, wall: float
) -> tuple[int, float]:
    """Count what ended within a period, as far back as there is reason to look."""
    count = 0
    for _, _, _, ended, calls in itertools.islice(reversed(spans), _SPANS_COUNTED):
        if ended < wall - period:
            return count, period
        count += calls
        since = ended
    if count and len(spans) > _SPANS_COUNTED:
        return count, max(wall - since, 1e-3)
    return count, period


def _task(task: Task) -> TaskState:
    worker: HubWorker | None = task.worker
    if task.stage is not TaskStage.ASSIGNED:
        worker = None
    kind, actor_id = "NORMAL_TASK", ""
    if isinstance(task, ActorCall):
        kind = "ACTOR_TASK" if task.anchor is not None else "ACTOR_CREATION_TASK"
        actor_id = task.actor.actor_id
    return TaskState(
        task_id=f"{task.ticket or id(task):x}",
        name=task.spec.name,
        state=_state_of(task, worker),
        type=kind,
        worker_id="" if worker is None else worker.worker_id,
        worker_pid=0 if worker is None else worker.pid,
        actor_id=actor_id,
        attempt_number=task.crashes + task.own_failures,
    )


def _state_of(task: Task, worker: HubWorker | None) -> str:
    if task.stage is TaskStage.BLOCKED:
        return "PENDING_ARGS_AVAIL"
    if worker is None:
        return "PENDING_NODE_ASSIGNMENT"
    if isinstance(task, ActorCall):
        is_first = next(iter(task.actor.sent), 0) == task.seq
        # Of those that may run at the same time only the process knows.
        is_running = is_first or task.actor.options.max_concurrency != 1
    else:
        is_running = worker.head is task
    return "RUNNING" if is_running else "SUBMITTED_TO_WORKER"


def picture_of_actors(directory: Directory) -> list[ActorState]:
    """Return those that are not dead, oldest first, then the latest dead ones."""
    living = [_actor(actor) for actor in directory.actors.values()]
    return living + [_actor(actor) for actor in directory.late]


def _actor(actor: Actor) -> ActorState:
    options, host = actor.options, actor.host
    waiting = sum(len(lane) for lane in actor.lanes.values())
    return ActorState(
        actor_id=actor.actor_id,
        class_name=options.class_name,
        state=_LIFE[actor.life.state],
        name=options.name,
        ray_namespace=options.namespace,
        pid=0 if host is None else host.pid,
        num_restarts=actor.life.restarts,
        pending_calls=len(actor.sent) + waiting,
        death_cause=actor.message,
    )


def picture_of_workers(hub: Hub, actors: Iterable[Actor]) -> list[WorkerState]:
    """Return all processes."""
    workers = [
        WorkerState(
            worker.worker_id,
            "WORKER",
            worker.pid,
            not worker.backlog,
            len(worker.backlog),
        )
        for worker in hub.workers.values()
    ]
    for actor in actors:
        host = actor.host
        if host is not None:
            count = len(actor.sent)
            workers.append(
                WorkerState(host.worker_id, "ACTOR", host.pid, not count, count)
            )
    return workers
