"""Chronicle: what has been seen of an endpoint, made into views. Pure.

It takes the observer's news and gives the next `View`. Everything it keeps has a limit;
what an endpoint forgets, it forgets too, apart from the last minutes of numbers.
"""

import statistics
from collections import deque
from collections.abc import Iterable

import msgspec

from actors.api.observer import Changed, Heard, Told
from actors.cli.log_files import Line
from actors.endpoint.pictures import Snapshot
from actors.endpoint.task_pictures import TaskList
from actors.messages import (
    ActorRestarted,
    AnyEvent,
    JournalStalled,
    LoadReported,
    Published,
    ScalingDecided,
)
from tui.alerts import find_alerts
from tui.view import Connection, History, Latency, Moment, ServiceProcess, View

__all__ = ["Chronicle"]

# Numbers for sparklines; chosen: four minutes of a small endpoint, and wider than most
# screens.
_NUMBERS_KEPT = 240
# Events and log lines; chosen: what a person scrolls through.
_EVENTS_KEPT = 1000
_LINES_KEPT = 5000
_MOMENTS_KEPT = 200
# Latencies are of the tasks that ended within so many seconds.
_LATELY = 60.0
# A picture that comes so long after the word that all stands still says that it does
# not; an earlier one may have been under way. Chosen.
_STALL_DOUBT = 3.0

_status = msgspec.json.Decoder(Snapshot)
_tasks = msgspec.json.Decoder(TaskList)


class Chronicle:
    """The model; see the module's docstring.

    Args:
        address: as the user wrote it.
        now: seconds since 1970.
        has_logs: whether log lines will come.
    """

    def __init__(self, address: str, now: float, *, has_logs: bool) -> None:
        self._address = address
        self._has_logs = has_logs
        self._changed = Changed(Connection().state, "")
        self._changed_at = now
        self._status: Snapshot | None = None
        self._tasks: TaskList | None = None
        self._latency: Latency | None = None
        self._events: deque[Moment] = deque(maxlen=_EVENTS_KEPT)
        self._decisions: deque[Moment] = deque(maxlen=_MOMENTS_KEPT)
        self._restarts: deque[Moment] = deque(maxlen=_MOMENTS_KEPT)
        self._idle: dict[str, float] = {}
        self._missed = 0
        self._stall: tuple[str, float] | None = None  # why all stands still, since when
        self._lines: deque[Line] = deque(maxlen=_LINES_KEPT)
        self._series = _Series()
        # {(manager_id, pid): processor seconds, uptime when they changed, cores}
        self._usage: dict[tuple[str, int], tuple[float, float, float]] = {}

    def take(self, news: Changed | Told | Heard, now: float) -> None:
        """Take what the observer tells; `now` is in seconds since 1970."""
        match news:
            case Changed():
                if news.state is not self._changed.state:
                    self._changed_at = now
                self._changed = news
            case Heard(event, missed):
                self._missed += missed
                self._hear(event, now)
            case Told(command, answer) if command.verb == "status":
                self._take_status(_status.decode(answer.body), now)
            case Told(command, answer) if command.verb == "tasks":
                self._tasks = _tasks.decode(answer.body)
                self._latency = _latency(self._tasks, now)

    def read(self, lines: Iterable[Line]) -> None:
        """Take new lines of the logs."""
        self._lines.extend(lines)

    def view(
        self,
        now: float,
        services: tuple[ServiceProcess, ...] = (),
        reason: str = "",
        trouble: str = "",
    ) -> View:
        """Give what is to be shown now.

        Args:
            now: seconds since 1970.
            services: the endpoint's processes here.
            reason: why nobody answers, if that is known better than by the observer.
            trouble: what went wrong in the dashboard itself.
        """
        connection = Connection(
            self._changed.state, reason or self._changed.reason, now - self._changed_at
        )
        restarts = tuple(self._restarts)
        return View(
            self._address,
            now,
            connection,
            self._status,
            self._tasks,
            self._latency,
            self._series.history(),
            tuple(self._events),
            tuple(self._decisions),
            restarts,
            self._idle,
            services,
            tuple(self._lines),
            self._has_logs,
            self._missed,
            find_alerts(
                connection,
                self._status,
                restarts,
                now,
                trouble,
                self._stall[0] if self._stall else "",
            ),
            {key: cores for key, (_, _, cores) in self._usage.items()},
        )

    # Events

    def _hear(self, event: Published, now: float) -> None:
        body = event.body
        if isinstance(body, LoadReported):
            self._idle = {load.block_id: load.idle for load in body.blocks}
            return
        moment = Moment(event.at, event.source, body)
        if _is_quiet(moment) and self._events and _is_quiet(self._events[-1]):
            self._events.pop()
        self._events.append(moment)
        # The next picture brings them, too; until then they are news.
        if isinstance(body, ScalingDecided):
            decisions = self._decisions
            if _is_quiet(moment) and decisions and _is_quiet(decisions[-1]):
                decisions.pop()
            decisions.append(moment)
        elif isinstance(body, ActorRestarted):
            self._restarts.append(moment)
        elif isinstance(body, JournalStalled):
            self._stall = None if body.is_over else (body.reason, now)

    # Pictures

    def _take_status(self, status: Snapshot, now: float) -> None:
        before = self._status
        self._status = status
        if self._stall and now > self._stall[1] + _STALL_DOUBT:
            self._stall = None
        decisions, restarts = _relayed(status, now)
        if not status.relayed and before and before.epoch != status.epoch:
            # A new interchange has heard of nothing yet; we have.
            decisions, restarts = list(self._decisions), list(self._restarts)
        self._decisions = deque(decisions, _MOMENTS_KEPT)
        self._restarts = deque(restarts, _MOMENTS_KEPT)
        is_same = before is not None and before.epoch == status.epoch
        passed = status.uptime - before.uptime if before and is_same else 0.0
        ended = status.finished - before.finished if before and is_same else 0
        cpu = self._cpu(status)
        latency = self._latency
        waiting = status.tasks.get("waiting-for-nodes", 0)
        leased = sum(manager.leases for manager in status.managers)
        slots = sum(manager.slots for manager in status.managers)
        self._series.add(
            max(0.0, ended / passed) if passed > 0 else 0.0,
            waiting,
            leased,
            slots,
            latency.waited + latency.ran if latency else 0.0,
            cpu,
            status.journal.lag if status.journal else 0.0,
        )

    def _cpu(self, status: Snapshot) -> float:
        """Tell how many cores the workers use, as of their managers' last reports.

        What managers use themselves is noted, and not in the sum.
        """
        before, usage, uptime = self._usage, {}, status.uptime
        used = [
            ((manager.manager_id, worker.pid), worker.cpu_seconds)
            for manager in status.managers
            for worker in manager.workers
        ]
        used += [((a.manager_id, a.pid), a.cpu_seconds) for a in status.actors if a.pid]
        managers = {(m.manager_id, m.pid): m.cpu_seconds for m in status.managers}
        used += managers.items()
        for key, seconds in used:
            was, since, cores = before.get(key, (seconds, uptime, 0.0))
            # The same number again is the same report again.
            if seconds != was:
                passed = uptime - since
                cores = max(0.0, (seconds - was) / passed) if passed > 0 else 0.0
                since = uptime
            elif uptime - since > _LATELY:
                cores = 0.0
            usage[key] = (seconds, since, cores)
        self._usage = usage
        return sum(use[2] for key, use in usage.items() if key not in managers)


