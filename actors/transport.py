"""Frames of bytes between processes, over nng; nothing here knows what is in them.

    Knock ──request──► Door           may I come in? (Req0, Rep0)
    Link ◄──frames──► Link            ordered, both ways, one peer (Pair0)
    Publisher ──frames──► Subscriber  may be missed (Pub0, Sub0)

Rules:

* Nothing blocks. One thread owns all of these objects and waits in one selector:
  `fileno()` is readable while `receive()` has something, `Link.send_fileno()` is
  *readable* while `Link.send()` would take something, `Signal.fileno()` while links
  have come up or gone down. All are level-triggered. Unregister before `close()`.
* A link is one connection. Neither side connects a second time: nng keeps what is
  queued for a dead peer and would give it to the next one. A second dialer comes up and
  goes down at once. After "down", read what is left, then close; a new session has a
  new link.
* **Closing loses what the far side has not read yet**, even what its kernel already
  holds: nng looks at the hang-up before the data. Whoever has a last word sends it and
  waits for "down"; whoever reads a last word closes.
* A frame larger than the receiver's `max_bytes` ends the connection that it came on,
  and no other.
* Over `wss` and `ws` a relay makes the connections, in a thread of its own: give the
  same one to all sockets of one owner, and close it after them.
* Close everything, and what dials before the program ends. What was forgotten is
  closed when its last reference goes, with a ResourceWarning.
"""

import contextlib
import os
import weakref
from collections import deque
from functools import cached_property
from typing import Any, Literal

from actors.address import Address
from actors.errors import PayloadTooLarge
from actors.nng import NngSocket, forbid_redial, nng, pynng
from actors.relay import Relay
from actors.tls import Security

__all__ = [
    "Address",
    "Change",
    "Door",
    "Knock",
    "Link",
    "Publisher",
    "Relay",
    "Security",
    "Signal",
    "Subscriber",
]

Change = Literal["up", "down"]

# Measured with 10 kB frames between two processes on 2 cores: with 1 or 2 frames the
# sides wait for each other (30,000 frames/s); beyond 4 more gives nothing (50,000). It
# bounds what a slow reader costs, at each side, to 4 frames of about 1 MiB.
_LINK_QUEUE_FRAMES = 4
# Chosen: event frames are small, and a subscriber that lags further behind is better
# served by a snapshot.
_EVENT_QUEUE_FRAMES = 64
# nng would repeat an unanswered request every 60 s on the same connection, where it
# cannot have been lost; a day, in milliseconds, is never.
_RESEND_NEVER = 24 * 3600 * 1000


class Door(NngSocket):
    """The place where a mailbox accepts newcomers: one knock, one answer, and so on.

    A knock from somebody who is gone before the answer, or bytes that are no knock, do
    not disturb the others.

    Args:
        url: where to listen. A socket file left by a dead process is replaced.
        relay: needed for `wss` and `ws`, ignored otherwise.
        max_bytes: of one knock.

    Raises:
        ConfigError: the address is taken or not ours, or the certificates are wrong.
    """

    def __init__(self, url: str, relay: Relay | None, max_bytes: int) -> None:
        super().__init__(pynng.Rep0, url, max_bytes)
        self._listen(relay)

    def fileno(self) -> int:
        """Return a descriptor that is readable while somebody knocks."""
        return self._receive_fd

    def receive(self) -> bytes | None:
        """Return the next knock, or None. A previous one left unanswered stays so."""
        return self._receive()

    def answer(self, frame: bytes) -> None:
        """Answer the knock that `receive` gave last; without one, nothing happens."""
        self._send(frame)


