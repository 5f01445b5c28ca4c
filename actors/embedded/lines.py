"""Lines: calls that go straight from a task or an actor to an actor.

    caller ──OfferLine◄── owner ──OpenLines──► actor
      │                                          │
      └────────── Run ──► socket ──► Ran ────────┘

The owner offers a line to who calls an actor again and again, at a moment when none of
its calls is on the way. So those on a line and those by the owner never overtake each
other: who has sent one by the owner since has no use for the offer.

A call on a line is numbered as the ref for its result is. The owner knows nothing of
it, unless it takes long or the actor hangs up: then it is *adopted*, as if it had come
by the owner, who decides on all that can happen to it from then on.
"""

import os
import select
import socket
from collections.abc import Callable, Sequence
from time import monotonic

from actors.errors import MalformedFrame
from actors.messages import (
    CallActor,
    Gave,
    Message,
    OfferLine,
    Ran,
    Run,
    caller_of,
    encode_frame,
    from_line,
    to_line,
)
from actors.pipe import FrameReader, FrameWriter, send_frame

__all__ = ["ActorLines", "Line", "LineClosed"]

_BACKLOG = 128  # of callers who dial at the same time

# An answer is looked out for so long without going to sleep: to be woken costs more
# than a short call takes. As the owner's own.
_BRISK = 0.0001


class LineClosed(Exception):
    """The other side is gone, or has never been there."""


class _Caller:
    """One connection, at the actor."""

    __slots__ = ("reader", "stream", "writer")

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.reader = FrameReader()
        self.writer = FrameWriter()


class ActorLines:
    """The lines of an actor: it reads what comes, and waits for nobody.

    Args:
        tell_owner: says something to the owner.
    """

    def __init__(self, tell_owner: Callable[[Message], object]) -> None:
        self._tell_owner = tell_owner
        self._epoll = select.epoll()
        self._listener: socket.socket | None = None
        self._callers: dict[int, _Caller] = {}  # {descriptor: who}
        self._of: dict[int, _Caller] = {}  # {process: who}

    def fileno(self) -> int:
        """Return the descriptor that is readable when `read` has something to do."""
        return self._epoll.fileno()

    def open(self, path: str) -> None:
        """Let callers dial; in any thread."""
        listener = socket.socket(socket.AF_UNIX)
        listener.setblocking(False)
        listener.bind(path)
        listener.listen(_BACKLOG)
        self._listener = listener
        self._epoll.register(listener, select.EPOLLIN)

    def read(self) -> Sequence[Run]:
        """Return the calls that have come; send answers that could not go before."""
        runs: list[Run] = []
        for descriptor, ready in self._epoll.poll(0):
            caller = self._callers.get(descriptor)
            if caller is None:
                runs += self._accept()
            elif ready & ~select.EPOLLOUT:
                runs += self._receive(caller)
            else:
                self._flush(caller)
        return runs

    def _accept(self) -> list[Run]:
        """Take newcomers, and at once what they have sent: it was sent before now."""
        listener, runs = self._listener, []
        while listener is not None:
            try:
                stream, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                break  # nobody is left, or has left already
            except OSError:
                # No descriptors: nobody can be taken any more. Who waits is cut off.
                self._stop_listening()
                break
            stream.setblocking(False)
            caller = self._callers[stream.fileno()] = _Caller(stream)
            self._epoll.register(stream, select.EPOLLIN)
            runs += self._receive(caller)
        return runs

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._epoll.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Cut off all callers."""
        self._stop_listening()
        for caller in list(self._callers.values()):
            self._forget(caller)
        self._epoll.close()

    def _receive(self, caller: _Caller) -> list[Run]:
        runs: list[Run] = []
        try:
            for frame in caller.reader.receive(caller.stream):
                runs += to_line.decode(frame)  # type: ignore[arg-type]  # any buffer
        except BlockingIOError:
            pass
        except (EOFError, OSError, MalformedFrame):
            self._forget(caller)
            return []
        if runs:
            self._of[caller_of(runs[0].seq)] = caller
        return runs

    def answer(self, result: Ran | Gave) -> None:
        """Send a result where its call came from.

        What is more than a value goes by the owner, who keeps account of it.
        """
        if type(result) is Gave:
            self._tell_owner(result)
            result = Gave(result.seq, [], result.began_at, result.ended_at)
        caller = self._of.get(caller_of(result.seq))
        if caller is None:
            return  # it has left, and so has whoever wanted this
        try:
            caller.writer.write(caller.stream, encode_frame((result,)))
        except OSError:
            self._forget(caller)
            return
        if not caller.writer.is_empty:
            self._epoll.modify(caller.stream, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, caller: _Caller) -> None:
        try:
            caller.writer.flush(caller.stream)
        except OSError:
            self._forget(caller)
            return
        if caller.writer.is_empty:
            self._epoll.modify(caller.stream, select.EPOLLIN)

    def _forget(self, caller: _Caller) -> None:
        self._epoll.unregister(caller.stream)
        del self._callers[caller.stream.fileno()]
        caller.stream.close()
        for process, each in list(self._of.items()):
            if each is caller:
                del self._of[process]


class Line:
    """The caller's end.

    Args:
        offer: of the owner.

    Raises:
        LineClosed: nobody listens; not yet, or not any more.
    """

    def __init__(self, offer: OfferLine) -> None:
        self.offer = offer
        self._stream = socket.socket(socket.AF_UNIX)
        try:
            self._stream.connect(offer.path)
        except OSError as error:
            self._stream.close()
            raise LineClosed(str(error)) from error
        self._reader = FrameReader()
        self._epoll = select.epoll()
        self._epoll.register(self._stream, select.EPOLLIN)
        self._is_prompt = False  # the last answer came within a moment
        self.adopted: set[int] = set()  # numbers of calls whose answers the owner wants

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are answers."""
        return self._stream.fileno()

    def send(self, calls: Sequence[CallActor]) -> None:
        """Send calls, which together must be few and small: it may block.

        Raises:
            LineClosed: the actor is gone.
        """
        runs = [Run(c.numbers[0], c.method, c.arguments.payload) for c in calls]
        try:
            send_frame(self._stream, encode_frame(runs))
        except OSError as error:
            raise LineClosed(str(error)) from error

    def wait(self, until: float) -> bool:
        """Wait for answers; tell whether there are any before a moment comes."""
        poll = self._epoll.poll
        now = monotonic()
        awake_until = now + _BRISK
        while now < awake_until and self._is_prompt:
            # Who is asked may well be waiting for this very processor.
            os.sched_yield()
            if poll(0):
                return True
            now = monotonic()
        has_come = bool(poll(max(0.0, until - now)))
        self._is_prompt = monotonic() < awake_until
        return has_come

    def receive(self) -> list[Ran | Gave]:
        """Return the answers that have come, perhaps none.

        Raises:
            LineClosed: there will be no more.
        """
        answers: list[Ran | Gave] = []
        try:
            for frame in self._reader.receive(self._stream, socket.MSG_DONTWAIT):
                answers += from_line.decode(frame)  # type: ignore[arg-type]
        except BlockingIOError:
            pass
        except (EOFError, OSError, MalformedFrame) as error:
            raise LineClosed(str(error)) from error
        return answers

    def close(self) -> None:
        """Release the connection; the actor learns of it."""
        self._epoll.close()
        self._stream.close()
