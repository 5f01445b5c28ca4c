"""From what users write as an address to what is needed to get in there."""

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from actors.address import ADDRESS_VARIABLE, Address
from actors.config import EndpointPaths
from actors.endpoint.surroundings import RunStatus, Surroundings
from actors.errors import AddressError, ConfigError
from actors.messages import MemberKind, to_member
from actors.runtime import Dialing
from actors.tls import Security

__all__ = ["ADDRESS_VARIABLE", "Entrance", "find_entrance"]

# The largest frame we take from an endpoint whose configuration is not at hand: what
# its own limit may be at most is its operator's business, ours is only a guard.
_MAX_FRAME_BYTES = 1 << 30


@dataclass(frozen=True)
class Entrance:
    """A door, and what opens it.

    Args:
        name: as the user wrote it, for messages.
        dialing: how to reach the interchange.
        token: to show at the door.
    """

    name: str
    dialing: Dialing
    token: str

    @property
    def run_status(self) -> RunStatus | None:
        """What the last `actors run` of the folder wrote; None: there is no such word.

        Raises:
            ConfigError: something in the endpoint's folder is wrong.
        """
        if "://" in self.name or not Path(self.name).exists():
            return None
        return Surroundings.of(self.name).read_status()

    @property
    def obstacle(self) -> str:
        """Why nobody can answer, where that is certain; empty: somebody may.

        Raises:
            ConfigError: something in the endpoint's folder is wrong.
        """
        if "://" in self.name:
            return ""
        status, run = self.run_status, f"`actors run {self.name}` starts it"
        if status is None:
            return f"it was never started: {run}"
        if status.is_here:
            if status.is_running:
                return ""
            return f"its process {status.root_pid} is gone: {run}"
        if status.host == socket.gethostname():
            return f"this host was restarted since it ran: {run}"
        if self.dialing.address.is_local:
            return (
                f"it was started on {status.host}, and its sockets are for that host "
                'only: go there, or give it listen = "wss://HOST:PORT"'
            )
        return ""

    @property
    def hint(self) -> str:
        """What is known about an endpoint that does not answer, to end a sentence."""
        if "://" in self.name:
            return ""
        return f"; {self.obstacle or f'see its logs: `actors logs {self.name}`'}"


def find_entrance(
    address: str | os.PathLike[str] | None,
    kind: MemberKind,
    *,
    credentials: str | os.PathLike[str] | None = None,
    listens: bool = False,
) -> Entrance:
    """Find out how to get into an endpoint.

    Args:
        address: an endpoint's folder or its endpoint.toml; or `wss://host:port` or
            `ipc:///folder`; None: what the environment variable ACTORS_ADDRESS says.
        kind: as what we come.
        credentials: for an address that is no folder: a folder with the endpoint's
            `token`, and for `wss` its `credentials/`.
        listens: whether we want its events.

    Raises:
        AddressError: no address given, or nothing there.
        ConfigError: the address, the endpoint's folder or the credentials are wrong.
    """
    given = os.fsdecode(address) if address else os.environ.get(ADDRESS_VARIABLE, "")
    if not given:
        raise AddressError(
            "No endpoint's address: give its folder, such as 'lab', or set "
            f"{ADDRESS_VARIABLE}; `actors run lab -- COMMAND` does that for COMMAND"
        )
    decoder = to_member[kind]
    if "://" not in given:
        if not Path(given).exists():
            raise AddressError(
                f"{given} does not exist: give the folder of an endpoint; `actors init "
                f"{given}` makes one"
            )
        around = Surroundings.of(given)
        return Entrance(
            str(given), around.dialing(decoder, listens=listens), around.token
        )
    where = Address.parse(given)
    if credentials is None:
        raise ConfigError(
            f"{given} needs credentials=FOLDER, a copy of what `actors init` wrote: "
            "the token" + (", and credentials/" if where.scheme == "wss" else "")
        )
    paths = EndpointPaths(os.fspath(credentials))
    security = None
    if where.scheme == "wss":
        security = Security(str(paths.ca_pem), str(paths.client_pem))
    dialing = Dialing(
        where, "interchange", security, decoder, _MAX_FRAME_BYTES, listens
    )
    return Entrance(given, dialing, paths.read_token())


def new_instance() -> str:
    """Return what tells this process from all others."""
    return secrets.token_hex(8)
