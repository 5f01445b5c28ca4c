"""The journal: one process appends, others may look on.

new ──replay──► replaying ──all records read──► ready ──close──► closed
                    │                             │
              (damage: stays)               failed: a sync failed, or a write
                                            that failed could not be undone
"""

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Generic, Literal, TypeVar

import msgspec

from actors.errors import BrokenInvariant
from actors.journal.compaction import Compaction, remove_leftovers
from actors.journal.config import JournalConfig
from actors.journal.errors import (
    JournalFailed,
    JournalFull,
    failure,
)
from actors.journal.files import File, FileSystem, RealFiles, all_closed
from actors.journal.format import HEADER_BYTES, Header, Kind, new_salt
from actors.journal.layout import (
    UNDECODABLE,
    Layout,
    Replay,
    TornTail,
    copy_aside,
    read_layout,
)
from actors.journal.segments import Encoded, SegmentWriter, create_segment

__all__ = ["Journal"]

logger = logging.getLogger(__name__)
Record = TypeVar("Record")
# Chosen: after a rotation found no room, the segment grows by so much of its size
# before the next try.
_ROTATION_RETRY_SHARE = 8


class _BackgroundSync:
    """A sync of what a segment holds now."""

    def __init__(self, segment: SegmentWriter) -> None:
        self.size = segment.size
        self.error: OSError | None = None
        self._segment = segment

    def __call__(self) -> None:
        try:
            self._segment.sync()
        except OSError as error:
            self.error = error


