"""Reach a listening relay over TCP and TLS, or say why it cannot be reached."""

import asyncio
import errno
import re
import socket
import ssl
from functools import partial
from urllib.parse import urlsplit

from actors.errors import MalformedFrame
from actors.greeting import read_answer, request
from actors.splice import LINGER, End
from actors.tls import Security

__all__ = [
    "GREETING_TIMEOUT",
    "itself",
    "keep_alive",
    "parts_of",
    "reach",
    "tls_limits",
    "trouble",
]

# From TCP's first packet to the first byte of nng, in seconds. Chosen: several round
# trips over a bad line.
GREETING_TIMEOUT = 10.0
# A host that says nothing for so long is gone: first question and pause between the
# later ones, in seconds, and how many. Chosen: a bit longer than the default
# heartbeat.threshold, which shall decide where there are heartbeats.
_KEEPALIVE = (60, 20, 5)

# In the reasons that OpenSSL has for refusing one.
_CERTIFICATE = re.compile("CERTIFICATE|UNKNOWN_CA")
_NOBODY = "nobody listens there"
_NOT_ACCEPTED = (
    "one side does not accept the other's certificate: signed by another authority, "
    "made out to another host name, or out of date"
)
_NOT_OURS = "something that is not ours listens there"


async def reach(url: str, security: Security | None, ends: set[End]) -> End:
    """Connect to a listening relay and greet it.

    Args:
        url: with scheme, host, port and path.
        security: for `wss`.
        ends: the new one is among them as long as it lives.

    Returns:
        An end that nng's bytes may flow through.

    Raises:
        OSError: nobody is there, or somebody else.
        ValueError: the host's name is none.
        MalformedFrame: somebody else is there.
    """
    loop = asyncio.get_running_loop()
    _, host, port, path = parts_of(url)
    is_encrypted = security is not None and url.startswith("wss:")
    context = security.dialing_context if security and is_encrypted else None
    limit, linger = tls_limits(context)
    error: OSError | None = None
    for address in await _addresses(host, port):
        far = End(ends, is_far=True)
        name = (security and security.server_name) or host
        try:
            transport, _ = await loop.create_connection(
                partial(itself, far),
                address[0],
                address[1],
                ssl=context,
                server_hostname=name if context else None,
                ssl_handshake_timeout=limit,
                ssl_shutdown_timeout=linger,
            )
        except OSError as failure:
            error = failure
            continue
        try:
            keep_alive(transport.get_extra_info("socket"))
            far.take(request(path, urlsplit(url).netloc))
            status = read_answer(await far.head())
            if status != 101:
                raise _Refused(status)
        except ConnectionResetError as failure:
            far.abort()
            # It has a certificate of ours, so it is ours. asyncio says nothing to
            # whom it refuses.
            raise (_HungUp() if context is not None else failure) from None
        except BaseException:
            far.abort()
            raise
        return far
    try:
        raise error or OSError(errno.EADDRNOTAVAIL, "no address")
    finally:
        del error  # else it would hold itself, through its traceback


class _Refused(ConnectionRefusedError):
    """A listening relay, or another server, said no."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class _HungUp(ConnectionResetError):
    """A listening relay ended the connection after the handshake, and said nothing."""


async def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    """Find a host; a name is looked up in a thread.

    Raises:
        OSError: there is no such host.
    """
    kind = socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(host, port, 0, kind, 0, socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=kind)
    return [(str(address[0]), int(address[1])) for *_, address in found]


def parts_of(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host without brackets, port and path."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or 0, parts.path


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel find out when the other host is gone without a word."""
    idle, pause, questions = _KEEPALIVE
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, pause)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, questions)
    lost_after = int(1000 * (idle + pause * questions))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, lost_after)


def tls_limits(context: object) -> tuple[float | None, float | None]:
    """Return how long a handshake and a goodbye may take; without TLS there is none."""
    return (None, None) if context is None else (GREETING_TIMEOUT, LINGER)


def trouble(error: Exception) -> str:
    """Say why a dialer is not connected, for an error message."""
    match error:
        case _Refused():
            return _NOBODY if error.status == 404 else _NOT_OURS
        case ConnectionRefusedError():
            return _NOBODY
        case TimeoutError():
            return "no answer in time"
        case socket.gaierror() | UnicodeError():
            return f"the host is not known ({error})"
        case _HungUp():
            return _NOT_ACCEPTED
        case ssl.SSLError() if _CERTIFICATE.search(str(error.reason)):
            return f"{_NOT_ACCEPTED} ({error})"
        case ssl.SSLError() | MalformedFrame() | ConnectionResetError():
            return f"{_NOT_OURS} ({error})"
        case _:
            return str(error)


def itself(end: End) -> End:
    """Give asyncio the protocol that there is already."""
    return end
