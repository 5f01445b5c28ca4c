"""A value as a pickle and the buffers beside it, not copied yet.

Protocol 5 hands out the memory of whatever exports buffers (arrays of NumPy, columns of
Arrow) instead of copying it. Large `bytes`, `bytearray` and `str` are no buffers to it,
but a pickler that writes to a file passes them to `write` as they are, so that they
need no copy on the way either.
"""

import itertools
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cloudpickle

from actors.store.layout import INLINE_BYTES, join, plan

__all__ = ["Parts", "dump_parts", "dump_whole", "join_parts"]

# Smaller buffers are copied into the pickle: one outside it costs some 2 µs in all, as
# much as copying this. Chosen: a page.
_MIN_BUFFER_BYTES = 4096

_PROTOCOL = 5

# A pickler flushes a frame of names and small things once it is so long; strings and
# bytes of this length and longer bypass the frames (PEP 3154, Modules/_pickle.c).
_FRAME_BYTES = 64 * 1024
# How what is no such string begins: a frame, or the pickle itself.
_FRAME_BEGINS = (b"\x95", b"\x80\x05")

# How many items of a container are looked at for large strings. Chosen: looking at all
# could take longer than it saves.
_MAX_GLANCES = 8

_STRINGS = frozenset({bytes, bytearray, str})
_CONTAINERS = frozenset({dict, list, tuple})

_Piece = bytes | bytearray | memoryview


class Parts:
    """A value over 64 KiB, in parts that still are the value's own memory.

    Whoever holds it must not let the value change before it is written.
    """

    __slots__ = ("buffers", "byte_count", "pickled")

    def __init__(
        self, pickled: Sequence[_Piece], buffers: Sequence[memoryview], byte_count: int
    ) -> None:
        self.pickled = pickled
        self.buffers = buffers
        self.byte_count = byte_count


class _Pieces(list[_Piece]):
    """What a pickler takes for a file."""

    def write(self, piece: _Piece | pickle.PickleBuffer) -> None:
        # A PickleBuffer is a large one that stays in the pickle.
        self.append(piece.raw() if isinstance(piece, pickle.PickleBuffer) else piece)


def dump_parts(
    value: Any,
    modules_by_value: Callable[[], Iterable[bytes]],
    glance: Iterable[Any] | None = None,
) -> bytes | Parts:
    """Pickle by the rules of `payload`, with large buffers left where they are.

    A small value costs 0.5 µs more than by `pickle.dumps`, besides `modules_by_value`.

    Args:
        value: anything.
        modules_by_value: returns names of modules; if a pickle mentions one,
            cloudpickle makes another.
        glance: where to look for large strings: the arguments of a call. By default
            the value, or what is directly in it. One that is not found is copied twice.

    Returns:
        Bytes for `load_inline` if it is at most `INLINE_BYTES` in all, else the parts.

    Raises:
        Exception: whatever pickling the value raises.
    """
    buffers: list[memoryview] = []

    def is_inside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if len(raw) < _MIN_BUFFER_BYTES:
            return True
        buffers.append(raw)
        return False

    pieces: list[_Piece]
    if glance is None:
        glance = _first_items(value) if type(value) in _CONTAINERS else (value,)
    is_bulky = False
    for item in glance:
        if type(item) in _STRINGS and len(item) > INLINE_BYTES:
            is_bulky = True
    try:
        if is_bulky:
            pieces = _dump_into_pieces(pickle.Pickler, value, is_inside)
            is_by_value = _mentions(pieces, modules_by_value())
        else:
            data = pickle.dumps(value, _PROTOCOL, buffer_callback=is_inside)
            is_by_value = False
            for name in modules_by_value():
                if name in data:
                    is_by_value = True
                    break
            else:
                if not buffers and len(data) <= INLINE_BYTES:
                    return data
            pieces = [data]
    except Exception:  # noqa: BLE001  other people's code
        # No answer yet: cloudpickle may do it, and if not its error is the better one.
        is_by_value = True
    if is_by_value:
        buffers.clear()
        pieces = _dump_into_pieces(cloudpickle.Pickler, value, is_inside)
    return _finish(pieces, buffers)


def _finish(pieces: list[_Piece], buffers: list[memoryview]) -> bytes | Parts:
    byte_count = sum(map(len, pieces)) + sum(map(len, buffers))
    if byte_count > INLINE_BYTES:
        return Parts(pieces, buffers, byte_count)
    if not buffers:
        return b"".join(pieces)
    return join(plan(pieces, buffers))


def join_parts(parts: Parts) -> bytes:
    """Put a large value into one, for `load_inline`; its buffers are copied once."""
    if not parts.buffers:
        return b"".join(parts.pickled)
    return join(plan(parts.pickled, parts.buffers))


def dump_whole(
    value: Any,
    modules_by_value: Callable[[], Iterable[bytes]],
    glance: Iterable[Any] | None = None,
    write: Callable[[Parts], bytes] = join_parts,
) -> bytes:
    """Pickle as `dump_parts` does, whatever it takes, for `load_inline`.

    Args:
        value: see there.
        modules_by_value: see there.
        glance: see there.
        write: makes what is large one piece.
    """
    dumped = dump_parts(value, modules_by_value, glance)
    return write(dumped) if isinstance(dumped, Parts) else dumped


def _dump_into_pieces(
    pickler: Any, value: object, is_inside: Callable[[pickle.PickleBuffer], bool]
) -> _Pieces:
    pieces = _Pieces()
    pickler(pieces, _PROTOCOL, buffer_callback=is_inside).dump(value)
    return pieces


def _first_items(container: Any) -> Iterable[Any]:
    items = container.values() if type(container) is dict else container
    return itertools.islice(items, _MAX_GLANCES)


def _mentions(pieces: Sequence[_Piece], names: Iterable[bytes]) -> bool:
    # Searching 64 MiB takes 25 ms, and what is in a user's string names nothing.
    searched = [
        piece
        for piece in pieces
        if isinstance(piece, bytes)
        and (len(piece) < _FRAME_BYTES or piece.startswith(_FRAME_BEGINS))
    ]
    return any(name in piece for name in names for piece in searched)
