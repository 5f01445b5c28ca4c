"""Calls of an endpoint's actors: on their way, and at a manager; and watches. Pure.

    call ─► lane of its caller ─LeaseCalls─► manager ─Finished─► outcome
               ▲                    │
               └─ not begun, or may be retried

They are entries of the ledger that wait here instead of in its backlog; how they end,
once leased, is the business of `lease_ends`, as of any task. Calls of one caller are
handed over in their order.
"""

import itertools
from collections import deque
from typing import Protocol

from actors.endpoint.interchange.roster_entry import Actor, done, failed
from actors.endpoint.interchange.roster_groups import RosterGroups
from actors.logic.actor_life import Died, LifeState
from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet
from actors.logic.item_streams import ItemStreams
from actors.logic.ledger import Entry, Ledger
from actors.logic.records import TasksLeased
from actors.logic.turn import Turn
from actors.messages import (
    ClientId,
    Failure,
    LeaseCalls,
    LeasedCall,
    Outcome,
)

__all__ = ["Center", "RosterCalls"]

# Calls that are at an actor's manager; the others wait here. Chosen: what keeps its
# pipe filled.
WINDOW = 1024


class Center(Protocol):
    """What is needed of the interchange."""

    ledger: Ledger
    fleet: Fleet
    clients: dict[ClientId, ClientEntry]
    streams: ItemStreams

    @property
    def wall_offset(self) -> float: ...
    def end_call(self, entry: Entry, outcome: Outcome, now: float, turn: Turn) -> None:
        """End a call, or a watch, that waits."""
        ...


class _Roster(Protocol):
    """What is needed of the roster."""

    actors: dict[str, Actor]

    def known(self, actor_id: str) -> Actor: ...


