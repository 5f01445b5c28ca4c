"""Carry nng sockets of this process to other hosts: one port, a path for each socket.

    nng ─ socket pair ─ Relay ══ TLS, a greeting, bytes ══ Relay ─ socket pair ─ nng

`wss://host:port/path` is dialed by TCP and TLS; the path is said in a greeting
(`greeting.py`), which the listening relay answers; then the two nng sockets talk as
over any stream (`splice.py`). `ws` is the same without TLS.

Why this and not nng's own websockets: nng 1.11, the newest that pynng has, frees a
websocket too early when its connection ends (nng issue 2110: `ws_write_cb` runs on
freed memory). Measured with its `Pair0` alone: SIGABRT three times of three within
1,500 sessions. Its `tls+tcp` needs a port for each socket. And a real websocket inside
would serve nobody: certificates are checked from end to end, so no proxy on the way can
look inside, while each byte from the dialer would have to be masked. So the scheme is
called `wss`, as an address of one port with paths, but no websocket is in it.

Rules:

* One thread for all connections of one owner, run by asyncio; owners call from any.
* A stranger costs a descriptor for `GREETING_TIMEOUT` at most. No more than
  `MAX_NEWCOMERS` are there at a time: then the oldest goes for the next one, if it had
  a second; else the next one waits in the kernel's queue.
* A port that was listened at stays open until `close`; a path without listener is
  refused, and the dialer asks again.
"""

import asyncio
import errno
import gc
import logging
import random
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from actors.errors import ConfigError, MalformedFrame, TransportClosed
from actors.greeting import answer, read_request
from actors.reach import (
    GREETING_TIMEOUT,
    itself,
    keep_alive,
    parts_of,
    reach,
    tls_limits,
    trouble,
)
from actors.splice import LINGER, End
from actors.tls import Security

__all__ = ["MAX_NEWCOMERS", "Line", "Relay"]

logger = logging.getLogger(__name__)

# Chosen: as many members may well come at once, after an interchange was replaced; and
# a process may have 1,024 descriptors.
MAX_NEWCOMERS = 256
# Chosen: an endpoint that is just starting is found within this many seconds, and one
# that is away costs one attempt a second. Each pause is drawn from 0 to this.
_REDIAL_MIN = 0.05
_REDIAL_MAX = 1.0
# What a newcomer has at least, in seconds, however many come; and how long nobody is
# accepted to give it that.
_FAIR_TIME = 1.0
_CROWD_PAUSE = 0.05
# How long to accept nobody when that failed, for want of descriptors say.
_ACCEPT_PAUSE = 0.5
# nng 1.11 never closes a connection whose socket is closed within the moment after its
# first bytes came: a descriptor is lost. Measured: the moment lasts 0.1 ms.
_SETTLING = 0.05
# Whoever is refused is named once in the log, and so many of them.
_MAX_BLAMED = 100

# asyncio's transports refer to themselves, and an owner may look for such circles
# rarely: so many that came are looked for here. Measured: each holds 3 kB.
_CIRCLES = 250

# How often to look whether all connections have ended, and for how long at most.
_END_POLL_PERIOD = 0.005
_LONGEST_END = 3 * LINGER


class Line:
    """What an nng socket has at a relay: where it listens, or whom it dials.

    Args:
        adopt: give nng a descriptor; returns 0, or nng's error.
        again: whether a lost connection shall be replaced.
    """

    def __init__(self, adopt: Callable[[int], int], *, again: bool = False) -> None:
        self.adopt = adopt
        self.again = again
        self.trouble = ""  # why a dialer is not connected; empty: it is, or not known
        self.is_closed = False
        self.place: tuple[dict[str, Line], str] | None = None  # where it listens
        self.ends: set[End] = set()  # far ones that are joined to it
        self.attempts: asyncio.Task[None] | None = None  # of a dialer
        # nng 1.11 mixes descriptors up if it is given one before it has begun to use
        # the one before, which it shows by sending something.
        self.turn = asyncio.Lock()


