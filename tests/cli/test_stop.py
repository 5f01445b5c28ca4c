"""Promise: after `actors stop` nothing of the endpoint is left, or it says so."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors.endpoint.surroundings import RunStatus, Surroundings, boot_id
from actors.errors import ActorsError
from actors.process import ProcessIdentity
from tests.cli.commands import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leftovers")]

# Says when it is ready for signals, and how many it got when it ends.
STUBBORN = """
import signal, sys, time
needed, got = int(sys.argv[1]), []
signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
print("ready", flush=True)
while len(got) < needed:
    time.sleep(0.01)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """The folder of an endpoint that was never started."""
    assert actors("init", tmp_path / "lab").exit_code == 0
    return tmp_path / "lab"


@pytest.fixture
def stubborn(
    lab: Path, request: pytest.FixtureRequest
) -> Iterator[subprocess.Popen[bytes]]:
    """A root process that answers nobody, and ends at the Nth SIGTERM."""
    words = [sys.executable, "-c", STUBBORN, str(request.param)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        around, root = Surroundings.of(lab), ProcessIdentity.of(process.pid)
        address = str(around.local_address)
        around.write_status(
            RunStatus(
                *("lab", address, around.host, boot_id()),
                *(root.pid, root.started_at, 2),
            )
        )
        yield process
        process.kill()


def await_all(endpoint: RunningEndpoint) -> None:
    """Wait until everybody has come in, the supervisor too."""
    eventually(
        lambda: (
            "all services there" in (text := actors("status", endpoint.folder).stdout)
            and "block-1.0 on" in text
        ),
        30,
        "everybody to come in",
    )


def test_stop_ends_all_processes() -> None:
    with RunningEndpoint() as endpoint:
        endpoint.await_workers(2)
        await_all(endpoint)
        result = actors("stop", endpoint.folder)
        assert result.exit_code == 0, result.stderr
        assert result.stdout == "tested stopped\n"
        assert f"tested (pid {endpoint.root_pid}) was asked to stop" in result.stderr
        assert not endpoint.processes()
        assert endpoint.stop() == 0

        result = actors("stop", endpoint.folder)
        assert result.exit_code == 1
        assert "Nothing to stop" in result.stderr
        assert "is gone: `actors run" in result.stderr


def test_stop_now_does_not_wait_for_a_task() -> None:
    with RunningEndpoint() as endpoint:
        # Soon certain that nobody comes back.
        executor = endpoint.executor(patience=2.0)
        future = executor.submit(os.system, "exec sleep 1000")
        eventually(
            lambda: any("sleep" in p.name() for p in endpoint.processes()),
            30,
            "the task to run",
        )
        result = actors("stop", "--now", "--json", endpoint.folder)
        assert result.exit_code == 0
        assert json.loads(result.stdout) == {"ok": True, "text": "tested stopped"}
        endpoint.stop()
        with pytest.raises(ActorsError):
            future.result(10)


@pytest.mark.parametrize("stubborn", [1], indirect=True)
def test_a_root_process_that_does_not_answer_gets_a_signal(
    lab: Path, stubborn: subprocess.Popen[bytes]
) -> None:
    result = actors("stop", lab, "--timeout", "2")
    assert result.exit_code == 0, result.stderr
    assert f"No answer from {lab} within 1 s" in result.stderr
    assert f"lab (pid {stubborn.pid}) got SIGTERM instead" in result.stderr
    assert stubborn.wait(5) == 0


@pytest.mark.parametrize("stubborn", [2], indirect=True)
def test_who_is_not_gone_in_time_is_told_and_now_gets_a_second_signal(
    lab: Path, stubborn: subprocess.Popen[bytes]
) -> None:
    result = actors("stop", lab, "--timeout", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"lab (pid {stubborn.pid}) still runs after 1 s" in result.stderr
    assert f"`actors stop {lab} --now`" in result.stderr
    assert stubborn.poll() is None
    assert actors("stop", lab, "--now").exit_code == 0
    assert stubborn.wait(5) == 0


@pytest.mark.parametrize("stubborn", [10**9], indirect=True)
def test_who_outlives_even_that_is_told_with_what_is_left_to_do(
    lab: Path, stubborn: subprocess.Popen[bytes]
) -> None:
    result = actors("stop", lab, "--now", "--timeout", "0.7")
    assert result.exit_code == 1
    assert f"`kill -KILL {stubborn.pid}`" in result.stderr


@pytest.mark.parametrize("stubborn", [1], indirect=True)
def test_a_pid_that_was_given_away_again_is_left_alone(
    lab: Path, stubborn: subprocess.Popen[bytes]
) -> None:
    around = Surroundings.of(lab)
    status = around.read_status()
    assert status is not None
    around.write_status(msgspec.structs.replace(status, root_started_at=1.0))
    for words in (["stop"], ["stop", "--now"]):
        result = actors(*words, lab)
        assert result.exit_code == 1
        assert f"its process {stubborn.pid} is gone" in result.stderr
    assert stubborn.poll() is None
