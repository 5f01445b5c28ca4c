"""Promise: a program that uses actors stays a good citizen of its interpreter.

However it is started, forks, is interrupted or killed: it works or says why, it ends
quietly, and it leaves no process and no shared memory behind.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.process import ProcessIdentity
from tests.support import eventually

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

CALL = """
import actors, os
actors.init(num_workers=2)

@actors.remote
def work(x):
    return x + 1, os.getpid()

value, pid = actors.get(work.remote(1))
print(value, pid, flush=True)
"""


def start(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=cwd,
    )


def finish(program: subprocess.Popen[str], text: str | None = None) -> tuple[str, str]:
    out, err = program.communicate(text, timeout=60)
    return out, err


def is_alive(pid: int) -> bool:
    try:
        return ProcessIdentity.of(pid).is_alive()
    except ProcessLookupError:
        return False


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """Take pids of workers, and look whether they end."""
    pids: list[int] = []
    yield pids
    eventually(lambda: not any(map(is_alive, pids)), within=10, what="end of workers")


def check(out: str, err: str, ends: list[int]) -> None:
    assert err == ""
    value, pid = out.split()[:2]
    assert value == "2"
    ends.append(int(pid))


def test_a_script_needs_no_guard(tmp_path: Path, ends: list[int]) -> None:
    script = tmp_path / "script.py"
    script.write_text(CALL)
    check(*finish(start(str(script))), ends)


def test_a_command_works(ends: list[int]) -> None:
    check(*finish(start("-c", CALL)), ends)


def test_a_program_from_standard_input_works(ends: list[int]) -> None:
    check(*finish(start("-"), CALL), ends)


def test_an_interactive_session_works(ends: list[int]) -> None:
    program = start("-i", "-q", "-c", "")
    out, err = finish(program, CALL.replace("\n\nvalue", "\n\n\nvalue"))
    assert "Error" not in err
    value, pid = out.split()[:2]
    assert value == "2"
    ends.append(int(pid))


def test_the_first_call_starts_the_runtime_by_itself(ends: list[int]) -> None:
    check(*finish(start("-c", CALL.replace("actors.init(num_workers=2)", ""))), ends)


def test_a_program_that_ends_with_tasks_under_way_ends_quietly() -> None:
    script = CALL + "\nimport time\nrefs = [work.remote(i) for i in range(1000)]\n"
    out, err = finish(start("-c", script))
    assert err == ""
    assert out.startswith("2 ")


def test_what_an_exception_ends_tells_only_that() -> None:
    _, err = finish(start("-c", CALL + "\nwork.remote(2)\nraise ValueError('mine')"))
    assert err.count("Traceback") == 1
    assert "ValueError: mine" in err


def test_output_of_workers_comes_with_their_pid() -> None:
    script = (
        CALL
        + """
@actors.remote
def talk():
    import sys
    print("one line")
    print("another", file=sys.stderr)
    print("no end", end="", flush=True)
actors.get(talk.remote())
"""
    )
    _, err = finish(start("-c", script))
    lines = re.findall(r"^\(pid=(\d+)\) (.*)$", err, re.MULTILINE)
    assert [line for _, line in lines] == ["one line", "another", "no end"]
    assert len({pid for pid, _ in lines}) == 1


def test_control_c_ends_a_wait_at_once_and_leaves_nothing(ends: list[int]) -> None:
    script = (
        CALL
        + """
import time
@actors.remote
def sleep():
    time.sleep(1000)
ref = sleep.remote()
try:
    print("waiting", flush=True)
    actors.get(ref)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(actors.get(work.remote(1))[0])
"""
    )
    program = start("-c", script)
    assert program.stdout is not None
    ends.append(int(program.stdout.readline().split()[1]))
    assert program.stdout.readline() == "waiting\n"
    program.send_signal(signal.SIGINT)
    out, err = finish(program)
    assert (out, err) == ("interrupted\n2\n", "")


def test_a_killed_program_leaves_no_process_and_no_memory_for_long(
    ends: list[int],
) -> None:
    script = (
        CALL
        + """
