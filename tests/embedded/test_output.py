"""What workers print appears as whole lines, and waits for who does not read."""

import io
import os
import sys
from collections.abc import Iterator

import pytest

from actors.embedded.output import Printer


def test_lines_are_whole_and_bear_the_pid(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer()
    printer.show([(1, b"one\ntw"), (2, b"other\n")])
    assert capsys.readouterr().err == "(pid=1) one\n(pid=2) other\n"
    printer.show([(1, b"o\n\xff\n"), (1, b"no end")])
    assert capsys.readouterr().err == "(pid=1) two\n(pid=1) \ufffd\n"
    printer.close([(2, b"nor here")])
    assert capsys.readouterr().err == "(pid=1) no end\n(pid=2) nor here\n"


def test_a_line_without_end_costs_bounded_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = Printer()
    for _ in range(10):
        printer.show([(1, b"x" * 50_000)])
    assert len(capsys.readouterr().err) > 300_000


def test_a_standard_error_that_is_gone_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    printer = Printer()
    printer.show([(1, b"a\n")])
    monkeypatch.setattr(sys, "stderr", None)
    printer.close([(1, b"b\n")])


def test_what_nobody_reads_stays_where_it_is_and_comes_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = b"".join(b"%d %s\n" % (n, b"x" * 3000) for n in range(100))
    taken = 0

    def outputs() -> Iterator[tuple[int, bytes]]:
        nonlocal taken
        taken += 1
        yield 7, text

    reader, writer = os.pipe()
    with open(reader, "rb") as reading, open(writer, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        os.set_blocking(reader, False)
        printer = Printer()
        for _ in range(3):
            printer.show(outputs())
        assert taken == 1
        shown = b""
        while taken < 2:
            shown += reading.read() or b""
            printer.show(outputs())
        monkeypatch.setattr("actors.embedded.output._PATIENCE", 0.01)
        printer.close([])
        shown += reading.read() or b""
    whole = b"".join(b"(pid=7) " + line for line in text.splitlines(keepends=True))
    assert shown.startswith(whole)
    assert (whole + whole).startswith(shown)
