"""Supervisor: starts child processes in order, restarts the crashed, gives up in time.

OTP's terms. `one_for_one` restarts the crashed child alone, `rest_for_one` also those
started after it, `one_for_all` everybody. A group that needs more than `max_restarts`
restarts within `period` is given up: all children are stopped, in reverse order of
their start, and the supervisor itself ends with the reason.

    stopped ──StartChild──► starting ──ChildStarted──► running ──ChildEnded──► (restart)
    running ──StopChild(ask)──► stopping ──after `patience`, StopChild(kill)──► stopped
    running ──ChildEnded──► done, if its restart kind says that nobody wants it back

A *dispensable* child never costs the others anything: it has a budget and waits of its
own, and when that is used up it alone is given up.

Pure; a shell makes the processes. A restart goes through the clock, and a stop request
that comes first overtakes it. The children of an endpoint start without waiting for
each other (`waits_for_start`); those of users' supervisors one after the other, as
OTP's.
"""

import enum
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from actors.logic.restarts import RestartBudget, RestartKind, RestartScope
from actors.logic.turn import Admission, Effect, Turn
from actors.messages import ActorRestarted, Hello, Notice

__all__ = [
    "AllStopped",
    "ChildEnded",
    "ChildStanding",
    "ChildStarted",
    "ChildState",
    "Standing",
    "StartChild",
    "StopAll",
    "StopChild",
    "Supervisor",
    "SupervisorSettings",
]


class SupervisorSettings(msgspec.Struct, frozen=True):
    """How a group of children is kept alive.

    Args:
        children: their names, in the order of their start.
        restart_scope: who is restarted with a crashed child.
        max_restarts: more than this within `period` is too much.
        period: seconds.
        patience: seconds between asking a child to stop and killing it.
        dispensable: those of the children that the others can do without.
        kinds: {name: which of its ends call for a restart}; left out: permanent.
        first_delay: seconds before the first restart after a quiet period.
        longest_delay: seconds before a restart, at most; default: half the period, at
            most 5 s.
        waits_for_start: whether each child starts only when the one before is up.
    """

    children: Sequence[str]
    restart_scope: RestartScope = "one_for_one"
    max_restarts: int = 5
    period: float = 30.0
    patience: float = 5.0
    dispensable: Sequence[str] = ()
    kinds: Mapping[str, RestartKind] = msgspec.field(default_factory=dict)
    first_delay: float = 0.05
    longest_delay: float | None = None
    waits_for_start: bool = False


class StartChild(Effect, frozen=True):
    """Make the process; answered with `ChildStarted`, in the end `ChildEnded`."""

    name: str


class StopChild(Effect, frozen=True):
    """End the process: ask it first, `is_kill` if that was in vain."""

    name: str
    is_kill: bool


class AllStopped(Effect, frozen=True):
    """No child is left; the supervisor is done.

    Args:
        reason: why; empty: it was asked to stop.
    """

    reason: str


class ChildStarted(msgspec.Struct, frozen=True):
    name: str
    pid: int


class ChildEnded(msgspec.Struct, frozen=True):
    """A child's process is gone.

    Args:
        name: of the child.
        how: for people: "exit code 1", "signal 9 (SIGKILL)".
        is_hopeless: whether it said itself that a restart would not help.
        is_normal: whether it meant to end.
        is_counted: whether its restart is one of those allowed within the period; not
            so if it fell with another that is counted, as when a node is lost.
    """

    name: str
    how: str
    is_hopeless: bool = False
    is_normal: bool = False
    is_counted: bool = True


class StopAll(msgspec.Struct, frozen=True):
    """Stop everything, in reverse order of the start.

    Args:
        reason: why; empty: somebody asked.
        hurry: kill at once instead of asking.
    """

    reason: str = ""
    hurry: bool = False


