"""Groups: supervisors of actors, as users make them. Pure.

    supervise ─► children start, one after the other ─► all up
    a child ended ─► its supervisor's machine decides: nothing, or it and some others
                     start again (the same actors: handles on them stay good), or it
                     gives up: all stop, in reverse order, and its own parent decides

The machine is that of the endpoint's root (`actors.supervisor`). An actor in a group
has no restarts of its own. While it is down its calls wait, as those of any actor that
restarts; when no supervisor above it will ever start it again it is dead.
"""

import itertools
import math
import pickle
import random
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from actors.embedded.actor_calls import Actor, Anchor
from actors.embedded.failures import closed
from actors.logic.actor_life import DeathReason, Died, LifeState
from actors.logic.restarts import RestartKind, RestartScope
from actors.logic.turn import Effect
from actors.messages import GroupOptions
from actors.refs import ObjectRef, Promise, Settled
from actors.supervisor import (
    AllStopped,
    ChildEnded,
    ChildStarted,
    ChildState,
    StartChild,
    StopAll,
    StopChild,
    Supervisor,
    SupervisorSettings,
)

__all__ = ["Group", "GroupAnchor", "Groups"]

_SCOPES: dict[str, RestartScope] = {
    "one_for_one": "one_for_one",
    "rest_for_one": "rest_for_one",
    "one_for_all": "one_for_all",
}
_NONE = pickle.dumps(None, 5)
_HOPELESS = (DeathReason.CONSTRUCTOR_FAILED, DeathReason.UNPICKLABLE)


class GroupAnchor(ObjectRef[Died]):
    """What a user's supervisor holds: when it goes, the children stop.

    Its value is how the supervisor ended.
    """

    __slots__ = ("group",)

    def __init__(self, group: "Group") -> None:
        super().__init__()
        self.group = group
        group.anchor = weakref.ref(self)

    def __del__(self) -> None:
        self.group.unwanted(self.group)


class Group:
    """One supervisor and its children, from the wish for them until all are dead.

    Args:
        group_id: its id.
        options: how it keeps its children.
        children: {name: (which of its ends call for a restart, it)}, as they start.
        unwanted: called, in any thread, when the last handle on it goes.
    """

    __slots__ = (
        "anchor",
        "children",
        "culprit",
        "group_id",
        "machine",
        "parent",
        "settings",
        "started",
        "todo",
        "unwanted",
    )

    def __init__(
        self,
        group_id: str,
        options: GroupOptions,
        children: Mapping[str, tuple[RestartKind, "Anchor | Group"]],
        unwanted: Any,
    ) -> None:
        self.group_id = group_id
        self.settings = SupervisorSettings(
            list(children),
            _SCOPES[options.restart_scope],
            options.max_restarts,
            options.period,
            options.patience,
            kinds={name: kind for name, (kind, _) in children.items()},
            first_delay=options.first_delay,
            longest_delay=options.longest_delay,
            waits_for_start=True,
        )
        # Actors by their anchors: a supervisor wants its children.
        self.children = {name: child for name, (_, child) in children.items()}
        self.unwanted = unwanted
        self.anchor: Any = None  # a weak reference
        self.parent: tuple[Group, str] | None = None  # and its own name there
        self.machine: Supervisor | None = None  # None: it does not run
        self.started: Promise = ObjectRef()  # known once all were up together
        self.todo: deque[Effect] = deque()
        self.culprit: Actor | None = None  # the last that ended without meaning to
        for name, child in self.children.items():
            if isinstance(child, Group):
                child.parent = (self, name)
            else:
                child.actor.group = (self, name)

    @property
    def root(self) -> "Group":
        return self if self.parent is None else self.parent[0].root

    def actors(self) -> list[Actor]:
        """Return all actors in it and in the groups in it, as they start."""
        found: list[Actor] = []
        for child in self.children.values():
            found += child.actors() if isinstance(child, Group) else [child.actor]
        return found

    def may_return(self, name: str) -> bool:
        """Tell whether somebody may start a child of this name again."""
        machine = self.machine
        if machine is not None:
            if machine.children[name].state is ChildState.DONE:
                return False
            if not machine.is_stopping:
                return True
        if self.parent is None:
            return False
        parent, own_name = self.parent
        return parent.may_return(own_name)


class _Directory(Protocol):
    """What is needed of `Directory`."""

    def begin(self, actor: Actor, now: float) -> None: ...
    def ask_to_end(self, actor: Actor) -> None: ...
    def kill_process(self, actor: Actor) -> None: ...
    def give_up(self, actor: Actor, reason: DeathReason, why: str) -> None: ...
    def death_of(self, actor: Actor) -> Settled: ...
    def settle(self, promise: Promise, outcome: bytes | Settled) -> None: ...
    def settle_died(self, promise: Promise, died: Died) -> None: ...


