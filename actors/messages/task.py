"""A task: what is asked for, where it is, and how it ended."""

import enum
from typing import Annotated

import msgspec

from actors.messages.actor import ActorWork
from actors.messages.basis import Amount, Struct, TaskId

__all__ = [
    "PLAIN_TYPE",
    "Delta",
    "Failure",
    "FailureKind",
    "Holding",
    "Item",
    "ItemsMark",
    "Leased",
    "Needs",
    "Outcome",
    "Step",
    "Task",
    "TaskState",
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
    actor: ActorWork | None = None  # None: any worker may run it
    timeout: float | None = None  # seconds that it may run; None: any time
    needs: "Needs | None" = None  # None: any plain worker will do
    # The first that is wanted of a generator's items, which travel one by one; -1: it
    # has one result.
    streams_from: int = -1
    # Of a client that is one of the endpoint's workers: the task that asks for this
    # one, as its worker counts them; 0: an actor does, or nobody knows. See `Calls`.
    caller_seq: int = 0

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
    amounts: tuple[Amount, ...] | None = None
    tag: str = ""  # of the managers that may run it; "": any that is not exclusive


class Leased(Struct, frozen=True, array_like=True, gc=False):
    """A task handed to a manager: which try it is, and what to run."""

    task_id: TaskId
    attempt: int  # 1 is the first try
    function: bytes
    arguments: bytes
    timeout: float | None = None  # seconds that it may run; None: any time
    worker_type: str = ""  # of the worker that runs it; "": plain
    streams_from: int = -1  # as of a `Task`; what comes before is known already
    amounts: tuple[Amount, ...] | None = None  # see `Needs`


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