class _Series:
    """Numbers over time."""

    def __init__(self) -> None:
        self._rows: deque[tuple[float, ...]] = deque(maxlen=_NUMBERS_KEPT)

    def add(self, *numbers: float) -> None:
        self._rows.append(numbers)

    def history(self) -> History:
        return History(*zip(*self._rows, strict=True)) if self._rows else History()


def _is_quiet(moment: Moment) -> bool:
    """Tell whether a strategy decided to do nothing: it says so every few seconds."""
    return isinstance(moment.body, ScalingDecided) and moment.body.action == "none"


def _relayed(status: Snapshot, now: float) -> tuple[list[Moment], list[Moment]]:
    decisions, restarts = [], []
    for relayed in status.relayed:
        event: AnyEvent = relayed.event
        if isinstance(event, ScalingDecided):
            decisions.append(Moment(now - relayed.age, "strategy", event))
        elif isinstance(event, ActorRestarted):
            restarts.append(Moment(now - relayed.age, "supervisor", event))
    return decisions, restarts


def _latency(tasks: TaskList, now: float) -> Latency | None:
    waits, runs = [], []
    for task in tasks.tasks:
        if task.state == "success" and now - task.at < _LATELY and task.began_at:
            waits.append(max(0.0, task.began_at - task.queued_at))
            runs.append(max(0.0, task.at - task.began_at))
    if not runs:
        return None
    return Latency(statistics.median(waits), statistics.median(runs), len(runs))
