"""Promise: who has the same user may look into a program, which neither waits nor fails
for that; when the program ends nothing is left."""

import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import actors
from actors.embedded.pictures import ProgramState
from actors.embedded.window import find_windows, look_into, open_window
from actors.errors import AddressError
from tests.support import eventually

FOLDER = Path(f"/tmp/actors-{os.getuid()}-programs")


def test_a_window_shows_what_is_there_each_time() -> None:
    numbers = iter((b"1", b"2" * 1_000_000))
    window = open_window(lambda: next(numbers))
    assert window is not None
    assert find_windows(os.getpid())[-1] == window.path
    assert look_into(window.path) == b"1"
    assert look_into(window.path) == b"2" * 1_000_000
    window.close()
    assert not window.path.exists()
    with pytest.raises(AddressError, match="Nobody answers"):
        look_into(window.path)
    assert not any(t.name == "actors-window" for t in threading.enumerate())


def test_only_its_user_may_come_to_it() -> None:
    window = open_window(lambda: b"")
    assert window is not None
    assert FOLDER.stat().st_mode & 0o077 == 0
    window.close()


def test_what_killed_programs_left_is_removed() -> None:
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    left = FOLDER / f"{gone.stdout.strip()}-1.sock"
    left.touch()
    window = open_window(lambda: b"")
    assert window is not None
    window.close()
    assert not left.exists()


class Shelf:
    def sleep(self) -> None:
        threading.Event().wait()


@pytest.fixture
def runtime() -> Iterator[None]:
    actors.init(num_workers=1)
    yield
    actors.shutdown()
    assert not find_windows(os.getpid())


def wait() -> None:
    threading.Event().wait()


@pytest.mark.slow
@pytest.mark.usefixtures("runtime")
def test_tasks_actors_workers_and_objects_are_seen() -> None:
    kept = actors.put(bytes(1 << 20))
    shelf = actors.remote(Shelf).options(name="shelf").remote()
    call = shelf.sleep.remote()
    refs = [actors.remote(wait).remote() for _ in range(3)]

    def look() -> ProgramState:
        (path,) = find_windows(os.getpid())
        return msgspec.json.decode(look_into(path), type=ProgramState)

    def is_under_way() -> bool:
        states = {task.state for task in look().tasks if task.name.endswith("wait")}
        return states >= {"RUNNING", "PENDING_NODE_ASSIGNMENT"}

    eventually(is_under_way, 20, "a task that runs and one that waits")
    state = look()
    assert state.unended == 4
    assert [actor.name for actor in state.actors] == ["shelf"]
    assert {worker.worker_type for worker in state.workers} == {"WORKER", "ACTOR"}
    assert state.stored[0] == 1
    assert state.stored[1] >= 1 << 20
    assert state.total == {"CPU": 1.0}
    assert state.uptime > 0
    del kept, refs, call


PROGRAM = """
import sys, actors
actors.init(num_workers=1, dashboard=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_dashboard_is_served_as_long_as_the_program_lives() -> None:
    pytest.importorskip("textual_serve")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        url = process.stderr.readline().removeprefix("Dashboard: ").strip()
        assert urllib.request.urlopen(url, timeout=10).status == 200
    finally:
        process.communicate("\n", timeout=20)
    assert process.returncode == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)
