"""How a worker died: what its fork server, its log and the kernel say."""

import signal

from actors.forkserver import Exited
from actors.logic.workers import WorkerDied
from actors.pool.pooled_worker import PooledWorker
from actors.process import read_oom_kills
from actors.worker_log import TAIL_CHARACTERS

__all__ = ["Deaths"]


class Deaths:
    """Those of one pool; make it before the first worker."""

    def __init__(self) -> None:
        self._oom_kills = read_oom_kills()  # when we looked last

    def report(self, worker: PooledWorker, exited: Exited | None) -> WorkerDied:
        """Tell of a death.

        Args:
            worker: the dead; all that it has sent is read, nothing is closed.
            exited: what the fork server says of it; None: that is lost.
        """
        # The kernel's count, of the whole machine, says no more than that it killed
        # somebody: at each death, or it might have been long ago.
        kills, before = read_oom_kills(), self._oom_kills
        self._oom_kills = kills
        is_killed = exited is not None and exited.signal == signal.SIGKILL
        tail = worker.log.tail()
        if worker.fault:
            tail = f"{tail}\n{worker.fault}"[-TAIL_CHARACTERS:]
        return WorkerDied(
            worker.worker_id,
            exit_code=exited.exit_code if exited else None,
            signal=exited.signal if exited else None,
            peak_rss_bytes=exited.peak_rss_bytes if exited else 0,
            cpu_seconds=exited.cpu_seconds if exited else 0.0,
            begun_seq=worker.progress.read()[0],
            stderr_tail=tail,
            begun_direct=worker.progress.begun_direct,
            is_impossible=worker.is_impossible,
            has_memory_run_out=is_killed and kills > before,
        )
