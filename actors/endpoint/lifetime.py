"""How long a block has still to live, as its manager knows it. Pure."""

from collections.abc import Mapping

__all__ = ["BEGAN_VARIABLE", "TYPE_VARIABLE", "time_left"]

# In the environment of a block's job: when it began, in seconds since 1970 by the
# node's clock, and the type that all its workers are of.
BEGAN_VARIABLE = "ACTORS_BLOCK_BEGAN"
TYPE_VARIABLE = "ACTORS_WORKER_TYPE"
# Slurm tells when the job ends, which may be sooner than was asked for.
_SLURM_VARIABLE = "SLURM_JOB_END_TIME"


def time_left(
    environment: Mapping[str, str],
    walltime: float | None,
    now: float,
) -> float | None:
    """Return the seconds until the batch system ends this block; None: nobody knows.

    Args:
        environment: of the manager.
        walltime: seconds that the block was asked for.
        now: in seconds since 1970, by this node's clock; the block counts from now if
            its job does not tell when it began.
    """
    ends = []
    told = _number(environment.get(_SLURM_VARIABLE))
    if told is not None:
        ends.append(told)
    if walltime is not None:
        began = _number(environment.get(BEGAN_VARIABLE))
        ends.append((now if began is None else began) + walltime)
    return max(0.0, min(ends) - now) if ends else None


def _number(text: str | None) -> float | None:
    try:
        return float(int(text or ""))
    except ValueError:
        return None
