"""Promise: what ran is written to a file that is whole, or not touched."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

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


def test_an_endpoint_that_does_not_run_leaves_the_file_alone(tmp_path: Path) -> None:
    assert actors("init", tmp_path / "lab").exit_code == 0
    out = tmp_path / "out.json"
    out.write_text("old")
    result = actors("timeline", out, tmp_path / "lab")
    assert result.exit_code == 1
    assert "it was never started" in result.stderr
    assert out.read_text() == "old"


@contextmanager
def closing_by_kill(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


def slices(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in trace["traceEvents"] if event["ph"] == "X"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_leftovers")
def test_tasks_of_a_real_endpoint_are_in_the_lanes_of_its_workers(
    shared_endpoint: RunningEndpoint, tmp_path: Path
) -> None:
    folder, out = shared_endpoint.folder, tmp_path / "out.json"
    recorded = tmp_path / "recorded.json"
    command = [sys.executable, "-c", AS_FROM_A_TERMINAL, "timeline", "--follow"]
    with (
        shared_endpoint.executor() as executor,
        subprocess.Popen(
            [*command, str(recorded), str(folder)], stderr=subprocess.PIPE
        ) as recorder,
        closing_by_kill(recorder),
    ):

        def is_recording() -> bool:
            status = json.loads(actors("status", "--json", folder).stdout)
            return recorder.pid in [member["pid"] for member in status["members"]]

        eventually(is_recording, 20, "the recorder")
        first = executor.submit(time.sleep, 0.2)
        second = executor.submit(time.sleep, 0.2)
        first.result(30)
        second.result(30)

        def has_both() -> bool:
            result = actors("timeline", out, folder)
            assert result.exit_code == 0, result.stderr
            return len(slices(json.loads(out.read_text()))) == 2

        eventually(has_both, 20, "both tasks in the trace")
        recorder.send_signal(signal.SIGINT)
        assert recorder.wait(20) == 0
        assert recorder.stderr is not None
        assert b"open it in ui.perfetto.dev" in recorder.stderr.read()
    assert list(tmp_path.iterdir()) in ([out, recorded], [recorded, out])
    for path in (out, recorded):
        trace = json.loads(path.read_text())
        works = slices(trace)
        assert len(works) == 2
        assert all(work["dur"] >= 150_000 for work in works)
        lanes = {
            (e["pid"], e["tid"]): e["args"]["name"]
            for e in trace["traceEvents"]
            if e["name"] == "thread_name"
        }
        for work in works:
            assert lanes[work["pid"], work["tid"]].startswith("block-1.0-w")
    # A pipe gets the same, and nothing else.
    piped = json.loads(actors("timeline", "-", folder).stdout)
    assert len(slices(piped)) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("no_leftovers")
def test_a_file_that_cannot_be_written_is_said_so(
    shared_endpoint: RunningEndpoint, tmp_path: Path
) -> None:
    out = tmp_path / "nowhere" / "out.json"
    result = actors("timeline", out, shared_endpoint.folder)
    assert result.exit_code == 1
    assert f"Cannot write {out}: No such file or directory" in result.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("no_leftovers")
def test_a_device_is_written_to_and_not_replaced(
    shared_endpoint: RunningEndpoint, tmp_path: Path
) -> None:
    """Root's `actors timeline /dev/stdout lab` would leave a file in its place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Open for both, so that the writer need not wait for its reader.
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 1 << 20)
    try:
        assert actors("timeline", pipe, shared_endpoint.folder).exit_code == 0
        assert os.read(descriptor, 1) == b"{"
    finally:
        os.close(descriptor)
    assert pipe.is_fifo()


@pytest.mark.slow
@pytest.mark.usefixtures("no_leftovers")
def test_a_link_stays_one(shared_endpoint: RunningEndpoint, tmp_path: Path) -> None:
    link, out = tmp_path / "link.json", tmp_path / "out.json"
    link.symlink_to(out)
    assert actors("timeline", link, shared_endpoint.folder).exit_code == 0
    assert link.is_symlink()
    assert json.loads(out.read_bytes())
