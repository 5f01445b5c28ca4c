"""Look into a journal without its lock, also while another process writes to it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from actors.journal.errors import JournalDamaged
from actors.journal.files import File, FileSystem, RealFiles, all_closed
from actors.journal.layout import (
    UNDECODABLE,
    Layout,
    Replay,
    judge_tail,
    read_layout,
)

__all__ = ["open_layout", "read_journal"]

Record = TypeVar("Record")

# Chosen: a listing is outdated only while a compaction ends between two of its lines.
_LISTINGS = 10


def read_journal(
    folder: str | os.PathLike[str],
    decode: Callable[[bytes], Record],
    *,
    files: FileSystem | None = None,
) -> Iterator[Record]:
    """Yield the records of a journal, oldest first; changes nothing.

    Takes the segments as they are at the call, with the tail as far as it has grown
    when it is reached; a compaction meanwhile does no harm. The last records may not
    be durable yet, and of a record that a full disk cuts off again a glimpse may be
    had. A torn or growing tail is the end, not an error.

    Args:
        folder: the journal's.
        decode: turns bytes into a record, as a typed msgspec decoder's.
        files: None: the operating system's.

    Raises:
        FileNotFoundError: there is no such folder.
        JournalDamaged: as for `Journal.replay`; comes while iterating.
        JournalTooNew: a newer version wrote it.
    """
    files = files or RealFiles()
    folder = Path(folder)
    with all_closed([]) as opened:
        layout = open_layout(files, folder, opened)
        replay = Replay(folder, layout, opened)
        for encoded in _settled(replay):
            try:
                record = decode(encoded)
            except UNDECODABLE as error:
                raise replay.undecodable(error) from error
            yield record


def _settled(replay: Replay) -> Iterator[bytes]:
    """Read all; damage at the growing end must be there at a second look, too."""
    try:
        yield from replay
    except JournalDamaged:
        if replay.current is not replay.scans[-1]:
            raise
        # Perhaps a writer on a full disk cut off what we had read, and wrote anew.
        judge_tail(replay.current.run_again())


def open_layout(files: FileSystem, folder: Path, opened: list[File]) -> Layout:
    """List a folder and open its segments, all as they are at one moment.

    Args:
        files: the file system.
        folder: the journal's.
        opened: receives the files, in the order of `Layout.names`.

    Returns:
        The layout; with segments missing if two listings agree that they are.
    """
    seen: Layout | None = None
    for _ in range(_LISTINGS):
        layout = read_layout(files.names(folder))
        with contextlib.suppress(FileNotFoundError):  # replaced since the listing
            for name in layout.names:
                opened.append(files.open(folder / name))
            if not layout.missing() or layout == seen:
                return layout
        while opened:
            opened.pop().close()
        seen = layout
    raise JournalDamaged(str(folder), 0, "its segments come and go")
