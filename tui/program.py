"""The dashboard of a running program: `actors tui --pid`."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content

from actors.embedded.pictures import ActorState, ObjectState, TaskState, WorkerState
from tui.board import Board, keys_of
from tui.panes.base import Card, Pane
from tui.program_view import ProgramView
from tui.table import Column, Table
from tui.text import amount, duration, number, plain, size, sparkline

__all__ = ["ProgramDashboard"]

_KEYS = """\
Screens      1 to 5, Tab, Shift-Tab, or a click
Everywhere   q quit   Ctrl-P all commands, themes among them
In a list    arrows or j k, PgUp PgDn, Home End or g G

Colours only repeat what words say: NO_COLOR=1 does without them.
"""
_LOOKS = {
    "RUNNING": "good",
    "ALIVE": "good",
    "RESTARTING": "warning",
    "PENDING_CREATION": "warning",
    "DEAD": "error",
}


class Overview(Pane[ProgramView]):
    """How a program is, at a glance."""

    LABEL = "Overview"
    DEFAULT_CSS = """
    Overview Horizontal { height: 1fr; }
    """

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Card("Ended", id="rates")
            yield Card("Unended", id="waiting")
        with Horizontal():
            yield Card("Tasks and calls", id="tasks-card")
            yield Card("Actors", id="actors-card")
        with Horizontal():
            yield Card("Workers", id="workers-card")
            yield Card("Objects", id="objects-card")

    def show(self, view: ProgramView) -> None:
        state = view.state
        if state is None:
            return
        rate = view.rates[-1] if view.rates else 0.0
        self._draw("rates", f"{number(rate)} calls/s", view.rates)
        text = f"{amount(state.unended, 'task')} and calls"
        self._draw("waiting", text, view.waiting)
        shown = Counter(task.state for task in state.tasks)
        rows = [(name, str(count)) for name, count in shown.most_common()]
        if state.unended > len(state.tasks):
            rows.append(("of the oldest", str(len(state.tasks))))
        self._list("tasks-card", rows or [("unended", "0")])
        lives = Counter(actor.state for actor in state.actors)
        calls = sum(actor.pending_calls for actor in state.actors)
        restarts = sum(actor.num_restarts for actor in state.actors)
        rows = [(name, str(count)) for name, count in lives.most_common()]
        rows += [("calls pending", str(calls)), ("restarts", str(restarts))]
        self._list("actors-card", rows if lives else [("actors", "0")])
        idle = sum(worker.is_idle for worker in state.workers)
        busy = len(state.workers) - idle
        used = view.usage.values()
        rows = [
            (f"of {amount(len(state.workers), 'worker')} busy", str(busy)),
            ("cores", number(round(sum(u.cpu for u in used), 2))),
            ("memory", size(sum(u.rss_bytes for u in used))),
        ]
        rows += [
            (f"of {number(total)} {name} free", number(state.free.get(name, 0)))
            for name, total in state.total.items()
        ]
        self._list("workers-card", rows)
        count, stored = state.stored
        rows = [("in shared memory", str(count)), ("taken", size(stored))]
        self._list("objects-card", rows)

    def _draw(self, name: str, headline: str, values: Sequence[float]) -> None:
        card = self.query_one(f"#{name}", Card)
        width, height = card.content_size
        lines = sparkline(values, width, height - 1) if width > 0 < height - 1 else []
        parts = [Content.styled(headline, "bold")]
        parts += [Content.styled(line, "$text-accent") for line in lines]
        card.update(Content("\n").join(parts))

    def _list(self, name: str, rows: Sequence[tuple[str, str]]) -> None:
        width = max(len(value) for _, value in rows)
        lines = [
            Content.assemble((value.rjust(width), "bold"), f" {plain(what)}")
            for what, value in rows
        ]
        self.query_one(f"#{name}", Card).update(Content("\n").join(lines))


class _List(Pane[ProgramView]):
    """A pane that is one table."""

    def table(self) -> Table[Any]:
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        yield self.table()

    def fill(self, rows: Sequence[Any]) -> None:
        self.query_one(Table).fill(rows)


class Tasks(_List):
    """What has not ended."""

    LABEL = "Tasks"

    def table(self) -> Table[TaskState]:
        return Table(
            [
                Column("TASK", lambda t: t.name, 20, grows=True),
                Column("STATE", lambda t: t.state, 22, look=_look),
                Column("ATTEMPT", _attempt, 7, is_number=True, rank=1),
                Column("PID", lambda t: str(t.worker_pid or "-"), 8, is_number=True),
                Column("ACTOR", lambda t: t.actor_id or "-", 14, rank=2),
                Column("ID", lambda t: t.task_id, 14, rank=3),
            ],
            lambda task: task.task_id,
            empty="No task is under way",
        )

    def show(self, view: ProgramView) -> None:
        self.fill(view.state.tasks if view.state else ())


class Actors(_List):
    """Instances of classes."""

    LABEL = "Actors"

    def table(self) -> Table[ActorState]:
        return Table(
            [
                Column("ACTOR", lambda a: a.class_name, 16, grows=True),
                Column("NAME", lambda a: a.name or "-", 12),
                Column("STATE", lambda a: a.state, 16, look=_look),
                Column("CALLS", lambda a: str(a.pending_calls), 6, is_number=True),
                Column("RESTARTS", lambda a: str(a.num_restarts), 8, is_number=True),
                Column("PID", lambda a: str(a.pid or "-"), 8, is_number=True),
                Column("DIED OF", lambda a: a.death_cause or "-", 30, rank=1),
            ],
            lambda actor: actor.actor_id,
            empty="There is no actor",
        )

    def show(self, view: ProgramView) -> None:
        self.fill(view.state.actors if view.state else ())


class Workers(_List):
    """Processes that run tasks or actors."""

    LABEL = "Workers"

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._view = ProgramView(0)

    def table(self) -> Table[WorkerState]:
        return Table(
            [
                Column("PROCESS", lambda w: w.worker_id, 18, grows=True),
                Column("KIND", lambda w: w.worker_type.lower(), 6),
                Column("STATE", _busy, 6, look=_busy_look),
                Column("TASKS", lambda w: str(w.tasks), 6, is_number=True),
                Column("CPU", self._cpu, 5, is_number=True),
                Column("MEMORY", self._memory, 8, is_number=True),
                Column("PID", lambda w: str(w.pid or "-"), 8, is_number=True),
            ],
            lambda worker: worker.worker_id,
            empty="There is no process yet",
        )

    def show(self, view: ProgramView) -> None:
        self._view = view
        self.fill(view.state.workers if view.state else ())

    def _cpu(self, worker: WorkerState) -> str:
        used = self._view.usage.get(worker.pid)
        return number(round(used.cpu, 2)) if used else "-"

    def _memory(self, worker: WorkerState) -> str:
        used = self._view.usage.get(worker.pid)
        return size(used.rss_bytes) if used else "-"


class Objects(_List):
    """Values in shared memory."""

    LABEL = "Objects"

    def table(self) -> Table[ObjectState]:
        return Table(
            [
                Column("OBJECT", lambda o: o.object_id, 24),
                Column("SIZE", lambda o: size(o.object_size), 9, is_number=True),
                Column("HELD BY", _holders, 20, grows=True),
            ],
            lambda value: value.object_id,
            empty="No value lies in shared memory",
        )

    def show(self, view: ProgramView) -> None:
        self.fill(view.state.objects if view.state else ())


_PANES: dict[str, type[Pane[ProgramView]]] = {
    "overview": Overview,
    "tasks": Tasks,
    "actors": Actors,
    "workers": Workers,
    "objects": Objects,
}


class ProgramDashboard(Board[ProgramView]):
    """The app.

    Args:
        view: what is shown first.
    """

    PANES = _PANES
    KEYS = _KEYS
    BINDINGS: ClassVar[list[BindingType]] = keys_of(_PANES)

    def status_line(self) -> Content:
        """Say which program it is, and whether it runs."""
        return _status_line(self.view)


def _status_line(view: ProgramView) -> Content:
    name = (f"pid {view.pid}", "bold")
    if view.trouble:
        trouble = (f"✖ {plain(view.trouble)}", "$text-error")
        return Content.assemble(name, "  ", trouble)
    if view.state is None:
        return Content.assemble(name, "  ", ("○ looking", "$text-warning"))
    return Content.assemble(
        name,
        "  ",
        ("● runs", "$text-success"),
        f"  up {duration(view.state.uptime)}  {plain(view.command)}",
    )


def _look(row: TaskState | ActorState) -> str:
    return _LOOKS.get(row.state, "")


def _attempt(task: TaskState) -> str:
    return str(task.attempt_number + 1)


def _busy(worker: WorkerState) -> str:
    return "idle" if worker.is_idle else "busy"


def _busy_look(worker: WorkerState) -> str:
    return "dim" if worker.is_idle else "good"


def _holders(value: ObjectState) -> str:
    return ", ".join(
        who if count == 1 else f"{who} x {count}"
        for who, count in value.holders.items()
    )
