"""The app: panes, keys, commands; it shows the newest view and passes orders on."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol

from textual import on
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer, Static

from actors.api.observer import ConnectionState
from actors.messages import Verb
from tui.help import Help
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

__all__ = ["Dashboard", "Fresh", "Source"]

_PANES: dict[str, type[Pane]] = {
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
# How long an outcome stands on the screen, in seconds; a no stands longer. Chosen.
_OUTCOME_SHOWN = 5.0
_REFUSAL_SHOWN = 15.0


class Source(Protocol):
    """Where views come from and orders go to; see `tui.reader.Reader`."""

    def look_at_tasks(self, text: str, states: Sequence[str], count: int) -> None: ...
    def order(
        self, verb: Verb, names: Sequence[str], number: int, outcome: Outcome
    ) -> None: ...


class Fresh(Message):
    """A new view; from any thread."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view


class Answered(Message):
    """How an order went; from any thread."""

    def __init__(self, verb: str, text: str, body: bytes, *, is_done: bool) -> None:
        super().__init__()
        self.verb = verb
        self.text = text
        self.body = body
        self.is_done = is_done


class Dashboard(App[None]):
    """The app; see the module's docstring.

    Args:
        view: what is shown first.
    """

    TITLE = "actors"
    AUTO_FOCUS = ""
    CSS = """
    #status { height: 1; padding: 0 1; background: $panel; }
    #tabs {
        height: 1; padding: 0 1; background: $surface;
        link-style: none; link-color: $text;
    }
    ContentSwitcher { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(place), f"open('{name}')", pane.LABEL, show=False)
            for place, (name, pane) in enumerate(_PANES.items(), 1)
        ),
        Binding("tab", "next(1)", "Next screen", show=False, priority=True),
        Binding("shift+tab", "next(-1)", "Last screen", show=False, priority=True),
        Binding("s", "scale", "Scale", show=False),
        Binding("z", "quiesce", "Quiesce or resume", show=False),
        Binding("S", "stop", "Stop", show=False),
        Binding("question_mark", "help", "Help"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view
        self.source: Source | None = None  # set before it runs

    def compose(self) -> ComposeResult:
        yield Static(id="status")
        yield Static(id="tabs")
        with ContentSwitcher(initial="overview"):
            for name, pane in _PANES.items():
                yield pane(id=name)
        yield Footer()

    def on_mount(self) -> None:
        self.action_open("overview")

    # Views

    def post(self, view: View) -> None:
        """Have a view shown; from any thread."""
        self.post_message(Fresh(view))

    @on(Fresh)
    def _show(self, event: Fresh) -> None:
        self.view = event.view
        self._draw()

    def _draw(self) -> None:
        self.query_one("#status", Static).update(_status_line(self.view))
        self.pane.show(self.view)

    @property
    def pane(self) -> Pane:
        """The pane that is shown."""
        switcher = self.screen_stack[0].query_one(ContentSwitcher)
        return switcher.get_child_by_id(switcher.current or "overview", Pane)

    def query_main(self, selector: str) -> Static:
        return self.screen_stack[0].query_one(selector, Static)

    def action_open(self, name: str) -> None:
        """Show another pane."""
        self.screen_stack[0].query_one(ContentSwitcher).current = name
        self.query_main("#tabs").update(_tabs(name))
        self.pane.focus_first()
        if name != "tasks":
            self._look("", (), TASKS_GLANCE)
        elif self.source is not None:
            pane = self.screen_stack[0].query_one(Tasks)
            pane.want()
        self.call_after_refresh(self._draw)

    def action_next(self, by: int) -> None:
        """Show the pane beside this one."""
        names = list(_PANES)
        place = names.index(self.pane.id or "overview")
        self.action_open(names[(place + by) % len(names)])

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Help())

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Name what the palette offers."""
        yield from super().get_system_commands(screen)
        for name, pane in _PANES.items():
            yield SystemCommand(
                f"Show {pane.LABEL}",
                f"Open the screen {pane.LABEL}",
                lambda name=name: self.action_open(name),
            )
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


def _status_line(view: View) -> Content:
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


def _tabs(current: str) -> Content:
    parts = []
    for place, (name, pane) in enumerate(_PANES.items(), 1):
        text = f"{place} {pane.LABEL}"
        if name == current:
            parts.append(Content.styled(f"[{text}]", "bold reverse"))
        else:
            parts.append(Content.styled(f" {text} ", f"@click=app.open('{name}')"))
    return Content("").join(parts)
