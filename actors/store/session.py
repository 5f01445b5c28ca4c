"""The folders of one owner's objects, and how they go when the owner is dead.

A folder lives while its `lock` file is locked, by `flock`, which ends with the process
however that ends. Who makes a folder and who sweeps dead ones may meet, so both follow
one rule: only what is locked, and still stands under its name once it is, is one's own.
Then a maker that lost its folder makes another, and a second sweeper turns away.

The lock file names the machine: on a file system that several machines share (a spill
folder may be on one) `flock` may be each machine's own affair, as with Lustre's
`localflock`. What another machine made is left to that machine.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable

import msgspec

from actors.errors import ObjectStoreFullError
from actors.store.forks import at_fork

__all__ = ["FREE", "MEMORY_ROOT", "Session", "StoreFolders", "machine_name", "sweep"]

logger = logging.getLogger(__name__)

# Where Linux has its shared memory.
MEMORY_ROOT = "/dev/shm"

# The folder of free segments.
FREE = "free"

_LOCK = "lock"
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_RANDOM_BYTES = 8

# A boot is a UUID, a name has up to 64 bytes.
_MAX_MACHINE_BYTES = 256

# Each failure means that a sweeper came in between. Chosen: nobody meets so many.
_MAX_TRIES = 100


class StoreFolders(msgspec.Struct, frozen=True, array_like=True):
    """Where a session's objects are; every process of it must know.

    Args:
        memory: the folder in shared memory; "" if there is none.
        spill: the folder for when that is full; "" if there is none.
    """

    memory: str
    spill: str


class Session:
    """The folders of one owner, locked until `close` or the end of the process.

    A forked child holds no lock, and its `close` does nothing.

    Args:
        memory_root: where to make the folder in shared memory.
        spill_root: where to make the spill folder; "": there shall be none.
        has_free: whether there shall be a folder for free segments.

    Raises:
        ObjectStoreFullError: no folder could be made in either place.
    """

    def __init__(
        self, memory_root: str, spill_root: str, *, has_free: bool = True
    ) -> None:
        self._locks: list[int] = []
        self._has_free = has_free
        reasons: list[str] = []
        memory = self._make(memory_root, reasons)
        spill = self._make(spill_root, reasons) if spill_root else ""
        self.folders = StoreFolders(memory, spill)
        if not self._locks:
            raise ObjectStoreFullError(
                f"No folder for objects can be made ({'; '.join(reasons)}); "
                "make room in one of these places"
            )
        at_fork(in_child=self._drop_locks)

    def _make(self, root: str, reasons: list[str]) -> str:
        try:
            folder, descriptor = _make_locked(root, has_free=self._has_free)
        except OSError as error:
            logger.warning("No objects in %s: %s", root, error)
            reasons.append(f"{root}: {error.strerror}")
            return ""
        self._locks.append(descriptor)
        return folder

    @property
    def is_open(self) -> bool:
        """Tell whether the folders are still there, and this process's."""
        return bool(self._locks)

    def close(self) -> None:
        """Remove the folders; closing twice does nothing."""
        if self.is_open:
            for folder in self.folders.memory, self.folders.spill:
                if folder:
                    _remove(folder)
        self._drop_locks()

    def _drop_locks(self) -> None:
        # A copy of a locked descriptor, and a forked child has one, keeps the lock.
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks.clear()


def _prefix() -> str:
    return f"actors-objects-{os.geteuid()}-"


def _make_locked(root: str, *, has_free: bool) -> tuple[str, int]:
    for _ in range(_MAX_TRIES):
        folder = os.path.join(root, _prefix() + os.urandom(_RANDOM_BYTES).hex())
        os.mkdir(folder, _FOLDER_MODE)
        try:
            descriptor = _try_lock(folder, os.O_CREAT)
            if descriptor is not None:
                try:
                    os.write(descriptor, " ".join(machine_name()).encode())
                    if has_free:
                        os.mkdir(os.path.join(folder, FREE), _FOLDER_MODE)
                except BaseException:
                    os.close(descriptor)
                    raise
                return folder, descriptor
        except OSError:
            _remove(folder)
            raise
    raise OSError(f"{_MAX_TRIES} new folders in {root} were swept at once")


def machine_name() -> tuple[str, str]:
    """Name this boot of this machine, and the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip(), os.uname().nodename


def _try_lock(folder: str, flags: int = 0) -> int | None:
    """Lock a folder; return the lock's descriptor, None if it is somebody else's."""
    path = os.path.join(folder, _LOCK)
    flags |= os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, _FILE_MODE)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it locked before may have removed it meanwhile.
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove(folder: str) -> None:
    """Remove a folder that is locked by us; its lock file goes last."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(folder):
            path = os.path.join(folder, entry)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            elif entry != _LOCK:
                # Its process may be letting go of it right now.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        os.unlink(os.path.join(folder, _LOCK))
    # A sweeper may have done that already; or its maker, late, has it locked now.
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def sweep(roots: Iterable[str] | None = None) -> list[str]:
    """Remove the folders of this user's dead owners.

    Any process may do it at any time, several at once, too. Folders of other users, and
    what is no folder of ours, are left alone.

    Args:
        roots: where to look; by default in shared memory and the folder for temporary
            files.

    Returns:
        The removed folders.
    """
    pattern = re.compile(
        re.escape(_prefix()) + f"[0-9a-f]{{{2 * _RANDOM_BYTES}}}", re.ASCII
    )
    removed = []
    for root in roots or (MEMORY_ROOT, tempfile.gettempdir()):
        try:
            names = os.listdir(root)
        except OSError:
            continue
        for name in names:
            folder = os.path.join(root, name)
            if pattern.fullmatch(name) and _sweep_folder(folder):
                removed.append(folder)
    return removed


def _sweep_folder(folder: str) -> bool:
    try:
        status = os.lstat(folder)
        if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
            return False
        # Without a lock it is empty: about to be locked, in which case its maker makes
        # another, or unlocked by one who died before the last step.
        with contextlib.suppress(OSError):
            os.rmdir(folder)
            return True
        descriptor = _try_lock(folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.warning("Objects in %s cannot be swept: %s", folder, error)
        return False
    if descriptor is None:
        return False
    try:
        owner = os.pread(descriptor, _MAX_MACHINE_BYTES, 0).decode(errors="replace")
        # The boot alone would miss what was left before a restart, the name alone what
        # a container left on this machine.
        if owner and not set(owner.split()) & set(machine_name()):
            return False
        _remove(folder)
    finally:
        os.close(descriptor)
    logger.debug("Removed the objects of a dead owner: %s", folder)
    return True
