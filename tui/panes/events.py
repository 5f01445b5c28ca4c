"""Events: what happened, as the endpoint's actors publish it."""

from collections.abc import Sequence
from typing import ClassVar

from actors.cli.event_text import describe
from actors.messages import (
    ActorRestarted,
    BlockChanged,
    FrameRefused,
    JournalStalled,
    MemberLeft,
    MemberRefused,
    Notice,
    TaskEnded,
    TaskState,
    event_kind,
)
from tui.panes.followed import Followed
from tui.table import Column
from tui.text import clock
from tui.view import Moment, View

__all__ = ["Events"]


class Events(Followed[Moment]):
    """The pane."""

    LABEL: ClassVar[str] = "Events"
    HINT = "part of an event; Esc: all"
    NOTHING = "Nothing happened since the dashboard was opened"

    def columns(self) -> Sequence[Column[Moment]]:
        return [
            Column("TIME", lambda m: clock(m.at), 8),
            Column("EVENT", _name, 16, look=_look),
            Column("WHAT", lambda m: describe(m.body), 40, grows=True),
        ]

    def rows_of(self, view: View) -> Sequence[Moment]:
        return view.events

    def describe(self, row: Moment) -> tuple[str, str]:
        return f"{clock(row.at)}  {_name(row)}", describe(row.body)

    def has(self, row: Moment, text: str) -> bool:
        return text in _name(row) or text in describe(row.body)


def _name(moment: Moment) -> str:
    return event_kind(moment.body).replace("_", " ")


def _look(moment: Moment) -> str:
    match moment.body:
        case MemberLeft(is_lost=True) | Notice(level="error"):
            return "error"
        case JournalStalled(is_over=False):
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
