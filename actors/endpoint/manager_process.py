"""The manager as a process: a pool of workers behind a link."""

import contextlib
import errno
import importlib
import logging
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from actors.address import WITHIN_VARIABLE
from actors.config import WorkersConfig
from actors.config.affinity import accelerator_variables, cores_of
from actors.endpoint.lifetime import TYPE_VARIABLE, time_left
from actors.endpoint.manager import (
    EXIT_AGAIN,
    AbandonType,
    Manager,
    ManagerSettings,
    MeasureWorkers,
    ReleaseType,
    RemoveWorkDirs,
    WorkersMeasured,
    WorkerUsage,
)
from actors.endpoint.shell import ActorShell, RootWatch, run_actor
from actors.endpoint.surroundings import Surroundings, python_version
from actors.errors import ConfigError
from actors.inbox import Inbox
from actors.logic.care import CareSettings, Place
from actors.logic.resources import GPU_VARIABLE
from actors.logic.turn import Effect, Exit
from actors.logic.workers import (
    AssignTasks,
    EquipWorker,
    ExpectCalls,
    KillWorker,
    LookAtOutput,
    RecallTasks,
    StartWorker,
    StopWorker,
    TellWorker,
    TerminateWorker,
    WatchWorkers,
    WorkerDied,
)
from actors.messages import (
    Amount,
    BlockId,
    Equip,
    ManagerId,
    WorkerId,
    to_member,
)
from actors.pool import Pool
from actors.process import read_usage
from actors.runtime import Runtime
from actors.store.links import MEMORY_VARIABLE, Links
from actors.whereabouts import NODE_VARIABLE
from actors.workplace import WorkplaceSettings, make_work_root

__all__ = ["EXIT_AGAIN", "ManagerShell", "run"]

logger = logging.getLogger(__name__)

# What a node may set in `[workers] init` to have a tag of its own.
_TAG_VARIABLE = "ACTORS_TAG"
# What does not change by waiting: there is no such file, or it may not be run.
_IMPOSSIBLE = frozenset({errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC})

# What workers and actors' processes run; by name, as they import what we must not.
_WORKER_PROGRAM = "actors.api.endpoint_worker:run_worker"
_HOST_PROGRAM = "actors.api.endpoint_host:run_host"
# What takes those of them long to import that call others. It loads nng, which is no
# harm in a copy as long as nobody has opened a socket.
_CALLING = "actors.api.on_endpoint"


