"""Jobs of Kubernetes keep what every provider promises, on a real cluster of one node.

ACTORS_TEST_KUBERNETES names the folder of `kubernetes up`: `kubeconfig`, and the pids
of its daemons in `run/`. Its setup takes minutes, so nobody runs this by default.
"""

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
from providers.kubernetes import KubernetesProvider
from tests.providers.clusters import (
    KUBERNETES,
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
from tests.providers.kubernetes_node import FOLDER, pod_options
from tests.support import eventually

needs_for_all(KUBERNETES)
pytest.importorskip("kubernetes", reason="the extra kubernetes is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

WITHIN = 90.0


@pytest.fixture
def options(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> dict[str, Any]:
    return pod_options(tmp_path, [tmp_path_factory.getbasetemp()])


@pytest.fixture
def connect(options: dict[str, Any], tmp_path: Path) -> Iterator[Connect]:
    def make(**given: Any) -> Provider:
        return KubernetesProvider(**options | given)

    with connecting(make, tmp_path) as connect:
        yield connect


class TestContract(ProviderContract):
    within = WITHIN
    walltime = 2.0

    @pytest.fixture
    def connect(self, connect: Connect) -> Connect:
        return connect


class TestSilence(SilenceContract):
    within = WITHIN

    @pytest.fixture
    def silence(self) -> Silence:
        return lambda: frozen(daemon("apiserver"))


def daemon(name: str) -> int:
    return int((FOLDER / f"run/{name}.pid").read_text())


def test_a_pod_that_finds_no_room_waits_and_says_why(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect(cpus_per_node=500)
    job_id = provider.submit(JobSpec("huge", ["true"], tmp_path / "job"))
    eventually(
        lambda: "Insufficient cpu" in provider.status([job_id])[job_id].message,
        WITHIN,
        "the reason",
    )
    assert state_of(provider, job_id) is JobState.PENDING
    provider.cancel([job_id])
    assert end_of(provider, job_id, WITHIN).state is JobState.CANCELLED


def test_what_kubernetes_refuses_is_rejected_with_its_own_words(
    connect: Connect, tmp_path: Path
) -> None:
    spec = JobSpec("refused", ["true"], tmp_path / "job")
    with pytest.raises(SubmitRejected, match='namespaces "nowhere" not found'):
        connect(namespace="nowhere").submit(spec)
    provider = connect()
    assert provider.recover(spec) is None
    # Once it is mended, the same job can be submitted.
    job_id = provider.submit(spec)
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED


def test_a_job_that_uses_too_much_memory_has_failed(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect(memory_per_node="32Mi")
    command = "exec bash -c 'x=$(head -c 200000000 /dev/zero | tr \"\\0\" y)'"
    job_id = provider.submit(JobSpec("greedy", [command], tmp_path / "job"))
    status = end_of(provider, job_id, WITHIN)
    assert status.state is JobState.FAILED
    assert status.exit_code not in (None, 0)


def test_a_job_that_somebody_deletes_is_cancelled_and_says_so(
    connect: Connect, options: dict[str, Any], tmp_path: Path
) -> None:
    provider = connect()
    job_id = begin(provider, tmp_path, WITHIN)
    other = connect()
    other._cluster.end([f"{job_id.partition(':')[0]}-0"])  # type: ignore[attr-defined]
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.message) == (
        JobState.CANCELLED,
        "Somebody deleted it",
    )


def test_a_job_on_a_host_that_is_gone_is_unknown_and_goes_on_when_it_is_back(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    job_id = begin(provider, tmp_path, WITHIN)
    with frozen(daemon("kubelet")):
        eventually(
            lambda: state_of(provider, job_id) is JobState.UNKNOWN,
            WITHIN,
            "Kubernetes to miss its host",
        )
    eventually(
        lambda: state_of(provider, job_id) is JobState.RUNNING, WITHIN, "it to be back"
    )
    (tmp_path / "gate").touch()
    assert end_of(provider, job_id, WITHIN).exit_code == 5


def test_a_provider_killed_at_any_line_of_submit_loses_and_doubles_nothing(
    connect: Connect, options: dict[str, Any], tmp_path: Path
) -> None:
    make = (
        f"__import__('providers.kubernetes').kubernetes.KubernetesProvider(**{options})"
    )
    results = [
        kill_and_recover(connect, make, tmp_path / str(lines), lines, WITHIN)
        for lines in [40, 70, 100, 100_000]
    ]
    assert results[-1]
    assert not all(results[:2])
