"""What the providers that run nodes by a `Keeper` have in common on this side."""

import math
from dataclasses import dataclass
from typing import Any

from providers.base import JobState, JobStatus
from providers.cluster import NodeOrder
from providers.options import check_positive

__all__ = ["KeeperOptions", "keeper_arguments", "read_answer"]


@dataclass(frozen=True, kw_only=True)
class KeeperOptions:
    """Options of a cluster whose actors keep our nodes.

    Args:
        worker_init: shell lines before the command of every node.
        kill_after: seconds between the SIGTERM and the SIGKILL of a job that was
            cancelled or reached its walltime; >= 0.
        abandon_after: seconds after which a node ends that no provider asks about.
        poll_period: seconds between two questions to the cluster.
        command_timeout: seconds after which it is held for not answering.

    Raises:
        ValueError: a value that makes no sense.
    """

    worker_init: str = ""
    kill_after: float = 10.0
    # Chosen: an endpoint may be down for lunch, not for the night.
    abandon_after: float = 3600.0
    # Chosen: a question takes the cluster milliseconds.
    poll_period: float = 2.0
    command_timeout: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.kill_after < math.inf:
            raise ValueError(f"kill_after {self.kill_after} must be 0 or more seconds")
        for name in ("abandon_after", "poll_period", "command_timeout"):
            check_positive(name, getattr(self, name))
        if self.abandon_after < 2 * self.poll_period:
            raise ValueError(
                f"abandon_after {self.abandon_after:g} must be at least twice "
                f"poll_period {self.poll_period:g}, or nodes end between two questions"
            )


def keeper_arguments(node: NodeOrder, options: KeeperOptions) -> dict[str, Any]:
    """Give what a `Keeper` of this node is made of, by keyword."""
    init = options.worker_init.rstrip("\n")
    return {
        "command": f"{init}\n{node.command}" if init else node.command,
        "environment": dict(node.spec.environment),
        "walltime": node.spec.walltime,
        "grace": options.kill_after,
        "lease": options.abandon_after,
    }


def read_answer(answer: tuple[str, int | None, str, str]) -> JobStatus:
    """Read what a `Keeper` says of its node."""
    state, code, why, tail = answer
    match state, why:
        case "running", _:
            return JobStatus(JobState.RUNNING)
        case _, "walltime":
            return JobStatus(JobState.TIMEOUT, code, "Reached its walltime", tail)
        case _, "abandoned":
            message = "Ended by itself: no provider had asked about it"
            return JobStatus(JobState.CANCELLED, code, message, tail)
        case _, "ending":
            return JobStatus(JobState.CANCELLED, code, "Cancelled", tail)
    if code == 0:
        return JobStatus(JobState.COMPLETED, 0, "", tail)
    message = "" if code is not None else "it could not be started"
    return JobStatus(JobState.FAILED, code, message, tail)
