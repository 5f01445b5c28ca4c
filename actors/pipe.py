"""Frames over a byte stream between two processes of one host.

    ┌──────────────┬───────────────┐
    │ length, u32  │ body          │   length: big-endian, of the body alone
    └──────────────┴───────────────┘   (as short messages of multiprocessing.connection)

`FrameReader` cuts what one `recv` brought into whole frames and keeps the rest;
`FrameWriter` sends without ever blocking and keeps what the other side has no room
for. Neither of them knows what is inside a frame.
"""

import socket
import struct
from collections import deque

from actors.errors import PayloadTooLarge

__all__ = ["MAX_FRAME_BYTES", "FrameReader", "FrameWriter", "frame_parts", "send_frame"]

_HEADER = struct.Struct("!I")
_HEADER_BYTES = _HEADER.size

# What four bytes can count. msgpack's own limit for one payload is the same.
MAX_FRAME_BYTES = 2**32 - 1

# What one `recv` asks for at least: some 1,000 small results. Chosen: below the 208 KiB
# that Linux gives a socket's buffer by default, as more would not come at once.
_BUFFER_BYTES = 65_536

# Up to here header and body are joined into one piece, as copying is cheaper than
# `sendmsg`. Chosen.
_JOIN_BYTES = 16_384


def frame_parts(body: bytes) -> list[bytes]:
    """Put the header before a body: one piece for a small body, two for a large one.

    Raises:
        PayloadTooLarge: longer than a header can say.
    """
    if len(body) > MAX_FRAME_BYTES:
        raise PayloadTooLarge(
            f"Frame of {len(body)} bytes exceeds {MAX_FRAME_BYTES} bytes; "
            "pass large values by file or by reference"
        )
    header = _HEADER.pack(len(body))
    if len(body) <= _JOIN_BYTES:
        return [header + body]
    return [header, body]


def send_frame(stream: socket.socket, body: bytes) -> None:
    """Send a frame on a blocking stream.

    Raises:
        PayloadTooLarge: longer than a header can say.
        OSError: the other side is gone.
    """
    if len(body) <= _JOIN_BYTES:
        stream.sendall(_HEADER.pack(len(body)) + body)
        return
    for part in frame_parts(body):
        stream.sendall(part)


class FrameReader:
    """The receiving end of one stream."""

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0  # of the first byte not yet given out
        self._end = 0  # of what was received

    def receive(self, stream: socket.socket, flags: int = 0) -> list[memoryview]:
        """Receive once and return the frames that are complete now.

        Args:
            stream: where from.
            flags: as for `recv`, `MSG_DONTWAIT` for instance.

        Returns:
            Bodies of frames, in order, perhaps none. They are windows on this
            reader's buffer: decode them before the next call.

        Raises:
            EOFError: the other side is gone; a partial frame is lost with it.
            BlockingIOError: nothing to receive.
        """
        if self._start or self._end:
            self._make_room()
        at, view = self._end, self._view
        try:
            received = stream.recv_into(view[at:] if at else view, 0, flags)
        except ConnectionResetError:
            # What the other side left unread when it died makes its end a reset.
            raise EOFError("The other side of the pipe was closed") from None
        if received == 0:
            raise EOFError("The other side of the pipe was closed")
        if not at and received >= _HEADER_BYTES:
            (body_bytes,) = _HEADER.unpack_from(view)
            if _HEADER_BYTES + body_bytes == received:
                # The usual case, without any bookkeeping: one frame, and all of it.
                return [view[_HEADER_BYTES:received]]
        self._end += received
        return self._cut()

    @property
    def has_partial_frame(self) -> bool:
        """Whether the beginning of a frame is here and its end is not."""
        return self._end > self._start

    def _cut(self) -> list[memoryview]:
        frames = []
        start, end, view = self._start, self._end, self._view
        while end - start >= _HEADER_BYTES:
            body = start + _HEADER_BYTES
            stop = body + int.from_bytes(view[start:body], "big")
            if stop > end:
                break
            frames.append(view[body:stop])
            start = stop
        self._start = start
        return frames

    def _make_room(self) -> None:
        """Move the partial frame to the front; double the buffer when it is full.

        Doubling, instead of believing the header at once, lets four wrong bytes cost
        no more memory than was really received.
        """
        kept = self._end - self._start
        size = len(self._buffer)
        if kept == size:
            self._move_to(bytearray(size * 2))
        elif kept == 0 and size > _BUFFER_BYTES:
            self._move_to(bytearray(_BUFFER_BYTES))
        elif self._start:
            self._buffer[:kept] = self._buffer[self._start : self._end]
            self._start, self._end = 0, kept

    def _move_to(self, buffer: bytearray) -> None:
        kept = self._end - self._start
        buffer[:kept] = self._view[self._start : self._end]
        self._buffer, self._view = buffer, memoryview(buffer)
        self._start, self._end = 0, kept


class FrameWriter:
    """The sending end of one non-blocking stream; keeps what cannot go yet."""

    def __init__(self) -> None:
        # (remaining parts of a frame, its label); only the first can be half sent.
        self._waiting: deque[tuple[list[memoryview], object]] = deque()
        self._is_first_begun = False

    @property
    def is_empty(self) -> bool:
        """Whether everything has gone."""
        return not self._waiting

    def write(self, stream: socket.socket, body: bytes, label: object = None) -> None:
        """Send a frame, or as much of it as goes now; the rest waits for `flush`.

        Args:
            stream: a non-blocking socket.
            body: of the frame.
            label: what `take_back` returns for this frame.

        Raises:
            PayloadTooLarge: longer than a header can say.
            OSError: the other side is gone.
        """
        if not self._waiting and len(body) <= _JOIN_BYTES:
            # The usual case, without any bookkeeping.
            frame = _HEADER.pack(len(body)) + body
            try:
                sent = stream.send(frame)
            except BlockingIOError:
                sent = 0
            if sent == len(frame):
                return
            self._waiting.append(([memoryview(frame)[sent:]], label))
            self._is_first_begun = sent > 0
            return
        parts = [memoryview(part) for part in frame_parts(body)]
        self._waiting.append((parts, label))
        self.flush(stream)

    def flush(self, stream: socket.socket) -> None:
        """Send what waits, as far as the other side has room.

        Raises:
            OSError: the other side is gone.
        """
        while self._waiting:
            parts, _ = self._waiting[0]
            try:
                sent = stream.sendmsg(parts)
            except BlockingIOError:
                return
            self._is_first_begun = True
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if parts:
                parts[0] = parts[0][sent:]
                continue
            self._waiting.popleft()
            self._is_first_begun = False

    def take_back(self) -> list[object]:
        """Drop the frames of which nothing was sent yet; return their labels."""
        kept = 1 if self._is_first_begun else 0
        labels = [label for _, label in list(self._waiting)[kept:]]
        while len(self._waiting) > kept:
            self._waiting.pop()
        return labels
