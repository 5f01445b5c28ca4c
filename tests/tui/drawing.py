"""Draw a view in an app without a terminal, and say in text what stands there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from textual.app import App
from textual.pilot import Pilot

from tui.app import Dashboard
from tui.reader import Outcome
from tui.view import View

__all__ = ["PANES", "SIZES", "Desk", "draw_all", "picture", "play", "running", "settle"]

PANES = ("overview", "tasks", "blocks", "scaling", "actors", "logs", "events")
SIZES = ((80, 24), (132, 40))


class Desk:
    """A source that takes orders and says what it was told to say.

    Args:
        answers: {verb: (is_done, text, body)}
    """

    def __init__(self, **answers: tuple[bool, str, bytes]) -> None:
        self.orders: list[tuple[str, list[str], int]] = []
        self.looks: list[tuple[str, tuple[str, ...], int]] = []
        self._answers = answers

    def look_at_tasks(self, text: str, states: Sequence[str], count: int) -> None:
        self.looks.append((text, tuple(states), count))

    def order(
        self, verb: str, names: Sequence[str], number: int, outcome: Outcome
    ) -> None:
        self.orders.append((verb, list(names), number))
        outcome(*self._answers.get(verb, (True, f"{verb}: done", b"")))


def picture(app: App[None]) -> list[str]:
    """Return the lines that stand on the screen."""
    strips = app.screen._compositor.render_strips()
    return ["".join(s.text for s in strip).rstrip() for strip in strips]


async def settle(pilot: Pilot[None]) -> None:
    """Let everything that is under way be drawn."""
    for _ in range(3):
        await pilot.pause()


@contextlib.asynccontextmanager
async def running(
    view: View, size: tuple[int, int] = (80, 24), source: Desk | None = None
) -> AsyncIterator[Pilot[None]]:
    """Run the app on a view."""
    app = Dashboard(view)
    app.source = source
    async with app.run_test(size=size, notifications=True) as pilot:
        await settle(pilot)
        yield pilot


def draw_all(view: View, size: tuple[int, int]) -> dict[str, list[str]]:
    """Draw every screen; the footer is left out: it is Textual's own."""

    async def draw() -> dict[str, list[str]]:
        drawn = {}
        async with running(view, size) as pilot:
            app = pilot.app
            assert isinstance(app, Dashboard)
            for pane in PANES:
                app.action_open(pane)
                await settle(pilot)
                drawn[pane] = picture(app)[:-1]
        return drawn

    return asyncio.run(draw())


def play(
    view: View,
    script: Callable[[Pilot[None], Dashboard], Awaitable[None]],
    *,
    size: tuple[int, int] = (80, 24),
    source: Desk | None = None,
) -> None:
    """Run the app, and do with it what a script says."""

    async def whole() -> None:
        async with running(view, size, source) as pilot:
            assert isinstance(pilot.app, Dashboard)
            await script(pilot, pilot.app)

    asyncio.run(whole())
