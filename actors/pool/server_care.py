"""The care for a pool's fork server: made when it is wanted, and anew once it is lost.

none ──running()──► a server ──it ends──► is_lost ──let_go()──► none
                      └──let_go(): its owner gives it up──────────┘
"""

import logging
import os
import select
from collections.abc import Callable, Mapping, Sequence

import msgspec

from actors.forkserver import Forked, ForkServer, Report
from actors.messages import WorkerId
from actors.pool.pooled_worker import Ends
from actors.worker_log import WorkerLog

__all__ = ["Loss", "MakeServer", "ServerCare", "start_server"]

logger = logging.getLogger(__name__)

# Makes a fork server, given a descriptor for what it writes itself.
MakeServer = Callable[[int], ForkServer]


class Loss(msgspec.Struct, frozen=True):
    """The end of a fork server."""

    fault: str  # why its workers die
    is_impossible: bool  # it never made any


def start_server(make: MakeServer, log: WorkerLog) -> ForkServer:
    """Make a fork server that writes to a log.

    Raises:
        OSError: no descriptors or processes left, or the log cannot be written to.
    """
    descriptor = log.open_to_write()
    try:
        return make(descriptor)
    finally:
        os.close(descriptor)


class ServerCare:
    """The fork server of a pool, if there is one.

    Args:
        epoll: tells when there is something to `read`.
        make: makes one.
        log: of all of them, one after another; closed with this.
        server: the first, if it is there already.
    """

    def __init__(
        self,
        epoll: select.epoll,
        make: MakeServer,
        *,
        log: WorkerLog,
        server: ForkServer | None = None,
    ) -> None:
        self._epoll = epoll
        self._make = make
        self._log = log
        self._server: ForkServer | None = None
        self.descriptor = -1  # where the epoll tells of it; -1: there is none
        if server is not None:
            self._take(server)

    def running(self) -> ForkServer:
        """Return the server; make it if there is none.

        Raises:
            OSError: as of `start_server`.
        """
        return self._server or self._take(start_server(self._make, self._log))

    def _take(self, server: ForkServer) -> ForkServer:
        self._server = server
        self.descriptor = server.fileno()
        self._epoll.register(self.descriptor, select.EPOLLIN)
        return server

    def spawn(
        self,
        worker_id: WorkerId,
        ends: Ends,
        program: str,
        *,
        cores: Sequence[int] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Ask for a worker, as `ForkServer.spawn` says."""
        server = self.running()
        server.spawn(worker_id, *ends, program, cores=cores, variables=variables)
        self._watch(server)

    def preload(self, module: str) -> None:
        """Have a module imported once for all workers that are made from now on."""
        server = self.running()
        server.preload(module)
        self._watch(server)

    def terminate(self, worker_id: WorkerId) -> None:
        """SIGTERM a worker and its process group; nothing if there is no server."""
        if self._server is not None:
            self._server.terminate(worker_id)
            self._watch(self._server)

    def kill(self, worker_id: WorkerId) -> None:
        """SIGKILL a worker and its process group; nothing if there is no server."""
        if self._server is not None:
            self._server.kill(worker_id)
            self._watch(self._server)

    def _watch(self, server: ForkServer) -> None:
        """Ask to be told of room exactly when requests wait for it."""
        wanted = select.EPOLLOUT if server.wants_write else 0
        self._epoll.modify(self.descriptor, select.EPOLLIN | wanted)

    def read(self) -> list[Report]:
        """Send what waits, and return what the server has reported, without waiting."""
        server = self._server
        if server is None:
            return []
        server.flush()
        reports = server.read()
        for report in reports:
            if type(report) is Forked:
                server.has_forked = True
        if not server.is_lost:
            self._watch(server)
        return reports

    @property
    def is_lost(self) -> bool:
        """Whether the server has ended: when all reports are dealt with, `let_go`."""
        return self._server is not None and self._server.is_lost

    def let_go(self, why: str = "") -> Loss | None:
        """End the server, if there is one; the kernel kills each worker with it.

        Args:
            why: its owner has given it up.
        """
        server = self._server
        if server is None:
            return None
        self._epoll.unregister(self.descriptor)
        self._server = None
        self.descriptor = -1
        server.close()
        words = self._log.tail()
        fault = f"The fork server ended with {server.exit_code}: {words}"
        if words and not server.has_forked:
            fault = words  # of what was to start it: they say it best
        if why:
            fault = f"{fault}\n{why}"
        logger.error("%s", fault)
        return Loss(fault, not server.has_forked)

    def close(self) -> None:
        """End the server and all its workers, and wait for that; twice is once."""
        if self._server is not None:
            self._server.close()
        self._log.close()