class Knock(NngSocket):
    """One request at a door.

    It stays unanswered until closed if nobody opens: how long to wait is the owner's
    decision. If the connection is lost before the answer, the request is sent again, so
    a door may see it twice.

    Args:
        url: of the door; dialed again and again until somebody listens.
        relay: needed for `wss` and `ws`, ignored otherwise.
        frame: the request.
        max_bytes: of the answer.

    Raises:
        ConfigError: no url, or the certificates are wrong.
    """

    def __init__(
        self, url: str, relay: Relay | None, frame: bytes, max_bytes: int
    ) -> None:
        super().__init__(pynng.Req0, url, max_bytes)
        self._operation: Any = None
        self._socket.resend_time = _RESEND_NEVER
        self._dial(relay, again=True)
        # A plain send would be refused until somebody listens; an asynchronous one
        # waits inside nng.
        message = pynng.ffi.new("nng_msg **")
        pynng.check_err(nng.nng_msg_alloc(message, 0))
        pynng.check_err(nng.nng_msg_append(message[0], frame, len(frame)))
        operation = pynng.ffi.new("nng_aio **")
        pynng.check_err(nng.nng_aio_alloc(operation, pynng.ffi.NULL, pynng.ffi.NULL))
        self._operation = operation[0]
        nng.nng_aio_set_msg(self._operation, message[0])
        nng.nng_send_aio(self._handle, self._operation)

    def fileno(self) -> int:
        """Return a descriptor that is readable once the answer is there."""
        return self._receive_fd

    def receive(self) -> bytes | None:
        """Return the answer, or None: not yet, or given already."""
        return self._receive()

    @property
    def trouble(self) -> str:
        """Why the door is not reached, for an error message; empty if not known."""
        return self._trouble()

    def _release(self) -> None:
        super()._release()
        if self._operation is None:
            return
        nng.nng_aio_wait(self._operation)
        if nng.nng_aio_result(self._operation):  # never sent: the message is still ours
            nng.nng_msg_free(nng.nng_aio_get_msg(self._operation))
        nng.nng_aio_free(self._operation)


class Signal:
    """Tell a selector which links have come up or gone down.

    nng reports that on threads of its own; this carries it to the loop. One serves any
    number of links. Its descriptor is closed when its owner and all links let go of it.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # No lock, on purpose: the garbage collector may close a socket while this
        # thread held it, and closing waits for callbacks that would want it too.
        # References to links, not watches: these hold us, and what comes after the last
        # look would hold them.
        self._changes: deque[tuple[weakref.ref[Link], Change]] = deque()

    def fileno(self) -> int:
        """Return a descriptor that is readable while `drain` has something."""
        return self._fd

    def drain(self) -> "list[tuple[Link, Change]]":
        """Return what happened since the last call, in order.

        A link that was closed meanwhile is not in it.
        """
        with contextlib.suppress(BlockingIOError):  # nothing since the last call
            os.eventfd_read(self._fd)
        changes = []
        while self._changes:
            reference, change = self._changes.popleft()
            link = reference()
            if link is not None and not link.is_closed:
                changes.append((link, change))
        return changes

    def add(self, link: "weakref.ref[Link]", change: Change) -> None:
        """Note a change; called on nng's threads."""
        self._changes.append((link, change))
        os.eventfd_write(self._fd, 1)

    def __del__(self) -> None:
        os.close(self._fd)


class _Watch:
    """What nng's threads know of a link; it keeps the signal alive, not the link.

    `before`, `up` and `down` run on nng's threads, one at a time.
    """

    def __init__(self, link: "Link", signal: Signal) -> None:
        self.link = weakref.ref(link)
        self.was_connected = False
        self.is_connected = False
        self.is_over = False
        self._signal = signal
        self._pipe_id: int | None = None  # of the one connection that there may be

    def before(self, pipe: Any) -> None:
        """Let the first connection in and no other."""
        if self._pipe_id is None:
            self._pipe_id = pipe.id
            forbid_redial(nng.nng_pipe_dialer(pipe.pipe))  # a listener has none: fine
        else:
            with contextlib.suppress(pynng.NNGException):  # it is gone by itself
                pipe.close()

    def up(self, pipe: Any) -> None:
        if pipe.id == self._pipe_id:
            self.is_connected = True
            self.was_connected = True
            self._signal.add(self.link, "up")

    def down(self, pipe: Any) -> None:
        if pipe.id == self._pipe_id:
            self.is_connected = False
            self.is_over = True
            self._signal.add(self.link, "down")


