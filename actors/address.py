"""Where an endpoint is found, and the urls of what its actors offer there.

    ipc:///abs/folder     one host: a folder of sockets, closed to other users (0700)
        door    ipc:///abs/folder/interchange.door
        events  ipc:///abs/folder/interchange.events
        link    ipc:///abs/folder/interchange.LINK_ID
    wss://host:port       any host: one port, mutual TLS
        door    wss://host:port/interchange/door
        events  wss://host:port/interchange/events
        link    wss://host:port/interchange/link/LINK_ID
    ws://127.0.0.1:port   as wss, in the clear: on the loopback interface only

Over `wss` a dialer refuses a listener whose certificate is not made out to the host
that it dials.
"""

import ipaddress
import os
import re

import msgspec

from actors.errors import ConfigError

__all__ = ["ADDRESS_VARIABLE", "WITHIN_VARIABLE", "Address"]

# Where a program looks for an address if it was given none.
ADDRESS_VARIABLE = "ACTORS_ADDRESS"
# The folder of the endpoint whose worker a process is; set by managers, for code that
# runs on an endpoint to get back to it.
WITHIN_VARIABLE = "ACTORS_WITHIN"

# Specified: sun_path of unix(7) holds 108 bytes, one of them the final zero.
_MAX_SOCKET_PATH_BYTES = 107
# Chosen: `interchange.` fits, with a link id of 22 characters (128 bits in base 64).
_MAX_NAME_BYTES = 36

_MAX_PORT = 65535

_NETWORK = re.compile(
    r"(?P<scheme>wss?)://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s/:@?#\[\]]+):(?P<port>\d+)/?"
)


class Address(msgspec.Struct, frozen=True):
    """The address of an endpoint. Make one with `parse`; `str` gives its text back.

    Args:
        scheme: `ipc`, `wss` or `ws`.
        location: the absolute folder, or `host:port`.
    """

    scheme: str
    location: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address as a user writes it.

        Raises:
            ConfigError: no address of the three forms, a folder that leaves no room
                for the names of its sockets, or plain `ws` beyond loopback.
        """
        if text.startswith("ipc://"):
            return cls._in_folder(text)
        match = _NETWORK.fullmatch(text)
        if match is None or not 1 <= int(match["port"]) <= _MAX_PORT:
            raise ConfigError(
                f"{text!r} is no address: write ipc:///absolute/folder, "
                "wss://host:port or ws://127.0.0.1:port"
            )
        if match["scheme"] == "ws" and not _is_loopback(match["host"]):
            raise ConfigError(
                f"{text!r} would send everything in the clear: plain ws is for "
                "127.0.0.1, [::1] and localhost only; use wss://host:port"
            )
        return cls(match["scheme"], f"{match['host']}:{int(match['port'])}")

    @classmethod
    def _in_folder(cls, text: str) -> "Address":
        folder = text.removeprefix("ipc://").rstrip("/")
        if not folder.startswith("/") or "\0" in folder:
            raise ConfigError(
                f"{text!r} names no folder: write ipc:///absolute/folder, "
                "with three slashes"
            )
        length = len(os.fsencode(folder))
        limit = _MAX_SOCKET_PATH_BYTES - _MAX_NAME_BYTES - len("/")
        if length > limit:
            raise ConfigError(
                f"{text!r} is too long for sockets: the folder has {length} bytes, at "
                f"most {limit} are possible; choose one nearer to the root"
            )
        return cls("ipc", folder)

    @property
    def is_local(self) -> bool:
        """Whether only this host can reach the address."""
        return self.scheme != "wss"

    @property
    def host(self) -> str:
        """The host name or IP address, without brackets; empty for a folder."""
        if self.scheme == "ipc":
            return ""
        return self.location.rpartition(":")[0].strip("[]")

    def door(self, actor: str) -> str:
        """Return the url where an actor's mailbox accepts newcomers."""
        return self._url(f"{actor}.door", f"{actor}/door")

    def events(self, actor: str) -> str:
        """Return the url where an actor publishes events."""
        return self._url(f"{actor}.events", f"{actor}/events")

    def link(self, actor: str, link_id: str) -> str:
        """Return the url of one link to an actor.

        Args:
            actor: the actor that listens.
            link_id: nobody else's, and not to be guessed where others reach the port;
                letters, digits, `-` and `_`, not `door` or `events`.
        """
        return self._url(f"{actor}.{link_id}", f"{actor}/link/{link_id}")

    def _url(self, name: str, path: str) -> str:
        """Return a url.

        Raises:
            ConfigError: the path of the socket would be too long.
        """
        if self.scheme != "ipc":
            return f"{self.scheme}://{self.location}/{path}"
        socket_path = f"{self.location}/{name}"
        length = len(os.fsencode(socket_path))
        if length > _MAX_SOCKET_PATH_BYTES:
            raise ConfigError(
                f"Socket path {socket_path} has {length} bytes, the system takes "
                f"{_MAX_SOCKET_PATH_BYTES}: choose a folder nearer to the root"
            )
        return f"ipc://{socket_path}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.location}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name
        return host == "localhost"
