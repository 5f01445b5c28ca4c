"""The shells of the endpoint's actors: what their machines decide is done here."""

import contextlib
import importlib
import logging
import select
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from actors.config import EndpointConfig, bind_launch
from actors.endpoint.manager import MeasureWorkers, WorkersMeasured, WorkerUsage
from actors.endpoint.provider import (
    CancelJobs,
    JobEndSeen,
    JobReport,
    JobsPolled,
    JobSubmitted,
    PollJobs,
    SubmitFailed,
    SubmitJob,
)
from actors.errors import ConfigError
from actors.logic.turn import Effect, Exit, Quit
from actors.logic.workers import (
    AssignTasks,
    KillWorker,
    RecallTasks,
    StartWorker,
    StopWorker,
)
from actors.messages import BlockId, BlockState
from actors.pool import Pool
from actors.process import ProcessIdentity, ProcessWatch
from actors.runtime import Inbox
from providers import (
    JobSpec,
    JobStatus,
    LocalProvider,
    Provider,
    ProviderError,
    ProviderUnavailable,
)

__all__ = ["ActorShell", "ManagerShell", "ProviderShell", "RootWatch", "make_provider"]

logger = logging.getLogger(__name__)


class ActorShell:
    """What every actor's shell can do: end, and be asked to end by a signal.

    Args:
        inbox: where SIGTERM puts its request.
    """

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.exit_code = 0
        self.finish: Callable[[], None] = _not_running

    def perform(self, effect: Effect) -> None:
        """Carry out `Exit`; a subclass knows more."""
        match effect:
            case Exit(code, reason):
                logger.log(
                    logging.INFO if code == 0 else logging.ERROR, "ends: %s", reason
                )
                self.exit_code = code
                self.finish()
            case _:
                raise TypeError(f"{type(self).__name__} cannot do {effect!r}")

    def obey_signals(self) -> None:
        """End in order on SIGTERM; leave Ctrl-C to the root process."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(
            signal.SIGTERM, lambda *_: self.inbox.put(Quit("the endpoint stops"))
        )


def _not_running() -> None:
    raise RuntimeError("the shell has no loop yet")


class RootWatch:
    """Ends everything here when the endpoint's root process is gone.

    Args:
        root: of the endpoint, on this host.
        end: called once it is dead.
    """

    def __init__(self, root: ProcessIdentity, end: Callable[[], None]) -> None:
        self._watch = ProcessWatch(root)
        self._end = end

    def fileno(self) -> int:
        return self._watch.fileno()

    def read(self) -> Sequence[Any]:
        self._end()
        return []


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
            case StartWorker(worker_id):
                self._pool.start(worker_id)
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


def make_provider(config: EndpointConfig) -> Provider:
    """Make the provider that the configuration names.

    Raises:
        ConfigError: there is none of that name, or it does not take its options.
    """
    name, options = config.blocks.provider, config.provider_options
    factory: Callable[..., Provider]
    if name == "local":
        factory = LocalProvider
    else:
        module, _, attribute = name.partition(":")
        try:
            factory = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"[blocks] provider {name!r} cannot be loaded: {error}; it must be "
                "importable where `actors run` is started"
            ) from error
    try:
        return factory(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"[provider_options] does not suit provider {name!r}: {error}"
        ) from error


class ProviderShell(ActorShell):
    """Calls a batch system, which may take its time, in a thread of its own.

    Args:
        inbox: where the answers go.
        provider: the batch system.
        config: of the endpoint.
        template: of the launch command, for `bind_launch`.
        folder: where each block gets a folder.
    """

    def __init__(
        self,
        inbox: Inbox,
        provider: Provider,
        config: EndpointConfig,
        template: str,
        folder: Path,
    ) -> None:
        super().__init__(inbox)
        self._provider = provider
        self._config = config
        self._template = template
        self._folder = folder
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ends = _OneShot(provider.fileno())
        self._thread = threading.Thread(target=self._serve, name="batch-system")
        self._thread.start()

    @property
    def ends(self) -> "_OneShot":
        """The source that tells of jobs that ended."""
        return self._ends

    def perform(self, effect: Effect) -> None:
        match effect:
            case SubmitJob(block_id, may_exist):
                self._calls.put(lambda: self._submit(block_id, may_exist))
            case PollJobs(jobs):
                self._calls.put(lambda: self._poll(jobs))
            case CancelJobs(jobs):
                self._calls.put(lambda: self._cancel(list(jobs.values())))
            case _:
                super().perform(effect)

    def close(self) -> None:
        """End the thread, after what it was given."""
        self._calls.put(None)
        self._thread.join()
        self._ends.close()
        self._provider.close()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _spec(self, block_id: BlockId) -> JobSpec:
        blocks = self._config.blocks
        return JobSpec(
            str(block_id),
            [
                bind_launch(self._template, block_id, node)
                for node in range(blocks.nodes_per_block)
            ],
            self._folder / block_id,
            blocks.environment,
            blocks.walltime,
        )

    def _submit(self, block_id: BlockId, may_exist: bool) -> None:
        spec = self._spec(block_id)
        try:
            job_id = self._provider.recover(spec) if may_exist else None
            if job_id is None:
                job_id = self._provider.submit(spec)
        except ProviderError as error:
            logger.error("%s could not be submitted: %s", block_id, error)
            self.inbox.put(SubmitFailed(block_id, str(error)))
            return
        logger.info("%s is job %s", block_id, job_id)
        self.inbox.put(JobSubmitted(block_id, job_id))

    def _poll(self, jobs: dict[BlockId, str]) -> None:
        try:
            statuses = self._provider.status(list(jobs.values()))
        except ProviderUnavailable as error:
            logger.warning("the batch system does not answer: %s", error)
            statuses = {}
        reports = {
            block_id: _report(statuses[job_id])
            for block_id, job_id in jobs.items()
            if job_id in statuses
        }
        self._ends.rearm()
        self.inbox.put(JobsPolled(reports))

    def _cancel(self, job_ids: list[str]) -> None:
        try:
            self._provider.cancel(job_ids)
        except ProviderUnavailable as error:
            logger.warning("the batch system does not answer: %s", error)


def _report(status: JobStatus) -> JobReport:
    return JobReport(
        BlockState(status.state.value),
        status.exit_code,
        status.message,
        status.stderr_tail,
    )


class _OneShot:
    """A source that tells once that a descriptor is readable, until it is rearmed.

    The descriptor stays readable until the thread has polled; the loop must not spin
    until then.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._epoll = select.epoll()
        if descriptor is not None:
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLONESHOT)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def read(self) -> Sequence[Any]:
        return [JobEndSeen()] if self._epoll.poll(0) else []

    def rearm(self) -> None:
        """Tell again; from any thread."""
        if self._descriptor is not None:
            with contextlib.suppress(ValueError):  # closed meanwhile
                self._epoll.modify(
                    self._descriptor, select.EPOLLIN | select.EPOLLONESHOT
                )

    def close(self) -> None:
        self._epoll.close()
