"""Scaling: what the strategy decided, and why; demand against capacity."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from actors.messages import ScalingDecided
from tui.panes.base import Card, Pane
from tui.table import Column, Table
from tui.text import clock, number, sparkline
from tui.view import Moment, View

__all__ = ["Scaling"]

_LOOKS = {"launch": "good", "retire": "warning", "none": "dim"}


class Scaling(Pane[View]):
    """The pane."""

    LABEL: ClassVar[str] = "Scaling"
    DEFAULT_CSS = """
    Scaling Card { height: 9; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("s", "app.scale", "Scale")]

    def compose(self) -> ComposeResult:
        yield Card("Demand against capacity", id="demand")
        yield Table(
            [
                Column("TIME", lambda m: clock(m.at), 8),
                Column("ACTION", _action, 7, look=lambda m: _LOOKS.get(_action(m), "")),
                Column("BLOCKS", _count, 6, is_number=True),
                Column("REASON", _reason, 40, grows=True),
            ],
            lambda moment: (moment.at, moment.body),
            empty="The strategy has decided nothing yet",
            id="decision-table",
        )

    def show(self, view: View) -> None:
        self.query_one("#decision-table", Table).fill(view.decisions[::-1])
        card = self.query_one("#demand", Card)
        history = view.history
        width = card.content_size.width
        if not history.slots or width < 1:
            card.update(Content.styled("not known yet", "$text-disabled"))
            return
        demand = [
            waiting + leased
            for waiting, leased in zip(history.waiting, history.leased, strict=True)
        ]
        # One scale for both, so that they can be compared by eye.
        top = max([*demand[-width:], *history.slots[-width:]])
        lines = [
            Content.assemble(("demand ", "bold"), f"{number(demand[-1])} tasks"),
            *(
                Content.styled(line, "$text-warning")
                for line in sparkline(demand, width, 2, top)
            ),
            Content.assemble(
                ("capacity ", "bold"), f"{number(history.slots[-1])} workers"
            ),
            *(
                Content.styled(line, "$text-success")
                for line in sparkline(history.slots, width, 2, top)
            ),
        ]
        card.update(Content("\n").join(lines))


def _action(moment: Moment) -> str:
    return moment.body.action if isinstance(moment.body, ScalingDecided) else ""


def _count(moment: Moment) -> str:
    event = moment.body
    is_order = isinstance(event, ScalingDecided) and event.count
    return str(event.count) if is_order and isinstance(event, ScalingDecided) else ""


def _reason(moment: Moment) -> str:
    return moment.body.reason if isinstance(moment.body, ScalingDecided) else ""
