"""Nothing accepted is lost, and nothing comes twice, whoever is killed.

Real processes, real SIGKILL: of the interchange while tasks flow, and of clients, which
later processes of the same name resume.
"""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

import actors
from actors.api.addressing import find_entrance
from actors.api.operator import ask
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks
from tests.system.support import kill, lines, order, picture

pytestmark = pytest.mark.slow

_REPOSITORY = Path(__file__).parents[2]


def kill_interchange(endpoint: RunningEndpoint) -> None:
    """Kill it, and wait for its successor."""
    pid = endpoint.pid("interchange")
    kill(pid)
    eventually(
        lambda: endpoint.pids("interchange") not in ([], [pid]), what="its successor"
    )


def await_accepted(endpoint: RunningEndpoint, count: int) -> None:
    """Wait until the endpoint has so many tasks that have not ended."""
    states = ("waiting-for-nodes", "waiting-for-launch", "running")
    eventually(
        lambda: sum(map(picture(endpoint).tasks.__getitem__, states)) == count,
        what=f"{count} tasks to be at the endpoint",
    )


@pytest.mark.parametrize("durability", ["sync", "interval", "off"])
def test_a_killed_interchange_costs_no_task_and_no_second_result(
    tmp_path: Path, durability: str
) -> None:
    """A killed process loses nothing at any durability: the system has its writes."""
    notes = tmp_path / "notes"
    with (
        RunningEndpoint(journal={"durability": durability}) as endpoint,
        endpoint.executor() as executor,
    ):
        mine = [executor.submit(tasks.noted, str(notes), n, 0.001) for n in range(1500)]
        ended: list[int] = []
        for number, future in enumerate(mine):
            future.add_done_callback(lambda _, n=number: ended.append(n))  # type: ignore[misc]
        for done in (100, 500, 900):
            eventually(lambda n=done: len(ended) >= n, what=f"{done} results")  # type: ignore[misc]
            kill_interchange(endpoint)
        assert [future.result(60) for future in mine] == list(range(1500))
        assert sorted(ended) == list(range(1500))
        # Managers and workers went on meanwhile: nothing was run a second time.
        assert sorted(map(int, lines(notes))) == list(range(1500))


def test_an_interchange_is_restored_from_snapshots_too(tmp_path: Path) -> None:
    """The journal is made short by the command while the endpoint is down."""
    gate = tmp_path / "gate"
    with RunningEndpoint() as endpoint, endpoint.executor() as executor:
        assert executor.submit(abs, -1).result(20) == 1
        mine = [executor.submit(tasks.wait_for, str(gate), n) for n in range(5)]
        await_accepted(endpoint, 5)
        kill_interchange(endpoint)
        endpoint.stop()
        command = [sys.executable, "-m", "actors", "journal", "compact"]
        subprocess.run([*command, endpoint.folder], check=True, cwd=_REPOSITORY)
        gate.touch()
        endpoint.start()
        assert [future.result(60) for future in mine] == list(range(5))


def test_the_quiesced_stays_so_until_it_is_resumed_whoever_dies(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    with RunningEndpoint() as endpoint, endpoint.executor() as executor:
        mine = [executor.submit(tasks.wait_for, str(gate), n) for n in range(5)]
        await_accepted(endpoint, 5)
        order(endpoint, "quiesce")
        late = executor.submit(abs, -1)
        kill_interchange(endpoint)
        assert picture(endpoint).is_quiesced
        endpoint.stop()
        gate.touch()
        endpoint.start()
        assert picture(endpoint).is_quiesced
        eventually(
            lambda: any(c.is_connected for c in picture(endpoint).clients),
            20,
            "the client",
        )
        # Some were at a manager, which the provider has to tell to be gone.
        eventually(
            lambda: picture(endpoint).tasks["waiting-for-nodes"] >= 5,
            what="all that had been accepted",
        )
        assert picture(endpoint).tasks["waiting-for-nodes"] == 5, "the late one stays"
        order(endpoint, "resume")
        assert [future.result(60) for future in mine] == list(range(5))
        assert late.result(60) == 1


def test_on_a_full_disk_an_interchange_waits_for_room_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """A limit on the size of files is a full disk, too, and can be lifted again."""
    notes = tmp_path / "notes"
    with (
        RunningEndpoint(heartbeat={"period": 0.5, "threshold": 2.0}) as endpoint,
        endpoint.executor() as executor,
    ):
        mine = [executor.submit(tasks.noted, str(notes), n, 0.01) for n in range(100)]
        eventually(lambda: lines(notes), what="the first task")
        interchange = psutil.Process(endpoint.pid("interchange"))
        written = max(p.stat().st_size for p in endpoint.paths.journals.rglob("*.jou*"))
        interchange.rlimit(psutil.RLIMIT_FSIZE, (written + 500, psutil.RLIM_INFINITY))
        eventually(
            lambda: "all stands still" in endpoint.log("interchange"), what="no room"
        )
        mine += [executor.submit(tasks.noted, str(notes), n) for n in range(100, 200)]
        with pytest.raises(actors.AddressError):
            # For longer than the threshold: who waits is not taken for dead.
            ask(find_entrance(endpoint.folder, "operator"), "status", timeout=4.0)
        assert endpoint.pid("interchange") == interchange.pid
        interchange.rlimit(
            psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY)
        )
        assert [future.result(60) for future in mine] == list(range(200))
        assert sorted(map(int, lines(notes))) == list(range(200)), "none ran twice"
        assert "there is room again" in endpoint.log("interchange")


