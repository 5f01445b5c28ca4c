"""Jobs by ssh keep what every provider promises, with real sshds.

All hosts share this machine's files, so each keeps its nodes in a folder of its own.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from providers import JobSpec, JobState, Provider, SshProvider, SubmitRejected
from tests.providers.clusters import (
    SCRIPTS,
    end_all,
    kill_and_recover,
    needs,
    run_script,
    state_of,
)
from tests.providers.contract import Connect, ProviderContract, end_of
from tests.providers.sshd_hosts import (
    FOLDER,
    HOSTS,
    LOOPBACK,
    SSHD,
    SSHD_DIED_IS_TOLD,
    all_hosts_are_up,
    quick_logins,
)
from tests.support import eventually

__all__ = ["all_hosts_are_up", "quick_logins"]  # fixtures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings(SSHD_DIED_IS_TOLD),
]

WITHIN = 60.0
CUT = next((host for host in HOSTS if host != LOOPBACK), "")

needs_a_host_to_cut = pytest.mark.skipif(not CUT, reason=f"{SSHD} has no netns host")

Make = Callable[..., SshProvider]


def options(tmp_path: Path) -> dict[str, object]:
    return {
        "hosts": HOSTS,
        "ssh_config": str(FOLDER / "ssh_config"),
        "slots_per_host": 1 if len(HOSTS) >= 3 else 4,
        "host_folder": str(tmp_path / "hosts"),
        "kill_after": 2,
        # A login takes a fraction of a second where nothing else is to be done.
        "connect_timeout": 4,
        "command_timeout": 8,
        "retry_period": 0.5,
    }


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make providers with other options; at the end, cancel all jobs of the test."""
    providers: list[SshProvider] = []

    def make(**given: object) -> SshProvider:
        chosen = options(tmp_path) | given
        providers.append(SshProvider(**chosen))  # type: ignore[arg-type]
        return providers[-1]

    yield make
    sweeper = make(kill_after=0)
    job_ids = [str(order.parent) for order in tmp_path.rglob("job.json")]
    end_all(sweeper, job_ids, WITHIN)
    for provider in providers:
        provider.close()


@pytest.fixture
def connect(make: Make) -> Connect:
    return make


class TestContract(ProviderContract):
    within = WITHIN
    # Kept to about a second.
    walltime = 1.0

    @pytest.fixture
    def connect(self, connect: Connect) -> Connect:
        return connect


def eventually_is(provider: Provider, job_id: str, state: JobState) -> None:
    eventually(lambda: state_of(provider, job_id) is state, WITHIN, f"{state}")


@contextmanager
def cut_off(host: str) -> Iterator[None]:
    """Lose what a host sends and gets, without a word, as long as the context lasts."""
    run_script("netns", "cut", host)
    try:
        yield
    finally:
        run_script("netns", "heal", host)


def gated(tmp_path: Path) -> JobSpec:
    """Give a job that ends with code 5 when `gate` is there."""
    command = f"touch {tmp_path}/ran; until [ -e {tmp_path}/gate ]; do sleep 0.1; done"
    return JobSpec("gated", [f"{command}; exit 5"], tmp_path / "job")


@needs(SCRIPTS)
@needs_a_host_to_cut
def test_a_host_that_is_cut_off_keeps_its_job_which_is_unknown_until_it_heals(
    make: Make, tmp_path: Path
) -> None:
    provider = make(hosts=[CUT])
    job_id = provider.submit(gated(tmp_path))
    eventually_is(provider, job_id, JobState.RUNNING)
    eventually((tmp_path / "ran").exists, WITHIN, "the node to run")
    with cut_off(CUT):
        # By the shared connection, which hangs, and then by a new one.
        for successor in (provider, make(hosts=[CUT])):
            status = successor.status([job_id])[job_id]
            assert status.state is JobState.UNKNOWN
            assert status.message.startswith(f"{CUT}: ")
        (tmp_path / "gate").touch()
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.exit_code) == (JobState.FAILED, 5)


@needs(SCRIPTS)
@needs_a_host_to_cut
def test_a_host_that_is_cut_off_gets_no_job_and_others_do(
    make: Make, tmp_path: Path
) -> None:
    if len(HOSTS) < 2:
        pytest.skip(f"{SSHD} has one host only")
    provider = make()
    with cut_off(CUT):
        spec = JobSpec("elsewhere", ["exec sleep 600"], tmp_path / "job")
        job_id = provider.submit(spec)
        assert state_of(provider, job_id) is JobState.RUNNING
    assert (tmp_path / "job/node-0.place-1").read_text() != CUT