class Groups:
    """The machine; see the module's docstring.

    Args:
        directory: of the actors.
        chance: for the delays between restarts.
    """

    def __init__(self, directory: _Directory, chance: random.Random) -> None:
        self._directory = directory
        self._chance = chance
        self.numbers = itertools.count(1)
        self.live: dict[Group, None] = {}  # those whose machine runs

    @property
    def wake_at(self) -> float:
        """When `place` is wanted next; infinity: only events matter."""
        return min((_machine(group).wake_at for group in self.live), default=math.inf)

    def begin(self, group: Group, now: float) -> None:
        """Have a supervisor start its children."""
        group.machine = Supervisor(group.settings, self._chance, now)
        self.live[group] = None

    def stop(self, group: Group, why: str, now: float, *, hurry: bool = False) -> None:
        """Stop the children in reverse order, then the supervisor."""
        if group in self.live:
            self._tell(group, StopAll(why, hurry), now)

    def constructed(self, actor: Actor, now: float) -> None:
        """Note that a child's constructor has returned."""
        assert actor.group is not None
        assert actor.host is not None
        group, name = actor.group
        self._tell(group, ChildStarted(name, actor.host.pid), now)
        self._look_whether_up(group, now)

    def ended(
        self, actor: Actor, reason: DeathReason, how: str, now: float
    ) -> tuple[bool, str]:
        """Note that a child's incarnation is over.

        Returns:
            (whether another may follow, why all supervisors end if they do so).
        """
        assert actor.group is not None
        group, name = actor.group
        is_normal = reason is DeathReason.EXITED
        root = group.root
        if not is_normal:
            root.culprit = actor
        # As in OTP: what fails in the first start ends it; later it is tried again.
        is_hopeless = reason in _HOPELESS and root.started.outcome is None
        if group in self.live:
            self._tell(group, ChildEnded(name, how, is_hopeless, is_normal), now)
            self._look_whether_up(group, now)
        why = root.machine.reason if root.machine is not None else ""
        return group.may_return(name), f"its supervisor ended: {why}" if why else ""

    def place(self, now: float) -> None:
        """Do what is due, and what the machines have decided."""
        while True:
            for group in list(self.live):
                machine = _machine(group)
                if machine.wake_at <= now:
                    group.todo.extend(machine.tick(now).effects)
            busy = [group for group in self.live if group.todo]
            if not busy:
                return
            for group in busy:
                while group.todo:
                    self._perform(group, group.todo.popleft(), now)

    def _tell(self, group: Group, message: object, now: float) -> None:
        group.todo.extend(_machine(group).handle(message, "", now).effects)

    def _look_whether_up(self, group: Group, now: float) -> None:
        if not _machine(group).is_up:
            return
        if group.parent is None and group.started.outcome is None:
            self._directory.settle(group.started, _NONE)
        if group.parent is not None and group.parent[0] in self.live:
            parent, name = group.parent
            self._tell(parent, ChildStarted(name, 0), now)
            self._look_whether_up(parent, now)

    def _perform(self, group: Group, effect: Effect, now: float) -> None:
        directory = self._directory
        match effect:
            case StartChild(name):
                child = group.children[name]
                if isinstance(child, Group):
                    self.begin(child, now)
                else:
                    directory.begin(child.actor, now)
            case StopChild(name, is_kill):
                child = group.children[name]
                if isinstance(child, Group):
                    self.stop(child, "", now, hurry=is_kill)
                elif is_kill:
                    directory.kill_process(child.actor)
                else:
                    directory.ask_to_end(child.actor)
            case AllStopped(reason):
                self._all_stopped(group, reason, now)
            case _:
                raise AssertionError(f"nobody carries out {effect}")

    def _all_stopped(self, group: Group, reason: str, now: float) -> None:
        del self.live[group]
        if group.parent is not None and group.parent[0] in self.live:
            parent, name = group.parent
            is_hopeless = bool(reason) and group.root.started.outcome is None
            ended = ChildEnded(name, reason or "stopped", is_hopeless, not reason)
            self._tell(parent, ended, now)
            self._look_whether_up(parent, now)
            if parent.may_return(name):
                return
        root, culprit = group.root, group.root.culprit
        why = f"its supervisor ended: {reason}" if reason else ""
        self._end(group, why or "its supervisor was stopped", is_forced=bool(reason))
        if root.started.outcome is None:
            outcome = closed("the supervisor was stopped before all had started")
            if reason and culprit is not None:
                outcome = self._directory.death_of(culprit)
            self._directory.settle(root.started, outcome)
        if group is root:
            self._bury(group, reason)

    def _end(self, group: Group, why: str, *, is_forced: bool) -> None:
        """Let go of all that nobody will start again."""
        death = DeathReason.OWNER_DIED if is_forced else DeathReason.EXITED
        for actor in group.actors():
            if actor.life.state is not LifeState.DEAD:
                self._directory.give_up(actor, death, why)

    def _bury(self, root: Group, reason: str) -> None:
        anchor = root.anchor() if root.anchor is not None else None
        if anchor is not None and anchor.outcome is None:
            death = DeathReason.RESTARTS_EXCEEDED if reason else DeathReason.EXITED
            text = reason or "it was stopped"
            died = Died(root.group_id, 1, death, True, text)
            self._directory.settle_died(anchor, died)
        # No circle shall keep what the children had.
        root.children = {}

    def close(self, why: str) -> None:
        """Forget all groups; nobody is stopped any more."""
        for group in list(self.live):
            if group.parent is None:
                if group.started.outcome is None:
                    self._directory.settle(group.started, closed(why))
                self._bury(group, why)
        self.live.clear()

    def check(self) -> None:
        """Raise AssertionError if a machine contradicts itself or its children."""
        for group in self.live:
            machine = _machine(group)
            machine.check()
            for name, child in group.children.items():
                state = machine.children[name].state
                is_down = state in (ChildState.STOPPED, ChildState.DONE)
                if isinstance(child, Group):
                    assert (child in self.live) != is_down or child.todo, name
                elif is_down:
                    assert child.actor.host is None, f"{name} runs though it is {state}"


def _machine(group: Group) -> Supervisor:
    assert group.machine is not None, "it does not run"
    return group.machine
