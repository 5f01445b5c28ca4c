"""The promises of `providers.Provider`, for every provider to be held to.

A test module of a provider derives from `ProviderContract`, and gives it

- a fixture `connect`: it returns a new instance, as a restarted process would make it,
  with these options besides those that the tests need; all instances are closed, and
  all jobs ended, by it;
- if need be, other values of `within`, `walltime` and `most_nodes`.
"""

import signal
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from providers import (
    JobSpec,
    JobState,
    JobStatus,
    Provider,
    ProviderUnavailable,
    SubmitRejected,
)
from tests.support import eventually

__all__ = [
    "Connect",
    "ProviderContract",
    "Silence",
    "SilenceContract",
    "begin",
    "end_of",
]

Connect = Callable[..., Provider]
# Makes a batch system deaf and dumb for as long as the context lasts.
Silence = Callable[[], AbstractContextManager[None]]


def end_of(provider: Provider, job_id: str, within: float) -> JobStatus:
    """Wait until a job has ended, and return its final status."""
    statuses: list[JobStatus] = []

    def has_ended() -> bool:
        statuses.append(provider.status([job_id])[job_id])
        return statuses[-1].state.is_final

    eventually(has_ended, within, f"the end of {job_id}")
    return statuses[-1]


def begin(provider: Provider, tmp_path: Path, within: float) -> str:
    """Start a job that ends with code 5 when `gate` is there; wait until it runs.

    Its process writes its pid, as it is where it runs, to `pid`.
    """
    command = (
        f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; "
        f"until [ -e {tmp_path}/gate ]; do sleep 0.05; done; exit 5"
    )
    job_id = provider.submit(JobSpec("gated", [command], tmp_path / "job"))
    eventually(
        lambda: provider.status([job_id])[job_id].state is JobState.RUNNING,
        within,
        "it to run",
    )
    eventually((tmp_path / "pid").exists, within, "its process")
    return job_id


def is_running(command: str) -> bool:
    """Whether a process of this machine, in a container or not, has this command."""
    words = b"".join(word.encode() + b"\0" for word in command.split())
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # It may end while it is looked at.
        with suppress(OSError):
            if path.read_bytes() == words:
                return True
    return False


