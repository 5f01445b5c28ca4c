"""A file system in memory that forgets, dies and fills up, for tests of journals.

It keeps two states: what programs see, and what would survive power loss. Between
them stand, in order, the writes and name changes that nobody has synced yet. At power
loss any of them may be lost: sizes change in order, as in a file system with a log,
but each piece of data may have arrived or not, and a name may last without those
before it.
"""

import errno
import random
from dataclasses import dataclass, field
from pathlib import Path

from actors.journal import Holder, JournalLocked

__all__ = ["FakeDisk", "FakeFile", "FakeLock", "SimulatedCrash"]

# Small, so that many pieces fit into small tests; disks promise 512 or 4096.
_SECTOR_BYTES = 16
FAKE_PID = 4711


class SimulatedCrash(BaseException):
    """End the simulated process; no `except OSError` may answer it."""


@dataclass
class _Inode:
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    # Unsynced: (offset, data), or (new size, None) for a truncation.
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = bytes(self.content)
        self.pending.clear()

    def lose_power(self, chance: random.Random) -> None:
        kept = chance.choice(
            [0, len(self.pending), chance.randint(0, len(self.pending))]
        )
        data_share = chance.choice([0.0, 0.5, 1.0])
        after = bytearray(self.durable)
        for number, (offset, written) in enumerate(self.pending[: kept + 1]):
            if written is None:
                if number < kept:
                    _resize(after, offset)
                continue
            # The last one to reach the disk is torn at any byte.
            is_torn = number == kept
            data = written[: chance.randint(0, len(written))] if is_torn else written
            _resize(after, max(len(after), offset + len(data)))
            for start in range(0, len(data), _SECTOR_BYTES):
                if chance.random() < data_share:
                    piece = data[start : start + _SECTOR_BYTES]
                    after[offset + start : offset + start + len(piece)] = piece
        self.content = after
        self.sync()


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


class FakeFile:
    """An open file of a `FakeDisk`."""

    def __init__(self, disk: "FakeDisk", inode: _Inode, writable: bool) -> None:
        self._disk = disk
        self._inode = inode
        self._writable = writable
        self._boot = disk.boots
        self._is_open = True

    def write(self, data: bytes | memoryview) -> int:
        self._check()
        if not self._writable:
            raise OSError(errno.EBADF, "Not open for writing")
        taken = bytes(data)
        share = self._disk.step("write")
        if share is not None:
            taken = taken[: int(len(taken) * share)]
        room = self._disk.room()
        if room < len(taken):
            taken = taken[:room]
        if taken:
            self._inode.pending.append((len(self._inode.content), taken))
            self._inode.content += taken
        if share is not None:
            raise SimulatedCrash
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on the fake disk")
        return len(taken)

    def read_at(self, offset: int, count: int) -> bytes:
        self._check()
        return bytes(self._inode.content[offset : offset + count])

    def size(self) -> int:
        self._check()
        return len(self._inode.content)

    def truncate(self, size: int) -> None:
        self._check()
        if not self._writable:
            raise OSError(errno.EINVAL, "Not open for writing")
        self._disk.step("truncate")
        _resize(self._inode.content, size)
        self._inode.pending.append((size, None))

    def sync(self) -> None:
        self._check()
        self._disk.step("sync")
        self._inode.sync()

    def close(self) -> None:
        self._is_open = False

    def _check(self) -> None:
        if self._boot != self._disk.boots:
            raise SimulatedCrash  # a file of a process that is dead
        if not self._is_open:
            raise OSError(errno.EBADF, "Closed")


class FakeLock:
    """The held lock of a `FakeDisk`."""

    def __init__(self, disk: "FakeDisk", folder: Path) -> None:
        self._disk = disk
        self._folder = folder

    def release(self) -> None:
        if not self._disk.is_dead:
            self._disk.locks.pop(self._folder, None)