class Link(NngSocket):
    """An ordered, two-way connection: one side made it by `listen`, one by `dial`.

    Frames may be sent before the other side is there. "down" without "up" tells that
    something else than a link answered.
    """

    def __init__(self, url: str, max_bytes: int, signal: Signal) -> None:
        super().__init__(pynng.Pair0, url, max_bytes)
        self._max_bytes = max_bytes
        self._socket.send_buffer_size = _LINK_QUEUE_FRAMES
        self._socket.recv_buffer_size = _LINK_QUEUE_FRAMES
        self._watch = _Watch(self, signal)
        self._socket.add_pre_pipe_connect_cb(self._watch.before)
        self._socket.add_post_pipe_connect_cb(self._watch.up)
        self._socket.add_post_pipe_remove_cb(self._watch.down)

    @classmethod
    def listen(
        cls, url: str, relay: Relay | None, max_bytes: int, signal: Signal
    ) -> "Link":
        """Wait for the one peer that knows the url.

        Args:
            url: where to listen. A socket file left by a dead process is replaced.
            relay: needed for `wss` and `ws`, ignored otherwise.
            max_bytes: of one frame, either way; the same at both sides.
            signal: told when the peer comes and goes.

        Raises:
            ConfigError: the address is taken or not ours, or the certificates are
                wrong.
        """
        link = cls(url, max_bytes, signal)
        link._listen(relay)
        return link

    @classmethod
    def dial(
        cls, url: str, relay: Relay | None, max_bytes: int, signal: Signal
    ) -> "Link":
        """Start to connect to a listening link; see `listen` for the arguments.

        Raises:
            ConfigError: no url, or the certificates are wrong.
        """
        link = cls(url, max_bytes, signal)
        link._dial(relay, again=False)
        return link

    @property
    def is_connected(self) -> bool:
        """Whether the far side is there, as far as this side knows."""
        return self._watch.is_connected and not self._is_closed

    @property
    def was_connected(self) -> bool:
        """Whether the far side has ever been there."""
        return self._watch.was_connected

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    @property
    def trouble(self) -> str:
        """Why a dialed link is not connected; empty if it is, or if not known."""
        return self._trouble()

    def fileno(self) -> int:
        """Return a descriptor that is readable while `receive` has something."""
        return self._receive_fd

    @cached_property
    def _send_fd(self) -> int:
        fd: int = self._socket.send_fd
        return fd

    def send_fileno(self) -> int:
        """Return a descriptor that is *readable* while `send` would take a frame.

        It is nearly always: select it only after `send` returned False.
        """
        return self._send_fd

    def receive(self) -> bytes | None:
        """Return the next frame, or None if there is none. Works on after "down"."""
        return self._receive()

    def send(self, frame: bytes) -> bool:
        """Hand a frame over; whether it arrives, only an answer tells.

        Returns:
            False if the queue is full or the far side is gone: the caller keeps it.

        Raises:
            PayloadTooLarge: more than `max_bytes`: the far side would hang up.
        """
        if len(frame) > self._max_bytes:
            raise PayloadTooLarge(
                f"A frame of {len(frame)} bytes exceeds the {self._max_bytes} of "
                f"{self.url}: send less at once, or raise the limit at both sides"
            )
        if self._watch.is_over:
            return False
        return self._send(frame)

    def _release(self) -> None:
        super()._release()
        # Else the signal would live until the garbage collector finds the socket.
        self._socket.remove_pre_pipe_connect_cb(self._watch.before)
        self._socket.remove_post_pipe_connect_cb(self._watch.up)
        self._socket.remove_post_pipe_remove_cb(self._watch.down)


class Publisher(NngSocket):
    """A place that tells everybody who listens; who is slow misses the oldest.

    Args:
        url: where to listen. A socket file left by a dead process is replaced.
        relay: needed for `wss` and `ws`, ignored otherwise.

    Raises:
        ConfigError: the address is taken or not ours, or the certificates are wrong.
    """

    def __init__(self, url: str, relay: Relay | None) -> None:
        super().__init__(pynng.Pub0, url)
        self._socket.send_buffer_size = _EVENT_QUEUE_FRAMES
        self._listen(relay)

    def send(self, frame: bytes) -> None:
        """Tell all subscribers of this moment."""
        self._send(frame)


class Subscriber(NngSocket):
    """A listener to a publisher. It connects again by itself, whoever publishes there.

    Args:
        url: of the publisher.
        relay: needed for `wss` and `ws`, ignored otherwise.
        max_bytes: of one frame.

    Raises:
        ConfigError: no url, or the certificates are wrong.
    """

    def __init__(self, url: str, relay: Relay | None, max_bytes: int) -> None:
        super().__init__(pynng.Sub0, url, max_bytes)
        self._socket.recv_buffer_size = _EVENT_QUEUE_FRAMES
        self._socket.subscribe(b"")
        self._dial(relay, again=True)

    def fileno(self) -> int:
        """Return a descriptor that is readable while `receive` has something."""
        return self._receive_fd

    def receive(self) -> bytes | None:
        """Return the next frame, or None."""
        return self._receive()
