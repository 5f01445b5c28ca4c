"""What a worker takes, and what it is at."""

import msgspec

from actors.pool.pooled_worker import PooledWorker
from actors.process import read_descendants_rss, read_usage

__all__ = ["WorkerUsage", "usage_of"]


class WorkerUsage(msgspec.Struct, frozen=True):
    """What a worker process takes, and what it is at."""

    pid: int
    rss_bytes: int
    cpu_seconds: float
    begun_seq: int  # the task that began last; 0: none
    begun_at: float  # when it did, seconds since 1970


def usage_of(worker: PooledWorker, *, of_all: bool) -> WorkerUsage | None:
    """Measure a worker; None: there is no such process yet, or any more.

    Args:
        worker: who.
        of_all: whether the memory of what it has started counts, too.
    """
    usage = read_usage(worker.pid) if worker.pid else None
    if usage is None:
        return None
    started = read_descendants_rss(worker.pid) if of_all else 0
    return WorkerUsage(
        worker.pid,
        usage.rss_bytes + started,
        usage.cpu_seconds,
        *worker.progress.read(),
    )
