"""A keeper sees its node to its end, and leaves no process of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from providers.keeper import Keeper
from tests.providers.daemons import has_ended
from tests.support import eventually

pytestmark = pytest.mark.slow

Answer = tuple[str, int | None, str, str]


def keep(command: str, **rules: Any) -> Keeper:
    given = {"walltime": None, "grace": 1.0, "lease": 60.0} | rules
    return Keeper(command, {"GIVEN": "a 'b'\n$c"}, **given)


def end_of(keeper: Keeper) -> Answer:
    eventually(lambda: keeper.poll()[0] == "over", 20, "the node to end")
    return keeper.poll()


def test_nothing_runs_before_it_is_first_asked_about(tmp_path: Path) -> None:
    keeper = keep(f"touch {tmp_path}/ran")
    assert keeper.end() == ("over", None, "ending", "")
    assert keeper.poll() == ("over", None, "ending", "")
    assert not (tmp_path / "ran").exists()


def test_one_that_may_begins_by_itself(tmp_path: Path) -> None:
    keeper = keep(f"touch {tmp_path}/ran", begins=True)
    eventually((tmp_path / "ran").exists, what="it to run")
    assert end_of(keeper) == ("over", 0, "", "")


def test_exit_code_environment_and_standard_error_are_told(tmp_path: Path) -> None:
    keeper = keep(f'printf %s "$GIVEN" > {tmp_path}/given; echo alas >&2; exit 3')
    assert end_of(keeper) == ("over", 3, "", "alas\n")
    assert (tmp_path / "given").read_text() == "a 'b'\n$c"


def test_a_signal_is_told_as_shells_do() -> None:
    assert end_of(keep("kill -KILL $$"))[:3] == ("over", 137, "")


def test_what_a_command_leaves_running_is_gone_when_it_is_over(tmp_path: Path) -> None:
    keeper = keep(f"sleep 600 & echo $! > {tmp_path}/left; exit 0")
    assert end_of(keeper)[:2] == ("over", 0)
    assert has_ended(int((tmp_path / "left").read_text()))


def test_walltime_ends_what_does_not_hear_sigterm_by_force() -> None:
    keeper = keep("trap '' TERM; while :; do sleep 0.05; done", walltime=0.2, grace=0.2)
    assert end_of(keeper)[:3] == ("over", 137, "walltime")


def test_what_is_asked_to_end_may_end_in_order(tmp_path: Path) -> None:
    keeper = keep(
        f"trap 'exit 7' TERM; touch {tmp_path}/ready; while :; do sleep 0.02; done",
        begins=True,
    )
    eventually((tmp_path / "ready").exists, what="it to run")
    keeper.end()
    keeper.end()
    assert end_of(keeper)[:3] == ("over", 7, "ending")


def test_nobody_asking_ends_it(tmp_path: Path) -> None:
    keeper = keep(
        f"trap 'touch {tmp_path}/ended' EXIT; while :; do sleep 0.02; done",
        lease=0.3,
        begins=True,
    )
    eventually((tmp_path / "ended").exists, what="it to end")
    assert end_of(keeper)[1:3] == (143, "abandoned")


_WORKER = """
import sys
from providers.keeper import Keeper
keeper = Keeper(sys.argv[1], {}, walltime=None, grace=1, lease=LEASE, begins=True,
                owns_process=True)
sys.stdin.read()
"""


def start_worker(command: str, lease: float) -> "subprocess.Popen[bytes]":
    program = _WORKER.replace("LEASE", str(lease))
    words = [sys.executable, "-c", program, command]
    return subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)


def test_a_worker_that_is_killed_takes_its_node_along(tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    command = f"cd {tmp_path}; sleep 600 & echo $! > one; mv one done/; wait"
    with start_worker(command, 60) as worker:
        eventually((tmp_path / "done/one").exists, what="it to run")
        os.kill(worker.pid, signal.SIGKILL)
    pid = int((tmp_path / "done/one").read_text())
    eventually(lambda: has_ended(pid), 10, f"the end of process {pid}")


def test_a_process_of_its_own_ends_when_nobody_ever_comes_back() -> None:
    with start_worker("sleep 600", 0.2) as worker:
        assert worker.wait(20) == 0
