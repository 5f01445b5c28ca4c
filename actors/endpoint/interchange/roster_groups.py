"""Roster groups: the supervisors that an endpoint's clients make. Pure.

    supervise ─► admitted, with all in it ─► children begin, one after the other
                     │                            │
                     └── stop, or no handle ──────┴─► all end ─► watchers are told

What is decided stands in `actors.groups`; the roster carries it out. How each group
stands is written down in the same turn, so that a successor goes on in the middle of a
restart, and counts on. A group lives as long as somebody has a handle on it, as actors
do; the actors in it live as long as it does.
"""

import math
import random
from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec

from actors.endpoint.interchange.roster_entry import Actor, Ending, done, failed
from actors.groups import Group, Groups
from actors.logic.actor_life import DeathReason, Died, LifeState
from actors.logic.clients import ClientEntry
from actors.logic.ledger import Entry
from actors.logic.records import (
    ActorAdmitted,
    ActorForgotten,
    ActorHeld,
    ChildStands,
    GroupAdmitted,
    GroupChild,
    GroupEnded,
    GroupsStand,
    GroupStands,
    InterchangeRecord,
)
from actors.logic.restarts import RestartKind
from actors.logic.turn import Turn
from actors.messages import (
    ClientId,
    Failure,
    FailureKind,
    GroupOptions,
    NewActor,
    NewGroup,
    Outcome,
)
from actors.supervisor import ChildStanding, ChildState, Standing, Supervisor

__all__ = ["LINGER", "EndpointGroup", "RosterGroups"]

# How long an actor, or a group, without handles lives on: one may be under way, in a
# result that nobody has opened. Chosen: a slow client's time to open it.
LINGER = 2.0
# Of a delay, its jitter included; see `logic.backoff`.
_MOST_JITTER = 1.25

_UP = (ChildState.STARTING, ChildState.RUNNING)
_KINDS: dict[str, RestartKind] = {
    "permanent": "permanent",
    "transient": "transient",
    "temporary": "temporary",
}


class EndpointGroup(Group[Actor]):
    """A group, and if it is an outermost one, who wants it and who asks for it."""

    def __init__(
        self,
        group_id: str,
        options: GroupOptions,
        children: "Mapping[str, tuple[RestartKind, Actor | Group[Actor]]]",
    ) -> None:
        super().__init__(group_id, options, children)
        self.written: dict[str, ChildStands] = {}  # {child: as last recorded}
        self.holders: set[ClientId] = set()
        self.free_at = math.inf  # when it stops, as nobody has a handle
        self.asking: list[Entry] = []  # who waits for its start, or its end
        self.start_failure: tuple[Failure, bytes] | None = None
        self.died: Died | None = None


class _Left(msgspec.Struct):
    """What an earlier process has written down of an outermost group."""

    admitted: GroupAdmitted
    holders: set[ClientId] = msgspec.field(default_factory=set)
    stands: dict[str, GroupStands] = msgspec.field(default_factory=dict)
    # {group: {child: how it stands}}
    children: dict[str, dict[str, ChildStands]] = msgspec.field(default_factory=dict)
    ended: str | None = None  # why


class Endpoint(Protocol):
    """What is needed of the interchange."""

    clients: dict[ClientId, ClientEntry]

    @property
    def wall_offset(self) -> float: ...


class Home(Protocol):
    """What is needed of the roster."""

    actors: dict[str, Actor]

    def begin(self, actor: Actor) -> None:
        """Let an actor begin an incarnation as soon as there is room."""

    def end(self, actor: Actor, turn: Turn, *, is_killed: bool) -> bool:
        """End an actor's process; false: it has none, and gets none."""

    def take_back(self, actor: Actor, now: float) -> None:
        """Let an actor wait that was sent to a manager which never heard of it."""

    def give_up(
        self, actor: Actor, reason: DeathReason, now: float, turn: Turn
    ) -> None:
        """Let an actor without a process be dead."""

    def end_asking(
        self, entry: Entry, outcome: Outcome, now: float, turn: Turn
    ) -> None:
        """End a task that waits here; nothing if it was cancelled."""

    def enter(self, record: ActorAdmitted) -> None:
        """Take an actor in that waits to begin."""


