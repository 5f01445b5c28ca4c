"""What an operator asks of a journal: what is it, is it sound, make it usable again."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from actors.journal.compaction import Compaction
from actors.journal.errors import JournalDamaged, failure
from actors.journal.files import File, FileSystem, RealFiles, all_closed
from actors.journal.format import HEADER_BYTES, Header, Kind, new_salt, parse_name
from actors.journal.layout import (
    UNDECODABLE,
    Layout,
    copy_aside,
    judge_closed,
    judge_tail,
    read_layout,
)
from actors.journal.reader import open_layout
from actors.journal.segments import SegmentScan, create_segment
from actors.journal.writer import Journal

__all__ = ["Inspection", "Repaired", "SegmentReport", "inspect", "repair", "verify"]

# Chosen: what a repair holds in memory at a time.
_BATCH_RECORDS = 1000


class SegmentReport(msgspec.Struct, frozen=True):
    """What is known of one segment."""

    name: str  # of the file
    kind: str  # "log" or "base"
    sequence: int
    size_bytes: int
    records: int | None = None  # whole ones before any problem; None: not counted
    problem: str = ""  # "": sound, as far as was looked
    problem_offset: int = 0  # in bytes
    is_torn: bool = False  # the problem is one that the next opener heals


class Inspection(msgspec.Struct, frozen=True):
    """What is known of a journal."""

    folder: str
    holder_pid: int  # who writes; 0: nobody, or not known
    holder_host: str
    segments: list[SegmentReport]  # in the order of replay
    missing: str  # the first segment that should be there and is not
    leftovers: list[str]  # files that the next opener removes
    kept_aside: list[str]  # files with bytes that were cut away earlier

    @property
    def is_sound(self) -> bool:
        """Whether a journal opens here: nothing is wrong but perhaps a torn tail."""
        return not self.missing and all(
            segment.is_torn or not segment.problem for segment in self.segments
        )

    @property
    def records(self) -> int:
        """How many records were counted."""
        return sum(segment.records or 0 for segment in self.segments)


class Repaired(msgspec.Struct, frozen=True):
    """What a repair did."""

    before: Inspection
    records: int  # in the journal now
    lost_bytes: int  # neither in the journal now nor known to be no record
    copies: list[str]  # paths of what was kept aside


def inspect(
    folder: str | os.PathLike[str], *, files: FileSystem | None = None
) -> Inspection:
    """Tell what a journal consists of; reads the headers only, takes no lock.

    Args:
        folder: the journal's.
        files: None: the operating system's.

    Raises:
        FileNotFoundError: there is no such folder.
        JournalTooNew: a newer version wrote it.
    """
    files = files or RealFiles()
    with all_closed([]) as opened:
        layout = open_layout(files, Path(folder), opened)
        return _Survey(files, Path(folder), layout, opened).report(is_deep=False)


def verify(
    folder: str | os.PathLike[str],
    decode: Callable[[bytes], object] | None = None,
    *,
    files: FileSystem | None = None,
) -> Inspection:
    """Read every byte of a journal and tell what is wrong; takes no lock.

    While another process writes, the record on its way looks like a torn tail.

    Args:
        folder: the journal's.
        decode: to find records that do not decode; None: checksums are enough.
        files: None: the operating system's.

    Raises:
        FileNotFoundError: there is no such folder.
        JournalTooNew: a newer version wrote it.
    """
    files = files or RealFiles()
    with all_closed([]) as opened:
        layout = open_layout(files, Path(folder), opened)
        survey = _Survey(files, Path(folder), layout, opened, decode)
        return survey.report(is_deep=True)


def repair(
    folder: str | os.PathLike[str],
    decode: Callable[[bytes], object] | None = None,
    *,
    keep_later: bool = False,
    files: FileSystem | None = None,
) -> Repaired:
    """Make a damaged journal one that opens, and keep a copy of what is left out.

    A sound journal, or one with a torn tail, is treated as by `Journal`. Otherwise
    the records that are kept become a new base, put in place in one step: after a
    crash the journal is as damaged as before, and can be repaired again.

    Args:
        folder: the journal's.
        decode: to leave out records that do not decode; None: checksums are enough.
        keep_later: also keep whole records behind the first damage. Their owner must
            bear that records before them are missing. By default, the journal ends
            before the first damage: a state that it once had.
        files: None: the operating system's.

    Raises:
        JournalLocked: somebody writes to it.
        JournalTooNew: a newer version wrote it.
        JournalFull: no room; the journal is as it was.
        JournalFailed: the disk failed.
        FileNotFoundError: there is no such folder.
    """
    files = files or RealFiles()
    folder = Path(folder)
    files.names(folder)  # A folder that is not there is not made.
    lock = files.lock(folder)
    try:
        with all_closed([]) as opened:
            layout = read_layout(files.names(folder))
            for name in layout.names:
                opened.append(files.open(folder / name))
            survey = _Survey(files, folder, layout, opened, decode)
            before = survey.report(is_deep=True)
            try:
                copies = [] if before.is_sound else survey.rewrite(keep_later)
            except OSError as error:
                raise failure(error, folder, 0) from error
    finally:
        lock.release()
    with Journal(folder, encode=bytes, decode=bytes, files=files) as journal:
        records = sum(1 for _ in journal.replay())
        if journal.torn:
            copies.append(journal.torn.copy)
    return Repaired(before, records, survey.lost_bytes, copies)


class _Survey:
    """One look at all segments of a folder, and what can be saved of them."""

    def __init__(
        self,
        files: FileSystem,
        folder: Path,
        layout: Layout,
        opened: list[File],
        decode: Callable[[bytes], object] | None = None,
    ) -> None:
        self.lost_bytes = 0
        self._files = files
        self._folder = folder
        self._layout = layout
        self._opened = opened
        self._decode = decode
        # Names of segments that are not, or not wholly, carried over.
        self._unsaved: list[str] = []

    def report(self, *, is_deep: bool) -> Inspection:
        layout = self._layout
        holder = self._files.holder(self._folder)
        segments = [
            self._report(number, is_deep) for number in range(len(self._opened))
        ]
        return Inspection(
            folder=str(self._folder),
            holder_pid=holder.pid if holder else 0,
            holder_host=holder.host if holder else "",
            segments=segments,
            missing=layout.missing(),
            leftovers=list(layout.leftovers),
            kept_aside=sorted(
                name
                for name in self._files.names(self._folder)
                if (".torn-" in name or ".damaged" in name)
                and not name.endswith(".tmp")
            ),
        )

    def _report(self, number: int, is_deep: bool) -> SegmentReport:
        name = self._layout.names[number]
        size = self._opened[number].size()
        parsed = parse_name(name)
        assert parsed is not None
        kind, sequence = parsed
        records: int | None = None
        problem, offset, is_torn = "", 0, False
        try:
            scan = SegmentScan(self._folder / name, self._opened[number])
            if is_deep:
                try:
                    for encoded in scan:
                        self._check(scan, encoded)
                finally:
                    records = scan.records
                torn = self._judge(number, scan)
                if torn:
                    problem, offset, is_torn = torn, scan.offset, True
        except JournalDamaged as damage:
            problem, offset = damage.reason, damage.offset
            # Of the last log, not even the header is there: nothing can be lost.
            is_last = number == len(self._opened) - 1
            is_torn = is_last and kind is Kind.LOG and size < HEADER_BYTES
        return SegmentReport(
            name, kind.name.lower(), sequence, size, records, problem, offset, is_torn
        )

    def _check(self, scan: SegmentScan, encoded: bytes) -> None:
        if self._decode is None:
            return
        try:
            self._decode(encoded)
        except UNDECODABLE as error:
            reason = f"the record does not decode: {error}"
            raise JournalDamaged(str(scan.path), scan.record_offset, reason) from error

    def _judge(self, number: int, scan: SegmentScan) -> str:
        """Return why the tail is torn, or raise JournalDamaged."""
        if number == len(self._opened) - 1 and scan.header.kind is Kind.LOG:
            torn = judge_tail(scan)
            return torn.reason if torn else ""
        judge_closed(scan, self._next_header(number))
        return ""

    def _next_header(self, number: int) -> Header | None:
        if number + 1 >= len(self._opened):
            return None
        path = self._folder / self._layout.names[number + 1]
        try:
            return SegmentScan(path, self._opened[number + 1]).header
        except JournalDamaged:
            return None  # told with that segment

    def rewrite(self, keep_later: bool) -> list[str]:
        """Put what can be saved in the place of what is there; return the copies."""
        files, folder, layout = self._files, self._folder, self._layout
        covers = layout.last_sequence
        size = self._opened[-1].size() if layout.logs else 0
        log = create_segment(
            files, folder, Header(Kind.LOG, covers + 1, new_salt(), size)
        )
        log.close()
        files.rename(log.path, folder / Kind.LOG.file_name(covers + 1))
        files.sync_folder(folder)
        header = Header(Kind.BASE, covers, new_salt())
        compaction: Compaction[bytes] = Compaction(files, folder, header, bytes)
        saved = self._saved(keep_later)
        while batch := list(itertools.islice(saved, _BATCH_RECORDS)):
            compaction.add(batch)
        copies = [self._copy(name) for name in self._unsaved]
        compaction.finish()
        return copies

    def _saved(self, keep_later: bool) -> Iterator[bytes]:
        """Yield the records that are kept; fills `_unsaved` and `lost_bytes`."""
        names = self._layout.names
        missing = self._layout.missing()
        is_whole = True
        for number, name in enumerate(names):
            is_behind_gap = bool(missing) and name.startswith("log") and name > missing
            if not keep_later and (is_behind_gap or not is_whole):
                self._unsaved.append(name)
                self.lost_bytes += self._opened[number].size()
                is_whole = False
                continue
            yield from self._saved_of(number, keep_later)
            is_whole = name not in self._unsaved

    def _saved_of(self, number: int, keep_later: bool) -> Iterator[bytes]:
        """Yield what is kept of one segment."""
        name, file = self._layout.names[number], self._opened[number]
        try:
            scan = SegmentScan(self._folder / name, file)
        except JournalDamaged:
            self._unsaved.append(name)
            self.lost_bytes += file.size()
            return
        is_damaged = False
        while True:
            try:
                for encoded in scan:
                    self._check(scan, encoded)
                    yield encoded
                if self._judge(number, scan):
                    is_damaged = True  # a torn tail: no record, but kept aside
                    break
            except JournalDamaged as damage:
                is_damaged = True
                lost_from = damage.offset
                if not keep_later:
                    self.lost_bytes += max(0, file.size() - lost_from)
                    break
                # An undecodable record is whole: the scan stands behind it already.
                is_skipped = scan.offset > lost_from or scan.skip_damage()
                self.lost_bytes += scan.offset - lost_from
                if not is_skipped:
                    break
            else:
                break
        if is_damaged:
            self._unsaved.append(name)

    def _copy(self, name: str) -> str:
        path = self._folder / name
        file = self._files.open(path)
        try:
            return str(copy_aside(self._files, path, file, offset=0, label=".damaged"))
        finally:
            file.close()
