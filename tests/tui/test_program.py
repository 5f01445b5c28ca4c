"""Promise: `actors tui --pid` shows a program's tasks, actors, workers and objects.

The pictures are text, as in `test_pictures`; `python -m tests.tui.test_program` draws
them anew; look at them before you keep them.
"""

import asyncio
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import actors
from actors.embedded.pictures import (
    ActorState,
    ObjectState,
    ProgramState,
    TaskState,
    WorkerState,
)
from tests.cli.commands import actors as command
from tests.tui.drawing import SIZES, picture, settle
from tui.program import ProgramDashboard
from tui.program_view import ProgramReader, ProgramView, Usage, merged

PICTURES = Path(__file__).parent / "pictures"
PANES = ("overview", "tasks", "actors", "workers", "objects")
NOTHING = ProgramState(
    0, (0, 5.0), [], [], [], [], (0, 0), {"CPU": 2.0}, {"CPU": 2.0}, 3.5
)
STATES = ("RUNNING", "SUBMITTED_TO_WORKER", "PENDING_ARGS_AVAIL")


def empty() -> ProgramView:
    return ProgramView(4711, "python census.py", 0.0, NOTHING)


def busy() -> ProgramView:
    tasks = [
        TaskState(f"{n:x}", "load", STATES[min(n, 2)], "NORMAL_TASK", "w1", 5001, "", 0)
        for n in range(9)
    ]
    lives = (("ALIVE", 5003, 0, ""), ("RESTARTING", 0, 2, "killed by signal 9\x1b[31m"))
    living = [
        ActorState(f"00000{n}", "Store", life, f"shelf-{n}", "", pid, again, n, cause)
        for n, (life, pid, again, cause) in enumerate(lives)
    ]
    workers = [
        WorkerState("w1", "WORKER", 5001, False, 2),
        WorkerState("w2", "WORKER", 0, True, 0),
        WorkerState("a1", "ACTOR", 5003, True, 0),
    ]
    objects = [ObjectState("d41f-7", 64 << 20, {"owner": 2, "w1": 1})]
    state = dataclasses.replace(
        NOTHING,
        unended=1200,
        finished=(620, 5.0),
        tasks=tasks,
        actors=living,
        workers=workers,
        objects=objects,
        stored=(1, 64 << 20),
        free={"CPU": 0.0},
        uptime=75.0,
    )
    return ProgramView(
        4711,
        "python census.py",
        0.0,
        state,
        "",
        {4711: Usage(0.25, 90 << 20), 5001: Usage(1.0, 120 << 20)},
        (10, 60, 124),
        (2000, 1500, 1200),
    )


def gone() -> ProgramView:
    return dataclasses.replace(busy(), trouble="The process 4711 has ended", usage={})


VIEWS: dict[str, Callable[[], ProgramView]] = {
    "empty": empty,
    "busy": busy,
    "gone": gone,
}


def draw(state: str, size: tuple[int, int]) -> str:
    async def drawn() -> list[str]:
        lines = []
        app = ProgramDashboard(VIEWS[state]())
        async with app.run_test(size=size) as pilot:
            for pane in PANES:
                app.action_open(pane)
                await settle(pilot)
                lines += [f"==== {pane}", *picture(app)[:-1]]
        return lines

    return "\n".join(asyncio.run(drawn())) + "\n"


def path_of(state: str, size: tuple[int, int]) -> Path:
    return PICTURES / f"program-{state}-{size[0]}x{size[1]}.txt"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", VIEWS)
def test_the_screens_look_as_they_did(state: str, size: tuple[int, int]) -> None:
    text = draw(state, size)
    assert text == path_of(state, size).read_text()
    assert all(line.isprintable() for line in text.splitlines())


def test_keys_lead_everywhere() -> None:
    async def script() -> None:
        app = ProgramDashboard(empty())
        async with app.run_test() as pilot:
            for key, pane in (("3", "actors"), ("tab", "workers"), ("1", "overview")):
                await pilot.press(key)
                await settle(pilot)
                assert app.pane.id == pane
            app.post(busy())
            await settle(pilot)
            assert any("124 calls/s" in line for line in picture(app))
            await pilot.press("question_mark")
            await settle(pilot)
            assert any("1 to 5, Tab" in line for line in picture(app))
            offered = [command.title for command in app.get_system_commands(app.screen)]
            assert {"Theme", "Show Objects"} <= set(offered)

    asyncio.run(script())


def test_several_runtimes_of_a_program_are_one_picture() -> None:
    state = busy().state
    assert state is not None
    both = merged([state, state])
    assert both.unended == 2400
    assert both.finished == (248, 1.0)
    assert len(both.workers) == 6
    assert both.total == {"CPU": 4.0}
    assert merged([state]) is state


def test_a_program_that_is_gone_or_has_no_workers_is_said_so() -> None:
    assert "has no workers" in ProgramReader(1, print).look().trouble
    assert "has ended" in ProgramReader(2**22 + 1, print).look().trouble


def test_without_a_terminal_it_says_what_to_do() -> None:
    result = command("tui", "--pid", os.getpid())
    assert result.exit_code == 1
    assert "actors.state" in result.output


@pytest.mark.slow
def test_a_real_program_is_shown() -> None:
    with actors.Executor(max_workers=1) as executor:
        assert executor.submit(abs, -1).result() == 1
        reader = ProgramReader(os.getpid(), print)
        view = reader.look()
        assert view.trouble == ""
        assert view.state is not None
        assert [worker.worker_type for worker in view.state.workers] == ["WORKER"]
        assert view.rates[0] > 0
        pid = view.state.workers[0].pid
        assert view.usage[pid].rss_bytes > 0
        assert view.usage.keys() == {os.getpid(), pid}


if __name__ == "__main__":
    for each in VIEWS:
        for one in SIZES:
            path_of(each, one).write_text(draw(each, one))
