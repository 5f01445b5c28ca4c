"""Manager and interchange."""

from actors.messages.actor import ActorOptions, Incarnation
from actors.messages.basis import ClientId, Message, Struct, TaskId, WorkerId
from actors.messages.task import Delta, Holding, Leased, Outcome

__all__ = [
    "AckEnded",
    "AckFinished",
    "ActorEnded",
    "ActorReport",
    "ActorsStarted",
    "Adopted",
    "CallerKnown",
    "Deadlocked",
    "Drain",
    "EndActors",
    "Finished",
    "HandBack",
    "Hosting",
    "Lease",
    "LeaseCalls",
    "LeasedCall",
    "Printed",
    "Report",
    "RestartManager",
    "Returned",
    "StartActors",
    "Stop",
    "TypeSlots",
    "Waits",
    "WatchOutput",
    "WorkerReport",
]


class Lease(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Tasks to run: all of them with `needs`, or none."""

    tasks: list[Leased]


class Finished(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Outcomes; kept by the manager until `AckFinished`."""

    outcomes: list[Outcome]


class AckFinished(Message, frozen=True, array_like=True, tag=True, gc=False):
    """These outcomes may be forgotten, if they are of this attempt.

    Most tasks have one: said once, it costs nothing.
    """

    task_ids: list[TaskId]
    attempt: int = 1


class HandBack(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Hand back, by `Returned`, which of these have not begun; the others go on."""

    task_ids: list[TaskId]


class Returned(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Leases handed back unstarted: the manager drains, or was asked to."""

    leases: list[Holding]


class Report(Message, frozen=True, array_like=True, tag=True, gc=False):
    """A manager's state, each heartbeat period and whenever `window` changes."""

    window: int  # leases of tasks that it wants at most, prefetch included
    deltas: list[Delta]  # states changed since the last report, unfinished tasks only
    workers: list["WorkerReport"] = []
    is_draining: bool = False  # it wants none any more
    types: list["TypeSlots"] = []  # of workers that are not plain
    actors: list["ActorReport"] = []  # of clients, that have a process here
    resting: list[TaskId] = []  # those that ask, and wait for others: no processor
    rss_bytes: int = 0  # of the manager itself
    cpu_seconds: float = 0.0  # likewise


class TypeSlots(Struct, frozen=True, array_like=True, gc=False):
    """A manager's workers of one type."""

    worker_type: str
    total: int
    free: int  # those that run nothing


class WorkerReport(Struct, frozen=True, array_like=True, gc=False):
    worker_id: WorkerId
    pid: int
    task_id: TaskId  # what it runs, or ""
    rss_bytes: int = 0
    cpu_seconds: float = 0.0


class ActorReport(Struct, frozen=True, array_like=True, gc=False):
    """The process of a client's actor."""

    actor_id: str
    pid: int
    rss_bytes: int = 0
    cpu_seconds: float = 0.0


class Adopted(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to a manager's `Hello.held`: it keeps these, under these attempts.

    What it holds and is not listed here, it drops.
    """

    leases: list[Holding]
    actors: list[Incarnation] = []


class Hosting(Struct, frozen=True, array_like=True, gc=False):
    """An incarnation that shall begin."""

    of: Incarnation
    class_: bytes  # pickled
    arguments: bytes  # pickled, of its constructor
    options: ActorOptions


class StartActors(Message, frozen=True, array_like=True, tag=True, gc=False):
    actors: list[Hosting]


class EndActors(Message, frozen=True, array_like=True, tag=True, gc=False):
    """End incarnations: kill them, or let them answer the calls that they have."""

    actors: list[Incarnation]
    is_killed: bool


class ActorsStarted(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Their constructors have returned; told again after each registration."""

    actors: list[Incarnation]


class ActorEnded(Message, frozen=True, array_like=True, tag=True, gc=False):
    """An incarnation is over; kept by the manager until `AckEnded`.

    What the manager says of its calls comes later.
    """

    of: Incarnation
    reason: str  # see `logic.actor_life.DeathReason`
    message: str
    last_words: str = ""  # that it wrote, or a constructor's traceback
    payload: bytes = b""  # pickled exception of a constructor


class Waits(Message, frozen=True, array_like=True, tag=True, gc=False):
    """A task, or an actor's call, waits for others; see `WaitsLong`."""

    waiter: str  # task, or actor
    incarnation: int  # of the actor; 0: it is a task
    number: int
    task_ids: list[TaskId]
    spare: int


class Deadlocked(Message, frozen=True, array_like=True, tag=True, gc=False):
    """What waits would do so for ever; on to its worker."""

    waiter: str
    incarnation: int
    number: int
    text: str  # who waits for whom


class AckEnded(Message, frozen=True, array_like=True, tag=True, gc=False):
    actors: list[Incarnation]


class LeasedCall(Struct, frozen=True, array_like=True, gc=False):
    """A call of an actor's method, handed to the manager that has the actor."""

    task_id: TaskId
    attempt: int
    method: bytes
    arguments: bytes
    to: Incarnation
    timeout: float | None = None  # seconds that it may run; None: any time
    streams_from: int = -1  # as of a `Leased`
    name: str = ""  # for people


class LeaseCalls(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Calls, of each caller in their order."""

    calls: list[LeasedCall]


class Drain(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Take no new lease; hand back what has not begun."""


class RestartManager(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Hand back what has not begun, end, and begin anew in the same block."""

    reason: str


class Stop(Message, frozen=True, array_like=True, tag=True, gc=False):
    """End in order: exit code 0, nothing is lost."""

    reason: str


class WatchOutput(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Tell what workers print from now on, or do not; at first nobody wants it."""

    is_wanted: bool
    is_shared: bool = False  # there are tasks of several clients, to be told apart


class CallerKnown(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Who it is that asks for tasks, as one of the endpoint's workers; see `Calls`."""

    client_id: ClientId
    seq: int
    caller: str  # task, or actor
    is_actor: bool


class Printed(Message, frozen=True, array_like=True, tag=True, gc=False):
    """What a task, or an actor, has written to its output; it may get lost.

    It is told before the outcome of the task.
    """

    writer: str  # task, or actor
    is_actor: bool
    pid: int
    text: bytes  # whole lines
    left_out_bytes: int  # behind the text: it was too much, or could not be read
