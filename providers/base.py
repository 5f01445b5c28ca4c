"""What a batch system must offer to hold blocks, whichever it is.

    submit ──► PENDING ──► RUNNING ──► COMPLETED | FAILED | TIMEOUT | CANCELLED
                  │ ▲
                  ▼ │                  UNKNOWN: the batch system does not answer now;
                 HELD                  says nothing about the job

A *job* has one or more *nodes*; on each runs one shell command. Three promises matter
more than all else, because whoever calls a provider may be killed at any moment:

1. Nothing is submitted twice. `recover` finds a job whose id was not heard.
2. Nothing is orphaned. After `recover` said None, nothing of that job ever starts.
3. Final states stick, and "does not answer" is never reported as an end.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

__all__ = [
    "STDERR_TAIL_CHARACTERS",
    "JobSpec",
    "JobState",
    "JobStatus",
    "Probing",
    "Provider",
    "ProviderError",
    "ProviderUnavailable",
    "SubmitRejected",
]

# As Parsl's: enough for a traceback, little enough for a message.
STDERR_TAIL_CHARACTERS = 2048


class ProviderError(Exception):
    """Be the base of every error of this package."""


class SubmitRejected(ProviderError):
    """Tell that the batch system took no job, and why; nothing of it runs."""


class ProviderUnavailable(ProviderError):
    """Tell that the batch system does not answer; after `submit`: ask `recover`."""


class JobState(enum.StrEnum):
    """The states of a job."""

    UNKNOWN = "unknown"  # the batch system does not answer: not gone
    PENDING = "pending"
    RUNNING = "running"
    HELD = "held"  # will not start unless somebody releases it
    CANCELLED = "cancelled"  # was asked to end, by us or by somebody else
    COMPLETED = "completed"  # every node exited with 0
    FAILED = "failed"
    TIMEOUT = "timeout"  # reached its walltime

    @property
    def is_final(self) -> bool:
        """Whether the job is over: no process of it is left, no other state follows."""
        return self in _FINAL


_FINAL = frozenset(
    (JobState.CANCELLED, JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT)
)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The batch system's word on one job."""

    state: JobState
    # Of a final state, if known. As shells count: 128 + n when signal n ended it.
    exit_code: int | None = None
    # Why it is in this state: one line for people, "" when the state says it all.
    message: str = ""
    # Of a final state: the last characters of standard error, of a failed node if any.
    stderr_tail: str = ""


@dataclass(frozen=True)
class JobSpec:
    """What to run.

    Args:
        job_name: unique for ever among the jobs of this provider's user; letters,
            digits, `_`, `-` and `.`.
        commands: shell lines, one per node, in the order of the nodes.
        folder: for the files of this job alone; made if it isn't there. Nodes that
            share no file system with the provider do without.
        environment: variables on top of those that jobs have by default.
        walltime: seconds that the job may run; None: the batch system's own limit.

    Raises:
        ValueError: no name, no command, or a walltime that is not positive.
    """

    job_name: str
    commands: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    walltime: float | None = None

    def __post_init__(self) -> None:
        if not self.job_name:
            raise ValueError("job_name '' must not be empty")
        if not self.commands or isinstance(self.commands, str):
            raise ValueError(
                f"commands {self.commands!r} must be a sequence of one or more"
            )
        if self.walltime is not None and not self.walltime > 0:
            raise ValueError(f"walltime {self.walltime} must be positive, or None")

    @property
    def nodes(self) -> int:
        return len(self.commands)


class Provider(Protocol):
    """One batch system.

    Every method may block, and may be called from any thread, also from several at a
    time. A provider keeps what it must remember with its jobs (in their folders, in the
    batch system), not in itself: a new instance in a new process knows all jobs of one
    that was killed. The constructor takes the options of this batch system, each by
    keyword; options that make no sense raise ValueError or TypeError there.
    """

    # Seconds between two calls of `status`, as the batch system likes to be asked.
    poll_period: float

    def submit(self, spec: JobSpec) -> str:
        """Start a job, or queue it.

        Again with the same name and folder, it returns the job that is there.

        Returns:
            The job's id: not empty, one line, of meaning to this provider alone.

        Raises:
            SubmitRejected: not taken, and would not be if asked again as it is.
            ProviderUnavailable: no answer; the job may have been taken.
        """
        ...

    def status(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Tell how jobs are, with as few questions to the batch system as possible.

        RUNNING while any node runs. When all have ended: what was asked for (CANCELLED,
        TIMEOUT), else FAILED if any failed, with its exit code and standard error.
        Whatever the nodes left running is gone before a final state is reported.

        Returns:
            A status for each id. A batch system that does not answer: UNKNOWN. One that
            answers and knows no such job: FAILED, with no exit code, and a message.
        """
        ...

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Ask jobs to end: processes get SIGTERM, and after a grace SIGKILL.

        Returns before they have ended: `status` says when. Ended and unknown jobs are
        left alone, and so are those being cancelled already.

        Raises:
            ProviderUnavailable: no answer; ask again.
        """
        ...

    def recover(self, spec: JobSpec) -> str | None:
        """Find a job that a killed predecessor may have submitted.

        Args:
            spec: as for `submit`; the job is found by its name and folder.

        Returns:
            The job's id, in whatever state it is; None if it was not submitted. Then
            nothing of it will start unless `submit` is called.

        Raises:
            ProviderUnavailable: no answer; ask again, and don't submit before.
        """
        ...

    def fileno(self) -> int | None:
        """Return a file descriptor that is readable while `status` has news of an end.

        Only to be waited for with `select`; calling `status` for all jobs quiets it.
        None if this batch system cannot tell: then poll.
        """
        ...

    def close(self) -> None:
        """Free what this instance holds. Jobs go on. Calling it again does nothing."""
        ...


@runtime_checkable
class Probing(Protocol):
    """What a provider may offer besides: to be asked whether anybody answers."""

    def probe(self) -> None:
        """Ask the batch system something that changes nothing.

        Raises:
            ProviderUnavailable: it does not answer, or a part of it does not.
        """
        ...
