"""Events: published, may be missed."""

from typing import Literal

import msgspec

from actors.messages.basis import BlockId, MemberKind, Message, Struct, TaskId
from actors.messages.block import BlockState
from actors.messages.task import TaskState

__all__ = [
    "ActorRestarted",
    "AnyEvent",
    "BlockChanged",
    "BlockLoad",
    "Event",
    "FrameRefused",
    "JournalStalled",
    "LoadReported",
    "MemberJoined",
    "MemberLeft",
    "MemberRefused",
    "Notice",
    "Published",
    "Relay",
    "ScalingDecided",
    "TaskEnded",
    "TypeLoad",
    "event_kind",
]


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
