"""Figures: what an observer heard of an endpoint, as metrics. Pure.

Names and units by the conventions of Prometheus: base units, `_total` for what only
grows, no label with more values than this project has words for. What ended is counted
since the interchange's start, and begins anew with each, as counters do.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import msgspec
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from actors.api.observer import Changed, ConnectionState, Heard, Told, Unanswered
from actors.endpoint.pictures import JournalPicture, ManagerPicture, Snapshot
from actors.endpoint.task_pictures import TaskList, TaskPicture
from actors.messages import ActorRestarted, AnyEvent, BlockState, TaskState, event_kind

__all__ = ["SERVICES", "Figures", "Used"]

# What an endpoint needs besides its interchange.
SERVICES = ("supervisor", "strategy", "provider")
_FINAL = tuple(state.label for state in TaskState if state.is_final)
_MANAGER_STATES = ("ready", "held", "draining", "away")
# Seconds; chosen: from less than a task takes to get to a worker, to a day.
_BUCKETS = (
    *(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5),
    *(1.0, 5.0, 10.0, 60.0, 600.0, 3600.0, 86400.0),
)
# Ended tasks that are remembered, to count none twice; the interchange tells of fewer.
_REMEMBERED = 2000

_status = msgspec.json.Decoder(Snapshot)
_tasks = msgspec.json.Decoder(TaskList)


class Used(msgspec.Struct, frozen=True):
    """What a process has used."""

    cpu_seconds: float
    rss_bytes: int


class _Histogram:
    """Counts of what fell below each bound."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.sum = 0.0

    def note(self, seconds: float) -> None:
        place = sum(seconds > bound for bound in _BUCKETS)
        self.counts[place] += 1
        self.sum += seconds

    def family(self, name: str, text: str) -> Metric:
        bounds = [*map(str, _BUCKETS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self.counts), strict=True))
        return HistogramMetricFamily(name, text, buckets, self.sum)


