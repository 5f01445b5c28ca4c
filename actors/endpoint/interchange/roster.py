"""Roster: the actors of an endpoint's clients, their homes and names. Pure.

    create ─► waits for a home ─StartActors─► manager ─ActorsStarted─► alive
                    ▲                                                    │
                    └─────(delay)──── ActorEnded, or the manager is lost ┘─► dead

Whatever a client wants of an actor comes as a task with a word on it, see
`roster_wishes`: so it is accepted, written down, answered and acknowledged like any
other. What waits for an actor is the business of `roster_calls`.

An actor lives as long as a client has a handle on it, or until it is killed if it is
detached; one that is supervised, as long as its supervisor wants (`roster_groups`). An
incarnation that a manager took no notice of is placed again; one whose manager is lost
has ended. A dead actor is remembered while somebody has a handle.
"""

import math
import random
from collections.abc import Iterable, Iterator
from typing import Protocol

from actors.endpoint.interchange.roster_calls import Center, RosterCalls
from actors.endpoint.interchange.roster_entry import (
    NOWHERE,
    Actor,
    Ending,
    reason_named,
)
from actors.endpoint.interchange.roster_groups import LINGER, RosterGroups
from actors.endpoint.interchange.roster_wishes import Desk, RosterWishes
from actors.logic.actor_life import DeathReason, Died, LifeState
from actors.logic.clients import ClientEntry
from actors.logic.fleet import ManagerEntry
from actors.logic.ledger import Entry
from actors.logic.records import (
    ActorAdmitted,
    ActorDoomed,
    ActorForgotten,
    ActorHeld,
    ActorPlaced,
    InterchangeRecord,
)
from actors.logic.resources import Need
from actors.logic.turn import Turn
from actors.messages import (
    AckEnded,
    ActorEnded,
    ClientId,
    EndActors,
    Hosting,
    Incarnation,
    ManagerId,
    Outcome,
    StartActors,
)

__all__ = ["Endpoint", "Roster"]


class Endpoint(Desk, Center, Protocol):
    """What a roster needs of its interchange."""

    def tell_wait(self, name: str, need: Need, now: float, turn: Turn) -> None: ...


