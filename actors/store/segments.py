"""The segments that one process writes: claimed if there is a free one, else made.

A claim renames `free/BASE` to `HOLDER/BASE.COUNT`, which one process can do only. A
segment that this process filled before is still mapped here: filling it again is one
copy. COUNT makes the name of a stored value unique for ever, so that a late reader
finds nothing rather than another value.

What 64 MiB cost, 2 cores of an EPYC, Linux 6.18, tmpfs (a copy between warm arrays:
4.6 ms): into a kept mapping 4.3 ms, into a claimed file for the first time 10 ms (map
all pages, copy), into a new file 30 ms (`pwrite`; `mmap` would take longer still), and
150 to 250 ms where the host of a virtual machine has to find the memory first.
At 64 KiB: 15 µs to claim and fill a kept mapping, 25 µs more to look for a free
segment, 58 µs to make and remove one.
"""

import contextlib
import errno
import itertools
import mmap
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from actors.errors import ObjectStoreFullError
from actors.store.layout import Plan, plan
from actors.store.parts import Parts
from actors.store.session import FREE, StoreFolders

__all__ = [
    "RETIRED_MODE",
    "SegmentFiles",
    "Stored",
    "capacity_for",
    "capacity_of",
    "discard_file",
    "extent_of",
    "make_file",
    "path_of",
    "segment_of",
]

# A segment of this mode is never used again: a process that nobody counts reads it.
RETIRED_MODE = 0o400

_FILE_MODE = 0o600

# A capacity is a multiple of 1/32 of the power of two below it, so that values of
# nearly the same size share segments, and at most 3 % are wasted. Chosen.
_STEPS_PER_DOUBLING = 32
# Characters of the session's folder that stand in names. Chosen: enough for chance.
_TAG = 6

_PAGE_BYTES = mmap.PAGESIZE

# A free segment may be larger than what it is claimed for. Chosen: twice.
_MAX_EXCESS = 2

# Mappings kept to fill again. They cost address space; their memory is the segments',
# and goes with those. Chosen: more than a program has under way at once.
_MAX_MAPPINGS = 16

# One copy of so much at a time: 0.5 ms, then other threads may run.
_CHUNK_BYTES = 8 * 2**20

# The place is full, by any of the limits there are.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM})

_MEMORY, _SPILL = "m", "s"

# It is part of paths; "free" and "lock" are names of their own.
_HOLDER = re.compile(r"(?!(free|lock)$)[a-z0-9_-]{1,64}", re.ASCII)


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A reference to a stored value; means something within its session only."""

    name: str  # PLACE/HOLDER/BASE.COUNT, never used twice; set by the writer
    byte_count: int  # of head, pickle and buffers


def capacity_for(byte_count: int) -> int:
    """Return the capacity, in bytes, of a segment for so many bytes, > 0."""
    below = 1 << (byte_count - 1).bit_length() >> 1
    step = max(_PAGE_BYTES, below // _STEPS_PER_DOUBLING)
    return -(-byte_count // step) * step


def capacity_of(name: str) -> int:
    """Return the capacity, in bytes, that a file's or value's name tells."""
    return int(name.rpartition("/")[2].partition("-")[0])


def segment_of(name: str) -> str:
    """Return the name that a segment has for ever, whatever is stored in it."""
    return name.rpartition("/")[2].partition(".")[0]


def extent_of(name: str) -> int:
    """Return how many bytes of a segment to map; those at the end may not exist."""
    # In a spill folder a file is as long as its value; the extent is rounded, too.
    return capacity_for(capacity_of(name))


def path_of(folders: StoreFolders, name: str) -> str:
    """Return the path of a stored value's segment."""
    place, _, rest = name.partition("/")
    return os.path.join(folders.memory if place == _MEMORY else folders.spill, rest)


def discard_file(path: str) -> None:
    """Remove a segment that nobody reads, and free its memory at once.

    Processes that filled it before may have it mapped still, and would keep it.
    """
    with contextlib.suppress(FileNotFoundError):
        os.truncate(path, 0)
        os.unlink(path)