class Figures:
    """The model; see the module's docstring.

    Args:
        version: of this package.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._state = ConnectionState.CONNECTING
        self._reason = ""
        self._status: Snapshot | None = None
        self._status_at = -math.inf
        self._events: Counter[str] = Counter()  # {kind: how many}
        self._missed = 0
        self._restarts: dict[str, int] = {}  # {actor: as its supervisor counts}
        self._waits = _Histogram()
        self._runs = _Histogram()
        # Those of the sample, oldest first.
        self._seen: OrderedDict[str, None] = OrderedDict()

    def take(self, news: Changed | Told | Heard | Unanswered, now: float) -> None:
        """Take what the observer tells; `now` is in monotonic seconds."""
        match news:
            case Changed(state, reason):
                self._state, self._reason = state, reason
            case Heard(event, missed):
                self._missed += missed
                self._events[event_kind(event.body)] += 1
                self._note_restart(event.body)
            case Told(command, answer) if command.verb == "status":
                self._status = _status.decode(answer.body)
                self._status_at = now
                for told in self._status.relayed:
                    self._note_restart(told.event)
            case Told(command, answer) if command.verb == "tasks":
                for task in _tasks.decode(answer.body).tasks:
                    self._sample(task)

    def _note_restart(self, event: AnyEvent) -> None:
        if isinstance(event, ActorRestarted):
            known = self._restarts.get(event.actor, 0)
            self._restarts[event.actor] = max(known, event.restarts)

    def _sample(self, task: TaskPicture) -> None:
        is_success = task.state == TaskState.SUCCESS.label
        if not is_success or not task.began_at or task.task_id in self._seen:
            return
        self._seen[task.task_id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        # Two machines' clocks: what seems to have gone back took no time.
        self._waits.note(max(0.0, task.began_at - task.queued_at))
        self._runs.note(max(0.0, task.at - task.began_at))

    # What is told

    def obstacles(self, now: float, patience: float) -> list[str]:
        """Say why the endpoint does not serve; nothing: it does.

        Args:
            now: monotonic seconds.
            patience: seconds that a picture may be old.
        """
        if self._state is not ConnectionState.CONNECTED:
            why = f": {self._reason}" if self._reason else ""
            return [f"the interchange is not connected{why}"]
        if self._status is None:
            return ["the interchange has not answered yet"]
        age = now - self._status_at
        if age > patience:
            return [f"the interchange has not answered for {age:.0f} s"]
        missing = [name for name in SERVICES if name not in self._status.services]
        reasons = [f"the {name} is not connected" for name in missing]
        if self._status.is_quiesced:
            reasons.append("it is quiesced, and takes no tasks until it is resumed")
        if self._status.bad_state:
            reasons.append(f"it is in a bad state: {self._status.bad_state}")
        return reasons

    def families(
        self,
        now: float,
        patience: float,
        wall: float,
        used: Mapping[str, Used],
        journal_bytes: int | None,
    ) -> Iterator[Metric]:
        """Give the metrics of this moment.

        Args:
            now: monotonic seconds.
            patience: seconds that a picture may be old.
            wall: seconds since 1970.
            used: what the services' processes here have used, by name.
            journal_bytes: on disk; None: not known here.
        """
        status = self._status
        is_up = self._state is ConnectionState.CONNECTED and status is not None
        is_up = is_up and now - self._status_at <= patience
        yield _gauge("actors_up", "Whether the interchange answers.", is_up)
        yield InfoMetricFamily(
            "actors_endpoint",
            "Name of the endpoint, and version of what tells of it.",
            {"name": status.name if status else "", "version": self._version},
        )
        if is_up:
            assert status is not None
            started_at = wall - (now - self._status_at) - status.uptime
            yield _gauge(
                "actors_interchange_start_time_seconds",
                "When the interchange was started, in seconds since 1970.",
                started_at,
            )
            yield from _families(status)
            if status.journal is not None:
                told_at = wall - (now - self._status_at)
                yield from _of_journal(status.journal, told_at)
        yield from self._counted()
        yield from _used(used)
        if journal_bytes is not None:
            text = "Size of the endpoint's journals on disk."
            yield _gauge("actors_journal_size_bytes", text, journal_bytes)

    def _counted(self) -> Iterator[Metric]:
        """Give what was counted here, since this process began to listen."""
        yield _counts(
            "actors_events",
            "Events heard, by kind; those that were missed are not among them.",
            "event",
            self._events.items(),
        )
        yield CounterMetricFamily(
            "actors_events_missed", "Events that were not heard.", self._missed
        )
        yield _counts(
            "actors_restarts",
            "Restarts of the endpoint's services by its supervisor.",
            "service",
            self._restarts.items(),
        )
        yield self._waits.family(
            "actors_sampled_task_wait_seconds",
            "From queue to worker, of a sample of the tasks that succeeded.",
        )
        yield self._runs.family(
            "actors_sampled_task_run_seconds",
            "In the worker, of a sample of the tasks that succeeded.",
        )


# One picture


def _families(status: Snapshot) -> Iterator[Metric]:
    unfinished = [(s, n) for s, n in status.tasks.items() if s not in _FINAL]
    ended = [(s, n) for s, n in status.tasks.items() if s in _FINAL]
    yield _states("actors_tasks", "Unfinished tasks.", unfinished)
    yield _counts("actors_tasks_ended", "Tasks that ended.", "state", ended)
    yield CounterMetricFamily(
        "actors_malformed_frames", "Frames that were refused.", status.malformed
    )
    yield _labelled(
        "actors_service_connected",
        "Whether a service is connected to the interchange.",
        "service",
        [(name, name in status.services) for name in SERVICES],
    )
    yield _gauge(
        "actors_quiesced",
        "Whether it takes no tasks until an operator resumes it.",
        status.is_quiesced,
    )
    yield _gauge(
        "actors_bad_state",
        "Whether its tasks fail, as its last blocks did, until it is resumed.",
        bool(status.bad_state),
    )
    yield from _of_blocks(status)
    yield from _of_managers(status.managers)
    yield from _of_clients(status)


def _of_blocks(status: Snapshot) -> Iterator[Metric]:
    states = Counter({state.value: 0 for state in BlockState})
    states.update(block.state for block in status.blocks)
    yield _states(
        "actors_blocks", "Blocks: active ones, and those that ended.", states.items()
    )
    held = sum(block.is_held for block in status.blocks)
    yield _gauge("actors_blocks_held", "Blocks that an operator holds.", held)


def _of_managers(managers: Sequence[ManagerPicture]) -> Iterator[Metric]:
    states = Counter(dict.fromkeys(_MANAGER_STATES, 0))
    states.update(manager.state for manager in managers)
    yield _states("actors_managers", "Managers.", states.items())
    there = [manager for manager in managers if manager.state != "away"]
    silence = max((manager.silent for manager in there), default=0.0)
    yield _gauge(
        "actors_manager_silence_max_seconds",
        "Longest silence of a manager that is connected.",
        silence,
    )
    workers = [worker for manager in there for worker in manager.workers]
    busy = sum(bool(worker.task_id) for worker in workers)
    slots = sum(manager.slots for manager in there)
    yield _gauge("actors_worker_slots", "Worker processes that there may be.", slots)
    yield _states(
        "actors_workers",
        "Worker processes, as their managers reported last.",
        [("busy", busy), ("idle", len(workers) - busy)],
    )
    yield _gauge(
        "actors_workers_resident_memory_bytes",
        "Memory of all worker processes.",
        sum(worker.rss_bytes for worker in workers),
    )


def _of_clients(status: Snapshot) -> Iterator[Metric]:
    connected = sum(client.is_connected for client in status.clients)
    away = len(status.clients) - connected
    yield _states(
        "actors_clients", "Clients.", [("connected", connected), ("away", away)]
    )
    yield _gauge(
        "actors_results_unacknowledged",
        "Results that wait for their client.",
        sum(client.unacknowledged for client in status.clients),
    )


def _of_journal(journal: JournalPicture, told_at: float) -> Iterator[Metric]:
    yield _gauge(
        "actors_journal_lag_seconds",
        "How long what must be safe lately had to wait for the disk, at most.",
        journal.lag,
    )
    yield _gauge(
        "actors_journal_unsynced_records",
        "Records written by the interchange and not known to be on disk.",
        journal.unsynced_records,
    )
    yield _gauge(
        "actors_journal_unsynced_bytes",
        "Size of those records.",
        journal.unsynced_bytes,
    )
    yield _gauge(
        "actors_journal_disk_free_bytes",
        "Room that is left on the disk of the interchange's journal.",
        journal.free_bytes,
    )
    if journal.compacted is not None:
        yield _gauge(
            "actors_journal_compaction_timestamp_seconds",
            "When the interchange's journal was last made short, in seconds since "
            "1970.",
            told_at - journal.compacted,
        )


def _used(used: Mapping[str, Used]) -> Iterator[Metric]:
    if not used:
        return
    yield _counts(
        "actors_service_cpu_seconds",
        "Processor time of a service's process.",
        "service",
        [(name, use.cpu_seconds) for name, use in used.items()],
    )
    yield _labelled(
        "actors_service_resident_memory_bytes",
        "Memory of a service's process.",
        "service",
        [(name, use.rss_bytes) for name, use in used.items()],
    )


# Families


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, float(value))


def _labelled(
    name: str, text: str, label: str, values: Iterable[tuple[str, float]]
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values:
        family.add_metric([key], float(value))
    return family


def _states(name: str, text: str, values: Iterable[tuple[str, float]]) -> Metric:
    return _labelled(name, text, "state", values)


def _counts(
    name: str, text: str, label: str, values: Iterable[tuple[str, float]]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values:
        family.add_metric([key], float(value))
    return family