class ManagerShell(ActorShell):
    """Drives a pool of workers, and one more for each type that tasks ask for.

    Args:
        inbox: where it puts what it has to say.
        pool: of plain workers.
        open_pool: makes the pool of a type; raises OSError with the reason why not.
        workplaces: of the workers.
    """

    def __init__(
        self,
        inbox: Inbox,
        pool: Pool,
        open_pool: Callable[[str], Pool],
        workplaces: "Workplaces",
    ) -> None:
        super().__init__(inbox)
        self._pool = pool
        self._open_pool = open_pool
        self._workplaces = workplaces
        self._pools: dict[str, Pool] = {}  # {type: its pool}
        self.runtime: Runtime | None = None  # whose sources the pools are
        self._watch: WatchWorkers | None = None  # how output of workers is watched

    def perform(self, effect: Effect) -> None:
        match effect:
            case AssignTasks(worker_id, runs):
                self._home(worker_id).assign(worker_id, runs)
            case RecallTasks(worker_id):
                self._home(worker_id).recall(worker_id)
            case StartWorker():
                self._start(effect)
            case EquipWorker(worker_id, environment):
                self._home(worker_id).assign(worker_id, [Equip(environment)])
            case ExpectCalls():
                for pool in (self._pool, *self._pools.values()):
                    pool.preload(_CALLING)
            case TellWorker(worker_id, message):
                self._home(worker_id).tell(worker_id, message)
            case TerminateWorker(worker_id):
                self._home(worker_id).terminate(worker_id)
            case KillWorker(worker_id):
                self._home(worker_id).kill(worker_id)
            case StopWorker(worker_id):
                self._home(worker_id).stop(worker_id)
            case AbandonType(worker_type, why):
                self._pools[worker_type].give_up(why)
            case ReleaseType(worker_type):
                self._release(worker_type)
            case RemoveWorkDirs(worker_id):
                _remove(self._workplaces.root / worker_id)
            case WatchWorkers():
                self._watch = effect
                for pool in (self._pool, *self._pools.values()):
                    _watch(pool, effect)
            case LookAtOutput(running):
                assert self.runtime is not None
                for pool in (self._pool, *self._pools.values()):
                    pool.look_at_output(running)
                    # Else what is told of it could come after what came since.
                    self.runtime.read_now(pool)
            case MeasureWorkers(of_all):
                usage = {
                    worker_id: WorkerUsage(u.pid, u.rss_bytes, u.cpu_seconds)
                    for pool in (self._pool, *self._pools.values())
                    for worker_id, u in pool.usage(of_all=of_all).items()
                }
                pid = os.getpid()
                us = read_usage(pid)
                own = WorkerUsage(pid, us.rss_bytes, us.cpu_seconds) if us else None
                self.inbox.put(WorkersMeasured(usage, own))
            case Exit(code, reason) if code == EXIT_AGAIN:
                logger.info("begins anew: %s", reason)
                self.exit_code = code
                self.finish()
            case _:
                super().perform(effect)

    def close(self) -> None:
        """Kill the workers of all types but the plain, and wait for their end."""
        for pool in self._pools.values():
            pool.close()

    def _home(self, worker_id: WorkerId) -> Pool:
        for pool in self._pools.values():
            if worker_id in pool:
                return pool
        return self._pool

    def _start(self, order: StartWorker) -> None:
        worker_id, become = order.worker_id, order.become
        try:
            pool = self._pool_of(order.worker_type)
            if become:
                pool.start(worker_id, _HOST_PROGRAM, is_actor=True)
                pool.assign(worker_id, [become])
            else:
                place = order.place
                variables = {**place.variables, **self._workplaces.of(worker_id)}
                pool.start(worker_id, cores=place.cores, variables=variables)
        except OSError as error:
            # No descriptors, no disk: the machine waits before it tries another.
            logger.error("%s could not be started: %s", worker_id, error)
            named = f": {error.filename}" if error.filename else ""
            text = f"{error.strerror or error}{named}"
            is_impossible = error.errno in _IMPOSSIBLE
            self.inbox.put(
                WorkerDied(
                    worker_id, None, None, 0, 0.0, 0, text, is_impossible=is_impossible
                )
            )

    def _pool_of(self, worker_type: str) -> Pool:
        if not worker_type:
            return self._pool
        pool = self._pools.get(worker_type)
        if pool is None:
            pool = self._pools[worker_type] = self._open_pool(worker_type)
            if self._watch is not None:
                _watch(pool, self._watch)
            assert self.runtime is not None
            self.runtime.add_source(pool)
        return pool

    def _release(self, worker_type: str) -> None:
        """Let the environment of a type go, which has no workers."""
        pool = self._pools.pop(worker_type, None)
        if pool is not None:
            assert self.runtime is not None
            self.runtime.remove_source(pool)
            # A container may take its time.
            threading.Thread(target=pool.close, daemon=True).start()


def _watch(pool: Pool, how: WatchWorkers) -> None:
    pool.watch_output(is_wanted=how.is_wanted, is_shared=how.is_shared)


