"""The segments of a folder, together: which count, in which order, how each must end.

A closed log ends where the next one's header says; a base ends with its seal; only the
last log may end anyhow. There, a marker behind the stop that vouches for bytes beyond
it proves damage; otherwise it is a torn tail.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from actors.journal.errors import JournalDamaged
from actors.journal.files import File, FileSystem
from actors.journal.format import HEADER_BYTES, Header, Kind, parse_name
from actors.journal.segments import SegmentScan, damage_of

__all__ = [
    "UNDECODABLE",
    "Layout",
    "Replay",
    "TornTail",
    "copy_aside",
    "judge_closed",
    "judge_tail",
    "read_layout",
]

# What a decoder raises for bytes that make no sense to it.
UNDECODABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
_COPY_CHUNK_BYTES = 1 << 20


class TornTail(msgspec.Struct, frozen=True):
    """What was, or would be, cut off the last log."""

    path: str
    offset: int  # the first byte cut
    cut_bytes: int
    reason: str
    copy: str = ""  # where the bytes were kept; "" if nothing was cut (yet)


class Layout(msgspec.Struct, frozen=True):
    """The files of a journal's folder, sorted by what they are."""

    base: int | None  # its sequence
    logs: tuple[int, ...]  # sequences to replay after the base, ascending
    leftovers: tuple[str, ...]  # names: unfinished, or replaced by the base

    @property
    def names(self) -> list[str]:
        """The segments to replay, in order."""
        base = [] if self.base is None else [Kind.BASE.file_name(self.base)]
        return base + [Kind.LOG.file_name(sequence) for sequence in self.logs]

    @property
    def last_sequence(self) -> int:
        """The highest sequence in use, 0: none."""
        return self.logs[-1] if self.logs else self.base or 0

    def missing(self) -> str:
        """Return the name of the first segment that should be there, "" if all are."""
        if self.base is None and not self.logs:
            return ""
        expected = (self.base or 0) + 1
        for sequence in self.logs or (-1,):
            if sequence != expected:
                return Kind.LOG.file_name(expected)
            expected += 1
        return ""

    def require_all(self, folder: Path) -> None:
        """Raise JournalDamaged if a segment is missing."""
        if missing := self.missing():
            raise JournalDamaged(str(folder / missing), 0, "the segment is missing")


def read_layout(names: Iterable[str]) -> Layout:
    """Sort the names of a folder; what is not a journal's is left out."""
    bases: list[int] = []
    logs: list[int] = []
    leftovers: list[str] = []
    for name in names:
        if parsed := parse_name(name):
            kind, sequence = parsed
            (bases if kind is Kind.BASE else logs).append(sequence)
        elif name.endswith(".tmp") and name.startswith(("log-", "base-")):
            leftovers.append(name)
    base = max(bases, default=None)
    covered = -1 if base is None else base
    leftovers += [Kind.BASE.file_name(old) for old in bases if old != base]
    leftovers += [Kind.LOG.file_name(old) for old in logs if old <= covered]
    return Layout(
        base,
        tuple(sorted(sequence for sequence in logs if sequence > covered)),
        tuple(sorted(leftovers)),
    )


def judge_closed(scan: SegmentScan, next_header: Header | None) -> None:
    """Raise JournalDamaged if a base, or a log with another behind it, ends wrongly.

    Args:
        scan: run to its end.
        next_header: of the next log; None: unknown.
    """
    size = scan.file_bytes()
    if scan.why_stopped:
        raise damage_of(scan, scan.why_stopped)
    if scan.header.kind is Kind.BASE:
        if not scan.is_sealed:
            raise damage_of(scan, "the snapshot has no end")
        return
    if next_header is not None and size != next_header.previous_bytes:
        reason = f"it was {next_header.previous_bytes} bytes long, and is {size}"
        raise damage_of(scan, reason)


def judge_tail(scan: SegmentScan) -> TornTail | None:
    """Return the torn tail of the last log, None if it ends well.

    Raises:
        JournalDamaged: what stands where the scan stopped had been synced.
    """
    if not scan.why_stopped:
        return None
    proven = scan.synced_bytes_behind()
    if proven > scan.offset:
        reason = f"{scan.why_stopped}, and all before byte {proven} had been synced"
        raise damage_of(scan, reason)
    cut_bytes = scan.file_bytes() - scan.offset
    return TornTail(str(scan.path), scan.offset, cut_bytes, scan.why_stopped)


class Replay:
    """Read all segments of a journal once, in order.

    Raises:
        JournalDamaged: at once for a missing segment or a bad header; from iterating
            for what the segments hold.
        JournalTooNew: at once.
    """

    def __init__(self, folder: Path, layout: Layout, opened: list[File]) -> None:
        """Read the headers.

        Args:
            folder: the journal's.
            layout: of the folder.
            opened: the files of `layout.names`, in that order.
        """
        layout.require_all(folder)
        self.torn: TornTail | None = None
        self.scans: list[SegmentScan] = []
        self.current: SegmentScan | None = None
        for number, name, file in zip(
            range(len(opened)), layout.names, opened, strict=True
        ):
            path = folder / name
            size = file.size()
            if size < HEADER_BYTES and number == len(opened) - 1:
                # Only without syncs may a name reach the disk before its header.
                self.torn = TornTail(str(path), 0, size, "the header is cut short")
                break
            self.scans.append(SegmentScan(path, file))

    def __iter__(self) -> Iterator[bytes]:
        for number, scan in enumerate(self.scans, start=1):
            self.current = scan
            yield from scan
            is_last = number == len(self.scans) and self.torn is None
            if is_last:
                self.torn = judge_tail(scan)
            else:
                following = self.scans[number] if number < len(self.scans) else None
                judge_closed(scan, following.header if following else None)

    def undecodable(self, error: Exception) -> JournalDamaged:
        """Build the error for the record that was yielded last."""
        scan = self.current
        assert scan is not None
        reason = f"the record does not decode: {error}"
        return JournalDamaged(str(scan.path), scan.record_offset, reason)


def copy_aside(
    files: FileSystem, path: Path, file: File, *, offset: int, label: str
) -> Path:
    """Copy the end of a file to `<path><label>`, or `<path><label>-2`; durable.

    Args:
        files: the file system.
        path: of the file.
        file: the same, open.
        offset: the first byte to copy.
        label: begins with a dot.

    Raises:
        OSError: no copy was made.
    """
    taken = set(files.names(path.parent))
    name, number = path.name + label, 1
    while name in taken:
        number += 1
        name = f"{path.name}{label}-{number}"
    fresh = path.with_name(name + ".tmp")
    copy = files.create(fresh)
    try:
        while data := file.read_at(offset, _COPY_CHUNK_BYTES):
            offset += len(data)
            while data:
                data = data[copy.write(data) :]
        copy.sync()
    finally:
        copy.close()
    files.rename(fresh, path.with_name(name))
    files.sync_folder(path.parent)
    return path.with_name(name)
