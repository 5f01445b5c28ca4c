"""Who was stopped and goes on finds everything as it left it, and harms nothing.

Real processes, real SIGSTOP for longer than the threshold of the heartbeats. (Managers
that are stopped stand in `test_join_leave`, services that are replaced in
`test_restarts`.)
"""

import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import actors
from actors.api.addressing import find_entrance
from actors.api.operator import ask
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks
from tests.system.support import kill, lines, picture

pytestmark = pytest.mark.slow

_REPOSITORY = Path(__file__).parents[2]
_TEMPO = {"period": 0.5, "threshold": 2.0, "reconnect_grace": 1.0}

_CLIENT = """
    import sys
    import actors
    from tests.system import tasks

    with actors.Executor() as executor:
        mine = [executor.submit(tasks.noted, sys.argv[1], n, 0.01) for n in range(400)]
        assert [future.result(60) for future in mine] == list(range(400))
"""


def test_a_client_that_was_stopped_gets_each_of_its_results(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with RunningEndpoint(heartbeat=_TEMPO) as endpoint:
        client = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_CLIENT), str(notes)],
            cwd=_REPOSITORY,
            env={**os.environ, "ACTORS_ADDRESS": str(endpoint.folder)},
        )
        try:
            eventually(lambda: len(lines(notes)) > 20, 20, "some tasks to run")
            client.send_signal(signal.SIGSTOP)
            eventually(
                lambda: not any(c.is_connected for c in picture(endpoint).clients),
                what="the client to be missed",
            )
            client.send_signal(signal.SIGCONT)
            assert client.wait(60) == 0
        finally:
            client.kill()
            client.wait()
        assert sorted(map(int, lines(notes))) == list(range(400)), "none ran twice"


def test_an_endpoint_that_was_stopped_as_a_whole_takes_nobody_for_dead(
    tmp_path: Path,
) -> None:
    """As a virtual machine that is suspended: all clocks jump at once."""
    gate = tmp_path / "gate"
    with RunningEndpoint(heartbeat=_TEMPO) as endpoint, endpoint.executor() as executor:
        mine = [executor.submit(tasks.wait_for, str(gate), n) for n in range(5)]
        eventually(
            lambda: sum(f.running() for f in mine) == 2, what="both workers to be busy"
        )
        everybody = [process.pid for process in endpoint.processes()]
        for pid in everybody:
            kill(pid, signal.SIGSTOP)
        with pytest.raises(actors.AddressError):
            # For longer than the threshold.
            ask(find_entrance(endpoint.folder, "operator"), "status", timeout=4.0)
        random.Random(0).shuffle(everybody)
        for pid in everybody:
            kill(pid, signal.SIGCONT)
        gate.touch()
        assert [future.result(30) for future in mine] == list(range(5))
        assert {step.attempt for future in mine for step in future.history} == {1}
        # Whoever judges wrongly does so within the next threshold.
        rest = [executor.submit(tasks.rest, 0.5) for _ in range(10)]
        assert all(future.result(30) for future in rest)
        assert {process.pid for process in endpoint.processes()} >= set(everybody)
        assert "is killed" not in endpoint.log("run")