class Journal(Generic[Record]):
    """Append-only records in a folder; see the package's docstring for its promises.

    Belongs to one thread, except for a `Compaction`. A context manager: leaving it
    closes the journal.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        encode: Callable[[Record], Encoded],
        decode: Callable[[bytes], Record],
        config: JournalConfig | None = None,
        files: FileSystem | None = None,
    ) -> None:
        """Take the folder's lock; nothing else is read or written before `replay`.

        Args:
            folder: of this journal alone; made if missing.
            encode: turns a record into bytes, 1 or more, or into a list of pieces of
                them; `bytes` if they are bytes.
            decode: the inverse, as a typed msgspec decoder's: it raises for what makes
                no sense.
            config: None: the defaults.
            files: None: the operating system's.

        Raises:
            JournalLocked: another process, or this one, has it open.
            OSError: the folder cannot be made or locked.
        """
        self.folder = Path(folder)
        self.config = config or JournalConfig()
        # What was cut off the end at start, None: nothing.
        self.torn: TornTail | None = None
        self._encode = encode
        self._decode = decode
        self._files: FileSystem = files or RealFiles()
        self._state: Literal["new", "replaying", "ready", "failed", "closed"] = "new"
        self._active: SegmentWriter | None = None
        # {sequence of a closed log: its bytes}
        self._closed_bytes: dict[int, int] = {}
        self._base_bytes = 0
        self._compaction: Compaction[Record] | None = None
        # Whether something was appended since the last sync.
        self._is_dirty = False
        self._synced_bytes = 0  # of the active log
        self._synced_at = -math.inf
        self._rotate_at = self.config.segment_bytes
        self._background: _BackgroundSync | None = None
        self._files.make_folder(self.folder)
        self._lock = self._files.lock(self.folder)

    def __enter__(self) -> "Journal[Record]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Reading

    def replay(self) -> Iterator[Record]:
        """Yield what is in the journal, oldest first; once, and to the end.

        The journal takes records when the last one was read. Then a torn tail has been
        cut (`torn`), and all that was yielded is on disk, unless durability is "off".

        Raises:
            JournalDamaged: a segment is missing, or something in it makes no sense;
                nothing has been changed. Comes while iterating, also after records.
            JournalTooNew: a newer version wrote it.
            JournalFull: no room to keep a torn tail, or to begin the first segment.
            JournalFailed: the disk failed.
        """
        self._require("new")
        self._state = "replaying"
        layout = read_layout(self._files.names(self.folder))
        decode = self._decode
        with all_closed([]) as opened:
            for name in layout.names:
                opened.append(self._files.open(self.folder / name))
            replay = Replay(self.folder, layout, opened)
            for encoded in replay:
                try:
                    record = decode(encoded)
                except UNDECODABLE as error:
                    raise replay.undecodable(error) from error
                yield record
            try:
                self._begin(layout, replay, opened)
            except OSError as error:
                raise failure(error, self.folder, 0) from error

    def _begin(self, layout: Layout, replay: Replay, opened: list[File]) -> None:
        """Make what was read durable, and the last log ready to grow."""
        sizes = [scan.offset for scan in replay.scans]
        if replay.torn:
            self._cut(replay.torn, opened[-1])
        if layout.base is not None:
            self._base_bytes = sizes.pop(0)
        self._closed_bytes = dict(zip(layout.logs, sizes, strict=False))
        if self._may_sync:
            # A killed process may have left all this to the system's cache, and one
            # that ran with "off" never synced the older segments either.
            for scan in replay.scans:
                file = self._files.open(scan.path, writable=True)
                try:
                    file.sync()
                finally:
                    file.close()
        if self._may_sync or layout.leftovers:
            # The base that replaced the leftovers may not have its name for good.
            self._files.sync_folder(self.folder)
        remove_leftovers(self._files, self.folder, layout.leftovers)
        if len(sizes) == len(layout.logs) > 0:
            scan = replay.scans[-1]
            file = self._files.open(scan.path, writable=True)
            self._active = SegmentWriter(scan.path, file, scan.header, scan.offset)
            self._closed_bytes.pop(scan.header.sequence)
            self._synced_bytes = self._active.size
            if self._may_sync and not scan.is_sealed:
                self._mark()
        else:
            # A new journal, or a last log of which not even the header was there.
            sequence = max(layout.last_sequence, 1)
            self._begin_log(sequence, self._closed_bytes.get(sequence - 1, 0))
        self._state = "ready"

    def _cut(self, torn: TornTail, file: File) -> None:
        path = Path(torn.path)
        label = f".torn-{torn.offset}"
        kept = copy_aside(self._files, path, file, offset=torn.offset, label=label)
        self.torn = msgspec.structs.replace(torn, copy=str(kept))
        # Without a whole header, a new log will take the place of the whole file.
        if torn.offset >= HEADER_BYTES:
            tail = self._files.open(path, writable=True)
            try:
                tail.truncate(torn.offset)
            finally:
                tail.close()
        logger.warning(
            "Journal %s ended in %d torn bytes (%s), kept in %s",
            torn.path,
            torn.cut_bytes,
            torn.reason,
            kept,
        )

    # Appending

    def append(self, records: Sequence[Record]) -> None:
        """Append records, in order, in one write: all or none; synced by `sync` only.

        The operating system has them on return: they outlive this process, not the
        machine. No record at all is no write.

        Args:
            records: any number.

        Raises:
            JournalFull: nothing was written. Keep the records, accept no more, and
                append the same again later.
            JournalFailed: the disk failed; end this process.
            PayloadTooLarge: a record is empty, or above 2^30 bytes; none was written.
            Exception: whatever `encode` raises; none was written.
        """
        active = self._writable()
        if not records:
            return
        if active.size >= self._rotate_at and self._background is None:
            active = self._rotate_or_go_on(active)
        try:
            active.append(map(self._encode, records))
        except OSError as error:
            raise self._write_failure(error, active) from error
        finally:
            if active.is_broken:
                self._state = "failed"
        self._is_dirty = True

    def sync(self, now: float) -> bool:
        """Make durable what was appended, as far as the configuration wants it.

        Args:
            now: monotonic seconds; of use with "interval" only.

        Returns:
            Whether all that was appended is durable now: always with "sync", with
            "interval" when it was due or nothing was new, never with "off".

        Raises:
            JournalFailed: the disk failed; end this process. What was appended since
                the last sync may or may not be on it.
        """
        self._writable()
        if not self._may_sync:
            return False
        if not self._is_dirty:
            return True
        if now < self.sync_at:
            return False
        self._sync_active()
        self._synced_at = now
        self._mark()
        return True

    def begin_sync(self) -> "Callable[[], None] | None":
        """Begin to make durable what was appended, without waiting for the disk.

        Meanwhile the journal takes records; they are not part of it. `sync` may be
        called; a compaction may not be started.

        Returns:
            What waits for the disk: call it once, in any thread, and then `end_sync`.
            None: there is nothing to wait for.

        Raises:
            JournalFailed: the disk failed; end this process.
        """
        active = self._writable()
        assert self._background is None, "a sync is under way"
        if not self._is_dirty or not self._may_sync:
            return None
        if active.size >= self._rotate_at:
            # Where one sync follows the other, `append` never may. It syncs as well.
            active = self._rotate_or_go_on(active)
        self._background = _BackgroundSync(active)
        self._is_dirty = False
        return self._background

    def end_sync(self, now: float) -> None:
        """Take note of what the last `begin_sync` returned: it has been called.

        Args:
            now: monotonic seconds.

        Raises:
            JournalFailed: the disk failed; end this process. What was appended since
                the last sync may or may not be on it.
        """
        done, self._background = self._background, None
        assert done is not None, "no sync is under way"
        active = self._writable()
        if done.error is not None:
            self._state = "failed"
            raise JournalFailed(str(active.path), str(done.error)) from done.error
        self._synced_at = now
        self._synced_bytes = done.size
        self._mark(done.size)

    @property
    def sync_at(self) -> float:
        """When `sync` has something to do: infinity if nothing, -infinity: at once."""
        if not self._is_dirty or not self._may_sync:
            return math.inf
        if self.config.durability == "sync":
            return -math.inf
        return self._synced_at + self.config.interval

    @property
    def base_bytes(self) -> int:
        """Length of the last snapshot; 0: there was none."""
        self._note_compaction()
        return self._base_bytes

    @property
    def log_bytes(self) -> int:
        """Length of all that was appended since the last snapshot.

        Worth a compaction when it is well above what the live records would take.
        """
        self._note_compaction()
        return sum(self._closed_bytes.values()) + (
            self._active.size if self._active else 0
        )

    @property
    def unsynced_bytes(self) -> int:
        """Length of what was appended and is not known to be durable, about.

        With "off" it says nothing.
        """
        if self._active is None or (not self._is_dirty and self._background is None):
            return 0
        return self._active.size - self._synced_bytes

    # Compaction

    @property
    def is_compacting(self) -> bool:
        """Whether a compaction was started and has not ended."""
        return self._compaction is not None and not self._compaction.is_over

    def start_compaction(self) -> Compaction[Record]:
        """Begin to replace all that was appended so far by a snapshot.

        The snapshot's records must have the effect that all records up to this call
        have together; if applying a record twice is harmless, a snapshot that is taken
        while later ones come in does as well.

        Raises:
            JournalFull: no room; nothing has changed.
            JournalFailed: the disk failed.
        """
        active = self._writable()
        assert self._background is None, "a sync is under way"
        if self.is_compacting:
            raise BrokenInvariant("A compaction is running: finish or abandon it first")
        self._note_compaction()
        if active.size > HEADER_BYTES:
            try:
                active = self._rotate(active)
            except OSError as error:
                raise failure(error, self.folder, HEADER_BYTES) from error
        header = Header(Kind.BASE, active.header.sequence - 1, new_salt())
        self._compaction = Compaction(self._files, self.folder, header, self._encode)
        return self._compaction

    def compact(self, records: Sequence[Record]) -> None:
        """Replace all that was appended so far by these records, at one go.

        Args:
            records: as for `start_compaction`.

        Raises:
            JournalFull: no room; the journal stays as it is and goes on.
            JournalFailed: the disk failed.
        """
        compaction = self.start_compaction()
        compaction.add(records)
        compaction.finish()

    def close(self) -> None:
        """Sync, unless durability is "off", and let go of the folder; twice is once.

        A running compaction is abandoned. A journal that has failed, or that was not
        replayed to its end, is only let go.

        Raises:
            JournalFailed: the last sync failed; the folder is let go all the same.
        """
        if self._state == "closed":
            return
        try:
            if self._compaction is not None:
                self._compaction.abandon()
            if self._state == "ready" and self._active and self._may_sync:
                if self._is_dirty:
                    self._sync_active()
                    self._mark()
                # The marker too: from here on, damage is told from a torn write.
                self._sync_active()
        finally:
            self._state = "closed"
            if self._active:
                self._active.close()
            self._lock.release()

    # Inside

    @property
    def _may_sync(self) -> bool:
        return self.config.durability != "off"

    def _require(self, state: str) -> None:
        if self._state != state:
            raise BrokenInvariant(
                f"Journal {self.folder} is {self._state}, not {state}: "
                f"replay it once, to the end, before writing"
            )

    def _writable(self) -> SegmentWriter:
        if self._state == "failed":
            raise JournalFailed(str(self.folder), "it failed before")
        self._require("ready")
        assert self._active is not None
        return self._active

    def _sync_active(self) -> None:
        assert self._active is not None
        try:
            self._active.sync()
        except OSError as error:
            # Never again: the kernel has dropped the pages that it could not write.
            self._state = "failed"
            raise JournalFailed(str(self._active.path), str(error)) from error
        self._is_dirty = False
        self._synced_bytes = self._active.size

    def _mark(self, synced_bytes: int | None = None) -> None:
        """Say in the log how much, or all of it, is synced; no room is no harm."""
        assert self._active is not None
        try:
            self._active.mark(synced_bytes or self._active.size)
        except OSError as error:
            if self._active.is_broken:
                raise self._write_failure(error, self._active) from error
            logger.debug("Journal %s: no marker: %s", self._active.path, error)

    def _write_failure(
        self, error: OSError, active: SegmentWriter
    ) -> JournalFull | JournalFailed:
        told = failure(error, active.path, active.wanted_bytes)
        if active.is_broken or isinstance(told, JournalFailed):
            self._state = "failed"
            return JournalFailed(str(active.path), str(error))
        return told

    def _rotate_or_go_on(self, active: SegmentWriter) -> SegmentWriter:
        """Rotate; if no new log can be made, let the old one grow."""
        try:
            return self._rotate(active)
        except OSError as error:
            share = self.config.segment_bytes // _ROTATION_RETRY_SHARE
            self._rotate_at = active.size + share
            logger.warning("Journal %s cannot rotate: %s", self.folder, error)
            return active

    def _rotate(self, active: SegmentWriter) -> SegmentWriter:
        """Close the active log for good and begin the next.

        Raises:
            OSError: the next could not be made; the active one goes on.
            JournalFailed: the disk failed.
        """
        if self._may_sync:
            # Also its last marker: the next header vouches for the length.
            self._sync_active()
        fresh = self._begin_log(active.header.sequence + 1, active.size)
        self._closed_bytes[active.header.sequence] = active.size
        active.close()
        self._rotate_at = self.config.segment_bytes
        return fresh

    def _begin_log(self, sequence: int, previous_bytes: int) -> SegmentWriter:
        header = Header(Kind.LOG, sequence, new_salt(), previous_bytes)
        fresh = create_segment(
            self._files, self.folder, header, may_sync=self._may_sync
        )
        path = self.folder / header.kind.file_name(sequence)
        try:
            self._files.rename(fresh.path, path)
            if self._may_sync:
                self._files.sync_folder(self.folder)
        except OSError as error:
            # The name may or may not be there after a power loss; if it is, what we
            # would append to the old log is damage.
            self._state = "failed"
            fresh.close()
            raise JournalFailed(str(path), str(error)) from error
        fresh.path = path
        self._active = fresh
        self._synced_bytes = fresh.size
        return fresh

    def _note_compaction(self) -> None:
        """Count what a compaction, perhaps in another thread, has done."""
        done = self._compaction
        if done is not None and done.is_over:
            self._compaction = None
            if done.is_done:
                self._base_bytes = done.size_bytes
                for sequence in [s for s in self._closed_bytes if s <= done.covers]:
                    del self._closed_bytes[sequence]