class RosterGroups:
    """The machine; see the module's docstring.

    Args:
        endpoint: whose groups.
        home: of the actors in them.
        chance: for the delays between restarts.
    """

    def __init__(self, endpoint: Endpoint, home: Home, chance: random.Random) -> None:
        self._endpoint = endpoint
        self._home = home
        self._chance = chance
        self._groups: Groups[Actor] = Groups(chance, self._note)
        self.known: dict[str, EndpointGroup] = {}  # {id: it}, the outermost ones
        self._changed: dict[EndpointGroup, None] = {}
        self._asked: dict[EndpointGroup, None] = {}  # there may be something to answer
        self._unwanted: dict[EndpointGroup, None] = {}
        self._left: dict[str, _Left] = {}

    def _note(self, group: Group[Actor]) -> None:
        assert isinstance(group, EndpointGroup)
        self._changed[group] = None

    # What clients want

    def admit(self, new: NewGroup, client: ClientEntry, now: float, turn: Turn) -> None:
        """Begin a group that nothing objects to; one that is known goes on."""
        if new.group_id in self.known:
            return
        admitted = self._admitted(new, client.client_id, turn)
        turn.records.append(admitted)
        group = self._make(admitted)
        self.known[group.group_id] = group
        self.hold(group, client, turn)
        self._groups.begin(group, now)

    def _admitted(
        self, new: NewGroup, client_id: ClientId, turn: Turn
    ) -> GroupAdmitted:
        """Take in all actors of a group."""
        children = []
        for child in new.children:
            if child.group is not None:
                inner = self._admitted(child.group, client_id, turn)
                children.append(GroupChild(child.name, child.kind, group=inner))
            else:
                actor = child.actor
                assert actor is not None, "it was looked at before"
                record = ActorAdmitted(
                    actor.actor_id,
                    actor.class_,
                    actor.arguments,
                    actor.options,
                    is_supervised=True,
                    client_id=client_id,
                )
                turn.records.append(record)
                self._home.enter(record)
                children.append(GroupChild(child.name, child.kind, actor.actor_id))
        return GroupAdmitted(new.group_id, new.options, children)

    def _make(self, admitted: GroupAdmitted) -> EndpointGroup:
        children: dict[str, tuple[RestartKind, Actor | Group[Actor]]] = {}
        for child in admitted.children:
            kind = _KINDS[child.kind]
            if child.group is not None:
                children[child.name] = kind, self._make(child.group)
            else:
                actor = self._home.actors.get(child.actor_id)
                if actor is None:
                    # It was dead, and forgotten.
                    actor = Actor.forgotten(child.actor_id, self._chance)
                children[child.name] = kind, actor
        return EndpointGroup(admitted.group_id, admitted.options, children)

    def stop(self, group: EndpointGroup, now: float) -> None:
        """Let a group's children end, and then itself; twice is once."""
        self._groups.stop(group, "", now)

    def queue(self, group: EndpointGroup, entry: Entry) -> None:
        """Let somebody wait for a group's start, or its end."""
        group.asking.append(entry)
        self._asked[group] = None

    # Handles

    def hold(self, group: EndpointGroup, client: ClientEntry, turn: Turn) -> None:
        """Note that a client has a handle."""
        if client.client_id not in group.holders:
            group.holders.add(client.client_id)
            client.held_actors.add(group.group_id)
            self._note_holders(group, turn)
        group.free_at = math.inf
        self._unwanted.pop(group, None)

    def release(
        self, group: EndpointGroup, client_id: ClientId, now: float, turn: Turn
    ) -> None:
        """Note that a client has none any more."""
        if client_id not in group.holders:
            return
        group.holders.remove(client_id)
        client = self._endpoint.clients.get(client_id)
        if client is not None:
            client.held_actors.discard(group.group_id)
        self._note_holders(group, turn)
        if not group.holders:
            group.free_at = now + LINGER
            self._unwanted[group] = None

    def _note_holders(self, group: EndpointGroup, turn: Turn) -> None:
        turn.records.append(ActorHeld(group.group_id, sorted(group.holders)))

    # What becomes of actors

    def constructed(self, actor: Actor, now: float) -> None:
        """Note that an actor in a group is alive."""
        self._groups.constructed(actor, 0, now)

    def ended(
        self, actor: Actor, reason: DeathReason, now: float, *, is_counted: bool
    ) -> float | None:
        """Note that an incarnation is over of an actor in a group.

        Args:
            actor: whose life and message change by it.
            reason: why.
            now: monotonic seconds.
            is_counted: whether its restart is one of those that are allowed.

        Returns:
            Seconds until the next one begins; infinity: when the supervisor wants it;
            None: never.
        """
        actor.ending, actor.is_killed = Ending.NOT, False
        if reason is DeathReason.RESTARTED:
            # By an operator: the supervisor need not know.
            actor.life.ended_supervised(reason, may_return=True)
            return 0.0
        actor.message = self._groups.ended(
            actor, reason, actor.message, now, is_counted=is_counted
        )
        return None if actor.is_dead else math.inf

    def fell(self, actor: Actor, now: float) -> None:
        """Note that an actor that was to end has no process, and had none."""
        actor.ending, actor.is_killed = Ending.NOT, False
        how = "it had not started"
        self._groups.fell(actor, DeathReason.EXITED, how, now)

    # Time

    @property
    def wake_at(self) -> float:
        if self._asked:
            return -math.inf
        if not self.known:
            return math.inf
        free_at = min((group.free_at for group in self._unwanted), default=math.inf)
        return min(free_at, self._groups.wake_at)

    def settle(self, now: float, turn: Turn) -> None:
        """Do what is due, and write down how the groups stand after it."""
        if not self.known:
            return
        for group in [g for g in self._unwanted if g.free_at <= now]:
            group.free_at = math.inf
            del self._unwanted[group]
            self.stop(group, now)
            self._asked[group] = None
        self._groups.place(now, _Keeper(self, self._home, now, turn))
        if self._changed:
            self._write_down(turn)
        if self._asked:
            asked, self._asked = self._asked, {}
            for group in asked:
                self._answer(group, now, turn)
                self._forget_if_unheld(group, now, turn)

    def _answer(self, group: EndpointGroup, now: float, turn: Turn) -> None:
        """Tell who waits for a group what is known by now."""
        asking, group.asking = group.asking, []
        at = now + self._endpoint.wall_offset
        for entry in asking:
            task = entry.task
            assert task.actor is not None
            if task.actor.verb == "watch":
                value, is_known = group.died, group.died is not None
            else:
                value, is_known = None, group.is_start_over
            if not is_known:
                group.asking.append(entry)
                continue
            outcome = done(task.task_id, value, at)
            if task.actor.verb == "supervise" and group.start_failure is not None:
                failure, payload = group.start_failure
                outcome = failed(task.task_id, failure, at, payload)
            self._home.end_asking(entry, outcome, now, turn)

    def _forget_if_unheld(self, group: EndpointGroup, now: float, turn: Turn) -> None:
        if group.holders or group.died is None:
            return
        if group.asking:
            group.free_at = now + LINGER
            self._unwanted[group] = None
            return
        self._unwanted.pop(group, None)
        del self.known[group.group_id]
        turn.records.append(ActorForgotten(group.group_id))

    # Decisions; see `_Keeper`

    def start_is_over(
        self, root: EndpointGroup, failure: tuple[Failure, bytes] | None
    ) -> None:
        """Note that all are up, or why they never will be."""
        root.start_failure = failure
        self._asked[root] = None

    def all_over(self, root: EndpointGroup, reason: str, turn: Turn) -> None:
        """Note that an outermost group has ended."""
        root.died = _death(root.group_id, reason)
        turn.records.append(GroupEnded(root.group_id, reason))
        self._asked[root] = None

    # What a successor needs to know

    def _write_down(self, turn: Turn) -> None:
        changed, self._changed = self._changed, {}
        by_root: dict[str, list[GroupStands]] = {}
        for group in changed:
            root = group.root
            assert isinstance(root, EndpointGroup)
            if root.died is None:
                stands = self._stands(group, all_children=False)
                by_root.setdefault(root.group_id, []).append(stands)
        for group_id, stood in by_root.items():
            turn.records.append(GroupsStand(group_id, stood))

    def _stands(self, group: EndpointGroup, *, all_children: bool) -> GroupStands:
        machine, culprit = group.machine, group.culprit
        is_live = group in self._groups.live
        if machine is None or not is_live:
            group.written = {}
            return GroupStands(group.group_id, False, False, "", 0.0, 0.0, [], [])
        standing, offset = machine.standing(), self._endpoint.wall_offset
        written = {
            name: ChildStands(
                name,
                each.state.value,
                each.restarts,
                each.is_killed,
                child.life.incarnation if isinstance(child, Actor) else 0,
            )
            for (name, each), child in zip(
                standing.children.items(), group.children.values(), strict=True
            )
        }
        told = [
            each
            for name, each in written.items()
            if all_children or group.written.get(name) != each
        ]
        group.written = written
        return GroupStands(
            group.group_id,
            True,
            standing.is_stopping,
            standing.reason,
            standing.restart_at + offset,
            standing.delay,
            [crash + offset for crash in standing.crashes],
            told,
            group.is_start_over,
            "" if culprit is None else culprit.actor_id,
        )

    def snapshot(self) -> Iterator[list[InterchangeRecord]]:
        """Give the records that stand for all before them, a group at a time."""
        for group in list(self.known.values()):
            if group.group_id not in self.known:
                continue
            records: list[InterchangeRecord] = [
                _record_of(group),
                ActorHeld(group.group_id, sorted(group.holders)),
            ]
            if group.died is None:
                stood = [
                    self._stands(each, all_children=True)
                    for each in group.tree()
                    if isinstance(each, EndpointGroup)
                ]
                records.append(GroupsStand(group.group_id, stood))
            else:
                reason = group.died.message if group.died.reason is _GAVE_UP else ""
                records.append(GroupEnded(group.group_id, reason))
            yield records

    # What an earlier process left

    def replay(self, record: InterchangeRecord) -> bool:
        """Take the next record; false: it is not on a group that is known."""
        if isinstance(record, GroupAdmitted):
            self._left.setdefault(record.group_id, _Left(record))
            return True
        if isinstance(record, ActorHeld | ActorForgotten):
            left = self._left.get(record.actor_id)
        elif isinstance(record, GroupsStand | GroupEnded):
            left = self._left.get(record.group_id)
        else:
            return False
        if left is None:
            return False
        match record:
            case ActorHeld(_, client_ids):
                left.holders = set(client_ids)
            case GroupsStand(_, stood):
                for stands in stood:
                    left.stands[stands.group_id] = stands
                    known = left.children.setdefault(stands.group_id, {})
                    if not stands.is_live:
                        known.clear()
                    known.update({child.name: child for child in stands.children})
            case GroupEnded(_, reason):
                left.ended = reason
            case ActorForgotten(group_id):
                del self._left[group_id]
        return True

    def those_who_hold(self) -> Iterator[ClientId]:
        """Give the clients that had handles, while records are replayed."""
        for left in self._left.values():
            yield from left.holders

    def bind(self) -> None:
        """Give the actors of earlier records to their groups."""
        for left in self._left.values():
            group = self._make(left.admitted)
            self.known[group.group_id] = group

    def restored(self, now: float) -> None:
        """Go on from the records; call it when all actors have."""
        lefts, self._left = self._left, {}
        clients = self._endpoint.clients
        for group_id, left in lefts.items():
            group = self.known[group_id]
            group.holders = {c for c in left.holders if not clients[c].is_leaving}
            for client_id in group.holders:
                clients[client_id].held_actors.add(group_id)
            if not group.holders:
                group.free_at = now
                self._unwanted[group] = None
            if left.ended is not None:
                group.is_start_over = True
                group.start_failure = _ended_before_start(), b""
                group.died = _death(group_id, left.ended)
                continue
            if group_id not in left.stands:
                # Not written down before the machine lost its power.
                self._groups.begin(group, now)
                continue
            for each in group.tree():
                assert isinstance(each, EndpointGroup)
                stands = left.stands.get(each.group_id)
                if stands is not None and stands.is_live:
                    self._go_on(each, stands, left.children[each.group_id], now)

    def _go_on(
        self,
        group: EndpointGroup,
        stands: GroupStands,
        children: Mapping[str, ChildStands],
        now: float,
    ) -> None:
        offset = self._endpoint.wall_offset
        longest = group.options.longest_delay * _MOST_JITTER
        standing = Standing(
            stands.is_stopping,
            stands.reason,
            # Clocks may have been set meanwhile.
            min(stands.restart_at - offset, now + longest),
            stands.delay,
            [min(crash - offset, now) for crash in stands.crashes],
            {
                name: ChildStanding(
                    ChildState(child.state), child.restarts, child.is_killed
                )
                for name, child in children.items()
                if name in group.children
            },
        )
        machine = Supervisor(group.settings, self._chance, now)
        machine.resume(standing, now)
        self._groups.resume(group, machine)
        group.is_start_over = stands.is_start_over
        group.culprit = self._home.actors.get(stands.culprit)
        group.written = dict(children)
        for name, child in group.children.items():
            if isinstance(child, Actor):
                known = children.get(name)
                incarnation = 0 if known is None else known.incarnation
                self._compare(child, machine, name, incarnation, now)

    def _compare(
        self,
        actor: Actor,
        machine: Supervisor,
        name: str,
        incarnation: int,
        now: float,
    ) -> None:
        """Have an actor and its supervisor agree on whether it runs."""
        child, life = machine.children[name], actor.life
        is_over = life.state in (LifeState.RESTARTING, LifeState.DEAD)
        if child.state in _UP:
            is_next = life.incarnation < incarnation
            if life.state is LifeState.RESTARTING and (
                is_next or life.reason is DeathReason.RESTARTED
            ):
                self._home.begin(actor)
            elif is_over:
                # Its end was the last that could be written down.
                reason = life.reason or DeathReason.CRASHED
                self._groups.fell(actor, reason, actor.message, now)
            elif not actor.manager_id:
                self._home.begin(actor)
        elif child.state is ChildState.STOPPING:
            if actor.manager_id:
                # Its manager is told again when it registers.
                is_killed = child.kill_at == math.inf
                actor.ending = Ending.KILLED if is_killed else Ending.ASKED
            else:
                self.fell(actor, now)
        elif actor.manager_id and not is_over:
            # It was known not to have begun when that was written down.
            self._home.take_back(actor, now)

    def check(self) -> None:
        """Raise AssertionError if groups, actors and handles contradict each other."""
        self._groups.check()
        for group_id, group in self.known.items():
            for client_id in group.holders:
                held = self._endpoint.clients[client_id].held_actors
                assert group_id in held, group_id
            assert (group.died is None) == (group in self._groups.live), group_id
        for live in self._groups.live:
            assert live.root.group_id in self.known, live.group_id
            assert live.machine is not None
            for name, child in live.children.items():
                state = live.machine.children[name].state
                if isinstance(child, Actor) and not live.todo:
                    runs = child.life.state in (LifeState.STARTING, LifeState.ALIVE)
                    runs = runs and not child.is_held_back
                    is_ordered = child.life.reason is DeathReason.RESTARTED
                    is_up = state in _UP or state is ChildState.STOPPING
                    assert runs == is_up or (is_up and is_ordered), (name, state)
                    assert state is not ChildState.STOPPING or child.ending, name


