"""An endpoint's machines on a clock of their own, with simulated jobs and workers.

Messages arrive at once and in order; what takes time is the batch system's queue, the
start of a manager, and the tasks. Nothing fails here: that is `tests/simulation`.
"""

import bisect
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.provider import (
    CancelJobs,
    JobEndSeen,
    JobReport,
    JobsPolled,
    JobSubmitted,
    PollJobs,
    Provider,
    ProviderSettings,
    SubmitJob,
)
from actors.endpoint.strategy import Strategy, StrategySettings
from actors.logic.liveness import Tempo
from actors.logic.scaling import Bounds, StrategyKind
from actors.logic.turn import Answered, Effect, Knock, Machine, Turn
from actors.messages import (
    PROTOCOL,
    AckResults,
    BlockId,
    BlocksHeld,
    BlockState,
    CancelBlocks,
    Finished,
    Goodbye,
    Hello,
    LaunchBlocks,
    Lease,
    Leased,
    LoadReported,
    Outcome,
    Published,
    Results,
    Stop,
    Submit,
    Task,
    TaskId,
    TaskState,
    Welcome,
)
from tests.simulate_scaling.traces import Arrival

__all__ = ["Decider", "Setup", "Sighting", "Stage", "Story"]

# Nobody dies here, so no heart need beat.
_CALM = Tempo(1e9, 1e10)
_CLIENT = "client:c"
# How much longer than with one worker a trace may take. Chosen: for queues.
_PATIENCE = 10_000.0


@dataclass(frozen=True)
class Setup:
    """The cluster, and what the operator allows.

    Args:
        bounds: of blocks; slots per block are those of one manager.
        queue_time: seconds from a job's submission to its start.
        start_time: seconds from a job's start until its manager has joined.
        period: seconds between two decisions, and two looks at the batch system.
    """

    bounds: Bounds = Bounds(0, 10, 4)
    queue_time: float = 60.0
    start_time: float = 10.0
    period: float = 5.0


@dataclass(frozen=True)
class Sighting:
    """How it was from a moment on."""

    at: float
    demand: int  # tasks that are not finished
    slots: int  # of jobs that run
    busy: int  # of them
    blocks: int  # jobs that wait or run


@dataclass
class Story:
    """What came of a trace.

    Args:
        sightings: in order of time, one for each change.
        starts, stops: when blocks were launched, and when ended; a moment for each.
        waits: how long each task waited until it ran.
    """

    sightings: list[Sighting] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    slot_seconds: float = 0.0
    busy_seconds: float = 0.0

    @property
    def utilisation(self) -> float:
        """The share of the time of all slots in which they were busy."""
        return self.busy_seconds / self.slot_seconds if self.slot_seconds else 1.0

    @property
    def mean_wait(self) -> float:
        return sum(self.waits) / len(self.waits) if self.waits else 0.0

    def seen_before(self, at: float) -> Sighting:
        """Tell how it was at a moment, before what that changed."""
        place = bisect.bisect_left(self.sightings, at, key=lambda s: s.at)
        return self.sightings[place - 1] if place else Sighting(0.0, 0, 0, 0, 0)

    def flaps(self, idle_time: float) -> list[tuple[float, float]]:
        """List stops with a start within `idle_time` after, for no more demand."""
        found = []
        for start in self.starts:
            stop = max((s for s in self.stops if s < start), default=-math.inf)
            had, has = self.seen_before(stop).demand, self.seen_before(start).demand
            if start < stop + idle_time and has <= had:
                found.append((stop, start))
        return found


class Decider(Protocol):
    """Who decides in place of the strategy."""

    @property
    def wake_at(self) -> float: ...
    def tick(self, now: float, stage: "Stage") -> None: ...


@dataclass
class _Job:
    """A job of one node, and its manager."""

    block_id: BlockId
    slots: int
    state: BlockState = BlockState.PENDING
    has_joined: bool = False
    running: dict[TaskId, Leased] = field(default_factory=dict)

    @property
    def peer(self) -> str:
        return f"manager:{self.block_id}.0"


