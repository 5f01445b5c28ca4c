"""What every process of an endpoint knows of it: folder, address, token, secrets."""

import os
import platform
import random
import secrets
import socket
import time
from pathlib import Path
from typing import Any

import msgspec

from actors.address import Address
from actors.config import EndpointConfig, EndpointPaths, dialled_url, load_config
from actors.errors import ConfigError
from actors.logic.liveness import Tempo
from actors.logic.resources import CPU, GPU
from actors.messages import Decoder
from actors.process import ProcessIdentity, python_version
from actors.runtime import Dialing
from actors.tls import Security

__all__ = ["RunStatus", "Surroundings", "python_version"]


class RunStatus(msgspec.Struct, frozen=True):
    """What `actors run` writes to `status.json`, for everybody who looks for it."""

    name: str
    address: str  # as members dial it
    host: str
    boot_id: str  # of the host's kernel: tells hosts, and their restarts, apart
    root_pid: int
    root_started_at: float  # as `ProcessIdentity` counts
    workers_per_node: int
    folder_id: str = ""  # of the endpoint's folder: a copy of it is another's

    @property
    def root(self) -> ProcessIdentity:
        return ProcessIdentity(self.root_pid, self.root_started_at)

    @property
    def is_here(self) -> bool:
        """Whether the endpoint was started on this host, since it booted."""
        return self.boot_id == boot_id()

    @property
    def is_running(self) -> bool:
        """Whether its root process lives, as far as can be seen from this host."""
        return not self.is_here or self.root.is_alive()


def boot_id() -> str:
    """Return what tells this boot of this host from all others.

    A container on the same host, which does not see the host's processes, counts as
    another host: pids mean something else there.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


class Surroundings(msgspec.Struct, frozen=True):
    """One process's view of its endpoint.

    Args:
        config: of the endpoint.
        paths: of its folder.
        token: to show, or to be shown, at doors.
        instance: random per process.
    """

    config: EndpointConfig
    paths: EndpointPaths
    token: str
    instance: str

    @classmethod
    def of(cls, folder: Path | str) -> "Surroundings":
        """Read them from an endpoint's folder.

        Raises:
            ConfigError: no such folder, or something in it is wrong.
        """
        config = load_config(folder)
        paths = EndpointPaths.of(folder, config.transport.socket_dir)
        return cls(config, paths, paths.make_token(), secrets.token_hex(8))

    @property
    def tempo(self) -> Tempo:
        beat = self.config.heartbeat
        return Tempo(beat.period, beat.threshold, beat.reconnect_grace)

    @property
    def node_resources(self) -> dict[str, float]:
        """What a node has to run tasks with, besides processors, as configured."""
        workers = self.config.workers
        there = {GPU: float(workers.gpus), **workers.resources}
        return {name: amount for name, amount in there.items() if amount}

    @property
    def node(self) -> dict[str, float]:
        """What a node has to run tasks with; without CPU if only it will know."""
        config = self.config
        has = config.workers
        workers = has.workers_per_node or len(has.accelerators) or has.accelerator_count
        if not workers and config.blocks.provider == "local":
            workers = len(os.sched_getaffinity(0))
        return {**({CPU: float(workers)} if workers else {}), **self.node_resources}

    @property
    def local_address(self) -> Address:
        """Where actors of this host find each other, whatever members dial."""
        return Address.parse(f"ipc://{self.paths.sockets}")

    @property
    def address(self) -> Address:
        """Where members find the interchange."""
        url = dialled_url(self.config.transport)
        return Address.parse(url) if url else self.local_address

    @property
    def folder_id(self) -> str:
        """What tells the folder from its copies, on this host until it boots."""
        found = self.paths.folder.stat()
        return f"{found.st_dev}:{found.st_ino}"

    @property
    def listening_address(self) -> Address:
        """Where the interchange listens."""
        listen = self.config.transport.listen
        return self.local_address if listen == "ipc" else Address.parse(listen)

    @property
    def listening_security(self) -> Security | None:
        return self._security(self.paths.server_pem)

    @property
    def dialing_security(self) -> Security | None:
        return self._security(self.paths.client_pem)

    def _security(self, own: Path) -> Security | None:
        if not self.config.transport.listen.startswith("wss:"):
            return None
        return Security(str(self.paths.ca_pem), str(own))

    @property
    def wall_offset(self) -> float:
        """What to add to monotonic time to get seconds since 1970."""
        return time.time() - time.monotonic()

    @property
    def host(self) -> str:
        return socket.gethostname() or platform.node()

    def chance(self) -> random.Random:
        """Return a random source of this process's own."""
        return random.Random(secrets.randbits(64))

    def dialing(self, decoder: Decoder[Any], *, listens: bool = False) -> Dialing:
        """Say how to reach the interchange."""
        return Dialing(
            self.address,
            "interchange",
            self.dialing_security,
            decoder,
            self.config.transport.max_frame_bytes,
            listens,
        )

    def read_status(self) -> RunStatus | None:
        """Return what the running, or last, `actors run` of this folder wrote.

        Returns:
            None: nothing. What a folder brought along that is a copy of an endpoint's
            tells of that endpoint, and counts as nothing, too.

        Raises:
            ConfigError: what is written there makes no sense.
        """
        try:
            written = self.paths.status.read_bytes()
            status = msgspec.json.decode(written, type=RunStatus)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{self.paths.status} is damaged ({error}): remove it; the next "
                f"`actors run {self.paths.folder}` writes it anew"
            ) from error
        is_copied = status.folder_id not in ("", self.folder_id)
        return None if status.is_here and is_copied else status

    def write_status(self, status: RunStatus) -> None:
        """Write it so that a reader sees all of it or the one before."""
        beside = self.paths.status.with_suffix(f".{os.getpid()}.tmp")
        beside.write_bytes(msgspec.json.encode(status) + b"\n")
        beside.replace(self.paths.status)
