"""A provider on top of a batch system that has commands and a shared folder.

    submit ──► attempt-1.json ──► sbatch, qsub, ... ──► attempt-1.number
    status ──► squeue, qstat, ... ──► when it is over: exit codes in the job's folder,
                                      then sacct, qacct, ... if those are not enough

`BatchProvider` keeps the three promises of `base` for any of them; what one batch
system's commands are called, and how they answer, stands in its `Scheduler`: see
`slurm` and `gridengine`. `batch_folder` tells what is kept where, and why a killed
provider neither loses nor doubles a job.

A job's id is the batch system's number, a colon and the job's folder, which all nodes
must see under the same path.
"""

import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from providers.base import (
    JobSpec,
    JobState,
    JobStatus,
    ProviderError,
    ProviderUnavailable,
    SubmitRejected,
)
from providers.batch_folder import Attempt, BatchFolder
from providers.batch_script import ScriptStyle, batch_script, node_script
from providers.batch_verdict import Trace, judge
from providers.folder import Ending
from providers.open_jobs import OpenJobs
from providers.options import check_word
from providers.processes import seconds_since

__all__ = ["BatchProvider", "Scheduler", "Submission"]

logger = logging.getLogger(__name__)

# Chosen: Grid Engine writes its accounting every 15 s, NFS shows a new file after 3 s
# or so.
_MISSING_PATIENCE = 30.0
# A name that nobody else has; chosen: short in a listing of the queue.
_TOKEN_BYTES = 4


@dataclass(frozen=True, slots=True)
class Submission:
    """What a batch system is to take.

    Args:
        name: to find it by, if the answer is not heard.
        script: path of what it starts on the first node.
        spec: of the job.
    """

    name: str
    script: Path
    spec: JobSpec


