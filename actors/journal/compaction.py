"""Make a journal short again, beside its appends.

    start      the active log is closed, a new one begun: what is appended from now on
               stands behind the snapshot
    add, add   the snapshot's records go to `base-<n>.journal.tmp`
    finish     seal, sync, rename, sync the folder; only then the old segments go

A crash before the rename leaves the journal as it was, one after it leaves the short
one; the next opener clears away what is left of either.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from actors.journal.errors import failure
from actors.journal.files import FileSystem
from actors.journal.format import Header, Kind, parse_name
from actors.journal.segments import Encoded, SegmentWriter, create_segment

__all__ = ["Compaction", "remove_leftovers"]

logger = logging.getLogger(__name__)
Record = TypeVar("Record")


class Compaction(Generic[Record]):
    """A snapshot on its way to the disk; made by `Journal.start_compaction`.

    It touches no file that the journal appends to: another thread may drive it, as
    long as one thread at a time calls it.
    """

    def __init__(
        self,
        files: FileSystem,
        folder: Path,
        header: Header,
        encode: Callable[[Record], Encoded],
    ) -> None:
        """Begin the new base.

        Args:
            files: the file system.
            folder: the journal's.
            header: of the base; its sequence is that of the last log that it replaces.
            encode: turns a record into bytes, or into pieces of them.

        Raises:
            JournalFull: no room; nothing has changed.
            JournalFailed: the file cannot be made; the journal itself is as it was.
        """
        self.covers = header.sequence
        self.is_over = False
        self.is_done = False
        self._files = files
        self._folder = folder
        self._encode = encode
        name = header.kind.file_name(header.sequence)
        self._path = folder / name
        try:
            # What follows deletes what it replaces, so it is synced at every level.
            self._writer: SegmentWriter = create_segment(files, folder, header)
        except OSError as error:
            raise failure(error, self._path, 0) from error

    @property
    def size_bytes(self) -> int:
        """How long the base has become."""
        return self._writer.size

    def add(self, records: Sequence[Record]) -> None:
        """Write a part of the snapshot.

        Raises:
            JournalFull: no room; the compaction is abandoned, the journal goes on.
            JournalFailed: likewise, for another reason.
        """
        assert not self.is_over, "a compaction ends once"
        self.add_encoded(map(self._encode, records))

    def add_encoded(self, records: Iterable[Encoded]) -> None:
        """Write records that are bytes already; otherwise as `add`."""
        try:
            self._writer.append(records)
        except OSError as error:
            self.abandon()
            raise failure(error, self._path, self._writer.wanted_bytes) from error
        except BaseException:
            self.abandon()
            raise

    def finish(self) -> None:
        """Put the snapshot in the place of what it replaces.

        Raises:
            JournalFull: no room; the compaction is abandoned, the journal goes on.
            JournalFailed: likewise, for another reason. The snapshot may have taken
                effect all the same, which changes nothing that replay yields.
        """
        assert not self.is_over, "a compaction ends once"
        try:
            self._writer.mark(self._writer.size)
            self._writer.sync()
            self._files.rename(self._writer.path, self._path)
        except OSError as error:
            self.abandon()
            raise failure(error, self._path, self.size_bytes) from error
        self.is_over = True
        self._writer.close()
        try:
            self._files.sync_folder(self._folder)
        except OSError as error:
            # The old segments stay: whether or not the name lasts, all is there.
            raise failure(error, self._path, self.size_bytes) from error
        self.is_done = True
        remove_leftovers(self._files, self._folder, self._replaced())

    def _replaced(self) -> list[str]:
        """Name the segments that the new base stands for."""
        return [
            name
            for name in self._files.names(self._folder)
            if (parsed := parse_name(name))
            and parsed[1] <= self.covers
            and parsed != (Kind.BASE, self.covers)
        ]

    def abandon(self) -> None:
        """Give up: the journal stays as long as it is. Twice is once."""
        if self.is_over:
            return
        self.is_over = True
        self._writer.close()
        try:
            self._files.unlink(self._writer.path)
        except OSError as error:
            logger.warning("Cannot remove %s: %s", self._writer.path, error)


def remove_leftovers(files: FileSystem, folder: Path, names: Iterable[str]) -> None:
    """Remove files that nobody needs; what resists is logged, and left."""
    for name in names:
        try:
            files.unlink(folder / name)
        except OSError as error:
            logger.warning("Cannot remove %s: %s", folder / name, error)
