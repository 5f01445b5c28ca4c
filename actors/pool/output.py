"""What a pool's workers write, for who wants to hear of it.

Of logs in memory all is read (`read`). Of logs in files what is written while they are
watched is told as of the task that wrote it, before that task's result: the worker says
how long its log was when the task ended.
"""

import logging
from collections.abc import Iterator, Mapping

from actors.logic.workers import WorkerWrote
from actors.messages import WorkerId
from actors.pool.pooled_worker import PooledWorker
from actors.worker import BY_FRAME, BY_TASK

__all__ = ["Output"]

logger = logging.getLogger(__name__)


class Output:
    """See the module's docstring.

    Args:
        workers: of the pool, {worker's id: the worker}.
    """

    def __init__(self, workers: Mapping[WorkerId, PooledWorker]) -> None:
        self._workers = workers
        self._how = 0  # see `Progress.watch_output`
        # Of dead workers: (worker's pid, bytes).
        self._last: list[tuple[int, bytes]] = []

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Give what was written since the last call; see `Pool.read_output`."""
        yield from self._last
        self._last.clear()
        for worker in list(self._workers.values()):
            output = worker.log.read_new()
            if output:
                yield worker.pid, output

    def watch(self, *, is_wanted: bool, is_shared: bool) -> None:
        """Watch all logs, or none any more; see `Pool.watch_output`."""
        how = BY_TASK if is_shared else BY_FRAME
        self._how = how if is_wanted else 0
        for worker in self._workers.values():
            if is_wanted:
                self._watch(worker)
            else:
                worker.progress.watch_output(0)
                worker.tells_at_once = False
                worker.log.unwatch()

    def begins(self, worker: PooledWorker) -> None:
        """Watch the log of a new worker, if that is wanted."""
        if self._how:
            self._watch(worker)

    def _watch(self, worker: PooledWorker) -> None:
        # In this order: who ends a task and does not say so has written all before.
        how = 0 if worker.is_actor else self._how
        worker.progress.watch_output(how)
        worker.tells_at_once = worker.is_actor
        try:
            worker.log.watch()
        except OSError as error:
            logger.warning("output of %s cannot be told: %s", worker.worker_id, error)

    def so_far(self, worker: PooledWorker, seq: int) -> list[WorkerWrote]:
        """Return what a worker has written, if it can only be of this task.

        Args:
            worker: whose log is looked at.
            seq: the task that runs there as far as the owner knows.
        """
        log = worker.log
        if not log.is_watched:
            return []
        text, left_out = log.look()
        # After that: what has begun by now had perhaps begun then.
        if text and (worker.is_actor or worker.progress.read()[0] == seq):
            log.take(len(text) + left_out)
            return [WorkerWrote(worker.worker_id, seq, text, left_out, False)]
        return []

    @staticmethod
    def up_to(worker: PooledWorker, seq: int, end: int | None = None) -> WorkerWrote:
        """Return all that a task wrote that has ended.

        Args:
            worker: that it ran on.
            seq: the task.
            end: bytes in the log when it ended; None: the worker is dead.
        """
        text, left_out = worker.log.look(end)
        worker.log.take(len(text) + left_out)
        return WorkerWrote(worker.worker_id, seq, text, left_out, True)

    def ends(self, worker: PooledWorker) -> None:
        """Keep what a dead worker has written last, for `read`."""
        output = worker.log.read_new()
        if output:
            self._last.append((worker.pid, output))