class Scheduler(Protocol):
    """The commands of one batch system. Jobs are named by its own numbers.

    Every method may raise ProviderUnavailable.
    """

    # What people call it, in messages.
    system: str
    style: ScriptStyle

    def submit(self, submission: Submission) -> str:
        """Submit a job; return its number.

        Raises:
            SubmitRejected: certainly not taken.
            ProviderUnavailable: perhaps taken.
        """
        ...

    def find(self, name: str) -> str | None:
        """Return the number of the job of this name that is queued or runs."""
        ...

    def list_jobs(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        """Tell the state of jobs that are in the queue; may tell of ended ones.

        A final state is only told when no process of the job is left. An exit code and
        standard error need not be told: the job's folder has them.

        Returns:
            By number; what the queue does not hold is missing.
        """
        ...

    def look_up(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        """Ask the accounting how jobs ended that left no exit code.

        Returns:
            Final states by number; what has no record, or none yet, is missing.
        """
        ...

    def cancel(self, numbers: Sequence[str]) -> None:
        """Ask jobs to end; leave alone those that are not there."""
        ...


class _Job:
    """A job that is not known to be over."""

    def __init__(self, number: str, folder: BatchFolder, spec: JobSpec) -> None:
        self.number = number
        self.folder = folder
        self.spec = spec
        self.ending = folder.ending()
        self.is_cancelled = False  # the batch system took our word for it
        self.missing_since: float | None = None


class BatchProvider:
    """Jobs of a batch system; see `Provider` for the promises.

    Args:
        scheduler: its commands.
        poll_period: seconds between two questions about the queue.
        missing_patience: seconds that a job may be missing from the queue, and its exit
            codes from its folder, before it is given up.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        poll_period: float,
        missing_patience: float = _MISSING_PATIENCE,
    ) -> None:
        self.poll_period = poll_period
        self._missing_patience = missing_patience
        self._scheduler = scheduler
        self._jobs = OpenJobs(_folder_of, _open_job)
        # Calls may come from several threads; each asks the batch system, which is no
        # quicker for being asked twice at a time.
        self._lock = threading.Lock()

    def submit(self, spec: JobSpec) -> str:
        """Queue a job."""
        with self._lock:
            folder = _folder(spec)
            try:
                check_word("folder", str(folder))
                ordered = folder.order(spec)
            except (OSError, ValueError, ProviderError) as error:
                raise _rejected(spec, error) from error
            return self._recover(folder) or self._submit(folder, ordered)

    def status(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Ask for the whole queue at once, and for the accounting if need be."""
        with self._lock:
            return self._status(job_ids)

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Write down that jobs have to end, then ask the batch system to end them."""
        with self._lock:
            statuses = self._status(job_ids)
            asked = []
            for _, job in self._jobs.to_cancel(job_ids, statuses):
                if job.ending is None:
                    now = seconds_since(0)
                    job.ending = Ending(JobState.CANCELLED, "Cancelled", now)
                    _note(job, job.ending)
                asked.append(job)
            self._end(asked)

    def recover(self, spec: JobSpec) -> str | None:
        """Find a job by what its folder says, else by the name of its last attempt."""
        with self._lock:
            return self._recover(_folder(spec))

    def probe(self) -> None:
        """Ask for a job that nobody has submitted."""
        self._scheduler.find(f"probe-{secrets.token_hex(_TOKEN_BYTES)}")

    def fileno(self) -> None:
        """Return None: a batch system is polled."""

    def close(self) -> None:
        """Forget all jobs; they go on."""
        with self._lock:
            self._jobs.clear()

    # Submitting

    def _submit(self, folder: BatchFolder, spec: JobSpec) -> str:
        style = self._scheduler.style
        name = f"{spec.job_name}-{secrets.token_hex(_TOKEN_BYTES)}"
        try:
            node = node_script(style, spec)
            attempt = folder.open_attempt(name)
            batch = batch_script(style, spec, attempt.index)
            script = folder.write_scripts(attempt, batch, node)
        except (OSError, ValueError) as error:
            raise _rejected(spec, error) from error
        try:
            number = self._scheduler.submit(Submission(name, script, spec))
        except SubmitRejected:
            # Asked again, by somebody who has mended something, it is a new attempt;
            # if this cannot be written down, this one is looked for in vain first.
            with suppress(OSError):
                folder.seal(attempt)
            raise
        _note_number(folder, attempt, number)
        return _job_id(number, folder)

    def _recover(self, folder: BatchFolder) -> str | None:
        """Return the id of the job that was submitted, or see to it that none was.

        Raises:
            ProviderUnavailable: nobody can tell: the batch system, or the folder.
        """
        try:
            attempt = folder.newest()
            if attempt is None or folder.is_sealed(attempt):
                return None
            number = folder.number(attempt)
            if number is None:
                number = self._scheduler.find(attempt.name)
                if number is not None:
                    _note_number(folder, attempt, number)
                elif not folder.seal(attempt):
                    # It started just now.
                    number = folder.number(attempt)
        except OSError as error:
            raise ProviderUnavailable(f"Cannot use {folder}: {error}") from error
        return None if number is None else _job_id(number, folder)

    # Looking

    def _status(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        jobs, statuses = self._jobs.split(job_ids)
        if jobs:
            try:
                statuses |= self._ask(jobs)
            except (ProviderUnavailable, OSError) as error:
                silent = JobStatus(JobState.UNKNOWN, message=str(error))
                statuses |= dict.fromkeys(jobs, silent)
        return statuses

    def _ask(self, jobs: dict[str, _Job]) -> dict[str, JobStatus]:
        """Ask the batch system about jobs, and conclude those that are over."""
        listed = self._scheduler.list_jobs([job.number for job in jobs.values()])
        statuses = {}
        traces: dict[str, Trace] = {}  # {job_id: of a job that is over}
        for job_id, job in jobs.items():
            seen = listed.get(job.number)
            if seen is not None and not seen.state.is_final:
                job.missing_since = None
                statuses[job_id] = _on_its_way(job, seen)
            else:
                run = job.folder.last_run(job.spec.nodes)
                traces[job_id] = Trace(job.spec, job.ending, run, seen)
        unclear = [jobs[i].number for i, trace in traces.items() if trace.is_unclear]
        records = self._look_up(unclear)
        for job_id, trace in traces.items():
            record = records.get(jobs[job_id].number, trace.seen)
            statuses[job_id] = self._conclude(job_id, trace._replace(seen=record))
        # A predecessor, or we, may have been asked to end it without being heard.
        forgotten = [jobs[i] for i in statuses if i not in traces and jobs[i].ending]
        try:
            self._end(forgotten)
        except ProviderUnavailable as error:
            logger.warning("cannot cancel jobs, will try again: %s", error)
        return statuses

    def _look_up(self, numbers: list[str]) -> Mapping[str, JobStatus]:
        if not numbers:
            return {}
        try:
            return self._scheduler.look_up(numbers)
        except ProviderUnavailable as error:
            # Accounting may be slow, or not for everybody: its word is not needed.
            logger.warning("%s", error)
            return {}

    # Ending

    def _end(self, jobs: list[_Job]) -> None:
        jobs = [job for job in jobs if not job.is_cancelled]
        if jobs:
            self._scheduler.cancel([job.number for job in jobs])
        for job in jobs:
            job.is_cancelled = True

    def _conclude(self, job_id: str, trace: Trace) -> JobStatus:
        """Say how a job ended; UNKNOWN while that may still come to light."""
        job, run = self._jobs[job_id], trace.run
        status = judge(trace)
        if status is None:
            now = time.monotonic()
            job.missing_since = job.missing_since or now
            if now - job.missing_since < self._missing_patience:
                return JobStatus(
                    JobState.UNKNOWN,
                    message=f"{self._scheduler.system} does not list job {job.number}",
                )
            status = self._give_up(job)
        failed = run.failed_node
        nodes = range(job.spec.nodes) if failed is None else [failed]
        status = replace(status, stderr_tail=job.folder.stderr_tail(nodes))
        job.folder.conclude(status)
        del self._jobs[job_id]
        return status

    def _give_up(self, job: _Job) -> JobStatus:
        """Say how a job ended that vanished without a trace."""
        system = self._scheduler.system
        if job.folder.has_started():
            return JobStatus(
                JobState.FAILED,
                message=f"{system} ended job {job.number} before it could tell an exit "
                "code, and has no record of it",
            )
        return JobStatus(
            JobState.CANCELLED,
            message=f"Job {job.number} left the queue of {system} before it started: "
            "somebody deleted it, or its script could not be started",
        )


def _folder(spec: JobSpec) -> BatchFolder:
    """Return a job's folder under the path that its nodes know: links stay links."""
    return BatchFolder(spec.folder.absolute())


def _folder_of(job_id: str) -> BatchFolder | None:
    _, colon, path = job_id.partition(":")
    return BatchFolder(Path(path)) if colon else None


def _open_job(job_id: str, folder: BatchFolder, spec: JobSpec) -> _Job:
    return _Job(job_id.partition(":")[0], folder, spec)


def _rejected(spec: JobSpec, error: Exception) -> SubmitRejected:
    return SubmitRejected(f"Cannot write job {spec.job_name} to {spec.folder}: {error}")


def _job_id(number: str, folder: BatchFolder) -> str:
    return f"{number}:{folder.path}"


def _note_number(folder: BatchFolder, attempt: Attempt, number: str) -> None:
    try:
        folder.note_number(attempt, number)
    except OSError as error:
        # The job has it, and the batch system knows the job by its name.
        logger.warning("%s: cannot note number %s: %s", folder, number, error)


def _note(job: _Job, ending: Ending) -> None:
    try:
        job.folder.ask_to_end(ending)
    except OSError as error:
        # A full disk must not keep a job alive; a successor would not know.
        logger.warning("%s: cannot note '%s': %s", job.folder, ending.message, error)


def _on_its_way(job: _Job, seen: JobStatus) -> JobStatus:
    if job.ending is None:
        return seen
    return replace(seen, message=f"Ending: {job.ending.message}")
