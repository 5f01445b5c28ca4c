"""A worker and its owner: a manager, or a program, on the same host."""

from actors.messages.actor import ActorOptions
from actors.messages.basis import Amount, ClientId, Message, Struct, TaskId
from actors.messages.task import Failure, Needs

__all__ = [
    "DYNAMIC",
    "FIRST_DIRECT",
    "FUNCTION_MARK",
    "INITIALIZER_SEQ",
    "REF_COUNT_BITS",
    "STREAMING",
    "ActorExits",
    "Began",
    "Call",
    "Calls",
    "Define",
    "Equip",
    "Gave",
    "HostActor",
    "Interrupt",
    "Introduce",
    "MoreItems",
    "Ran",
    "Recall",
    "Recalled",
    "Run",
    "TaskOptions",
    "TaskWaits",
    "Value",
    "WaitsLong",
    "Wrote",
    "Yielded",
    "caller_of",
]


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


class Value(Struct, frozen=True, array_like=True, gc=False):
    """What a ref stands for, once that is known."""

    payload: bytes  # pickled value or exception; of a large value its segment's handle
    refs: list[int] = []  # numbers of the refs inside
    is_stored: bool = False  # whether it lies in shared memory
    failure: Failure | None = None  # why there is no value


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


class HostActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Be the process of an actor from now on."""

    actor_id: str
    incarnation: int
    class_: bytes  # pickled
    options: ActorOptions
    environment: dict[str, str] = {}  # variables set for good


class Began(Message, frozen=True, array_like=True, tag=True, gc=False):
    """A call with a timeout has begun."""

    seq: int


class ActorExits(Message, frozen=True, array_like=True, tag=True, gc=False):
    """The actor wants to end for good; nothing more will be run."""

    seq: int  # the call that it ends in


class WaitsLong(Message, frozen=True, array_like=True, tag=True, gc=False):
    """What runs has waited for a while for tasks of its endpoint, and will for ever."""

    number: int  # 1, 2, 3, ... per worker
    task_ids: list[TaskId]  # empty: it waits no more
    spare: int  # so many of them may never end


class Wrote(Message, frozen=True, array_like=True, tag=True, gc=False):
    """A task has written to its output; comes before its result.

    If the worker's owner does not tell clients apart, some that came after it may have,
    too, whose results are in the same frame.
    """

    seq: int
    end: int  # of the log by now, in bytes


class Calls(Message, frozen=True, array_like=True, tag=True, gc=False):
    """What runs asks for tasks of its endpoint, itself: as a client of it."""

    seq: int  # the task; 0: it is the actor whose process this is
    client_id: ClientId  # the process's


class TaskWaits(Message, frozen=True, array_like=True, tag=True, gc=False):
    """The task that runs begins, or ends, to wait for others."""

    is_waiting: bool
