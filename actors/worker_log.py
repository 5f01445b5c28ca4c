"""What a process wrote to its standard output and error: kept in a file or in memory.

The process writes, at the end always; its owner reads. In memory nothing is left behind
however anybody ends, and what has been read is dropped once it is much. Of a file only
what is written while it is watched is read, to tell it elsewhere.
"""

import os
from pathlib import Path

__all__ = ["WorkerLog"]

# Part of an error that tells of a death, in characters; Parsl's number.
TAIL_CHARACTERS = 2048
# No character takes more bytes.
_MAX_BYTES_PER_CHARACTER = 4

# What programs print is their users' business alone.
_PRIVATE = 0o600

# One look reads no more, so that who prints without end keeps nobody from working.
_MAX_READ_BYTES = 1 << 20
# A log in memory is emptied when so much of it has been read. Chosen: what nobody
# misses of a gigabyte, and more than the tail that a death report shows.
_MAX_KEPT_BYTES = 1 << 22


class WorkerLog:
    """The log of one process, as its owner sees it.

    Args:
        path: a file, made if missing; None: in memory.
        name: for people who look at our descriptors.
    """

    def __init__(self, path: Path | None, name: str) -> None:
        self._path = path
        self._read_bytes = 0
        self._memory = -1
        self._watched = -1  # descriptor of a file that is watched
        if path is None:
            self._memory = os.memfd_create(f"actors-{name}", os.MFD_CLOEXEC)

    def open_to_write(self) -> int:
        """Return a new descriptor for the process."""
        where = self._path or f"/proc/self/fd/{self._memory}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(where, flags, _PRIVATE)

    def tail(self) -> str:
        """Return the last characters, as well as they can be read."""
        size = TAIL_CHARACTERS * _MAX_BYTES_PER_CHARACTER
        try:
            if self._path is None:
                end = os.fstat(self._memory).st_size
                data = os.pread(self._memory, size, max(0, end - size))
            else:
                with self._path.open("rb") as file:
                    file.seek(max(0, file.seek(0, os.SEEK_END) - size))
                    data = file.read()
        except OSError as error:
            return f"(log unreadable: {error})"
        return data.decode("utf-8", "replace")[-TAIL_CHARACTERS:]

    def read_new(self) -> bytes:
        """Return what was written since the last call; of a log in memory only."""
        if self._memory < 0:
            return b""
        data = os.pread(self._memory, _MAX_READ_BYTES, self._read_bytes)
        self._read_bytes += len(data)
        if not data and self._read_bytes > _MAX_KEPT_BYTES:
            # The writer is at the end wherever that is. What it writes between these
            # two lines is lost, once in 4 MiB.
            os.ftruncate(self._memory, 0)
            self._read_bytes = 0
        return data

    def watch(self) -> None:
        """Read a file from its present end on; twice is once.

        Raises:
            OSError: it cannot be opened.
        """
        if self._watched < 0 and self._path is not None:
            self._watched = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._read_bytes = os.fstat(self._watched).st_size

    def unwatch(self) -> None:
        """Read the file no more; twice is once."""
        if self._watched >= 0:
            os.close(self._watched)
            self._watched = -1

    @property
    def is_watched(self) -> bool:
        """Whether `watch` was called, and `unwatch` was not."""
        return self._watched >= 0

    def look(self, end: int | None = None) -> tuple[bytes, int]:
        """Return what was written since `take`, and how much more there is.

        Args:
            end: of what counts, in bytes from the beginning; None: that of the file.

        Returns:
            At most a megabyte, and the bytes behind that which are not read; nothing
            if the file is not watched.
        """
        if self._watched < 0:
            return b"", 0
        most = _MAX_READ_BYTES
        if end is not None:
            most = min(most, max(0, end - self._read_bytes))
        text = os.pread(self._watched, most, self._read_bytes)
        if len(text) < _MAX_READ_BYTES:
            return text, 0
        if end is None:
            end = os.fstat(self._watched).st_size
        return text, end - self._read_bytes - len(text)

    def take(self, count: int) -> None:
        """Pass over so many bytes: `look` has returned them, or they are too many."""
        self._read_bytes += count

    def close(self) -> None:
        """Release the memory; twice is once. A file stays."""
        self.unwatch()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
