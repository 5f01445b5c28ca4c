"""Blocks and managers: what the batch system gave, and who works there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from actors.endpoint.pictures import BlockPicture, ManagerPicture, Snapshot
from actors.messages import BlockState
from tui.panes.base import Detail, Pane, Steer
from tui.steering import OrderVerb
from tui.table import Column, Table
from tui.text import amount, duration, plain, size
from tui.view import View, busy_workers

__all__ = ["BlockRow", "Blocks", "block_rows"]

_LOOKS = {
    "running": "good",
    "ready": "good",
    "pending": "warning",
    "unknown": "warning",
    "held": "warning",
    "away": "error",
    "failed": "error",
    "missing": "error",
}


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A block, or one of its managers.

    Args:
        name: its id.
        block: None: a manager whose block is not known.
        manager: None: this is the block itself.
        idle: seconds without a task.
    """

    name: str
    block: BlockPicture | None
    manager: ManagerPicture | None
    idle: float


def block_rows(view: View) -> Sequence[BlockRow]:
    """List active blocks with their managers, then those that ended, newest first."""
    if view.status is None:
        return ()
    managers: dict[str, list[ManagerPicture]] = {}
    for manager in view.status.managers:
        managers.setdefault(manager.block_id, []).append(manager)
    rows: list[BlockRow] = []
    ended = []
    for block in view.status.blocks:
        idle = view.idle.get(block.block_id, 0.0)
        mine = managers.pop(block.block_id, [])
        row = BlockRow(block.block_id, block, None, idle)
        if not mine and not BlockState(block.state).is_active:
            ended.append(row)
            continue
        rows.append(row)
        rows += [BlockRow(m.manager_id, block, m, idle) for m in mine]
    for others in managers.values():
        rows += [BlockRow(m.manager_id, None, m, 0.0) for m in others]
    return rows + ended[::-1]


class Blocks(Pane[View]):
    """The pane."""

    LABEL: ClassVar[str] = "Blocks"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "steer('hold')", "Hold"),
        Binding("r", "steer('resume')", "Resume"),
        Binding("d", "steer('drain')", "Drain"),
        Binding("R", "restart", "Restart", show=False),
        Binding("s", "app.scale", "Scale"),
        Binding("space", "mark", "Mark"),
        Binding("escape", "unmark", "Unmark", show=False),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._status: Snapshot | None = None

    def compose(self) -> ComposeResult:
        yield Table(
            [
                Column("BLOCK / MANAGER", _name, 20, grows=True),
                Column("STATE", _state, 18, look=lambda r: _LOOKS.get(_bare(r), "")),
                Column("TASKS", _tasks, 6, is_number=True),
                Column("WORKERS", _workers, 7, is_number=True),
                Column("IDLE", _idle, 11, is_number=True, rank=1),
                Column("HOST / JOB", _where, 18, rank=2),
                Column("HEARD", _heard, 11, is_number=True, rank=3),
            ],
            lambda row: row.name,
            empty="No blocks",
            id="block-table",
        )
        yield Detail(id="about-block")

    @property
    def table(self) -> "Table[BlockRow]":
        return self.query_one("#block-table", Table)

    def show(self, view: View) -> None:
        if view.status is not self._status:
            self._status = view.status
            self.table.fill(
                block_rows(view), "No blocks" if view.status else "Not known yet"
            )
        self._tell()

    @on(Table.Moved)
    def _tell(self) -> None:
        row = self.table.current
        detail = self.query_one(Detail)
        if row is None:
            detail.tell("", Content(""))
        elif row.manager is not None:
            detail.tell(row.name, _about_manager(row.manager))
        elif row.block is not None:
            detail.tell(row.name, _about_block(row.block))

    def action_mark(self) -> None:
        self.table.toggle_mark()

    def action_unmark(self) -> None:
        self.table.marked.clear()
        self.table.refresh()

    def action_restart(self) -> None:
        """Restart the manager that the cursor is on."""
        row = self.table.current
        if row is not None and row.manager is not None:
            self.post_message(Steer("restart", [row.name]))
        else:
            text = "A manager can be restarted; of a block, drain it"
            self.app.notify(text, severity="warning")

    def action_steer(self, verb: OrderVerb) -> None:
        names = sorted(str(key) for key in self.table.marked)
        row = self.table.current
        if not names and row is not None:
            names = [row.name]
        if names:
            self.post_message(Steer(verb, names))


def _name(row: BlockRow) -> str:
    return f"  {row.name}" if row.manager else row.name


def _bare(row: BlockRow) -> str:
    if row.manager:
        return row.manager.state
    return row.block.state if row.block else ""


def _state(row: BlockRow) -> str:
    if row.manager or row.block is None:
        return _bare(row)
    block, state = row.block, row.block.state
    if BlockState(state).is_active:
        state += ", draining" if block.is_draining else ""
        state += ", on hold" if block.is_held else ""
    elif block.exit_code:
        state += f", exit {block.exit_code}"
    return state


def _tasks(row: BlockRow) -> str:
    if row.manager:
        return str(row.manager.leases)
    return str(row.block.leases) if row.block else "-"


def _workers(row: BlockRow) -> str:
    if row.manager is None:
        return "-"
    return f"{busy_workers(row.manager)}/{row.manager.slots}"


def _idle(row: BlockRow) -> str:
    return duration(row.idle) if row.idle and row.manager is None else "-"


def _where(row: BlockRow) -> str:
    if row.manager:
        return row.manager.host or "?"
    return (row.block.job_id if row.block else "") or "-"


def _heard(row: BlockRow) -> str:
    return duration(row.manager.silent) if row.manager else "-"


def _about_manager(manager: ManagerPicture) -> Content:
    held = f"{amount(manager.leases, 'task')}, of at most {manager.window}"
    where = f"pid {manager.pid} on {plain(manager.host) or '?'}"
    lines = [f"{where}, heard {duration(manager.silent)} ago; {held}"]
    lines[0] += _time_left(manager.time_left)
    for slots in manager.types:
        workers = amount(slots.total, "worker")
        lines[0] += f"; {workers} of type {plain(slots.worker_type)}, {slots.free} free"
    for worker in manager.workers:
        runs = f"{worker.task_name} {worker.task_id}".strip() or "idle"
        used = "not started"
        if worker.pid:
            used = f"pid {worker.pid}  {size(worker.rss_bytes):>8}"
            used += f"  {duration(worker.cpu_seconds):>8} CPU"
        lines.append(f"{worker.worker_id:<16}  {used}  {plain(runs)}")
    return Content("\n".join(lines))


def _about_block(block: BlockPicture) -> Content:
    lines = [f"job {plain(block.job_id) or '-'}, {amount(block.managers, 'manager')}"]
    if block.exit_code is not None:
        lines[0] += f", exit code {block.exit_code}"
    if block.worker_type:
        lines[0] += f"; all workers of type {plain(block.worker_type)}"
    lines[0] += _time_left(block.time_left)
    lines += [plain(line) for line in block.message.splitlines()]
    if block.stderr_tail:
        lines.append("End of its standard error:")
        lines += [f"│ {plain(line)}" for line in block.stderr_tail.splitlines()]
    return Content("\n".join(lines))


def _time_left(seconds: float | None) -> str:
    return "" if seconds is None else f"; walltime left {duration(seconds)}"
