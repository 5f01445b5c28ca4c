"""`actors run` begins and ends an endpoint: one at a time, as a whole, in order.

However it ends, nothing stays; its exit code says how it went. Blocks come and go with
the tasks, by themselves.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks
from tests.system.support import Listener, kill, lines

pytestmark = pytest.mark.slow

# Specified: a SIGKILL of `actors run` leaves no process behind within 2 s. Here that
# is 5 s: other tests may keep the processors busy, and looking takes its time, too.
_END_TIMEOUT = 5.0


def block_ends(endpoint: RunningEndpoint) -> list[str]:
    """Return the exit codes of all nodes that have ended."""
    return [p.read_text().strip() for p in endpoint.paths.blocks.glob("*/*.exit")]


def test_a_killed_root_leaves_no_process_behind(tmp_path: Path) -> None:
    """Neither a service, nor a worker, nor what a task started."""
    notes = tmp_path / "pids"
    with RunningEndpoint() as endpoint:
        executor = endpoint.executor(patience=1.0)
        futures = [executor.submit(tasks.start_sleepers, str(notes)) for _ in range(2)]
        eventually(lambda: len(lines(notes)) == 2, what="the tasks to begin")
        sleepers = {int(pid) for pid in lines(notes)}
        everybody = {process.pid for process in endpoint.processes()}
        assert sleepers < everybody
        kill(endpoint.root_pid)
        eventually(
            lambda: not endpoint.processes(), _END_TIMEOUT, "the end of everybody"
        )
        assert not [pid for pid in everybody if is_alive(pid)]
        for future in futures:
            assert isinstance(future.exception(10), actors.AddressError)
        # Tells the endpoint that its sockets could not be removed.
        endpoint.kill()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_endpoint_whose_root_was_killed_starts_again_in_its_folder() -> None:
    with RunningEndpoint() as endpoint:
        endpoint.await_workers(2)
        endpoint.kill()
        endpoint.start()
        assert endpoint.executor().submit(tasks.square, 5).result(20) == 25
        # What was left of the first run is neither adopted nor in the way.
        assert len(endpoint.pids("manager")) == 1
        assert endpoint.stop() == 0


def test_a_second_run_in_the_same_folder_is_refused_and_names_the_first() -> None:
    with RunningEndpoint() as endpoint:
        executor = endpoint.executor()
        assert executor.submit(tasks.square, 2).result(20) == 4
        second = subprocess.run(
            [sys.executable, "-m", "actors", "run", str(endpoint.folder)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        assert second.returncode == 1
        assert f"pid {endpoint.root_pid}" in second.stderr
        assert "Traceback" not in second.stderr
        # The first one did not notice.
        assert executor.submit(tasks.square, 3).result(20) == 9
        assert endpoint.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything_in_order(number: signal.Signals) -> None:
    with RunningEndpoint() as endpoint:
        assert endpoint.executor().submit(tasks.square, 2).result(20) == 4
        assert endpoint.process is not None
        endpoint.process.send_signal(number)
        assert endpoint.process.wait(20) == 0
        assert not endpoint.processes()
        for service in ("strategy", "provider", "interchange"):
            assert "ends: the endpoint stops" in endpoint.log(service)
        run = endpoint.log("run")
        places = [
            run.index(f"{service} ended: exit code 0")
            for service in ("strategy", "provider", "interchange")
        ]
        assert places == sorted(places), run
        assert block_ends(endpoint) == ["0"]


def test_under_nohup_it_outlives_its_terminal() -> None:
    # What is ignored here is ignored by whom we start, as under nohup.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with RunningEndpoint() as endpoint:
            assert endpoint.process is not None
            endpoint.process.send_signal(signal.SIGHUP)
            status = Path(f"/proc/{endpoint.process.pid}/status").read_text()
            ignored = next(x for x in status.splitlines() if x.startswith("SigIgn"))
            assert int(ignored.split()[1], 16) & 1 << signal.SIGHUP - 1
            assert endpoint.executor().submit(tasks.square, 2).result(20) == 4
            assert endpoint.stop() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_endpoint_that_gives_up_stops_in_order_and_says_why(tmp_path: Path) -> None:
    """Its supervisor escalates; what was accepted is there for the next start."""
    gate = tmp_path / "gate"
    with RunningEndpoint() as endpoint, endpoint.executor() as executor:
        mine = [executor.submit(tasks.wait_for, str(gate), n) for n in range(4)]
        eventually(lambda: any(f.running() for f in mine), what="one to run")
        process = endpoint.process
        assert process is not None

        def has_given_up() -> bool:
            for pid in endpoint.pids("strategy"):
                kill(pid)
            return process.poll() is not None

        eventually(has_given_up, 60, "the supervisor to give up")
        assert process.returncode == 1
        last = endpoint.log("run").splitlines()[-1]
        assert last.endswith(
            "the endpoint stops: strategy ended again (signal 9 (SIGKILL)): more than "
            "5 restarts within 30 s"
        )
        for service in ("provider", "interchange"):
            assert "ends: the endpoint stops" in endpoint.log(service)
        assert block_ends(endpoint) == ["0"]
        assert endpoint.stop() == 1
        gate.touch()
        endpoint.start()
        assert [future.result(60) for future in mine] == list(range(4))


def test_a_second_signal_kills_what_the_first_one_waits_for(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with RunningEndpoint() as endpoint, endpoint.executor() as executor:
        mine = [executor.submit(tasks.wait_for, str(gate), n) for n in range(4)]
        eventually(lambda: any(f.running() for f in mine), what="one to run")
        # It will not obey the first signal.
        kill(endpoint.pid("provider"), signal.SIGSTOP)
        kill(endpoint.root_pid, signal.SIGTERM)
        eventually(
            lambda: "strategy ended: exit code 0" in endpoint.log("run"),
            what="it to stop in order",
        )
        kill(endpoint.root_pid, signal.SIGTERM)
        assert endpoint.process is not None
        assert endpoint.process.wait(20) == 0
        for service in ("provider", "interchange"):
            assert f"{service} ended: signal 9 (SIGKILL)" in endpoint.log("run")
        assert endpoint.stop() == 0
        gate.touch()
        endpoint.start()
        assert [future.result(60) for future in mine] == list(range(4))


def test_a_signal_ends_an_endpoint_whose_workers_are_busy(tmp_path: Path) -> None:
    notes = tmp_path / "pids"
    with RunningEndpoint() as endpoint:
        endpoint.executor().submit(tasks.start_sleepers, str(notes))
        eventually(lambda: lines(notes), what="the task to begin")
        assert endpoint.stop() == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 7"], 7),
        # As shells tell it: 128 and the signal's number.
        (["sh", "-c", "kill -9 $$"], 128 + signal.SIGKILL),
    ],
)
def test_the_exit_code_is_that_of_the_command(
    command: Sequence[str], code: int
) -> None:
    with RunningEndpoint(command=command) as endpoint:
        assert endpoint.process is not None
        assert endpoint.process.wait(20) == code


def test_the_command_finds_its_endpoint_and_its_end_is_the_endpoints_end() -> None:
    program = (
        "import actors; from tests.system import tasks\n"
        "with actors.Executor() as executor:\n"
        "    raise SystemExit(executor.submit(tasks.square, 6).result())"
    )
    with RunningEndpoint(command=[sys.executable, "-c", program]) as endpoint:
        assert endpoint.process is not None
        assert endpoint.process.wait(30) == 36


def test_blocks_follow_the_tasks_from_none_to_all_and_back() -> None:
    with (
        RunningEndpoint(
            blocks={"init_blocks": 0, "min_blocks": 0, "max_blocks": 2},
            workers={"workers_per_node": 1},
            strategy={"kind": "simple", "period": 0.2, "max_idletime": 0.6},
        ) as endpoint,
        Listener(endpoint) as listener,
    ):
        executor = endpoint.executor()
        for count in (2, 4):
            assert endpoint.pids("manager") == []
            futures = [executor.submit(tasks.rest, 0.1) for _ in range(20)]
            eventually(
                lambda: len(endpoint.pids("manager")) == 2, what="all blocks to start"
            )
            assert {future.exception(20) for future in futures} == {None}
            eventually(lambda: not endpoint.pids("manager"), what="all blocks to end")
            eventually(
                lambda c=count: len(block_ends(endpoint)) == c,  # type: ignore[misc]
                what="the exit codes",
            )
        assert set(block_ends(endpoint)) == {"0"}
        reasons = {e.reason for e in listener.heard() if hasattr(e, "reason")}
        assert any("below parallelism" in reason for reason in reasons), reasons
        assert any("max_idletime" in reason for reason in reasons), reasons


def test_an_idle_endpoint_takes_no_processor() -> None:
    """Loops that spin are found here; what beats and polls takes far less."""
    with RunningEndpoint() as endpoint:
        executor = endpoint.executor()
        assert executor.submit(tasks.square, 2).result(20) == 4
        processes = endpoint.processes()

        def used() -> float:
            times = [process.cpu_times() for process in processes]
            return sum(t.user + t.system for t in times)

        before = used()
        pid = os.getpid()
        assert executor.submit(tasks.rest, 2.0).result(20) != pid
        assert used() - before < 1.0
