"""Top: an endpoint at a glance, as lines of text. Pure."""

from collections import Counter

from actors.endpoint.pictures import ManagerPicture, Snapshot, WorkerPicture
from tui.text import amount, duration, first_line, number, plain, shorten, size
from tui.view import View, busy_workers

__all__ = ["glance"]

# Alerts that are shown; chosen: the others are on the dashboard.
_ALERTS = 3
_HEAD = f"{'CPU':>5}  {'MEMORY':>8}  {'PID':>8}  "
_NAME_WIDTH = 20


def glance(view: View, width: int, height: int) -> list[str]:
    """Draw a view.

    Args:
        view: the newest.
        width: characters of a line at most.
        height: lines at most; busy workers come first, the others are counted.
    """
    lines = [_connection(view)]
    if view.status is not None:
        lines += _counts(view, view.status)
    lines += [f"! {plain(alert.text)}" for alert in view.alerts[:_ALERTS]]
    if view.status is not None and view.status.managers:
        lines += ["", *_workers(view, view.status, height - len(lines) - 1)]
    return [line[:width].rstrip() for line in lines[:height]]


def _connection(view: View) -> str:
    if not view.is_connected:
        connection = view.connection
        reason = f": {first_line(connection.reason)}" if connection.reason else ""
        return f"{plain(view.name)}  {connection.state}{plain(reason)}"
    up = f"  up {duration(view.status.uptime)}" if view.status else ""
    return f"{plain(view.name)}  connected{up}"


def _counts(view: View, status: Snapshot) -> list[str]:
    rate = view.history.ended[-1] if view.history.ended else 0.0
    tasks = [
        f"{count:,} {state.replace('-', ' ')}"
        for state, count in status.tasks.items()
        if count
    ]
    blocks = Counter(block.state for block in status.blocks)
    listed = [f"{count} {state}" for state, count in blocks.items()]
    workers = [worker for manager in status.managers for worker in manager.workers]
    busy = sum(map(busy_workers, status.managers))
    cores = number(round(sum(view.cores.values()), 2))
    memory = sum(worker.rss_bytes for worker in workers)
    return [
        f"tasks    {', '.join(tasks) or 'none'}; {number(rate)}/s",
        f"blocks   {', '.join(listed) or 'none'}",
        f"workers  {busy} of {len(workers)} busy, {cores} cores, {size(memory)}",
    ]


def _workers(view: View, status: Snapshot, room: int) -> list[str]:
    rows = [
        (view.cores.get((manager.manager_id, worker.pid), 0.0), worker, manager)
        for manager in status.managers
        for worker in manager.workers
    ]
    rows.sort(key=lambda row: (-row[0], not row[1].task_id, row[1].worker_id))
    lines = [f"{_HEAD}{'WORKER':<{_NAME_WIDTH}}  {'HOST':<{_NAME_WIDTH}}  TASK"]
    shown = rows if len(rows) < room else rows[: max(0, room - 2)]
    lines += [_line(*row) for row in shown]
    if len(shown) < len(rows):
        lines.append(f"  and {amount(len(rows) - len(shown), 'worker')} more")
    return lines


def _line(cores: float, worker: WorkerPicture, manager: ManagerPicture) -> str:
    task = f"{worker.task_name} {worker.task_id}".strip() or "-"
    return (
        f"{number(round(cores, 2)):>5}  {size(worker.rss_bytes):>8}  "
        f"{worker.pid or '-':>8}  "
        f"{shorten(worker.worker_id, _NAME_WIDTH):<{_NAME_WIDTH}}  "
        f"{shorten(manager.host, _NAME_WIDTH):<{_NAME_WIDTH}}  {plain(task)}"
    )
