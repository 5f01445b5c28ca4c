"""Groups: supervisors of actors, as users make them. Pure.

    begin ─► children start, one after the other ─► all up
    a child ended ─► its supervisor's machine decides: nothing, or it and some others
                     start again (the same actors: handles on them stay good), or it
                     gives up: all stop, in reverse order, and its own parent decides

The machine is that of the endpoint's root (`actors.supervisor`). An actor in a group
has no restarts of its own. While it is down its calls wait, as those of any actor that
restarts; when no supervisor above it will ever start it again it is dead.

Embedded and on an endpoint alike: what is decided here is done by the keeper of the
actors, the directory of one program or the roster of an interchange.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from actors.logic.actor_life import ActorLife, DeathReason, LifeState
from actors.logic.restarts import RestartKind
from actors.logic.turn import Effect
from actors.messages import GroupOptions
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

__all__ = ["Group", "Groups", "Keeper", "Member"]

_HOPELESS = (DeathReason.CONSTRUCTOR_FAILED, DeathReason.UNPICKLABLE)


class Member(Protocol):
    """What a group needs of an actor.

    `group` is the group that it is in, and its name there; None: it restarts by itself.
    """

    life: ActorLife
    group: Any


M = TypeVar("M", bound=Member)
M_contra = TypeVar("M_contra", bound=Member, contravariant=True)


class _AllUp(Effect, frozen=True):
    """All that the outermost supervisor keeps were up together for the first time."""


class Group(Generic[M]):
    """One supervisor and its children, from the wish for them until all are dead.

    Args:
        group_id: its id.
        options: how it keeps its children.
        children: {name: (which of its ends call for a restart, it)}, as they start.
    """

    def __init__(
        self,
        group_id: str,
        options: GroupOptions,
        children: "Mapping[str, tuple[RestartKind, M | Group[M]]]",
    ) -> None:
        self.group_id = group_id
        self.options = options
        self.settings = SupervisorSettings(
            list(children),
            options.restart_scope,
            options.max_restarts,
            options.period,
            options.patience,
            kinds={name: kind for name, (kind, _) in children.items()},
            first_delay=options.first_delay,
            longest_delay=options.longest_delay,
            waits_for_start=True,
        )
        self.children = {name: child for name, (_, child) in children.items()}
        self.parent: tuple[Group[M], str] | None = None  # and its own name there
        self.machine: Supervisor | None = None  # None: it never ran
        # Of the outermost one: whether it is known how its start went.
        self.is_start_over = False
        self.culprit: M | None = None  # the last that ended without meaning to
        self.todo: deque[Effect] = deque()
        for name, child in self.children.items():
            if isinstance(child, Group):
                child.parent = (self, name)
            else:
                child.group = (self, name)

    @property
    def root(self) -> "Group[M]":
        return self if self.parent is None else self.parent[0].root

    def tree(self) -> "Iterator[Group[M]]":
        """Give it, and the groups in it."""
        yield self
        for child in self.children.values():
            if isinstance(child, Group):
                yield from child.tree()

    def actors(self) -> list[M]:
        """Return all actors in it and in the groups in it, as they start."""
        found: list[M] = []
        for child in self.children.values():
            if isinstance(child, Group):
                found += child.actors()
            else:
                found.append(child)
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


class Keeper(Protocol[M_contra]):
    """Who does what groups decide."""

    def begin(self, actor: M_contra, now: float) -> None:
        """Start an actor's process, for the first time or again."""

    def ask_to_end(self, actor: M_contra, now: float) -> None:
        """Have an actor's process end once it has run what it has.

        If it has none, it shall get none; then say so by `Groups.fell`.
        """

    def kill_process(self, actor: M_contra, now: float) -> None:
        """Kill an actor's process; else as `ask_to_end`."""

    def give_up(self, actor: M_contra, reason: DeathReason, why: str) -> None:
        """Let an actor without a process be dead: no supervisor will start it."""

    def all_up(self, root: Any) -> None:
        """Tell that all in an outermost group were up together."""

    def start_failed(self, root: Any, reason: str) -> None:
        """Tell that they never will be.

        Args:
            root: the outermost group; its `culprit`, if any, is to blame.
            reason: for people; empty: it was asked to stop.
        """

    def all_over(self, root: Any, reason: str) -> None:
        """Tell that an outermost group has ended; see `start_failed`."""


