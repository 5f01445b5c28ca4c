"""How processes write their logs: lines for people, or an object per line for programs.

    text    2026-01-31 10:00:00,123 INFO actors.pool: worker started
    json    {"time":"2026-01-31T09:00:00.123000Z","level":"info","logger":"actors.pool",
             "message":"worker started","actor":"interchange","pid":4711}

A traceback is lines of its own in the first, and the field `exception` in the second.
What tasks print is theirs, and is left as it is.
"""

import datetime
import logging
import os
import sys
import time
from collections.abc import Iterator

import msgspec

__all__ = ["LogRecord", "log_to_stderr", "read_record", "utc_text"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_TEXT_TIME = "%Y-%m-%d %H:%M:%S"
# What no line for people begins with, so that these cost nothing to look at.
_BEGINNING = '{"time":"'


class LogRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object of a log for programs; its fields are a promise to them."""

    time: str  # RFC 3339, in UTC
    level: str  # debug, info, warning, error, critical
    logger: str
    message: str
    actor: str = ""  # whose process it is: interchange, manager, ...
    pid: int = 0
    block: str = ""  # of a manager
    exception: str = ""  # a traceback

    @property
    def at(self) -> float:
        """Seconds since 1970.

        Raises:
            ValueError: `time` is none.
        """
        return datetime.datetime.fromisoformat(self.time).timestamp()

    def lines(self) -> Iterator[str]:
        """Write it as people read it.

        Raises:
            ValueError: `time` is none.
        """
        seconds = time.strftime(_TEXT_TIME, time.localtime(self.at))
        milliseconds = int(self.at % 1 * 1000)
        message = self.message.split("\n")
        yield (
            f"{seconds},{milliseconds:03d} {self.level.upper()} {self.logger}: "
            f"{message[0]}"
        )
        yield from message[1:]
        yield from self.exception.splitlines()


_decoder = msgspec.json.Decoder(LogRecord)


class _JsonLines(logging.Formatter):
    """Writes records as JSON; see the module's docstring."""

    def __init__(self, actor: str, block: str) -> None:
        super().__init__()
        self._actor = actor
        self._block = block

    def format(self, record: logging.LogRecord) -> str:
        exception = self.formatException(record.exc_info) if record.exc_info else ""
        written = LogRecord(
            utc_text(record.created),
            record.levelname.lower(),
            record.name,
            _as_text(record.getMessage()),
            self._actor,
            os.getpid(),
            self._block,
            _as_text(exception),
        )
        return msgspec.json.encode(written).decode()


def _as_text(words: str) -> str:
    """Replace lone surrogates, of file names that are no text: UTF-8 has none."""
    return words.encode("utf-8", "backslashreplace").decode()


def utc_text(at: float) -> str:
    """Write a moment, in seconds since 1970, as RFC 3339 has it, in UTC."""
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def log_to_stderr(
    style: str, *, level: int = logging.INFO, actor: str = "", block: str = ""
) -> None:
    """Have this process log to standard error, in place of what it did before.

    Args:
        style: "text" or "json".
        level: the least that is written.
        actor: whose process this is.
        block: of a manager.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines(actor, block) if style == "json" else logging.Formatter(_TEXT)
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)


def read_record(line: str) -> LogRecord | None:
    """Read what was written as JSON; None: it is no such line."""
    if not line.startswith(_BEGINNING):
        return None
    try:
        record = _decoder.decode(line)
        datetime.datetime.fromisoformat(record.time)
    except (msgspec.MsgspecError, UnicodeEncodeError, ValueError):
        return None
    return record
