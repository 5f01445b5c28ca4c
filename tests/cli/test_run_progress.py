"""Promise: `actors run --progress` counts tasks below what its command prints."""

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyte
import pytest

from actors.cli.bottom_line import BottomLine
from actors.cli.run_progress import Tally
from tests.cli.commands import actors
from tests.support import eventually
from tests.tui.views import normal

REPOSITORY = Path(__file__).parents[2]


class Terminal:
    """A terminal, as pyte understands what is written to a pipe."""

    def __init__(self, columns: int, rows: int) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._read, self.descriptor = os.pipe()

    def write(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def lines(self) -> list[str]:
        os.set_blocking(self._read, False)
        while True:
            try:
                written = os.read(self._read, 1 << 16)
            except BlockingIOError:
                return [line.rstrip() for line in self.screen.display]
            self._stream.feed(written.replace(b"\n", b"\r\n"))

    def size(self, _descriptor: int) -> os.terminal_size:
        return os.terminal_size((self.screen.columns, self.screen.lines))

    def close(self) -> None:
        os.close(self._read)
        os.close(self.descriptor)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal(40, 6)
    yield made
    made.close()


def test_what_others_print_scrolls_above_the_line(terminal: Terminal) -> None:
    line = BottomLine(terminal.descriptor, terminal.size)
    terminal.write("one\n")
    line.draw("1 of 9")
    for word in ("two", "three", "four", "five", "six"):
        terminal.write(f"{word}\n")
    line.draw("2 of 9")
    assert terminal.lines() == ["three", "four", "five", "six", "", "2 of 9"]
    line.release()
    terminal.write("end")
    assert terminal.lines() == ["three", "four", "five", "six", "end", ""]
    terminal.write("\n\n")
    assert terminal.lines() == ["four", "five", "six", "end", "", ""], "all scrolls"


def test_the_line_follows_the_end_of_a_terminal_that_grows(terminal: Terminal) -> None:
    line = BottomLine(terminal.descriptor, terminal.size)
    line.draw("small")
    terminal.lines()
    terminal.screen.resize(8, 40)
    line.draw("large")
    assert terminal.lines()[7] == "large"


def test_a_low_terminal_is_left_alone(terminal: Terminal) -> None:
    terminal.screen.resize(3, 40)
    line = BottomLine(terminal.descriptor, terminal.size)
    line.draw("1 of 9")
    line.release()
    assert not any(terminal.lines())


def test_counts_go_on_over_the_restart_of_an_interchange() -> None:
    status = normal().status
    assert status is not None
    tasks = {"running": 2, "waiting-for-nodes": 3, "success": 6, "failed": 4}
    first = msgspec.structs.replace(status, tasks=tasks, finished=10)
    tally = Tally()
    assert tally.take(first) == (10, 4, 15)
    again = {"running": 2, "success": 1, "failed": 0}
    second = msgspec.structs.replace(first, epoch="2", tasks=again, finished=1)
    assert tally.take(second) == (11, 4, 13)
    assert tally.take(second) == (11, 4, 13)


PROGRAM = """
import sys, time
import actors
with actors.Executor() as executor:
    futures = [executor.submit(pow, 2, n) for n in range(7)]
    print(sum(f.result() for f in futures))
    sys.stdin.readline()
"""


@pytest.mark.slow
def test_the_bar_stands_below_the_command_as_long_as_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    actors("init", folder)
    (tmp_path / "program.py").write_text(PROGRAM)
    master, slave = os.openpty()
    os.set_blocking(master, False)
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    words = [
        *(sys.executable, "-m", "actors", "run", "--progress", str(folder), "--"),
        *(sys.executable, str(tmp_path / "program.py")),
    ]
    terminal = {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
    process = subprocess.Popen(
        ["sh", "-c", f"stty rows 24 cols 80; exec {shlex.join(words)}"],
        cwd=REPOSITORY,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, **terminal},
    )

    def lines() -> list[str]:
        with contextlib.suppress(BlockingIOError):
            stream.feed(os.read(master, 1 << 16))
        return [line.rstrip() for line in screen.display]

    try:
        eventually(lambda: "7/7" in lines()[23], 30, "the bar")
        assert any(line == "127" for line in lines()), "what the command printed"
        os.write(master, b"\n")
        assert process.wait(30) == 0
        eventually(lambda: not lines()[23], 5, "no bar")
        assert any(line == "127" for line in lines())
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)
