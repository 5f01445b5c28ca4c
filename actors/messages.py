"""Everything that travels between processes, and how it becomes bytes.

A *frame* is a msgpack array of messages; a link or door carries frames. One tagged
union per link direction says what may come that way. All are frozen, `array_like`
structs. New fields go last, with a default; a field's type never changes.

    client   -> interchange   FromClient       interchange -> client     ToClient
    manager  -> interchange   FromManager      interchange -> manager    ToManager
    strategy -> interchange   FromStrategy     interchange -> strategy   ToStrategy
    provider -> interchange   FromProvider     interchange -> provider   ToProvider
    operator -> interchange   FromOperator     interchange -> operator   ToOperator
    supervisor -> interchange FromSupervisor   interchange -> supervisor ToSupervisor
    strategy -> provider      ScaleOrder       provider    -> strategy   BlocksReported
    manager  -> worker        ToWorker         worker      -> manager    FromWorker

Before a link there is a door: `Hello` is answered with `Welcome` or `Refused`.
Payloads (function, arguments, result) are bytes that only clients and workers open.

Moments in messages are seconds since 1970 by the sender's clock, for people to read;
no decision compares two machines' clocks.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import msgspec

from actors.errors import MalformedFrame

PROTOCOL = 1

TaskId = NewType("TaskId", str)
ClientId = NewType("ClientId", str)
ManagerId = NewType("ManagerId", str)
BlockId = NewType("BlockId", str)
WorkerId = NewType("WorkerId", str)

MemberKind = Literal[
    "client", "manager", "strategy", "provider", "operator", "supervisor"
]


class TaskState(enum.IntEnum):
    """The states of a task's life; their numbers are their ranks within one attempt."""

    RECEIVED = 0
    WAITING_FOR_ENDPOINT = 1
    WAITING_FOR_NODES = 2
    WAITING_FOR_LAUNCH = 3
    RUNNING = 4
    SUCCESS = 5
    FAILED = 6
    CANCELLED = 7

    @property
    def is_final(self) -> bool:
        return self >= TaskState.SUCCESS

    @property
    def label(self) -> str:
        """The name that people read: `waiting-for-nodes`."""
        return self.name.lower().replace("_", "-")


class FailureKind(enum.StrEnum):
    """Why a task has no result."""

    EXCEPTION = "exception"  # the user's code raised; the payload is the exception
    WORKER_DIED = "worker_died"
    MANAGER_LOST = "manager_lost"
    BLOCK_FAILED = "block_failed"
    NOT_SERIALIZABLE = "not_serializable"  # the result cannot be pickled
    NOT_LOADABLE = "not_loadable"  # the worker cannot unpickle function or arguments
    TOO_LARGE = "too_large"
    REFUSED = "refused"  # the endpoint does not take the task
    LOST = "lost"  # the endpoint was restarted and knows the task no more
    OUT_OF_MEMORY = "out_of_memory"  # the worker died of it
    MEMORY_LIMIT = "memory_limit"  # the worker took more than it may
    WORK_DIR_LIMIT = "work_dir_limit"  # the task wrote more than it may
    WORKER_TYPE = "worker_type"  # there are no workers of the type it asks for
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    CLOSED = "closed"  # whoever ran it was shut down
    INITIALIZER_FAILED = "initializer_failed"  # no worker can run it
    ACTOR_DIED = "actor_died"
    ACTOR_UNAVAILABLE = "actor_unavailable"  # it died, and may come back
    PENDING_LIMIT = "pending_limit"  # too many calls of its caller wait at the actor
    NAME_TAKEN = "name_taken"  # another actor has this name
    NO_SUCH_ACTOR = "no_such_actor"
    DEADLOCK = "deadlock"  # the wait would never end
    IMPOSSIBLE = "impossible"  # nothing will ever have what it needs


class Struct(
    msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=False
):
    """Be the base of what is inside a message: it has no tag."""


