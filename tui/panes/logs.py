"""Logs: what all processes of an endpoint wrote, in one stream, followed."""

from collections.abc import Sequence
from typing import ClassVar

from actors.cli.log_files import Line
from tui.panes.followed import Followed
from tui.table import Column
from tui.view import View

__all__ = ["Logs"]


class Logs(Followed[Line]):
    """The pane."""

    LABEL: ClassVar[str] = "Logs"
    HINT = "an actor, or part of a line; Esc: all"
    NOTHING = "Nothing written yet"

    def columns(self) -> Sequence[Column[Line]]:
        return [
            Column("WHO", lambda line: line.source, 12, look=lambda _: "accent"),
            Column("LINE", lambda line: line.text, 40, grows=True, look=_look),
        ]

    def rows_of(self, view: View) -> Sequence[Line]:
        return view.lines

    def has(self, row: Line, text: str) -> bool:
        return text in row.source or text in row.text

    def nothing(self, view: View) -> str:
        if view.has_logs:
            return self.NOTHING
        return "Logs are files of the endpoint's folder: give that as the address"


def _look(line: Line) -> str:
    if " ERROR " in line.text or "Traceback" in line.text:
        return "error"
    return "warning" if " WARNING " in line.text else ""
