"""Logs: what all processes of an endpoint wrote, in one stream, followed."""

import re
from collections.abc import Sequence
from typing import ClassVar

from actors.cli.log_files import Line
from tui.panes.followed import Followed
from tui.table import Column
from tui.view import View

__all__ = ["Logs"]

# As `actors.log_lines` writes it.
_OURS = re.compile(
    r"^\d{4}-\d\d-\d\d (?P<time>\d\d:\d\d:\d\d),\d{3} (?P<level>[A-Z]+) [\w.]+: "
)


class Logs(Followed[Line]):
    """The pane."""

    LABEL: ClassVar[str] = "Logs"
    HINT = "an actor, or part of a line; Esc: all"
    NOTHING = "Nothing written yet"

    def columns(self) -> Sequence[Column[Line]]:
        return [
            Column("WHO", lambda line: line.source, 12, look=lambda _: "accent"),
            Column("LINE", _short, 40, grows=True, look=_look),
        ]

    def rows_of(self, view: View) -> Sequence[Line]:
        return view.lines

    def has(self, row: Line, text: str) -> bool:
        return text in row.source or text in row.text

    def describe(self, row: Line) -> tuple[str, str]:
        return row.source, row.text

    def nothing(self, view: View) -> str:
        if view.has_logs:
            return self.NOTHING
        return "Logs are files of the endpoint's folder: give that as the address"


def _short(line: Line) -> str:
    """Leave out day and module of a line of ours: on 80 columns they fill it."""
    return _OURS.sub(r"\g<time> \g<level> ", line.text)


def _look(line: Line) -> str:
    if " ERROR " in line.text or "Traceback" in line.text:
        return "error"
    return "warning" if " WARNING " in line.text else ""
