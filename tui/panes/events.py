"""Events: what happened, as the endpoint's actors publish it."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from actors.cli.event_text import describe
from actors.messages import (
    ActorRestarted,
    BlockChanged,
    FrameRefused,
    MemberLeft,
    MemberRefused,
    Notice,
    TaskEnded,
    TaskState,
    event_kind,
)
from tui.panes.base import FilterLine, Pane
from tui.table import Column, Table
from tui.text import clock
from tui.view import Moment, View

__all__ = ["Events"]


class Events(Pane):
    """The pane."""

    LABEL: ClassVar[str] = "Events"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("f", "follow", "Follow"),
        Binding("escape", "unfilter", "All", show=False),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._view: View | None = None

    def compose(self) -> ComposeResult:
        yield FilterLine(placeholder="part of an event; Esc: all")
        yield Table(
            [
                Column("TIME", lambda m: clock(m.at), 8),
                Column("EVENT", _name, 16, look=_look),
                Column("WHAT", lambda m: describe(m.body), 40, grows=True),
            ],
            id,
            empty="Nothing happened since the dashboard was opened",
            follows=True,
            id="event-table",
        )

    def show(self, view: View) -> None:
        self._view = view
        text = self.query_one(FilterLine).value
        events: Sequence[Moment] = view.events
        if text:
            events = [m for m in events if text in _name(m) or text in describe(m.body)]
        self.query_one("#event-table", Table).fill(events)

    def action_filter(self) -> None:
        self.query_one(FilterLine).open()

    def action_unfilter(self) -> None:
        self.query_one(FilterLine).value = ""

    def action_follow(self) -> None:
        self.query_one("#event-table", Table).action_jump(-1)

    @on(Input.Changed)
    def _changed(self) -> None:
        if self._view is not None:
            self.show(self._view)


def _name(moment: Moment) -> str:
    return event_kind(moment.body).replace("_", " ")


def _look(moment: Moment) -> str:
    match moment.body:
        case MemberLeft(is_lost=True) | Notice(level="error"):
            return "error"
        case TaskEnded(state=TaskState.FAILED):
            return "error"
        case (
            MemberRefused()
            | FrameRefused()
            | ActorRestarted()
            | Notice(level="warning")
        ):
            return "warning"
        case BlockChanged(state=state) if state in ("failed", "missing"):
            return "error"
        case _:
            return ""
