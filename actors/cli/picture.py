"""A snapshot of an endpoint as text that people read: aligned, plain, and narrow."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from actors.endpoint.pictures import (
    BlockPicture,
    ClientPicture,
    HostedPicture,
    JournalPicture,
    ManagerPicture,
    Snapshot,
)
from actors.messages import BlockState

__all__ = ["count", "draw", "duration"]

_GAP = "  "
# A column is not made narrower than this, so that its ends can still be told apart.
_LEAST_COLUMN = 8
# Ended blocks, newest last, of which one may still want to know; chosen.
_ENDED_SHOWN = 5
# Lines of a failed block's standard error; chosen: the last ones say why.
_TAIL_SHOWN = 5
# Who is not heard for so many seconds is marked; chosen: twice the default period.
_LONG_SILENCE = 60.0
_SERVICES = ("supervisor", "strategy", "provider")


def draw(snapshot: Snapshot, columns: int) -> str:
    """Draw a snapshot.

    Args:
        snapshot: of an endpoint.
        columns: that no line exceeds, at least 80.

    Returns:
        Lines without colours and control characters, whatever names came in.
    """
    lines = [_headline(snapshot)]
    if snapshot.is_quiesced:
        lines.append("quiesced: takes and starts no tasks until `actors resume`")
    if snapshot.bad_state:
        lines += wrap(f"BAD STATE: {snapshot.bad_state}", columns)
        lines += [f"| {line}" for line in snapshot.bad_state_detail.splitlines()]
    lines += ["", *_table(_tasks(snapshot), columns, right=range(6))]
    if snapshot.journal is not None:
        lines += ["", _journal(snapshot.journal)]
    lines += ["", *_draw_blocks(snapshot.blocks, columns)]
    for manager in snapshot.managers:
        lines += ["", *_draw_manager(manager, columns)]
    if snapshot.actors:
        actors = [_ACTOR_HEAD, *(_actor(actor) for actor in snapshot.actors)]
        lines += ["", *_table(actors, columns, right=(3, 5, 6))]
    if snapshot.clients:
        rows = [_CLIENT_HEAD, *(_client(client) for client in snapshot.clients)]
        lines += ["", *_table(rows, columns, right=(2, 4, 5))]
    return "\n".join(_shorten(line, columns) for line in lines)


def _headline(snapshot: Snapshot) -> str:
    missing = [name for name in _SERVICES if name not in snapshot.services]
    services = f"without {' and '.join(missing)}" if missing else "all services there"
    refused = f", {snapshot.malformed} malformed frames" if snapshot.malformed else ""
    return (
        f"{_plain(snapshot.name)}: up {duration(snapshot.uptime)}, {services}{refused}"
    )


def _tasks(snapshot: Snapshot) -> list[Sequence[str]]:
    return [
        [state.upper() for state in snapshot.tasks],
        [str(count) for count in snapshot.tasks.values()],
    ]


def _journal(journal: JournalPicture) -> str:
    behind = "durability off"
    if journal.durability != "off":
        behind = f"{journal.lag * 1000:.0f} ms behind"
    made_short = ""
    if journal.compacted is not None:
        made_short = f", made short {duration(journal.compacted)} ago"
    return (
        f"journal: {behind}, {_size(journal.size_bytes)} on disk{made_short}, "
        f"{_size(journal.free_bytes)} free"
    )


# Blocks


def _draw_blocks(blocks: list[BlockPicture], columns: int) -> list[str]:
    ended = [block for block in blocks if not BlockState(block.state).is_active]
    shown = [b for b in blocks if b not in ended] + ended[-_ENDED_SHOWN:]
    if not shown:
        return ["no blocks"]
    # Many endpoints know of no end, and have no types.
    has_ends = any(block.time_left is not None for block in shown)
    has_types = any(block.worker_type for block in shown)
    rows = [
        [
            "BLOCK",
            "STATE",
            "MANAGERS",
            "TASKS",
            *(["WALLTIME LEFT"] if has_ends else []),
            *(["TYPE"] if has_types else []),
            "JOB",
        ],
        *(
            [
                block.block_id,
                _block_state(block),
                str(block.managers),
                str(block.leases),
                *([_time_left(block.time_left)] if has_ends else []),
                *([block.worker_type or "any"] if has_types else []),
                block.job_id,
            ]
            for block in shown
        ),
    ]
    table = _table(rows, columns, right=(2, 3, 4) if has_ends else (2, 3))
    lines = table[:1]
    for block, line in zip(shown, table[1:], strict=True):
        lines.append(line)
        lines += [_shorten(f"  {text}", columns) for text in _why(block)]
    if len(ended) > _ENDED_SHOWN:
        lines.append(f"and {len(ended) - _ENDED_SHOWN} that ended before; see --json")
    return lines


def _time_left(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _block_state(block: BlockPicture) -> str:
    state = block.state
    if BlockState(state).is_active:
        state += ", draining" if block.is_draining else ""
        state += ", on hold" if block.is_held else ""
    elif block.exit_code:
        state += f", exit {block.exit_code}"
    return state


def _why(block: BlockPicture) -> Iterator[str]:
    """Tell what the batch system says, and of a failed block its last words."""
    if block.message:
        yield block.message
    if BlockState(block.state) in (BlockState.FAILED, BlockState.MISSING):
        for line in block.stderr_tail.splitlines()[-_TAIL_SHOWN:]:
            yield f"| {line}"


# Managers, actors and clients


def _draw_manager(manager: ManagerPicture, columns: int) -> list[str]:
    silence = ""
    if manager.silent > _LONG_SILENCE:
        silence = f", not heard for {duration(manager.silent)}"
    head = (
        f"{manager.manager_id} on {manager.host or '?'}, pid {manager.pid}: "
        f"{manager.state}, {count(manager.leases, 'task')}, "
        f"{count(manager.slots, 'worker')}{silence}"
    )
    if manager.time_left is not None:
        head += f", walltime left {duration(manager.time_left)}"
    for slots in manager.types:
        head += f", {slots.total} of type {slots.worker_type} ({slots.free} free)"
    rows = [
        ["  WORKER", "PID", "MEMORY", "CPU", "RUNS"],
        *(
            [
                f"  {worker.worker_id}",
                str(worker.pid) if worker.pid else "-",
                _size(worker.rss_bytes),
                f"{worker.cpu_seconds:.1f} s" if worker.rss_bytes else "-",
                f"{worker.task_id} {worker.task_name}".strip() or "-",
            ]
            for worker in manager.workers
        ),
    ]
    return [head, *_table(rows, columns, right=(1, 2, 3))]


_ACTOR_HEAD = ["ACTOR", "NAME", "STATE", "LIFE", "MANAGER", "WAIT", "HANDLES"]


def _actor(actor: HostedPicture) -> list[str]:
    name = f"{actor.namespace}/{actor.name}" if actor.namespace else actor.name
    return [
        f"{actor.class_name} {actor.actor_id}",
        name or "-",
        actor.state,
        str(actor.incarnation),
        actor.manager_id or "-",
        str(actor.waiting_calls),
        "detached" if actor.is_detached else str(actor.holders),
    ]


_CLIENT_HEAD = ["CLIENT", "HOST", "PID", "STATE", "UNFINISHED", "UNREAD"]


def _client(client: ClientPicture) -> list[str]:
    return [
        client.client_id,
        client.host or "?",
        str(client.pid) if client.pid else "-",
        "connected" if client.is_connected else "away",
        str(client.unfinished),
        str(client.unacknowledged),
    ]


# Text


def _table(
    rows: Sequence[Sequence[str]], columns: int, right: Sequence[int]
) -> list[str]:
    """Align columns; the widest ones are shortened until all fit.

    Args:
        rows: of equally many cells.
        columns: that no line exceeds.
        right: indices of the columns that hold numbers.
    """
    rows = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = columns - len(_GAP) * (len(widths) - 1)
    while sum(widths) > room and max(widths) > _LEAST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for row in rows:
        cells = [_shorten(cell, width) for cell, width in zip(row, widths, strict=True)]
        aligned = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append(_GAP.join(aligned).rstrip())
    return lines


def _plain(text: str) -> str:
    """Replace what could move the cursor: names come from users."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _shorten(text: str, width: int) -> str:
    """Leave out the middle of what is too long: both ends tell names apart."""
    text = _plain(text)
    if len(text) <= width:
        return text
    left = (width - 3) // 2
    return f"{text[:left]}...{text[len(text) - (width - 3 - left) :]}"


def count(number: int, what: str) -> str:
    """Say how many: "1 task", "2 tasks"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB" if size_bytes else "-"


def duration(seconds: float) -> str:
    """Say how long, in the two largest units that matter."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, _ = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{count(days, 'day')} {hours} h"