class ProviderContract:
    """Tests that any provider passes; see the module's docstring."""

    # Seconds in which the batch system starts a job, or sees it end.
    within = 10.0
    # The shortest that the batch system can keep, seconds.
    walltime = 0.5
    # How many nodes a job of the tests may have, at least 2.
    most_nodes = 3

    @pytest.fixture
    def connect(self) -> Connect:
        raise NotImplementedError

    def wait_for_file(self, path: Path) -> None:
        eventually(path.exists, self.within, f"{path}")

    def test_a_job_whose_nodes_exit_with_0_is_completed(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        nodes = range(self.most_nodes)
        commands = [f"echo {node} > {tmp_path}/out-{node}" for node in nodes]
        job_id = provider.submit(JobSpec("several-nodes", commands, tmp_path / "job"))
        first = provider.status([job_id])[job_id]
        assert first.state in (JobState.PENDING, JobState.RUNNING, JobState.COMPLETED)
        assert end_of(provider, job_id, self.within).state is JobState.COMPLETED
        for node in nodes:
            assert (tmp_path / f"out-{node}").read_text() == f"{node}\n"

    def test_a_job_runs_until_all_of_its_nodes_have_ended(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        gate = tmp_path / "gate"
        commands = [
            f"touch {tmp_path}/first",
            f"until [ -e {gate} ]; do sleep 0.02; done",
        ]
        job_id = provider.submit(JobSpec("uneven", commands, tmp_path / "job"))
        self.wait_for_file(tmp_path / "first")
        eventually(
            lambda: provider.status([job_id])[job_id].state is JobState.RUNNING,
            self.within,
            "the job to run",
        )
        gate.touch()
        status = end_of(provider, job_id, self.within)
        assert (status.state, status.exit_code) == (JobState.COMPLETED, 0)

    def test_a_failed_node_fails_the_job_with_its_exit_code_and_standard_error(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        commands = ["echo fine >&2", "echo all is lost >&2; exit 3"]
        job_id = provider.submit(JobSpec("failing", commands, tmp_path / "job"))
        status = end_of(provider, job_id, self.within)
        assert (status.state, status.exit_code) == (JobState.FAILED, 3)
        assert "all is lost" in status.stderr_tail
        assert "3" in status.message

    def test_only_the_tail_of_a_long_standard_error_is_told(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        command = "for i in $(seq 1 5000); do echo line $i >&2; done; exit 1"
        job_id = provider.submit(JobSpec("wordy", [command], tmp_path / "job"))
        tail = end_of(provider, job_id, self.within).stderr_tail
        assert tail.rstrip().endswith("line 5000")
        assert len(tail) <= 2048

    def test_the_signal_that_ended_a_node_is_named(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        job_id = provider.submit(JobSpec("killed", ["kill -KILL $$"], tmp_path / "job"))
        status = end_of(provider, job_id, self.within)
        assert status.state is JobState.FAILED
        assert status.exit_code == 128 + signal.SIGKILL
        assert "SIGKILL" in status.message

    def test_a_job_sees_its_environment_and_its_quotes_survive(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        value = "two  spaces, a 'quote', a $dollar\nand a line"
        command = f'printf %s "$GIVEN" > {tmp_path}/given'
        spec = JobSpec("environment", [command], tmp_path / "job", {"GIVEN": value})
        assert (
            end_of(provider, provider.submit(spec), self.within).state
            is JobState.COMPLETED
        )
        assert (tmp_path / "given").read_text() == value

    def test_a_job_that_reaches_its_walltime_is_a_timeout_and_no_failure(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        spec = JobSpec(
            "long", ["exec sleep 600"], tmp_path / "job", walltime=self.walltime
        )
        job_id = provider.submit(spec)
        status = end_of(provider, job_id, self.walltime + self.within)
        assert status.state is JobState.TIMEOUT

    def test_cancelling_a_running_job_ends_it(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        # Nobody else sleeps for so long. Its pid would be another one in a container.
        sleep = f"sleep {600 + zlib.crc32(bytes(tmp_path)) / 2**32}"
        command = f"touch {tmp_path}/ran; exec {sleep}"
        job_id = provider.submit(JobSpec("endless", [command], tmp_path / "job"))
        self.wait_for_file(tmp_path / "ran")
        eventually(lambda: is_running(sleep), self.within, sleep)
        provider.cancel([job_id])
        provider.cancel([job_id])
        assert end_of(provider, job_id, self.within).state is JobState.CANCELLED
        assert not is_running(sleep)

    def test_cancelling_at_once_ends_the_job_whether_it_has_started_or_not(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        job_id = provider.submit(JobSpec("brief", ["sleep 600"], tmp_path / "job"))
        provider.cancel([job_id])
        assert end_of(provider, job_id, self.within).state is JobState.CANCELLED

    def test_a_cancelled_job_may_end_in_order(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        command = (
            f"trap 'touch {tmp_path}/tidied; exit 0' TERM; touch {tmp_path}/ready; "
            "while :; do sleep 0.02; done"
        )
        job_id = provider.submit(JobSpec("tidy", [command], tmp_path / "job"))
        self.wait_for_file(tmp_path / "ready")
        provider.cancel([job_id])
        assert end_of(provider, job_id, self.within).state is JobState.CANCELLED
        assert (tmp_path / "tidied").exists()

    def test_cancelling_what_has_ended_changes_nothing(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        job_id = provider.submit(JobSpec("done", ["true"], tmp_path / "job"))
        before = end_of(provider, job_id, self.within)
        provider.cancel([job_id])
        assert provider.status([job_id]) == {job_id: before}

    def test_a_job_that_nobody_knows_has_failed_and_can_be_cancelled(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        provider = connect()
        known = provider.submit(JobSpec("known", ["true"], tmp_path / "job"))
        unknown = f"{known}0"
        provider.cancel([unknown])
        status = provider.status([unknown, known])[unknown]
        assert (status.state, status.exit_code) == (JobState.FAILED, None)
        assert status.message
        assert provider.status([]) == {}

    def test_submitting_a_job_again_returns_the_job_that_is_there(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        spec = JobSpec("once", [f"echo ran >> {tmp_path}/ran"], tmp_path / "job")
        provider = connect()
        job_id = provider.submit(spec)
        assert provider.submit(spec) == job_id
        assert connect().submit(spec) == job_id
        assert end_of(provider, job_id, self.within).state is JobState.COMPLETED
        assert connect().submit(spec) == job_id
        assert (tmp_path / "ran").read_text() == "ran\n"

    def test_a_job_that_was_never_submitted_is_not_recovered(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        spec = JobSpec("never", [f"touch {tmp_path}/ran"], tmp_path / "job")
        assert connect().recover(spec) is None
        assert not (tmp_path / "ran").exists()

    def test_a_restarted_provider_finds_a_running_job_and_sees_it_end(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        command = (
            f"touch {tmp_path}/ran; until [ -e {gate} ]; do sleep 0.02; done; exit 5"
        )
        spec = JobSpec("adopted", [command], tmp_path / "job")
        before = connect()
        job_id = before.submit(spec)
        self.wait_for_file(tmp_path / "ran")
        before.close()
        before.close()
        after = connect()
        assert after.recover(spec) == job_id
        # A batch system may be slow to see that it has begun.
        eventually(
            lambda: after.status([job_id])[job_id].state is JobState.RUNNING,
            self.within,
            "the job to run",
        )
        gate.touch()
        status = end_of(after, job_id, self.within)
        assert (status.state, status.exit_code) == (JobState.FAILED, 5)

    def test_a_restarted_provider_finds_an_ended_job_as_it_was(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        command = "echo why >&2; exit 4"
        spec = JobSpec("over", [command], tmp_path / "job")
        before = connect()
        status = end_of(before, before.submit(spec), self.within)
        after = connect()
        job_id = after.recover(spec)
        assert job_id is not None
        assert after.status([job_id]) == {job_id: status}

    def test_a_restarted_provider_cancels_and_keeps_walltimes(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        before = connect()
        endless = before.submit(JobSpec("e", ["sleep 600"], tmp_path / "endless"))
        limited = before.submit(
            JobSpec("l", ["sleep 600"], tmp_path / "limited", walltime=self.walltime)
        )
        before.close()
        after = connect()
        after.cancel([endless])
        assert end_of(after, endless, self.within).state is JobState.CANCELLED
        within = self.walltime + self.within
        assert end_of(after, limited, within).state is JobState.TIMEOUT

    def test_a_job_that_cannot_have_a_folder_is_rejected(
        self, connect: Connect, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SubmitRejected):
            connect().submit(JobSpec("nowhere", ["true"], tmp_path / "file" / "job"))


class SilenceContract:
    """Tests of a batch system that may not answer.

    A test class has, besides what `ProviderContract` wants, a fixture `silence`.
    """

    within = 10.0
    # Options of a provider that soon takes a batch system for silent.
    impatient: Mapping[str, object] = {"command_timeout": 2}
    # What it says then.
    complaint = "does not answer"
    # Whether jobs that a provider has seen answer it by themselves.
    jobs_answer = False

    @pytest.fixture
    def silence(self) -> Silence:
        raise NotImplementedError

    def _begin(self, connect: Connect, tmp_path: Path) -> tuple[Provider, str]:
        """Begin a job; return its id, and who will be asked about it."""
        provider = connect(**self.impatient)
        job_id = begin(provider, tmp_path, self.within)
        return connect(**self.impatient) if self.jobs_answer else provider, job_id

    def test_while_nobody_answers_jobs_are_unknown_and_go_on(
        self, connect: Connect, silence: Silence, tmp_path: Path
    ) -> None:
        provider, job_id = self._begin(connect, tmp_path)
        with silence():
            status = provider.status([job_id])[job_id]
            assert status.state is JobState.UNKNOWN
            assert self.complaint in status.message
        (tmp_path / "gate").touch()
        status = end_of(provider, job_id, self.within)
        assert (status.state, status.exit_code) == (JobState.FAILED, 5)

    def test_a_job_cancelled_while_nobody_answers_ends_when_somebody_does(
        self, connect: Connect, silence: Silence, tmp_path: Path
    ) -> None:
        provider, job_id = self._begin(connect, tmp_path)
        with silence(), pytest.raises(ProviderUnavailable, match=self.complaint):
            provider.cancel([job_id])
        (tmp_path / "gate").touch()
        assert end_of(connect(), job_id, self.within).state is JobState.CANCELLED

    def test_a_submission_without_an_answer_runs_once(
        self, connect: Connect, silence: Silence, tmp_path: Path
    ) -> None:
        provider = connect(**self.impatient)
        spec = JobSpec("unsure", [f"echo ran >> {tmp_path}/ran"], tmp_path / "job")
        # It is not the first that it is asked.
        heard = provider.submit(JobSpec("heard", ["true"], tmp_path / "heard"))
        end_of(provider, heard, self.within)
        with silence(), pytest.raises(ProviderUnavailable):
            provider.submit(spec)
        # What it was asked waits in a socket, and is read when it wakes up.
        after = connect()
        job_id = after.recover(spec)
        assert job_id is not None
        assert end_of(after, job_id, self.within).state is JobState.COMPLETED
        assert (tmp_path / "ran").read_text() == "ran\n"