_GAVE_UP = DeathReason.RESTARTS_EXCEEDED


class _Keeper:
    """Does what groups decide, in one turn; see `groups.Keeper`."""

    def __init__(
        self, groups: RosterGroups, home: Home, now: float, turn: Turn
    ) -> None:
        self._groups = groups
        self._home = home
        self._now = now
        self._turn = turn

    def begin(self, actor: Actor, now: float) -> None:
        self._home.begin(actor)

    def ask_to_end(self, actor: Actor, now: float) -> None:
        if not self._home.end(actor, self._turn, is_killed=False):
            self._groups.fell(actor, now)

    def kill_process(self, actor: Actor, now: float) -> None:
        if not self._home.end(actor, self._turn, is_killed=True):
            self._groups.fell(actor, now)

    def give_up(self, actor: Actor, reason: DeathReason, why: str) -> None:
        actor.message = f"{actor.message}; {why}" if actor.message else why
        self._home.give_up(actor, reason, self._now, self._turn)

    def all_up(self, root: EndpointGroup) -> None:
        self._groups.start_is_over(root, None)

    def start_failed(self, root: EndpointGroup, reason: str) -> None:
        failure = _ended_before_start(), b""
        if reason and root.culprit is not None:
            failure = root.culprit.failure()
        self._groups.start_is_over(root, failure)

    def all_over(self, root: EndpointGroup, reason: str) -> None:
        self._groups.all_over(root, reason, self._turn)