import numpy
ref = actors.put(numpy.ones(1_000_000))
folder = actors.refs.known()._store.folders.memory
print(folder, flush=True)
input()
"""
    )
    program = start("-c", script)
    assert program.stdout is not None
    ends.append(int(program.stdout.readline().split()[1]))
    folder = Path(program.stdout.readline().strip())
    assert folder.is_dir()
    program.kill()
    program.wait()
    for stream in (program.stdin, program.stdout, program.stderr):
        assert stream is not None
        stream.close()
    eventually(lambda: not is_alive(ends[0]), what="end of the worker")
    check(*finish(start("-c", CALL)), ends)
    assert not folder.exists(), "the next start sweeps"


def test_a_forked_child_has_a_runtime_of_its_own_and_spares_its_parents(
    ends: list[int],
) -> None:
    script = (
        CALL
        + """
pid = os.fork()
if pid == 0:
    print(actors.is_initialized(), actors.get(work.remote(2))[0], flush=True)
    actors.shutdown()
    os._exit(0)
os.waitpid(pid, 0)
print(actors.get(work.remote(3))[0])
"""
    )
    out, err = finish(start("-c", script))
    assert err == ""
    assert out.splitlines()[1:] == ["False 3", "4"]
    ends.append(int(out.split()[1]))


def test_a_child_that_outlives_a_shutdown_does_not_delay_it() -> None:
    script = (
        CALL
        + """
import time
pid = os.fork()
if pid == 0:
    os.read(0, 1)
    os._exit(0)
began = time.monotonic()
actors.shutdown()
print(time.monotonic() - began < 4, flush=True)
os.kill(pid, 9)
os.waitpid(pid, 0)
"""
    )
    out, err = finish(start("-c", script))
    assert err == ""
    assert out.splitlines()[-1] == "True"


def test_a_module_that_calls_init_can_be_imported_by_workers(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text(
        "import actors\nactors.init(num_workers=1)\ndef double(x): return 2 * x\n"
    )
    script = (
        "import actors, library\n"
        "print(actors.get(actors.remote(library.double).remote(4)))"
    )
    out, err = finish(start("-c", script, cwd=tmp_path))
    assert (out, err) == ("8\n", "")


def test_a_forked_child_is_told_of_what_will_never_come(ends: list[int]) -> None:
    script = (
        CALL
        + """
import time
@actors.remote
def sleep():
    time.sleep(1000)
@actors.remote
class Actor:
    def speak(self):
        return 1
@actors.remote
def items():
    time.sleep(1000)
    yield 1
known, waiting = actors.put(7), sleep.remote()
actor, stream = Actor.remote(), items.remote()
actors.get(actor.speak.remote())
pid = os.fork()
if pid == 0:
    def told(ask):
        try:
            return ask()
        except actors.ActorsError as error:
            return type(error).__name__
    print(actors.get(known), flush=True)
    print(told(lambda: actors.get(waiting)), flush=True)
    print(told(lambda: actors.get(work.remote(waiting))), flush=True)
    print(told(lambda: actors.get(next(stream))), flush=True)
    print(told(lambda: actors.get(actor.speak.remote())), flush=True)
    actors.shutdown()
    os._exit(0)
os.waitpid(pid, 0)
print(actors.get(actor.speak.remote()))
"""
    )
    out, err = finish(start("-c", script))
    assert err == ""
    closed = "RuntimeClosedError"
    wanted = ["7", closed, closed, closed, "ActorDiedError", "1"]
    assert out.splitlines()[1:] == wanted
    ends.append(int(out.split()[1]))


@pytest.mark.parametrize("executable", ["None", "''", "'/opt/simulate'"])
def test_a_program_without_an_interpreter_is_told_so(executable: str) -> None:
    frozen = f"import sys; sys.frozen = True; sys.executable = {executable}\n"
    out, err = finish(start("-c", frozen + CALL))
    assert out == ""
    assert "is no Python to run workers with" in err
    assert err.count("Traceback") == 1


def test_a_script_named_like_a_module_that_we_import_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "queue.py"
    script.write_text(CALL)
    out, err = finish(start(str(script)))
    assert out == ""
    assert "the name of one of the standard library's" in err


@pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0),
    reason="Python 3.13.0 itself cannot import socket there",
)
def test_a_folder_that_is_gone_is_no_obstacle(tmp_path: Path, ends: list[int]) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    leave = f"import os; os.rmdir({str(folder)!r})\n"
    check(*finish(start("-c", leave + CALL, cwd=folder)), ends)
