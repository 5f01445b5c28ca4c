"""What an interchange writes down, so that its successor knows what it knew.

    TasksAccepted ──► TasksLeased ──► TasksFinished ──► TasksForgotten
                          │  ▲
                          ▼  │
                       TaskPutBack

Records state what is so, not what changed, and what a record says of a task that is
unknown, or has gone further, has no effect: replaying one twice does no harm, so that a
snapshot may be taken while later ones come in.

Leases are written down, too: of a task that a manager had when manager and interchange
both died, nobody else would know that it may have begun.

    ActorAdmitted ──► ActorPlaced ──► IncarnationEnded ──► ActorForgotten
                          ▲                  │
                          └──────────────────┘

    GroupAdmitted ──► GroupsStand, again and again ──► GroupEnded ──► ActorForgotten

Fields are only ever added, last, with defaults; a field's type never changes.
"""

from collections.abc import Callable

import msgspec

from actors.logic.block_errors import BadState
from actors.messages import (
    ActorOptions,
    BlockId,
    ClientId,
    GroupOptions,
    ManagerId,
    Outcome,
    Step,
    Task,
    TaskId,
    encode_apart,
    encode_inline,
)

__all__ = [
    "ActorAdmitted",
    "ActorDoomed",
    "ActorForgotten",
    "ActorHeld",
    "ActorPlaced",
    "ChildStands",
    "ClientAdmitted",
    "ClientForgotten",
    "FleetSteered",
    "GroupAdmitted",
    "GroupChild",
    "GroupEnded",
    "GroupStands",
    "GroupsStand",
    "IncarnationEnded",
    "InterchangeRecord",
    "ItemsKept",
    "ItemsRead",
    "ManagerAdmitted",
    "ManagerRemoved",
    "RestartsOrdered",
    "TaskPutBack",
    "TasksAccepted",
    "TasksCancelling",
    "TasksFinished",
    "TasksForgotten",
    "TasksLeased",
    "decode_record",
    "encode_record",
    "encode_record_apart",
]