class RosterCalls:
    """The machine; see the module's docstring.

    Args:
        center: of the endpoint.
        roster: of the actors.
        groups: that they are in, which may be watched, too.
    """

    def __init__(self, center: Center, roster: _Roster, groups: RosterGroups) -> None:
        self.waiting: dict[Actor, None] = {}  # there may be calls to hand over
        self._center = center
        self._roster = roster
        self._groups = groups
        self._numbers = itertools.count(1)  # of calls, for their order

    def queue(self, entry: Entry) -> None:
        """Let a call wait, in the order of its coming; or a watch."""
        work = entry.task.actor
        assert work is not None
        group = self._groups.known.get(work.actor_id)
        if group is not None:
            self._groups.queue(group, entry)
            return
        actor = self._roster.known(work.actor_id)
        entry.number = next(self._numbers)
        self.waiting[actor] = None
        if work.verb == "watch":
            actor.watchers.append(entry)
        else:
            actor.lanes.setdefault(entry.client_id, deque()).append(entry)

    def wait_again(self, entry: Entry) -> None:
        """Let a call that was handed over wait again, before all that came later."""
        work = entry.task.actor
        assert work is not None
        actor = self._roster.actors[work.actor_id]
        actor.sent.pop(entry.task.task_id, None)
        lane = actor.lanes.setdefault(entry.client_id, deque())
        index = 0
        while index < len(lane) and lane[index].number < entry.number:
            index += 1
        lane.insert(index, entry)
        self.waiting[actor] = None

    def adopt(self, entry: Entry) -> None:
        """Take note of a call that an earlier process has handed over."""
        work = entry.task.actor
        assert work is not None
        entry.number = next(self._numbers)
        self._roster.known(work.actor_id).sent[entry.task.task_id] = entry

    def outlives_callers(self, entry: Entry) -> bool:
        """Tell whether a call is of an actor that lives on without its caller."""
        work = entry.task.actor
        actor = self._roster.actors.get(work.actor_id) if work is not None else None
        if work is None or actor is None or work.verb != "call":
            return False
        return actor.options.is_detached or bool(actor.holders)

    def failure_for(self, entry: Entry) -> tuple[Failure, bytes]:
        """Say why a call that had begun has no result, and may not begin again."""
        work = entry.task.actor
        assert work is not None
        return self._roster.actors[work.actor_id].failure(may_have_run=True)

    def hand_over(self, now: float, turn: Turn) -> None:
        """Hand actors their calls, as far as they may have them now."""
        for actor in list(self.waiting):
            if self._hand_over(actor, now, turn):
                del self.waiting[actor]

    def _hand_over(self, actor: Actor, now: float, turn: Turn) -> bool:
        """Hand an actor its calls; false: there are more than may be there now."""
        is_restarting = actor.life.state is LifeState.RESTARTING
        if actor.is_dead or (is_restarting and actor.options.fails_on_restart):
            self.end_waiting(actor, now, turn)
            return True
        manager = self._center.fleet.managers.get(actor.manager_id)
        if (
            manager is None
            or not manager.is_connected
            or actor.life.state is not LifeState.ALIVE
            or actor.is_doomed
            or actor.is_killed
            or actor.ending
            or actor.life.is_ordered
        ):
            # Whatever changes that says so.
            return True
        ledger, sent = self._center.ledger, actor.sent
        if len(sent) >= WINDOW:
            for task_id in [t for t in sent if t not in manager.calls]:
                del sent[task_id]
        leased: list[LeasedCall] = []
        to = actor.incarnation
        for caller, lane in list(actor.lanes.items()):
            client = self._center.clients.get(caller)
            if client is not None and client.is_held_back:
                continue
            while lane and len(sent) < WINDOW:
                entry = lane.popleft()
                task = entry.task
                if ledger.entries.get(task.task_id) is not entry:
                    continue  # it was cancelled
                ledger.lease_one(entry, manager.manager_id, now)
                manager.calls[task.task_id] = sent[task.task_id] = entry
                streams_from = task.streams_from
                if streams_from >= 0:
                    streams_from = self._center.streams.known(task)
                leased.append(
                    LeasedCall(
                        task.task_id,
                        entry.attempt,
                        task.function,
                        task.arguments,
                        to,
                        task.timeout,
                        streams_from,
                        task.name,
                    )
                )
            if not lane:
                del actor.lanes[caller]
        if leased:
            at = now + self._center.wall_offset
            ids = [call.task_id for call in leased]
            turn.records.append(TasksLeased(manager.manager_id, at, ids))
            turn.promise(manager.peer, LeaseCalls(leased))
        return not actor.lanes

    def end_waiting(self, actor: Actor, now: float, turn: Turn) -> None:
        """End all calls that wait here, with the reason."""
        self._fail(actor, *actor.failure(), now, turn)
        if actor.is_dead and actor.watchers:
            self.tell_watchers(actor, actor.death(), now, turn)

    def fail_those_of_the_homeless(
        self, failure: Failure, now: float, turn: Turn
    ) -> None:
        """End the calls of actors that have no process, as no block is to come."""
        for actor in self._roster.actors.values():
            if actor.lanes and not actor.manager_id:
                self._fail(actor, failure, b"", now, turn)

    def _fail(
        self, actor: Actor, failure: Failure, payload: bytes, now: float, turn: Turn
    ) -> None:
        lanes, actor.lanes = actor.lanes, {}
        at = now + self._center.wall_offset
        for lane in lanes.values():
            for entry in lane:
                if self._center.ledger.entries.get(entry.task.task_id) is entry:
                    outcome = failed(entry.task.task_id, failure, at, payload)
                    self._center.end_call(entry, outcome, now, turn)

    def tell_watchers(self, actor: Actor, died: Died, now: float, turn: Turn) -> None:
        """Tell who watches an incarnation that it has ended."""
        watchers, actor.watchers = actor.watchers, []
        at = now + self._center.wall_offset
        for entry in watchers:
            if self._center.ledger.entries.get(entry.task.task_id) is entry:
                outcome = done(entry.task.task_id, died, at)
                self._center.end_call(entry, outcome, now, turn)
