"""Calls of the actors of one program: on their way, at the process, answered. Pure.

    call ─► lane of its caller ─► sent to the process ─► ended
               ▲                     │
               └── the process died ─┘   what had not begun; or may be retried

Calls of one caller are sent in their order; one that waits for its arguments holds back
those behind it, and no other caller's. After a death what was sent goes back to the
front of its lane, in order. Waiting costs no budget.
"""

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from actors.embedded.actor_calls import Actor, ActorCall
from actors.embedded.actor_failures import death_of, unavailable
from actors.embedded.failures import cancelled, timed_out
from actors.embedded.hub import Hub, failure_of
from actors.embedded.mailboxes import give_room_back
from actors.embedded.streams import Stream
from actors.embedded.tasks import TaskStage
from actors.embedded.workers import ForWorker, SendTasks
from actors.logic.actor_life import LifeState
from actors.logic.workers import KillWorker, WorkerDied
from actors.messages import (
    FIRST_DIRECT,
    FailureKind,
    Gave,
    Ran,
    Run,
    Value,
    WorkerId,
    Yielded,
    caller_of,
)
from actors.refs import ObjectRef, Promise, Settled

__all__ = ["WINDOW", "CallLanes", "Lives"]

# Calls that are at an actor which runs one at a time: the others wait here, where they
# cost no second copy. Chosen: what keeps its pipe filled.
WINDOW = 1024

# Looked up once per call, and more: out of their enumerations that takes 0.1 us.
_NEW, _BLOCKED = TaskStage.NEW, TaskStage.BLOCKED
_ASSIGNED, _ENDED = TaskStage.ASSIGNED, TaskStage.ENDED
_ALIVE, _RESTARTING, _DEAD = LifeState.ALIVE, LifeState.RESTARTING, LifeState.DEAD


class Lives(Protocol):
    """Who is told what calls of constructors come to."""

    def can_begin(self, actor: Actor) -> None:
        """The constructor's arguments are known."""

    def die_unborn(self, actor: Actor) -> None:
        """They never will be."""

    def constructed(self, actor: Actor, now: float) -> None:
        """The constructor has returned."""

    def not_constructed(self, actor: Actor, value: Value) -> None:
        """It has raised."""


