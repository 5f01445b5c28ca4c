"""What may come which way, and how it becomes bytes and messages again."""

import struct
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from actors.errors import MalformedFrame
from actors.messages.basis import Message
from actors.messages.block import (
    BlocksHeld,
    BlocksReported,
    CancelBlocks,
    LaunchBlocks,
    RetireBlocks,
    ScaleTo,
)
from actors.messages.client import (
    Accepted,
    AckResults,
    CancelTasks,
    ClaimTasks,
    ItemsTaken,
    ItemsYielded,
    ListTasks,
    Output,
    Results,
    StatesChanged,
    Submit,
    TasksListed,
    UnknownTasks,
)
from actors.messages.event import Published, Relay
from actors.messages.group import NewGroup
from actors.messages.large import FRAME_MARK, Large
from actors.messages.link import DoorAnswer, Goodbye, Heartbeat, Hello, Reregister
from actors.messages.manager import (
    AckEnded,
    AckFinished,
    ActorEnded,
    ActorsStarted,
    Adopted,
    CallerKnown,
    Deadlocked,
    Drain,
    EndActors,
    Finished,
    HandBack,
    Lease,
    LeaseCalls,
    Printed,
    Report,
    RestartManager,
    Returned,
    StartActors,
    Stop,
    Waits,
    WatchOutput,
)
from actors.messages.request import (
    Abandon,
    AdoptCall,
    Answered,
    AwaitRefs,
    CallActor,
    CancelRef,
    CreateActor,
    FindActor,
    GetValues,
    KillActor,
    NextItem,
    OfferLine,
    OpenLines,
    PutValue,
    ReadyRefs,
    ReleaseRefs,
    ReleaseStored,
    ReserveCall,
    StopGroup,
    SubmitTask,
    Supervise,
    Values,
    WatchActor,
)
from actors.messages.steering import (
    Answer,
    Command,
    Quiesce,
    RestartActor,
    StopEndpoint,
)
from actors.messages.worker import (
    ActorExits,
    Began,
    Call,
    Calls,
    Define,
    Equip,
    Gave,
    HostActor,
    Interrupt,
    Introduce,
    MoreItems,
    Ran,
    Recall,
    Recalled,
    Run,
    TaskWaits,
    WaitsLong,
    Wrote,
    Yielded,
)

__all__ = [
    "Decoder",
    "FromClient",
    "FromManager",
    "FromOperator",
    "FromProvider",
    "FromStrategy",
    "FromSupervisor",
    "FromWorker",
    "Incoming",
    "ScaleOrder",
    "ToClient",
    "ToManager",
    "ToOperator",
    "ToProvider",
    "ToStrategy",
    "ToSupervisor",
    "ToWorker",
    "command",
    "door_answer",
    "encode_apart",
    "encode_events",
    "encode_frame",
    "encode_inline",
    "encode_marked",
    "encode_one",
    "from_line",
    "from_member",
    "from_worker",
    "hello",
    "new_group",
    "provider_to_strategy",
    "published",
    "strategy_to_provider",
    "to_line",
    "to_member",
    "to_worker",
]

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
    | Output
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
    | Printed
    | CallerKnown
    | Heartbeat
    | Goodbye
)
ToManager = (
    Lease
    | AckFinished
    | ItemsTaken
    | Deadlocked
    | CancelTasks
    | HandBack
    | Adopted
    | StartActors
    | EndActors
    | AckEnded
    | LeaseCalls
    | Drain
    | RestartManager
    | Stop
    | WatchOutput
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
    | Wrote
    | Calls
)


def _refer(payload: object) -> bytes:
    """Write a large payload as the reference to it."""
    if not isinstance(payload, Large):
        raise NotImplementedError(f"{type(payload).__name__} cannot travel")
    return payload.reference


def _as_content(payload: object) -> bytes | memoryview:
    """Write a large payload as what it stands for."""
    if not isinstance(payload, Large):
        raise NotImplementedError(f"{type(payload).__name__} cannot travel")
    return payload.content


_encoder = msgspec.msgpack.Encoder()
_referring = msgspec.msgpack.Encoder(enc_hook=_refer)
# Where a large payload goes: no message that msgpack could write begins so.
_GAP = b"\xc1 a large payload goes here \xc1"
# What stands before so many bytes, however few: msgpack's longest form.
_BIN_32, _BIN_32_TAG = struct.Struct(">BI"), 0xC6
_inlining = msgspec.msgpack.Encoder(enc_hook=_as_content)


def encode_frame(messages: Sequence[Message]) -> bytes:
    """Encode messages, in order, as one frame; large payloads as references."""
    return _referring.encode(messages)


def encode_marked(messages: Sequence[Message]) -> bytes:
    """As `encode_frame`, and mark the frame if there are references in it."""
    try:
        return _encoder.encode(messages)
    except TypeError:
        # There is one: no cost where there is none.
        return FRAME_MARK + _referring.encode(messages)


def encode_apart(value: object) -> bytes | list[bytes | memoryview]:
    """Encode anything with all that it stands for.

    Returns:
        Bytes; of what has large payloads pieces, as these are not copied.
    """
    try:
        return _encoder.encode(value)
    except TypeError:
        pass  # there are some
    contents: list[bytes | memoryview] = []

    def leave_gap(payload: object) -> msgspec.Raw:
        contents.append(_as_content(payload))
        return msgspec.Raw(_GAP)

    around = msgspec.msgpack.Encoder(enc_hook=leave_gap).encode(value).split(_GAP)
    if len(around) != len(contents) + 1:
        # Somebody's small payload looks like a gap.
        return _inlining.encode(value)
    pieces: list[bytes | memoryview] = [around[0]]
    for content, following in zip(contents, around[1:], strict=True):
        pieces += [_BIN_32.pack(_BIN_32_TAG, len(content)), content, following]
    return pieces


def encode_inline(value: object) -> bytes:
    """Encode messages, or anything, with all that they stand for."""
    return _inlining.encode(value)


def encode_one(message: Hello | DoorAnswer | Command | NewGroup) -> bytes:
    """Encode one message that stands alone, with all that it stands for."""
    return _inlining.encode(message)


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
new_group: Decoder[NewGroup] = Decoder(NewGroup)
published: Decoder[list[Published]] = Decoder(list[Published])
