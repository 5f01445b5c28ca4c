"""Processes that stand ready to become the actors of an endpoint.

    root ──fork, first of all──► spare: imports what its actor needs
         ──arguments, log, pulse──► becomes the actor

The first result of an endpoint waits for its actors' imports, which cost each of them
more than all the rest of its start. Copies of the root process have most of it, and
import what is left while the root reads its configuration. Only the first start of each
is of this kind: later the root has threads and sockets that a copy must not have.
"""

import contextlib
import functools
import os
import socket
from collections.abc import Sequence
from types import TracebackType

import msgspec

from actors.endpoint.launch import main, preload
from actors.forked import ForkedChild
from actors.process import die_with_parent

__all__ = ["Spares"]

# Arguments of `launch`: a path and some words.
_MAX_PACKET_BYTES = 65_536
_STDOUT = 1
_STDERR = 2
_LOG_AND_PULSE = 2


class Spares:
    """Spare processes, one for each actor; those that nobody wanted end at `close`.

    Args:
        actors: which ones, as `launch` calls them.
    """

    def __init__(self, actors: Sequence[str]) -> None:
        self._spares: dict[str, tuple[socket.socket, ForkedChild]] = {}
        for actor in actors:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                child = ForkedChild(
                    functools.partial(self._serve, actor, ours, theirs, os.getpid())
                )
            self._spares[actor] = (ours, child)

    def begin(
        self, actor: str, arguments: Sequence[str], log: int, pulse: int
    ) -> ForkedChild | None:
        """Turn a spare into its actor; None: there is none.

        Args:
            actor: which one.
            arguments: of `launch`, but for the pulse.
            log: descriptor for its standard output and error.
            pulse: descriptor of the pipe's end.
        """
        if actor not in self._spares:
            return None
        ours, child = self._spares.pop(actor)
        with ours, contextlib.suppress(ConnectionError):
            # If it has ended, whoever watches it will learn that.
            packet = msgspec.msgpack.encode(list(arguments))
            socket.send_fds(ours, [packet], [log, pulse])
        return child

    @property
    def pids(self) -> list[int]:
        """The process ids of those that nobody has wanted so far."""
        return [child.pid for _, child in self._spares.values()]

    def close(self) -> None:
        """End those that were not wanted."""
        for ours, child in self._spares.values():
            ours.close()
            child.kill()
            child.wait()
        self._spares.clear()

    def __enter__(self) -> "Spares":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # In the spare

    def _serve(
        self, actor: str, ours: socket.socket, theirs: socket.socket, root_pid: int
    ) -> int:
        die_with_parent(root_pid)
        ours.close()
        for other, _ in self._spares.values():
            other.close()
        preload(actor)
        packet, descriptors, _, _ = socket.recv_fds(
            theirs, _MAX_PACKET_BYTES, _LOG_AND_PULSE, socket.MSG_CMSG_CLOEXEC
        )
        theirs.close()
        if not packet:
            return 0
        log, pulse = descriptors
        os.dup2(log, _STDOUT)
        os.dup2(log, _STDERR)
        os.close(log)
        arguments = msgspec.msgpack.decode(packet, type=list[str])
        return main([*arguments, "--pulse", str(pulse)])