class CallLanes:
    """The machine; see the module's docstring.

    Args:
        hub: of the same program.
        lives: of the actors.
    """

    def __init__(self, hub: Hub, lives: Lives) -> None:
        self._hub = hub
        self._lives = lives
        self.hosts: dict[WorkerId, Actor] = {}  # {process: whose}
        self.dirty: dict[Actor, None] = {}  # may have calls to send

    # Calls come

    def accept(self, call: ActorCall) -> None:
        """Take a call."""
        actor = call.actor
        options = actor.options
        self._hub.unended[call] = None
        state = actor.life.state
        if state is _DEAD:
            self._hub.end(call, death_of(actor))
            return
        if state is _RESTARTING and options.fails_on_restart:
            self._end(call, unavailable(actor))
            return
        if call.dependencies:
            self.await_arguments(call)
            if call.stage is _ENDED:
                return
        lane = actor.lanes.get(call.caller)
        if lane is None:
            lane = actor.lanes[call.caller] = deque()
        lane.append(call)
        self.dirty[actor] = None

    def began(self, worker_id: WorkerId, seq: int, now: float) -> None:
        """Note that a call with a timeout has begun."""
        call = self.hosts[worker_id].sent.get(seq)
        if call is not None:
            self._hub.set_deadline(call, now + call.spec.options.timeout)

    def await_arguments(self, call: ActorCall) -> None:
        """Have a call wait for its arguments."""
        for promise in call.dependencies:
            if promise.outcome is None:
                call.missing += 1
                call.stage = _BLOCKED
                self._hub.when_known(promise, partial(self._dependency_known, call))
            elif failure_of(promise) is not None:
                self._end(call, promise.outcome)
                return

    def _dependency_known(self, call: ActorCall, promise: Promise) -> None:
        call.missing -= 1
        if call.stage is not _BLOCKED:
            return
        actor = call.actor
        if failure_of(promise) is not None:
            assert promise.outcome is not None
            self._end(call, promise.outcome)
            if call is actor.creation:
                self._lives.die_unborn(actor)
        elif not call.missing:
            call.stage = _NEW
            if call is actor.creation:
                self._lives.can_begin(actor)
        self.dirty[actor] = None

    def send(self) -> None:
        """Send what can be sent."""
        dirty, self.dirty = self.dirty, {}
        for actor in dirty:
            self._send(actor)

    def _send(self, actor: Actor) -> None:
        host = actor.host
        if host is None or actor.life.state is not _ALIVE:
            return
        if host.is_killed or actor.is_exiting:
            return
        runs: list[ForWorker] = []
        sent, room = actor.sent, actor.window - len(actor.sent)
        for caller, lane in list(actor.lanes.items()):
            while lane and room > 0:
                call = lane[0]
                if call.stage is _BLOCKED:
                    break
                lane.popleft()
                if call.stage is _ENDED:
                    continue
                seq = host.next_seq
                host.next_seq = seq + 1
                call.stage, call.seq, call.worker = _ASSIGNED, seq, host
                sent[seq] = call
                room -= 1
                arguments, spec = call.arguments, call.spec
                if (
                    spec.is_simple
                    and type(arguments) is bytes
                    and not call.dependencies
                    and not call.held
                ):
                    runs.append(Run(seq, spec.function, arguments))
                else:
                    runs.append(
                        self._hub.parcels.call_of(
                            host, call, seq, spec.function, self._hub.effects
                        )
                    )
            if not lane:
                del actor.lanes[caller]
        if runs:
            self._hub.effects.append(SendTasks(host.worker_id, runs))

    def send_alone(self, call: ActorCall) -> Run | None:
        """Take a call and send it in one step, if nothing is before it.

        Returns:
            What to send to its process; None: the call is to be accepted as others are.
        """
        actor, spec, arguments = call.actor, call.spec, call.arguments
        host = actor.host
        if (
            actor.sent
            or actor.lanes
            or not spec.is_simple
            or spec.options.needs_room
            or type(arguments) is not bytes
            or call.dependencies
            or call.held
            or actor.life.state is not _ALIVE
            or actor.is_exiting
            or host is None
            or host.is_killed
        ):
            return None
        self._hub.unended[call] = None
        seq = host.next_seq
        host.next_seq = seq + 1
        call.stage, call.seq, call.worker = _ASSIGNED, seq, host
        actor.sent[seq] = call
        return Run(seq, spec.function, arguments)

    def adopt(self, call: ActorCall, number: int, incarnation: int) -> bool:
        """Look after a call that went straight to a process.

        Args:
            call: new.
            number: its seq there.
            incarnation: whose process that is.

        Returns:
            Whether the process lives, as far as is known here.
        """
        actor, host = call.actor, call.actor.host
        self._hub.unended[call] = None
        if host is not None and incarnation == actor.life.incarnation:
            call.stage, call.seq, call.worker = _ASSIGNED, number, host
            actor.sent[number] = call
            early = actor.early.pop(number, None)
            if early is not None:
                self.gave(host.worker_id, early, 0.0)
            return True
        if actor.life.state is _DEAD:
            self._fail_with_process(call, death_of(actor))
            return False
        is_known = incarnation == actor.ended_incarnation
        is_begun = not is_known or _has_begun(number, 0, actor.begun_direct)
        if not self._is_lost(call, is_begun=is_begun):
            actor.lanes.setdefault(call.caller, deque()).appendleft(call)
            self.dirty[actor] = None
        return False

    def answered(self, actor: Actor, ran: Ran) -> None:
        """Note what came of an adopted call; nothing if its process is gone."""
        if actor.host is not None and ran.seq in actor.sent:
            # It is no constructor's: the moment makes no difference.
            self.ran(actor.host.worker_id, [ran], 0.0)

    # Calls end

    def ran(self, worker_id: WorkerId, results: Sequence[Ran], now: float) -> None:
        """Note that an actor has answered calls, in any order."""
        actor = self.hosts[worker_id]
        unended, sent, counts = self._hub.unended, actor.sent, actor.pending
        for ran in results:
            call = sent.pop(ran.seq)
            if not ran.is_success:
                failed = Value(ran.payload, failure=ran.failure)
                self._fail(
                    actor, call, failed, is_retriable=not call.spec.options.retry_on
                )
            elif call is actor.creation:
                self._lives.constructed(actor, now)
            elif counts:
                self._end(call, ran.payload)
            else:
                # The usual case, without any detour.
                promise = call.returns
                del unended[call]
                call.stage = _ENDED
                self._hub.settle(promise, ran.payload)  # type: ignore[arg-type]
        self._hub.spans.append(
            (
                actor.host.pid if actor.host is not None else 0,
                call.spec.name,
                results[0].began_at,
                ran.ended_at,
                len(results),
            )
        )
        if actor.lanes:
            self.dirty[actor] = None

    def ran_alone(self, call: ActorCall, ran: Ran, now: float) -> None:
        """Note that an actor has answered what `send_alone` was for."""
        if not ran.is_success:
            self.ran(call.worker.worker_id, [ran], now)
            return
        actor, hub = call.actor, self._hub
        del actor.sent[ran.seq], hub.unended[call]
        call.stage = _ENDED
        hub.settle(call.returns, ran.payload)  # type: ignore[arg-type]
        hub.spans.append(
            (call.worker.pid, call.spec.name, ran.began_at, ran.ended_at, 1)
        )
        if actor.lanes:
            self.dirty[actor] = None

    def gave(self, worker_id: WorkerId, gave: Gave, now: float) -> None:
        """Note that an actor has answered a call that was not simple."""
        actor = self.hosts[worker_id]
        assert actor.host is not None
        if gave.seq >= FIRST_DIRECT and gave.seq not in actor.sent:
            actor.early[gave.seq] = gave
            return
        call = actor.sent.pop(gave.seq)
        pid, name = actor.host.pid, call.spec.name
        self._hub.spans.append((pid, name, gave.began_at, gave.ended_at, 1))
        failed = [value for value in gave.values if value.failure is not None]
        if failed:
            self._fail(actor, call, failed[0], is_retriable=gave.is_retriable)
        elif call is actor.creation:
            self._lives.constructed(actor, now)
        else:
            outcomes = self._hub.taken(actor.host, gave.values)
            self._uncount(call)
            self._hub.end_with(call, outcomes)
        if actor.lanes:
            self.dirty[actor] = None

    def yielded(self, worker_id: WorkerId, item: Yielded) -> None:
        """Note the next item of a generator."""
        actor = self.hosts[worker_id]
        call = actor.sent.get(item.seq)
        if call is not None and isinstance(call.returns, Stream):
            assert actor.host is not None
            promise: Promise = ObjectRef()
            (promise.outcome,) = self._hub.taken(actor.host, [item.value])
            call.returns.add(promise)

    def _fail(
        self, actor: Actor, call: ActorCall, value: Value, *, is_retriable: bool
    ) -> None:
        failure = value.failure
        assert failure is not None
        if call is actor.creation:
            self._lives.not_constructed(actor, value)
        elif call.is_cancelled:
            self._end(call, cancelled(call))
        elif call.is_timed_out:
            self._end(call, timed_out(call))
        elif (
            is_retriable
            and failure.kind is FailureKind.EXCEPTION
            and call.own_failures != call.spec.options.own_retries
        ):
            call.own_failures += 1
            call.stage = _NEW
            actor.lanes.setdefault(call.caller, deque()).append(call)
        else:
            self._end(call, Settled(value))

    def end_overdue(self) -> None:
        """Kill the processes of calls that go on though they were interrupted."""
        overdue, self._hub.overdue = self._hub.overdue, []
        for call in overdue:
            if isinstance(call, ActorCall):
                self._end_by_force(call)

    def _end_by_force(self, call: ActorCall) -> None:
        actor, host = call.actor, call.actor.host
        first = next(iter(actor.sent), 0)
        if host is None or (actor.window == WINDOW and first != call.seq):
            return  # it has not begun: it is passed over when its turn comes
        if not host.is_killed:
            name = call.spec.name
            host.why_killed = f"{name} went on after it was told to end"
            host.is_killed = True
            self._hub.effects.append(KillWorker(host.worker_id))

    # Processes end

    def take_back(self, actor: Actor, death: WorkerDied) -> None:
        """Let what was at a dead process wait for the next, as far as it may."""
        again = [
            call
            for seq, call in _take_sent(actor)
            if not self._is_lost(
                call, is_begun=_has_begun(seq, death.begun_seq, death.begun_direct)
            )
        ]
        for call in reversed(again):
            call.stage, call.worker = _NEW, None
            actor.lanes.setdefault(call.caller, deque()).appendleft(call)

    def fail_sent(self, actor: Actor) -> None:
        """End what was at the process of a dead actor."""
        for _, call in _take_sent(actor):
            self._fail_with_process(call, death_of(actor))

    def _is_lost(self, call: ActorCall, *, is_begun: bool) -> bool:
        """End a call that may not be sent again; tell whether it was."""
        if call.is_cancelled:
            self._end(call, cancelled(call))
            return True
        if call.is_timed_out:
            self._end(call, timed_out(call))
            return True
        if not is_begun:
            return False
        if call.crashes == call.spec.options.retries:
            self._end(call, unavailable(call.actor, may_have_run=True))
            return True
        call.crashes += 1
        return False

    def _fail_with_process(self, call: ActorCall, outcome: Settled) -> None:
        if call.is_timed_out:
            outcome = timed_out(call)
        self._end(call, cancelled(call) if call.is_cancelled else outcome)

    def end_waiting(self, actor: Actor, outcome: Settled) -> None:
        """End all calls that have not been sent."""
        lanes, actor.lanes = actor.lanes, {}
        for lane in lanes.values():
            for call in lane:
                if call.stage is not _ENDED:
                    self._end(call, outcome)

    def _end(self, call: ActorCall, outcome: bytes | Settled) -> None:
        self._uncount(call)
        self._hub.end(call, outcome)

    def _uncount(self, call: ActorCall) -> None:
        if call.spec.options.needs_room:
            give_room_back(call.actor, call.caller)

    def check(self, actor: Actor) -> None:
        """Raise AssertionError if a call of an actor is in two places."""
        lanes = [c for lane in actor.lanes.values() for c in lane]
        waiting = [c for c in lanes if c.stage is not _ENDED]
        sent = list(actor.sent.values())
        assert len({*waiting, *sent}) == len(waiting) + len(sent), "twice"
        assert all(call.stage is _ASSIGNED for call in sent)
        assert actor.host is not None or not sent


def _take_sent(actor: Actor) -> list[tuple[int, ActorCall]]:
    """Return the calls that are at an actor's process, and have been."""
    sent, actor.sent = actor.sent, {}
    return [(seq, call) for seq, call in sent.items() if call is not actor.creation]


def _has_begun(seq: int, begun_seq: int, begun_direct: int) -> bool:
    """Tell whether a call had begun when its process ended."""
    if seq < FIRST_DIRECT:
        return seq <= begun_seq
    return seq <= begun_direct and caller_of(seq) == caller_of(begun_direct)
