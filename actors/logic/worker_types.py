"""What is said of a task whose type of worker there is not."""

from collections.abc import Iterable

from actors.messages import Failure, FailureKind

__all__ = ["no_such_type", "not_to_be_had"]


def no_such_type(name: str, known: Iterable[str]) -> Failure:
    """Tell that a type is not in endpoint.toml, and which ones are."""
    there = ", ".join(sorted(known)) or "none"
    return Failure(
        FailureKind.WORKER_TYPE,
        f"worker type {name!r} is unknown to this endpoint, which has {there}: add "
        f"[worker_types.{name}] to endpoint.toml, or ask for another",
    )


def not_to_be_had(name: str, where: str, reason: str) -> Failure:
    """Tell that no worker of a type can be started, and why.

    Args:
        name: of the type.
        where: the manager and its host.
        reason: the last words of what was to start one; its last line says most.
    """
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    last = lines[-1] if lines else "nothing was said"
    return Failure(
        FailureKind.WORKER_TYPE,
        f"no worker of type {name!r} could be started by {where}: {last}",
        reason,
    )
