"""One segment: read its frames, or append to them."""

import contextlib
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from actors.errors import PayloadTooLarge
from actors.journal.errors import JournalDamaged
from actors.journal.files import File, FileSystem
from actors.journal.format import (
    FRAME_BYTES,
    HEADER_BYTES,
    MARKER_BYTES,
    MARKER_TAG,
    MARKER_TAG_BYTES,
    MAX_RECORD_BYTES,
    Header,
    marker,
    marker_at,
    pack_frame,
    unpack_frame,
)

__all__ = ["Encoded", "SegmentScan", "SegmentWriter", "create_segment", "damage_of"]

# Measured: from 64 KiB to 1 MiB replay runs at the same speed.
_CHUNK_BYTES = 256 * 1024
# Chosen: right behind damage, longer records are not searched for; a length made of
# random bytes would cost a checksum over so much.
_RESYNC_RECORD_BYTES = 1 << 20
# What is longer is not copied to be written with what is beside it. Chosen: a call for
# itself takes less by far.
_JOIN_BYTES = 1 << 20


# A record; or its pieces, so that long ones among them need not be copied.
Encoded = bytes | list[bytes | memoryview]


class SegmentScan:
    """Read one segment from its header on, once.

    Iterating yields records and stops at the first byte that begins no whole frame;
    `why_stopped` then says what is there, "" at the end of the file. What that means
    (the end, a torn tail, damage) depends on the segments around: see `layout`.
    """

    def __init__(self, path: Path, file: File) -> None:
        """Read the header.

        Raises:
            JournalDamaged: it is none.
            JournalTooNew: a later version wrote it.
        """
        self.path = path
        self.header = Header.decode(str(path), file.read_at(0, HEADER_BYTES))
        self.records = 0
        # The frame handed out last.
        self.record_offset = HEADER_BYTES
        # Behind the last whole frame.
        self.offset = HEADER_BYTES
        # Offset of the last marker, 0: none yet.
        self.marker_offset = 0
        self.why_stopped = ""
        self._file = file

    @property
    def is_sealed(self) -> bool:
        """Whether the last frame is a marker for all before it, as ends a base."""
        return self.marker_offset + MARKER_BYTES == self.offset

    def file_bytes(self) -> int:
        """Return the length of the file; it may grow."""
        return self._file.size()

    def run_again(self) -> "SegmentScan":
        """Read the file anew, to its end, and return that scan."""
        again = SegmentScan(self.path, self._file)
        for _ in again:
            continue
        return again

    def __iter__(self) -> Iterator[bytes]:
        salt = self.header.salt
        buffer = b""
        start = self.offset  # of the buffer in the file
        at = 0  # of the next frame in the buffer
        self.why_stopped = ""
        while True:
            if len(buffer) - at < MARKER_BYTES:
                buffer, start, at = self._more(buffer, start, at, _CHUNK_BYTES)
            if len(buffer) - at < FRAME_BYTES:
                if len(buffer) > at:
                    self.why_stopped = "a frame's head is cut short"
                return
            length, checksum = unpack_frame(buffer, at)
            if length == MARKER_TAG:
                if not marker_at(buffer, at, salt, start + at):
                    self.why_stopped = "a marker's checksum is wrong"
                    return
                self.marker_offset = start + at
                at += MARKER_BYTES
                self.offset = start + at
                continue
            if not 0 < length <= MAX_RECORD_BYTES:
                self.why_stopped = f"no record is {length} bytes long"
                return
            end = at + FRAME_BYTES + length
            if end > len(buffer):
                # A length that lies must not make us read a gigabyte.
                if start + end > self._file.size():
                    self.why_stopped = f"a record of {length} bytes is cut short"
                    return
                wanted = max(_CHUNK_BYTES, end - at)
                buffer, start, at = self._more(buffer, start, at, wanted)
                end = at + FRAME_BYTES + length
                if end > len(buffer):
                    self.why_stopped = f"a record of {length} bytes is cut short"
                    return
            record = buffer[at + FRAME_BYTES : end]
            if zlib.crc32(record, salt + start + end) != checksum:
                self.why_stopped = f"the checksum of {length} bytes is wrong"
                return
            self.records += 1
            self.record_offset = start + at
            self.offset = start + end
            at = end
            yield record

    def _more(
        self, buffer: bytes, start: int, at: int, count: int
    ) -> tuple[bytes, int, int]:
        more = self._file.read_at(start + len(buffer), count)
        return buffer[at:] + more, start + at, 0

    def synced_bytes_behind(self) -> int:
        """Return what the markers behind `offset` say was synced; 0: there is none."""
        best = 0
        overlap = MARKER_BYTES - 1
        start = self.offset
        while True:
            data = self._file.read_at(start, _CHUNK_BYTES)
            at = data.find(MARKER_TAG_BYTES)
            while at >= 0:
                best = max(best, marker_at(data, at, self.header.salt, start + at))
                at = data.find(MARKER_TAG_BYTES, at + 1)
            if len(data) < _CHUNK_BYTES:
                return best
            start += len(data) - overlap

    def skip_damage(self) -> bool:
        """Move `offset` to the next whole frame behind it; false: there is none."""
        size = self._file.size()
        salt = self.header.salt
        damaged = self.offset
        declared = self._file.read_at(damaged, FRAME_BYTES)
        guesses = itertools.chain(
            [damaged + FRAME_BYTES + unpack_frame(declared)[0]]
            if len(declared) == FRAME_BYTES
            else [],
            range(damaged + 1, size),
        )
        window = b""
        start = 0
        for offset in guesses:
            if not start <= offset <= start + len(window) - MARKER_BYTES:
                start, window = offset, self._file.read_at(offset, _CHUNK_BYTES)
            at = offset - start
            if len(window) - at < FRAME_BYTES:
                continue
            length, checksum = unpack_frame(window, at)
            if marker_at(window, at, salt, offset):
                self.offset = offset
                return True
            end = offset + FRAME_BYTES + length
            if not 0 < length <= _RESYNC_RECORD_BYTES or end > size:
                continue
            record = self._file.read_at(offset + FRAME_BYTES, length)
            if zlib.crc32(record, salt + end) == checksum:
                self.offset = offset
                return True
        self.offset = size
        return False


