"""A greeting is understood or refused, whatever the bytes, and never grows for ever."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import MalformedFrame
from actors.greeting import (
    HEAD_BYTES,
    answer,
    head_end,
    read_answer,
    read_request,
    request,
)

paths = st.from_regex(re.compile(r"/[!-~]{0,80}", re.ASCII), fullmatch=True)


@given(path=paths, rest=st.binary(max_size=50), cut=st.integers(0, 400))
def test_a_request_is_read_as_it_was_written_and_what_follows_is_left(
    path: str, rest: bytes, cut: int
) -> None:
    whole = request(path, "lab:7443")
    assert head_end(whole + rest) == len(whole)
    assert read_request(whole) == (101, path)
    if cut < len(whole):
        assert head_end(whole[:cut]) == 0


@pytest.mark.parametrize("status", [101, 400, 404, 426])
def test_an_answer_is_read_as_it_was_written(status: int) -> None:
    whole = answer(status)
    assert head_end(whole + b"\0SP\0") == len(whole)
    assert read_answer(whole) == status


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"\0SP\0\0\x10\0\0", 400),
        (b"GET /x HTTP/1.0\r\nUpgrade: actors", 400),
        (b"POST /x HTTP/1.1\r\nUpgrade: actors", 400),
        (b"GET x HTTP/1.1\r\nUpgrade: actors", 400),
        (b"GET /two words HTTP/1.1\r\nUpgrade: actors", 400),
        (b"GET /\xff HTTP/1.1\r\nUpgrade: actors", 400),
        (b"GET /x HTTP/1.1", 426),
        (b"GET /x HTTP/1.1\r\nUpgrade: websocket", 426),
        (b"GET /x HTTP/1.1\r\nX-Upgrade: actors", 426),
        (b"GET /x HTTP/1.1\r\nupgrade:actors", 101),
    ],
)
def test_who_asks_for_something_else_is_told_what_is_wrong(
    head: bytes, status: int
) -> None:
    assert read_request(head)[0] == status


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2",
        b"HTTP/1.1 999 What",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket",
        b"HTTP/1.1 101 Switching Protocols",
    ],
)
def test_what_is_no_answer_to_us_is_malformed(head: bytes) -> None:
    with pytest.raises(MalformedFrame):
        read_answer(head)


@given(head=st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(head: bytes) -> None:
    status, path = read_request(head)
    assert status in {101, 400, 426}
    assert (status == 101) == bool(path)


@given(head=st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_malformed(head: bytes) -> None:
    with suppress(MalformedFrame):
        assert 100 <= read_answer(head) < 600


def test_a_greeting_without_end_is_malformed() -> None:
    assert head_end(b"x" * (HEAD_BYTES - 1)) == 0
    with pytest.raises(MalformedFrame, match=f"{HEAD_BYTES} bytes without the end"):
        head_end(b"x" * HEAD_BYTES)
    with pytest.raises(MalformedFrame):
        head_end(b"x" * HEAD_BYTES + b"\r\n\r\n")
