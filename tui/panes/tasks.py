"""Tasks: what waits, runs and ended lately; and the story of one of them."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from actors.endpoint.task_pictures import TaskPicture, TaskStory
from tui.panes.base import Detail, FilterLine, Pane, Steer
from tui.table import Column, Table
from tui.text import clock, duration, plain
from tui.view import View

__all__ = ["Tasks"]

_ENDED = frozenset({"success", "failed", "cancelled"})
_LOOKS = {
    "running": "good",
    "waiting-for-launch": "accent",
    "failed": "error",
    "cancelled": "warning",
    "success": "dim",
}
# (title, labels of states); the first is shown at the start.
_STATE_FILTERS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("all", ()),
    ("running", ("running",)),
    ("waiting", ("waiting-for-nodes", "waiting-for-launch")),
    ("failed", ("failed",)),
    ("cancelled", ("cancelled",)),
    ("success", ("success",)),
)
_SORTS: Sequence[tuple[str, Callable[[TaskPicture], object] | None]] = (
    ("as queued", None),
    ("newest first", lambda task: -task.at),
    ("oldest first", lambda task: task.at),
    ("by name", lambda task: (task.name, task.task_id)),
    ("by place", lambda task: (task.place, task.at)),
)
_story = msgspec.json.Decoder(TaskStory)


class Tasks(Pane[View]):
    """The pane."""

    LABEL: ClassVar[str] = "Tasks"
    DEFAULT_CSS = """
    Tasks #about { height: 1; padding: 0 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "next_state", "State"),
        Binding("o", "next_sort", "Order"),
        Binding("slash", "filter", "Search"),
        Binding("space", "mark", "Mark", show=False),
        Binding("c", "cancel", "Cancel"),
        Binding("escape", "close", "Close", show=False),
    ]

    class Wanted(Message):
        """Other tasks are wanted in the views."""

        def __init__(self, text: str, states: tuple[str, ...]) -> None:
            super().__init__()
            self.text = text
            self.states = states

    class StoryWanted(Message):
        """Somebody wants to know all of one task; answered by `tell`."""

        def __init__(self, task_id: str) -> None:
            super().__init__()
            self.task_id = task_id

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._now = 0.0
        self._state = 0
        self._sort = 0
        self._view: View | None = None
        self._filled: tuple[object, int] | None = None  # what the table shows
        self._opened = ""  # the task whose story is shown

    def compose(self) -> ComposeResult:
        yield FilterLine(placeholder="part of an id or a name; Esc: all", id="search")
        yield Static(id="about")
        yield Table(
            [
                Column("TASK", lambda t: t.task_id, 22, grows=True),
                Column("NAME", lambda t: t.name or "-", 16),
                Column("STATE", _state, 18, look=lambda t: _LOOKS.get(t.state, "")),
                Column("TRY", lambda t: str(t.attempt), 3, is_number=True, rank=1),
                Column("SINCE", self._since, 11, is_number=True),
                Column("WHERE", lambda t: t.place or "-", 18, rank=3),
                Column("CLIENT", lambda t: t.client_id, 20, rank=4),
            ],
            lambda task: task.task_id,
            empty="No tasks",
            id="task-table",
        )
        yield Detail(classes="-hidden", id="story")

    @property
    def table(self) -> "Table[TaskPicture]":
        return self.query_one("#task-table", Table)

    def show(self, view: View) -> None:
        self._view, self._now = view, view.at
        listed = view.tasks.tasks if view.tasks else []
        if self._filled != (id(listed), self._sort):
            self._filled = (id(listed), self._sort)
            key = _SORTS[self._sort][1]
            rows = sorted(listed, key=key) if key else listed  # type: ignore[arg-type]
            self.table.fill(rows, "No tasks" if view.tasks else "Not known yet")
        else:
            self.table.refresh()
        self.query_one("#about", Static).update(self._about(view, len(listed)))

    def _about(self, view: View, count: int) -> Content:
        status = view.status
        unfinished = 0
        if status is not None:
            unfinished = sum(n for s, n in status.tasks.items() if s not in _ENDED)
        some = "some of " if view.tasks and view.tasks.is_cut else ""
        marked = len(self.table.marked)
        parts = [
            f"{count:,} shown, {some}{unfinished:,} unfinished",
            f"state: {_STATE_FILTERS[self._state][0]}",
            f"order: {_SORTS[self._sort][0]}",
            *([f"{marked} marked"] if marked else []),
        ]
        return Content(" · ".join(parts))

    def _since(self, task: TaskPicture) -> str:
        if task.state in _ENDED:
            return clock(task.at)
        return duration(self._now - task.at)

    # Keys

    def action_filter(self) -> None:
        self.query_one(FilterLine).open()

    def action_next_state(self) -> None:
        self._state = (self._state + 1) % len(_STATE_FILTERS)
        self.want()

    def action_next_sort(self) -> None:
        self._sort = (self._sort + 1) % len(_SORTS)
        if self._view is not None:
            self.show(self._view)

    def action_mark(self) -> None:
        self.table.toggle_mark()
        if self._view is not None:
            self.show(self._view)

    def action_cancel(self) -> None:
        current = self.table.current
        names = sorted(str(key) for key in self.table.marked)
        if not names and current is not None:
            names = [current.task_id]
        if names:
            self.post_message(Steer("cancel", names))

    def action_close(self) -> None:
        if self._opened:
            self._opened = ""
            self.query_one(Detail).add_class("-hidden")
        else:
            self.table.marked.clear()
            self.query_one(FilterLine).value = ""
        if self._view is not None:
            self.show(self._view)

    @on(Input.Changed)
    def _search(self) -> None:
        self.want()

    def want(self) -> None:
        """Say which tasks should be in the views."""
        text = self.query_one(FilterLine).value
        self.post_message(self.Wanted(text, _STATE_FILTERS[self._state][1]))
        if self._view is not None:
            self.show(self._view)

    # The story

    @on(Table.Chosen)
    def _open(self) -> None:
        current = self.table.current
        if current is not None:
            self._opened = current.task_id
            self.post_message(self.StoryWanted(current.task_id))

    @on(Table.Moved)
    def _moved(self) -> None:
        current = self.table.current
        if self._opened and current is not None and current.task_id != self._opened:
            self._open()

    def tell(self, text: str, body: bytes) -> None:
        """Show a story, or why there is none."""
        detail = self.query_one(Detail)
        detail.remove_class("-hidden")
        if body:
            story = _story.decode(body)
            detail.tell(
                f"{story.task.name or 'task'} {story.task.task_id}", _tell(story)
            )
        else:
            detail.tell("task", Content(text))


def _state(task: TaskPicture) -> str:
    return "being cancelled" if task.is_cancelling else task.state


def _tell(story: TaskStory) -> Content:
    lines = []
    before = 0.0
    for step in story.steps:
        passed = f"+{duration(step.at - before)}" if before else ""
        look = {"failed": "$text-error", "success": "$text-success"}.get(step.state, "")
        lines.append(
            Content.assemble(
                f"{clock(step.at, millis=True)} {passed:>10}  ",
                (f"{step.state:<18}", look),
                f"  try {step.attempt}  {plain(step.place)}".rstrip(),
            )
        )
        before = step.at
    if story.task.message and story.task.state not in _ENDED:
        lines.append(Content(plain(story.task.message)))
    if story.task.client_id:
        lines.append(Content(f"of client {plain(story.task.client_id)}"))
    if story.failure:
        lines.append(Content.styled(f"failure: {story.failure}", "$text-error"))
    lines += [Content(plain(line)) for line in story.detail.splitlines()]
    return Content("\n").join(lines)
