"""The edge to nng: the one module that imports pynng, and where its `Any` ends.

Four things differ from pynng's own classes: nothing here blocks, receiving and sending
one frame costs half as much, a dialer that gets nowhere can say why, and what goes to
other hosts goes through a relay (`relay.py` says why).
"""

import atexit
import errno
import os
import sys
import warnings
from functools import cached_property, partial
from typing import Any

import pynng as untyped_pynng

from actors.errors import ConfigError, TransportClosed
from actors.relay import Line, Relay

__all__ = [
    "NOBODY_LISTENS",
    "NngSocket",
    "forbid_redial",
    "nng",
    "pynng",
    "refuse_forks",
]

pynng: Any = untyped_pynng
nng: Any = pynng.lib

_ffi: Any = pynng.ffi

# Chosen: an endpoint that is just starting is found within this many milliseconds, and
# one that is away costs one attempt a second. nng draws each pause from 0 to this.
_REDIAL_MIN = 50
_REDIAL_MAX = 1000
# A day, in milliseconds.
_NEVER = 24 * 3600 * 1000

# nng starts up to 16 threads for callbacks and 8 each for polling and for timers,
# depending on the cores. Our one loop cannot keep more than these busy. Measured on 2
# cores: 7 threads instead of 13, and a tenth less time for each frame. Without effect
# if the program used nng before.
nng.nng_init_set_parameter(nng.NNG_INIT_NUM_TASK_THREADS, 2)
nng.nng_init_set_parameter(nng.NNG_INIT_NUM_POLLER_THREADS, 1)
nng.nng_init_set_parameter(nng.NNG_INIT_NUM_EXPIRE_THREADS, 1)
nng.nng_init_set_parameter(nng.NNG_INIT_NUM_RESOLVER_THREADS, 1)

_RECEIVE_FLAGS = nng.NNG_FLAG_ALLOC | nng.NNG_FLAG_NONBLOCK

# What nng answers when there is nothing to receive, or no room to send; ESTATE: a
# knock that has its answer already, a door where nobody waits for one.
_NOT_NOW = frozenset({nng.NNG_EAGAIN, nng.NNG_ESTATE, nng.NNG_ECLOSED})

_COUNT_TYPES = frozenset({nng.NNG_STAT_COUNTER, nng.NNG_STAT_LEVEL})

NOBODY_LISTENS = "nobody listens there"
# {nng's counter at a dialer: what it means}, the most telling first.
_DIAL_TROUBLES = {
    "proto": "something that is not ours listens there",
    "reject": "something that is not ours listens there",
    "timeout": "no answer in time",
    "other": "something that is not ours listens there",
    "refused": NOBODY_LISTENS,
}


_users: list[int] = []  # the process, or the one it is a fork of, once it uses nng


def _leave_all_to_the_parent() -> None:
    # nng ends a fork that closes a socket of its parent's; and at the fork's exit it
    # would wait for ever for threads that only the parent has.
    if _users:
        pynng.Socket.__del__ = lambda _socket: None
        atexit.unregister(pynng.nng._pynng_atexit)  # noqa: SLF001  it has no other name


os.register_at_fork(after_in_child=_leave_all_to_the_parent)


def refuse_forks() -> None:
    """Raise ConfigError in a fork of a process that uses nng: nng would end it."""
    if _users and _users[0] != os.getpid():
        raise ConfigError(
            f"Process {os.getpid()} was forked from process {_users[0]}, which uses an "
            "endpoint, so it cannot: start processes by 'spawn' or 'forkserver' "
            "(multiprocessing.get_context), or fork before the endpoint is used"
        )


