"""Promise: frames come out whole and in order, however the bytes came in."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.pipe import FrameReader, FrameWriter, frame_parts

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


def _receive_all(reader: FrameReader, stream: socket.socket) -> list[bytes]:
    frames = []
    while True:
        try:
            frames += [bytes(frame) for frame in reader.receive(stream)]
        except BlockingIOError:
            return frames


def _drain(
    writer: FrameWriter,
    source: socket.socket,
    reader: FrameReader,
    target: socket.socket,
) -> list[bytes]:
    frames = _receive_all(reader, target)
    while not writer.is_empty:
        writer.flush(source)
        frames += _receive_all(reader, target)
    return frames


@given(
    bodies=st.lists(st.binary(max_size=50), max_size=20),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_any_cut_of_the_stream_gives_the_same_frames(
    bodies: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(part for body in bodies for part in frame_parts(body))
    left, right = socket.socketpair()
    with left, right:
        right.setblocking(False)
        reader, frames, turn = FrameReader(), [], 0
        while stream:
            length = cuts[turn % len(cuts)]
            left.send(stream[:length])
            stream, turn = stream[length:], turn + 1
            frames += _receive_all(reader, right)
        assert frames == bodies
        assert not reader.has_partial_frame


def test_a_frame_larger_than_any_buffer_arrives_whole(pair: Pair) -> None:
    left, right = pair
    body = bytes(range(256)) * 20_000
    writer, reader = FrameWriter(), FrameReader()
    writer.write(left, b"before")
    writer.write(left, body)
    writer.write(left, b"after")
    frames = _drain(writer, left, reader, right)
    assert frames == [b"before", body, b"after"]


def test_an_empty_frame_is_a_frame(pair: Pair) -> None:
    left, right = pair
    FrameWriter().write(left, b"")
    assert _receive_all(FrameReader(), right) == [b""]


def test_the_end_of_the_stream_comes_after_what_was_sent(pair: Pair) -> None:
    left, right = pair
    FrameWriter().write(left, b"last")
    left.close()
    reader = FrameReader()
    assert [bytes(frame) for frame in reader.receive(right)] == [b"last"]
    with pytest.raises(EOFError):
        reader.receive(right)


def test_a_peer_that_left_bytes_unread_is_an_end_too(pair: Pair) -> None:
    left, right = pair
    right.send(b"never read")
    left.close()
    with pytest.raises(EOFError):
        FrameReader().receive(right)


def test_frames_taken_back_are_those_of_which_nothing_was_sent(pair: Pair) -> None:
    left, _ = pair
    writer = FrameWriter()
    large = b"x" * 1_000_000
    for label in ("first", "second", "third"):
        writer.write(left, large, label)
    assert writer.take_back() == ["second", "third"]
    assert writer.take_back() == []


def test_a_begun_frame_is_completed_after_a_take_back(pair: Pair) -> None:
    left, right = pair
    writer, reader = FrameWriter(), FrameReader()
    writer.write(left, b"x" * 1_000_000, 1)
    writer.write(left, b"y", 2)
    assert writer.take_back() == [2]
    frames = _drain(writer, left, reader, right)
    assert frames == [b"x" * 1_000_000]


def test_small_frames_that_find_no_room_wait_in_order(pair: Pair) -> None:
    left, right = pair
    writer, reader = FrameWriter(), FrameReader()
    bodies = [str(number).encode() * 100 for number in range(3_000)]
    for body in bodies:
        writer.write(left, body)
    assert not writer.is_empty
    frames = _drain(writer, left, reader, right)
    assert frames == bodies


def test_a_closed_peer_is_an_os_error_for_the_writer(pair: Pair) -> None:
    left, right = pair
    right.close()
    with pytest.raises(OSError, match="pipe"):
        FrameWriter().write(left, b"nobody reads this")
