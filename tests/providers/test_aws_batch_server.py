"""Jobs of AWS Batch keep what every provider promises, as moto's server runs them.

ACTORS_TEST_AWS_BATCH names the folder of `awsbatch up`: moto's port, and `engine/`, the
podman in which jobs are real containers. What is not real there: it kills a container
that is terminated at once, where AWS sends SIGTERM first.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from providers import (
    JobSpec,
    JobState,
    Provider,
    SubmitRejected,
)
from providers.aws_batch import AwsBatchProvider
from tests.providers.aws_server import FOLDER, register_definition, talking_to_aws
from tests.providers.clusters import (
    AWS_BATCH,
    connecting,
    frozen,
    kill_and_recover,
    needs_for_all,
)
from tests.providers.contract import (
    Connect,
    ProviderContract,
    Silence,
    SilenceContract,
    end_of,
)
from tests.support import eventually

needs_for_all(AWS_BATCH)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    # boto3's own, about Python versions.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore"),
]

WITHIN = 60.0


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Register a job definition whose containers see the tests' folder."""
    with talking_to_aws():
        yield register_definition([tmp_path_factory.getbasetemp()])


@pytest.fixture
def options(definition: str) -> dict[str, Any]:
    # moto lists a job as soon as it has taken it.
    return {"job_queue": "queue", "job_definition": definition, "patience": 1}


@pytest.fixture
def connect(options: dict[str, Any], tmp_path: Path) -> Iterator[Connect]:
    def make(**given: Any) -> Provider:
        return AwsBatchProvider(**options | given)

    with connecting(make, tmp_path) as connect:
        yield connect


class TestContract(ProviderContract):
    within = WITHIN
    walltime = 2.0

    @pytest.fixture
    def connect(self, connect: Connect) -> Connect:
        return connect

    @pytest.mark.skip(reason="moto kills at once; AWS sends SIGTERM first")
    def test_a_cancelled_job_may_end_in_order(
        self, connect: Connect, tmp_path: Path
    ) -> None: ...


class TestSilence(SilenceContract):
    within = WITHIN

    @pytest.fixture
    def silence(self) -> Silence:
        return lambda: frozen(server())


def test_what_aws_refuses_is_rejected_with_its_own_words(
    connect: Connect, tmp_path: Path
) -> None:
    spec = JobSpec("refused", ["true"], tmp_path / "job")
    with pytest.raises(SubmitRejected, match="nowhere"):
        connect(job_queue="nowhere").submit(spec)
    provider = connect()
    assert provider.recover(spec) is None
    # Once it is mended, the same job can be submitted.
    job_id = provider.submit(spec)
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED


def server() -> int:
    return int((FOLDER / "moto.pid").read_text())


def test_a_container_that_somebody_kills_has_failed(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    command = f"touch {tmp_path}/ran; exec sleep 600"
    job_id = provider.submit(JobSpec("shot", [command], tmp_path / "job"))
    eventually((tmp_path / "ran").exists, WITHIN, "it to run")
    # Its first process, to which nobody in the container can do that.
    pid = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.read_bytes().endswith(b"\0" + command.encode() + b"\0")
    )
    os.kill(pid, signal.SIGKILL)
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.exit_code) == (JobState.FAILED, 137)


def test_a_provider_killed_at_any_line_of_submit_loses_and_doubles_nothing(
    connect: Connect, options: dict[str, Any], tmp_path: Path
) -> None:
    make = f"__import__('providers.aws_batch').aws_batch.AwsBatchProvider(**{options})"
    results = [
        kill_and_recover(connect, make, tmp_path / str(lines), lines, WITHIN)
        for lines in [30, 60, 90, 100_000]
    ]
    assert results[-1]
    assert not all(results[:2])
