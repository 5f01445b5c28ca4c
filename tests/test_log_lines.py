"""Promise: a log for programs is an object per line, and reads back."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.log_lines import log_to_stderr, read_record, utc_text


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_an_object_with_its_time_and_who_wrote_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_stderr("json", actor="manager", block="block-1")
    logging.getLogger("actors.pool").warning("%s of %d\nworkers", "one", 2)
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told.pop("pid") > 0
    assert told == {
        "level": "warning",
        "logger": "actors.pool",
        "message": "one of 2\nworkers",
        "actor": "manager",
        "block": "block-1",
    }


def test_a_traceback_is_a_field_and_lines_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_stderr("json", actor="strategy")
    try:
        raise ValueError("never\nworks")
    except ValueError:
        logging.getLogger("x").exception("it broke")
    (line,) = capsys.readouterr().err.splitlines()
    record = read_record(line)
    assert record is not None
    first, second, *_, last = record.lines()
    assert first.endswith(" ERROR x: it broke")
    assert second == "Traceback (most recent call last):"
    assert last == "works"


def test_text_is_what_it_always_was(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("text", actor="manager")
    logging.getLogger("x").info("hello")
    line = capsys.readouterr().err
    assert line.endswith(" INFO x: hello\n")
    assert read_record(line) is None


def test_the_least_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("json", level=logging.WARNING)
    logging.getLogger("x").info("hello")
    assert capsys.readouterr().err == ""


@given(st.text(st.characters()))
def test_whatever_is_said_reads_back(message: str) -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        log_to_stderr("json")
    logging.getLogger("x").info("%s", message)
    line = stream.getvalue()
    assert line.count("\n") == 1
    record = read_record(line.rstrip("\n"))
    assert record is not None
    assert record.message == message.encode("utf-8", "backslashreplace").decode()
    assert list(record.lines())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        '{"time":"',
        '{"time":"noon","level":"info","logger":"x","message":"m"}',
        '{"time":"2026-01-01T00:00:00Z","level":"info"}',
        '{"time":"2026-01-01T00:00:00Z","level":1,"logger":"x","message":"m"}',
        '{"time":"\udcff',
    ],
)
def test_what_is_no_record_is_left_alone(line: str) -> None:
    assert read_record(line) is None


def test_moments_are_in_utc() -> None:
    assert utc_text(0.25) == "1970-01-01T00:00:00.250000Z"