class ChildState(enum.Enum):
    """Where a child is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"  # it ended, and nobody wants it back, or it was given up


class ChildStanding(msgspec.Struct, frozen=True):
    """How a child stands, for a successor.

    Args:
        state: where it is in its life.
        restarts: so far.
        is_killed: whether its process was not only asked to end.
    """

    state: ChildState
    restarts: int = 0
    is_killed: bool = False


class Standing(msgspec.Struct, frozen=True):
    """How a supervisor without dispensable children stands, for a successor.

    Args:
        is_stopping: whether all shall end.
        reason: why; empty: somebody asked.
        restart_at: when those that are stopped may start, in monotonic seconds.
        delay: before the last restart, in seconds, without jitter.
        crashes: that count, in monotonic seconds, oldest first.
        children: {name: how it stands}.
    """

    is_stopping: bool
    reason: str
    restart_at: float
    delay: float
    crashes: Sequence[float]
    children: Mapping[str, ChildStanding]


# With a process, which nobody has asked to end.
_UP = (ChildState.STARTING, ChildState.RUNNING)
_ON_THE_WAY = (ChildState.STARTING, ChildState.STOPPING)
# Without one.
_DOWN = (ChildState.STOPPED, ChildState.DONE)


class _Child:
    __slots__ = ("budget", "kill_at", "name", "pid", "restart_at", "restarts", "state")

    def __init__(self, name: str, budget: RestartBudget | None, now: float) -> None:
        self.name = name
        self.state = ChildState.STOPPED
        self.kill_at = math.inf
        self.restarts = 0
        self.pid = 0
        # Of a dispensable one.
        self.budget = budget
        self.restart_at = now


class Supervisor:
    """The machine; see the module's docstring."""

    def __init__(
        self, settings: SupervisorSettings, chance: random.Random, now: float
    ) -> None:
        self.settings = settings
        self.is_stopping = False
        self.reason = ""  # why it stops; empty: it was asked to, or does not
        self._is_over = False

        def budget() -> RestartBudget:
            return RestartBudget(
                settings.max_restarts,
                settings.period,
                chance,
                first_delay=settings.first_delay,
                longest_delay=settings.longest_delay,
            )

        self._budget = budget()
        dispensable = settings.dispensable
        self.children = {
            name: _Child(name, budget() if name in dispensable else None, now)
            for name in settings.children
        }
        self._restart_at = now

    def standing(self) -> Standing:
        """Return what a successor needs to know."""
        delay, crashes = self._budget.standing()
        return Standing(
            self.is_stopping,
            self.reason,
            self._restart_at,
            delay,
            crashes,
            {
                child.name: ChildStanding(
                    child.state,
                    child.restarts,
                    child.state is ChildState.STOPPING and child.kill_at == math.inf,
                )
                for child in self.children.values()
            },
        )

    def resume(self, standing: Standing, now: float) -> None:
        """Go on where a predecessor was, whose children have lived on.

        Args:
            standing: its own; a child that is not in it has not started.
            now: monotonic seconds: who was asked to end has all its time again.
        """
        self.is_stopping, self.reason = standing.is_stopping, standing.reason
        self._restart_at = standing.restart_at
        self._budget.resume(standing.delay, standing.crashes)
        for name, was in standing.children.items():
            child = self.children[name]
            assert child.budget is None, f"{name} is dispensable"
            child.state, child.restarts = was.state, was.restarts
            if was.state is ChildState.STOPPING and not was.is_killed:
                child.kill_at = now + self.settings.patience

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Refuse everybody: a supervisor has no door."""
        return Admission("", "a supervisor admits nobody"), Turn()

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take what the shell tells of the children, or a request to stop."""
        turn = Turn()
        match message:
            case ChildStarted(name, pid):
                child = self.children[name]
                child.pid = pid
                if child.state is ChildState.STARTING:
                    child.state = ChildState.RUNNING
            case ChildEnded():
                self._ended(self.children[message.name], message, now, turn)
            case StopAll(reason, hurry):
                self.stop(reason, now, turn, hurry=hurry)
        return turn

    def tick(self, now: float) -> Turn:
        """Start what is due, kill what was asked in vain."""
        turn = Turn()
        if self._start_at() <= now:
            waits = self.settings.waits_for_start
            for child in self.children.values():
                if child.state is ChildState.STOPPED and (
                    self._restarts_at(child) <= now
                ):
                    child.state = ChildState.STARTING if waits else ChildState.RUNNING
                    turn.effects.append(StartChild(child.name))
                    if waits:
                        break
        for child in self.children.values():
            if child.kill_at <= now:
                child.kill_at = math.inf
                turn.effects.append(StopChild(child.name, is_kill=True))
        return turn

    @property
    def wake_at(self) -> float:
        return min(self._start_at(), *(c.kill_at for c in self.children.values()))

    def _start_at(self) -> float:
        """When the stopped ones start, in order: once nobody is on the way."""
        children = self.children.values()
        if self.is_stopping or any(c.state in _ON_THE_WAY for c in children):
            return math.inf
        stopped = (c for c in children if c.state is ChildState.STOPPED)
        return min(map(self._restarts_at, stopped), default=math.inf)

    def _restarts_at(self, child: _Child) -> float:
        return child.restart_at if child.budget is not None else self._restart_at

    @property
    def is_up(self) -> bool:
        """Whether all run that should."""
        wanted = (ChildState.RUNNING, ChildState.DONE)
        return all(child.state in wanted for child in self.children.values())

    def stop(self, reason: str, now: float, turn: Turn, *, hurry: bool = False) -> None:
        """Stop all children; a second request with `hurry` kills them at once."""
        if not self.is_stopping:
            self.is_stopping = True
            self.reason = reason
        if hurry:
            for child in self.children.values():
                if child.state not in _DOWN:
                    child.state, child.kill_at = ChildState.STOPPING, math.inf
                    turn.effects.append(StopChild(child.name, is_kill=True))
        self._stop_next(now, turn)

    def _stop_next(self, now: float, turn: Turn) -> None:
        """Ask the last one that still runs; each waits for those after it."""
        for child in reversed(self.children.values()):
            if child.state is ChildState.STOPPING:
                return
            if child.state in _UP:
                self._ask(child, now, turn)
                return
        if not self._is_over:
            self._is_over = True
            turn.effects.append(AllStopped(self.reason))

    def _ask(self, child: _Child, now: float, turn: Turn) -> None:
        child.state = ChildState.STOPPING
        child.kill_at = now + self.settings.patience
        turn.effects.append(StopChild(child.name, is_kill=False))

    def _ended(self, child: _Child, ended: ChildEnded, now: float, turn: Turn) -> None:
        how = ended.how
        kind = self._kind(child)
        was_asked = child.state is ChildState.STOPPING
        child.state, child.kill_at, child.pid = ChildState.STOPPED, math.inf, 0
        if self.is_stopping:
            self._stop_next(now, turn)
            return
        if kind == "temporary" and not ended.is_hopeless:
            child.state = ChildState.DONE
            return
        if was_asked:
            # It went down for another's sake, and starts again with it.
            return
        if child.budget is not None:
            self._lost(child, child.budget, ended, now, turn)
            return
        if ended.is_hopeless:
            self.stop(f"{child.name} cannot run: {how}", now, turn)
            return
        if kind == "transient" and ended.is_normal:
            child.state = ChildState.DONE
            return
        delay = self._budget.crashed(now) if ended.is_counted else 0.0
        if delay is None:
            settings = self.settings
            self.stop(
                f"{child.name} ended again ({how}): more than {settings.max_restarts} "
                f"restarts within {settings.period:g} s",
                now,
                turn,
            )
            return
        child.restarts += 1
        turn.events.append(ActorRestarted(child.name, how, child.restarts))
        self._restart_at = max(self._restart_at, now + delay)
        for other in self._affected(child):
            if other.state in _UP:
                self._ask(other, now, turn)
            elif other.state is ChildState.DONE and self._kind(other) == "transient":
                # As OTP's: what starts anew starts with all that it began with.
                other.state = ChildState.STOPPED

    def _kind(self, child: _Child) -> RestartKind:
        return self.settings.kinds.get(child.name, "permanent")

    def _lost(
        self,
        child: _Child,
        budget: RestartBudget,
        ended: ChildEnded,
        now: float,
        turn: Turn,
    ) -> None:
        """Restart a dispensable child, or do without it; the others go on."""
        how = ended.how
        delay = None if ended.is_hopeless else budget.crashed(now)
        if delay is None:
            child.state = ChildState.DONE
            text = f"{child.name} is given up, everything else goes on: {how}"
            turn.events.append(Notice("error", text))
            return
        child.restarts += 1
        child.restart_at = now + delay
        turn.events.append(ActorRestarted(child.name, how, child.restarts))

    def _affected(self, child: _Child) -> list[_Child]:
        """Those that go down with a child, last started first."""
        everybody = list(self.children.values())
        match self.settings.restart_scope:
            case "one_for_one":
                return []
            case "rest_for_one":
                return everybody[: everybody.index(child) : -1]
            case "one_for_all":
                return [c for c in reversed(everybody) if c is not child]

    def check(self) -> None:
        """Raise AssertionError if a child is in two minds."""
        for child in self.children.values():
            if child.state is not ChildState.STOPPING:
                assert child.kill_at == math.inf, child.name
