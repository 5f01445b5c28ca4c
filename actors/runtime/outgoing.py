"""Outgoing: what a loop has to say to its peers, on its way into frames.

    send ─► a port's queue ──end of the round──► frames ─► its link
                 ▲    └─ the link's queue is full: on once it takes more, or never
                 └─ what nobody waits for, or what has more of its kind to come: after
                    a moment, or with the next that somebody waits for

All messages to one peer that one round of the loop brings forth travel in one frame.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from actors.messages import (
    BULK_ITEMS,
    Accepted,
    AckFinished,
    AckResults,
    Decoder,
    Message,
    Output,
    Printed,
    StatesChanged,
    encode_inline,
    load_of,
    portions,
)
from actors.store.links import SharedDecoder
from actors.transport import Link

__all__ = ["UNHURRIED", "Outgoing", "Port"]

# A frame is closed before its payloads exceed this; one payload alone may. Measured:
# beyond it a frame gains nothing, and a heartbeat behind it waits longer. Half of the
# smallest `max_frame_bytes` there is, as sizes are estimates.
FRAME_BYTES = 1 << 19
# Nobody waits for these: they travel with the next message to the same peer that is not
# one task's, or after a moment. Measured: a task alone costs three frames, and as many
# wakings of processes, less, and is not held up by what was left to say of another.
UNHURRIED = frozenset({Accepted, AckFinished, AckResults, StatesChanged})
COMPANY_PERIOD = 0.05
# These are worth no memory: they are dropped for who does not read.
DISPENSABLE = frozenset({Printed, Output})
# Where many tasks go at once, more follow soon. Measured: a millisecond saves a
# twentieth of the time that all processes take for a task, and costs none.
BULK_COMPANY_PERIOD = 0.001


class Port(msgspec.Struct, eq=False):
    """One link, as the loop sees it."""

    peer: str
    link: Link
    decoder: Decoder[Any] | SharedDecoder[Any]
    opened_at: float
    outgoing: deque[tuple[Message, int]] = msgspec.field(default_factory=deque)
    outgoing_bytes: int = 0
    unhurried: list[tuple[Message, int]] = msgspec.field(default_factory=list)
    frame: bytes | None = None  # encoded, and refused by a full queue
    waits_to_send: bool = False  # for room in the link's queue
    moved_at: float = math.inf  # when it last took a frame, while it waits to send
    malformed: int = 0  # frames that have come
    sees_memory: bool = False  # the peer sees the same shared memory as we
    encode: Callable[[Sequence[Message]], bytes] = encode_inline


class Outgoing:
    """The queues of all ports; see the module's docstring."""

    def __init__(self) -> None:
        self._to_flush: dict[Port, None] = {}
        self._waiting: dict[Port, float] = {}  # {port: when to flush it at last}
        self.hurry_at = math.inf  # when the first of them is due, or before

    def drop(self, port: Port) -> None:
        """Forget a port that is about to be closed, with all that is for it."""
        self._to_flush.pop(port, None)
        self._waiting.pop(port, None)

    def send(self, port: Port, message: Message) -> None:
        """Let a message go with the next frame, or with a later one if it may wait."""
        parts = portions(message, FRAME_BYTES)
        if type(message) in UNHURRIED:
            port.unhurried += parts
            self._let_wait(port, COMPANY_PERIOD)
            return
        if type(message) in DISPENSABLE and port.waits_to_send:
            return
        amount = load_of(message)
        if port.unhurried and amount != 1:
            self._add_unhurried(port)
        for portion, size in parts:
            port.outgoing.append((portion, size))
            port.outgoing_bytes += size
        if amount >= BULK_ITEMS and port.outgoing_bytes < FRAME_BYTES:
            self._let_wait(port, BULK_COMPANY_PERIOD)
        else:
            self._to_flush[port] = None

    def _add_unhurried(self, port: Port) -> None:
        """Let what nobody waits for go with the next frame."""
        for part in port.unhurried:
            port.outgoing.append(part)
            port.outgoing_bytes += part[1]
        port.unhurried.clear()

    def _let_wait(self, port: Port, period: float) -> None:
        """Let what is for a peer wait for company, but no longer than what waits."""
        waits_until = self._waiting.get(port)
        if waits_until is not None and period >= COMPANY_PERIOD:
            # Nothing waits longer than this.
            return
        until = time.monotonic() + period
        if waits_until is None or until < waits_until:
            self._waiting[port] = until
            self.hurry_at = min(self.hurry_at, until)

    def hurry(self, now: float) -> None:
        """Let go, with the next `flush`, what has waited for company long enough."""
        late = [port for port, at in self._waiting.items() if at <= now]
        for port in late:
            del self._waiting[port]
            self._add_unhurried(port)
        self._to_flush.update(dict.fromkeys(late))
        self.hurry_at = min(self._waiting.values(), default=math.inf)

    def flush(self) -> Sequence[Port]:
        """Send what does not wait for company.

        Returns:
            Those whose links take no more: `resume` them once they do.
        """
        if not self._to_flush:
            return ()
        ports = list(self._to_flush)
        self._to_flush.clear()
        if len(ports) == 1:
            # The usual case, in half the time.
            (port,) = ports
            return () if not port.waits_to_send and self._flush(port) else ports
        return [port for port in ports if port.waits_to_send or not self._flush(port)]

    def resume(self, port: Port) -> bool:
        """Go on with a link that takes more; false: it is full again."""
        port.moved_at = time.monotonic()
        port.waits_to_send = not self._flush(port)
        return not port.waits_to_send

    def _flush(self, port: Port) -> bool:
        """Send what waits; false: the link's queue is full."""
        if not port.unhurried and port in self._waiting:
            del self._waiting[port]
            if not self._waiting:
                self.hurry_at = math.inf
        while port.frame is not None or port.outgoing:
            frame = port.frame or self._next_frame(port)
            if not port.link.send(frame):
                port.frame = frame
                return False
            port.frame = None
        return True

    @staticmethod
    def _next_frame(port: Port) -> bytes:
        if port.outgoing_bytes <= FRAME_BYTES:
            frame = port.encode([message for message, _ in port.outgoing])
            port.outgoing.clear()
            port.outgoing_bytes = 0
            return frame
        messages: list[Message] = []
        total = 0
        while port.outgoing:
            message, size = port.outgoing[0]
            if messages and total + size > FRAME_BYTES:
                break
            port.outgoing.popleft()
            messages.append(message)
            total += size
        port.outgoing_bytes -= total
        return port.encode(messages)
