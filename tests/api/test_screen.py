"""What workers print appears with who has, and what is not shown is counted."""

import io
import os
import socket
import sys

import pytest

from actors.api.screen import Screen


def test_lines_have_the_prefix_of_an_embedded_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Screen().show(7, socket.gethostname(), "ä\n\nb\n".encode(), 0)
    assert capsys.readouterr().err == "(pid=7) ä\n(pid=7) \n(pid=7) b\n"


def test_another_host_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().show(7, "elsewhere", b"a\n", 0)
    assert capsys.readouterr().err == "(pid=7, host=elsewhere) a\n"


def test_what_is_not_shown_is_told_now_and_then_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 5.0
    screen = Screen(lambda: now)
    screen.show(7, socket.gethostname(), b"a\n", 10)
    screen.show(7, socket.gethostname(), b"", 20)
    screen.show(7, socket.gethostname(), b"b\n", 30)
    hint = "bytes are not shown here: see `actors logs`"
    told = capsys.readouterr().err
    assert told == f"(actors) 10 {hint}\n(pid=7) a\n(pid=7) b\n"
    now = 6.0
    screen.show(7, socket.gethostname(), b"c\n", 40)
    assert capsys.readouterr().err == f"(actors) 90 {hint}\n(pid=7) c\n"
    screen.show(7, socket.gethostname(), b"", 60)
    screen.close()
    screen.close()
    assert capsys.readouterr().err == f"(actors) 60 {hint}\n"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_screen_that_is_gone_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed if is_there else None)
    Screen().show(7, "", b"a\n", 1)


def test_who_does_not_read_holds_up_nothing_and_hears_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 5.0
    here = socket.gethostname()
    reader, writer = os.pipe()
    with open(reader, "rb") as reading, open(writer, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr("actors.api.screen._PATIENCE", 0.01)
        screen = Screen(lambda: now)
        text = "".join(f"{n} {'ä' * (n % 5000)}\n" for n in range(1000)).encode()
        screen.show(7, here, b"begin\n", 5)
        for _ in range(3):
            screen.show(7, here, text, 0)
        os.set_blocking(reader, False)
        shown = reading.read()
        now = 7.0
        screen.show(7, here, b"at last\n", 0)
        told = reading.read()
    hint = "bytes are not shown here: see `actors logs`"
    begin = f"(actors) 5 {hint}\n(pid=7) begin\n".encode()
    assert shown.startswith(begin)
    whole = text.replace(b"\n", b"\n(pid=7) ").removesuffix(b"(pid=7) ")
    whole = 3 * (b"(pid=7) " + whole)
    shown = shown.removeprefix(begin)
    assert whole.startswith(shown)
    assert len(shown) > 4096
    left_out = len(whole) - len(shown)
    assert (
        told.lstrip(b"\n").decode() == f"(actors) {left_out} {hint}\n(pid=7) at last\n"
    )
    assert told.startswith(b"\n") != shown.endswith(b"\n")
