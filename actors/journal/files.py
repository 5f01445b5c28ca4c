"""The file system as the journal sees it: few operations, each with a plain promise.

A test gives a fake that forgets what was not synced, dies between two operations, or
is full. One shared test runs against both.
"""

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import filelock

from actors.journal.errors import JournalLocked

__all__ = ["File", "FileSystem", "Holder", "Lock", "RealFiles", "all_closed"]

logger = logging.getLogger(__name__)

LOCK_NAME = "journal.lock"
# Beside the lock, not in it: some versions of filelock empty the lock file on opening.
HOLDER_NAME = "journal.holder"
# What tasks carry is for their owner's eyes only.
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
# macOS has no fdatasync.
_sync_data = getattr(os, "fdatasync", os.fsync)


class Holder(NamedTuple):
    """Who writes to a journal."""

    pid: int
    host: str


class File(Protocol):
    """An open file. Every method may raise OSError."""

    def write(self, data: bytes | memoryview) -> int:
        """Append; return how many bytes were taken, >= 1, perhaps not all."""
        ...

    def read_at(self, offset: int, count: int) -> bytes:
        """Read up to `count` bytes; fewer only at the end of the file."""
        ...

    def size(self) -> int:
        """Return the length in bytes."""
        ...

    def truncate(self, size: int) -> None:
        """Cut everything from `size` on."""
        ...

    def sync(self) -> None:
        """Return when the content, not the name, survives power loss."""
        ...

    def close(self) -> None:
        """Close; twice is once."""
        ...


class Lock(Protocol):
    """A held lock."""

    def release(self) -> None:
        """Let go; twice is once."""
        ...


class FileSystem(Protocol):
    """What the journal asks of a file system. Every method may raise OSError."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder and its parents, durable on return; an existing one is kept."""
        ...

    def names(self, folder: Path) -> list[str]:
        """List a folder, in no order."""
        ...

    def create(self, path: Path) -> File:
        """Open a new file for reading and appending; an old one is emptied."""
        ...

    def open(self, path: Path, *, writable: bool = False) -> File:
        """Open an existing file for reading, and appending if `writable`."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, in one step; it replaces an old `target`."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name; open files live on."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in the folder survive power loss."""
        ...

    def lock(self, folder: Path) -> Lock:
        """Take the folder's lock, or raise JournalLocked; ends with the process."""
        ...

    def holder(self, folder: Path) -> Holder | None:
        """Tell who holds the lock, as far as is known; takes no lock."""
        ...


class RealFile:
    """A file of the operating system."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes | memoryview) -> int:
        return os.write(self._descriptor, data)

    def read_at(self, offset: int, count: int) -> bytes:
        first = os.pread(self._descriptor, count, offset)
        if len(first) in (0, count):
            return first
        parts = [first]
        have = len(first)
        while have < count:
            part = os.pread(self._descriptor, count - have, offset + have)
            if not part:
                break
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        _sync_data(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class _RealLock:
    def __init__(self, lock: filelock.BaseFileLock, holder: Path) -> None:
        self._lock = lock
        self._holder = holder

    def release(self) -> None:
        if self._lock.is_locked:
            with contextlib.suppress(FileNotFoundError):
                self._holder.unlink()
            self._lock.release()


class RealFiles:
    """The operating system's files."""

    def make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for child in reversed(missing):
            child.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            self.sync_folder(child.parent)

    def names(self, folder: Path) -> list[str]:
        return os.listdir(folder)

    def create(self, path: Path) -> File:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        return RealFile(os.open(path, flags, _FILE_MODE))

    def open(self, path: Path, *, writable: bool = False) -> File:
        access = os.O_RDWR | os.O_APPEND if writable else os.O_RDONLY
        return RealFile(os.open(path, access | os.O_CLOEXEC))

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, folder: Path) -> Lock:
        lock: filelock.BaseFileLock = filelock.FileLock(
            folder / LOCK_NAME, mode=_FILE_MODE, thread_local=False
        )
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            holder = self.holder(folder) or Holder(0, "")
            raise JournalLocked(str(folder), holder.pid, holder.host) from None
        if isinstance(lock, filelock.SoftFileLock):
            # What filelock falls back to where there is no flock; it would outlive a
            # killed holder.
            lock.release()
            raise OSError(errno.ENOSYS, "No flock on this file system", str(folder))
        path = folder / HOLDER_NAME
        try:
            _replace(path, f"{os.getpid()} {socket.gethostname()}\n")
        except OSError as error:
            # A full disk: the lock holds all the same, and replay needs no room.
            logger.warning("Journal %s: cannot name its holder: %s", folder, error)
        except BaseException:
            lock.release()
            raise
        return _RealLock(lock, path)

    def holder(self, folder: Path) -> Holder | None:
        try:
            words = (folder / HOLDER_NAME).read_text("utf-8").split()
            holder = Holder(int(words[0]), words[1])
        except (FileNotFoundError, ValueError, IndexError):
            return None
        if holder.host == socket.gethostname() and not _is_alive(holder.pid):
            return None  # killed: it could not take its name away
        return holder


def _replace(path: Path, text: str) -> None:
    """Write a small file in one step, so that nobody reads half a name."""
    fresh = path.with_name(path.name + ".tmp")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    os.replace(fresh, path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


@contextlib.contextmanager
def all_closed(opened: list[File]) -> Iterator[list[File]]:
    """Close, at the end, every file that was put into the list."""
    try:
        yield opened
    finally:
        for file in opened:
            file.close()
