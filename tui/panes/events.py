"""Events: what happened, as the endpoint's actors publish it."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from actors.messages import (
    ActorRestarted,
    AnyEvent,
    BlockChanged,
    FrameRefused,
    LoadReported,
    MemberJoined,
    MemberLeft,
    MemberRefused,
    Notice,
    ScalingDecided,
    TaskEnded,
    TaskState,
)
from tui.panes.base import FilterLine, Pane
from tui.table import Column, Table
from tui.text import amount, clock, first_line
from tui.view import Moment, View

__all__ = ["Events", "describe"]


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
    tag = moment.body.__struct_config__.tag
    return str(tag).replace("_", " ")


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


def describe(event: AnyEvent) -> str:
    """Say in one line what an event tells."""
    match event:
        case MemberJoined(kind, member_id, host, slots):
            with_slots = f" with {amount(slots, 'worker')}" if slots else ""
            return f"{kind} {member_id} on {host or '?'}{with_slots}"
        case MemberLeft(kind, member_id, reason, is_lost):
            how = "lost" if is_lost else "left"
            return f"{kind} {member_id} {how}: {first_line(reason)}"
        case MemberRefused(kind, member_id, reason):
            return f"{kind} {member_id}: {first_line(reason)}"
        case FrameRefused(sender, reason):
            return f"{sender}: {first_line(reason)}"
        case BlockChanged(block_id, state, message):
            why = f": {first_line(message)}" if message else ""
            return f"{block_id} is {state}{why}"
        case ScalingDecided(action, count, reason):
            return f"{action} {count}: {reason}" if count else reason
        case TaskEnded(task_id, state, message):
            why = f": {first_line(message)}" if message else ""
            return f"{task_id} {state.label}{why}"
        case ActorRestarted(actor, reason, restarts):
            return f"{actor}, the {restarts}. time: {first_line(reason)}"
        case Notice(_, text):
            return first_line(text)
        case LoadReported(waiting, leased):
            return f"{waiting} waiting, {leased} with managers"
