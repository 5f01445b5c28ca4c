"""The bytes of a stored value: a head, the pickle, and the buffers beside it.

    offset  bytes
    0       8       magic; its first byte begins no pickle
    8       8       length of the pickle
    16      8       number of buffers, n
    24      16 * n  offset and length of each buffer
    ...             the pickle
    ...             the buffers, each at a multiple of 64

Integers are unsigned, in the machine's order: who reads runs on the same machine, or
on one like it. A value of up to 64 KiB with buffers is the same in one `bytes`, as is a
larger one that travels to another host; without buffers it is a pickle.
"""

import pickle
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["INLINE_BYTES", "PICKLE", "Plan", "join", "load_inline", "parse", "plan"]

# Up to here a value travels in its message. Specified; a pipe takes no longer for it
# than shared memory does.
INLINE_BYTES = 64 * 1024

_MAGIC = b"\x00actors1"
_HEAD = struct.Struct("=8sQQ")
_INDEX_ENTRY_BYTES = 16

# What NumPy and vector instructions like best: a cache line.
_ALIGNMENT = 64

# Every pickle of protocol 2 and later begins so.
PICKLE = b"\x80"


class Plan(NamedTuple):
    """What goes where in a segment."""

    pieces: list[tuple[int, bytes | bytearray | memoryview]]  # (offset, content)
    byte_count: int


def plan(
    pickled: Sequence[bytes | bytearray | memoryview], buffers: Sequence[memoryview]
) -> Plan:
    """Lay out a pickle, which may come in parts, and its buffers; copy nothing.

    Args:
        pickled: parts of bytes (format "B" if memoryviews).
        buffers: contiguous, of format "B".
    """
    offset = _HEAD.size + _INDEX_ENTRY_BYTES * len(buffers)
    pieces: list[tuple[int, bytes | bytearray | memoryview]] = []
    for part in pickled:
        pieces.append((offset, part))
        offset += len(part)
    pickled_bytes = offset - _HEAD.size - _INDEX_ENTRY_BYTES * len(buffers)
    index = []
    for buffer in buffers:
        offset = -(-offset // _ALIGNMENT) * _ALIGNMENT
        pieces.append((offset, buffer))
        index += [offset, len(buffer)]
        offset += len(buffer)
    head = _HEAD.pack(_MAGIC, pickled_bytes, len(buffers))
    pieces.insert(0, (0, head + struct.pack(f"={len(index)}Q", *index)))
    return Plan(pieces, offset)


def parse(content: memoryview) -> tuple[memoryview, list[memoryview]]:
    """Find the pickle and its buffers.

    Args:
        content: all of it; what follows is ignored.

    Raises:
        ValueError: this is no stored value, or less than a whole one.
    """
    if len(content) < _HEAD.size:
        raise ValueError(f"{len(content)} bytes are less than a head")
    magic, pickled_bytes, buffer_count = _HEAD.unpack_from(content)
    start = _HEAD.size + _INDEX_ENTRY_BYTES * buffer_count
    if magic != _MAGIC or start + pickled_bytes > len(content):
        raise ValueError("the head is not ours, or the end is missing")
    index = struct.unpack_from(f"={2 * buffer_count}Q", content, _HEAD.size)
    buffers = []
    for offset, length in zip(index[::2], index[1::2], strict=True):
        if offset + length > len(content):
            raise ValueError(f"the buffer at {offset} ends beyond the content")
        buffers.append(content[offset : offset + length])
    return content[start : start + pickled_bytes], buffers


def join(planned: Plan) -> bytes:
    """Put the pieces of a plan into one; each is copied once."""
    parts: list[bytes | bytearray | memoryview] = []
    end = 0
    for offset, piece in planned.pieces:
        parts += [bytes(offset - end), piece]
        end = offset + len(piece)
    return b"".join(parts)


def load_inline(data: bytes) -> Any:
    """Unpickle what was dumped as bytes; raise what its unpickling raises.

    Up to `INLINE_BYTES` buffers are private copies: an array can be written to if it
    could where it comes from. In more than that they are read where they are, and are
    read-only, as in shared memory.
    """
    if data.startswith(PICKLE):
        return pickle.loads(data)
    pickled, buffers = parse(memoryview(data))
    if len(data) > INLINE_BYTES:
        return pickle.loads(pickled, buffers=buffers)
    return pickle.loads(pickled, buffers=[bytearray(buffer) for buffer in buffers])
