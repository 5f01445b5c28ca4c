"""Promise: what happens is told as it happens, in lines or objects, and nothing hides.

Neither events that were missed nor a connection that was lost.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.cli.event_text import describe
from actors.cli.events import _KINDS
from actors.messages import TaskEnded, TaskId, TaskState
from tests.cli.commands import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

# Ctrl-C is not ignored, whoever runs the tests.
AS_FROM_A_TERMINAL = """
import signal
from actors.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
slow = pytest.mark.slow


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """The folder of an endpoint that was never started."""
    assert actors("init", tmp_path / "lab").exit_code == 0
    return tmp_path / "lab"


def test_an_endpoint_that_does_not_run_tells_nothing(lab: Path) -> None:
    result = actors("events", lab, "--follow")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "it was never started" in result.stderr


def test_a_kind_that_there_is_not_is_answered_with_those_there_are(lab: Path) -> None:
    result = actors("events", lab, "--kind", "earthquake")
    assert result.exit_code == 2
    assert "block_changed" in result.stderr
    assert set(_KINDS) >= {"member_joined", "load_reported", "notice"}


def test_words_of_others_are_cut_to_a_line() -> None:
    event = TaskEnded(TaskId("t1"), TaskState.FAILED, "\n it broke\nin two")
    assert describe(event) == "t1 failed: it broke"


def broken() -> None:
    raise ValueError("\x1b[31mit never\nworks")


class Followed:
    """`actors events --follow` as a program reads it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.seen: list[dict[str, Any]] = []
        self._begin = 0

    def begin(self) -> None:
        """Let `until` take no notice of what was seen before."""
        self._begin = len(self.seen)

    def until(self, **wanted: Any) -> dict[str, Any]:
        """Read until an object has these fields, and return it."""
        assert self.process.stdout is not None
        for before in self.seen[self._begin :]:
            if wanted.items() <= before.items():
                return before
        for line in self.process.stdout:
            told: dict[str, Any] = json.loads(line)
            self.seen.append(told)
            if wanted.items() <= told.items():
                return told
        raise AssertionError(f"no {wanted} in {self.seen}")


@contextmanager
def followed(endpoint: RunningEndpoint, *words: str) -> Iterator[Followed]:
    command = [sys.executable, "-c", AS_FROM_A_TERMINAL, "events", "--follow", "--json"]
    with subprocess.Popen(
        [*command, *words, str(endpoint.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield Followed(process)
        process.kill()


@slow
@pytest.mark.usefixtures("no_leftovers")
def test_whatever_happens_is_told_with_its_place_in_the_stream(
    shared_endpoint: RunningEndpoint,
) -> None:
    endpoint = shared_endpoint
    kinds = ["--kind=member_joined", "--kind=member_left", "--kind=task_ended"]
    kinds += ["--kind=actor_restarted", "--kind=load_reported"]
    with followed(endpoint, *kinds) as stream:
        stream.until(event="connection", state="connected")
        with endpoint.executor(name="ada") as executor:
            stream.until(event="member_joined", kind="client", member_id="ada")
            with pytest.raises(ValueError, match="never"):
                executor.submit(broken).result(30)
            failed = stream.until(event="task_ended")
        assert failed["source"] == "interchange"
        assert "it never" in failed["message"]
        assert failed["state"] == "failed"
        stream.until(event="member_left", kind="client", is_lost=False)
        # Its successor has a stream of its own, that begins anew.
        stream.begin()
        os.kill(endpoint.pid("interchange"), signal.SIGKILL)
        stream.until(event="connection", state="lost")
        stream.until(event="connection", state="connected")
        stream.until(event="actor_restarted", actor="interchange")
        stream.begin()
        assert stream.until(event="load_reported")["epoch"] != failed["epoch"]
        for epoch in {told.get("epoch") for told in stream.seen} - {None}:
            places = [told["seq"] for told in stream.seen if told.get("epoch") == epoch]
            assert places == sorted(set(places))
        assert all(told["time"].endswith("Z") for told in stream.seen)
        stream.process.send_signal(signal.SIGINT)
        assert stream.process.wait(20) == 130
        assert stream.process.stderr is not None
        assert stream.process.stderr.read() == ""

        assert [told["event"] for told in stream.seen].count("actor_restarted") == 1

        # Who comes later is told what is remembered.
        def remembered() -> str:
            return actors("events", endpoint.folder).stdout

        eventually(lambda: "interchange, the 1. time" in remembered(), 20)
        lines = actors("events", endpoint.folder, "--json").stdout.splitlines()
        assert "actor_restarted" in {json.loads(line)["event"] for line in lines}
        assert actors("events", endpoint.folder, "--kind", "notice").stdout == ""


@slow
@pytest.mark.usefixtures("no_leftovers")
def test_only_what_is_asked_for_is_told_and_an_end_of_reading_ends_it(
    shared_endpoint: RunningEndpoint,
) -> None:
    with followed(shared_endpoint, "--kind", "load_reported") as stream:
        stream.until(event="load_reported")
        stream.begin()
        stream.until(event="load_reported")
        assert {told["event"] for told in stream.seen} == {
            "connection",
            "load_reported",
        }
        assert stream.process.stdout is not None
        stream.process.stdout.close()
        assert stream.process.wait(20) == 0
        assert stream.process.stderr is not None
        assert stream.process.stderr.read() == ""
