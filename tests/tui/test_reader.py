"""Promise: the reader shows the newest, says how orders went, and survives nonsense."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.api.addressing import find_entrance
from actors.api.observer import Changed, ConnectionState, Told, Unanswered
from actors.messages import Answer, Command
from tests.cli.commands import actors
from tests.support import eventually
from tui.reader import Reader
from tui.view import View

pytestmark = pytest.mark.slow


class Shown:
    """A reader of an endpoint that does not run, and what it showed last."""

    def __init__(self, folder: Path) -> None:
        entrance = find_entrance(folder, "operator", listens=True)
        self.view = View("", 0.0)
        self.states: set[ConnectionState] = set()
        self.reader = Reader(entrance, self.take)

    def take(self, view: View) -> None:
        self.view = view
        self.states.add(view.connection.state)


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    actors("init", tmp_path)
    made = Shown(tmp_path)
    made.reader.start()
    yield made
    made.reader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("actors-")]


def test_an_endpoint_that_does_not_run_is_said_to_be_so(shown: Shown) -> None:
    eventually(lambda: "it was never started" in shown.view.connection.reason)
    assert shown.view.connection.state is ConnectionState.CONNECTING
    assert shown.view.alerts[0].text.startswith("Nobody answers yet")


def test_an_order_to_nobody_ends_in_words(shown: Shown) -> None:
    outcomes: list[tuple[bool, str]] = []
    shown.reader.order(
        "hold", ["x"], 0, lambda is_done, text, _: outcomes.append((is_done, text))
    )
    eventually(lambda: outcomes)
    ((is_done, text),) = outcomes
    assert not is_done
    assert text.startswith("the endpoint is not connected")


def test_an_answer_that_is_faster_than_its_order_is_told(shown: Shown) -> None:
    """Threads take turns after each step: the answer's often come first."""
    answered: list[int] = []
    orders = range(4000)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in orders:
            shown.reader.order(
                "hold", ["x"], 0, lambda *_, number=number: answered.append(number)
            )
    finally:
        sys.setswitchinterval(before)
    eventually(lambda: sorted(answered) == list(orders), what="all answers")


def test_nonsense_from_the_endpoint_is_shown_and_does_not_end_the_reader(
    shown: Shown,
) -> None:
    shown.reader.take(Changed(ConnectionState.CONNECTED, ""))
    nonsense = Answer("1", True, "", b"{}")
    shown.reader.take(Told(Command("", "status"), nonsense))
    eventually(lambda: any("did not understand" in a.text for a in shown.view.alerts))
    before = shown.view.at
    eventually(lambda: shown.view.at > before)


def test_an_answer_that_nobody_waits_for_is_no_trouble(shown: Shown) -> None:
    shown.reader.take(Unanswered(Command("other", "hold"), "lost"))

    def is_refused() -> bool:
        # Again, as the observer says once per second that nobody answers.
        shown.reader.take(Changed(ConnectionState.REFUSED, "wrong token"))
        return ConnectionState.REFUSED in shown.states

    eventually(is_refused)
    assert len(shown.view.alerts) == 1
