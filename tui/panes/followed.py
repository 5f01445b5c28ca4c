"""Followed: a pane of what keeps coming: the newest in sight, and a filter."""

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input

from tui.panes.base import Detail, FilterLine, Pane
from tui.table import Column, Table
from tui.text import plain
from tui.view import View

__all__ = ["Followed"]

Row = TypeVar("Row")


class Followed(Pane[View], Generic[Row]):
    """The pane; a subclass says what its rows are and which of them a text means."""

    DEFAULT_CSS = """
    Followed Detail { height: auto; max-height: 40%; }
    Followed Detail.-large { max-height: 80%; }
    """
    HINT: ClassVar[str]  # what to type as a filter
    NOTHING: ClassVar[str]  # said if there are no rows at all
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("f", "follow", "Follow"),
        Binding("escape", "unfilter", "All", show=False),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._view: View | None = None

    def columns(self) -> "Sequence[Column[Row]]":
        """Say how rows are shown."""
        raise NotImplementedError

    def rows_of(self, view: View) -> "Sequence[Row]":
        """Return all rows, the newest last."""
        raise NotImplementedError

    def describe(self, row: Row) -> tuple[str, str]:
        """Return a row's title, and all that it says."""
        raise NotImplementedError

    def has(self, row: Row, text: str) -> bool:
        """Tell whether a filter means a row."""
        raise NotImplementedError

    def nothing(self, _view: View) -> str:
        """Say why there are no rows at all."""
        return self.NOTHING

    def compose(self) -> ComposeResult:
        yield FilterLine(placeholder=self.HINT)
        yield Table(self.columns(), id, empty=self.NOTHING, follows=True)
        yield Detail(classes="-hidden")

    def show(self, view: View) -> None:
        self._view = view
        text = self.query_one(FilterLine).value
        rows, empty = self.rows_of(view), self.nothing(view)
        if text:
            rows = [row for row in rows if self.has(row, text)]
            empty = f"Nothing of, or with, {text}"
        self._table.fill(rows, empty)

    @property
    def _table(self) -> "Table[Any]":
        return self.query_one(Table)

    def action_filter(self) -> None:
        self.query_one(FilterLine).open()

    def action_unfilter(self) -> None:
        """Close what is open about a row; then the filter."""
        detail = self.query_one(Detail)
        if detail.has_class("-hidden"):
            self.query_one(FilterLine).value = ""
        detail.add_class("-hidden")

    @on(Table.Chosen)
    def _open(self) -> None:
        self.query_one(Detail).remove_class("-hidden")
        self._tell()

    @on(Table.Moved)
    def _tell(self) -> None:
        row, detail = self._table.current, self.query_one(Detail)
        if row is not None and not detail.has_class("-hidden"):
            title, text = self.describe(row)
            detail.tell(title, Content(plain(text)))

    def action_follow(self) -> None:
        self._table.action_jump(-1)

    @on(Input.Changed)
    def _changed(self) -> None:
        if self._view is not None:
            self.show(self._view)
