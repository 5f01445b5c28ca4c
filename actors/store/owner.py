"""The owner's side: which values exist, who reads them, and when their memory is free.

One process of a session is the owner. All its methods may be called from any thread;
`release` from finalizers, too, which run while anything may be locked: it only queues
if the store is busy, and the next call does the rest.
"""

import contextlib
import logging
import os
import tempfile
import threading
from collections import OrderedDict, deque
from types import TracebackType
from typing import Any, Self

from actors.errors import ObjectLostError
from actors.logic.pins import Pins
from actors.store.client import StoreClient
from actors.store.parts import Parts
from actors.store.segments import (
    RETIRED_MODE,
    Stored,
    capacity_of,
    discard_file,
    path_of,
    segment_of,
)
from actors.store.session import FREE, MEMORY_ROOT, Session, StoreFolders, sweep

__all__ = ["OWNER", "Store"]

logger = logging.getLogger(__name__)

# Who holds a value because references to it live.
OWNER = "owner"
# Who holds a value because the owner's own process reads it.
_READER = "reader"

# Free memory that is kept warm: so many segments, this part of the file system, and not
# more than this in all. Chosen: 64 MiB arrays come and go several at a time.
_MAX_FREE_COUNT = 64
_FREE_PART = 16
_MAX_FREE_BYTES = 2**30


class _Shelf:
    """The free segments, in a folder from which every process of the session takes.

    The owner's store locks around it.
    """

    def __init__(self, folders: StoreFolders, max_bytes: int) -> None:
        self._folders = folders
        self._max_bytes = max_bytes if folders.memory else 0
        self._dropped = 0
        # {base name: capacity}, longest free first; some may have been taken since.
        self._free: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0

    def put(self, name: str) -> list[str]:
        """Take a segment that nobody needs any more; return paths to discard."""
        path = path_of(self._folders, name)
        capacity = capacity_of(name)
        base = segment_of(name)
        # All of it may be gone already, if another thread closes the store.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mode & 0o777 == RETIRED_MODE:
                # Whoever reads it keeps its memory; discarding would truncate it.
                os.unlink(path)
                return []
            if not name.startswith("m/") or capacity > self._max_bytes:
                return [path]
            os.rename(path, os.path.join(self._folders.memory, FREE, base))
            # It is here already if it was taken and came back.
            self._bytes += capacity - self._free.pop(base, 0)
            self._free[base] = capacity
            if self._is_over(self._max_bytes):
                return self.shrink(self._max_bytes)
        return []

    def shrink(self, max_bytes: int) -> list[str]:
        """Take out what exceeds so many bytes, the oldest first; return their paths."""
        if not self._folders.memory:
            return []
        folder = os.path.join(self._folders.memory, FREE)
        present = set(os.listdir(folder))
        for base in [base for base in self._free if base not in present]:
            self._bytes -= self._free.pop(base)
        paths = []
        while self._free and self._is_over(max_bytes):
            base, capacity = self._free.popitem(last=False)
            self._bytes -= capacity
            # Renamed first: otherwise a process might take it while it goes.
            self._dropped += 1
            path = os.path.join(
                self._folders.memory, OWNER, f"{base}.dropped-{self._dropped}"
            )
            with contextlib.suppress(FileNotFoundError):
                os.rename(os.path.join(folder, base), path)
                paths.append(path)
        return paths

    def _is_over(self, max_bytes: int) -> bool:
        return self._bytes > max_bytes or len(self._free) > _MAX_FREE_COUNT


