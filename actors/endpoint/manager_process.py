"""The manager as a process: a pool of workers behind a link."""

import logging
import os
import random
import time

from actors.address import WITHIN_VARIABLE
from actors.endpoint.manager import (
    Manager,
    ManagerSettings,
    MeasureWorkers,
    WorkersMeasured,
    WorkerUsage,
)
from actors.endpoint.shell import ActorShell, RootWatch, run_actor
from actors.endpoint.surroundings import Surroundings, python_version
from actors.logic.turn import Effect
from actors.logic.workers import (
    AssignTasks,
    ExpectCalls,
    KillWorker,
    RecallTasks,
    StartWorker,
    StopWorker,
    TellWorker,
    WorkerDied,
)
from actors.messages import BlockId, HostActor, ManagerId, WorkerId, to_member
from actors.pool import Pool
from actors.runtime import Inbox, Runtime

__all__ = ["ManagerShell", "run"]

logger = logging.getLogger(__name__)

# What workers and actors' processes run; by name, as they import what we must not.
_WORKER_PROGRAM = "actors.api.endpoint_worker:run_worker"
_HOST_PROGRAM = "actors.api.endpoint_host:run_host"
# What takes those of them long to import that call others. It loads nng, which is no
# harm in a copy as long as nobody has opened a socket.
_CALLING = "actors.api.on_endpoint"


class ManagerShell(ActorShell):
    """Drives a pool of workers."""

    def __init__(self, inbox: Inbox, pool: Pool) -> None:
        super().__init__(inbox)
        self._pool = pool

    def perform(self, effect: Effect) -> None:
        match effect:
            case AssignTasks(worker_id, runs):
                self._pool.assign(worker_id, runs)
            case RecallTasks(worker_id):
                self._pool.recall(worker_id)
            case StartWorker(worker_id, become):
                self._start(worker_id, become)
            case ExpectCalls():
                self._pool.preload(_CALLING)
            case TellWorker(worker_id, message):
                self._pool.tell(worker_id, message)
            case KillWorker(worker_id):
                self._pool.kill(worker_id)
            case StopWorker(worker_id):
                self._pool.stop(worker_id)
            case MeasureWorkers():
                usage = {
                    worker_id: WorkerUsage(u.pid, u.rss_bytes, u.cpu_seconds)
                    for worker_id, u in self._pool.usage().items()
                }
                self.inbox.put(WorkersMeasured(usage))
            case _:
                super().perform(effect)

    def _start(self, worker_id: WorkerId, become: HostActor | None) -> None:
        try:
            self._pool.start(worker_id, _HOST_PROGRAM if become else "")
            if become:
                self._pool.assign(worker_id, [become])
        except OSError as error:
            # No descriptors, no disk: the machine waits before it tries another.
            logger.error("%s could not be started: %s", worker_id, error)
            text = f"it could not be started: {error}"
            self.inbox.put(WorkerDied(worker_id, None, None, 0, 0.0, 0, text))


def run(around: Surroundings, block_id: BlockId, node: int) -> int:
    """Run the manager of one node until it ends; return its exit code."""
    status = around.read_status()
    workers = around.config.workers.workers_per_node or len(os.sched_getaffinity(0))
    manager_id = ManagerId(f"{block_id}.{node}")
    settings = ManagerSettings(
        manager_id=manager_id,
        block_id=block_id,
        slots=workers,
        instance=around.instance,
        token=around.token,
        python=python_version(),
        host=around.host,
        pid=os.getpid(),
        heartbeat_period=around.config.heartbeat.period,
        wall_offset=around.wall_offset,
    )
    # Its workers, and no others, find their endpoint by it: see `actors.api.within`.
    os.environ[WITHIN_VARIABLE] = str(around.paths.folder)
    logs = around.paths.blocks / block_id / "workers"
    with Pool(logs, program=_WORKER_PROGRAM, starts_as_copy=True) as pool:
        shell = ManagerShell(Inbox(), pool)
        machine = Manager(settings, random.Random(manager_id), time.monotonic())
        runtime = Runtime(
            machine,
            shell,
            dialing={"interchange": around.dialing(to_member["manager"])},
            sources=[shell.inbox, pool],
        )
        if status is not None and status.is_here:
            runtime.add_source(RootWatch(status.root, lambda: _end_at_once(pool)))
        return run_actor(shell, runtime, None)


def _end_at_once(pool: Pool) -> None:
    """End with all workers: the endpoint is gone, nobody wants their work."""
    logger.error("the endpoint's root process is gone")
    pool.close()
    os._exit(1)
