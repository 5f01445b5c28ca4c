"""Two streams made one: what comes in at one end goes out at the other, both ways.

    far end (TLS, another host) ══ End ── End ── near end (a socket pair, nng)

Rules, on top of asyncio's:

* Memory has a bound: an end is read only while the other end takes what is written
  to it. So a slow reader slows its writer, through all of the way.
* What was read is written before the other end is told that no more comes; whoever
  closes and is not read gets `LINGER` seconds.
* An end that fails is an end that is over. Nothing here raises.
"""

import asyncio
import contextlib
import math

from actors.greeting import head_end

__all__ = ["LINGER", "End"]

# How long what was written last may take to leave, in seconds. Chosen: what is closed
# is not waited for by anybody.
LINGER = 1.0
# What may wait to be written to one end before the other end is read no more. Chosen:
# as much as the kernel takes by itself on either side.
_PENDING_BYTES = 256 << 10


class End(asyncio.Protocol):
    """One end. It says and hears a greeting by itself, before it is joined to another.

    Made, and used, in the thread of the running loop.

    Args:
        ends: it is among them as long as there is a connection.
        is_far: whether it leads to another process, who may hang.
    """

    def __init__(self, ends: "set[End]", *, is_far: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends = ends
        self._is_far = is_far
        self._transport: asyncio.Transport | None = None
        self._other: End | None = None
        self._heard = bytearray()  # before it was joined
        self._news = asyncio.Event()
        self._error: Exception | None = None
        self._is_over = False
        self.heard_at = math.inf  # when the first bytes for the other end came
        self.has_ended = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []

    # Before it is joined

    async def head(self) -> bytes:
        """Wait for a greeting; what follows it is for the other end.

        Raises:
            OSError: the connection failed, or ended before.
            MalformedFrame: this is no greeting.
        """
        while not (end := head_end(self._heard)):
            if self._is_over:
                error, self._error = self._error, None
                try:
                    raise error or ConnectionResetError("it hung up")
                finally:
                    del error  # else it would hold itself, through its traceback
            await self._more(len(self._heard))
        head = bytes(self._heard[:end])
        del self._heard[:end]
        return head

    async def something(self) -> None:
        """Wait until something has come, or the end."""
        await self._more(0)

    async def _more(self, than: int) -> None:
        self.go_on()
        while len(self._heard) <= than and not self._is_over:
            self._news.clear()
            await self._news.wait()

    def lead_to(self, other: "End") -> None:
        """Have the other end take what comes in here from now on, and has come."""
        self._other = other
        heard, self._heard = bytes(self._heard), bytearray()
        if heard:
            self.data_received(heard)
        if self._is_over:
            other.finish()
        else:
            self.go_on()

    # Called by the other end

    def take(self, data: bytes) -> None:
        """Write what came in at the other end; what can't be written is lost."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def hold(self) -> None:
        """Let nothing more in: the other end has enough to write."""
        if self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Let more in."""
        if self._transport is not None:
            self._transport.resume_reading()

    def finish(self) -> None:
        """Write what is left to write; then no more."""
        transport = self._transport
        if self._is_over or transport is None:
            return
        self.go_on()  # nobody takes what comes, but its end must be seen
        if transport.can_write_eof():
            # Half open: who has not read everything yet still can.
            with contextlib.suppress(OSError):  # the far side went first
                transport.write_eof()
        else:
            transport.close()
        if self._is_far:
            self._timers.append(self._loop.call_later(LINGER, transport.abort))

    def expect_something(self, within: float) -> None:
        """End it unless something comes for the other end within so many seconds."""
        self._timers.append(self._loop.call_later(within, self._end_if_silent))

    def _end_if_silent(self) -> None:
        if self.heard_at == math.inf:
            self.abort()

    def abort(self) -> None:
        """End it now, whatever is left."""
        if self._transport is not None:
            self._transport.abort()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ends.add(self)
        transport.set_write_buffer_limits(high=_PENDING_BYTES)

    def data_received(self, data: bytes) -> None:
        other = self._other
        if other is None:
            assert self._transport is not None
            self._heard += data
            self._transport.pause_reading()
            self._news.set()
            return
        if self.heard_at == math.inf:
            self.heard_at = self._loop.time()
        other.take(data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.hold()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.go_on()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        self._ends.discard(self)
        # TLS has 256 KiB for a connection: no circle, no timer may hold them.
        for timer in self._timers:
            timer.cancel()
        self._other = self._transport = None
        self.has_ended.set()

    def _end(self, error: Exception | None) -> None:
        self._is_over = True
        self._error = self._error or (error and error.with_traceback(None))
        self._news.set()
        if self._other is not None:
            self._other.finish()
