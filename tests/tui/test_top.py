"""Promise: `actors top` says in a few lines how an endpoint is."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pyte
import pytest

from tests.cli.commands import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.tui.views import STATES, normal
from tui.top import glance

REPOSITORY = Path(__file__).parents[2]


def test_busy_workers_come_first_by_the_processor_time_they_take() -> None:
    view = normal()
    assert view.status is not None
    manager = view.status.managers[0]
    keys = [(manager.manager_id, worker.pid) for worker in manager.workers]
    view = dataclasses.replace(view, cores={keys[1]: 0.5, keys[2]: 1.25})
    lines = glance(view, 120, 40)
    head = next(n for n, line in enumerate(lines) if "WORKER" in line)
    assert lines[head + 1].split()[0] == "1.2"
    assert manager.workers[2].worker_id in lines[head + 1]
    assert manager.workers[2].task_name in lines[head + 1]
    assert lines[head + 2].split()[0] == "0.50"
    assert any("1.8 cores" in line for line in lines)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("size", [(40, 6), (80, 24), (200, 60)])
def test_it_keeps_to_its_room(state: str, size: tuple[int, int]) -> None:
    lines = glance(STATES[state](), *size)
    assert 0 < len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]
    assert all(line.isprintable() for line in lines)


def test_workers_without_room_are_counted() -> None:
    lines = glance(STATES["busy"](), 120, 12)
    assert lines[-1].startswith("  and ")
    assert lines[-1].endswith(" more")


def test_a_lost_endpoint_is_said_to_be_so_and_is_shown_as_it_was() -> None:
    lines = glance(STATES["disconnected"](), 120, 40)
    assert "connected" not in lines[0].split()
    assert any(line.startswith("tasks ") for line in lines)


def test_an_endpoint_that_does_not_run_is_named(tmp_path: Path) -> None:
    actors("init", tmp_path)
    result = actors("top", "--once", "--timeout", "0.5", tmp_path)
    assert result.exit_code == 1
    assert "it was never started" in result.output


@pytest.mark.slow
def test_a_real_endpoint_is_watched_until_ctrl_c() -> None:
    with RunningEndpoint() as endpoint:
        executor = endpoint.executor()
        assert executor.submit(abs, -1).result(30) == 1
        result = actors("top", endpoint.folder)
        assert result.exit_code == 0
        assert "1 success" in result.stdout
        assert "of 2 busy" in result.stdout
        master, slave = os.openpty()
        os.set_blocking(master, False)
        screen = pyte.Screen(80, 24)
        stream = pyte.ByteStream(screen)
        process = subprocess.Popen(
            [sys.executable, "-m", "actors", "top", str(endpoint.folder)],
            cwd=REPOSITORY,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )

        def sees(text: str) -> bool:
            try:
                stream.feed(os.read(master, 1 << 16))
            except BlockingIOError:
                return any(text in line for line in screen.display)
            return False

        try:
            eventually(lambda: sees("1 success"), 20, "the counts")
            process.send_signal(2)
            assert process.wait(20) == 130
        finally:
            process.kill()
            process.wait()
            os.close(master)
            os.close(slave)
