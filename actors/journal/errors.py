"""What a journal raises: one class per thing that a caller can do about it.

JournalError
├── JournalLocked    another process writes: leave it alone, or stop it
├── JournalDamaged   the bytes contradict themselves: verify, repair
├── JournalTooNew    written by a newer version: upgrade
├── JournalFull      no room: stop accepting, append the same records again later
└── JournalFailed    the disk fails: end this process, start again
"""

import errno

from actors.errors import ActorsError, DiskFull

__all__ = [
    "JournalDamaged",
    "JournalError",
    "JournalFailed",
    "JournalFull",
    "JournalLocked",
    "JournalTooNew",
    "failure",
]

# A disk, a quota, or a limit on the size of files (ulimit -f) is used up.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JournalError(ActorsError):
    """Be the base of every error that a journal raises."""


class JournalLocked(JournalError):
    """Tell that another process writes to the journal.

    Args:
        folder: the journal's.
        pid: the holder's process id; 0 if it has not said so yet.
        host: the holder's host; "" if it has not said so yet.
    """

    def __init__(self, folder: str, pid: int, host: str) -> None:
        super().__init__(folder, pid, host)
        self.folder = folder
        self.pid = pid
        self.host = host

    def __str__(self) -> str:
        holder = f"process {self.pid} on {self.host}" if self.pid else "another process"
        return (
            f"Journal {self.folder} is held by {holder}: stop that process first "
            f"(if it is an endpoint's, by `actors stop`), or read without the lock by "
            f"`actors journal inspect`"
        )


class JournalDamaged(JournalError):
    """Tell that bytes which were on disk for good are not what they were.

    Args:
        path: the file.
        offset: the first byte that does not add up.
        reason: what is wrong with it.
    """

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(path, offset, reason)
        self.path = path
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"Journal file {self.path} is damaged at byte {self.offset}: "
            f"{self.reason}; see `actors journal verify`, then `repair`"
        )


class JournalTooNew(JournalError):
    """Tell that a newer version of this package wrote the journal.

    Args:
        path: the file.
        version: its format version.
        known: the newest format version that this package reads.
    """

    def __init__(self, path: str, version: int, known: int) -> None:
        super().__init__(path, version, known)
        self.path = path
        self.version = version
        self.known = known

    def __str__(self) -> str:
        return (
            f"Journal file {self.path} has format version {self.version}, this package "
            f"reads up to {self.known}: use the version that wrote it, or a newer one"
        )


class JournalFull(JournalError, DiskFull):
    """Tell that there is no room; nothing of what was to be written was written.

    The journal goes on: the same call succeeds when there is room again.

    Args:
        path: the file.
        needed_bytes: how much was to be written.
    """

    def __init__(self, path: str, needed_bytes: int) -> None:
        super().__init__(path, needed_bytes)
        self.path = path
        self.needed_bytes = needed_bytes

    def __str__(self) -> str:
        return (
            f"No room for {self.needed_bytes} more bytes in {self.path}: "
            f"free some space on its disk; nothing accepted is lost"
        )


class JournalFailed(JournalError):
    """Tell that the disk failed, and what is on it is unknown: open the journal anew.

    A sync that failed must not be tried again: the kernel drops what it could not
    write, and the next sync would succeed without it.

    Args:
        path: the file.
        reason: what the system said.
    """

    may_pass = True  # it reads what the disk holds, if it holds anything

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"Journal file {self.path} failed: {self.reason}; "
            f"this process must end, the next one reads what the disk holds"
        )


def failure(
    error: OSError, path: object, needed_bytes: int
) -> JournalFull | JournalFailed:
    """Turn a system error into what the caller can do about it.

    Args:
        error: from a file operation that was undone, or changed nothing.
        path: of the file.
        needed_bytes: how much was to be written.
    """
    if error.errno in _NO_ROOM:
        return JournalFull(str(path), needed_bytes)
    return JournalFailed(str(path), str(error))
