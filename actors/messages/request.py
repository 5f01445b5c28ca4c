"""What tasks ask of their worker's owner: to hand on refs, call others, wait for them.

Towards the end stands what is said where a worker calls an actor of the same program
straight: see `actors.embedded.lines`.
"""

from actors.messages.actor import ActorOptions
from actors.messages.basis import Message, Struct
from actors.messages.group import GroupOptions
from actors.messages.worker import Ran, TaskOptions, Value

__all__ = [
    "Abandon",
    "AdoptCall",
    "Answered",
    "AwaitRefs",
    "CallActor",
    "CancelRef",
    "CreateActor",
    "FindActor",
    "GetValues",
    "KillActor",
    "NextItem",
    "OfferLine",
    "OpenLines",
    "PutValue",
    "ReadyRefs",
    "ReleaseRefs",
    "ReleaseStored",
    "ReserveCall",
    "StopGroup",
    "SubmitTask",
    "Supervise",
    "SupervisedChild",
    "Values",
    "WatchActor",
]


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


class CreateActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Make an actor; one with a name is answered by `Values`, as `FindActor` is."""

    number: int  # of the ref that stands for it
    class_: bytes
    arguments: Value
    dependencies: list[int]
    options: ActorOptions
    request: int = 0  # 0: unanswered
    blocks: bool = False


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


class WatchActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Have a ref made known when the actor dies."""

    number: int
    actor: int


class StopGroup(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Stop a supervisor's children in reverse order, and then itself."""

    number: int


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
