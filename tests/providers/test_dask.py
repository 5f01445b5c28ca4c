"""Jobs on Dask keep what every provider promises, with a real scheduler and workers.

What is special here: a node is an actor that no client holds; it dies with its worker,
and its processes with it; workers need nothing of this package.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from providers import JobSpec, JobState, Provider
from providers.dask import DaskProvider
from tests.providers.clusters import (
    DASK,
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
from tests.providers.dask_cluster import DaskCluster, own_dask
from tests.support import eventually

needs_for_all(DASK)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WITHIN = 30.0
# Nodes that a worker may run at a time.
SLOTS = 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with own_dask(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def make(cluster: DaskCluster) -> Connect:
    def make(**given: object) -> Provider:
        chosen = {
            "address": cluster.address,
            "resources": {"BLOCK": 1},
            "kill_after": 1,
        }
        return DaskProvider(**chosen | given)  # type: ignore[arg-type]

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
    impatient = {"command_timeout": 1}
    complaint = "did not answer within 1 s"

    @pytest.fixture
    def silence(self, cluster: DaskCluster) -> Silence:
        return lambda: frozen(cluster.daemons.pid("scheduler"))


def expect_no_process(tmp_path: Path) -> None:
    """Wait until a gated job's process is gone; its worker's guard needs a moment."""
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: has_ended(pid), WITHIN, f"the end of process {pid}")


def test_a_job_waits_for_a_worker_and_starts_with_the_next_look_at_it(
    cluster: DaskCluster, connect: Connect, tmp_path: Path
) -> None:
    provider = connect(resources={"late": 1})
    spec = JobSpec("patient", [f"touch {tmp_path}/ran"], tmp_path / "job")
    job_id = provider.submit(spec)
    status = provider.status([job_id])[job_id]
    assert (status.state, status.message) == (
        JobState.PENDING,
        "Dask has no worker for it yet",
    )
    cluster.start_worker("late")
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


def test_a_job_whose_worker_is_killed_has_failed_and_left_no_process(
    cluster: DaskCluster, connect: Connect, tmp_path: Path
) -> None:
    cluster.start_worker("doomed")
    provider = connect(resources={"doomed": 1})
    job_id = begin(provider, tmp_path, WITHIN)
    cluster.daemons.kill("doomed")
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.exit_code) == (JobState.FAILED, None)
    assert "Dask lost it" in status.message
    expect_no_process(tmp_path)


def test_a_node_that_nobody_asks_about_ends_itself(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect(abandon_after=1, poll_period=0.5)
    job_id = begin(provider, tmp_path, WITHIN)
    expect_no_process(tmp_path)
    status = end_of(provider, job_id, WITHIN)
    assert status.state is JobState.CANCELLED
    assert "no provider had asked about it" in status.message


def test_a_provider_killed_at_any_line_of_submit_loses_and_doubles_nothing(
    cluster: DaskCluster, connect: Connect, tmp_path: Path
) -> None:
    make = (
        "__import__('providers.dask').dask.DaskProvider("
        f"address={cluster.address!r}, resources={{'BLOCK': 1}})"
    )
    results = [
        kill_and_recover(connect, make, tmp_path / str(lines), lines, WITHIN)
        for lines in [*range(20, 220, 40), 100_000]
    ]
    assert results[-1]
    assert not all(results[:3])


class TestWithoutScheduler:
    """A scheduler of their own, as it goes."""

    @pytest.fixture
    def cluster(self, tmp_path: Path) -> Iterator[DaskCluster]:
        with own_dask(tmp_path / "dask") as cluster:
            yield cluster

    def test_a_scheduler_that_is_gone_takes_its_jobs_along_and_the_next_knows_it(
        self, cluster: DaskCluster, make: Connect, tmp_path: Path
    ) -> None:
        provider = make(command_timeout=2)
        job_id = begin(provider, tmp_path, WITHIN)
        address = cluster.address
        cluster.daemons.kill("scheduler")
        assert state_of(provider, job_id) is JobState.UNKNOWN
        expect_no_process(tmp_path)
        cluster.start_scheduler(port=address.rpartition(":")[2])
        status = end_of(provider, job_id, WITHIN)
        assert status.state is JobState.FAILED
        assert "Dask does not know gated-" in status.message
        provider.close()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "address '' must be that of a Dask scheduler"),
        ({"address": "tcp://h:1", "kill_after": -1}, "kill_after -1 must be 0 or more"),
        (
            {"address": "tcp://h:1", "poll_period": 5, "abandon_after": 9},
            "abandon_after 9 must be at least twice poll_period 5",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        DaskProvider(**options)  # type: ignore[arg-type]