class SegmentWriter:
    """Append frames to one segment; a write that fails leaves no trace.

    Not synced by itself. `is_broken`: a failed write could not be undone.
    """

    def __init__(self, path: Path, file: File, header: Header, size: int) -> None:
        """Take over an open file.

        Args:
            path: its name, for errors.
            file: open for appending.
            header: what its first bytes say.
            size: its length in bytes; no less than the header's.
        """
        self.path = path
        self.header = header
        self.size = size
        self.is_broken = False
        # How much the last write was to be.
        self.wanted_bytes = 0
        self._file = file

    def append(self, records: Iterable[Encoded]) -> int:
        """Append records, all or none; return the bytes written.

        Raises:
            PayloadTooLarge: a record is empty or above MAX_RECORD_BYTES.
            OSError: not written; the segment is as before unless `is_broken`.
        """
        parts: list[bytes | memoryview] = []
        add = parts.append
        salt = self.header.salt
        end = self.size
        for record in records:
            pieces = record if isinstance(record, list) else (record,)
            length = sum(map(len, pieces))
            if not 0 < length <= MAX_RECORD_BYTES:
                raise PayloadTooLarge(
                    f"A record of {length} bytes; the journal takes 1 to "
                    f"{MAX_RECORD_BYTES}: store large values elsewhere"
                )
            end += FRAME_BYTES + length
            checksum = salt + end
            for piece in pieces:
                checksum = zlib.crc32(piece, checksum)
            add(pack_frame(length, checksum))
            parts += pieces
        if end - self.size <= _JOIN_BYTES:
            return self.write(b"".join(parts))
        return self._write_all(_joined(parts))

    def mark(self, synced_bytes: int) -> None:
        """Append a marker: all before `synced_bytes` was synced.

        Raises:
            OSError: as for `append`.
        """
        self.write(marker(self.header.salt, self.size, synced_bytes))

    def sync(self) -> None:
        """Return when all that was appended survives power loss."""
        self._file.sync()

    def close(self) -> None:
        """Close the file; nothing is synced."""
        self._file.close()

    def write(self, data: bytes) -> int:
        """Write whole frames, or a header, all or nothing; return how many bytes.

        Raises:
            OSError: as for `append`.
        """
        return self._write_all([data] if data else [])

    def _write_all(self, parts: Sequence[bytes | memoryview]) -> int:
        self.wanted_bytes = sum(map(len, parts))
        try:
            for part in parts:
                written = self._file.write(part)
                while written < len(part):
                    written += self._file.write(memoryview(part)[written:])
        except BaseException:
            # Also an interrupt: `size` must stay the end of the last whole write.
            self._cut_back()
            raise
        self.size += self.wanted_bytes
        return self.wanted_bytes

    def _cut_back(self) -> None:
        self.is_broken = True
        self._file.truncate(self.size)
        self.is_broken = False


def _joined(parts: Iterable[bytes | memoryview]) -> list[bytes | memoryview]:
    """Join what is short and stands together."""
    joined: list[bytes | memoryview] = []
    short: list[bytes | memoryview] = []
    for part in parts:
        if len(part) <= _JOIN_BYTES:
            short.append(part)
        else:
            joined += [b"".join(short), part]
            short = []
    return [part for part in [*joined, b"".join(short)] if part]


def create_segment(
    files: FileSystem, folder: Path, header: Header, *, may_sync: bool = True
) -> SegmentWriter:
    """Write a new segment's header under the name that it has until it is whole.

    Raises:
        OSError: nothing is left of it, or a `.tmp` that the next opener removes.
    """
    path = folder / (header.kind.file_name(header.sequence) + ".tmp")
    file = files.create(path)
    writer = SegmentWriter(path, file, header, 0)
    try:
        writer.write(header.encode())
        if may_sync:
            writer.sync()
    except BaseException:
        file.close()
        with contextlib.suppress(OSError):
            files.unlink(path)
        raise
    return writer


def damage_of(scan: SegmentScan, reason: str) -> JournalDamaged:
    """Build the error for what stands where a scan has stopped."""
    return JournalDamaged(str(scan.path), scan.offset, reason)