class Store:
    """The values of one session; use it in a `with` statement, or close it.

    Args:
        memory_root: where shared memory is.
        spill_root: where values go when that is full; default: the folder for
            temporary files.
        max_free_bytes: how much free memory to keep for the next values; default: 1/16
            of the shared memory there is, at most 1 GiB.

    Raises:
        ObjectStoreFullError: neither place takes a folder.
    """

    def __init__(
        self,
        *,
        memory_root: str = MEMORY_ROOT,
        spill_root: str | None = None,
        max_free_bytes: int | None = None,
    ) -> None:
        spill_root = spill_root or tempfile.gettempdir()
        sweep((memory_root, spill_root))
        self._session = Session(memory_root, spill_root)
        self.folders = self._session.folders
        try:
            self._client = StoreClient(self.folders, OWNER)
        except BaseException:
            self._session.close()
            raise
        if max_free_bytes is None:
            max_free_bytes = _default_free_bytes(self.folders)
        # Around both; held for microseconds.
        self._lock = threading.Lock()
        self._pins = Pins()
        self._shelf = _Shelf(self.folders, max_free_bytes)
        # (name, holder): pins to take away
        self._releases: deque[tuple[str, str]] = deque()

    def write(self, parts: Parts) -> Stored:
        """Copy a value into shared memory; `OWNER` pins it once.

        Raises:
            ObjectStoreFullError: there is no room for it.
            ObjectLostError: this store is closed.
        """
        self._refuse_closed()
        self.collect()
        stored = self._client.write(parts)
        with self._lock:
            self._pins.add(stored.name, OWNER)
        return stored

    def adopt(self, stored: Stored) -> None:
        """Take over what another process wrote; `OWNER` pins it once.

        Raises:
            ValueError: it was adopted before.
            ObjectLostError: this store is closed.
        """
        self._refuse_closed()
        with self._lock:
            self._pins.add(stored.name, OWNER)

    def pin(self, stored: Stored, holder: str) -> None:
        """Keep a value for a holder, once more.

        Raises:
            ObjectLostError: it has been freed, or this store is closed.
        """
        self._refuse_closed()
        with self._lock:
            try:
                self._pins.pin(stored.name, holder)
            except KeyError:
                raise ObjectLostError(
                    f"Object {stored.name} ({stored.byte_count} bytes) has been freed; "
                    "keep a reference to it"
                ) from None

    def release(self, name: str, holder: str) -> None:
        """Take one of a holder's pins away; free the value with the last one.

        A pin that the holder does not have is ignored.
        """
        self._releases.append((name, holder))
        self._settle()

    def forget(self, holder: str) -> None:
        """Take all pins of a dead process away, and what it wrote for nobody.

        Call it when all of its messages have been read.
        """
        if not self._session.is_open:
            return
        self._settle()
        with self._lock:
            gone = self._pins.forget(holder)
            doomed = self._put(gone)
            doomed += self._unadopted(holder)
        _discard(doomed)
        for folder in self.folders.memory, self.folders.spill:
            if folder:
                # It stays if there are adopted segments in it.
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.join(folder, holder))

    def load(self, stored: Stored) -> Any:
        """Return a value to this process; see `StoreClient.load`.

        Raises:
            ObjectLostError: it has been freed, or this store is closed.
        """
        self.pin(stored, _READER)
        return self._client.load(stored)

    def collect(self) -> None:
        """Free what arrays in this process let go of; costs nothing if none did."""
        for name in self._client.take_released():
            self._releases.append((name, _READER))
        if self._releases:
            self._settle()

    def listed(self) -> list[tuple[str, int, dict[str, int]]]:
        """Return (name, bytes that it takes, {holder: pins}) of each value."""
        with self._lock:
            counts = self._pins.counts()
        return [(name, capacity_of(name), held) for name, held in counts.items()]

    def trim(self, max_bytes: int = 0) -> None:
        """Give free memory back to the system, except for so much."""
        if not self._session.is_open:
            return
        self.collect()
        with self._lock:
            doomed = self._shelf.shrink(max_bytes)
        _discard(doomed)

    def close(self) -> None:
        """Remove everything; what was loaded stays readable.

        In a forked child it does nothing.
        """
        self._client.close()
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _refuse_closed(self) -> None:
        if not self._session.is_open:
            raise ObjectLostError(
                "This store of objects is closed, or was opened by the process that "
                "this one was forked from; read objects before"
            )

    def _settle(self) -> None:
        if not self._session.is_open:
            # A forked child must not free what its parent has.
            self._releases.clear()
        while self._releases:
            # Whoever holds the lock may be this very thread, below a finalizer.
            if not self._lock.acquire(blocking=False):
                return
            try:
                gone = []
                while self._releases:
                    name, holder = self._releases.popleft()
                    if self._pins.release(name, holder):
                        gone.append(name)
                doomed = self._put(gone)
            finally:
                self._lock.release()
            _discard(doomed)

    def _put(self, names: list[str]) -> list[str]:
        return [path for name in names for path in self._shelf.put(name)]

    def _unadopted(self, holder: str) -> list[str]:
        """Return paths of what a dead holder wrote that nobody was told of.

        They are not used again: the holder may have died while it made them.
        """
        paths = []
        for place, folder in (("m", self.folders.memory), ("s", self.folders.spill)):
            if not folder:
                continue
            own = os.path.join(folder, holder)
            with contextlib.suppress(FileNotFoundError):
                names = os.listdir(own)
                paths += [
                    os.path.join(own, name)
                    for name in names
                    if f"{place}/{holder}/{name}" not in self._pins
                ]
        return paths


def _discard(paths: list[str]) -> None:
    for path in paths:
        discard_file(path)


def _default_free_bytes(folders: StoreFolders) -> int:
    if not folders.memory:
        return 0
    status = os.statvfs(folders.memory)
    return min(_MAX_FREE_BYTES, status.f_blocks * status.f_frsize // _FREE_PART)