class Record(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Be the base of all records: the class name is the tag."""


class TasksAccepted(Record, frozen=True, array_like=True, tag=True, gc=False):
    """Tasks of one client are the endpoint's."""

    client_id: ClientId
    at: float  # seconds since 1970
    tasks: list[Task]


class TasksLeased(Record, frozen=True, array_like=True, tag=True, gc=False):
    """A manager has, or is about to get, these tasks."""

    manager_id: ManagerId
    at: float  # seconds since 1970
    task_ids: list[TaskId]


class TaskPutBack(Record, frozen=True, array_like=True, tag=True, gc=False):
    """A task waits (again); here is all that its attempts have left behind."""

    task_id: TaskId
    attempt: int  # the next one
    lost_starts: int
    at: float  # since when it waits, in seconds since 1970
    avoid: BlockId
    past: tuple[Step, ...]


class TasksCancelling(Record, frozen=True, array_like=True, tag=True, gc=False):
    """Leased tasks shall end, even if they run."""

    task_ids: list[TaskId]


class TasksFinished(Record, frozen=True, array_like=True, tag=True, gc=False):
    """Tasks of one client have ended; it has not acknowledged that yet."""

    client_id: ClientId
    outcomes: list[Outcome]


class TasksForgotten(Record, frozen=True, array_like=True, tag=True, gc=False):
    """Nobody needs to know of these tasks any more."""

    client_id: ClientId
    task_ids: list[TaskId]


class ItemsKept(Record, frozen=True, array_like=True, tag=True, gc=False):
    """A generator of a client's has yielded these, which it has not read."""

    client_id: ClientId
    task_id: TaskId
    first: int  # index of the first
    payloads: list[bytes]


class ItemsRead(Record, frozen=True, array_like=True, tag=True, gc=False):
    """So many of a generator's items, the first ones, are of no use any more."""

    client_id: ClientId
    task_id: TaskId
    count: int


class ClientForgotten(Record, frozen=True, array_like=True, tag=True, gc=False):
    """A client left for good, or was away too long: its outcomes go nowhere."""

    client_id: ClientId


class ClientAdmitted(Record, frozen=True, array_like=True, tag=True, gc=False):
    """A client came in that was not known, or about to be forgotten."""

    client_id: ClientId
    is_within: bool = False  # it is one of the endpoint's own workers


class ManagerAdmitted(Record, frozen=True, array_like=True, tag=True, gc=False):
    """A manager came in."""

    manager_id: ManagerId
    instance: str
    block_id: BlockId
    slots: int
    host: str
    pid: int


class ManagerRemoved(Record, frozen=True, array_like=True, tag=True, gc=False):
    """A manager left, or was given up; what it had was put back or finished."""

    manager_id: ManagerId


class FleetSteered(Record, frozen=True, array_like=True, tag=True, gc=False):
    """What gets no tasks now; the newest such record counts alone."""

    held: list[str]  # manager ids and block ids
    retired: list[BlockId]
    is_quiesced: bool = False  # nobody gets any, and none are taken
    bad_state: BadState | None = None  # why every task fails


class ActorAdmitted(Record, frozen=True, array_like=True, tag=True, gc=False):
    """An actor lives, with or without a process."""

    actor_id: str
    class_: bytes
    arguments: bytes
    options: ActorOptions
    is_supervised: bool = False  # its restarts are a supervisor's business
    client_id: ClientId = ClientId("")  # who made it
    caller_seq: int = 0  # as of a `Task`


class ActorHeld(Record, frozen=True, array_like=True, tag=True, gc=False):
    """Which clients have handles on an actor, or a group; the newest record counts."""

    actor_id: str
    client_ids: list[ClientId]


class ActorPlaced(Record, frozen=True, array_like=True, tag=True, gc=False):
    """A manager has, or is about to get, an incarnation; "": it waits for one."""

    actor_id: str
    incarnation: int
    manager_id: ManagerId


class ActorDoomed(Record, frozen=True, array_like=True, tag=True, gc=False):
    """An actor was killed; its process may not know it yet.

    For good; of one that is supervised: this incarnation.
    """

    actor_id: str


class RestartsOrdered(Record, frozen=True, array_like=True, tag=True, gc=False):
    """Incarnations ended, or shall, as an operator wanted; the newest record counts."""

    actor_id: str
    incarnations: list[int]


class IncarnationEnded(Record, frozen=True, array_like=True, tag=True, gc=False):
    """An incarnation is over; the actor, too, unless another one follows."""

    actor_id: str
    incarnation: int
    reason: str  # see `logic.actor_life.DeathReason`
    message: str
    last_words: str
    payload: bytes
    is_final: bool


class ActorForgotten(Record, frozen=True, array_like=True, tag=True, gc=False):
    """An actor is dead, or a group has ended, and nobody has a handle on it."""

    actor_id: str


class GroupChild(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A child of a supervisor: an actor that is known, or a group."""

    name: str
    kind: str  # see `logic.restarts.RestartKind`
    actor_id: str = ""
    group: "GroupAdmitted | None" = None


class GroupAdmitted(Record, frozen=True, array_like=True, tag=True, gc=False):
    """A supervisor keeps these children, in the order of their start."""

    group_id: str
    options: GroupOptions
    children: list[GroupChild]


class ChildStands(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a child stands with its supervisor; see `supervisor.ChildStanding`."""

    name: str
    state: str
    restarts: int
    is_killed: bool
    incarnation: int  # of an actor: the one that the state is about


class GroupStands(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a supervisor stands; moments are seconds since 1970."""

    group_id: str
    is_live: bool  # it runs; else nothing of what follows counts
    is_stopping: bool
    reason: str
    restart_at: float
    delay: float  # seconds
    crashes: list[float]
    children: list[ChildStands]  # those that stood otherwise before
    # Of the outermost one:
    is_start_over: bool = False
    culprit: str = ""  # actor that is to blame if not all come up; "": nobody


class GroupsStand(Record, frozen=True, array_like=True, tag=True, gc=False):
    """How supervisors stand that have decided something together.

    One record: none may be known without the others.
    """

    group_id: str  # of the outermost one
    groups: list[GroupStands]


class GroupEnded(Record, frozen=True, array_like=True, tag=True, gc=False):
    """An outermost supervisor has ended, with all in it."""

    group_id: str
    reason: str  # for people; "": it was stopped


InterchangeRecord = (
    TasksAccepted
    | TasksLeased
    | TaskPutBack
    | TasksCancelling
    | TasksFinished
    | TasksForgotten
    | ItemsKept
    | ItemsRead
    | ClientForgotten
    | ClientAdmitted
    | ManagerAdmitted
    | ManagerRemoved
    | FleetSteered
    | ActorAdmitted
    | ActorHeld
    | ActorPlaced
    | ActorDoomed
    | RestartsOrdered
    | IncarnationEnded
    | ActorForgotten
    | GroupAdmitted
    | GroupsStand
    | GroupEnded
)

# What is large lies in memory: what outlives a host's power must have its content.
encode_record: Callable[[InterchangeRecord], bytes] = encode_inline
encode_record_apart: Callable[[InterchangeRecord], bytes | list[bytes | memoryview]]
# Without copying what is large.
encode_record_apart = encode_apart
decode_record = msgspec.msgpack.Decoder(InterchangeRecord).decode