class SegmentFiles:
    """Writes values; any number of threads may.

    Args:
        folders: of the session.
        holder: a name that no other process of the session has or had.

    Raises:
        ValueError: the holder's name is no part of a path.
        OSError: the session is gone.
    """

    def __init__(self, folders: StoreFolders, holder: str) -> None:
        if not _HOLDER.fullmatch(holder):
            raise ValueError(f"Holder {holder!r} must match {_HOLDER.pattern}")
        self._folders = folders
        self._holder = holder
        # In names, so that no other session of this process ever has the same.
        self._session = os.path.basename(folders.memory or folders.spill)[-_TAG:]
        self._made = itertools.count()
        self._written = itertools.count()
        # {base name of a segment: where it can be filled}, least recently used first
        self._mappings: OrderedDict[str, mmap.mmap] = OrderedDict()
        self._lock = threading.Lock()
        for folder in folders.memory, folders.spill:
            if folder:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(os.path.join(folder, holder), 0o700)

    def write(self, parts: Parts) -> Stored:
        """Copy a value into a segment of its own.

        Raises:
            ObjectStoreFullError: there is no room for it, or no session any more.
        """
        planned = plan(parts.pickled, parts.buffers)
        reasons = []
        for place, folder in (
            (_MEMORY, self._folders.memory),
            (_SPILL, self._folders.spill),
        ):
            if not folder:
                continue
            try:
                name = (
                    self._write_memory(folder, planned)
                    if place == _MEMORY
                    else self._make(folder, planned, planned.byte_count)
                )
            except OSError as error:
                if error.errno not in _FULL and not isinstance(
                    error, FileNotFoundError
                ):
                    raise
                reasons.append(f"{folder}: {error.strerror}")
            else:
                return Stored(f"{place}/{self._holder}/{name}", planned.byte_count)
        raise ObjectStoreFullError(
            f"No room for an object of {planned.byte_count} bytes "
            f"({'; '.join(reasons)}); let go of some references, or make room there"
        )

    def close(self) -> None:
        """Give up the mappings."""
        with self._lock:
            mappings = [*self._mappings.values()]
            self._mappings.clear()
        for mapping in mappings:
            mapping.close()

    def _write_memory(self, folder: str, planned: Plan) -> str:
        capacity = capacity_for(planned.byte_count)
        for base in self._candidates(folder, capacity):
            name = self._claim(folder, base)
            if name is not None:
                try:
                    self._fill(os.path.join(folder, self._holder, name), base, planned)
                except BaseException:
                    discard_file(os.path.join(folder, self._holder, name))
                    raise
                return name
        try:
            return self._make(folder, planned, capacity)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            # What nobody uses may be in the way of what somebody needs.
            self._discard_free(folder)
            return self._make(folder, planned, capacity)

    # Claim

    def _candidates(self, folder: str, capacity: int) -> Iterator[str]:
        """Yield base names of segments that may be free: mapped ones, then others."""
        with self._lock:
            mapped = [*reversed(self._mappings)]
        limit = _MAX_EXCESS * capacity
        yield from (base for base in mapped if capacity <= capacity_of(base) <= limit)
        free = [
            (found, base)
            for base in os.listdir(os.path.join(folder, FREE))
            if capacity <= (found := capacity_of(base)) <= limit
        ]
        yield from (base for _, base in sorted(free))

    def _claim(self, folder: str, base: str) -> str | None:
        name = f"{base}.{next(self._written)}"
        try:
            os.rename(
                os.path.join(folder, FREE, base),
                os.path.join(folder, self._holder, name),
            )
        except FileNotFoundError:
            return None
        return name

    def _fill(self, path: str, base: str, planned: Plan) -> None:
        with self._lock:
            mapping = self._mappings.pop(base, None)
        if mapping is None:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                mapping = mmap.mmap(
                    descriptor,
                    capacity_of(base),
                    flags=mmap.MAP_SHARED | mmap.MAP_POPULATE,
                )
            finally:
                os.close(descriptor)
        with memoryview(mapping) as target:
            for offset, piece in planned.pieces:
                _copy(piece, target, offset)
        with self._lock:
            self._mappings[base] = mapping
            dropped = None
            if len(self._mappings) > _MAX_MAPPINGS:
                _, dropped = self._mappings.popitem(last=False)
        if dropped is not None:
            dropped.close()

    def _discard_free(self, folder: str) -> None:
        for base in os.listdir(os.path.join(folder, FREE)):
            # Claimed first: otherwise somebody else might, and fill it while it goes.
            name = self._claim(folder, base)
            if name is not None:
                discard_file(os.path.join(folder, self._holder, name))

    # Make

    def _make(self, folder: str, planned: Plan, capacity: int) -> str:
        base = f"{capacity}-{self._holder}-{self._session}-{next(self._made)}"
        name = f"{base}.{next(self._written)}"
        make_file(os.path.join(folder, self._holder, name), planned, capacity)
        return name


def make_file(path: str, planned: Plan, capacity: int) -> None:
    """Write a value to a file that there was not, and that may be filled again.

    Args:
        path: of the file.
        planned: what to write.
        capacity: how many bytes it shall be able to take without needing more memory.

    Raises:
        OSError: there is no room for it, or no such folder; then there is no file.
    """
    descriptor = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE
    )
    try:
        for offset, piece in planned.pieces:
            _write_all(descriptor, piece, offset)
        if capacity > planned.byte_count:
            # Filling it again through a mapping must not need memory that may then
            # not be there: the process would be killed by SIGBUS.
            os.posix_fallocate(
                descriptor, planned.byte_count, capacity - planned.byte_count
            )
        # A gap before an aligned buffer is less than a page that is written to.
    except BaseException:
        os.close(descriptor)
        discard_file(path)
        raise
    os.close(descriptor)


def _copy(
    piece: bytes | bytearray | memoryview, target: memoryview, offset: int
) -> None:
    if len(piece) <= _CHUNK_BYTES:
        target[offset : offset + len(piece)] = piece
        return
    with memoryview(piece) as view:
        for start in range(0, len(view), _CHUNK_BYTES):
            chunk = view[start : start + _CHUNK_BYTES]
            target[offset + start : offset + start + len(chunk)] = chunk


def _write_all(
    descriptor: int, piece: bytes | bytearray | memoryview, offset: int
) -> None:
    with memoryview(piece) as view:
        written = 0
        while written < len(view):
            written += os.pwrite(descriptor, view[written:], offset + written)