class Workplaces:
    """Where the workers' folders are, and what workers are told of them.

    Args:
        config: as endpoint.toml has it.
    """

    def __init__(self, config: WorkersConfig) -> None:
        self._config = config
        self.root = Path()
        if config.work_dirs != "none":
            parent = Path(config.work_root or tempfile.gettempdir())
            self.root = make_work_root(parent)

    def of(self, worker_id: WorkerId) -> dict[str, str]:
        """Return the variables that tell a worker of its own; perhaps none."""
        config = self._config
        if config.work_dirs == "none" and not config.termination_grace:
            return {}
        return WorkplaceSettings(
            config.work_dirs,
            str(self.root / worker_id),
            config.work_dir_limit_bytes,
            config.termination_grace > 0,
        ).variables()

    def close(self) -> None:
        """Remove them all."""
        if self._config.work_dirs != "none":
            shutil.rmtree(self.root, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove a folder, in a thread: it may hold much."""
    threading.Thread(
        target=shutil.rmtree, args=(folder, True), name="actors-remove", daemon=True
    ).start()


def run(around: Surroundings, block_id: BlockId, node: int) -> int:
    """Run the manager of one node until it ends; return its exit code."""
    status = around.read_status()
    slots, care = _care(around.config.workers)
    manager_id = ManagerId(f"{block_id}.{node}")
    settings = ManagerSettings(
        manager_id=manager_id,
        block_id=block_id,
        slots=slots,
        instance=around.instance,
        token=around.token,
        python=python_version(),
        host=around.host,
        pid=os.getpid(),
        heartbeat_period=around.config.heartbeat.period,
        wall_offset=around.wall_offset,
        start_timeouts={
            name: type_.start_timeout
            for name, type_ in around.config.worker_types.items()
        },
        care=care,
        resources=tuple(Amount(*each) for each in around.node_resources.items()),
        gpu_names=_gpu_names(),
        ends_at=_ends_at(around.config.blocks.walltime),
        worker_type=os.environ.get(TYPE_VARIABLE, ""),
        tag=os.environ.get(_TAG_VARIABLE, around.config.workers.tag),
        is_exclusive=around.config.workers.tag_exclusive,
    )
    # Its workers, and no others, find their endpoint by it: see `actors.api.within`.
    os.environ[WITHIN_VARIABLE] = str(around.paths.folder)
    os.environ[NODE_VARIABLE] = manager_id
    links = Links()
    # That sweeps, too, what others of this user have left on the node.
    os.environ[MEMORY_VARIABLE] = links.offer()
    logs = around.paths.blocks / block_id / "workers"
    try:
        workplaces = Workplaces(around.config.workers)
    except OSError as error:
        raise ConfigError(f"[workers] work_root cannot be used: {error}") from error
    with (
        contextlib.closing(links),
        contextlib.closing(workplaces),
        Pool(logs, program=_WORKER_PROGRAM, starts_as_copy=True, links=links) as pool,
    ):
        open_pool = partial(_open_pool, around, logs, links)
        shell = ManagerShell(Inbox(), pool, open_pool, workplaces)
        machine = Manager(settings, random.Random(manager_id), time.monotonic())
        runtime = Runtime(
            machine,
            shell,
            dialing={"interchange": around.dialing(to_member["manager"])},
            sources=[shell.inbox, pool],
            links=links,
        )
        shell.runtime = runtime
        if status is not None and status.is_here:
            watch = RootWatch(status.root, lambda: _end_at_once(shell, pool))
            runtime.add_source(watch)
        with contextlib.closing(shell):
            return run_actor(shell, runtime, None)


def _care(config: WorkersConfig) -> tuple[int, CareSettings]:
    """Read what there is to care for.

    Returns:
        How many workers the node has, and the rest.

    Raises:
        ConfigError: the node does not have what the configuration asks for.
    """
    cores = sorted(os.sched_getaffinity(0))
    # Where nothing is said, no accelerator is shared.
    accelerators = len(config.accelerators) or config.accelerator_count
    slots = config.workers_per_node or accelerators or len(cores)
    places: tuple[Place, ...] = ()
    if accelerators or config.cpu_affinity != "none":
        try:
            cores_of_each = cores_of(config.cpu_affinity, slots, cores)
        except ValueError as error:
            raise ConfigError(f"[workers] {error}") from error
        variables = accelerator_variables(
            config.accelerators, config.accelerator_count, slots, os.environ
        )
        places = tuple(map(Place, cores_of_each, variables))
    return slots, CareSettings(
        config.idle_timeout,
        config.max_tasks,
        config.exit_on_exception,
        config.termination_grace,
        config.memory_limit_bytes,
        config.max_tasks_per_worker,
        config.max_worker_growth_bytes,
        places,
        config.work_dirs != "none",
    )


def _gpu_names() -> tuple[str, ...]:
    """Return what the batch system has given us, if it has said so."""
    names = os.environ.get(GPU_VARIABLE, "")
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _open_pool(
    around: Surroundings, logs: Path, links: Links, worker_type: str
) -> Pool:
    # Most managers need none of it.
    housing = importlib.import_module("actors.endpoint.housing")
    pool: Pool = housing.open_pool(
        worker_type,
        around.config.worker_types[worker_type],
        around.paths.folder,
        logs,
        _WORKER_PROGRAM,
        links,
    )
    return pool


def _ends_at(walltime: float | None) -> float | None:
    left = time_left(os.environ, walltime, time.time())
    return None if left is None else time.monotonic() + left


def _end_at_once(shell: ManagerShell, pool: Pool) -> None:
    """End with all workers: the endpoint is gone, nobody wants their work."""
    logger.error("the endpoint's root process is gone")
    shell.close()
    pool.close()
    os._exit(1)