class Roster:
    """The machine; see the module's docstring.

    Args:
        endpoint: whose actors.
        chance: for the delays between restarts.
    """

    def __init__(self, endpoint: Endpoint, chance: random.Random) -> None:
        self.actors: dict[str, Actor] = {}
        self._endpoint = endpoint
        self._chance = chance
        self.names: dict[tuple[str, str], Actor] = {}  # {(namespace, name): it}
        # They wait for a manager, in the order of their coming.
        self._homeless: dict[Actor, None] = {}
        self._restarts: dict[Actor, None] = {}
        self._unwanted: dict[Actor, None] = {}  # will end unless somebody wants them
        self._is_looking = False  # there may be homes that were not there before
        self.groups = RosterGroups(endpoint, self, chance)
        self.calls = RosterCalls(endpoint, self, self.groups)
        self.wishes = RosterWishes(endpoint, self, self.calls, self.groups)

    @property
    def is_eager(self) -> bool:
        """Whether `place` may have something to do."""
        return bool(self.calls.waiting or (self._is_looking and self._homeless))

    @property
    def has_homeless(self) -> bool:
        """Whether actors wait for a manager."""
        return bool(self._homeless)

    def look_again(self) -> None:
        """Note that managers may have room that had none before."""
        self._is_looking = True

    @property
    def wanted(self) -> int:
        """Workers' places that actors wait for; each at least one, to have a block."""
        fleet = self._endpoint.fleet
        return sum(fleet.places_for(actor.need) for actor in self._homeless)

    # Who there is

    def enter(self, record: ActorAdmitted) -> None:
        """Take an actor in that waits to begin."""
        actor = self.actors[record.actor_id] = Actor(
            record.actor_id,
            record.class_,
            record.arguments,
            record.options,
            self._chance,
            is_supervised=record.is_supervised,
            maker=record.client_id,
            maker_seq=record.caller_seq,
        )
        options = record.options
        if options.name:
            self.names[options.namespace, options.name] = actor

    def known(self, actor_id: str) -> Actor:
        """Return an actor; one that a torn journal knows no more is dead."""
        actor = self.actors.get(actor_id)
        if actor is None:
            actor = Actor.forgotten(actor_id, self._chance)
            self.actors[actor_id] = actor
            actor.free_at = -math.inf
            self._unwanted[actor] = None
        return actor

    # Places

    def place(self, now: float, turn: Turn) -> None:
        """Find homes for those who have none, and hand over calls."""
        starts: dict[ManagerId, list[Hosting]] = {}
        homeless = list(self._homeless) if self._is_looking else ()
        self._is_looking = False
        for actor in homeless:
            if actor.is_doomed or actor.is_released:
                # Its home never heard of it, and nobody wants it any more.
                self._die_homeless(actor, now, turn)
                continue
            manager = self._home_for(actor)
            if manager is None:
                self._endpoint.tell_wait(actor.title, actor.need, now, turn)
                continue
            del self._homeless[actor]
            self._move_in(actor, manager)
            number = actor.life.incarnation
            record = ActorPlaced(actor.actor_id, number, manager.manager_id)
            turn.records.append(record)
            hosting = Hosting(
                actor.incarnation, actor.class_, actor.arguments, actor.options
            )
            starts.setdefault(manager.manager_id, []).append(hosting)
        for manager_id, actors in starts.items():
            peer = self._endpoint.fleet.managers[manager_id].peer
            # As of a last lease: what may have begun must not be forgotten.
            turn.promise(peer, StartActors(actors))
        if self.calls.waiting:
            self.calls.hand_over(now, turn)

    def _home_for(self, actor: Actor) -> ManagerEntry | None:
        """Choose the manager with the fewest actors that has room."""
        fleet = self._endpoint.fleet
        fitting = [
            manager
            for manager in fleet.managers.values()
            if fleet.is_usable(manager)
            and not manager.is_exclusive
            and not manager.capacity.lack(actor.need)
        ]
        return min(fitting, key=lambda m: (len(m.actors), len(m.leases)), default=None)

    def seek_home(self, actor: Actor) -> None:
        """Let an actor wait for a manager."""
        self._homeless[actor] = None
        self._is_looking = True

    def _move_in(self, actor: Actor, manager: ManagerEntry) -> None:
        actor.manager_id = manager.manager_id
        manager.actors.add(actor.actor_id)
        manager.take_in("actor", actor.actor_id, actor.need)

    def _move_out(self, actor: Actor, now: float) -> None:
        manager = self._endpoint.fleet.managers.get(actor.manager_id)
        actor.manager_id = NOWHERE
        if manager is not None and actor.actor_id in manager.actors:
            manager.actors.remove(actor.actor_id)
            manager.let_out("actor", actor.actor_id)
            manager.note_idle(now)
            self._is_looking = True

    # Managers

    def manager_admitted(
        self, manager: ManagerEntry, has: Iterable[Incarnation], now: float, turn: Turn
    ) -> list[Incarnation]:
        """Compare what a manager has with what it should have.

        Returns:
            What it keeps; it ends the others.
        """
        there = {(of.actor_id, of.number) for of in has}
        kept = []
        for actor_id in sorted(manager.actors):
            actor = self.actors[actor_id]
            if (actor_id, actor.life.incarnation) in there:
                kept.append(actor.incarnation)
                self.calls.waiting[actor] = None
                is_asked = actor.is_released or actor.ending is Ending.ASKED
                is_killed = actor.is_killed or actor.ending is Ending.KILLED
                if is_asked or is_killed or actor.is_doomed or actor.life.is_ordered:
                    # What it was told before may not have reached it.
                    is_killed = is_killed or actor.is_doomed or not is_asked
                    self.end_process(actor, turn, is_killed=is_killed)
                continue
            # It never heard of it: nothing has begun.
            if actor.ending:
                self.take_back(actor, manager.idle_since)
                self.groups.fell(actor, now)
                continue
            self._move_out(actor, manager.idle_since)
            actor.life.never_began()
            actor.is_killed = False
            self.seek_home(actor)
        self.groups.settle(now, turn)
        return kept

    def manager_lost(self, manager: ManagerEntry, now: float, turn: Turn) -> None:
        """End all incarnations that a manager had.

        To a supervisor the loss counts as one crash, however many fell.
        """
        where = f"manager {manager.manager_id} on {manager.host or 'an unnamed host'}"
        has_counted: set[object] = set()
        for actor_id in sorted(manager.actors):
            actor = self.actors[actor_id]
            ended = ActorEnded(
                actor.incarnation, DeathReason.NODE_LOST.value, f"{where} was lost"
            )
            group = actor.group[0] if actor.may_restart and actor.group else None
            is_counted = group not in has_counted
            if group is not None and not (actor.ending or actor.life.is_ordered):
                has_counted.add(group)
            self._ended(actor, ended, now, turn, is_counted=is_counted)
        self.groups.settle(now, turn)

    def started(
        self,
        told: Iterable[Incarnation],
        manager: ManagerEntry,
        now: float,
        turn: Turn,
    ) -> None:
        """Note that actors were constructed."""
        for of in told:
            actor = self.actors.get(of.actor_id)
            if (
                actor is not None
                and actor.manager_id == manager.manager_id
                and actor.incarnation == of
                and actor.life.state is LifeState.STARTING
            ):
                actor.life.constructed()
                self.calls.waiting[actor] = None
                if actor.group is not None:
                    self.groups.constructed(actor, now)
        self.groups.settle(now, turn)

    def ended(
        self, told: ActorEnded, manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        """Note that an incarnation is over; an older one's end is no news."""
        actor = self.actors.get(told.of.actor_id)
        if (
            actor is not None
            and actor.manager_id == manager.manager_id
            and actor.incarnation == told.of
        ):
            self._ended(actor, told, now, turn)
            self.groups.settle(now, turn)
        turn.promise(manager.peer, AckEnded([told.of]))

    # Lives

    def _ended(
        self,
        actor: Actor,
        told: ActorEnded,
        now: float,
        turn: Turn,
        *,
        is_counted: bool = True,
    ) -> None:
        life = actor.life
        number = life.incarnation
        self._move_out(actor, now)
        reason = reason_named(told.reason)
        actor.message, actor.last_words = told.message, told.last_words
        actor.payload = told.payload
        if actor.is_doomed or actor.is_killed:
            reason = DeathReason.KILLED
            actor.message = "it was killed by actors.kill()"
        elif actor.ending:
            reason, actor.message = DeathReason.EXITED, "it has ended"
        elif actor.is_released:
            reason, actor.message = DeathReason.EXITED, "nobody wants it"
        elif life.is_ordered:
            reason, actor.message = DeathReason.RESTARTED, "an operator restarted it"
        if actor.group is not None:
            delay = self.groups.ended(actor, reason, now, is_counted=is_counted)
        else:
            is_meant = reason is DeathReason.EXITED or actor.is_doomed
            delay = life.ended(reason, now, is_meant=is_meant)
        if life.reason is DeathReason.RESTARTS_EXCEEDED and actor.group is None:
            actor.message += f"; it was restarted {life.restarts} times already"
        turn.records.append(actor.end_record())
        if delay is not None:
            actor.restart_at = now + delay
            self._restarts[actor] = None
        died = Died(actor.actor_id, number, reason, delay is None, actor.message)
        self.calls.tell_watchers(actor, died, now, turn)
        if delay is None:
            self._bury(actor, now, turn)
        elif actor.options.fails_on_restart:
            self.calls.end_waiting(actor, now, turn)

    def _die_homeless(self, actor: Actor, now: float, turn: Turn) -> None:
        """End an actor that has no process now."""
        reason = DeathReason.KILLED if actor.is_doomed else DeathReason.EXITED
        actor.message = (
            "it was killed by actors.kill()" if actor.is_doomed else "nobody wants it"
        )
        actor.life.ended(reason, now, is_meant=True)
        turn.records.append(actor.end_record())
        died = actor.death()
        self.calls.tell_watchers(actor, died, now, turn)
        self._bury(actor, now, turn)

    def _bury(self, actor: Actor, now: float, turn: Turn) -> None:
        """Let go of what a dead actor had."""
        self.calls.end_waiting(actor, now, turn)
        key = (actor.options.namespace, actor.options.name)
        if self.names.get(key) is actor:
            del self.names[key]
        for crowd in (self._homeless, self._restarts, self._unwanted):
            crowd.pop(actor, None)
        actor.class_ = actor.arguments = b""
        self._forget_if_unheld(actor, now, turn)

    def _forget_if_unheld(self, actor: Actor, now: float, turn: Turn) -> None:
        if actor.holders:
            return
        entries = self._endpoint.ledger.entries
        actor.sent = {t: e for t, e in actor.sent.items() if entries.get(t) is e}
        if actor.sent or actor.lanes or actor.watchers:
            # They will ask why they failed.
            actor.free_at = now + LINGER
            self._unwanted[actor] = None
            return
        self.actors.pop(actor.actor_id, None)
        self.calls.waiting.pop(actor, None)
        turn.records.append(ActorForgotten(actor.actor_id))

    def kill(self, actor: Actor, now: float, turn: Turn) -> None:
        """End an actor for good; one that is supervised, this incarnation."""
        if actor.is_dead or actor.is_doomed:
            return
        if actor.group is not None:
            # Whether it comes back is its supervisor's business.
            if actor.manager_id and not actor.is_killed:
                actor.is_killed = True
                turn.records.append(ActorDoomed(actor.actor_id))
                self.end_process(actor, turn, is_killed=True)
            return
        actor.is_doomed = True
        turn.records.append(ActorDoomed(actor.actor_id))
        if actor.manager_id:
            self.end_process(actor, turn, is_killed=True)
        else:
            self._die_homeless(actor, now, turn)

    def find(self, name: str) -> list[Actor]:
        """Return the actor of an id; or those of a name, or of `namespace/name`."""
        if name in self.actors:
            return [self.actors[name]]
        return [
            actor
            for (namespace, own), actor in self.names.items()
            if name in (own, f"{namespace}/{own}")
        ]

    def objection_to_restart(self, actor: Actor) -> str:
        """Say why an operator cannot have an actor restarted; empty: it can be."""
        if actor.is_dead or actor.is_doomed or actor.is_released:
            return f"{actor.title} is dead, or about to end"
        if not actor.may_restart:
            kind = "max_restarts 0" if actor.group is None else "restart='temporary'"
            return (
                f"{actor.title} has {kind}: whoever made it wants no other "
                "incarnation of it"
            )
        is_restarting = actor.life.state is LifeState.RESTARTING
        if is_restarting and actor.restart_at == math.inf:
            return f"{actor.title} waits for its supervisor, and has no process"
        if actor.life.state is not LifeState.RESTARTING and not actor.manager_id:
            return f"{actor.title} waits for a manager, and has no process"
        return ""

    def restart(self, actor: Actor, now: float, turn: Turn) -> None:
        """Kill an actor's process, and start the next; it does not count as a crash.

        Args:
            actor: one that nothing objects to, see `objection_to_restart`.
            now: monotonic seconds.
            turn: what follows goes in here.
        """
        if actor.life.state is LifeState.RESTARTING:
            # Its delay is over.
            actor.restart_at = now
            return
        if not actor.life.is_ordered:
            self.note_ordered(actor, turn)
        self.end_process(actor, turn, is_killed=True)

    def note_ordered(self, actor: Actor, turn: Turn) -> None:
        """Note that this incarnation ends by an operator's order."""
        actor.life.order_restart()
        turn.records.append(actor.ordered_record())

    def end_process(self, actor: Actor, turn: Turn, *, is_killed: bool) -> None:
        """Have an actor's manager end its process."""
        manager = self._endpoint.fleet.managers[actor.manager_id]
        message = EndActors([actor.incarnation], is_killed)
        # A promise, so as not to overtake the start.
        turn.promise(manager.peer, message)

    # Handles

    def hold(self, actor: Actor, client: ClientEntry, turn: Turn) -> None:
        """Note that a client has a handle."""
        if client.client_id in actor.holders:
            return
        actor.holders.add(client.client_id)
        client.held_actors.add(actor.actor_id)
        self._note_holders(actor, turn)
        actor.free_at = math.inf
        self._unwanted.pop(actor, None)

    def release(
        self, actor: Actor, client_id: ClientId, now: float, turn: Turn
    ) -> None:
        """Note that a client has no handle any more."""
        if client_id not in actor.holders:
            return
        actor.holders.remove(client_id)
        client = self._endpoint.clients.get(client_id)
        if client is not None:
            client.held_actors.discard(actor.actor_id)
        self._note_holders(actor, turn)
        self._let_go(actor, now, turn)

    def _let_go(self, actor: Actor, now: float, turn: Turn) -> None:
        """Let an actor end soon if nobody has a handle."""
        if actor.holders:
            return
        if actor.is_dead:
            self._forget_if_unheld(actor, now, turn)
        elif actor.group is None and not actor.options.is_detached:
            actor.free_at = now + LINGER
            self._unwanted[actor] = None

    def _note_holders(self, actor: Actor, turn: Turn) -> None:
        turn.records.append(ActorHeld(actor.actor_id, sorted(actor.holders)))

    def client_gone(self, client: ClientEntry, now: float, turn: Turn) -> None:
        """Forget all handles of a client."""
        for actor_id in sorted(client.held_actors):
            actor = self.actors.get(actor_id)
            group = self.groups.known.get(actor_id)
            if actor is not None:
                self.release(actor, client.client_id, now, turn)
            elif group is not None:
                self.groups.release(group, client.client_id, now, turn)
        client.held_actors.clear()

    # Time

    @property
    def wake_at(self) -> float:
        at = self.groups.wake_at
        if self._restarts:
            at = min(at, *(actor.restart_at for actor in self._restarts))
        if self._unwanted:
            at = min(at, *(actor.free_at for actor in self._unwanted))
        return at

    def tick(self, now: float, turn: Turn) -> None:
        """Restart those whose time has come, end those whom nobody wants."""
        for actor in [a for a in self._restarts if a.restart_at <= now]:
            del self._restarts[actor]
            actor.restart_at = math.inf
            actor.life.started_again()
            self.seek_home(actor)
        for actor in [a for a in self._unwanted if a.free_at <= now]:
            del self._unwanted[actor]
            if actor.is_dead:
                self._forget_if_unheld(actor, now, turn)
                continue
            actor.is_released = True
            if actor.manager_id:
                self.end_process(actor, turn, is_killed=False)
            else:
                self._die_homeless(actor, now, turn)
        self.groups.settle(now, turn)

    # What groups want; see `roster_groups.Home`

    def begin(self, actor: Actor) -> None:
        """Let a supervised actor begin an incarnation as soon as there is room."""
        actor.is_held_back = False
        if actor.life.state is LifeState.RESTARTING:
            self._restarts.pop(actor, None)
            actor.restart_at = math.inf
            actor.life.started_again()
        self.seek_home(actor)

    def end(self, actor: Actor, turn: Turn, *, is_killed: bool) -> bool:
        """End a supervised actor's process; false: it has none, and gets none."""
        if actor.manager_id:
            actor.ending = Ending.KILLED if is_killed else Ending.ASKED
            self.end_process(actor, turn, is_killed=is_killed)
            return True
        actor.is_held_back = True
        self._homeless.pop(actor, None)
        # An operator's restart has to wait for the supervisor, too.
        actor.restart_at = math.inf
        return False

    def take_back(self, actor: Actor, now: float) -> None:
        """Let a supervised actor wait that was sent to who never heard of it."""
        self._move_out(actor, now)
        actor.is_held_back = True

    def give_up(
        self, actor: Actor, reason: DeathReason, now: float, turn: Turn
    ) -> None:
        """Let a supervised actor without a process be dead."""
        actor.life.ended_supervised(reason, may_return=False)
        turn.records.append(actor.end_record())
        self._bury(actor, now, turn)

    def end_asking(
        self, entry: Entry, outcome: Outcome, now: float, turn: Turn
    ) -> None:
        """End a task that waits for a group; nothing if it was cancelled."""
        if self._endpoint.ledger.entries.get(entry.task.task_id) is entry:
            self._endpoint.end_call(entry, outcome, now, turn)

    # What an earlier process left

    def replay(self, record: InterchangeRecord) -> None:
        """Take the next record; one on an unknown actor has no effect."""
        if isinstance(record, ActorAdmitted):
            if record.actor_id not in self.actors:
                self.enter(record)
            return
        if self.groups.replay(record):
            return
        actor_id = getattr(record, "actor_id", "")
        actor = self.actors.get(actor_id)
        if actor is None:
            return
        if isinstance(record, ActorForgotten):
            self._drop(actor)
        else:
            actor.replay(record)

    def restored(self, now: float) -> None:
        """Go on from the records; call it after the last one, before `queue`."""
        self.groups.bind()
        for actor in list(self.actors.values()):
            if actor.is_supervised and actor.group is None and not actor.is_dead:
                # Its supervisor was not written down: nobody was told of either.
                self._drop(actor)
                continue
            manager = self._endpoint.fleet.managers.get(actor.manager_id)
            actor.manager_id = NOWHERE
            if manager is not None:
                self._move_in(actor, manager)
            key = (actor.options.namespace, actor.options.name)
            match actor.life.state:
                case LifeState.DEAD:
                    if self.names.get(key) is actor:
                        del self.names[key]
                case LifeState.RESTARTING:
                    actor.restart_at = now if actor.group is None else math.inf
                    self._restarts[actor] = None
                case _ if actor.group is not None:
                    actor.is_held_back = manager is None
                case _ if manager is None:
                    self.seek_home(actor)
            clients = self._endpoint.clients
            actor.holders = {c for c in actor.holders if not clients[c].is_leaving}
            for client_id in actor.holders:
                clients[client_id].held_actors.add(actor.actor_id)
            is_kept = actor.options.is_detached or (actor.group and not actor.is_dead)
            if not actor.holders and not is_kept:
                # A dead one, too: what it has left behind may go.
                actor.free_at = now
                self._unwanted[actor] = None
        self.groups.restored(now)

    def _drop(self, actor: Actor) -> None:
        del self.actors[actor.actor_id]
        key = (actor.options.namespace, actor.options.name)
        if self.names.get(key) is actor:
            del self.names[key]

    def those_who_hold(self) -> Iterator[ClientId]:
        """Give the clients that had handles, while records are replayed."""
        for actor in self.actors.values():
            yield from actor.holders
        yield from self.groups.those_who_hold()

    def snapshot(self) -> Iterator[list[InterchangeRecord]]:
        """Give the records that stand for all before them, an actor at a time."""
        for actor in list(self.actors.values()):
            if actor.actor_id in self.actors:
                yield actor.records()
        yield from self.groups.snapshot()

    def check(self) -> None:
        """Raise AssertionError if actors, homes and handles contradict each other."""
        fleet, ledger = self._endpoint.fleet, self._endpoint.ledger
        homes = {a: m.manager_id for m in fleet.managers.values() for a in m.actors}
        for manager in fleet.managers.values():
            taken = {name for kind, name in manager.taken if kind == "actor"}
            assert taken == manager.actors, manager.manager_id
        for actor_id, actor in self.actors.items():
            actor.life.check()
            assert homes.get(actor_id, "") == actor.manager_id, actor_id
            has_process = actor.life.state in (LifeState.STARTING, LifeState.ALIVE)
            has_process = has_process and not actor.is_held_back
            assert bool(actor.manager_id) + (actor in self._homeless) == has_process
            assert (actor in self._restarts) == (
                actor.life.state is LifeState.RESTARTING
            ), actor_id
            for client_id in actor.holders:
                held = self._endpoint.clients[client_id].held_actors
                assert actor_id in held, actor_id
            for lane in actor.lanes.values():
                numbers = [entry.number for entry in lane]
                assert numbers == sorted(numbers), "a lane is out of order"
                for entry in lane:
                    known = ledger.entries.get(entry.task.task_id)
                    assert known is None or not known.manager_id, entry.task.task_id
        self.groups.check()
