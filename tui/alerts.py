"""What needs somebody's attention, and what to do about it. Pure."""

from collections.abc import Iterator, Sequence

from actors.api.observer import ConnectionState
from actors.endpoint.pictures import JournalPicture, Snapshot
from actors.messages import ActorRestarted, BlockState
from tui.text import amount, duration, first_line, size
from tui.view import Alert, Connection, Moment

__all__ = ["find_alerts"]

# Who is not heard for so long is in trouble; chosen: twice the default period.
LONG_SILENCE = 60.0
# Restarts are news for so long; chosen.
_RESTART_NEWS = 600.0
# Blocks that are named one by one; chosen: the rest is a number.
_NAMED = 3
# Records that wait so long, beyond the interval that was asked for, have a disk that is
# slow, or busy with something else. Chosen: tasks wait with them, and people notice.
_LONG_LAG = 1.0
# With less room than this a journal's disk is soon full. Chosen: some times of what a
# snapshot and the log that it replaces take (see `endpoint.recorder`).
_LITTLE_ROOM = 512 << 20
_SERVICES = ("supervisor", "strategy", "provider")
_RANKS = {"error": 0, "warning": 1, "info": 2}
_BAD = (BlockState.FAILED, BlockState.MISSING)


def find_alerts(
    connection: Connection,
    status: Snapshot | None,
    restarts: Sequence[Moment],
    now: float,
    trouble: str = "",
    stall: str = "",
) -> tuple[Alert, ...]:
    """List what an operator should know, worst first.

    Args:
        connection: to the endpoint; while it is away, nothing else is said of it.
        status: the last picture, if there is one.
        restarts: of actors.
        now: seconds since 1970.
        trouble: what went wrong in the dashboard itself.
        stall: why the interchange stands still; "": it does not.
    """
    found = list(_of_connection(connection))
    if not found and stall:
        # What is known of all the rest is as of before.
        text, advice = first_line(stall), "It goes on by itself once there is room"
        found.append(Alert("error", f"All stands still: {text}", advice))
    elif not found and status is not None:
        found += _of_services(status, restarts, now)
        found += _of_blocks(status)
        found += _of_managers(status)
        found += _of_tasks(status)
        if status.journal is not None:
            found += _of_journal(status.journal)
    if trouble:
        text = f"The dashboard did not understand the endpoint: {first_line(trouble)}"
        advice = "What is shown may be old: install the same version on both sides"
        found.append(Alert("error", text, advice))
    return tuple(sorted(found, key=lambda alert: _RANKS[alert.level]))


def _of_connection(connection: Connection) -> Iterator[Alert]:
    reason = f": {connection.reason}" if connection.reason else ""
    match connection.state:
        case ConnectionState.REFUSED:
            yield Alert(
                "error",
                f"The endpoint refuses us{reason}",
                "Mend that and start the dashboard again",
            )
        case ConnectionState.LOST:
            yield Alert(
                "error",
                f"The connection was lost {duration(connection.age)} ago{reason}",
                "What is shown is as of then; it is dialled again and again",
            )
        case ConnectionState.CONNECTING:
            yield Alert("warning", f"Nobody answers yet{reason}", "It is dialled on")


def _of_services(
    status: Snapshot, restarts: Sequence[Moment], now: float
) -> Iterator[Alert]:
    missing = [name for name in _SERVICES if name not in status.services]
    if missing:
        yield Alert(
            "error",
            f"{' and '.join(missing).capitalize()} not connected",
            "A moment after a start that is normal; else see Logs",
        )
    latest: dict[str, Moment] = {}
    for moment in restarts:
        if isinstance(moment.body, ActorRestarted):
            latest[moment.body.actor] = moment
    for actor, moment in latest.items():
        event = moment.body
        if now - moment.at < _RESTART_NEWS and isinstance(event, ActorRestarted):
            yield Alert(
                "warning",
                f"{actor.capitalize()} was restarted {duration(now - moment.at)} ago: "
                f"{first_line(event.reason)}",
                "Nothing is lost; if it goes on, see Logs",
            )
    if status.malformed:
        yield Alert(
            "warning",
            f"{amount(status.malformed, 'malformed frame')} refused",
            "Somebody speaks another protocol; Events name the sender",
        )


