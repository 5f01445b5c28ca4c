"""Promise: all that is told of a row can be read by keyboard, however long it is."""

import dataclasses
import itertools

import msgspec
from textual.pilot import Pilot

from tests.tui.drawing import picture, play, settle
from tests.tui.views import failing
from tui.app import Dashboard
from tui.view import View

LINES = 12


def with_long_words() -> View:
    view = failing()
    assert view.status is not None
    tail = "\n".join(f"line {number}" for number in range(LINES))
    blocks = [msgspec.structs.replace(b, stderr_tail=tail) for b in view.status.blocks]
    status = msgspec.structs.replace(view.status, blocks=blocks)
    return dataclasses.replace(view, status=status)


def shown(app: Dashboard) -> set[int]:
    """Tell which lines of the block's standard error stand on the screen."""
    text = "\n".join(picture(app)).replace("│", " ")
    words = text.split()
    return {int(b) for a, b in itertools.pairwise(words) if a == "line"}


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await settle(pilot)


def test_it_is_scrolled_by_keys_and_stays_so_while_views_come() -> None:
    view = with_long_words()

    async def script(pilot: Pilot[None], app: Dashboard) -> None:
        await press(pilot, "3", "home")
        assert 0 in shown(app)
        assert LINES - 1 not in shown(app)
        await press(pilot, *["J"] * LINES)
        assert LINES - 1 in shown(app)
        assert 0 not in shown(app)
        app.post(dataclasses.replace(view))
        await settle(pilot)
        assert LINES - 1 in shown(app)
        await press(pilot, *["shift+up"] * LINES)
        assert 0 in shown(app)
        # Another row is told from its beginning.
        await press(pilot, *["shift+down"] * LINES, "down", "down")
        assert 0 in shown(app)

    play(view, script)


def test_it_is_made_larger_and_smaller_again() -> None:
    async def script(pilot: Pilot[None], app: Dashboard) -> None:
        await press(pilot, "3", "home")
        before = shown(app)
        await press(pilot, "v")
        assert shown(app) == set(range(LINES))
        await press(pilot, "v")
        assert shown(app) == before

    play(with_long_words(), script)
