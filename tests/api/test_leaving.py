"""A program that ends takes its tasks along, but nothing that is to outlive it.

It ends at once, whatever runs, and says nothing.
"""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = pytest.mark.slow

_BEGIN = """
    import threading, time
    from pathlib import Path
    import actors
    actors.init({address!r})
    folder = Path({folder!r})

    def begun(name):
        deadline = time.monotonic() + 60
        while not (folder / name).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @actors.remote
    def sleep(name):
        (folder / name).touch()
        try:
            time.sleep(300)
        finally:
            (folder / name).unlink()
"""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    with RunningEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(params=["embedded", "endpoint"])
def address(request: pytest.FixtureRequest) -> str | None:
    """Where the program goes; None: nowhere."""
    if request.param == "embedded":
        return None
    running: RunningEndpoint = request.getfixturevalue("running")
    return str(running.folder)


def run(address: str | None, folder: Path, text: str) -> None:
    """Run a program to its end: a quiet one."""
    begin = textwrap.dedent(_BEGIN).format(address=address, folder=str(folder))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", begin + textwrap.dedent(text)],
        capture_output=True,
        text=True,
        # Far below what its tasks take.
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_tasks_that_run_or_wait_end_with_it(
    address: str | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = """
        refs = [sleep.remote(f"t{n}") for n in range(20)]
        after = actors.remote(max).remote(*refs)
        begun("t0")
        """
    run(address, tmp_path, text)
    if address is not None:
        actors.init(address)
        try:
            # Their places are free again.
            assert actors.get(measure.remote("abc"), timeout=60) == 3
            eventually(lambda: not _unfinished(), 60, "the end of its tasks")
        finally:
            actors.shutdown()


@actors.remote
def measure(text: str) -> int:
    return len(text)


def _unfinished() -> list[str]:
    return [t.name for t in actors.state.list_tasks() if t.name == "sleep"]


def test_who_waits_in_another_thread_is_no_hindrance(
    address: str | None, tmp_path: Path
) -> None:
    text = """
        def wait():
            try:
                actors.get(ref)
            except actors.ActorsError:
                pass

        ref = sleep.remote("t")
        threading.Thread(target=wait, daemon=True).start()
        begun("t")
        """
    run(address, tmp_path, text)


def test_an_actor_ends_with_it_whatever_its_methods_do(
    address: str | None, tmp_path: Path
) -> None:
    text = """
        @actors.remote(max_concurrency=2)
        class Stubborn:
            def stay(self, name):
                (folder / name).touch()
                while True:
                    try:
                        time.sleep(300)
                    except KeyboardInterrupt:
                        pass

        stubborn = Stubborn.options(name="stubborn").remote()
        refs = [stubborn.stay.remote(name) for name in "ab"]
        begun("a")
        """
    run(address, tmp_path, text)
    if address is not None:
        actors.init(address)
        try:
            eventually(lambda: not actors.state.list_actors(), 60, "the actor's end")
        finally:
            actors.shutdown()


def test_what_was_said_to_a_detached_actor_last_is_heard(
    running: RunningEndpoint, tmp_path: Path
) -> None:
    text = """
        class Log:
            def __init__(self):
                self.lines = []
            def add(self, line):
                time.sleep(0.2)
                self.lines.append(line)
            def all(self):
                return self.lines

        class Idle:
            pass

        log = actors.remote(Log).options(name="log", lifetime="detached").remote()
        idle = actors.remote(Idle).options(name="idle", lifetime="detached").remote()
        for n in range(5):
            log.add.remote(n)
        actors.kill(idle)
        """
    run(str(running.folder), tmp_path, text)
    actors.init(running.folder)
    try:
        log = actors.get_actor("log")
        assert actors.get(log.all.remote()) == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="idle"):
            actors.get_actor("idle")
        actors.kill(log)
    finally:
        actors.shutdown()
