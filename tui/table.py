"""A table that draws what is visible and nothing else.

Rows are any objects with a key; a cell is made when its line is drawn. A refresh with
100,000 rows costs what 40 lines cost. The cursor stays with its row's key: rows come
and go around it.
"""

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.text import plain, shorten

__all__ = ["Column", "Table"]

_GAP = 2
Row = TypeVar("Row")
Look = str  # a style class of the table: "good", "warning", "error", "dim", ""


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column.

    Args:
        title: of the column.
        cell: makes a row's text.
        width: characters.
        grows: whether it takes what room is left; one of a table's columns does.
        is_number: whether it is aligned to the right.
        look: makes a cell's style class.
        rank: columns with the greatest rank are left out first if there is no room.
    """

    title: str
    cell: Callable[[Row], str]
    width: int
    grows: bool = False
    is_number: bool = False
    look: Callable[[Row], Look] | None = None
    rank: int = 0


class Table(ScrollView, Generic[Row], can_focus=True):
    """The widget; see the module's docstring.

    Args:
        columns: from left to right.
        key: tells rows apart.
        empty: what is said when there are no rows.
        follows: whether the cursor stays with the last row once it is there.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--head",
        "table--cursor",
        "table--marked",
        "table--good",
        "table--warning",
        "table--error",
        "table--dim",
        "table--accent",
    }
    DEFAULT_CSS = """
    Table {
        height: 1fr; background: $background; overflow-x: hidden;
        scrollbar-size-vertical: 1;
    }
    Table .table--head { color: $text-muted; text-style: bold; }
    Table .table--cursor { background: $boost; text-style: none; }
    Table:focus .table--cursor { background: $primary-muted; text-style: bold; }
    Table .table--marked { text-style: bold underline; }
    Table .table--good { color: $text-success; }
    Table .table--warning { color: $text-warning; }
    Table .table--error { color: $text-error; }
    Table .table--accent { color: $text-accent; }
    Table .table--dim { color: $text-disabled; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "jump(0)", "First", show=False),
        Binding("end,G", "jump(-1)", "Last", show=False),
        Binding("enter", "choose", "Open", show=False),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor stands on another row, or its row is another one now."""

        def __init__(self, table: "Table[Any]") -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> "Table[Any]":
            return self.table

    class Chosen(Moved):
        """Enter was pressed on a row, or it was clicked twice."""

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        key: Callable[[Row], Hashable],
        *,
        empty: str,
        follows: bool = False,
        id: str | None = None,  # noqa: A002  as Textual calls it
    ) -> None:
        super().__init__(id=id)
        self.rows: Sequence[Row] = ()
        self.marked: set[Hashable] = set()
        self._columns = columns
        self._key = key
        self._empty = empty
        self._follows = follows
        self._at: Hashable = None  # the cursor's key
        self._layout: list[tuple[Column[Row], int]] = []
        self._layout_width = -1

    # Rows

    @property
    def current(self) -> Row | None:
        """The row under the cursor; None: there are no rows."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    @property
    def is_at_end(self) -> bool:
        return self.cursor >= len(self.rows) - 1

    def fill(self, rows: Sequence[Row], empty: str | None = None) -> None:
        """Show other rows; the cursor stays with its row if that is still there.

        Args:
            rows: kept as they are, and not to be changed.
            empty: what is said when there are none; None: as before.
        """
        was_at_end = self._follows and self.is_at_end
        before = self.current
        self.rows = rows
        if empty is not None:
            self._empty = empty
        place = self._find(was_at_end=was_at_end)
        self.set_reactive(Table.cursor, place)
        current = self.current
        self._at = self._key(current) if current is not None else None
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        if was_at_end:
            self._reveal()
        self.refresh()
        if current is not before:
            self.post_message(self.Moved(self))

    def _find(self, *, was_at_end: bool) -> int:
        last = max(0, len(self.rows) - 1)
        if was_at_end:
            return last
        place: int = min(self.cursor, last)
        # Mostly it has not moved, or not far.
        near = range(max(0, place - 50), min(len(self.rows), place + 50))
        for index in itertools.chain((place,), near, range(len(self.rows))):
            if index < len(self.rows) and self._key(self.rows[index]) == self._at:
                return index
        return place

    # Drawing

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)
        self._reveal()

    def _share(self, width: int) -> list[tuple[Column[Row], int]]:
        chosen = list(self._columns)

        def needed() -> int:
            return sum(c.width for c in chosen) + _GAP * (len(chosen) - 1)

        while needed() > width and any(c.rank for c in chosen):
            chosen.remove(max(chosen, key=lambda c: c.rank))
        spare = max(0, width - needed())
        return [(c, c.width + spare if c.grows else c.width) for c in chosen]

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if width != self._layout_width:
            self._layout, self._layout_width = self._share(width), width
        if y == 0:
            style = self.get_component_rich_style("table--head")
            titles = [self._fit(c.title, w, c) for c, w in self._layout]
            return self._strip([(t, style) for t in titles], self.rich_style, width)
        index = self.scroll_offset.y + y - 1
        if index >= len(self.rows):
            text = self._empty if not self.rows and y == 1 else ""
            dim = self.get_component_rich_style("table--dim")
            return self._strip([(text[:width], dim)], self.rich_style, width)
        row = self.rows[index]
        base = self.rich_style
        if self._key(row) in self.marked:
            base += self.get_component_rich_style("table--marked", partial=True)
        if index == self.cursor:
            base += self.get_component_rich_style("table--cursor", partial=True)
        cells = []
        for column, room in self._layout:
            look = column.look(row) if column.look else ""
            style = base
            if look:
                style += self.get_component_rich_style(f"table--{look}", partial=True)
            cells.append((self._fit(column.cell(row), room, column), style))
        return self._strip(cells, base, width)

    @staticmethod
    def _fit(text: str, width: int, column: Column[Row]) -> str:
        text = plain(text)
        if len(text) > width:
            text = text[: width - 1] + "…" if column.grows else shorten(text, width)
        return text.rjust(width) if column.is_number else text.ljust(width)

    @staticmethod
    def _strip(cells: list[tuple[str, Style]], base: Style, width: int) -> Strip:
        segments = []
        for number, (text, style) in enumerate(cells):
            if number:
                segments.append(Segment(" " * _GAP, base))
            segments.append(Segment(text, style))
        return Strip(segments).adjust_cell_length(width, base)

    # Moving

    def watch_cursor(self) -> None:
        current = self.current
        self._at = self._key(current) if current is not None else None
        self._reveal()
        self.refresh()
        self.post_message(self.Moved(self))

    def _reveal(self) -> None:
        # A line is the heading's; it never scrolls away.
        region = Region(0, self.cursor, max(1, self.size.width), 2)
        self.scroll_to_region(region, animate=False, force=True, x_axis=False)

    def action_move(self, by: int) -> None:
        self._go(self.cursor + by)

    def action_page(self, by: int) -> None:
        self._go(self.cursor + by * max(1, self.size.height - 2))

    def action_jump(self, to: int) -> None:
        self._go(to if to >= 0 else len(self.rows) - 1)

    def action_choose(self) -> None:
        if self.current is not None:
            self.post_message(self.Chosen(self))

    def _go(self, place: int) -> None:
        self.cursor = min(max(0, place), max(0, len(self.rows) - 1))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or offset.y == 0:
            return
        index = self.scroll_offset.y + offset.y - 1
        if index < len(self.rows):
            self._go(index)
            if event.chain > 1:
                self.action_choose()

    def toggle_mark(self) -> None:
        """Mark the cursor's row, or unmark it, and go to the next one."""
        if self._at is not None:
            self.marked ^= {self._at}
            self.action_move(1)
            self.refresh()