class Stage:
    """One trace, played to its end.

    Args:
        trace: what comes.
        setup: of the cluster.
        kind: of the strategy; ignored if somebody else decides.
        decider: who decides in its place.
    """

    def __init__(
        self,
        trace: Sequence[Arrival],
        setup: Setup,
        kind: StrategyKind = "simple",
        decider: Decider | None = None,
    ) -> None:
        chance = random.Random(0)
        self.now = 0.0
        self.setup = setup
        self.story = Story()
        self.jobs: dict[BlockId, _Job] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._mail: deque[tuple[str, Any, str]] = deque()
        self._durations: dict[TaskId, float] = {}
        self._arrived_at: dict[TaskId, float] = {}
        settings = InterchangeSettings("stage", "e", "t", "3.11", _CALM)
        self.interchange = Interchange(settings, 0.0)
        self.provider = Provider(
            ProviderSettings(setup.period, 1e9, "p", "t", "3.11"), chance, 0.0
        )
        self.machines: dict[str, Machine] = {
            "interchange": self.interchange,
            "provider": self.provider,
        }
        self._decider = decider
        if decider is None:
            strategy = StrategySettings(
                kind, setup.bounds, 0, setup.period, "s", "t", "3.11"
            )
            self.machines["strategy"] = Strategy(strategy, chance, 0.0)
        else:
            self._take("provider", self.provider.admit(_hello("strategy"), 0.0)[1])
        self._take("interchange", self.interchange.admit(_hello("client", "c"), 0.0)[1])
        self._left = len(trace)
        work = sum(arrival.duration for arrival in trace)
        last = max((arrival.at for arrival in trace), default=0.0)
        self._patience = last + work + _PATIENCE
        for number, arrival in enumerate(trace):
            task_id = TaskId(f"t{number}")
            self._durations[task_id] = arrival.duration
            self._arrived_at[task_id] = arrival.at
            self._after(arrival.at, lambda task_id=task_id: self._submit(task_id))  # type: ignore[misc]

    def play(self, idle_tail: float = 600.0) -> Story:
        """Play until all tasks have ended, and `idle_tail` seconds more."""
        end = math.inf
        while self.now < end:
            self._settle()
            if not self._left and end == math.inf:
                end = self.now + idle_tail
            wake_at = min(machine.wake_at for machine in self.machines.values())
            if self._decider is not None:
                wake_at = min(wake_at, self._decider.wake_at)
            due = self._events[0][0] if self._events else math.inf
            assert self.now < self._patience, "tasks that nobody runs are left"
            self._pass_time(max(self.now, min(wake_at, due, end)))
            if due <= self.now:
                heapq.heappop(self._events)[2]()
                continue
            for name, machine in self.machines.items():
                if machine.wake_at <= self.now:
                    self._take(name, machine.tick(self.now))
            if self._decider is not None and self._decider.wake_at <= self.now:
                self._decider.tick(self.now, self)
        return self.story

    def order(self, order: LaunchBlocks | CancelBlocks) -> None:
        """Give the provider an order, as its strategy does."""
        if isinstance(order, CancelBlocks):
            self.story.stops += [self.now] * len(order.block_ids)
        self._mail.append(("provider", order, "strategy"))

    # Time and mail

    def _after(self, delay: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), event))

    def _pass_time(self, until: float) -> None:
        sighting = self._look()
        self.story.slot_seconds += sighting.slots * (until - self.now)
        self.story.busy_seconds += sighting.busy * (until - self.now)
        # A little later than asked for: time passes between two rounds.
        self.now = until + 1e-6

    def _look(self) -> Sighting:
        running = [j for j in self.jobs.values() if j.state is BlockState.RUNNING]
        seen = Sighting(
            self.now,
            len(self.interchange.ledger.entries),
            sum(job.slots for job in running),
            sum(len(job.running) for job in running),
            sum(job.state.is_active for job in self.jobs.values()),
        )
        story = self.story.sightings
        if not story or story[-1] != Sighting(story[-1].at, *_numbers(seen)):
            story.append(seen)
        return seen

    def _settle(self) -> None:
        while self._mail:
            name, message, sender = self._mail.popleft()
            if name.startswith("manager:"):
                self._tell_manager(name, message)
            elif name == _CLIENT:
                self._tell_client(message)
            elif name in self.machines:
                machine = self.machines[name]
                self._take(name, machine.handle(message, sender, self.now))

    def _take(self, name: str, turn: Turn) -> None:
        """Let happen what a machine wants."""
        for peer, message in (*turn.sends, *turn.eager, *turn.promises):
            kind, _, _ = peer.partition(":")
            is_member = kind in ("client", "manager")
            sender = f"{name}:{name}" if peer == "interchange" else name
            self._note(message)
            self._mail.append((peer if is_member else kind, message, sender))
        for event in turn.events:
            if name == "interchange" and isinstance(event, LoadReported):
                told = Published("e", 0, self.now, name, event)
                self._mail.append(("strategy", told, "events"))
        for effect in turn.effects:
            self._do(name, effect)

    def _note(self, message: object) -> None:
        match message:
            case BlocksHeld(block_ids):
                self.story.stops += [self.now] * len(block_ids)

    def _do(self, name: str, effect: Effect) -> None:
        match effect:
            case Knock(door, hello):
                host = self.machines[door]
                _, turn = host.admit(hello, self.now)
                welcome = Welcome("", "e", _CALM.period, _CALM.threshold, 1 << 20)
                self._mail.append((name, Answered(door, welcome), ""))
                self._take(door, turn)
            case SubmitJob(block_id):
                self._submit_job(block_id)
            case PollJobs(jobs):
                reports = {b: JobReport(self.jobs[b].state) for b in jobs}
                self._mail.append(("provider", JobsPolled(reports), ""))
            case CancelJobs(jobs):
                for block_id in jobs:
                    self._end_job(self.jobs[block_id], BlockState.CANCELLED)

    # Tasks

    def _submit(self, task_id: TaskId) -> None:
        task = Task(task_id, b"", b"", 0.0)
        self._mail.append(("interchange", Submit([task]), _CLIENT))

    def _tell_client(self, message: object) -> None:
        match message:
            case Results(outcomes):
                self._left -= len(outcomes)
                assert all(o.state is TaskState.SUCCESS for o in outcomes), outcomes
                acks = AckResults([outcome.task_id for outcome in outcomes])
                self._mail.append(("interchange", acks, _CLIENT))

    # Jobs and their managers

    def _submit_job(self, block_id: BlockId) -> None:
        job = _Job(block_id, self.setup.bounds.slots_per_block)
        self.jobs[block_id] = job
        self.story.starts.append(self.now)
        self._mail.append(("provider", JobSubmitted(block_id, f"job {block_id}"), ""))
        self._after(self.setup.queue_time, lambda: self._start_job(job))

    def _start_job(self, job: _Job) -> None:
        if job.state is BlockState.PENDING:
            job.state = BlockState.RUNNING
            self._mail.append(("provider", JobEndSeen(), ""))
            self._after(self.setup.start_time, lambda: self._join(job))

    def _join(self, job: _Job) -> None:
        if job.state is BlockState.RUNNING:
            hello = _hello(
                "manager", f"{job.block_id}.0", block_id=job.block_id, slots=job.slots
            )
            admission, turn = self.interchange.admit(hello, self.now)
            self._take("interchange", turn)
            if not admission.peer:
                self._end_job(job, BlockState.FAILED)

    def _end_job(self, job: _Job, state: BlockState) -> None:
        if job.state.is_active:
            job.state = state
            job.running.clear()
            self._mail.append(("provider", JobEndSeen(), ""))

    def _tell_manager(self, peer: str, message: object) -> None:
        block_id = BlockId(peer.removeprefix("manager:").removesuffix(".0"))
        job = self.jobs[block_id]
        if job.state is not BlockState.RUNNING:
            return
        match message:
            case Lease(tasks):
                for leased in tasks:
                    job.running[leased.task_id] = leased
                    waited = self.now - self._arrived_at[leased.task_id]
                    self.story.waits.append(waited)
                    self._after(
                        self._durations[leased.task_id],
                        lambda leased=leased: self._finish(job, leased),  # type: ignore[misc]
                    )
                assert len(job.running) <= job.slots
            case Stop(reason):
                self._mail.append(("interchange", Goodbye(reason), peer))
                self._end_job(job, BlockState.COMPLETED)

    def _finish(self, job: _Job, leased: Leased) -> None:
        if job.running.pop(leased.task_id, None) is None:
            return
        outcome = Outcome(leased.task_id, leased.attempt, TaskState.SUCCESS, b"")
        self._mail.append(("interchange", Finished([outcome]), job.peer))


def _numbers(sighting: Sighting) -> tuple[int, int, int, int]:
    return sighting.demand, sighting.slots, sighting.busy, sighting.blocks


def _hello(kind: Any, member_id: str = "", **more: Any) -> Hello:
    name = member_id or kind
    return Hello(kind, name, f"i-{name}", PROTOCOL, "3.11", "t", **more)