def _of_blocks(status: Snapshot) -> Iterator[Alert]:
    bad = [b for b in status.blocks if b.state in _BAD]
    for block in bad[-_NAMED:]:
        why = first_line(block.message) or f"exit code {block.exit_code}"
        yield Alert(
            "error",
            f"{block.block_id} {block.state}: {why}",
            "Blocks shows the end of its standard error",
        )
    if len(bad) > _NAMED:
        text = f"{len(bad) - _NAMED} blocks before it failed, too"
        yield Alert("error", text, "`actors doctor` looks what the provider lacks")
    if status.bad_state:
        text = f"Bad state: {first_line(status.bad_state)}"
        yield Alert("error", text, "All tasks fail until z resumes it")
    if status.is_quiesced:
        yield Alert("info", "Quiesced: no task is taken or started", "z resumes it")
    held = [b.block_id for b in status.blocks if b.is_held]
    if held:
        names = ", ".join(held[:_NAMED]) + ("" if len(held) <= _NAMED else ", ...")
        yield Alert("info", f"On hold: {names}", "In Blocks, r resumes")


def _of_managers(status: Snapshot) -> Iterator[Alert]:
    away = [m for m in status.managers if m.state == "away"]
    if away:
        yield Alert(
            "warning",
            f"{amount(len(away), 'manager')} away: {away[0].manager_id}"
            + ("" if len(away) == 1 else ", ..."),
            "Their tasks start again elsewhere if they do not come back",
        )
    silent = [m for m in status.managers if m.silent > LONG_SILENCE and m not in away]
    if silent:
        worst = max(silent, key=lambda m: m.silent)
        yield Alert(
            "warning",
            f"{worst.manager_id} not heard for {duration(worst.silent)}",
            "Its host may be overloaded or gone",
        )


def _of_tasks(status: Snapshot) -> Iterator[Alert]:
    waiting = status.tasks.get("waiting-for-nodes", 0)
    states = [b.state for b in status.blocks if BlockState(b.state).is_active]
    usable = any(m.state == "ready" for m in status.managers)
    if waiting and not usable and not status.is_quiesced:
        if not states:
            yield Alert(
                "error",
                f"{amount(waiting, 'task')} waiting, and there is no block",
                "Scaling says why; s starts some",
            )
        elif set(states) == {"pending"}:
            yield Alert(
                "info",
                f"{amount(waiting, 'task')} waiting for {amount(len(states), 'block')}"
                " that the batch system has not started",
                "Its queue may be long; Blocks names the jobs",
            )
        else:
            yield Alert(
                "warning",
                f"{amount(waiting, 'task')} waiting, and no manager takes any",
                "Blocks shows who is held, draining or away",
            )
    ended = status.finished
    failed = status.tasks.get("failed", 0)
    if failed and failed * 2 > ended:
        yield Alert(
            "warning",
            f"{failed} of {amount(ended, 'task')} failed",
            "Tasks shows their errors: filter by failed",
        )
    absent = [c for c in status.clients if not c.is_connected and c.unacknowledged]
    if absent:
        results = sum(c.unacknowledged for c in absent)
        yield Alert(
            "info",
            f"{amount(results, 'result')} kept for {amount(len(absent), 'client')} "
            "that went away",
            "Who comes back gets them; [results] keep says how long they wait",
        )


def _of_journal(journal: JournalPicture) -> Iterator[Alert]:
    if journal.free_bytes < _LITTLE_ROOM:
        yield Alert(
            "warning",
            f"{size(journal.free_bytes)} free on the journal's disk",
            "Make room on it: when it is full, all stands still",
        )
    if journal.lag > journal.interval + _LONG_LAG:
        yield Alert(
            "warning",
            f"The journal is {duration(journal.lag)} behind: its disk is slow, or busy",
            "Tasks wait for it: see what else writes there, or [journal] durability",
        )