def run_client(endpoint: RunningEndpoint, script: str, *words: object) -> str:
    """Run a client's script to its end, which may be a violent one."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, words)],
        cwd=_REPOSITORY,
        env={**os.environ, "ACTORS_ADDRESS": str(endpoint.folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.returncode
    return done.stdout


_DYING = """
    import os, signal, sys
    import actors
    from tests.system import tasks

    executor = actors.Executor(name="nightly")
    notes, gate = sys.argv[1:]
    first = executor.submit_keyed("monday", tasks.noted, notes, 1, 0.0)
    assert first.result(20) == 1
    executor.submit_keyed("tuesday", tasks.noted, notes, 2, 0.0).result(20)
    executor.submit(tasks.wait_for, gate, 3)
    if {detaches}:
        executor.detach()
    else:
        # Once there is a result, all that was sent before is accepted.
        executor.submit(abs, -1).result(20)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("detaches", [True, False])
def test_a_later_process_finds_what_a_dead_one_has_left(
    tmp_path: Path, *, detaches: bool
) -> None:
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    with RunningEndpoint() as endpoint:
        run_client(endpoint, _DYING.format(detaches=detaches), notes, gate)
        kill_interchange(endpoint)
        with endpoint.executor(name="nightly", resume=True) as executor:
            left = executor.resumed(20)
            assert left["monday"].result(20) == 1
            again = executor.submit_keyed("tuesday", tasks.noted, str(notes), 2, 0.0)
            assert again is left["tuesday"]
            assert again.result(20) == 2
            gate.touch()
            others = [f for key, f in left.items() if key not in ("monday", "tuesday")]
            # (The dead one may not have got to acknowledging its last result.)
            assert {future.result(20) for future in others} in ({3}, {1, 3})
        # Who leaves in order leaves nothing.
        with endpoint.executor(name="nightly", resume=True) as executor:
            assert executor.resumed(20) == {}
        assert sorted(lines(notes)) == ["1", "2"], "no keyed task ran twice"


def test_two_processes_of_one_name_at_a_time_are_one_too_many() -> None:
    with (
        RunningEndpoint() as endpoint,
        endpoint.executor(name="nightly") as executor,
    ):
        assert executor.submit(abs, -1).result(20) == 1
        with endpoint.executor(name="nightly", patience=0.5) as rival:
            error = rival.submit(abs, -2).exception(20)
        assert isinstance(error, actors.AdmissionRefused)
        assert "nightly" in str(error)
        assert executor.submit(abs, -3).result(20) == 3


def await_successor(endpoint: RunningEndpoint, actor: str, pid: int) -> int:
    """Wait for another process in an actor's place, and return its pid."""
    eventually(
        lambda: endpoint.pids(actor) not in ([], [pid]), 30, f"a successor of {actor}"
    )
    return endpoint.pid(actor)


@pytest.mark.parametrize("actor", ["interchange", "strategy", "provider"])
def test_an_actor_that_is_stopped_by_a_signal_is_replaced(actor: str) -> None:
    """By its heartbeats; and it is killed, so that it can harm nothing later."""
    with (
        RunningEndpoint(heartbeat={"period": 0.5, "threshold": 2.0}) as endpoint,
        endpoint.executor() as executor,
    ):
        mine = [executor.submit(tasks.rest, 0.01) for _ in range(300)]
        assert mine[0].result(20)
        pid = endpoint.pid(actor)
        kill(pid, signal.SIGSTOP)
        await_successor(endpoint, actor, pid)
        assert all(future.result(60) for future in mine)
        assert f"{actor} is killed: no sign of life" in endpoint.log("run")


def test_an_interchange_that_is_stopped_before_it_lets_anybody_in_is_replaced() -> None:
    with (
        RunningEndpoint(heartbeat={"period": 0.5, "threshold": 2.0}) as endpoint,
        endpoint.executor() as executor,
    ):
        assert executor.submit(abs, -1).result(20) == 1
        first = endpoint.pid("interchange")
        kill(first)
        second = await_successor(endpoint, "interchange", first)
        # It has a name, but has not imported anything yet.
        kill(second, signal.SIGSTOP)
        await_successor(endpoint, "interchange", second)
        assert executor.submit(abs, -2).result(30) == 2
        assert "interchange is killed: no sign of life" in endpoint.log("run")
