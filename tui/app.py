"""The dashboard of an endpoint: it shows the newest view and passes orders on."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol

from textual import on
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.screen import Screen

from actors.api.observer import ConnectionState
from actors.messages import Verb
from tui.board import Board, keys_of
from tui.panes.actors import Actors
from tui.panes.base import Pane, Steer
from tui.panes.blocks import Blocks
from tui.panes.events import Events
from tui.panes.logs import Logs
from tui.panes.overview import Overview
from tui.panes.scaling import Scaling
from tui.panes.tasks import Tasks
from tui.reader import TASKS_ASKED, TASKS_GLANCE, Outcome
from tui.steering import Confirm, Confirmation, HowMany, OrderVerb, consequences
from tui.text import duration, first_line, plain
from tui.view import View

__all__ = ["Dashboard", "Source"]

_PANES: dict[str, type[Pane[View]]] = {
    "overview": Overview,
    "tasks": Tasks,
    "blocks": Blocks,
    "scaling": Scaling,
    "actors": Actors,
    "logs": Logs,
    "events": Events,
}
_CONNECTIONS = {
    ConnectionState.CONNECTED: ("●", "connected", "$text-success"),
    ConnectionState.CONNECTING: ("○", "connecting", "$text-warning"),
    ConnectionState.LOST: ("✖", "connection lost", "$text-error"),
    ConnectionState.REFUSED: ("✖", "refused", "$text-error"),
}
_KEYS = """\
Screens      1 to 7, Tab, Shift-Tab, or a click
Everywhere   s scale   z quiesce   S stop the endpoint   q quit
             Ctrl-P all commands, themes among them
In a list    arrows or j k, PgUp PgDn, Home End or g G
             Space marks rows, Esc unmarks them
Below it     J K scroll what is told of a row   v makes it larger
Tasks        / search   f states   o order   Enter story
             c cancels the marked ones, or the one under the cursor
Blocks       h hold   r resume   d drain, blocks or managers
             R restart a manager
Actors       R restart a service, a manager or a client's actor
Logs, Events / filter   f follow again   Enter all of a line

Every order is explained and asked for before it is given; how it
went is shown then, and in the next picture.

Colours only repeat what words say: NO_COLOR=1 does without them.
"""
# How long an outcome stands on the screen, in seconds; a no stands longer. Chosen.
_OUTCOME_SHOWN = 5.0
_REFUSAL_SHOWN = 15.0


class Source(Protocol):
    """Where views come from and orders go to; see `tui.reader.Reader`."""

    def look_at_tasks(self, text: str, states: Sequence[str], count: int) -> None: ...
    def order(
        self, verb: Verb, names: Sequence[str], number: int, outcome: Outcome
    ) -> None: ...


class Answered(Message):
    """How an order went; from any thread."""

    def __init__(self, verb: str, text: str, body: bytes, *, is_done: bool) -> None:
        super().__init__()
        self.verb = verb
        self.text = text
        self.body = body
        self.is_done = is_done


class Dashboard(Board[View]):
    """The app; see the module's docstring.

    Args:
        view: what is shown first.
    """

    PANES = _PANES
    KEYS = _KEYS
    BINDINGS: ClassVar[list[BindingType]] = [
        *keys_of(_PANES),
        Binding("s", "scale", "Scale", show=False),
        Binding("z", "quiesce", "Quiesce or resume", show=False),
        Binding("S", "stop", "Stop", show=False),
    ]

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self.source: Source | None = None  # set before it runs

    def action_open(self, name: str) -> None:
        """Show another pane, and have no more read than it shows."""
        super().action_open(name)
        if name != "tasks":
            self._look("", (), TASKS_GLANCE)
        elif self.source is not None:
            self.screen_stack[0].query_one(Tasks).want()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Name what the palette offers."""
        yield from super().get_system_commands(screen)
        yield SystemCommand("Scale", "Start or end blocks now", self.action_scale)
        yield SystemCommand(
            "Quiesce or resume",
            "Take and start no tasks, or take and start them again",
            self.action_quiesce,
        )
        yield SystemCommand("Stop", "Stop the endpoint", self.action_stop)

    # Orders

    @on(Tasks.Wanted)
    def _want(self, event: Tasks.Wanted) -> None:
        self._look(event.text, event.states, TASKS_ASKED)

    def _look(self, text: str, states: Sequence[str], count: int) -> None:
        if self.source is not None:
            self.source.look_at_tasks(text, states, count)

    @on(Tasks.StoryWanted)
    def _want_story(self, event: Tasks.StoryWanted) -> None:
        self._order("story", [event.task_id], 0)

    @on(Steer)
    def _steer(self, event: Steer) -> None:
        self._confirm(event.verb, event.names, 0)

    def action_scale(self) -> None:
        """Ask how many blocks there should be, and have it so."""

        def given(number: int | None) -> None:
            if number is not None:
                self._confirm("scale", [], number)

        self.push_screen(HowMany.of(self.view), given)

    def action_quiesce(self) -> None:
        """Quiesce the endpoint, or resume it if it is quiesced."""
        status = self.view.status
        stands = status is not None and (status.is_quiesced or status.bad_state)
        self._confirm("resume" if stands else "quiesce", [], 0)

    def action_stop(self) -> None:
        """Stop the endpoint."""
        self._confirm("stop", [], 0)

    def _confirm(self, verb: OrderVerb, names: list[str], number: int) -> None:
        question: Confirmation = consequences(verb, names, number, self.view)

        def answered(is_meant: bool | None) -> None:
            if is_meant:
                self._order(verb, names, number)

        self.push_screen(Confirm(question), answered)

    def _order(self, verb: Verb, names: Sequence[str], number: int) -> None:
        if self.source is None:
            return

        def outcome(is_done: bool, text: str, body: bytes) -> None:
            self.post_message(Answered(verb, text, body, is_done=is_done))

        self.source.order(verb, names, number, outcome)

    @on(Answered)
    def _answered(self, event: Answered) -> None:
        if event.verb == "story":
            self.screen_stack[0].query_one(Tasks).tell(event.text, event.body)
            return
        self.notify(
            plain(event.text),
            title=event.verb.capitalize(),
            severity="information" if event.is_done else "error",
            timeout=_OUTCOME_SHOWN if event.is_done else _REFUSAL_SHOWN,
            markup=False,
        )

    # The first line

    def status_line(self) -> Content:
        view = self.view
        mark, word, look = _CONNECTIONS[view.connection.state]
        parts = [
            Content.assemble((plain(view.name), "bold"), "  ", (f"{mark} {word}", look))
        ]
        if not view.is_connected:
            parts.append(Content(f"for {duration(view.connection.age)}"))
            if view.connection.reason:
                parts.append(Content(plain(first_line(view.connection.reason))))
        elif view.status is not None:
            parts.append(Content(f"up {duration(view.status.uptime)}"))
        worst = view.alerts[0] if view.alerts else None
        if worst is not None and view.is_connected:
            looks = {"error": "$text-error", "warning": "$text-warning"}
            style = looks.get(worst.level, "$text-accent")
            parts.append(Content.styled(f"{plain(worst.text)}", style))
        return Content("  ").join(parts)
