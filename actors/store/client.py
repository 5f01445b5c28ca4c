"""What every process of a session has: it writes values, and reads what others wrote.

How pins travel between a worker and the owner
----------------------------------------------
The owner pins a value for the worker before it sends the worker a `Stored`, once per
copy sent. The worker calls `load` or `skip` once for each. When the value's arrays are
gone, or at once if it has none, the name is in `take_released`, and the worker's next
message to the owner carries it. A worker that dies is forgotten with all its pins.

What a worker writes stands in its own folder until the owner has adopted it.
"""

import contextlib
import functools
import itertools
import os
import pickle
from collections import deque
from collections.abc import Callable
from typing import Any

from actors.errors import ObjectLostError
from actors.store.forks import at_fork
from actors.store.layout import parse
from actors.store.mapping import ReadMappings
from actors.store.parts import Parts
from actors.store.segments import (
    RETIRED_MODE,
    SegmentFiles,
    Stored,
    discard_file,
    extent_of,
    path_of,
    segment_of,
)
from actors.store.session import StoreFolders

__all__ = ["StoreClient"]

# Beyond it, values are copied instead of mapped: a process may have 65,530 mappings
# (vm.max_map_count, Linux's default), and memory allocation needs some. Chosen: half.
_MAX_MAPPED = 32_768


class StoreClient:
    """Writes and reads values of one session; any number of threads may.

    Args:
        folders: of the owner's `Store`.
        holder: names this process; no other of the session may ever have the same.

    Raises:
        ValueError: the holder's name has other characters than a-z, 0-9, "-" and "_".
        OSError: the session is gone.
    """

    def __init__(self, folders: StoreFolders, holder: str) -> None:
        self._folders = folders
        self._files = SegmentFiles(folders, holder)
        # Finalizers append here: they may run while any lock is held.
        self._released: deque[str] = deque()
        self._mappings = ReadMappings()
        # {number of a mapping: name}; finalizers change it, too.
        self._mapped: dict[int, str] = {}
        self._numbers = itertools.count()
        self._is_inherited = False
        at_fork(in_child=self._become_inherited, in_parent=self._retire_mapped)

    def write(self, parts: Parts) -> Stored:
        """Copy a value into a segment of its own.

        Raises:
            ObjectStoreFullError: there is no room for it, or no session any more.
            ObjectLostError: this process was forked from one of the session.
        """
        self._refuse_inherited()
        return self._files.write(parts)

    def discard(self, stored: Stored) -> None:
        """Remove what this process wrote and told nobody of."""
        discard_file(path_of(self._folders, stored.name))

    def load(self, stored: Stored) -> Any:
        """Return the value; its buffers are the segment's memory, read-only.

        Costs 30 µs, whatever the size, and at the first look at 64 MiB some 8 ms, if
        this process has not just read another value in the same segment.
        The pin that came with `stored` goes with the last buffer; also if this raises.

        Raises:
            ObjectLostError: the value was freed, or its owner is gone.
            OSError: too many files are open, or there is no address space.
            Exception: whatever unpickling the value raises.
        """
        self._refuse_inherited()
        number = next(self._numbers)
        # Before it is mapped: a fork may come at any time.
        self._mapped[number] = stored.name
        try:
            pickled, buffers = self._open(stored, functools.partial(self._end, number))
        except FileNotFoundError as error:
            raise ObjectLostError(
                f"Object {stored.name} ({stored.byte_count} bytes) is gone: it was "
                "freed, or the process that owned it ended; keep a reference to it"
            ) from error
        except ValueError as error:
            raise ObjectLostError(
                f"Object {stored.name} ({stored.byte_count} bytes) is damaged: "
                f"{error}; make it again"
            ) from error
        return pickle.loads(pickled, buffers=buffers)

    def _open(
        self, stored: Stored, on_end: Callable[[], None]
    ) -> tuple[memoryview, list[memoryview]]:
        is_mapped = False
        try:
            path = path_of(self._folders, stored.name)
            if os.stat(path).st_size < stored.byte_count:
                raise ValueError("its end is missing")
            if len(self._mapped) > _MAX_MAPPED:
                content = _read(path, stored.byte_count)
            else:
                content = self._mappings.map(
                    segment_of(stored.name), path, extent_of(stored.name), on_end
                )
                is_mapped = True
            return parse(content[: stored.byte_count])
        finally:
            if not is_mapped:
                on_end()

    def skip(self, stored: Stored) -> None:
        """Give up a pin that came with `stored`, which will not be loaded."""
        self._released.append(stored.name)

    @property
    def has_released(self) -> bool:
        """Whether `take_released` has anything to return."""
        return bool(self._released)

    def take_released(self) -> list[str]:
        """Return the names of the pins that went since, one for each."""
        released = []
        while self._released:
            released.append(self._released.popleft())
        return released

    def close(self) -> None:
        """Give up what is kept for later; what was loaded stays readable."""
        self._files.close()
        self._mappings.close()

    def _end(self, number: int) -> None:
        # Once: an interrupt may come just when a mapping is made.
        name = self._mapped.pop(number, None)
        if name is not None:
            self._released.append(name)

    def _retire_mapped(self) -> None:
        # The child reads on for as long as it likes, and nobody counts it.
        self._mappings.retire()
        for name in list(self._mapped.values()):
            # It is gone if its session is, and then nobody will use it again.
            with contextlib.suppress(OSError):
                os.chmod(path_of(self._folders, name), RETIRED_MODE)

    def _become_inherited(self) -> None:
        self._is_inherited = True

    def _refuse_inherited(self) -> None:
        if self._is_inherited:
            raise ObjectLostError(
                f"Process {os.getpid()} was forked from one that had objects, and has "
                "none itself; read them before you fork, or start it by spawn"
            )


def _read(path: str, byte_count: int) -> memoryview:
    content = bytearray(byte_count)
    with open(path, "rb", buffering=0) as file, memoryview(content) as view:
        count = 0
        while count < byte_count:
            count += file.readinto(view[count:])
    return memoryview(content).toreadonly()