class Groups(Generic[M]):
    """The machine; see the module's docstring.

    Args:
        chance: for the delays between restarts.
        note: told of every group whose machine may stand otherwise than before.
    """

    def __init__(
        self, chance: random.Random, note: "Callable[[Group[M]], object] | None" = None
    ) -> None:
        self._chance = chance
        self._note = note
        self.live: dict[Group[M], None] = {}  # those whose machine runs
        self._place_at = math.inf

    @property
    def wake_at(self) -> float:
        """When `place` is wanted next; infinity: only events matter."""
        return self._place_at

    def begin(self, group: Group[M], now: float) -> None:
        """Have a supervisor start its children."""
        group.machine = Supervisor(group.settings, self._chance, now)
        self.live[group] = None
        self._changed(group)

    def resume(self, group: Group[M], machine: Supervisor) -> None:
        """Let a supervisor run on that ran in another process."""
        group.machine = machine
        self.live[group] = None
        self._place_at = -math.inf

    def stop(
        self, group: Group[M], why: str, now: float, *, hurry: bool = False
    ) -> None:
        """Stop the children in reverse order, then the supervisor."""
        if group in self.live:
            self._tell(group, StopAll(why, hurry), now)

    def constructed(self, actor: M, pid: int, now: float) -> None:
        """Note that a child's constructor has returned."""
        group, name = actor.group
        self._started(group, name, pid, now)

    def ended(
        self,
        actor: M,
        reason: DeathReason,
        message: str,
        now: float,
        *,
        is_counted: bool = True,
    ) -> str:
        """Note that a child's incarnation is over; its life goes on, or is over, too.

        Args:
            actor: whose.
            reason: why.
            message: the same for people.
            now: monotonic seconds.
            is_counted: whether a restart is one of those that a supervisor allows.

        Returns:
            The message, and if no other incarnation follows, why not.
        """
        life = actor.life
        self.fell(actor, reason, message, now, is_counted=is_counted)
        group, name = actor.group
        may_return = group.may_return(name)
        life.ended_supervised(reason, may_return=may_return)
        root = group.root
        if may_return or root.machine is None or not root.machine.reason:
            return message
        if reason is DeathReason.EXITED:
            life.reason = DeathReason.OWNER_DIED
        elif reason is not DeathReason.CONSTRUCTOR_FAILED:
            life.reason = DeathReason.RESTARTS_EXCEEDED
        return f"{message}; {_forced(root.machine.reason)}"

    def fell(
        self,
        actor: M,
        reason: DeathReason,
        how: str,
        now: float,
        *,
        is_counted: bool = True,
    ) -> None:
        """Note that a child has no process, whatever follows in its life."""
        group, name = actor.group
        is_normal = reason is DeathReason.EXITED
        root = group.root
        if not is_normal:
            root.culprit = actor
        # As in OTP: what fails in the first start ends it; later it is tried again.
        is_hopeless = reason in _HOPELESS and not root.is_start_over
        if group in self.live:
            ended = ChildEnded(name, how, is_hopeless, is_normal, is_counted)
            self._tell(group, ended, now)
            self._look_whether_up(group, now)

    def place(self, now: float, keeper: Keeper[M]) -> None:
        """Do what is due, and what the machines have decided."""
        if self._place_at > now:
            return
        while True:
            for group in list(self.live):
                machine = _machine(group)
                if machine.wake_at <= now:
                    group.todo.extend(machine.tick(now).effects)
                    self._changed(group)
            busy = [group for group in self.live if group.todo]
            if not busy:
                break
            for group in busy:
                while group.todo:
                    self._perform(group, group.todo.popleft(), now, keeper)
        self._place_at = min((_machine(g).wake_at for g in self.live), default=math.inf)

    def _changed(self, group: Group[M]) -> None:
        self._place_at = -math.inf
        if self._note is not None:
            self._note(group)

    def _tell(self, group: Group[M], message: object, now: float) -> None:
        if isinstance(message, ChildEnded):
            # What was to be done with it is void, as if all fall with one node.
            name = message.name
            group.todo = deque(e for e in group.todo if _name_in(e) != name)
        group.todo.extend(_machine(group).handle(message, "", now).effects)
        self._changed(group)

    def _started(self, group: Group[M], name: str, pid: int, now: float) -> None:
        if group in self.live:
            self._tell(group, ChildStarted(name, pid), now)
            self._look_whether_up(group, now)

    def _look_whether_up(self, group: Group[M], now: float) -> None:
        if not _machine(group).is_up:
            return
        if group.parent is not None:
            parent, name = group.parent
            self._started(parent, name, 0, now)
        elif not group.is_start_over:
            group.is_start_over = True
            group.todo.append(_AllUp())

    def _perform(
        self, group: Group[M], effect: Effect, now: float, keeper: Keeper[M]
    ) -> None:
        match effect:
            case StartChild(name):
                child = group.children[name]
                if self._is_over(group, name):
                    # It stays dead, also when those beside it start anew.
                    text = "it has ended for good"
                    self._tell(group, ChildEnded(name, text, is_normal=True), now)
                    self._look_whether_up(group, now)
                elif isinstance(child, Group):
                    self.begin(child, now)
                else:
                    keeper.begin(child, now)
            case StopChild(name, is_kill):
                child = group.children[name]
                if isinstance(child, Group):
                    self.stop(child, "", now, hurry=is_kill)
                elif is_kill:
                    keeper.kill_process(child, now)
                else:
                    keeper.ask_to_end(child, now)
            case _AllUp():
                keeper.all_up(group)
            case AllStopped(reason):
                self._all_stopped(group, reason, now, keeper)
            case _:
                raise AssertionError(f"nobody carries out {effect}")

    @staticmethod
    def _is_over(group: Group[M], name: str) -> bool:
        child = group.children[name]
        if not isinstance(child, Group):
            return child.life.state is LifeState.DEAD
        if group.settings.kinds[name] == "permanent":
            return False  # it can do without children that are over
        return all(actor.life.state is LifeState.DEAD for actor in child.actors())

    def _all_stopped(
        self, group: Group[M], reason: str, now: float, keeper: Keeper[M]
    ) -> None:
        self._changed(group)
        del self.live[group]
        if group.parent is not None and group.parent[0] in self.live:
            parent, name = group.parent
            is_hopeless = bool(reason) and not group.root.is_start_over
            ended = ChildEnded(name, reason or "stopped", is_hopeless, not reason)
            self._tell(parent, ended, now)
            self._look_whether_up(parent, now)
            if parent.may_return(name):
                return
        why = _forced(reason) if reason else "its supervisor was stopped"
        death = DeathReason.OWNER_DIED if reason else DeathReason.EXITED
        # Nobody will start them again.
        for actor in group.actors():
            if actor.life.state is not LifeState.DEAD:
                keeper.give_up(actor, death, why)
        root = group.root
        if not root.is_start_over:
            root.is_start_over = True
            keeper.start_failed(root, reason)
        if group is root:
            keeper.all_over(root, reason)

    def clear(self) -> None:
        """Forget all groups: nobody is stopped any more."""
        self.live.clear()
        self._place_at = math.inf

    def check(self) -> None:
        """Raise AssertionError if a machine contradicts itself or what runs."""
        for group in self.live:
            machine = _machine(group)
            machine.check()
            for name, child in group.children.items():
                state = machine.children[name].state
                is_down = state in (ChildState.STOPPED, ChildState.DONE)
                if isinstance(child, Group):
                    assert (child in self.live) != is_down or child.todo, name


def _name_in(effect: object) -> str:
    return effect.name if isinstance(effect, StartChild | StopChild) else ""


def _machine(group: Group[M]) -> Supervisor:
    assert group.machine is not None, "it does not run"
    return group.machine


def _forced(reason: str) -> str:
    return f"its supervisor ended: {reason}"
