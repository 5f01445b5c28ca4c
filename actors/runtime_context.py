"""What code can ask about where it runs: `get_runtime_context`, `nodes`, `get_gpu_ids`.

    context = actors.get_runtime_context()
    print(context.get_node_id(), context.get_actor_id())

Names and meanings are Ray's.
"""

import os
import socket
from typing import Any

from actors.api.endpoint_status import endpoint_status
from actors.api.runtime import runtime
from actors.embedded.borrower import Borrower
from actors.embedded.runtime import Embedded
from actors.logic.resources import GPU, GPU_VARIABLE
from actors.state import cluster_resources
from actors.whereabouts import Whereabouts, node_id, worker_id

__all__ = ["RuntimeContext", "get_gpu_ids", "get_runtime_context", "nodes"]


class RuntimeContext:
    """Where the code runs that asked for it, and for whom."""

    def __init__(self, here: Whereabouts) -> None:
        self._here = here

    @property
    def namespace(self) -> str:
        """Where `get_actor` looks, and named actors are made, unless told."""
        return self._here.namespace

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether this is an actor that was restarted."""
        actor = self._here.actor
        return actor is not None and actor.incarnation > 1

    def get_job_id(self) -> str:
        """Return the id of the program, or of the endpoint that the code runs on."""
        return self._here.job_id

    def get_node_id(self) -> str:
        """Return the name of the node, as `nodes` lists it; of a program its host's."""
        return node_id()

    def get_worker_id(self) -> str:
        """Return the name of the process."""
        return worker_id()

    def get_task_id(self) -> str | None:
        """Return an id of the task, or the call, that runs; None: none does."""
        return f"{worker_id()}-{self._here.seq}" if self._here.seq else None

    def get_actor_id(self) -> str | None:
        """Return the id of the actor whose code asks, as `state` lists it, or None."""
        actor = self._here.actor
        return None if actor is None else actor.actor_id

    def get_actor_name(self) -> str | None:
        """Return the actor's name, "" if it has none; None: this is no actor."""
        actor = self._here.actor
        return None if actor is None else actor.options.name

    def get_assigned_resources(self) -> dict[str, float]:
        """Return what an actor has taken for as long as it lives; else nothing."""
        actor = self._here.actor
        if actor is None:
            return {}
        options = actor.options
        taken = {"CPU": options.num_cpus, GPU: options.num_gpus}
        taken |= {each.name: each.amount for each in options.resources}
        return {name: amount for name, amount in taken.items() if amount}

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Return {"GPU": those that the task or actor was given}."""
        return {GPU: [str(gpu) for gpu in _gpus_of(self._here)]}


def get_runtime_context() -> RuntimeContext:
    """Return what there is to know of where this code runs."""
    return RuntimeContext(runtime().whereabouts())


def get_gpu_ids() -> list[int | str]:
    """Return the GPUs that the task or actor was given; in a program none.

    Numbers, or names where the batch system has given names.
    """
    return _gpus_of(runtime().whereabouts())


def _gpus_of(here: Whereabouts) -> list[int | str]:
    if here.is_driver:
        return []
    names = [name.strip() for name in os.environ.get(GPU_VARIABLE, "").split(",")]
    return [int(name) if name.isdigit() else name for name in names if name]


def nodes() -> list[dict[str, Any]]:
    """Return a row for each node: NodeID, Alive, NodeManagerHostname, Resources.

    Embedded there is one, this host; on an endpoint each manager is one.

    Raises:
        ConfigError: this is a worker of an embedded runtime.
    """
    if isinstance(runtime(), Embedded | Borrower):
        amounts = cluster_resources()
        return [_node(node_id(), True, socket.gethostname(), amounts)]
    return [
        _node(m.manager_id, m.state != "away", m.host, dict(m.total))
        for m in endpoint_status().managers
    ]


def _node(
    name: str, is_alive: bool, host: str, resources: dict[str, float]
) -> dict[str, Any]:
    return {
        "NodeID": name,
        "Alive": is_alive,
        "NodeManagerHostname": host,
        "Resources": resources,
    }