@needs(SCRIPTS)
@needs_a_host_to_cut
def test_a_crashed_hosts_job_is_unknown_and_has_failed_when_the_host_is_back(
    make: Make, tmp_path: Path
) -> None:
    provider = make(hosts=[CUT])
    job_id = provider.submit(gated(tmp_path))
    eventually((tmp_path / "ran").exists, WITHIN, "the node to run")
    eventually_is(provider, job_id, JobState.RUNNING)
    run_script("netns", "crash", CUT)
    try:
        eventually_is(provider, job_id, JobState.UNKNOWN)
    finally:
        run_script("sshd", "up", str(FOLDER), CUT)
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.exit_code) == (JobState.FAILED, None)
    assert f"its processes on {CUT} were killed" in status.message


@needs(SCRIPTS)
@needs_a_host_to_cut
def test_a_job_outlives_its_connection_and_its_hosts_sshd(
    make: Make, tmp_path: Path
) -> None:
    provider = make(hosts=[CUT])
    job_id = provider.submit(gated(tmp_path))
    eventually((tmp_path / "ran").exists, WITHIN, "the node to run")
    run_script("sshd", "stop", str(FOLDER), CUT)
    try:
        eventually_is(provider, job_id, JobState.UNKNOWN)
    finally:
        run_script("sshd", "up", str(FOLDER), CUT)
    eventually_is(provider, job_id, JobState.RUNNING)
    (tmp_path / "gate").touch()
    assert end_of(provider, job_id, WITHIN).exit_code == 5


def config_with(tmp_path: Path, name: str, value: Path) -> str:
    """Write an ssh_config with another value of one setting; return its path."""
    text = (FOLDER / "ssh_config").read_text()
    changed = re.sub(rf"{name} .*", f"{name} {value}", text)
    assert changed != text
    (tmp_path / "ssh_config").write_text(changed)
    return str(tmp_path / "ssh_config")


def test_a_key_that_is_refused_rejects_a_job_with_sshs_own_words(
    make: Make, tmp_path: Path
) -> None:
    key = tmp_path / "stranger"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(words, check=True)
    config = config_with(tmp_path, "IdentityFile", key)
    spec = JobSpec("stranger", [f"touch {tmp_path}/ran"], tmp_path / "job")
    with pytest.raises(SubmitRejected, match="Permission denied"):
        make(ssh_config=config).submit(spec)
    # The right one, by an option.
    provider = make(ssh_config=config, identity_file=str(FOLDER / "id_ed25519"))
    assert provider.recover(spec) is None
    assert end_of(provider, provider.submit(spec), WITHIN).state is JobState.COMPLETED


def test_a_host_whose_key_is_unknown_is_not_trusted(make: Make, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").touch()
    config = config_with(tmp_path, "UserKnownHostsFile", tmp_path / "known_hosts")
    spec = JobSpec("unknown", [f"touch {tmp_path}/ran"], tmp_path / "job")
    with pytest.raises(SubmitRejected, match="Host key verification failed"):
        make(ssh_config=config).submit(spec)
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "known_hosts").read_text() == ""


def test_many_questions_go_through_one_connection(make: Make, tmp_path: Path) -> None:
    log = FOLDER / "log" / f"{HOSTS[0]}.log"
    provider = make(hosts=HOSTS[:1])
    before = log.read_text().count("Accepted publickey")
    job_id = provider.submit(gated(tmp_path))
    for _ in range(5):
        assert state_of(provider, job_id) is JobState.RUNNING
    assert log.read_text().count("Accepted publickey") == before + 1


def test_a_provider_killed_at_any_line_of_submit_loses_and_doubles_nothing(
    connect: Connect, tmp_path: Path
) -> None:
    make = f"providers.SshProvider(**{options(tmp_path)!r})"
    results = [
        kill_and_recover(connect, make, tmp_path / str(lines), lines, WITHIN)
        for lines in [*range(0, 300, 50), 100_000]
    ]
    assert results[-1]
    assert not all(results[:2])
