"""The log files of an endpoint, read as one stream.

    DIR/logs/interchange.log                            interchange
    DIR/blocks/block-1/node-0.stderr, node-0.stdout     block-1.0, as its manager
    DIR/blocks/block-1/run-2/node-0.stderr, ...         the same, of a batch job
    DIR/blocks/block-1/batch.err, batch.out             block-1, as the batch system
    DIR/blocks/block-1/workers/block-1.0-w1.log         block-1.0-w1
    DIR/blocks/block-1/workers/forkserver.log           block-1.forkserver

Files come, and grow; one that became shorter was begun anew. Only whole lines are
taken, so that those of two processes do not run into each other.
"""

import heapq
import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actors.log_lines import LogRecord, read_record

__all__ = ["Line", "LogReader"]

_LOG = ".log"
# What a batch system says about a block; folders of a job that it may start again.
_BATCH = "batch.*"
_RUN = "run-*"
_NODE = re.compile(r"node-(?P<node>\d+)\.(?:stderr|stdout)")
# As `logging` writes %(asctime)s.
_TIME = re.compile(r"(?P<second>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(?P<milli>\d{3}) ")
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
# How much is read at a time; and the length from which a line is taken before its end
# has come, as a progress bar's may never do.
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One line of a log.

    Args:
        at: seconds since 1970, as far as is known.
        source: who wrote it.
        text: without the line's end.
        record: what a program wrote for programs; `text` is how people read it.
        is_more: the further text of the record before it.
    """

    at: float
    source: str = field(compare=False)
    text: str = field(compare=False)
    record: LogRecord | None = field(default=None, compare=False)
    is_more: bool = field(default=False, compare=False)


class LogReader:
    """All log files of one endpoint; see the module's docstring.

    Args:
        logs, blocks: the folders; they need not exist yet.
        names: of actors, blocks, managers and workers to be read; empty: everybody.
    """

    def __init__(self, logs: Path, blocks: Path, names: Sequence[str]) -> None:
        self._logs = logs
        self._blocks = blocks
        self._names = names
        self._files: dict[Path, _LogFile] = {}
        self._look()

    @property
    def sources(self) -> list[str]:
        """Name those who have a log, in order."""
        return sorted({file.source for file in self._files.values()}, key=_natural)

    def last_lines(self, count: int | None, *, whole: bool) -> Iterable[Line]:
        """Give the last lines of all together, oldest first.

        What comes after them, `new_lines` gives.

        Args:
            count: so many; None: all.
            whole: leave lines without an end for later.
        """
        ends = (f.last_lines(count, whole=whole) for f in self._files.values())
        merged = heapq.merge(*ends)
        return merged if count is None else deque(merged, maxlen=count)

    def new_lines(self) -> Iterable[Line]:
        """Give what was written since the last call, oldest first."""
        self._look()
        return heapq.merge(*(file.new_lines() for file in self._files.values()))

    def _look(self) -> None:
        for path, source in self._found():
            if path not in self._files and self._is_wanted(source):
                self._files[path] = _LogFile(path, source)

    def _found(self) -> Iterator[tuple[Path, str]]:
        for path in sorted(self._logs.glob(f"*{_LOG}")):
            yield path, path.stem
        for block in sorted(self._blocks.glob("*")):
            for path in sorted(block.glob(_BATCH)):
                yield path, block.name
            for path in sorted([*block.glob("node-*"), *block.glob(f"{_RUN}/node-*")]):
                match = _NODE.fullmatch(path.name)
                if match:
                    yield path, f"{block.name}.{match['node']}"
            for path in sorted(block.glob(f"workers/*{_LOG}")):
                is_own = path.stem.startswith(f"{block.name}.")
                yield path, path.stem if is_own else f"{block.name}.{path.stem}"

    def _is_wanted(self, source: str) -> bool:
        return not self._names or any(_belongs(source, name) for name in self._names)


def _belongs(source: str, name: str) -> bool:
    """Tell whether a source is, or is part of, what has this name.

    block-1.0-w1 is part of block-1.0 and of block-1, and not of block-1.0-w.
    """
    rest = source.removeprefix(name)
    return source.startswith(name) and (not rest or rest[0] in ".-")


def _natural(source: str) -> list[tuple[bool, int, str]]:
    """Sort block-2 before block-10, and actors before blocks."""
    words = re.split(r"(\d+)", source)
    return [(w.isdecimal(), int(w) if w.isdecimal() else 0, w) for w in words]


class _LogFile:
    """One file, and how far it was read."""

    def __init__(self, path: Path, source: str) -> None:
        self.source = source
        self._path = path
        self._offset = 0
        self._rest = b""  # a line whose end has not come
        self._at = 0.0  # of the last line
        self._is_dated = False  # some line began with a time

    def last_lines(self, count: int | None, *, whole: bool) -> Iterator[Line]:
        """Give the last lines; what comes after them, `new_lines` gives."""
        if count is not None:
            try:
                with self._path.open("rb") as file:
                    self._offset = _find_start(file.fileno(), count)
            except OSError:  # gone, or not ours to read
                return
        yield from self.new_lines()
        if self._rest and not whole:
            yield from self._lines(self._rest, self._at or time.time())

    def new_lines(self) -> Iterator[Line]:
        """Give the whole lines written since the last call."""
        try:
            now = self._path.stat()
            if now.st_size < self._offset:
                self._offset, self._rest = 0, b""
            # Not beyond what `stat` saw: a writer may be faster than we are.
            while self._offset < now.st_size:
                for line in self._read_lines(now.st_size):
                    yield from self._lines(line, now.st_mtime)
        except OSError:  # gone, or not ours to read
            return

    def _read_lines(self, until: int) -> list[bytes]:
        # Not kept open: an endpoint may have more logs than we may have files.
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read(min(_CHUNK_BYTES, until - self._offset))
        # Nothing: it became shorter just now, and the next look will see that.
        self._offset = self._offset + len(content) if content else until
        *lines, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > _CHUNK_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def _lines(self, line: bytes, changed_at: float) -> Iterator[Line]:
        text = line.decode("utf-8", "replace").rstrip("\r")
        record = read_record(text)
        if record is None:
            yield self._line(text, _time_of(text), changed_at)
            return
        first, *more = record.lines()
        yield replace(self._line(first, record.at, changed_at), record=record)
        for rest in more:
            yield Line(self._at, self.source, rest, is_more=True)

    def _line(self, text: str, at: float | None, changed_at: float) -> Line:
        if at is not None:
            self._is_dated = True
        elif not self._is_dated:
            at = changed_at
        # Never back: lines of one file stay in their order, whatever the clock does.
        self._at = max(self._at, at or 0.0)
        return Line(self._at, self.source, text)


def _time_of(text: str) -> float | None:
    match = _TIME.match(text)
    if match is None:
        return None
    try:
        second = time.mktime(time.strptime(match["second"], _TIME_FORMAT))
    except (ValueError, OverflowError):
        return None
    return second + int(match["milli"]) / 1000


def _find_start(descriptor: int, count: int) -> int:
    """Find where the last lines begin, from the end, a chunk at a time.

    A last line without an end is one more.
    """
    offset, found = os.fstat(descriptor).st_size, 0
    while offset > 0:
        begin = max(0, offset - _CHUNK_BYTES)
        chunk = os.pread(descriptor, offset - begin, begin)
        end = len(chunk)
        while (end := chunk.rfind(b"\n", 0, end)) >= 0:
            found += 1
            if found > count:
                return begin + end + 1
        offset = begin
    return 0
