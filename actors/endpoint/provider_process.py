"""The provider as a process: a batch system behind a thread, blocks in a journal."""

import contextlib
import importlib
import logging
import operator
import select
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from actors.config import (
    EndpointConfig,
    bind_launch,
    expand_launch,
    provider_target,
)
from actors.endpoint.lifetime import TYPE_VARIABLE
from actors.endpoint.provider import (
    CancelJobs,
    JobEndSeen,
    JobReport,
    JobsPolled,
    JobSubmitted,
    PollJobs,
    Provider,
    ProviderRecord,
    ProviderSettings,
    SubmitFailed,
    SubmitJob,
    SubmitUnanswered,
)
from actors.endpoint.pulse import Pulse
from actors.endpoint.recorder import JournalRecorder, journal_config
from actors.endpoint.shell import ActorShell, run_actor
from actors.endpoint.surroundings import Surroundings, python_version
from actors.errors import ConfigError
from actors.inbox import Inbox
from actors.journal import Journal
from actors.logic.turn import Effect
from actors.messages import BlockId, BlockState, strategy_to_provider, to_member
from actors.runtime import Runtime, Serving
from providers import (
    JobSpec,
    JobStatus,
    ProviderError,
    ProviderUnavailable,
)
from providers import Provider as BatchSystem

__all__ = ["ProviderShell", "make_provider", "run"]

logger = logging.getLogger(__name__)

# A finished block leaves three short records; compact when a few thousand have come.
_COMPACT_BYTES = 1 << 20


def make_provider(config: EndpointConfig) -> BatchSystem:
    """Make the provider that the configuration names.

    Raises:
        ConfigError: there is none of that name, or it does not take its options.
    """
    name, options = config.blocks.provider, config.provider_options
    target = provider_target(name)
    assert target is not None, "the configuration was checked"
    module, _, attribute = target.partition(":")
    factory: Callable[..., BatchSystem]
    try:
        factory = operator.attrgetter(attribute)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"[blocks] provider {name!r} cannot be loaded: {error}; it must be "
            "importable where `actors run` is started"
        ) from error
    try:
        return factory(**options)
    except ImportError as error:
        raise ConfigError(
            f"[blocks] provider {name!r} cannot be used: {error}"
        ) from error
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
        provider: BatchSystem,
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
            case SubmitJob():
                self._calls.put(lambda: self._submit(effect))
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

    def _spec(self, block_id: BlockId, worker_type: str) -> JobSpec:
        blocks = self._config.blocks
        environment = dict(blocks.environment)
        if worker_type:
            environment[TYPE_VARIABLE] = worker_type
        return JobSpec(
            f"{self._config.name}-{block_id}",
            [
                bind_launch(self._template, block_id, node)
                for node in range(blocks.nodes_per_block)
            ],
            self._folder / block_id,
            environment,
            blocks.walltime,
        )

    def _submit(self, order: SubmitJob) -> None:
        block_id = order.block_id
        spec = self._spec(block_id, order.worker_type)
        try:
            job_id = self._provider.recover(spec) if order.may_exist else None
            if job_id is None:
                job_id = self._provider.submit(spec)
        except ProviderUnavailable as error:
            logger.warning("no answer about the job of %s: %s", block_id, error)
            self.inbox.put(SubmitUnanswered(block_id, str(error)))
            return
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


def run(around: Surroundings, pulse: Pulse) -> int:
    """Run an endpoint's provider until it ends; return its exit code."""
    config = around.config
    provider = make_provider(config)
    settings = ProviderSettings(
        poll_period=provider.poll_period,
        heartbeat_period=config.heartbeat.period,
        instance=around.instance,
        token=around.token,
        python=python_version(),
    )
    machine = Provider(settings, around.chance(), time.monotonic())
    decoder = msgspec.msgpack.Decoder(ProviderRecord)
    with Journal(
        around.paths.journals / "provider",
        encode=msgspec.msgpack.Encoder().encode,
        decode=decoder.decode,
        config=journal_config(config),
    ) as journal:
        for record in pulse.along(journal.replay()):
            machine.replay(record)
        template = expand_launch(config, around.paths, sys.executable)
        shell = ProviderShell(Inbox(), provider, config, template, around.paths.blocks)
        serving = Serving(
            around.local_address,
            "provider",
            None,
            lambda _hello: strategy_to_provider,
            around.tempo,
            around.instance,
            config.transport.max_frame_bytes,
        )
        recorder = JournalRecorder(
            journal,
            # The records that follow are about later states: draw this one now.
            lambda: iter([machine.snapshot()]),
            compact_bytes=_COMPACT_BYTES,
        )
        runtime = Runtime(
            machine,
            shell,
            serving=serving,
            dialing={"interchange": around.dialing(to_member["provider"])},
            sources=[shell.inbox, shell.ends],
            recorder=recorder,
            meanwhile=pulse.beat,
        )
        try:
            return run_actor(shell, runtime, pulse)
        finally:
            shell.close()
            recorder.close()