class NngSocket:
    """An nng socket that never blocks."""

    def __init__(self, kind: Any, url: str, max_bytes: int | None = None) -> None:
        self._is_closed = True  # until there is something to close
        if not _users:
            _users.append(os.getpid())
        self.url = url
        self._socket: Any = kind(
            reconnect_time_min=_REDIAL_MIN,
            reconnect_time_max=_REDIAL_MAX,
            recv_max_size=max_bytes,
        )
        self._is_closed = False
        self._dialer: Any = None  # of nng; over ipc only
        self._relay: Relay | None = None  # over a network only, as is the line
        self._line: Line | None = None
        # Made once: two allocations less for each frame.
        self._handle: Any = self._socket.socket
        self._data: Any = _ffi.new("char **")
        self._size: Any = _ffi.new("size_t *")

    @cached_property
    def _receive_fd(self) -> int:
        try:
            fd: int = self._socket.recv_fd
        except pynng.NNGException as error:
            raise TransportClosed(f"{self.url} cannot be waited for: {error}") from None
        return fd

    def _listen(self, relay: Relay | None) -> None:
        try:
            if self._is_local:
                self._socket.listen(self.url)
            else:
                self._relay = self._needed(relay)
                self._line = self._relay.listen(self.url, self._adopter())
        except (pynng.NNGException, OSError) as error:
            self.close()
            raise ConfigError(_listening_trouble(self.url, error)) from None
        except ConfigError:
            self.close()
            raise

    def _dial(self, relay: Relay | None, *, again: bool) -> None:
        """Start to connect.

        Args:
            relay: for `wss` and `ws`.
            again: whether a connection that is lost is replaced. Over ipc it always is;
                see `forbid_redial`.
        """
        try:
            if self._is_local:
                self._dialer = self._socket.dial(self.url, block=False)
            else:
                self._relay = self._needed(relay)
                adopt = self._adopter()
                self._line = self._relay.dial(self.url, adopt, again=again)
        except pynng.NNGException as error:
            self.close()
            raise ConfigError(f"{self.url} cannot be dialed: {error}") from None
        except ConfigError:
            self.close()
            raise

    @property
    def _is_local(self) -> bool:
        """Whether nng itself makes the connections."""
        return not self.url.startswith(("wss:", "ws:"))

    def _needed(self, relay: Relay | None) -> Relay:
        if relay is None:
            raise ConfigError(f"{self.url} needs a relay: make a Relay, and give it")
        return relay

    def _adopter(self) -> Any:
        """Make a function that gives nng a connection; returns 0, or nng's error."""
        listener = self._socket.listen("socket://").listener
        return partial(nng.nng_listener_set_int, listener, b"socket:fd")

    def _receive(self) -> bytes | None:
        """Return the next frame, or None if there is none."""
        if self._is_closed:
            return None
        # As pynng's recv(block=False), which takes twice as long for a small frame and
        # three times for None: it allocates, and raises.
        code = nng.nng_recv(self._handle, self._data, self._size, _RECEIVE_FLAGS)
        if code:
            if code in _NOT_NOW:
                return None
            raise TransportClosed(f"{self.url} can receive no more: {_text(code)}")
        data, size = self._data[0], self._size[0]
        if not size:  # nng gives no memory then, and cffi refuses to look at none
            return b""
        frame: bytes = _ffi.unpack(data, size)
        nng.nng_free(data, size)
        return frame

    def _send(self, frame: bytes) -> bool:
        """Hand a frame to nng; False if it has no room for it."""
        if self._is_closed:
            return False
        code = nng.nng_send(self._handle, frame, len(frame), nng.NNG_FLAG_NONBLOCK)
        if code:
            if code in _NOT_NOW:
                return False
            raise TransportClosed(f"{self.url} can send no more: {_text(code)}")
        return True

    def _trouble(self) -> str:
        """Tell why a dialer is not connected, as far as that is known."""
        if self._is_closed:
            return ""
        if self._line is not None:
            return self._line.trouble
        if self._dialer is None:
            return ""
        counts = _dialer_counts(self._dialer)
        if counts.get("pipes"):
            return ""
        for counter, reason in _DIAL_TROUBLES.items():
            if counts.get(counter):
                return reason
        return ""

    def close(self) -> None:
        """Close; what the far side has not read by then may be lost. Twice is fine."""
        if self._is_closed:
            return
        self._is_closed = True
        if sys.is_finalizing():  # pynng's exit hook closed everything
            return
        if self._relay is not None and self._line is not None:
            self._relay.hang_up(self._line, self._release)
        else:
            self._release()

    def _release(self) -> None:
        self._socket.close()

    def __del__(self) -> None:
        if not self._is_closed:
            warnings.warn(
                f"{self!r} was never closed", ResourceWarning, stacklevel=2, source=self
            )
            self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"


def forbid_redial(dialer: Any) -> None:
    """Make an nng_dialer connect no more, apart from an attempt that is due already."""
    # The order matters: the pause is cut to the maximum.
    nng.nng_dialer_set_ms(dialer, b"reconnect-time-max", _NEVER)
    nng.nng_dialer_set_ms(dialer, b"reconnect-time-min", _NEVER)


def _dialer_counts(dialer: Any) -> dict[str, int]:
    """Return nng's counters of a dialer by name; those that are 0 are left out."""
    root = _ffi.new("nng_stat **")
    if nng.nng_stats_get(root):
        return {}
    counts = {}
    try:
        found = nng.nng_stat_find_dialer(root[0], dialer.dialer)
        entry = nng.nng_stat_child(found) if found else _ffi.NULL
        while entry:
            is_count = nng.nng_stat_type(entry) in _COUNT_TYPES  # else a text, an id
            if is_count and (count := nng.nng_stat_value(entry)):
                counts[_ffi.string(nng.nng_stat_name(entry)).decode()] = count
            entry = nng.nng_stat_next(entry)
    finally:
        nng.nng_stats_free(root[0])
    return counts


def _listening_trouble(url: str, error: Exception) -> str:
    if isinstance(error, pynng.AddressInUse) or (
        isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    ):
        return (
            f"{url} is taken: another process listens there; stop it, or choose "
            "another address"
        )
    match error:
        case pynng.NoEntry():
            return f"{url} cannot be made: its folder does not exist"
        case pynng.PermissionDenied() | PermissionError():
            return f"{url} cannot be made: this user may not do that there"
        case _:
            return (
                f"{url} cannot be listened at ({error}): it must be an address of this "
                "host, or 0.0.0.0"
            )


def _text(code: int) -> str:
    text: str = _ffi.string(nng.nng_strerror(code)).decode()
    return text