class Relay:
    """The network side of an owner's nng sockets; see the module's docstring.

    Args:
        security: needed for `wss`.
        greeting_timeout: seconds; see there.
    """

    def __init__(
        self,
        security: Security | None = None,
        *,
        greeting_timeout: float = GREETING_TIMEOUT,
    ) -> None:
        self._security = security
        self._greeting_timeout = greeting_timeout
        # Around these four. The garbage collector may close a socket while this very
        # thread holds it.
        self._lock = threading.RLock()
        # {(scheme, host, port): {path: who listens there}}
        self._ports: dict[tuple[str, str, int], dict[str, Line]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        # Of the thread only:
        self._listeners: set[socket.socket] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._newcomers: dict[asyncio.Task[None], float] = {}  # {it: since}, in order
        self._strangers: set[socket.socket] = set()  # asyncio does not know them yet
        self._ends: set[End] = set()
        self._farewells: list[Callable[[], object]] = []
        self._blamed: set[str] = set()
        self._arrivals = 0

    # From any thread

    def listen(self, url: str, adopt: Callable[[int], int]) -> Line:
        """Give an nng socket every connection that is made to a url, until `hang_up`.

        Raises:
            OSError: the host's address or the port cannot be had, or the path is taken.
            ConfigError: the certificates are missing or wrong.
        """
        scheme, host, port, path = parts_of(url)
        context = self._context(url, is_dialing=False)
        line = Line(adopt)
        with self._lock:
            if self._is_closed:
                raise TransportClosed(f"{url} is at a relay that is closed")
            lines = self._ports.get((scheme, host, port))
            if lines is None:
                listener = _bind(host, port)
                lines = self._ports[scheme, host, port] = {}
                self._start(self._open, listener, lines, context)
            if path in lines:
                raise OSError(errno.EADDRINUSE, "this process listens there already")
            lines[path] = line
            line.place = lines, path
        return line

    def dial(self, url: str, adopt: Callable[[int], int], *, again: bool) -> Line:
        """Connect an nng socket to who listens at a url, as soon as somebody does.

        Args:
            url: with scheme, host, port and path.
            adopt: give nng a descriptor; returns 0, or nng's error.
            again: connect again when the connection is lost; else it is for once.

        Raises:
            ConfigError: the certificates are missing or wrong.
        """
        self._context(url, is_dialing=True)  # here whoever is to blame hears of it
        line = Line(adopt, again=again)
        with self._lock:
            if self._is_closed:
                raise TransportClosed(f"{url} is dialed by a relay that is closed")
            self._start(self._begin_dial, url, line)
        return line

    def hang_up(self, line: Line, close: Callable[[], object]) -> None:
        """Make no more connections for an nng socket, and close it.

        Args:
            line: of the socket.
            close: closes the nng socket, and so the connections that it has. Called in
                the relay's thread, soon; or here and now if the relay is closed.
        """
        with self._lock:
            line.is_closed = True
            if line.place is not None:
                lines, path = line.place
                lines.pop(path, None)
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._hang_up, line, close)
                return
        close()

    def close(self) -> None:
        """End all connections and free the ports; twice is fine.

        What was sent last gets a second to leave.
        """
        with self._lock:
            self._is_closed = True
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is None or thread is None:
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(), loop)
        ending.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
        thread.join(_LONGEST_END)

    def _context(self, url: str, *, is_dialing: bool) -> ssl.SSLContext | None:
        if not url.startswith("wss:"):
            return None
        if self._security is None:
            raise ConfigError(
                f"{url} needs certificates: give the files that `actors init` made"
            )
        if is_dialing:
            return self._security.dialing_context
        return self._security.listening_context

    def _start(self, begin: Callable[..., object], *arguments: object) -> None:
        """Have something begun in the relay's thread, once there is one."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_exception_handler(_log_failure)
            # Daemon: a program that forgot to close must be able to end.
            self._thread = threading.Thread(
                target=_run, args=(self._loop,), name="actors-relay", daemon=True
            )
            self._thread.start()
        self._loop.call_soon_threadsafe(begin, *arguments)

    # In the relay's thread

    def _begin_dial(self, url: str, line: Line) -> None:
        loop = asyncio.get_running_loop()
        line.attempts = loop.create_task(self._dial(url, line))
        self._dials.add(line.attempts)
        line.attempts.add_done_callback(partial(self._dial_ended, line))

    def _dial_ended(self, line: Line, task: asyncio.Task[None]) -> None:
        self._dials.discard(task)
        line.attempts = None  # which knows the line

    def _hang_up(self, line: Line, close: Callable[[], object]) -> None:
        if line.attempts is not None:
            line.attempts.cancel()
        loop = asyncio.get_running_loop()
        unsettled = [e for e in line.ends if e.heard_at > loop.time() - _SETTLING]
        if not unsettled:
            close()
            return
        for end in unsettled:
            end.abort()
        self._farewells.append(close)
        loop.call_later(_SETTLING, self._say_farewell, close)

    def _say_farewell(self, close: Callable[[], object]) -> None:
        self._farewells.remove(close)
        close()

    async def _end(self) -> None:
        """End everything; what was written last has a moment to leave."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener)
            listener.close()
        tasks = [*self._dials, *self._newcomers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._strangers:
            connection.close()
        deadline = loop.time() + LINGER
        while (self._ends or self._farewells) and loop.time() < deadline:
            await asyncio.sleep(_END_POLL_PERIOD)
        for end in list(self._ends):
            end.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _open(
        self,
        listener: socket.socket,
        lines: dict[str, Line],
        context: ssl.SSLContext | None,
    ) -> None:
        """Let in whoever comes, from now on; also after a pause."""
        loop = asyncio.get_running_loop()
        if self._is_closed:
            listener.close()
            return
        self._listeners.add(listener)
        loop.add_reader(listener, self._accept, listener, lines, context)

    def _accept(
        self,
        listener: socket.socket,
        lines: dict[str, Line],
        context: ssl.SSLContext | None,
    ) -> None:
        """Take the next stranger in."""
        loop = asyncio.get_running_loop()
        if len(self._newcomers) >= MAX_NEWCOMERS:
            oldest, since = next(iter(self._newcomers.items()))
            if loop.time() < since + _FAIR_TIME:
                loop.remove_reader(listener)
                loop.call_later(_CROWD_PAUSE, self._open, listener, lines, context)
                return
            oldest.cancel()
        try:
            connection, peer = listener.accept()
        except BlockingIOError:  # it has gone again
            return
        except OSError as error:
            logger.warning("nobody can come in for a moment: %s", error)
            if self._newcomers:
                next(iter(self._newcomers)).cancel()
            loop.remove_reader(listener)
            loop.call_later(_ACCEPT_PAUSE, self._open, listener, lines, context)
            return
        connection.setblocking(False)
        self._strangers.add(connection)
        task = loop.create_task(self._let_in(connection, str(peer[0]), lines, context))
        self._newcomers[task] = loop.time()
        self._arrivals += 1
        if self._arrivals % _CIRCLES == 0:
            gc.collect(1)
        task.add_done_callback(self._newcomers.pop)

    async def _let_in(
        self,
        connection: socket.socket,
        host: str,
        lines: dict[str, Line],
        context: ssl.SSLContext | None,
    ) -> None:
        """Hear what a newcomer wants, and connect it; or say no."""
        loop = asyncio.get_running_loop()
        far = End(self._ends, is_far=True)
        limit, linger = tls_limits(context)
        self._strangers.discard(connection)
        try:
            async with asyncio.timeout(self._greeting_timeout):
                keep_alive(connection)
                await loop.connect_accepted_socket(
                    partial(itself, far),
                    connection,
                    ssl=context,
                    ssl_handshake_timeout=limit,
                    ssl_shutdown_timeout=linger,
                )
                status, path = read_request(await far.head())
                line = lines.get(path)
                if status != 101:
                    self._blame(host, "it asks for something else")
                elif line is None or not await self._connect(far, line, answer(101)):
                    status = 404
                if status != 101:
                    far.take(answer(status))
                    far.finish()
        except (OSError, MalformedFrame) as error:
            if isinstance(error, ssl.SSLError | MalformedFrame):
                self._blame(host, str(error))
            far.abort()
            _let_go(error)
        except BaseException:
            far.abort()
            raise

    def _blame(self, host: str, reason: str) -> None:
        if host not in self._blamed and len(self._blamed) < _MAX_BLAMED:
            self._blamed.add(host)
            logger.warning("%s was refused at the port: %s", host, reason)

    async def _dial(self, url: str, line: Line) -> None:
        """Connect, and again and again, until cancelled."""
        chance = random.Random(secrets.randbits(64))
        longest = _REDIAL_MIN
        while True:
            try:
                async with asyncio.timeout(self._greeting_timeout):
                    far = await reach(url, self._security, self._ends)
                    if not await self._connect(far, line):
                        far.abort()
            except (OSError, ValueError) as error:
                line.trouble = trouble(error)
                _let_go(error)
            else:
                line.trouble = ""
                if not line.again:
                    return
                began = time.monotonic()
                await far.has_ended.wait()
                if time.monotonic() - began > _REDIAL_MAX:
                    longest = _REDIAL_MIN
            await asyncio.sleep(chance.uniform(0.0, longest))
            longest = min(2 * longest, _REDIAL_MAX)

    async def _connect(self, far: End, line: Line, first: bytes = b"") -> bool:
        """Join a far end to an nng socket.

        Args:
            far: greeted.
            line: of the nng socket.
            first: what the far end is told before.

        Returns:
            False if the nng socket takes no more.
        """
        loop = asyncio.get_running_loop()
        near = End(self._ends, is_far=False)
        async with line.turn:
            ours, nngs = socket.socketpair()
            with nngs:
                if line.is_closed or line.adopt(nngs.fileno()):
                    ours.close()
                    return False
                nngs.detach()
            try:
                await loop.connect_accepted_socket(partial(itself, near), ours)
                await near.something()
            except BaseException:
                near.abort()
                raise
        if first:
            far.take(first)
        line.ends = {end for end in line.ends if end in self._ends} | {far}
        far.lead_to(near)
        near.lead_to(far)
        far.expect_something(self._greeting_timeout)
        return True


def _let_go(error: BaseException | None) -> None:
    """Let an error hold no frames: they hold what TLS has for a connection, and it."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def _bind(host: str, port: int) -> socket.socket:
    """Listen at a port.

    Raises:
        OSError: the port is taken, or the address is none of this host's.
    """
    kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
    family, *_, address = socket.getaddrinfo(host, port, 0, kind, 0, flags)[0]
    listener = socket.create_server(address, family=family, backlog=MAX_NEWCOMERS)
    listener.setblocking(False)
    return listener


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _log_failure(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what asyncio has nobody to tell; nothing else goes wrong by it."""
    logger.warning("%s", context.get("message"), exc_info=context.get("exception"))
