"""Records on disk: appended in order, read back in order, never lost once synced.

    journal = Journal(folder, encode=encoder.encode, decode=decoder.decode)
    for record in journal.replay():     # what earlier processes left
        machine.restore(record)
    journal.append(records)             # all records of a batch of turns: one write
    journal.sync(now)                   # one fdatasync for all of them
    links.send(...)                     # only now may others hear of it

Where to read: `format` has the bytes, `layout` the files of a folder, `segments` reads
and writes one file, `writer` is the journal itself, `compaction` makes it short again,
`reader` looks on while another process writes, `repair` is what an operator calls,
`files` is the file system as all of them see it.

What is promised
----------------
*Acknowledged* is a record for which `sync` returned true; with `durability = "off"`
nothing ever is.

1. Replay yields a prefix of what was appended since the last compaction's snapshot, in
   order, each record as it was or not at all, and every acknowledged one; or it raises.
   A batch may survive in part: its first records.
2. A killed process loses nothing that `append` had taken, at any level.
3. Power loss costs at most what was not acknowledged: with "sync" nothing that anybody
   was told of, with "interval" what the last `interval` seconds brought, with "off"
   anything that the operating system still held; with "off" the journal may then ask
   for `repair`.
4. The end of the last segment may be *torn*: bytes that are no record, with nothing
   behind them that proves that they once were synced. They are copied to
   `<segment>.torn-<offset>`, cut off, and told in `Journal.torn` and the log.
5. Everything else that does not add up is *damage*: `JournalDamaged` names file and
   offset, and nothing is changed. So a flipped bit is found always, and is an error in
   all that was synced when the next marker went to disk: behind each sync, and synced
   again when the journal is closed. What no scheme without a second file can tell from
   a torn write: damage to the last synced batch after a power loss that took the marker
   behind it; and a last segment that somebody cut short.
6. Records are intact, not authentic: checksums find accidents, not forgers.

One process writes, under a lock that the operating system frees when the process dies.
A holder that forks without exec would hand its lock to the child: don't.
"""

from actors.journal.compaction import Compaction
from actors.journal.config import Durability, JournalConfig
from actors.journal.errors import (
    JournalDamaged,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalLocked,
    JournalTooNew,
)
from actors.journal.files import File, FileSystem, Holder, Lock, RealFiles
from actors.journal.layout import TornTail
from actors.journal.reader import read_journal
from actors.journal.repair import (
    Inspection,
    Repaired,
    SegmentReport,
    inspect,
    repair,
    verify,
)
from actors.journal.writer import Journal

__all__ = [
    "Compaction",
    "Durability",
    "File",
    "FileSystem",
    "Holder",
    "Inspection",
    "Journal",
    "JournalConfig",
    "JournalDamaged",
    "JournalError",
    "JournalFailed",
    "JournalFull",
    "JournalLocked",
    "JournalTooNew",
    "Lock",
    "RealFiles",
    "Repaired",
    "SegmentReport",
    "TornTail",
    "inspect",
    "read_journal",
    "repair",
    "verify",
]