def objection_to(new: NewGroup) -> str:
    """Say what is wrong with a group by itself; empty: nothing."""
    names: set[str] = set()
    options = new.options
    durations = (options.patience, options.first_delay, options.longest_delay)
    if not new.children:
        return f"supervisor {new.group_id} has no children"
    if (
        not all(0 <= each < math.inf for each in (*durations, options.max_restarts))
        or not 0 < options.period < math.inf
    ):
        return f"supervisor {new.group_id}: a duration or a count is none: {options}"
    for child in new.children:
        if child.name in names:
            return f"supervisor {new.group_id} has two children named {child.name!r}"
        names.add(child.name)
        if (child.actor is None) == (child.group is None):
            return f"child {child.name!r} must be an actor, or a group"
        if child.group is not None and (objection := objection_to(child.group)):
            return objection
    return ""


def ids_in(new: NewGroup) -> Iterator[str]:
    """Give the ids of a group, of the groups in it, and of their actors."""
    yield new.group_id
    for child in new.children:
        if child.group is not None:
            yield from ids_in(child.group)
        elif child.actor is not None:
            yield child.actor.actor_id


def actors_in(new: NewGroup) -> Iterator[NewActor]:
    """Give the actors of a group, and of the groups in it, as they start."""
    for child in new.children:
        if child.group is not None:
            yield from actors_in(child.group)
        elif child.actor is not None:
            yield child.actor


def _record_of(group: Group[Actor]) -> GroupAdmitted:
    kinds = group.settings.kinds
    children = [
        GroupChild(name, kinds[name], child.actor_id)
        if isinstance(child, Actor)
        else GroupChild(name, kinds[name], group=_record_of(child))
        for name, child in group.children.items()
    ]
    return GroupAdmitted(group.group_id, group.options, children)


def _death(group_id: str, reason: str) -> Died:
    death = _GAVE_UP if reason else DeathReason.EXITED
    return Died(group_id, 1, death, True, reason or "it was stopped")


def _ended_before_start() -> Failure:
    return Failure(
        FailureKind.ACTOR_DIED,
        "The supervisor was stopped before all had started",
        reason=DeathReason.EXITED.value,
    )