class Message(Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Be the base of what a link carries: its class name is its tag."""


# What messages are made of


class Task(Struct, frozen=True, array_like=True, gc=False):
    """One call of a function, as its client asks for it."""

    # Minted by the client, unique for ever.
    task_id: Annotated[TaskId, msgspec.Meta(max_length=200)]
    function: bytes  # pickled callable
    arguments: bytes  # pickled (args, kwargs)
    received_at: float  # when the client's user submitted it
    retries: int = 3  # starts allowed after a lost worker, manager or block
    priority: int = 0  # higher goes first
    name: str = ""  # for people
    actor: "ActorWork | None" = None  # None: any worker may run it
    timeout: float | None = None  # seconds that it may run; None: any time
    needs: "Needs | None" = None  # None: any plain worker will do
    # The first that is wanted of a generator's items, which travel one by one; -1: it
    # has one result.
    streams_from: int = -1

    @property
    def asks(self) -> bool:
        """Whether it needs anything but one processor to run on."""
        return self.needs is not None and self.needs.amounts is not None


# What a block is of whose workers are plain for good, where "" stands for any type.
PLAIN_TYPE = "plain"


class Needs(Struct, frozen=True, array_like=True, gc=False):
    """What a task asks of where it runs; tasks that ask for the same wait together."""

    worker_type: str = ""  # the environment, as endpoint.toml names it; "": plain
    walltime: float = 0.0  # seconds that the block must live on; 0: any
    # Processors ("CPU"), GPUs ("GPU") and whatever else, while it runs; no processor
    # is none. None: one processor, as usual.
    amounts: "tuple[Amount, ...] | None" = None
    tag: str = ""  # of the managers that may run it; "": any that is not exclusive


class ActorWork(Struct, frozen=True, array_like=True, gc=False):
    """What a task has to do with an actor, if it is no call of a function.

    "create"    function: the class; arguments: its constructor's; `options`.
                Ends at once, with (id, picture) of the actor, or of its namesake
    "call"      function: METHOD_MARK and a name; arguments: the method's
    "find"      function: the name, arguments: the namespace, in UTF-8; as "create"
    "hold"      the client has a handle from now on; so it has after the two above
    "release"   it has none any more
    "kill"      for good
    "restart"   kill it, as if it had crashed
    "watch"     ends with what tells of the end of the present incarnation (`Died`)
    "command"   arguments: a `Command`; for the endpoint's own actors

    The outcome's payload is pickled as any other's.
    """

    # Minted by the client that made it, unique for ever.
    actor_id: Annotated[str, msgspec.Meta(max_length=200)]
    verb: Literal[
        "create",
        "call",
        "find",
        "hold",
        "release",
        "kill",
        "restart",
        "watch",
        "command",
    ]
    options: "ActorOptions | None" = None


class Leased(Struct, frozen=True, array_like=True, gc=False):
    """A task handed to a manager: which try it is, and what to run."""

    task_id: TaskId
    attempt: int  # 1 is the first try
    function: bytes
    arguments: bytes
    timeout: float | None = None  # seconds that it may run; None: any time
    worker_type: str = ""  # of the worker that runs it; "": plain
    streams_from: int = -1  # as of a `Task`; what comes before is known already
    amounts: "tuple[Amount, ...] | None" = None  # see `Needs`


class Step(Struct, frozen=True, array_like=True, gc=False):
    """One line of a task's history."""

    state: TaskState
    attempt: int
    at: float
    place: str = ""  # manager, or block, or why


class Failure(Struct, frozen=True, array_like=True, gc=False):
    """Why a task failed, in words that need no unpickling."""

    kind: FailureKind
    message: str  # one line
    detail: str = ""  # remote traceback, or tail of standard error
    reason: str = ""  # of an actor's death, see `logic.actor_life.DeathReason`


class Outcome(Struct, frozen=True, array_like=True, gc=False):
    """How a task ended, with its history.

    The last attempt's moments stand in fields of their own, 0 if there was none:
    measured, a list of steps takes as long as all the rest.
    """

    task_id: TaskId
    attempt: int
    state: TaskState  # a final one
    payload: bytes  # pickled result, or pickled exception, or empty
    failure: Failure | None = None
    ended_at: float = 0.0
    began_at: float = 0.0
    worker_id: str = ""
    # Added by the interchange
    queued_at: float = 0.0
    leased_at: float = 0.0
    manager_id: str = ""
    # Of earlier attempts, oldest first. No list, as an empty one is made each time.
    past: tuple[Step, ...] = ()

    @property
    def steps(self) -> list[Step]:
        """The history, oldest first."""
        why = self.failure.message if self.failure else ""
        moments = [
            (TaskState.WAITING_FOR_NODES, self.queued_at, ""),
            (TaskState.WAITING_FOR_LAUNCH, self.leased_at, self.manager_id),
            (TaskState.RUNNING, self.began_at, self.worker_id),
            (self.state, self.ended_at, why),
        ]
        return [
            *self.past,
            *(
                Step(state, self.attempt, at, place)
                for state, at, place in moments
                if at
            ),
        ]


class Item(Struct, frozen=True, array_like=True, gc=False):
    """What a generator has yielded; the result of its task is how many it yields."""

    task_id: TaskId
    index: int  # 0 is the first
    payload: bytes  # pickled


class ItemsMark(Struct, frozen=True, array_like=True, gc=False):
    """How far somebody is with a generator's items."""

    task_id: TaskId
    count: int  # of items, the first ones


class Delta(Struct, frozen=True, array_like=True, gc=False):
    """A task's newest state, if it is not final."""

    task_id: TaskId
    attempt: int
    state: TaskState
    at: float
    place: str = ""


class Holding(Struct, frozen=True, array_like=True, gc=False):
    """A task that a manager says it has: leased to it and not yet acknowledged."""

    task_id: TaskId
    attempt: int


# The door


class Hello(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask to be let in."""

    kind: MemberKind
    member_id: str  # who: the same across reconnections
    instance: str  # random per process: two processes with one member_id are a fault
    protocol: int
    python: str  # "3.11"
    token: str
    pid: int = 0
    host: str = ""
    block_id: BlockId = BlockId("")  # of a manager
    slots: int = 0  # worker processes of a manager
    held: list[Holding] = []  # what a manager still has; newest report wins
    actors: list["Incarnation"] = []  # that a manager has, or whose end is not known
    is_within: bool = False  # a client: one of the endpoint's own workers
    # A manager: seconds until its block ends; None: nobody knows.
    time_left: float | None = None
    # A manager: the only type of workers that its block has, or PLAIN_TYPE; "": any.
    worker_type: str = ""
    resources: list["Amount"] = []  # that a manager's node has besides processors
    tag: Annotated[str, msgspec.Meta(max_length=200)] = ""  # of a manager
    is_exclusive: bool = False  # a manager: it takes what asks for its tag, only


class Welcome(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Let in: dial the link and go on there."""

    link: str  # url of a listener made for this member alone
    epoch: str  # random per start of the interchange
    heartbeat_period: float
    heartbeat_threshold: float
    max_frame_bytes: int


class Refused(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Not let in; the connection ends here."""

    reason: str
    is_final: bool = True  # false: it may be different later


# Client and interchange


class Submit(Message, frozen=True, array_like=True, tag=True, gc=False):
    tasks: list[Task]


class Accepted(Message, frozen=True, array_like=True, tag=True, gc=False):
    """These tasks are the endpoint's now; the client need not keep their payloads."""

    task_ids: list[TaskId]


class Results(Message, frozen=True, array_like=True, tag=True, gc=False):
    outcomes: list[Outcome]


class ItemsYielded(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Items, of each task in their order; from managers, and on to clients.

    Each keeps them until it is told by `ItemsTaken`.
    """

    items: list[Item]


class ItemsTaken(Message, frozen=True, array_like=True, tag=True, gc=False):
    """These items may be forgotten: they are safe elsewhere, or were read.

    A generator does not go far ahead of that.
    """

    marks: list[ItemsMark]


class AckResults(Message, frozen=True, array_like=True, tag=True, gc=False):
    """The client has these outcomes; the endpoint may forget the tasks."""

    task_ids: list[TaskId]


class ClaimTasks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask, after a reconnection, whether accepted tasks are still known."""

    task_ids: list[TaskId]


class ListTasks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask for all tasks of this client, whichever process of its submitted them."""


class TasksListed(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `ListTasks`: the unfinished, and those with unacknowledged outcomes."""

    task_ids: list[TaskId]


class UnknownTasks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `ClaimTasks`: those that the endpoint knows nothing of."""

    task_ids: list[TaskId]


class StatesChanged(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Interim states, newest only; from managers with their reports, on to clients."""

    deltas: list[Delta]


class CancelTasks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Cancel tasks: from a client, and on to a manager.

    A running task's worker is replaced, unless `if_running` is false: then a task
    that has begun goes on. With a `grace` a KeyboardInterrupt is raised in it first, as
    always in an actor's call.
    """

    task_ids: list[TaskId]
    if_running: bool = True
    # Seconds until the process of one that goes on is killed; < 0: it never is; None:
    # a worker at once, an actor's never.
    grace: float | None = None
    is_recursive: bool = False  # also what the task has called itself


class Heartbeat(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Show life when nothing else was sent for a period."""


class Reregister(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask a member that is not known (any more) to come through the door again."""

    reason: str


class Goodbye(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Tell that the sender leaves for good, and why."""

    reason: str


# Manager and interchange


class Lease(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Tasks to run: all of them with `needs`, or none."""

    tasks: list[Leased]


class Finished(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Outcomes; kept by the manager until `AckFinished`."""

    outcomes: list[Outcome]


class AckFinished(Message, frozen=True, array_like=True, tag=True, gc=False):
    outcomes: list[Holding]


class Returned(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Leases handed back unstarted: the manager drains."""

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
    actors: list["Incarnation"] = []


class Incarnation(Struct, frozen=True, array_like=True, gc=False):
    """One life of an actor, from its process's start to that process's end."""

    actor_id: str
    number: int  # 1 is the first


class Hosting(Struct, frozen=True, array_like=True, gc=False):
    """An incarnation that shall begin."""

    of: Incarnation
    class_: bytes  # pickled
    arguments: bytes  # pickled, of its constructor
    options: "ActorOptions"


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


# Blocks


class BlockState(enum.StrEnum):
    """What the batch system says of a block, and what we know beyond."""

    UNKNOWN = "unknown"  # the batch system does not answer: not gone
    PENDING = "pending"
    RUNNING = "running"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"  # reached its walltime: no failure
    HELD = "held"
    MISSING = "missing"  # ended without its managers ever connecting
    SCALED_IN = "scaled_in"

    @property
    def is_active(self) -> bool:
        return self in (
            BlockState.UNKNOWN,
            BlockState.PENDING,
            BlockState.RUNNING,
            BlockState.HELD,
        )


class Block(Struct, frozen=True, array_like=True, gc=False):
    """One job of the provider."""

    block_id: BlockId
    state: BlockState
    job_id: str = ""  # the batch system's own
    exit_code: int | None = None
    message: str = ""  # why it ended, as the batch system says
    stderr_tail: str = ""
    launch_id: str = ""  # the order that it belongs to
    worker_type: str = ""  # of all its workers, or PLAIN_TYPE; "": any


class BlocksReported(Message, frozen=True, array_like=True, tag=True, gc=False):
    """All active blocks, and those that ended since the provider started."""

    blocks: list[Block]
    launch_ids: list[str] = []  # orders carried out or refused since the start


class LaunchBlocks(Message, frozen=True, array_like=True, tag=True, gc=False):
    launch_id: str  # the same order twice launches once
    count: int
    reason: str
    worker_type: str = ""  # of all workers of the blocks, or PLAIN_TYPE; "": any


class CancelBlocks(Message, frozen=True, array_like=True, tag=True, gc=False):
    block_ids: list[BlockId]
    reason: str
    # No manager connects from them: they end as missing, with the reason.
    is_missing: bool = False


class RetireBlocks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask to hold and drain blocks; done only for those idle at that very moment.

    `if_busy` drains busy ones too.
    """

    block_ids: list[BlockId]
    reason: str
    if_busy: bool = False


class BlocksHeld(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `RetireBlocks`: these take no task any more.

    Their managers drain and end by themselves; who has none may be cancelled at once.
    """

    block_ids: list[BlockId]
    draining: list[BlockId] = []  # those of them that have managers
    busy: list[BlockId] = []  # those of them whose managers have tasks


class ScaleTo(Message, frozen=True, array_like=True, tag=True, gc=False):
    """An operator's wish: so many blocks, now."""

    blocks: int


# Operator, supervisor and interchange


# What an operator may ask for.
Verb = Literal[
    "status",
    "hold",
    "resume",
    "quiesce",
    "drain",
    "scale",
    "cancel",
    "stop",
    "restart",
    "tasks",
    "story",
]


class Command(Message, frozen=True, array_like=True, tag=True, gc=False):
    request_id: str
    verb: Verb
    # Blocks, managers, actors or tasks, as the verb asks; of "tasks" a text that ids or
    # names contain, "" for any, and then the labels of the states that are wanted,
    # none: all; "resume" of nobody undoes "quiesce".
    names: list[str] = []
    number: int = 0  # of blocks; of "tasks" how many at most


class Answer(Message, frozen=True, array_like=True, tag=True, gc=False):
    request_id: str
    is_done: bool
    text: str  # what was done, or why not
    body: bytes = b""  # JSON, for `status`, `tasks` and `story`


class Quiesce(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Take and place no more tasks: the endpoint stops."""

    reason: str


class StopEndpoint(Message, frozen=True, array_like=True, tag=True, gc=False):
    reason: str


class RestartActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """End an actor of the endpoint, and start it again."""

    actor: str
    reason: str


# Events: published, may be missed


class Event(
    msgspec.Struct, frozen=True, tag_field="event", tag=str.lower, omit_defaults=True
):
    """Be the base of published facts; they travel as msgpack maps."""


class MemberJoined(Event, frozen=True, tag="member_joined"):
    kind: MemberKind
    member_id: str
    host: str = ""
    slots: int = 0


class MemberLeft(Event, frozen=True, tag="member_left"):
    kind: MemberKind
    member_id: str
    reason: str
    is_lost: bool  # false: it left in order


class MemberRefused(Event, frozen=True, tag="member_refused"):
    kind: str
    member_id: str
    reason: str


class FrameRefused(Event, frozen=True, tag="frame_refused"):
    """Malformed input, first of its sender."""

    sender: str
    reason: str


class BlockChanged(Event, frozen=True, tag="block_changed"):
    block_id: BlockId
    state: BlockState
    message: str = ""


class ScalingDecided(Event, frozen=True, tag="scaling_decided"):
    """Each time that the strategy decides, also to do nothing."""

    action: str  # launch, retire, none
    count: int
    reason: str
    # What it was decided on
    kind: str = ""  # whose rules; "": an operator's wish
    tasks: int = 0  # accepted and not finished
    waiting: int = 0  # those of them that no manager has
    active_blocks: int = 0  # launched and not about to end
    pending_blocks: int = 0  # those of them without a manager
    slots: int = 0  # that the active blocks have, or will have
    worker_type: str = ""  # "": any


class BlockLoad(Struct, frozen=True, array_like=True, gc=False):
    block_id: BlockId
    managers: int
    slots: int
    leases: int
    idle: float  # seconds without a lease; 0 when busy
    is_held: bool
    worker_type: str = ""  # the only one that its managers take, or PLAIN_TYPE; "": any


class TypeLoad(Struct, frozen=True, array_like=True, gc=False):
    """Tasks that ask for one worker type."""

    worker_type: str  # or PLAIN_TYPE, of those that ask for none
    waiting: int
    leased: int


class LoadReported(Event, frozen=True, tag="load_reported"):
    """Periodic: what the strategy decides on."""

    waiting: int  # tasks queued
    leased: int  # tasks with managers
    finished: int  # since the epoch began
    blocks: list[BlockLoad]
    is_quiesced: bool = False  # what waits shall not run now
    # Demand by worker type, where a block's workers are of one type for good; empty:
    # any worker runs any task.
    types: list[TypeLoad] = []
    bad_state: str = ""  # why no block shall be started; "": they may be
    # Of those that wait: for how many no block that is there lives long enough.
    too_long: int = 0


class TaskEnded(Event, frozen=True, tag="task_ended"):
    """A task failed or was cancelled; successes are counted, not told."""

    task_id: TaskId
    state: TaskState
    message: str = ""


class ActorRestarted(Event, frozen=True, tag="actor_restarted"):
    actor: str
    reason: str
    restarts: int


class JournalStalled(Event, frozen=True, tag="journal_stalled"):
    """There is no room for records: its actor stands still, or no longer does."""

    reason: str  # "" when it is over
    is_over: bool = False


class Notice(Event, frozen=True, tag="notice"):
    """Anything that an operator should read."""

    level: Literal["info", "warning", "error"]
    text: str


AnyEvent = (
    MemberJoined
    | MemberLeft
    | MemberRefused
    | FrameRefused
    | BlockChanged
    | ScalingDecided
    | LoadReported
    | TaskEnded
    | ActorRestarted
    | JournalStalled
    | Notice
)


def event_kind(event: AnyEvent) -> str:
    """Return what programs call an event: `member_joined`."""
    return str(type(event).__struct_config__.tag)


class Published(msgspec.Struct, frozen=True):
    """One event with its place in the stream; after a gap ask for a snapshot."""

    epoch: str
    seq: int
    at: float
    source: str  # actor
    body: AnyEvent


class Relay(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Events of another actor, for the interchange to publish."""

    events: list[AnyEvent]


# Manager and worker (one host, one pipe)


class Equip(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Set variables for what runs next; those that it set before, and no more, go."""

    environment: dict[str, str]


# The `Run` that carries the initializer; tasks are counted from 1.
INITIALIZER_SEQ = 0
# Numbers of refs that a worker makes: its own index, from 1 on, then a count.
REF_COUNT_BITS = 40
# Calls that went straight to an actor have the numbers of their refs.
FIRST_DIRECT = 1 << REF_COUNT_BITS


class Run(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Run this next, in the order sent."""

    seq: int  # 1, 2, 3, ... per worker
    function: bytes
    arguments: bytes


def caller_of(number: int) -> int:
    """Return the index of the worker that has made a ref; 0: its owner has."""
    return number >> REF_COUNT_BITS


class Recall(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Hand back what has not begun."""


class Ran(Message, frozen=True, array_like=True, tag=True, gc=False):
    seq: int
    is_success: bool
    payload: bytes
    began_at: float
    ended_at: float
    failure: Failure | None = None


class Recalled(Message, frozen=True, array_like=True, tag=True, gc=False):
    seqs: list[int]


# Owner and worker, where tasks hand on refs, call others and wait for them


class Value(Struct, frozen=True, array_like=True, gc=False):
    """What a ref stands for, once that is known."""

    payload: bytes  # pickled value or exception; of a large value its segment's handle
    refs: list[int] = []  # numbers of the refs inside
    is_stored: bool = False  # whether it lies in shared memory
    failure: Failure | None = None  # why there is no value


class Amount(Struct, frozen=True, array_like=True, gc=False):
    """So much of something that tasks share."""

    name: str
    amount: float


class TaskOptions(Struct, frozen=True, array_like=True, gc=False):
    """How a task shall be run."""

    num_returns: int = 1  # or DYNAMIC, or STREAMING
    retries: int = 3  # starts allowed after the worker that ran it died; -1: any number
    # How often an exception of its own is answered with a new start; -1: any number.
    own_retries: int = 0
    retry_on: bytes = b""  # pickled tuple of the exceptions that count; empty: all
    timeout: float = 0.0  # seconds that it may run; 0: any time
    priority: int = 0  # higher goes first
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    resources: list[Amount] = []  # sorted by name
    name: str = ""  # for people
    # Of a call of an actor whose mailbox is bounded: ask for room before it is made.
    needs_room: bool = False
    needs: Needs | None = None  # of where it runs, on an endpoint; None: nothing


# Of `TaskOptions.num_returns`: a generator's items, all at its end or as they come.
DYNAMIC = -1
STREAMING = -2


class Introduce(Message, frozen=True, array_like=True, tag=True, gc=False):
    """The first that a worker hears: its place among all, from 1 on."""

    index: int
    folders: bytes = b""  # of the object store
    namespace: str = ""  # where it looks for actors' names
    job_id: str = ""  # of the program


class Define(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Remember a function: calls name it by `FUNCTION_MARK` and this number."""

    key: int
    function: bytes


# What begins with it, in place of a pickled function, is the number of a defined one.
FUNCTION_MARK = b"#"


class Call(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Run this next, like `Run`; for whatever is not simple."""

    seq: int  # 1, 2, 3, ... per worker, together with `Run`
    function: bytes
    arguments: Value
    values: list[Value]  # what stands for the refs among the arguments
    options: TaskOptions
    first_item: int = 0  # of a generator: what comes before is known already
    environment: dict[str, str] = {}  # variables set while it runs


class Interrupt(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Raise KeyboardInterrupt in this task, if it runs."""

    seq: int
    is_recursive: bool = False  # give up what it has called on its endpoint, too


class Gave(Message, frozen=True, array_like=True, tag=True, gc=False):
    """A task ended, like `Ran`; for whatever is not simple."""

    seq: int
    values: list[Value]
    began_at: float
    ended_at: float
    is_retriable: bool = False  # it failed as its `retry_on` says


class Yielded(Message, frozen=True, array_like=True, tag=True, gc=False):
    """A generator gave its next item."""

    seq: int
    index: int
    value: Value


class MoreItems(Message, frozen=True, array_like=True, tag=True, gc=False):
    """So many items of a generator were taken; it may go further ahead."""

    seq: int
    count: int


class SubmitTask(Message, frozen=True, array_like=True, tag=True, gc=False):
    """A task calls another one."""

    numbers: list[int]  # of the refs that the caller has made
    function: bytes
    arguments: Value
    dependencies: list[int]  # refs among the arguments, in the order of their places
    options: TaskOptions


class GetValues(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer with `Values` when all are known."""

    request: int
    numbers: list[int]
    blocks: bool  # whether the task itself waits, not a thread of its own
    is_endless: bool = True  # whether it waits for as long as it takes


class AwaitRefs(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer with `ReadyRefs` when so many are known."""

    request: int
    numbers: list[int]
    count: int
    blocks: bool
    is_endless: bool = True


class NextItem(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer with `Values`: the number of a stream's item, or nothing at its end."""

    request: int
    number: int  # of the stream
    index: int
    blocks: bool


class Abandon(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer a request no more."""

    request: int


class Values(Message, frozen=True, array_like=True, tag=True, gc=False):
    request: int
    values: list[Value]


class ReadyRefs(Message, frozen=True, array_like=True, tag=True, gc=False):
    request: int
    numbers: list[int]


class PutValue(Message, frozen=True, array_like=True, tag=True, gc=False):
    """A task made a ref on a value."""

    number: int
    value: Value


class ReleaseRefs(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Refs that a worker no longer has, and how often each had been given to it."""

    numbers: list[int]
    counts: list[int]


class ReleaseStored(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Segments of the object store that a worker reads no more, once per reading."""

    names: list[str]


class CancelRef(Message, frozen=True, array_like=True, tag=True, gc=False):
    number: int
    force: bool
    recursive: bool
    grace: float = -1.0  # seconds until its process is killed; < 0: it is not


# Actors


class ActorOptions(Struct, frozen=True, array_like=True, gc=False):
    """How an actor lives, and who may find it."""

    class_name: str
    picture: bytes = b""  # what a handle on it knows, pickled
    name: str = ""  # empty: nobody finds it
    namespace: str = ""
    get_if_exists: bool = False
    max_restarts: int = 0  # within `restart_period`; -1: any number
    restart_period: float = 0.0  # seconds; 0: for ever
    max_concurrency: int = 0  # calls at a time; 0: as usual for its class
    groups: list[Amount] = []  # concurrency groups, and calls at a time in each
    max_pending_calls: int = -1  # of one caller; -1: any number
    fails_on_restart: bool = False  # calls fail while it restarts, and do not wait
    num_cpus: float = 0.0  # from its start to its end, as all it needs
    num_gpus: float = 0.0
    resources: list[Amount] = []
    waits_for_room: bool = False  # a caller with max_pending_calls waits, not fails
    is_detached: bool = False  # it lives although nobody has a handle
    home: str = ""  # the namespace in which it looks for others


class HostActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Be the process of an actor from now on."""

    actor_id: str
    incarnation: int
    class_: bytes  # pickled
    options: ActorOptions
    environment: dict[str, str] = {}  # variables set for good


# What a `Run` or a `Call` names in place of a function is a method of the actor if it
# begins so: the name follows, and after a zero byte the concurrency group if told.
METHOD_MARK = b"@"


class CreateActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Make an actor; one with a name is answered by `Values`, as `FindActor` is."""

    number: int  # of the ref that stands for it
    class_: bytes
    arguments: Value
    dependencies: list[int]
    options: ActorOptions
    request: int = 0  # 0: unanswered
    blocks: bool = False


class GroupOptions(Struct, frozen=True, array_like=True, gc=False):
    """How a supervisor keeps its children; see `actors.supervisor`."""

    restart_scope: str
    max_restarts: int  # within `period`
    period: float  # seconds
    patience: float  # seconds between asking a child to end and killing it
    first_delay: float  # seconds before the first restart
    longest_delay: float  # seconds before a restart, at most


class SupervisedChild(Struct, frozen=True, array_like=True):
    """An actor, or a group with a supervisor of its own."""

    name: str
    kind: str  # which of its ends call for a restart
    actor: CreateActor | None = None
    group: "Supervise | None" = None


class Supervise(Message, frozen=True, array_like=True, tag=True):
    """Start actors one after the other, and keep them as the options say."""

    number: int  # of the ref that stands for the supervisor
    started: int  # of the ref that is known when all have started
    options: GroupOptions
    children: list[SupervisedChild]


class ReserveCall(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer with no `Values` once an actor's mailbox has room for a call of ours.

    With a failure if there is none, and the actor makes nobody wait.
    """

    request: int
    actor: int  # the ref that stands for it
    blocks: bool


class CallActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Call a method of an actor, like `SubmitTask`."""

    numbers: list[int]
    actor: int  # the ref that stands for it
    method: bytes
    arguments: Value
    dependencies: list[int]
    options: TaskOptions


class FindActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer with `Values`: the picture of an actor, and the ref for it."""

    request: int
    name: str
    namespace: str
    blocks: bool


class KillActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    actor: int
    is_final: bool  # whether it shall not be restarted


class Began(Message, frozen=True, array_like=True, tag=True, gc=False):
    """A call with a timeout has begun."""

    seq: int


class WatchActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Have a ref made known when the actor dies."""

    number: int
    actor: int


class StopGroup(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Stop a supervisor's children in reverse order, and then itself."""

    number: int


class ActorExits(Message, frozen=True, array_like=True, tag=True, gc=False):
    """The actor wants to end for good; nothing more will be run."""

    seq: int  # the call that it ends in


# An endpoint's worker, whose tasks call others by way of the endpoint


class WaitsLong(Message, frozen=True, array_like=True, tag=True, gc=False):
    """What runs has waited for a while for tasks of its endpoint, and will for ever."""

    number: int  # 1, 2, 3, ... per worker
    task_ids: list[TaskId]  # empty: it waits no more
    spare: int  # so many of them may never end


class TaskWaits(Message, frozen=True, array_like=True, tag=True, gc=False):
    """The task that runs begins, or ends, to wait for others."""

    is_waiting: bool


# Straight from a worker to an actor of the same program: see `actors.embedded.lines`


class OpenLines(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Listen here for those who want to call you straight."""

    path: str


class OfferLine(Message, frozen=True, array_like=True, tag=True, gc=False):
    """An actor may be called straight, as long as no call of yours is on its way."""

    actor: int  # the ref that stands for it
    incarnation: int
    path: str
    last: int  # the ref of your last call that was seen; all have been answered


class AdoptCall(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Look after a call that went straight to an actor, as after any other."""

    number: int  # the ref for its result, and its seq there
    actor: int
    incarnation: int
    method: bytes
    arguments: bytes
    options: TaskOptions
    is_cut: bool  # the actor has hung up


class Answered(Message, frozen=True, array_like=True, tag=True, gc=False):
    """An adopted call has been answered on the line that it went by."""

    result: Ran


# What may come which way

DoorAnswer = Welcome | Refused
FromClient = (
    Submit
    | AckResults
    | ItemsTaken
    | ClaimTasks
    | ListTasks
    | CancelTasks
    | Heartbeat
    | Goodbye
)
ToClient = (
    Accepted
    | Results
    | ItemsYielded
    | StatesChanged
    | TasksListed
    | UnknownTasks
    | Heartbeat
    | Reregister
    | Goodbye
)
FromManager = (
    Report
    | Finished
    | ItemsYielded
    | Returned
    | ActorsStarted
    | ActorEnded
    | Waits
    | Heartbeat
    | Goodbye
)
ToManager = (
    Lease
    | AckFinished
    | ItemsTaken
    | Deadlocked
    | CancelTasks
    | Adopted
    | StartActors
    | EndActors
    | AckEnded
    | LeaseCalls
    | Drain
    | RestartManager
    | Stop
    | Heartbeat
    | Reregister
    | Goodbye
)
FromStrategy = RetireBlocks | Relay | Heartbeat | Goodbye
ToStrategy = BlocksHeld | ScaleTo | Heartbeat | Reregister | Goodbye
FromProvider = BlocksReported | Relay | Heartbeat | Goodbye
ToProvider = Heartbeat | Reregister | Goodbye
FromOperator = Command | Heartbeat | Goodbye
ToOperator = Answer | Heartbeat | Reregister | Goodbye
FromSupervisor = Relay | Quiesce | Heartbeat | Goodbye
ToSupervisor = StopEndpoint | RestartActor | Heartbeat | Reregister | Goodbye
ScaleOrder = LaunchBlocks | CancelBlocks | Heartbeat | Goodbye
ToWorker = (
    Run
    | Recall
    | Call
    | Introduce
    | Define
    | Interrupt
    | MoreItems
    | Deadlocked
    | Values
    | ReadyRefs
    | HostActor
    | OpenLines
    | OfferLine
    | Equip
)
FromWorker = (
    Ran
    | Recalled
    | Gave
    | Yielded
    | SubmitTask
    | GetValues
    | AwaitRefs
    | NextItem
    | Abandon
    | PutValue
    | ReleaseRefs
    | ReleaseStored
    | CancelRef
    | CreateActor
    | CallActor
    | FindActor
    | KillActor
    | WatchActor
    | ActorExits
    | Began
    | ReserveCall
    | Supervise
    | StopGroup
    | TaskWaits
    | WaitsLong
    | AdoptCall
    | Answered
)

_encoder = msgspec.msgpack.Encoder()


def encode_frame(messages: Sequence[Message]) -> bytes:
    """Encode messages, in order, as one frame."""
    return _encoder.encode(messages)


def encode_one(message: Hello | DoorAnswer | Command) -> bytes:
    """Encode one message that stands alone."""
    return _encoder.encode(message)


def encode_events(events: Sequence[Published]) -> bytes:
    """Encode published events, in order, as one frame."""
    return _encoder.encode(events)


Incoming = TypeVar("Incoming")


class Decoder(Generic[Incoming]):
    """Turn received bytes into messages of one direction, or refuse them."""

    def __init__(self, shape: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(
            shape
        )

    def decode(self, frame: bytes) -> Incoming:
        """Decode and validate.

        Raises:
            MalformedFrame: not msgpack, an unknown tag, a wrong type, or a message
                that may not come this way.
        """
        try:
            return self._decoder.decode(frame)
        # Nesting too deep for the C decoder is a RecursionError.
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedFrame(f"{len(frame)} bytes refused: {error}") from None


# {kind of the member at the other end: what it may send to the interchange}
from_member: dict[str, Decoder[list[Any]]] = {
    "client": Decoder(list[FromClient]),
    "manager": Decoder(list[FromManager]),
    "strategy": Decoder(list[FromStrategy]),
    "provider": Decoder(list[FromProvider]),
    "operator": Decoder(list[FromOperator]),
    "supervisor": Decoder(list[FromSupervisor]),
}
# {kind of the member at this end: what the interchange may send to it}
to_member: dict[str, Decoder[list[Any]]] = {
    "client": Decoder(list[ToClient]),
    "manager": Decoder(list[ToManager]),
    "strategy": Decoder(list[ToStrategy]),
    "provider": Decoder(list[ToProvider]),
    "operator": Decoder(list[ToOperator]),
    "supervisor": Decoder(list[ToSupervisor]),
}
strategy_to_provider: Decoder[list[ScaleOrder]] = Decoder(list[ScaleOrder])
provider_to_strategy: Decoder[list[BlocksReported | Heartbeat | Goodbye]] = Decoder(
    list[BlocksReported | Heartbeat | Goodbye]
)
to_worker: Decoder[list[ToWorker]] = Decoder(list[ToWorker])
from_worker: Decoder[list[FromWorker]] = Decoder(list[FromWorker])
to_line: Decoder[list[Run]] = Decoder(list[Run])
from_line: Decoder[list[Ran | Gave]] = Decoder(list[Ran | Gave])
hello: Decoder[Hello] = Decoder(Hello)
door_answer: Decoder[DoorAnswer] = Decoder(DoorAnswer)
command: Decoder[Command] = Decoder(Command)
published: Decoder[list[Published]] = Decoder(list[Published])


# Sizes of what surrounds one item of a list in a frame, and of one step of a history,
# roughly: an id, some numbers.
_ITEM_BYTES = 96
_STEP_BYTES = 64
_PLAIN_OUTCOME_BYTES = 4 * _STEP_BYTES
# At most what an id takes, or an id with a state and a place.
_SHORT_ITEM_BYTES = 512


def _task_sizes(tasks: Sequence[Task | Leased]) -> list[int]:
    return [len(t.function) + len(t.arguments) + _ITEM_BYTES for t in tasks]


def _call_sizes(calls: Sequence[LeasedCall]) -> list[int]:
    return [len(call.arguments) + 2 * _ITEM_BYTES for call in calls]


def _hosting_sizes(actors: Sequence[Hosting]) -> list[int]:
    return [
        len(actor.class_)
        + len(actor.arguments)
        + len(actor.options.picture)
        + _SHORT_ITEM_BYTES
        for actor in actors
    ]


def _outcome_sizes(outcomes: Sequence[Outcome]) -> list[int]:
    # What most of them are is counted here: a call for each would take as long again.
    return [
        len(o.payload) + _PLAIN_OUTCOME_BYTES
        if o.failure is None and not o.past
        else _outcome_bytes(o)
        for o in outcomes
    ]


def _outcome_bytes(outcome: Outcome) -> int:
    """Guess its size in a frame, rather too large: a character has up to 4 bytes."""
    failure = outcome.failure
    text = 4 * (len(failure.message) + len(failure.detail)) if failure else 0
    steps = _STEP_BYTES * len(outcome.past)
    return len(outcome.payload) + text + _PLAIN_OUTCOME_BYTES + steps


def _item_sizes(items: Sequence[Item]) -> list[int]:
    return [len(item.payload) + _ITEM_BYTES for item in items]


def _short_sizes(items: Sequence[object]) -> list[int]:
    return [_SHORT_ITEM_BYTES] * len(items)


# {what is a list in its first field: sizes of the list's items}
_SIZES: dict[type[Message], Callable[[Any], list[int]]] = {
    Submit: _task_sizes,
    Lease: _task_sizes,
    LeaseCalls: _call_sizes,
    StartActors: _hosting_sizes,
    Finished: _outcome_sizes,
    Results: _outcome_sizes,
    ItemsYielded: _item_sizes,
    ItemsTaken: _short_sizes,
    Accepted: _short_sizes,
    AckResults: _short_sizes,
    ClaimTasks: _short_sizes,
    UnknownTasks: _short_sizes,
    CancelTasks: _short_sizes,
    AckFinished: _short_sizes,
    Returned: _short_sizes,
    StatesChanged: _short_sizes,
}
# Those that carry work.
_LOADS = frozenset({Submit, Lease, Finished, Results})
# As many tasks at once are work for longer than a wait for company takes. Chosen.
BULK_ITEMS = 32


def _items_of(message: Message) -> Sequence[Any]:
    items: Sequence[Any] = getattr(message, message.__struct_fields__[0])
    return items


def load_of(message: Message) -> int:
    """Count the tasks or outcomes that a message carries; 0: it is for other things."""
    return len(_items_of(message)) if type(message) in _LOADS else 0


def portions(message: Message, limit: int) -> list[tuple[Message, int]]:
    """Cut a message into several of the same kind, each of about `limit` bytes.

    What is a list of payloads, ids or states is cut; one item alone may exceed the
    limit. `Adopted` stays whole: what it does not list is dropped. So does
    `TasksListed`: its reader must know that it is all.

    Returns:
        Messages, and their sizes in bytes: roughly, rather too large.
    """
    sizes_of = _SIZES.get(type(message))
    if sizes_of is None:
        return [(message, _ITEM_BYTES)]
    items = _items_of(message)
    sizes = sizes_of(items)
    total = sum(sizes)
    if total <= limit:
        return [(message, total)]
    field = message.__struct_fields__[0]
    parts = []
    start = size = 0
    for index, item_bytes in enumerate(sizes):
        if size and size + item_bytes > limit:
            part = {field: items[start:index]}
            parts.append((msgspec.structs.replace(message, **part), size))
            start, size = index, 0
        size += item_bytes
    part = {field: items[start:]}
    return [*parts, (msgspec.structs.replace(message, **part), size)]
