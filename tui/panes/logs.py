"""Logs: what all processes of an endpoint wrote, in one stream, followed."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from actors.cli.log_files import Line
from tui.panes.base import FilterLine, Pane
from tui.table import Column, Table
from tui.view import View

__all__ = ["Logs"]


class Logs(Pane):
    """The pane."""

    LABEL: ClassVar[str] = "Logs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("f", "follow", "Follow"),
        Binding("escape", "unfilter", "All", show=False),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._view: View | None = None

    def compose(self) -> ComposeResult:
        yield FilterLine(placeholder="an actor, or part of a line; Esc: all")
        yield Table(
            [
                Column("WHO", lambda line: line.source, 12, look=lambda _: "accent"),
                Column("LINE", lambda line: line.text, 40, grows=True, look=_look),
            ],
            id,
            empty="Nothing written yet",
            follows=True,
            id="log-table",
        )

    def show(self, view: View) -> None:
        self._view = view
        empty = "Nothing written yet"
        if not view.has_logs:
            empty = "Logs are files of the endpoint's folder: give that as the address"
        text = self.query_one(FilterLine).value
        lines: Sequence[Line] = view.lines
        if text:
            lines = [x for x in lines if text in x.source or text in x.text]
            empty = f"No line of, or with, {text}"
        self.query_one("#log-table", Table).fill(lines, empty)

    def action_filter(self) -> None:
        self.query_one(FilterLine).open()

    def action_unfilter(self) -> None:
        self.query_one(FilterLine).value = ""

    def action_follow(self) -> None:
        self.query_one("#log-table", Table).action_jump(-1)

    @on(Input.Changed)
    def _changed(self) -> None:
        if self._view is not None:
            self.show(self._view)


def _look(line: Line) -> str:
    if " ERROR " in line.text or "Traceback" in line.text:
        return "error"
    return "warning" if " WARNING " in line.text else ""
