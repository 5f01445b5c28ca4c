"""How long workers, and what they run, are let be: by a manager, and by a program."""

import math
from collections.abc import Iterable, Sized
from typing import Protocol

__all__ = ["INTERRUPT_GRACE", "RECALL_AFTER", "SPARE_PERIOD", "Stuck", "recall_at"]

# A head that runs longer than this has its followers recalled. Chosen: well above what
# a batch of short tasks takes, well below what a person notices.
RECALL_AFTER = 0.005
# A worker beyond the usual number is stopped when it was idle for so long. Chosen: the
# next call of a program, or a task, that nests calls comes sooner.
SPARE_PERIOD = 1.0
# What was interrupted for its timeout is killed after this. Chosen: what code needs to
# clean up.
INTERRUPT_GRACE = 2.0


class Stuck(Protocol):
    """A worker that may have followers behind a long head."""

    head_since: float
    is_recalled: bool
    is_killed: bool

    @property
    def backlog(self) -> Sized: ...


def recall_at(workers: Iterable[Stuck]) -> float:
    """When the followers of a stuck head should be recalled; infinity: there are none.

    It is in vain while nobody else could run them.
    """
    at = math.inf
    # For every task there is; a generator takes three times as long.
    for worker in workers:
        if len(worker.backlog) > 1 and not (worker.is_recalled or worker.is_killed):
            at = min(at, worker.head_since + RECALL_AFTER)
    return at
