"""The edge to nng: the one module that imports pynng, and where its `Any` ends.

Three things differ from pynng's own classes: nothing here blocks, receiving and sending
one frame costs half as much, and a dialer that gets nowhere can say why.
"""

import os
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import pynng as untyped_pynng

from actors.errors import ConfigError, TransportClosed

__all__ = ["NngSocket", "Security", "forbid_redial", "nng", "pynng"]

pynng: Any = untyped_pynng
nng: Any = pynng.lib

_ffi: Any = pynng.ffi

# Chosen: an endpoint that is just starting is found within this many milliseconds, and
# one that is away costs one attempt a second. nng draws each pause from 0 to this.
_REDIAL_MIN = 50
_REDIAL_MAX = 1000
# A day, in milliseconds.
_NEVER = 24 * 3600 * 1000

# How long a dialer that is being closed may take to end an attempt that is under way,
# and how often to look, in seconds. Measured: nng itself gives up a silent far side
# after 2 s; one pause of _REDIAL_MAX may come first. What is stuck for longer waits for
# the kernel to connect.
_QUIET_LIMIT = 5.0
_QUIET_POLL_PERIOD = 0.02

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

# {nng's counter at a dialer: what it means}, the most telling first.
_DIAL_TROUBLES = {
    "auth": (
        "one side does not accept the other's certificate: signed by another "
        "authority, made out to another host name, or out of date"
    ),
    "proto": "something that is not ours listens there",
    "reject": "something that is not ours listens there",
    "timeout": "no answer in time",
    "other": "the host is not known, or something that is not ours listens there",
    "refused": "nobody listens there",
}


@dataclass(frozen=True)
class Security:
    """The certificates of one side of a `wss` connection; both sides must have some.

    Args:
        ca_file: path of the PEM certificate that must have signed the other side's.
        cert_key_file: path of the PEM file with this side's certificate and key.
        server_name: the name that the listener's certificate must carry; empty: the
            host of the url that is dialed.
    """

    ca_file: str
    cert_key_file: str
    server_name: str = ""

    @cached_property
    def listening_config(self) -> Any:
        """The TLS configuration of every listener; made once, as it reads files."""
        return self._config(pynng.TLSConfig.MODE_SERVER, None)

    def dialing_config(self, url: str) -> Any:
        """Return the TLS configuration of a dialer.

        Raises:
            ConfigError: as for `listening_config`: a file is missing or wrong.
        """
        name = self.server_name or urlsplit(url).hostname
        return self._config(pynng.TLSConfig.MODE_CLIENT, name)

    def _config(self, mode: int, server_name: str | None) -> Any:
        for path in (self.ca_file, self.cert_key_file):
            if not os.access(path, os.R_OK):
                raise ConfigError(
                    f"Certificate file {path} is missing or not readable: make it with "
                    "`actors init`, or copy it from the endpoint's host"
                )
        try:
            return pynng.TLSConfig(
                mode,
                server_name=server_name,
                auth_mode=pynng.TLSConfig.AUTH_MODE_REQUIRED,
                ca_files=self.ca_file,
                cert_key_file=self.cert_key_file,
            )
        except pynng.NNGException as error:
            raise ConfigError(
                f"{self.ca_file} or {self.cert_key_file} is not what it should be "
                f"({error}): the first is a PEM certificate, the second a PEM "
                "certificate followed by its key"
            ) from None


class NngSocket:
    """An nng socket that never blocks."""

    def __init__(self, kind: Any, url: str, max_bytes: int | None = None) -> None:
        self._is_closed = True  # until there is something to close
        self.url = url
        self._socket: Any = kind(
            reconnect_time_min=_REDIAL_MIN,
            reconnect_time_max=_REDIAL_MAX,
            recv_max_size=max_bytes,
        )
        self._is_closed = False
        self._dialer: Any = None
        # Made once: two allocations less for each frame.
        self._handle: Any = self._socket.socket
        self._data: Any = _ffi.new("char **")
        self._size: Any = _ffi.new("size_t *")

    @cached_property
    def _receive_fd(self) -> int:
        fd: int = self._socket.recv_fd
        return fd

    def _listen(self, security: Security | None) -> None:
        try:
            if self._is_encrypted(security):
                assert security is not None
                self._socket.tls_config = security.listening_config
            self._socket.listen(self.url)
        except pynng.NNGException as error:
            self.close()
            raise ConfigError(_listening_trouble(self.url, error)) from None
        except ConfigError:
            self.close()
            raise

    def _dial(self, security: Security | None) -> None:
        try:
            if self._is_encrypted(security):
                assert security is not None
                self._socket.tls_config = security.dialing_config(self.url)
            self._dialer = self._socket.dial(self.url, block=False)
        except pynng.NNGException as error:
            self.close()
            raise ConfigError(f"{self.url} cannot be dialed: {error}") from None
        except ConfigError:
            self.close()
            raise

    def _is_encrypted(self, security: Security | None) -> bool:
        if not self.url.startswith("wss:"):
            return False
        if security is None:
            raise ConfigError(
                f"{self.url} needs certificates: give the files that `actors init` made"
            )
        return True

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
        """Tell why a dialer is not connected, as far as nng counts reasons."""
        if self._is_closed or self._dialer is None:
            return ""
        counts = _dialer_counts(self._dialer)
        if counts.get("pipes"):
            return ""
        for counter, reason in _DIAL_TROUBLES.items():
            if counts.get(counter):
                return reason
        return ""

    def close(self) -> None:
        """Close; what has not left this process by then is lost. Twice is fine.

        Over `ws` and `wss` nng waits up to 0.1 s for a far side that hangs, and a
        dialer that is not connected must end an attempt first. That is left to a
        thread: the url of a listener is free only then, and the program's end waits
        for it (some 3 s at worst).
        """
        if self._is_closed:
            return
        self._is_closed = True
        if sys.is_finalizing():  # pynng's exit hook closed everything
            return
        if self.url.startswith("ipc:"):
            self._release()
        else:
            # No daemon: the program's end waits for it, so that the far side is told.
            threading.Thread(target=self._release, name="actors-close").start()

    def _release(self) -> None:
        if self._dialer is not None and not self.url.startswith("ipc:"):
            self._become_quiet()
        self._socket.close()

    def _become_quiet(self) -> None:
        """Wait until a dialer is connected, or has ended its last attempt to connect.

        nng 1.11 frees memory twice, and aborts the process, when a websocket dialer is
        closed at certain moments of an attempt (measured: one time in a hundred).
        """
        forbid_redial(self._dialer.dialer)
        before = _dialer_counts(self._dialer)
        deadline = time.monotonic() + _QUIET_LIMIT
        while time.monotonic() < deadline:
            time.sleep(_QUIET_POLL_PERIOD)
            counts = _dialer_counts(self._dialer)
            if counts.get("pipes") or counts != before:
                # What nng does after it counted takes it no longer than this.
                time.sleep(_QUIET_POLL_PERIOD)
                return

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
    match error:
        case pynng.AddressInUse():
            return (
                f"{url} is taken: another process listens there; stop it, or choose "
                "another address"
            )
        case pynng.NoEntry():
            return f"{url} cannot be made: its folder does not exist"
        case pynng.PermissionDenied():
            return f"{url} cannot be made: this user may not write there"
        case _:
            return (
                f"{url} cannot be listened at ({error}): it must be an address of this "
                "host, or 0.0.0.0"
            )


def _text(code: int) -> str:
    text: str = _ffi.string(nng.nng_strerror(code)).decode()
    return text
