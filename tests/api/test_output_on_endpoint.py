"""What the tasks and actors of a program print on an endpoint appears on its stderr.

All of it, with a prefix, before the program knows that they have ended; and on nobody
else's. One endpoint serves all of these tests.
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endpoints import RunningEndpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    with RunningEndpoint() as endpoint:
        yield endpoint


def run(running: RunningEndpoint, program: str) -> tuple[list[str], str]:
    """Run a program.

    Returns:
        What it has on stderr, without the prefixes' pids; and its stdout.
    """
    text = textwrap.dedent(program).replace("FOLDER", repr(str(running.folder)))
    ended = subprocess.run(
        [sys.executable, "-c", text],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    lines = re.sub(r"^\(pid=[1-9]\d*\) ", "> ", ended.stderr, flags=re.MULTILINE)
    return lines.splitlines(), ended.stdout


def test_all_is_there_when_the_program_has_ended(running: RunningEndpoint) -> None:
    """It ends right after its last `get`."""
    lines, _ = run(
        running,
        """
        import actors, sys

        actors.init(FOLDER)

        @actors.remote
        def say(number):
            print("out", number)
            print("err", number, file=sys.stderr)

        actors.get([say.remote(n) for n in range(200)])
        actors.get(actors.remote(print).remote("no end", end=""))
        """,
    )
    assert lines.pop() == "> no end"
    expected = [f"> {what} {n}" for n in range(200) for what in ("out", "err")]
    assert sorted(lines) == sorted(expected)


def test_lines_of_a_task_come_in_order_while_it_runs(
    running: RunningEndpoint, tmp_path: Path
) -> None:
    lines, _ = run(
        running,
        f"""
        import actors, pathlib, sys, time
        go = pathlib.Path({str(tmp_path / "go")!r})

        class Watched:
            def write(self, text):
                sys.__stderr__.write(text)
                if "begins" in text:
                    go.touch()
            def flush(self):
                sys.__stderr__.flush()

        sys.stderr = Watched()
        actors.init(FOLDER)

        @actors.remote
        def work():
            print("it begins")
            while not go.exists():  # until its line is seen
                time.sleep(0.01)
            print("it ends")

        actors.get(work.remote())
        """,
    )
    assert lines == ["> it begins", "> it ends"]


def test_an_actors_words_are_its_makers_whoever_calls_it(
    running: RunningEndpoint,
) -> None:
    program = """
        import actors, sys, subprocess, time
        actors.init(FOLDER)

        @actors.remote
        class Parrot:
            def __init__(self):
                print("init")
            def say(self, word):
                print(word)
            async def later(self, word):
                print(word)

        parrot = Parrot.options(name="parrot").remote()
        actors.get(parrot.say.remote("mine"))
        other = (
            "import actors; actors.init(FOLDER); "
            "parrot = actors.get_actor('parrot'); "
            "actors.get(parrot.say.remote('hers'))"
        )
        ended = subprocess.run([sys.executable, "-c", other], capture_output=True)
        assert ended.returncode == 0, ended.stderr
        assert not ended.stderr, ended.stderr
        actors.get(parrot.later.remote("async"))
        """
    lines, _ = run(running, program)
    assert lines == ["> init", "> mine", "> hers", "> async"]


def test_two_programs_at_once_see_their_own_alone(running: RunningEndpoint) -> None:
    lines, _ = run(
        running,
        """
        import actors, sys, subprocess

        other = '''
        import actors
        with actors.Executor(FOLDER) as executor:
            list(executor.map(print, ["hers"] * 300))
        '''
        import textwrap
        hers = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(other)], stderr=subprocess.PIPE
        )
        with actors.Executor(FOLDER) as executor:
            list(executor.map(print, ["mine"] * 300))
        _, words = hers.communicate()
        assert words.count(b"hers") == 300 and b"mine" not in words, words
        """,
    )
    assert lines == ["> mine"] * 300


def test_who_does_not_want_it_does_not_get_it(running: RunningEndpoint) -> None:
    lines, _ = run(
        running,
        """
        import actors

        actors.init(FOLDER, log_to_driver=False)
        actors.get(actors.remote(print).remote("quiet"))
        with actors.Executor(FOLDER, log_to_driver=False) as executor:
            executor.submit(print, "quiet").result()
        """,
    )
    assert lines == []


def test_the_last_words_of_a_dying_task_appear(running: RunningEndpoint) -> None:
    lines, out = run(
        running,
        """
        import actors, os

        actors.init(FOLDER)

        @actors.remote(max_retries=0)
        def die():
            print("farewell")
            os._exit(3)

        try:
            actors.get(die.remote())
        except actors.WorkerCrashed:
            print("it died")
        """,
    )
    assert lines == ["> farewell"]
    assert out == "it died\n"


def test_what_tasks_and_actors_call_in_turn_prints_to_the_program_too(
    running: RunningEndpoint,
) -> None:
    lines, _ = run(
        running,
        """
        import actors

        actors.init(FOLDER)

        @actors.remote
        def inner(depth):
            print("depth", depth)
            if depth < 3:
                actors.get(inner.remote(depth + 1))

        @actors.remote
        class Caller:
            def call(self):
                print("calls")
                actors.get(inner.remote(3))

        @actors.remote
        def make():
            caller = Caller.remote()
            actors.get(caller.call.remote())

        actors.get(inner.remote(1))
        actors.get(make.remote())
        """,
    )
    # What a task has printed that goes on is looked at now and then.
    assert sorted(lines) == ["> calls", *(f"> depth {n}" for n in (1, 2, 3, 3))]


def test_a_stream_that_cannot_be_flushed_costs_no_worker(
    running: RunningEndpoint,
) -> None:
    _, told = run(
        running,
        """
        import actors, sys

        actors.init(FOLDER)

        class Odd:
            def flush(self):
                raise RuntimeError("not this one")

        @actors.remote(max_retries=0)
        def replace():
            sys.stdout = Odd()
            return "fine"

        print(actors.get(replace.remote()))
        """,
    )
    assert told == "fine\n"
