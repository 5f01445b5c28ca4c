"""How a job of a batch system ended, from what is left of it. Pure.

In this order: what was asked for, what the batch system says, that it had warned the
job, what the nodes noted.
"""

from dataclasses import replace
from typing import NamedTuple

from providers.base import JobSpec, JobState, JobStatus
from providers.batch_folder import Run
from providers.folder import Ending, explain_exit_code

__all__ = ["Trace", "judge"]


class Trace(NamedTuple):
    """What is left of a job that is over.

    Args:
        spec: of the job.
        ending: what we asked for, if anything.
        run: what its last run left.
        seen: the batch system's word on its end; None: it has none.
    """

    spec: JobSpec
    ending: Ending | None
    run: Run
    seen: JobStatus | None

    @property
    def is_unclear(self) -> bool:
        """Whether only the accounting can tell how it ended."""
        if self.ending is not None or self.run.is_complete:
            return False
        if self.seen is None:
            return self.run.warned_after is None
        return self.seen.state is JobState.FAILED and self.seen.exit_code is None


def judge(trace: Trace) -> JobStatus | None:
    """Say how a job ended, without its standard error.

    Returns:
        None: there is nothing to judge by, as yet.
    """
    run = trace.run
    failed = run.failed_node
    code = run.exit_codes[failed] if failed is not None else None
    if failed is None and run.is_complete:
        code = 0
    if trace.ending is not None:
        return JobStatus(trace.ending.state, code, trace.ending.message)
    if trace.seen is not None:
        return _believe(trace.seen, failed, code)
    if run.warned_after is not None:
        return _blame_time(trace.spec, run.warned_after, code)
    if not run.is_complete:
        return None
    if failed is None:
        return JobStatus(JobState.COMPLETED, 0)
    assert code is not None
    return JobStatus(JobState.FAILED, code, explain_exit_code(failed, code))


def _believe(seen: JobStatus, failed: int | None, code: int | None) -> JobStatus:
    """Add to the batch system's word what the nodes told."""
    if code is None:
        code = 0 if seen.state is JobState.COMPLETED else seen.exit_code
    if seen.state is not JobState.FAILED:
        return replace(seen, exit_code=code)
    parts = [seen.message] if seen.message else []
    if failed is not None and code is not None:
        parts.append(explain_exit_code(failed, code))
    elif not parts:
        told = "no exit code" if code is None else f"exit code {code}"
        parts.append(
            f"The job's script ended with {told}, before its nodes told theirs"
        )
    return JobStatus(JobState.FAILED, code, "; ".join(parts))


def _blame_time(spec: JobSpec, warned_after: int, code: int | None) -> JobStatus:
    """Say how a job ended that the batch system had warned."""
    # Seconds are cut off at the start and at the end.
    if spec.walltime is not None and warned_after + 1 >= spec.walltime:
        message = f"Reached its walltime, {spec.walltime:g} s"
        return JobStatus(JobState.TIMEOUT, code, message)
    message = f"Was told to end after {warned_after} s, by somebody else"
    return JobStatus(JobState.CANCELLED, code, message)