class FakeDisk:
    """Files of one machine.

    Args:
        capacity: bytes that all files together may have; None: any number.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.boots = 0
        self.locks: dict[Path, int] = {}
        # Every operation that changes something, in order.
        self.operations: list[str] = []
        # Die before the operation of this number; a write may be done in part.
        self.crash_at: int | None = None
        self.crash_share = 0.0
        # {operation: error number}, for its next call only.
        self.failures: dict[str, int] = {}
        self.is_dead = False
        self._folders: set[Path] = set()
        self._names: dict[Path, _Inode] = {}
        self._durable_names: dict[Path, _Inode] = {}
        # Unsynced, in order: a name set, and which other one is gone with it.
        self._pending: list[tuple[Path, _Inode | None, Path | None]] = []

    # What a journal uses

    def make_folder(self, folder: Path) -> None:
        self._alive()
        self._folders.add(folder)

    def names(self, folder: Path) -> list[str]:
        self._alive()
        if folder not in self._folders:
            raise FileNotFoundError(errno.ENOENT, "No such folder", str(folder))
        return [path.name for path in self._names if path.parent == folder]

    def create(self, path: Path) -> FakeFile:
        self.step("create")
        inode = self._names.get(path)
        if inode is None:
            inode = self._names[path] = _Inode()
            self._pending.append((path, inode, None))
        else:
            inode.content.clear()
            inode.pending.append((0, None))
        return FakeFile(self, inode, writable=True)

    def open(self, path: Path, *, writable: bool = False) -> FakeFile:
        self._alive()
        return FakeFile(self, self._inode(path), writable)

    def rename(self, source: Path, target: Path) -> None:
        self.step("rename")
        inode = self._inode(source)
        del self._names[source]
        self._names[target] = inode
        self._pending.append((target, inode, source))

    def unlink(self, path: Path) -> None:
        self.step("unlink")
        self._inode(path)
        del self._names[path]
        self._pending.append((path, None, None))

    def sync_folder(self, folder: Path) -> None:
        self.step("sync_folder")
        for change in self._pending:
            if change[0].parent == folder:
                _apply(self._durable_names, change)
        self._pending = [c for c in self._pending if c[0].parent != folder]

    def lock(self, folder: Path) -> FakeLock:
        self._alive()
        if folder in self.locks:
            raise JournalLocked(str(folder), self.locks[folder], "fake")
        self.locks[folder] = FAKE_PID
        return FakeLock(self, folder)

    def holder(self, folder: Path) -> Holder | None:
        pid = self.locks.get(folder)
        return Holder(pid, "fake") if pid else None

    # What a test uses

    def restart(self, power_loss: random.Random | None = None) -> None:
        """Let a new process begin; all open files and locks are gone.

        Args:
            power_loss: chooses what is lost of the unsynced; None: the process was
                killed, its machine lives, nothing is lost.
        """
        self.boots += 1
        self.locks.clear()
        self.is_dead = False
        self.crash_at = None
        self.failures.clear()
        if power_loss is None:
            return
        share = power_loss.choice([0.0, 0.5, 1.0])
        for change in self._pending:
            if power_loss.random() < share:
                _apply(self._durable_names, change)
        self._pending.clear()
        self._names = dict(self._durable_names)
        for inode in self._names.values():
            inode.lose_power(power_loss)

    def read(self, path: Path) -> bytes:
        """Return a file's content."""
        return bytes(self._inode(path).content)

    def put(self, path: Path, content: bytes) -> None:
        """Set a file's content, durably."""
        self._folders.add(path.parent)
        inode = self._names[path] = self._durable_names[path] = _Inode()
        inode.content = bytearray(content)
        inode.sync()

    def files(self) -> dict[Path, bytes]:
        """Return all files with their content."""
        return {path: bytes(inode.content) for path, inode in self._names.items()}

    def copy(self) -> "FakeDisk":
        """Return another disk with the same files, all synced."""
        disk = FakeDisk(self.capacity)
        for path, content in self.files().items():
            disk.put(path, content)
        disk._folders |= self._folders
        return disk

    def synced_copy(self) -> "FakeDisk":
        """Return another disk with what has been synced, and nothing else."""
        disk = FakeDisk(self.capacity)
        for path, inode in self._durable_names.items():
            disk.put(path, inode.durable)
        disk._folders |= self._folders
        return disk

    def room(self) -> int:
        """Return how many bytes may still be written."""
        if self.capacity is None:
            return 1 << 40
        # An unlinked file that is still open counts no more: kinder than the real one.
        used = sum(len(inode.content) for inode in self._names.values())
        return max(0, self.capacity - used)

    def step(self, operation: str) -> float | None:
        """Count an operation; die or fail if it is its turn.

        Returns:
            For the write that the process dies in: the share that is still written.
        """
        self._alive()
        if len(self.operations) == self.crash_at:
            self.is_dead = True
            if operation == "write" and self.crash_share:
                return self.crash_share
            raise SimulatedCrash
        self.operations.append(operation)
        if operation in self.failures:
            raise OSError(self.failures.pop(operation), f"{operation} fails")
        return None

    def _alive(self) -> None:
        if self.is_dead:
            raise SimulatedCrash

    def _inode(self, path: Path) -> _Inode:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file", str(path))
        return self._names[path]


def _apply(
    names: dict[Path, _Inode], change: tuple[Path, _Inode | None, Path | None]
) -> None:
    path, inode, gone = change
    if gone is not None:
        names.pop(gone, None)
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode
