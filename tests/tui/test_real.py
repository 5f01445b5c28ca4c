"""Promise: the dashboard shows a real endpoint, steers it, and survives its restart."""

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from textual.pilot import Pilot

from actors.api.addressing import find_entrance
from actors.api.observer import ConnectionState
from tests.endpoints import RunningEndpoint, no_leftovers
from tests.support import eventually
from tests.tui.drawing import picture, settle
from tui.app import Dashboard
from tui.reader import Reader
from tui.view import View

__all__ = ["no_leftovers"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leftovers")]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def endpoint() -> Iterator[RunningEndpoint]:
    with RunningEndpoint(heartbeat={"period": 0.5, "threshold": 3.0}) as running:
        yield running


def wait_for_ever(until: str) -> None:
    while not os.path.exists(until):
        time.sleep(0.01)


def fail() -> None:
    raise ValueError("it never works")


class Operator:
    """A person before the dashboard."""

    def __init__(self, pilot: Pilot[None], app: Dashboard) -> None:
        self.pilot = pilot
        self.app = app

    def sees(self, text: str) -> bool:
        return any(text in line for line in picture(self.app))

    def has_all_services(self) -> bool:
        status = self.app.view.status
        return status is not None and len(status.services) == 3

    async def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, (what, picture(self.app))
            await self.pilot.pause(0.02)

    async def until_seen(self, text: str) -> None:
        await self.until(lambda: self.sees(text), text)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await settle(self.pilot)


def look(endpoint: RunningEndpoint, script: Callable[[Operator], object]) -> None:
    """Open the dashboard on an endpoint."""

    async def whole() -> None:
        entrance = find_entrance(endpoint.folder, "operator", listens=True)
        app = Dashboard(View(entrance.name, time.time()))
        reader = Reader(entrance, app.post)
        app.source = reader
        async with app.run_test(size=(110, 40), notifications=True) as pilot:
            reader.start()
            try:
                await script(Operator(pilot, app))  # type: ignore[misc]
            finally:
                reader.close()

    asyncio.run(whole())


def test_everything_is_shown_and_may_be_steered(endpoint: RunningEndpoint) -> None:
    end = endpoint.folder / "end"
    executor = endpoint.executor()
    failed = executor.submit(fail)
    tasks = [executor.submit(wait_for_ever, str(end)) for _ in range(6)]
    assert isinstance(failed.exception(30), ValueError)

    async def script(operator: Operator) -> None:
        await operator.until_seen("● connected")
        await operator.until_seen("2 of 2 workers busy")
        # A task's story
        await operator.press("2", "f", "f", "f")
        await operator.until_seen("1 shown")
        await operator.press("enter")
        await operator.until_seen("ValueError: it never works")
        await operator.until_seen("Traceback")
        await operator.press("escape")
        # Cancel one that runs
        await operator.press("f", "f", "f", "f")
        await operator.until_seen("2 shown")
        await operator.press("c", "y")
        await operator.until(
            lambda: sum(task.cancelled() for task in tasks) == 1, "a cancelled future"
        )
        # Hold and resume the block
        await operator.press("3")
        await operator.until_seen("block-1.0")
        await operator.press("h", "y")
        await operator.until_seen("running, on hold")
        await operator.press("r", "y")
        await operator.until(lambda: not operator.sees("on hold"), "resumed")
        # Actors, logs, events
        await operator.press("5")
        # (The worker whose task was cancelled has made way for another one.)
        await operator.until_seen("block-1.0-w")
        await operator.until_seen(str(endpoint.pid("interchange")))
        await operator.press("6")
        await operator.until_seen(f"is up, pid {endpoint.pid('strategy')}")
        await operator.press("7")
        await operator.until_seen("cancelled")
        # Scale
        await operator.press("4", "s", "backspace", "2", "enter", "y")
        await operator.until_seen("an operator asked for 2 blocks")
        await operator.press("3")
        await operator.until_seen("block-2.0")
        end.touch()

    look(endpoint, script)
    assert sum(task.cancelled() for task in tasks) == 1


def test_a_restart_of_the_endpoint_is_a_state_of_the_screen(
    endpoint: RunningEndpoint,
) -> None:
    async def script(operator: Operator) -> None:
        await operator.until_seen("● connected")
        await operator.until_seen("1 running")
        await asyncio.to_thread(endpoint.stop)
        await operator.until_seen("✖ connection lost")
        await operator.until_seen("`actors run")
        assert operator.sees("1 running"), "as it was known last"
        # Not in another thread: the endpoint dies with the one that started it.
        endpoint.start()
        await operator.until_seen("● connected")
        await operator.until_seen("1 of 1 manager ready")

    look(endpoint, script)


def test_a_killed_interchange_is_told_of_and_a_strategy_is_restarted(
    endpoint: RunningEndpoint,
) -> None:
    async def script(operator: Operator) -> None:
        await operator.until_seen("1 of 1 manager ready")
        os.kill(endpoint.pid("interchange"), 9)
        await operator.until_seen("Interchange was restarted")
        await operator.until_seen("● connected")

        await operator.until(operator.has_all_services, "all services")
        strategy = endpoint.pid("strategy")
        await operator.press("5", "home", "down", "down", "down")
        await operator.press("R")
        await operator.until_seen("Restart strategy?")
        await operator.press("y")
        await operator.until(lambda: strategy_is_another(strategy), "another strategy")

    def strategy_is_another(before: int) -> bool:
        return not psutil.pid_exists(before) and endpoint.pid("strategy") != before

    look(endpoint, script)


def test_stop_ends_the_endpoint_and_the_dashboard_stays(
    endpoint: RunningEndpoint,
) -> None:
    async def script(operator: Operator) -> None:
        # By the supervisor it is stopped, which may come after a manager.
        await operator.until(operator.has_all_services, "all services")
        await operator.press("S")
        await operator.until_seen("Stop tested?")
        await operator.press("y")
        await operator.until_seen("the endpoint stops")
        state = ConnectionState.LOST
        await operator.until(
            lambda: operator.app.view.connection.state is state, "the end"
        )

    look(endpoint, script)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_in_a_terminal_it_starts_shows_and_leaves(endpoint: RunningEndpoint) -> None:
    socket = endpoint.folder / "tmux"
    tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]

    def capture() -> str:
        command = [*tmux, "capture-pane", "-p"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout

    def press(*keys: str) -> None:
        subprocess.run([*tmux, "send-keys", *keys], check=True)

    words = [sys.executable, "-m", "tui", str(endpoint.folder)]
    subprocess.run(
        [
            *(*tmux, "new-session", "-d", "-x", "80", "-y", "24"),
            *("-c", str(REPOSITORY), shlex.join(words) + "; echo left $?; cat"),
        ],
        check=True,
    )
    try:
        eventually(lambda: "1 of 1 manager ready" in capture(), 30, "the overview")
        assert "[1 Overview]" in capture()
        press("3")
        eventually(lambda: "block-1.0" in capture(), 10, "the blocks")
        press("?")
        eventually(lambda: "Every order is explained" in capture(), 10, "the help")
        press("Escape")
        eventually(lambda: "Every order" not in capture(), 10, "no help")
        press("q")
        eventually(lambda: "left 0" in capture(), 20, f"the end: {capture()}")
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
