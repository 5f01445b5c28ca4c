"""Where members come in, read from `[transport] listen` and `advertise`."""

import ipaddress
import re
from typing import Literal, cast

import msgspec

from actors.config.shape import TransportConfig

__all__ = [
    "Listen",
    "certificate_hosts",
    "dialled_url",
    "parse_listen",
    "parse_web_listen",
]

_HOST = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
_URL = re.compile(rf"(?P<scheme>wss?)://{_HOST}:(?P<port>[0-9]{{1,5}})")
_WEB = re.compile(rf"(?P<scheme>https?)://{_HOST}:(?P<port>[0-9]{{1,5}})/?")
_ADVERTISED = re.compile(rf"{_HOST}(:(?P<port>[0-9]{{1,5}}))?")
_LAST_PORT = 65_535


class Listen(msgspec.Struct, frozen=True):
    """One way in.

    Args:
        scheme: "ipc" has neither host nor port.
        host: as written, an IPv6 address in brackets.
        port: 1 to 65535.
    """

    scheme: Literal["ipc", "ws", "wss", "http", "https"]
    host: str = ""
    port: int = 0

    @property
    def is_loopback(self) -> bool:
        """Whether nobody on another host can reach it."""
        address = _address(self.host)
        if address is None:
            return self.scheme == "ipc" or self.host == "localhost"
        return address.is_loopback

    @property
    def is_wildcard(self) -> bool:
        """Whether the host stands for every address of this machine."""
        address = _address(self.host)
        return address is not None and address.is_unspecified

    @property
    def url(self) -> str:
        """`wss://host:port`; "" for ipc."""
        return (
            "" if self.scheme == "ipc" else f"{self.scheme}://{self.host}:{self.port}"
        )


def parse_listen(text: str) -> Listen:
    """Read `[transport] listen`.

    Raises:
        ValueError: what it must be, as the end of a sentence.
    """
    if text == "ipc":
        return Listen("ipc")
    match = _URL.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= _LAST_PORT:
        raise ValueError(
            'must be "ipc", "wss://HOST:PORT" or "ws://127.0.0.1:PORT", with a port '
            f"from 1 to {_LAST_PORT}"
        )
    listen = Listen(
        cast(Literal["ws", "wss"], match["scheme"]), match["host"], int(match["port"])
    )
    if listen.host.startswith("[") and _address(listen.host) is None:
        raise ValueError("must name its host by an IPv6 address inside the brackets")
    if listen.scheme == "ws" and not listen.is_loopback:
        raise ValueError(
            "is not encrypted and must stay on a loopback host such as 127.0.0.1; "
            f'for other hosts use "wss://{listen.host}:{listen.port}"'
        )
    return listen


def parse_web_listen(text: str) -> Listen:
    """Read where something for browsers and programs listens, `[metrics] listen`.

    Raises:
        ValueError: what it must be, as the end of a sentence.
    """
    match = _WEB.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= _LAST_PORT:
        raise ValueError(
            'must be "http://127.0.0.1:PORT" or "https://HOST:PORT", with a port from '
            f"1 to {_LAST_PORT}"
        )
    listen = Listen(
        cast(Literal["http", "https"], match["scheme"]),
        match["host"],
        int(match["port"]),
    )
    if listen.host.startswith("[") and _address(listen.host) is None:
        raise ValueError("must name its host by an IPv6 address inside the brackets")
    if listen.scheme == "http" and not listen.is_loopback:
        raise ValueError(
            "is not encrypted and must stay on a loopback host such as 127.0.0.1; "
            f'for other hosts use "https://{listen.host}:{listen.port}"'
        )
    return listen


def dialled_url(transport: TransportConfig) -> str:
    """Give the url that members dial: `wss://host:port`; "" for ipc.

    Raises:
        ValueError: what `advertise` must be, as the end of a sentence; or, from
            `parse_listen`, what `listen` must be.
    """
    listen = parse_listen(transport.listen)
    if not transport.advertise:
        if listen.is_wildcard:
            raise ValueError(
                f"must name the host that members dial, because listen {listen.url} "
                "stands for every address of this machine"
            )
        return listen.url
    if listen.scheme != "wss":
        raise ValueError(f'must be "" unless listen is wss; it is "{transport.listen}"')
    match = _ADVERTISED.fullmatch(transport.advertise)
    port = int(match["port"] or listen.port) if match else 0
    if match is None or not 1 <= port <= _LAST_PORT:
        raise ValueError(
            f'must be HOST or HOST:PORT, with a port from 1 to {_LAST_PORT}, or ""'
        )
    advertised = Listen("wss", match["host"], port)
    if advertised.is_wildcard:
        raise ValueError("must name one host; nobody can dial a wildcard address")
    return advertised.url


def certificate_hosts(transport: TransportConfig) -> list[str]:
    """Give the names that the endpoint's certificate must carry, dialled one first.

    Raises:
        ValueError: as for `dialled_url`.
    """
    dialled = _URL.fullmatch(dialled_url(transport))
    listen = parse_listen(transport.listen)
    hosts = [dialled["host"]] if dialled else []
    hosts += [] if listen.is_wildcard else [listen.host]
    # Members on the endpoint's own host may come in by these.
    hosts += ["localhost", "127.0.0.1"]
    return list(dict.fromkeys(host.strip("[]") for host in hosts if host))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:  # a name, or nothing
        return None
