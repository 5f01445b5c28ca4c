"""What the tests of the journal have in common."""

from pathlib import Path

import msgspec

from actors.journal import Durability, FileSystem, Journal, JournalConfig

__all__ = ["FOLDER", "Noted", "contents", "decode", "encode", "noted", "opened"]

FOLDER = Path("/journal")
# Just above the smallest that the configuration allows: a few records fill it.
SMALL_SEGMENT_BYTES = 160


class Noted(msgspec.Struct, frozen=True, array_like=True, tag=True):
    number: int
    text: str = ""


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Noted).decode


def noted(*numbers: int) -> list[Noted]:
    """Make records."""
    return [Noted(number, "x" * (number % 7)) for number in numbers]


def opened(
    files: FileSystem,
    folder: Path = FOLDER,
    *,
    durability: Durability = "sync",
    segment_bytes: int = 1 << 20,
) -> tuple[Journal[Noted], list[Noted]]:
    """Open a journal and replay it; let go of it if that fails."""
    config = JournalConfig(
        durability=durability, interval=10.0, segment_bytes=segment_bytes
    )
    journal: Journal[Noted] = Journal(
        folder, encode=encode, decode=decode, config=config, files=files
    )
    try:
        return journal, list(journal.replay())
    except Exception:
        journal.close()
        raise


def contents(files: FileSystem, folder: Path = FOLDER) -> list[Noted]:
    """Return what a journal holds, closing it at once."""
    journal, records = opened(files, folder)
    journal.close()
    return records
