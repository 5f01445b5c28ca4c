"""Board: what the dashboards have in common: panes with tabs, keys, palette, help.

A reader's thread posts views; the newest is drawn by the pane that is shown, and by no
other.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from textual import on
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer, Static

from tui.help import Help
from tui.panes.base import Pane

__all__ = ["Board", "Fresh", "keys_of"]

View = TypeVar("View")


class Fresh(Message):
    """There is a new view; from any thread."""


def keys_of(panes: Mapping[str, type[Pane[Any]]]) -> list[BindingType]:
    """Give each pane its number as a key."""
    return [
        Binding(str(place), f"open('{name}')", pane.LABEL, show=False)
        for place, (name, pane) in enumerate(panes.items(), 1)
    ]


class Board(App[None], Generic[View]):
    """The app; a subclass says which panes there are, and binds `keys_of` them.

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
        Binding("tab", "next(1)", "Next screen", show=False, priority=True),
        Binding("shift+tab", "next(-1)", "Last screen", show=False, priority=True),
        Binding("question_mark", "help", "Help"),
        Binding("q", "quit", "Quit"),
    ]
    PANES: ClassVar[Mapping[str, type[Pane[Any]]]]  # {id: class}, as the tabs have them
    KEYS: ClassVar[str]  # what the help says

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view
        self._newest = view

    def status_line(self) -> Content:
        """Say in one line what is shown, and how it is."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        yield Static(id="status")
        yield Static(id="tabs")
        with ContentSwitcher(initial=next(iter(self.PANES))):
            for name, pane in self.PANES.items():
                yield pane(id=name)
        yield Footer()

    def on_mount(self) -> None:
        self.action_open(next(iter(self.PANES)))

    # Views

    def post(self, view: View) -> None:
        """Have a view shown; from any thread."""
        self._newest = view
        self.post_message(Fresh())

    @on(Fresh)
    def _show(self) -> None:
        # Where drawing is slower than news come, only the newest is drawn.
        if self._newest is not self.view:
            self.view = self._newest
            self._draw()

    def _draw(self) -> None:
        self.query_main("#status").update(self.status_line())
        self.pane.show(self.view)

    # Panes

    @property
    def pane(self) -> Pane[View]:
        """The pane that is shown."""
        switcher = self.screen_stack[0].query_one(ContentSwitcher)
        return switcher.get_child_by_id(switcher.current or "", Pane)

    def query_main(self, selector: str) -> Static:
        """Find what stands on the main screen, whatever dialog is above it."""
        return self.screen_stack[0].query_one(selector, Static)

    def action_open(self, name: str) -> None:
        """Show another pane."""
        self.screen_stack[0].query_one(ContentSwitcher).current = name
        self.query_main("#tabs").update(self._tabs(name))
        self.pane.focus_first()
        self.call_after_refresh(self._draw)

    def action_next(self, by: int) -> None:
        """Show the pane beside this one."""
        names = list(self.PANES)
        place = names.index(self.pane.id or names[0])
        self.action_open(names[(place + by) % len(names)])

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Help(self.KEYS))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Name what the palette offers."""
        yield from super().get_system_commands(screen)
        for name, pane in self.PANES.items():
            yield SystemCommand(
                f"Show {pane.LABEL}",
                f"Open the screen {pane.LABEL}",
                lambda name=name: self.action_open(name),
            )

    def _tabs(self, current: str) -> Content:
        parts = []
        for place, (name, pane) in enumerate(self.PANES.items(), 1):
            text = f"{place} {pane.LABEL}"
            if name == current:
                parts.append(Content.styled(f"[{text}]", "bold reverse"))
            else:
                parts.append(Content.styled(f" {text} ", f"@click=app.open('{name}')"))
        return Content("").join(parts)
