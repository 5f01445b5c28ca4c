"""Where code runs, and for whom: what a process knows of itself."""

import os
import socket

import msgspec

from actors.messages import HostActor

__all__ = ["NODE_VARIABLE", "Whereabouts", "node_id", "worker_id"]

# What a manager calls its node; its workers inherit it.
NODE_VARIABLE = "ACTORS_NODE"


class Whereabouts(msgspec.Struct, frozen=True):
    """What `actors.get_runtime_context()` is made of.

    Args:
        job_id: of the program, or of the endpoint that it runs on.
        namespace: where names of actors are looked up.
        seq: of the task or call that asks, in its process; 0: none does.
        is_driver: whether this is the program itself.
        actor: whose process this is; None: no actor's.
    """

    job_id: str
    namespace: str = ""
    seq: int = 0
    is_driver: bool = False
    actor: HostActor | None = None


def node_id() -> str:
    """Return the name of this process's node: its manager's, or its host's."""
    return os.environ.get(NODE_VARIABLE) or socket.gethostname()


def worker_id() -> str:
    """Return a name of this process that no other has."""
    return f"{socket.gethostname()}-{os.getpid()}"
