"""Promise: in a browser the dashboard is what it is in a terminal, mouse and all.

Chromium shows the page, and the mouse clicks where a person would. What stands where
is read by a terminal of ours from what the page gets over its websocket.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator

import pyte
import pytest
from playwright.sync_api import Page, WebSocket, sync_playwright

from tests.cli.commands import actors
from tests.endpoints import RunningEndpoint
from tests.tui.test_web import Web

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("ACTORS_TEST_CHROMIUM") or next(
    filter(None, map(shutil.which, _NAMES)), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: see CONTRIBUTING"),
]


class Person:
    """Somebody before the browser."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.loaded: list[str] = []
        page.on("websocket", self._opened)
        page.on("requestfinished", lambda request: self.loaded.append(request.url))

    def _opened(self, link: WebSocket) -> None:
        query = dict(part.split("=") for part in link.url.partition("?")[2].split("&"))
        self.screen.resize(int(query["height"]), int(query["width"]))
        link.on("framereceived", self._take)

    def _take(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            self._stream.feed(frame)

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            text = "\n".join(self.screen.display)
            assert time.monotonic() < deadline, f"{what}\n{text}"
            self.page.wait_for_timeout(50)

    def sees(self, text: str) -> None:
        self.until(lambda: self.place(text), f"{text!r} on the screen")

    def place(self, text: str) -> tuple[int, int] | None:
        """Return row and column of the middle of a text."""
        for row, line in enumerate(self.screen.display):
            if text in line:
                return row, line.index(text) + len(text) // 2
        return None

    def clicks_until(self, text: str, is_done: Callable[[], object]) -> None:
        """Click, and again if what is under the pointer was just drawn anew."""
        for _ in range(20):
            self.clicks(text)
            for _ in range(60):
                if is_done():
                    return
                self.page.wait_for_timeout(50)
        raise AssertionError(f"{text!r} was clicked in vain")

    def clicks(self, text: str) -> None:
        self.sees(text)
        place = self.place(text)
        box = self.page.locator(".xterm-screen").bounding_box()
        assert place is not None
        assert box is not None
        row, column = place
        self.page.mouse.click(
            box["x"] + (column + 0.5) * box["width"] / self.screen.columns,
            box["y"] + (row + 0.5) * box["height"] / self.screen.lines,
        )


@pytest.fixture
def endpoint() -> Iterator[RunningEndpoint]:
    with RunningEndpoint(heartbeat={"period": 0.5, "threshold": 3.0}) as running:
        running.await_workers(2)
        yield running


@pytest.fixture
def person(endpoint: RunningEndpoint) -> Iterator[Person]:
    """Before the page that `actors web` told to open."""
    web = Web(endpoint.folder)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM,
                # Root has no namespaces to lock a page up in.
                chromium_sandbox=os.getuid() != 0,
            )
            page = browser.new_page(viewport={"width": 1000, "height": 600})
            made = Person(page)
            page.goto(web.url)
            yield made
            browser.close()
    finally:
        web.end()


def test_a_person_looks_around_and_steers_with_the_mouse(
    person: Person, endpoint: RunningEndpoint
) -> None:
    person.sees("connected")
    person.sees("Nothing needs you")
    before = person.page.screenshot()
    person.clicks("2 Tasks")
    person.sees("No tasks")
    assert person.page.screenshot() != before, "nothing was drawn"
    # The cookie is enough for another page, and scripts cannot read it.
    assert "token" not in person.page.url
    assert "token" not in person.page.evaluate("document.cookie")
    person.clicks("3 Blocks")
    person.clicks("block-1 ")
    person.clicks_until("Hold", lambda: person.place("Hold block-1"))
    person.clicks("Hold (y)")

    def is_held() -> bool:
        status = json.loads(actors("status", endpoint.folder, "--json").stdout)
        return bool(status["blocks"][0]["is_held"])

    person.until(is_held, "the block to be held")
    # The message that says so may have gone again.
    person.sees("On hold: block-1")
    person.page.keyboard.press("7")
    person.sees("member joined")
    person.clicks_until("Quit", person.page.get_by_text("Session ended.").is_visible)
    assert person.loaded
    assert not [url for url in person.loaded if not url.startswith("http://127.0.0.1:")]
