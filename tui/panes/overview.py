"""Overview: how an endpoint is, at a glance."""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content

from actors.endpoint.pictures import JournalPicture, Snapshot
from tui.panes.base import Card, Pane
from tui.text import amount, duration, number, plain, size, sparkline
from tui.view import View, busy_workers

__all__ = ["Overview"]

_LOOKS = {"error": "$text-error", "warning": "$text-warning", "info": "$text-accent"}
_MARKS = {"error": "✖", "warning": "▲", "info": "●"}
_STATE_LOOKS = {
    "running": "$text-success",
    "success": "$text-success",
    "failed": "$text-error",
    "missing": "$text-error",
    "pending": "$text-warning",
    "unknown": "$text-warning",
    "held": "$text-warning",
}
# The journal has a card of its own from so many columns on; else a line in another one.
_WIDE = 100
_NOTHING = Content.styled("not known yet", "$text-disabled")


class Overview(Pane[View]):
    """The pane."""

    LABEL: ClassVar[str] = "Overview"
    DEFAULT_CSS = """
    Overview Horizontal { height: 1fr; }
    Overview #numbers { height: 8; }
    Overview #alerts { height: 1fr; min-height: 6; }
    Overview #journal { display: none; }
    Overview.-wide #journal { display: block; }
    """

    def compose(self) -> ComposeResult:
        with Horizontal(id="lines"):
            yield Card("Throughput", id="throughput")
            yield Card("Latency: wait + run", id="latency")
            yield Card("Queue", id="queue")
        with Horizontal(id="numbers"):
            yield Card("Tasks", id="states")
            yield Card("Blocks", id="blocks")
            yield Card("Load", id="load")
            yield Card("Journal", id="journal")
        yield Card("Alerts", id="alerts")

    def show(self, view: View) -> None:
        history, status = view.history, view.status
        rate = history.ended[-1] if history.ended else 0.0
        self._draw("throughput", f"{number(rate)} tasks/s", history.ended)
        self._draw("latency", _latency(view), history.took)
        waiting = history.waiting[-1] if history.waiting else 0
        self._draw("queue", f"{amount(int(waiting), 'task')} waiting", history.waiting)
        is_wide = self.size.width >= _WIDE
        self.set_class(is_wide, "-wide")
        cards = {"states": _states, "blocks": _blocks, "load": _load}
        if is_wide:
            cards["journal"] = _journal
        for name, draw in cards.items():
            text = draw(view, status) if status else _NOTHING
            self.query_one(f"#{name}", Card).update(text)
        card = self.query_one("#alerts", Card)
        card.update(_alerts(view, *card.content_size))

    def _draw(self, name: str, headline: str, values: Sequence[float]) -> None:
        card = self.query_one(f"#{name}", Card)
        width, height = card.content_size
        lines = []
        if width > 0 and height > 1:
            lines = sparkline(values, width, height - 1)
        card.update(
            Content("\n").join(
                [
                    Content.styled(headline, "bold"),
                    *(Content.styled(line, "$text-accent") for line in lines),
                ]
            )
        )


def _latency(view: View) -> str:
    latency = view.latency
    if latency is None:
        return "no task ended lately"
    return f"{duration(latency.waited)} + {duration(latency.ran)}"


def _table(rows: Sequence[tuple[str, str, str]]) -> Content:
    """Align names with numbers; a row: name, number, look."""
    width = max((len(value) for _, value, _ in rows), default=0)
    lines = [
        Content.assemble((value.rjust(width), look or "bold"), f" {plain(name)}")
        for name, value, look in rows
    ]
    return Content("\n").join(lines)


def _states(_view: View, status: Snapshot) -> Content:
    return _table(
        [
            (_short(state), f"{count:,}", _look(state, count))
            for state, count in status.tasks.items()
        ]
    )


def _short(state: str) -> str:
    # On 80 columns there is no room for more beside a large number.
    return state.replace("waiting-for-", "wait for ")


def _look(state: str, count: int) -> str:
    return _STATE_LOOKS.get(state, "bold") if count else "$text-disabled"


def _blocks(_view: View, status: Snapshot) -> Content:
    counts = Counter(block.state for block in status.blocks)
    rows = [(state, str(count), _look(state, count)) for state, count in counts.items()]
    ready = sum(manager.state == "ready" for manager in status.managers)
    slots = sum(manager.slots for manager in status.managers)
    busy = sum(map(busy_workers, status.managers))
    rows = rows[:3] or [("blocks", "0", "$text-warning")]
    rows += [
        (f"of {amount(len(status.managers), 'manager')} ready", str(ready), ""),
        (f"of {amount(slots, 'worker')} busy", str(busy), ""),
    ]
    return _table(rows)


def _load(view: View, status: Snapshot) -> Content:
    cpu = view.history.cpu[-1] if view.history.cpu else 0.0
    memory = sum(w.rss_bytes for m in status.managers for w in m.workers)
    there = sum(client.is_connected for client in status.clients)
    rows = [
        ("worker cores", number(cpu), ""),
        ("worker memory", size(memory), ""),
        ("client here" if there == 1 else "clients here", str(there), ""),
    ]
    if view.services:
        rows.append(("service cores", number(sum(s.cpu for s in view.services)), ""))
        used = sum(service.rss_bytes for service in view.services)
        rows.append(("service memory", size(used), ""))
    if status.journal is not None:
        rows.append(("journal lag", _lag(status.journal), ""))
    return _table(rows)


def _lag(journal: JournalPicture) -> str:
    if journal.durability == "off":
        return "no"
    return duration(journal.lag) if journal.lag else "0"


def _journal(view: View, status: Snapshot) -> Content:
    journal = status.journal
    if journal is None:
        return _NOTHING
    longest = max(view.history.lag, default=0.0)
    rows = [
        ("longest lag", duration(longest) if longest else "0", ""),
        ("not synced yet", size(journal.unsynced_bytes), ""),
        ("on disk", size(journal.size_bytes), ""),
        ("free there", size(journal.free_bytes), ""),
    ]
    if journal.compacted is not None:
        rows.append(("since compaction", duration(journal.compacted), ""))
    return _table(rows)


def _alerts(view: View, width: int, height: int) -> Content:
    if not view.alerts:
        return Content.styled("Nothing needs you", "$text-success")
    is_brief = sum(1 + bool(alert.advice) for alert in view.alerts) > height
    lines = []
    for alert in view.alerts:
        text, look = plain(alert.text), _LOOKS[alert.level]
        if is_brief:
            room = max(10, width - 2)
            text = text if len(text) <= room else f"{text[: room - 1]}…"
        lines.append(Content.styled(f"{_MARKS[alert.level]} {text}", look))
        if alert.advice and not is_brief:
            lines.append(Content(f"  {alert.advice}"))
    if len(lines) > max(1, height):
        hidden = len(lines) - height + 1
        lines[height - 1 :] = [Content(f"  and {hidden} more")]
    return Content("\n").join(lines)
