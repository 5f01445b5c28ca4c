"""What all panes have in common, and what they are made of."""

from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from tui.steering import OrderVerb

__all__ = ["Card", "Detail", "FilterLine", "Pane", "Steer"]

View = TypeVar("View")  # what a dashboard shows at a time


class Steer(Message):
    """Somebody wants something done with what a pane shows.

    Args:
        verb: as an operator's command has it.
        names: of blocks, managers or tasks.
    """

    def __init__(self, verb: OrderVerb, names: list[str]) -> None:
        super().__init__()
        self.verb = verb
        self.names = names


class Pane(Vertical, Generic[View]):
    """One screen; a subclass draws in `show`."""

    DEFAULT_CSS = """
    Pane { height: 1fr; }
    """
    LABEL: ClassVar[str]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("J,shift+down", "scroll_detail(1)", "Scroll down", show=False),
        Binding("K,shift+up", "scroll_detail(-1)", "Scroll up", show=False),
        Binding("v", "resize_detail", "Larger", show=False),
    ]

    def show(self, view: View) -> None:
        """Draw a view; called only while the pane is visible."""
        raise NotImplementedError

    def focus_first(self) -> None:
        """Give the keyboard to what is used most."""
        for widget in self.query("Table"):
            widget.focus()
            return
        self.screen.set_focus(None)

    def action_scroll_detail(self, lines: int) -> None:
        """Scroll what is told below the list."""
        for detail in self.query(Detail):
            detail.scroll_relative(y=lines, animate=False)

    def action_resize_detail(self) -> None:
        """Give what is told most of the screen, or less of it again."""
        for detail in self.query(Detail):
            detail.toggle_class("-large")


class FilterLine(Input):
    """The line for a filter; hidden while there is none."""

    DEFAULT_CSS = """
    FilterLine { height: 1; border: none; padding: 0 1; display: none; }
    FilterLine:focus { border: none; height: 1; }
    FilterLine.-shown { display: block; }
    """

    def open(self) -> None:
        """Show it, and let the user type."""
        self.add_class("-shown")
        self.focus()

    def leave(self) -> None:
        """Keep the filter, if there is one, and go on below."""
        self.set_class(bool(self.value), "-shown")

    def key_escape(self) -> None:
        self.value = ""
        self._done()

    def on_input_submitted(self) -> None:
        self._done()

    def _done(self) -> None:
        self.leave()
        for pane in self.ancestors_with_self:
            if isinstance(pane, Pane):
                pane.focus_first()


class Card(Static):
    """A box with a title; its text depends on its size."""

    DEFAULT_CSS = """
    Card {
        border: round $primary-muted;
        border-title-color: $text-primary;
        padding: 0 1;
        width: 1fr;
        height: 1fr;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    """

    def __init__(self, title: str, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.border_title = title


class Detail(Vertical):
    """More about the row under the cursor."""

    DEFAULT_CSS = """
    Detail {
        border: round $primary-muted;
        border-title-color: $text-primary;
        padding: 0 1;
        height: 40%;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
    }
    Detail.-large { height: 80%; }
    Detail.-hidden { display: none; }
    Detail Static { width: 1fr; height: auto; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._subject = ""

    def compose(self) -> ComposeResult:
        yield Static()

    def tell(self, title: str, text: Content) -> None:
        """Show other text; from its beginning, if its title is another one, too."""
        if self._subject != title:
            self._subject = title
            self.scroll_home(animate=False)
        self.border_title = Content(title)
        self.query_one(Static).update(text)
