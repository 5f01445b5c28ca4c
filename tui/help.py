"""Help: what the keys do."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

__all__ = ["Help"]

_TEXT = """\
Screens      1 to 7, Tab, Shift-Tab, or a click
Everywhere   s scale   z quiesce   S stop the endpoint   q quit
             Ctrl-P all commands, themes among them
In a list    arrows or j k, PgUp PgDn, Home End or g G
             Space marks rows, Esc unmarks them
Tasks        / search   f states   o order   Enter story
             c cancels the marked ones, or the one under the cursor
Blocks       h hold   r resume   d drain, blocks or managers
Actors       R restart the interchange, the strategy or the provider
Logs, Events / filter   f follow again

Every order is explained and asked for before it is given; how it
went is shown then, and in the next picture.

Colours only repeat what words say: NO_COLOR=1 does without them.
"""


class Help(ModalScreen[None]):
    """The screen."""

    DEFAULT_CSS = """
    Help { align: center middle; background: $background 60%; }
    Help > VerticalScroll {
        width: 74; max-width: 98%; height: auto; max-height: 95%;
        border: round $primary; border-title-color: $text-primary;
        padding: 0 2; background: $surface;
    }
    Help Static { width: 1fr; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Help"
            yield Static(Content(_TEXT))
