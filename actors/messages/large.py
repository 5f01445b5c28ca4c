"""Large payloads: what stands in a message for one that lies in shared memory.

    offset  bytes
    0       8     mark; its first byte begins neither a pickle nor a frame
    8       8     length of the content, unsigned, in the machine's order
    16            FOLDER/NAME in ASCII, under where the system has its shared memory

Whoever has a payload in memory of its own has a `Large`. To machines it is a payload
like any other, and as long as its content: that is what counts against limits. Where
it becomes bytes it is written as the reference above for a peer that sees the same
memory, and as its content for everybody else, and for a journal.

A frame that has references in it begins with a mark: peers that cannot have been meant
refuse it, and others need not look at each payload of all the others.
"""

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import msgspec

from actors.errors import MalformedFrame
from actors.messages.basis import Message
from actors.messages.client import ItemsYielded, Results, Submit
from actors.messages.manager import Finished, Lease, LeaseCalls, StartActors
from actors.messages.worker import Ran, Yielded

__all__ = [
    "FRAME_MARK",
    "LARGE_MARK",
    "Large",
    "LargeName",
    "name_of_large",
    "reference_to",
    "with_payloads",
]

# How a frame with references begins; msgpack's arrays begin otherwise.
FRAME_MARK = b"\x00"
LARGE_MARK = b"\x00actors2"

_HEAD = struct.Struct("=8sQ")
# As `store.session` names folders, and `store.links` files. A name goes into a path.
_NAME = re.compile(rb"(actors-objects-[0-9]{1,10}-[0-9a-f]{16})/([0-9]{1,20})")


class LargeName(NamedTuple):
    """Where a payload lies, and how long it is."""

    folder: str
    name: str
    byte_count: int


def reference_to(where: LargeName) -> bytes:
    """Return what stands in messages for what lies there."""
    path = f"{where.folder}/{where.name}".encode("ascii")
    return _HEAD.pack(LARGE_MARK, where.byte_count) + path


def name_of_large(reference: bytes) -> LargeName:
    """Read a reference.

    Raises:
        MalformedFrame: it is none.
    """
    # Not by len(), which is the content's.
    raw = memoryview(reference)
    match = _NAME.fullmatch(raw, _HEAD.size) if raw.nbytes > _HEAD.size else None
    if match is None or raw[:8] != LARGE_MARK:
        raise MalformedFrame(f"{bytes(raw[:80])!r} is no reference to shared memory")
    (_, byte_count) = _HEAD.unpack_from(raw)
    return LargeName(match[1].decode(), match[2].decode(), byte_count)


class Large(bytes):
    """A payload in shared memory; its own bytes are the reference to it.

    Msgspec does not take it for bytes, and asks (`messages.frame`) how to write it.
    """

    byte_count: int

    def __new__(cls, where: LargeName) -> Self:
        self = super().__new__(cls, reference_to(where))
        self.byte_count = where.byte_count
        return self

    def __len__(self) -> int:
        return self.byte_count

    @property
    def reference(self) -> bytes:
        """What to write for a peer that sees the same memory."""
        return bytes(memoryview(self))

    @property
    def content(self) -> bytes | memoryview:
        """What to write for everybody else."""
        raise NotImplementedError


# {what is a list in its first field: the field of the list's items that is a payload}
_PAYLOADS: dict[type[Message], str] = {
    Submit: "arguments",
    Lease: "arguments",
    LeaseCalls: "arguments",
    StartActors: "arguments",
    Finished: "payload",
    Results: "payload",
    ItemsYielded: "payload",
}


def with_payloads(message: Any, change: Callable[[bytes], bytes | None]) -> Any:
    """Put others in the place of the references in a message.

    Args:
        message: that may carry some.
        change: given a reference, returns what to put there; None: nobody needs it.
            Then what it is for is left out of the message; of a worker's there is no
            such thing.
    """
    match message:
        case Ran(payload=payload) if payload.startswith(LARGE_MARK):
            return msgspec.structs.replace(message, payload=change(payload))
        case Yielded(value=value) if value.payload.startswith(LARGE_MARK):
            value = msgspec.structs.replace(value, payload=change(value.payload))
            return msgspec.structs.replace(message, value=value)
    field = _PAYLOADS.get(type(message))
    if field is None:
        return message
    name = message.__struct_fields__[0]
    items = []
    for item in getattr(message, name):
        reference: bytes = getattr(item, field)
        if not reference.startswith(LARGE_MARK):
            items.append(item)
        elif (found := change(reference)) is not None:
            items.append(msgspec.structs.replace(item, **{field: found}))
    return msgspec.structs.replace(message, **{name: items})
