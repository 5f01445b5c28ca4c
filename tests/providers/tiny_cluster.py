"""A batch system of one machine, for tests of what all batch systems share.

Its jobs are processes, its queue forgets them as they end, and it warns them by SIGUSR1
before it kills them, as Grid Engine does by SIGUSR2. It can fall silent, lose an
answer, and start late what it took.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from providers import JobState, JobStatus, ProviderUnavailable, SubmitRejected
from providers.batch import Submission
from providers.batch_script import ScriptStyle

__all__ = ["TinyCluster"]

_LAUNCH = """
children=
code=0
for node in $(seq 0 $((nodes - 1))); do
    bash "$folder/node.sh" "$run" "$node" &
    children="$children $!"
done
for child in $children; do
    while kill -0 "$child" 2> /dev/null; do
        wait "$child"
    done
    wait "$child" || code=$?
done
"""


class _TinyJob:
    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.process: subprocess.Popen[bytes] | None = None
        self.began_at = 0.0
        self.kill_at = 0.0  # 0: it was not warned


class TinyCluster:
    """See `Scheduler`; one for all providers of a test.

    Args:
        grace: seconds between the warning and the SIGKILL.
    """

    system = "Tiny"
    style = ScriptStyle(number="$TINY_JOB", launch=_LAUNCH, warning="USR1")

    def __init__(self, grace: float = 2.0) -> None:
        self.grace = grace
        self.is_silent = False
        self.loses_answers = False
        self.starts_at_once = True
        self.refusal = ""
        self.records: dict[str, JobStatus] = {}  # {number: the accounting's word}
        self.questions: list[str] = []
        self._jobs: dict[str, _TinyJob] = {}
        self._count = 0

    # The commands

    def submit(self, submission: Submission) -> str:
        self._hear("submit")
        if self.refusal:
            raise SubmitRejected(self.refusal)
        self._count += 1
        number = str(self._count)
        self._jobs[number] = _TinyJob(submission)
        if self.starts_at_once:
            self.start(number)
        if self.loses_answers:
            raise ProviderUnavailable("Tiny lost its answer")
        return number

    def find(self, name: str) -> str | None:
        self._hear("find")
        self._look()
        found = (n for n, job in self._jobs.items() if job.submission.name == name)
        return next(found, None)

    def list_jobs(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        self._hear("list_jobs")
        self._look()
        return {
            number: JobStatus(JobState.RUNNING if job.process else JobState.PENDING)
            for number, job in self._jobs.items()
        }

    def look_up(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        self._hear("look_up")
        return {n: self.records[n] for n in numbers if n in self.records}

    def cancel(self, numbers: Sequence[str]) -> None:
        self._hear("cancel")
        for number in numbers:
            job = self._jobs.get(number)
            if job is None:
                continue
            if job.process is None:
                del self._jobs[number]
            else:
                self._warn(job)

    # What tests do to it

    def start(self, number: str) -> None:
        """Start a job that waits."""
        job = self._jobs[number]
        spec = job.submission.spec
        with (spec.folder / "batch.err").open("ab") as errors:
            job.process = subprocess.Popen(
                ["bash", str(job.submission.script)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "TINY_JOB": number},
                start_new_session=True,
            )
        job.began_at = time.monotonic()

    def drop(self, number: str) -> None:
        """Forget a job that waits, as if somebody had deleted it."""
        del self._jobs[number]

    def close(self) -> None:
        """Kill what is left."""
        for job in self._jobs.values():
            job.kill_at = -1.0
        self._look()

    def _hear(self, question: str) -> None:
        if self.is_silent:
            raise ProviderUnavailable("Tiny does not answer")
        self.questions.append(question)

    def _warn(self, job: _TinyJob) -> None:
        assert job.process is not None
        if not job.kill_at:
            job.kill_at = time.monotonic() + self.grace
            os.killpg(job.process.pid, signal.SIGUSR1)

    def _look(self) -> None:
        """Do what a batch system does all the time."""
        for number, job in list(self._jobs.items()):
            if job.process is None:
                continue
            now = time.monotonic()
            walltime = job.submission.spec.walltime
            if walltime is not None and now - job.began_at >= walltime:
                self._warn(job)
            is_over = job.process.poll() is not None
            if is_over or (job.kill_at and now >= job.kill_at):
                with suppress(ProcessLookupError):
                    os.killpg(job.process.pid, signal.SIGKILL)
                job.process.wait()
                del self._jobs[number]
