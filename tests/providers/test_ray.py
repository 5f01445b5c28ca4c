"""Jobs on Ray keep what every provider promises, with a real head and a real node.

What is special here: a node is a detached actor, in a process of its own, that takes
its node along when it dies; Ray's client lives in a child process and is replaced.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from providers import JobSpec, JobState, Provider
from providers.ray import RayProvider
from tests.providers.clusters import (
    RAY,
    connecting,
    frozen,
    kill_and_recover,
    needs_for_all,
    state_of,
)
from tests.providers.contract import (
    Connect,
    ProviderContract,
    Silence,
    SilenceContract,
    begin,
    end_of,
)
from tests.providers.daemons import has_ended
from tests.providers.ray_cluster import RayCluster, own_ray
from tests.support import eventually

needs_for_all(RAY)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# An actor has to be placed, and its process to be started.
WITHIN = 60.0
CPUS = 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with own_ray(tmp_path_factory.mktemp("ray")) as cluster:
        yield cluster


@pytest.fixture
def make(cluster: RayCluster) -> Connect:
    def make(**given: object) -> Provider:
        chosen = {"address": cluster.address, "kill_after": 1, "retry_period": 0.5}
        return RayProvider(**chosen | given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def connect(make: Connect, tmp_path: Path) -> Iterator[Connect]:
    with connecting(make, tmp_path) as connect:
        yield connect


class TestContract(ProviderContract):
    within = WITHIN

    @pytest.fixture
    def connect(self, connect: Connect) -> Connect:
        return connect


class TestSilence(SilenceContract):
    within = WITHIN
    # A client's start takes two seconds of processor time, on a machine that has some.
    impatient = {"command_timeout": 15}
    complaint = "no answer within 15 s"
    jobs_answer = True

    @pytest.fixture
    def silence(self, cluster: RayCluster) -> Silence:
        return lambda: frozen(cluster.pid("head", "gcs_server"))


def begin_and_see(provider: Provider, tmp_path: Path) -> tuple[str, int]:
    """Begin a job; return its id, and the pid of its process."""
    job_id = begin(provider, tmp_path, WITHIN)
    return job_id, int((tmp_path / "pid").read_text())


def test_a_job_waits_for_a_node_with_its_resources(
    cluster: RayCluster, connect: Connect, tmp_path: Path
) -> None:
    provider = connect(resources={"late": 1})
    spec = JobSpec("patient", [f"touch {tmp_path}/ran"], tmp_path / "job")
    job_id = provider.submit(spec)
    status = provider.status([job_id])[job_id]
    assert (status.state, status.message) == (
        JobState.PENDING,
        "Ray has not started it yet",
    )
    cluster.start_node("late")
    try:
        assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED
    finally:
        cluster.daemons.stop("late")
    assert (tmp_path / "ran").exists()


def test_cancelling_a_job_that_waits_ends_it_before_it_has_begun(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect(resources={"nowhere": 1})
    job_id = provider.submit(JobSpec("waiting", ["true"], tmp_path / "job"))
    provider.cancel([job_id])
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.exit_code) == (JobState.CANCELLED, None)


def test_a_job_whose_actor_is_killed_has_failed_and_left_no_process(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    job_id, pid = begin_and_see(provider, tmp_path)
    actor = psutil.Process(pid).parent()
    assert actor is not None
    actor.kill()
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.exit_code) == (JobState.FAILED, None)
    assert "Ray lost it" in status.message
    eventually(lambda: has_ended(pid), WITHIN, f"the end of process {pid}")


def test_a_job_whose_node_is_killed_has_failed_and_left_no_process(
    cluster: RayCluster, connect: Connect, tmp_path: Path
) -> None:
    cluster.start_node("doomed")
    provider = connect(resources={"doomed": 1})
    job_id, pid = begin_and_see(provider, tmp_path)
    os.kill(cluster.pid("doomed", "raylet"), signal.SIGKILL)
    status = end_of(provider, job_id, WITHIN)
    cluster.daemons.stop("doomed")
    assert (status.state, status.exit_code) == (JobState.FAILED, None)
    assert "Ray lost it" in status.message
    eventually(lambda: has_ended(pid), WITHIN, f"the end of process {pid}")


def test_a_provider_killed_at_any_line_of_submit_loses_and_doubles_nothing(
    cluster: RayCluster, connect: Connect, tmp_path: Path
) -> None:
    make = f"__import__('providers.ray').ray.RayProvider(address={cluster.address!r})"
    results = [
        kill_and_recover(connect, make, tmp_path / str(lines), lines, WITHIN)
        for lines in [30, 100, 100_000]
    ]
    assert results == [False, False, True]


def test_a_job_outlives_a_client_that_is_killed_when_it_has_just_been_taken(
    connect: Connect, tmp_path: Path
) -> None:
    # Ray is told of an actor's needs after `remote` has returned: one in four was lost.
    for turn in range(4):
        before = connect()
        job_id = before.submit(JobSpec("short", ["true"], tmp_path / str(turn)))
        before.close()
        assert end_of(connect(), job_id, WITHIN).state is JobState.COMPLETED


def test_a_client_that_is_killed_is_replaced(connect: Connect, tmp_path: Path) -> None:
    provider = connect()
    job_id, _ = begin_and_see(provider, tmp_path)
    (client,) = (
        process
        for process in psutil.Process().children()
        if "providers.ray_agent" in process.cmdline()
    )
    client.kill()
    client.wait()
    assert state_of(provider, job_id) is JobState.UNKNOWN
    (tmp_path / "gate").touch()
    assert end_of(provider, job_id, WITHIN).exit_code == 5


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"address": "local"}, "address 'local' must be that of a cluster's head"),
        ({"cpus_per_node": -1}, "cpus_per_node -1 must be 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        RayProvider(**options)  # type: ignore[arg-type]
