"""The ssh provider keeps every provider's promises, whatever is not heard.

Here with an `ssh` that can be made to misbehave; with a real one the same is tested in
`test_ssh_hosts`.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from providers import (
    JobSpec,
    JobState,
    Provider,
    ProviderUnavailable,
    SshProvider,
    SubmitRejected,
)
from providers.processes import boot_id, read_stat
from tests.providers.clusters import end_all, kill_and_recover, state_of
from tests.providers.conftest import marked_processes
from tests.providers.contract import Connect, ProviderContract, end_of
from tests.providers.ssh_stand_in import StandIn
from tests.support import eventually

pytestmark = pytest.mark.slow

HOSTS = ["h1", "h2", "h3"]
# Before a silent host is asked again.
RETRY_PERIOD = 0.05
WITHIN = 20.0
SILENCE = "ssh: connect to host h1 port 22: Connection timed out"

Make = Callable[..., SshProvider]


@pytest.fixture
def ssh(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path / "stand-in", monkeypatch)


@pytest.fixture
def make(ssh: StandIn, tmp_path: Path) -> Iterator[Make]:
    """Make providers with other options; at the end, cancel all jobs of the test."""
    providers: list[SshProvider] = []

    def make(**options: object) -> SshProvider:
        given = {"hosts": HOSTS, "retry_period": RETRY_PERIOD, "kill_after": 2}
        providers.append(SshProvider(**given | options))  # type: ignore[arg-type]
        return providers[-1]

    yield make
    for host in HOSTS:
        ssh.heal(host)
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


def endless(tmp_path: Path, name: str = "endless", nodes: int = 1) -> JobSpec:
    return JobSpec(name, ["exec sleep 600"] * nodes, tmp_path / name)


# Slots


def test_jobs_wait_for_a_host_with_a_free_slot(make: Make, tmp_path: Path) -> None:
    provider = make(hosts=["h1", "h2"])
    both = provider.submit(endless(tmp_path, "both", nodes=2))
    waits = provider.submit(endless(tmp_path, "waits", nodes=2))
    statuses = provider.status([both, waits])
    assert statuses[both].state is JobState.RUNNING
    assert statuses[waits].state is JobState.PENDING
    assert statuses[waits].message == "Waits for 2 free slots"
    provider.cancel([both])
    assert end_of(provider, both, WITHIN).state is JobState.CANCELLED
    eventually_is(provider, waits, JobState.RUNNING)


def test_a_job_that_waits_ends_at_once_when_it_is_cancelled(
    make: Make, tmp_path: Path
) -> None:
    provider = make(hosts=["h1"])
    provider.submit(endless(tmp_path, "runs"))
    waits = provider.submit(endless(tmp_path, "waits"))
    provider.cancel([waits])
    assert state_of(provider, waits) is JobState.CANCELLED


def test_a_host_runs_as_many_nodes_as_it_has_slots(make: Make, tmp_path: Path) -> None:
    provider = make(hosts=["h1"], slots_per_host=2)
    ids = [provider.submit(endless(tmp_path, name)) for name in ("a", "b", "c")]
    states = [provider.status(ids)[job_id].state for job_id in ids]
    assert states == [JobState.RUNNING, JobState.RUNNING, JobState.PENDING]


def test_a_slot_that_somebody_else_took_is_looked_for_elsewhere(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    # Between the look and the start; the process that holds the slot is this one.
    me = read_stat(os.getpid())
    assert me is not None
    other = ssh.home / ".local/state/actors-blocks/h1/other.0.1"
    claim = f"{boot_id()} {me.pid} {me.start_time}"
    take = f"mkdir -p {other} && echo {claim} > {other}/claim"
    ssh.do_before("h1", take, "start")
    provider = make()
    job_id = provider.submit(endless(tmp_path))
    assert state_of(provider, job_id) is JobState.RUNNING
    places = {p.name: p.read_text() for p in tmp_path.rglob("*.place-*")}
    assert places == {"node-0.place-1": "h1", "node-0.place-2": "h2"}


def test_more_nodes_than_slots_are_rejected(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SubmitRejected, match="4 nodes are more than the 3 slots"):
        make().submit(endless(tmp_path, nodes=4))
    assert make().recover(endless(tmp_path, nodes=4)) is None


# Hosts that do not answer


def test_a_host_that_does_not_answer_leaves_its_job_unknown_until_it_is_back(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make(hosts=["h1"])
    gate = tmp_path / "gate"
    command = f"until [ -e {gate} ]; do sleep 0.05; done"
    job_id = provider.submit(JobSpec("cut", [command], tmp_path / "cut"))
    eventually_is(provider, job_id, JobState.RUNNING)
    ssh.refuse("h1", SILENCE)
    status = provider.status([job_id])[job_id]
    assert status.state is JobState.UNKNOWN
    assert status.message == f"h1: {SILENCE}"
    assert make(hosts=["h1"]).status([job_id])[job_id].state is JobState.UNKNOWN
    ssh.heal("h1")
    eventually_is(provider, job_id, JobState.RUNNING)
    gate.touch()
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED


def test_a_job_runs_while_some_of_its_hosts_answer_and_waits_for_the_others_end(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make(hosts=["h1", "h2"])
    gate = tmp_path / "gate"
    commands = [f"until [ -e {gate} ]; do sleep 0.05; done"] * 2
    job_id = provider.submit(JobSpec("half", commands, tmp_path / "half"))
    eventually_is(provider, job_id, JobState.RUNNING)
    ssh.refuse("h1", SILENCE)
    status = provider.status([job_id])[job_id]
    assert status.state is JobState.RUNNING
    assert SILENCE in status.message
    gate.touch()
    eventually_is(provider, job_id, JobState.UNKNOWN)
    ssh.heal("h1")
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED


def test_a_silent_host_gets_no_job_and_is_not_asked_all_the_time(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    ssh.refuse("h1", SILENCE)
    provider = make(retry_period=600)
    ids = [provider.submit(endless(tmp_path, name)) for name in ("a", "b", "c")]
    states = [provider.status(ids)[job_id].state for job_id in ids]
    assert states == [JobState.RUNNING, JobState.RUNNING, JobState.PENDING]
    assert provider.status(ids)[ids[2]].message.endswith(f"h1: {SILENCE}")
    assert ssh.asked().count("h1") == 1


def test_a_start_that_was_not_heard_of_runs_once(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make(hosts=["h1"])
    ssh.lose_answers("h1", "start")
    spec = JobSpec("unheard", [f"echo ran >> {tmp_path}/ran"], tmp_path / "unheard")
    job_id = provider.submit(spec)
    assert state_of(provider, job_id) is JobState.UNKNOWN
    ssh.heal("h1")
    assert end_of(make(hosts=["h1"]), job_id, WITHIN).state is JobState.COMPLETED
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_start_that_never_arrived_is_said_again_at_the_same_host(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make()
    ssh.refuse("h1", SILENCE, "start")
    spec = JobSpec("lost", [f"echo ran >> {tmp_path}/ran"], tmp_path / "lost")
    job_id = provider.submit(spec)
    assert state_of(provider, job_id) is JobState.UNKNOWN
    ssh.heal("h1")
    after = make()
    assert after.recover(spec) == job_id
    assert end_of(after, job_id, WITHIN).state is JobState.COMPLETED
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert [p.name for p in (tmp_path / "lost").glob("*.place-*")] == ["node-0.place-1"]


def test_a_cancel_that_was_not_heard_is_said_again_by_a_successor(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make(hosts=["h1"])
    job_id = provider.submit(endless(tmp_path))
    ssh.refuse("h1", SILENCE)
    with pytest.raises(ProviderUnavailable, match="Will be told later: h1: ssh:"):
        provider.cancel([job_id])
    ssh.heal("h1")
    assert end_of(make(hosts=["h1"]), job_id, WITHIN).state is JobState.CANCELLED


def test_a_node_that_nobody_asks_about_ends_by_itself(
    make: Make, mark: str, tmp_path: Path
) -> None:
    provider = make(abandon_after=2, poll_period=1)
    job_id = provider.submit(endless(tmp_path))
    provider.close()
    eventually(lambda: not marked_processes(mark), WITHIN, "the node to end itself")
    status = end_of(make(), job_id, WITHIN)
    assert status.state is JobState.CANCELLED
    assert "no provider had asked" in status.message


def test_a_host_that_stays_silent_is_given_up_when_its_nodes_have_ended(
    ssh: StandIn, make: Make, mark: str, tmp_path: Path
) -> None:
    provider = make(hosts=["h1"], abandon_after=2, poll_period=1)
    job_id = provider.submit(endless(tmp_path))
    eventually_is(provider, job_id, JobState.RUNNING)
    ssh.refuse("h1", SILENCE)
    status = end_of(provider, job_id, WITHIN)
    assert status.state is JobState.FAILED
    assert "h1 has not answered for so long" in status.message
    eventually(lambda: not marked_processes(mark), WITHIN, "no process to be left")


# Hosts that refuse


def test_a_job_that_every_host_refuses_is_rejected_with_their_words(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    ssh.refuse("h1", "ada@h1: Permission denied (publickey).")
    ssh.refuse("h2", "Host key verification failed.")
    provider = make(hosts=["h1", "h2"])
    with pytest.raises(SubmitRejected, match=r"h1: ada@h1: Perm.*; h2: Host key verif"):
        provider.submit(endless(tmp_path))
    assert provider.recover(endless(tmp_path)) is None
    ssh.heal("h1")
    job_id = provider.submit(endless(tmp_path))
    assert state_of(provider, job_id) is JobState.RUNNING


def test_a_job_that_waits_while_every_host_refuses_is_held(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make(hosts=["h1"])
    ids = [provider.submit(endless(tmp_path, name)) for name in ("a", "b")]
    ssh.refuse("h1", "Host key verification failed.")
    statuses = provider.status(ids)
    assert statuses[ids[0]].state is JobState.UNKNOWN
    assert statuses[ids[1]].state is JobState.HELD
    assert "Host key verification failed" in statuses[ids[1]].message


def test_a_host_that_lacks_a_tool_takes_nothing(
    ssh: StandIn, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/bash").symlink_to(bash)
    with monkeypatch.context() as patch:
        patch.setenv("HOST_PATH", str(tmp_path / "tools"))
        with pytest.raises(SubmitRejected, match="h1: Exit code 1 of bash: No base64"):
            make(hosts=["h1"]).submit(endless(tmp_path))


def test_a_greeting_of_the_hosts_shell_does_no_harm(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    (ssh.folder / "greeting").write_text("Welcome!\nno line break: ")
    provider = make()
    job_id = provider.submit(JobSpec("greeted", ["exit 7"], tmp_path / "job"))
    assert end_of(provider, job_id, WITHIN).exit_code == 7


# What runs on a host


def keepers(ssh: StandIn) -> list[int]:
    return [int(p.read_text().split()[1]) for p in ssh.home.rglob("claim")]


def messy(tmp_path: Path) -> JobSpec:
    """Give a node with a child in its group, and one in a group of its own."""
    command = f"sleep 600 & set -m; sleep 601 & touch {tmp_path}/ready; wait"
    return JobSpec("messy", [command], tmp_path / "messy")


def test_a_killed_keeper_takes_all_of_its_node_along(
    ssh: StandIn, make: Make, mark: str, tmp_path: Path
) -> None:
    provider = make()
    job_id = provider.submit(messy(tmp_path))
    eventually((tmp_path / "ready").exists, WITHIN, "the node to run")
    (keeper,) = keepers(ssh)
    os.kill(keeper, signal.SIGKILL)
    # Nobody asks: the watch does it.
    eventually(lambda: not marked_processes(mark), WITHIN, "no process to be left")
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.exit_code) == (JobState.FAILED, None)
    assert "its processes on h1 were killed" in status.message


def test_what_killed_keepers_and_watches_left_is_killed_by_the_next_question(
    ssh: StandIn, make: Make, mark: str, tmp_path: Path
) -> None:
    provider = make()
    job_id = provider.submit(messy(tmp_path))
    eventually((tmp_path / "ready").exists, WITHIN, "the node to run")
    (keeper,) = keepers(ssh)
    for pid in marked_processes(mark):
        if b"keeper.sh" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    assert marked_processes(mark)
    assert end_of(provider, job_id, WITHIN).state is JobState.FAILED
    assert marked_processes(mark) == []
    process = read_stat(keeper)
    assert process is None or process.state == "Z"


def test_what_a_node_leaves_behind_is_gone_at_its_end(
    make: Make, mark: str, tmp_path: Path
) -> None:
    provider = make()
    command = "sleep 600 & set -m; sleep 601 & exit 0"
    job_id = provider.submit(JobSpec("lazy", [command], tmp_path / "lazy"))
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED
    assert marked_processes(mark) == []


def test_a_node_that_ignores_sigterm_is_killed_after_the_grace(
    make: Make, mark: str, tmp_path: Path
) -> None:
    provider = make(kill_after=1)
    command = f"trap '' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    job_id = provider.submit(JobSpec("stubborn", [command], tmp_path / "stubborn"))
    eventually((tmp_path / "ready").exists, WITHIN, "the node to run")
    provider.cancel([job_id])
    assert end_of(provider, job_id, WITHIN).state is JobState.CANCELLED
    assert marked_processes(mark) == []


def test_a_node_of_another_boot_is_over_and_touches_nobody(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make()
    job_id = provider.submit(JobSpec("old", ["exit 0"], tmp_path / "old"))
    (folder,) = (claim.parent for claim in ssh.home.rglob("claim"))
    eventually((folder / "over").exists, WITHIN, "the node to end")
    # As if it had run when the host went down; our own pid is a stranger's there.
    me = read_stat(os.getpid())
    assert me is not None
    (folder / "claim").write_text(f"another-boot {me.pid} {me.start_time}\n")
    (folder / "over").unlink()
    (folder / "node-0.exit").unlink()
    status = end_of(provider, job_id, WITHIN)
    assert status.state is JobState.FAILED
    assert "h1 was rebooted" in status.message


def test_a_node_whose_files_are_gone_is_not_started_again(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make()
    spec = JobSpec("wiped", [f"echo ran >> {tmp_path}/ran"], tmp_path / "wiped")
    job_id = provider.submit(spec)
    eventually((tmp_path / "ran").exists, WITHIN, "the node to run")
    for claim in ssh.home.rglob("claim"):
        eventually((claim.parent / "over").exists, WITHIN, "the node to end")
        claim.unlink()
    assert end_of(make(), job_id, WITHIN).state is JobState.FAILED
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_worker_init_runs_before_the_command_in_the_home_of_the_user(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make(worker_init="greeting='hello there'")
    command = f'echo "$greeting from $PWD" > {tmp_path}/told'
    job_id = provider.submit(JobSpec("init", [command], tmp_path / "init"))
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED
    assert (tmp_path / "told").read_text() == f"hello there from {ssh.home}\n"


def test_other_users_of_a_host_cannot_read_a_nodes_environment(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    spec = JobSpec("secret", ["true"], tmp_path / "job", {"TOKEN": "secret"})
    make().submit(spec)
    (script,) = ssh.home.rglob("node.sh")
    assert "secret" in script.read_text()
    assert script.parent.stat().st_mode & 0o777 == 0o700


def test_one_question_goes_to_each_host_that_is_concerned(
    ssh: StandIn, make: Make, tmp_path: Path
) -> None:
    provider = make(slots_per_host=2)
    ids = [provider.submit(endless(tmp_path, name, 2)) for name in ("a", "b")]
    ssh.asked()
    provider.status(ids)
    assert sorted(ssh.asked()) == ["h1", "h2", "h3"]


def test_a_provider_killed_at_any_line_of_submit_loses_and_doubles_nothing(
    connect: Connect, tmp_path: Path
) -> None:
    make = f"providers.SshProvider(hosts={HOSTS!r})"
    results = [
        kill_and_recover(connect, make, tmp_path / str(lines), lines, WITHIN)
        for lines in [*range(0, 300, 25), 100_000]
    ]
    assert results[-1]
    assert not all(results[:3])
