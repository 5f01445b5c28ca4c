"""The bytes of a segment, format version 1. Integers are little-endian.

A journal is a folder of segments, each a file: a header, then frames without a gap.

    header, 36 bytes                         record frame, 8 + n bytes
     0  8  magic 89 41 43 54 4A 0D 0A 1A      0  4  n, 1 .. 2^30
     8  2  format version, 1                  4  4  checksum
    10  2  kind: 1 log, 2 base                8  n  the record: msgpack, as encoded
    12  4  salt, random                             by the journal's owner
    16  8  sequence
    24  8  previous bytes                    marker frame, 16 bytes
    32  4  CRC-32 of bytes 0 to 31            0  4  D6 8A 9E F1 (no n is that large)
                                              4  4  checksum
                                              8  8  synced bytes

Checksum: CRC-32 (zlib's) of the frame from byte 8 on, begun with the low 32 bits of
`salt + end`, `end` being the frame's end as an offset in the file. So a frame is valid
in one place of one file only: bytes that moved, or that another file left behind on
the disk, are no records of this one. (Salts as in SQLite's write-ahead log.)

A *log* holds what was appended. Its sequences count 1, 2, 3 without a gap; the last log
is the one that grows. "Previous bytes" is the final length of the log before it, which
was synced at that length before this one got its name. A marker says that all bytes
before "synced bytes" had been synced when it was written.

A *base* of sequence n stands for all logs up to n, and for older bases: it holds the
owner's snapshot. It ends with a marker whose synced bytes are the marker's own offset;
without it the base is not whole.

Files are named `log-<sequence>.journal` and `base-<sequence>.journal`, 16 digits. A
file is written as `<name>.tmp`, synced, renamed, and its folder synced; so a segment
has a whole header from the moment it has its name. To replay: the base of the highest
sequence n, if there is one, then logs n+1, n+2, ... Whatever is older is a leftover.

In all later versions the header's first 36 bytes keep this meaning. An operator may
find beside the segments: `journal.lock`, `journal.holder` (pid and host of who writes),
`*.torn-<offset>` and `*.damaged` (bytes that were cut away, for people to look at).
"""

import enum
import os
import re
import struct
import zlib

import msgspec

from actors.journal.errors import JournalDamaged, JournalTooNew

__all__ = [
    "FRAME_BYTES",
    "HEADER_BYTES",
    "MARKER_BYTES",
    "MARKER_TAG",
    "MARKER_TAG_BYTES",
    "MAX_RECORD_BYTES",
    "VERSION",
    "Header",
    "Kind",
    "marker",
    "marker_at",
    "new_salt",
    "pack_frame",
    "parse_name",
    "unpack_frame",
]

VERSION = 1
# As PNG does: a high bit, a name, and line ends that a text-mode transfer would change.
_MAGIC = b"\x89ACTJ\r\n\x1a"
_HEADER = struct.Struct("<8sHHIQQ")
_CHECKSUM = struct.Struct("<I")
_FRAME = struct.Struct("<II")
_MARKER = struct.Struct("<IIQ")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size
FRAME_BYTES = _FRAME.size
MARKER_BYTES = _MARKER.size
# Chosen: random, and above every length, so that it is rare in what users write.
MARKER_TAG = 0xF19E8AD6
MARKER_TAG_BYTES = MARKER_TAG.to_bytes(4, "little")
# Chosen: far above any frame that an endpoint takes, far below MARKER_TAG.
MAX_RECORD_BYTES = 1 << 30
_NAME = re.compile(r"(log|base)-(\d{16})\.journal")

pack_frame = _FRAME.pack
unpack_frame = _FRAME.unpack_from


class Kind(enum.IntEnum):
    """What a segment holds."""

    LOG = 1
    BASE = 2

    def file_name(self, sequence: int) -> str:
        """Return the name of a segment's file."""
        return f"{self.name.lower()}-{sequence:016d}.journal"


def new_salt() -> int:
    """Return a salt for a new segment."""
    return int.from_bytes(os.urandom(4), "little")


def parse_name(name: str) -> tuple[Kind, int] | None:
    """Return kind and sequence of a segment's file, or None for any other name."""
    match = _NAME.fullmatch(name)
    return (Kind[match[1].upper()], int(match[2])) if match else None


class Header(msgspec.Struct, frozen=True):
    """The first bytes of a segment; see the module's docstring."""

    kind: Kind
    sequence: int
    salt: int
    previous_bytes: int = 0

    def encode(self) -> bytes:
        head = _HEADER.pack(
            _MAGIC, VERSION, self.kind, self.salt, self.sequence, self.previous_bytes
        )
        return head + _CHECKSUM.pack(zlib.crc32(head))

    @classmethod
    def decode(cls, path: str, head: bytes) -> "Header":
        """Decode the first bytes of the file at `path`, which has at least a header's.

        Raises:
            JournalDamaged: no header, or one that another file should have.
            JournalTooNew: a header of a later version.
        """
        if len(head) < HEADER_BYTES:
            reason = f"the header ends after {len(head)} of {HEADER_BYTES} bytes"
            raise JournalDamaged(path, len(head), reason)
        magic, version, kind, salt, sequence, previous = _HEADER.unpack_from(head)
        (checksum,) = _CHECKSUM.unpack_from(head, _HEADER.size)
        if magic != _MAGIC or zlib.crc32(head[: _HEADER.size]) != checksum:
            raise JournalDamaged(path, 0, "the header's checksum is wrong")
        if version > VERSION:
            raise JournalTooNew(path, version, VERSION)
        name = path.rpartition("/")[2]
        if version < 1 or (kind, sequence) != parse_name(name):
            reason = f"the header says version {version}, kind {kind}, {sequence=}"
            raise JournalDamaged(path, 0, reason)
        return cls(Kind(kind), sequence, salt, previous)


def marker(salt: int, offset: int, synced_bytes: int) -> bytes:
    """Build the marker that will stand at `offset`."""
    body = synced_bytes.to_bytes(8, "little")
    checksum = zlib.crc32(body, salt + offset + MARKER_BYTES)
    return _MARKER.pack(MARKER_TAG, checksum, synced_bytes)


def marker_at(data: bytes, at: int, salt: int, offset: int) -> int:
    """Return the synced bytes of the marker at `data[at:]`, or 0 if there is none.

    Args:
        data: some bytes of a segment.
        at: where in `data` to look.
        salt: the segment's.
        offset: where in the segment that is.
    """
    if len(data) - at < MARKER_BYTES:
        return 0
    tag, checksum, synced_bytes = _MARKER.unpack_from(data, at)
    body = data[at + FRAME_BYTES : at + MARKER_BYTES]
    if tag != MARKER_TAG or zlib.crc32(body, salt + offset + MARKER_BYTES) != checksum:
        return 0
    return int(synced_bytes) if synced_bytes <= offset else 0
