"""Directory: the actors of one program, their processes, names and calls. Pure.

    create ─► (waits for arguments, resources) ─► process ─► constructor ─► alive
    call ─► lane of its caller ─► sent to the process ─► ended
               ▲                     │
               └── the process died ─┘   what had not begun; or may be retried

Calls of one caller are sent in their order; one that waits for its arguments holds back
those behind it, and no other caller's. After a death what was sent goes back to the
front of its lane, in order. Waiting costs no budget.

It stands beside the hub, uses its refs and effects, and is driven in the same rounds.
"""

import itertools
import math
import pickle
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from actors.embedded.actor_calls import CONSTRUCTOR, Actor, ActorCall, Anchor
from actors.embedded.failures import cancelled, closed, timed_out
from actors.embedded.groups import Group, GroupAnchor
from actors.embedded.hub import Hub, failure_of
from actors.embedded.mailboxes import dissolve, give_room_back
from actors.embedded.streams import Stream
from actors.embedded.tasks import CallSpec, TaskStage
from actors.embedded.workers import ForWorker, SendTasks
from actors.groups import Groups
from actors.logic.actor_life import ActorLife, DeathReason, Died, LifeState
from actors.logic.restarts import RestartKind
from actors.logic.turn import Effect
from actors.logic.workers import KillWorker, StopWorker, WorkerDied, how_it_died
from actors.messages import (
    FIRST_DIRECT,
    ActorOptions,
    Failure,
    FailureKind,
    Gave,
    GroupOptions,
    HostActor,
    Ran,
    Run,
    TaskOptions,
    Value,
    WorkerId,
    Yielded,
    caller_of,
)
from actors.refs import ObjectRef, Promise, Settled
from actors.supervisor import ChildState

__all__ = ["Directory", "StartHost"]

# Calls that are at an actor which runs one at a time: the others wait here, where they
# cost no second copy. Chosen: what keeps its pipe filled.
WINDOW = 1024

# Dead actors that can still be listed. Chosen.
MAX_LATE = 100

_NONE = pickle.dumps(None, 5)

# Looked up once per call, and more: out of their enumerations that takes 0.1 us.
_NEW, _BLOCKED = TaskStage.NEW, TaskStage.BLOCKED
_ASSIGNED, _ENDED = TaskStage.ASSIGNED, TaskStage.ENDED
_ALIVE, _RESTARTING, _DEAD = LifeState.ALIVE, LifeState.RESTARTING, LifeState.DEAD

_CONSTRUCTOR_OPTIONS = TaskOptions(retries=0)


class StartHost(Effect, frozen=True):
    """Make a process that will be an actor's."""

    worker_id: WorkerId


class Directory:
    """The machine; see the module's docstring.

    Args:
        hub: of the same program.
        chance: for the delays between restarts.
        wake: called, in any thread, when there is something to do.
    """

    def __init__(
        self, hub: Hub, chance: random.Random, wake: Callable[[], object]
    ) -> None:
        self._hub = hub
        self._chance = chance
        self._wake = wake
        self._numbers = itertools.count(1)
        self._processes = itertools.count(1)
        self.actors: dict[str, Actor] = {}  # {actor_id: it}, all that are not dead
        self._names: dict[tuple[str, str], Actor] = {}  # {(namespace, name): it}
        self._hosts: dict[WorkerId, Actor] = {}
        self.late: deque[Actor] = deque(maxlen=MAX_LATE)  # that died, to be told of
        self.groups: Groups[Actor] = Groups(chance)
        self._group_numbers = itertools.count(1)
        self._starting: deque[Group] = deque()
        self._unwanted: deque[Actor | Group] = deque()  # any thread puts them here
        self._dirty: dict[Actor, None] = {}  # may have calls to send
        self._lacking: dict[Actor, None] = {}  # wait for resources
        self._restarts: dict[Actor, float] = {}  # {it: when}

    # Actors come

    def prepare(
        self,
        class_: bytes,
        options: ActorOptions,
        arguments: bytes | Settled,
        dependencies: Sequence[Promise] = (),
        held: Sequence[Promise] = (),
        *,
        is_supervised: bool = False,
    ) -> Anchor:
        """Make what stands for an actor, in any thread; `admit` begins its life."""
        max_restarts = -1 if is_supervised else options.max_restarts
        life = ActorLife(max_restarts, options.restart_period, self._chance)
        actor_id = f"{next(self._numbers):06x}"
        actor = Actor(actor_id, class_, options, life, self._release_soon)
        is_usual = options.max_concurrency == 1 and not options.groups
        actor.window = WINDOW if is_usual else 1 << 62
        name = f"{options.class_name}.__init__"
        actor.creation = ActorCall(
            actor,
            None,
            "",
            CallSpec(CONSTRUCTOR, _CONSTRUCTOR_OPTIONS, name),
            arguments,
            ObjectRef(),
            dependencies,
            held,
        )
        return Anchor(actor)

    def admit(self, anchor: Anchor) -> Anchor | Settled:
        """Let an actor live; its process follows.

        Returns:
            What stands for it, or for the one that there is if it has the name and that
            is wanted; a failure if the name is taken.
        """
        actor = anchor.actor
        options = actor.options
        if options.name:
            found = self.find(options.name, options.namespace)
            if isinstance(found, Anchor):
                if options.get_if_exists:
                    return found
                return _name_taken(options.name)
        self._register(actor)
        self._find_place(actor)
        return anchor

    def _register(self, actor: Actor) -> None:
        options = actor.options
        if options.name:
            self._names[options.namespace, options.name] = actor
        self.actors[actor.actor_id] = actor

    def _find_place(self, actor: Actor) -> None:
        """Have an actor start for the first time as soon as it can."""
        creation = actor.creation
        assert creation is not None
        if creation.stage is _NEW:
            self._await(creation)
        if creation.stage is _ENDED:
            self._die_unborn(actor)
        elif creation.stage is _NEW:
            self._lacking[actor] = None

    # Supervisors

    def prepare_group(
        self,
        options: GroupOptions,
        children: Mapping[str, tuple[RestartKind, Anchor | Group]],
    ) -> Group:
        """Make what stands for a supervisor, in any thread; `supervise` begins it."""
        group_id = f"s{next(self._group_numbers)}"
        return Group(group_id, options, children, self._release_soon)

    def supervise(self, anchor: GroupAnchor) -> None:
        """Have a supervisor, with all in it, start its children in the next round."""
        group = anchor.group
        actors = group.actors()
        names = [(a.options.namespace, a.options.name) for a in actors]
        for namespace, name in names:
            is_twice = names.count((namespace, name)) > 1
            if name and (is_twice or isinstance(self.find(name, namespace), Anchor)):
                self._hub.settle(group.started, _name_taken(name))
                self._hub.settle(anchor, _name_taken(name))
                return
        for actor in actors:
            self._register(actor)
        self._starting.append(group)

    def stop_group(self, group: Group) -> None:
        """Have a supervisor stop its children, and end, in the next round."""
        self._unwanted.append(group)

    def begin(self, actor: Actor, now: float) -> None:
        """Start what a supervisor wants to run, for the first time or again."""
        actor.is_held_back = False
        if actor.life.state is _RESTARTING:
            self._restarts[actor] = now
        else:
            self._find_place(actor)

    def ask_to_end(self, actor: Actor, now: float) -> None:
        """Have a supervised actor's process end once it has run what it has."""
        if actor.host is not None:
            self._stop(actor)
        else:
            self._hold_back(actor, now)

    def kill_process(self, actor: Actor, now: float) -> None:
        """Kill a supervised actor's process."""
        if actor.host is not None:
            actor.host.is_killed = True
            self._hub.effects.append(KillWorker(actor.host.worker_id))
        else:
            self._hold_back(actor, now)

    def _hold_back(self, actor: Actor, now: float) -> None:
        """Not to start an actor that has no process, until it is begun again."""
        self._lacking.pop(actor, None)
        if actor in self._restarts:
            self._restarts[actor] = math.inf
        actor.is_held_back = True
        self.groups.fell(actor, DeathReason.EXITED, "it had not started", now)

    def give_up(self, actor: Actor, reason: DeathReason, why: str) -> None:
        """Let an actor without a process be dead: no supervisor will start it."""
        actor.life.ended_supervised(reason, may_return=False)
        actor.message = f"{actor.message}; {why}" if actor.message else why
        self._bury(actor)

    def all_up(self, root: Group) -> None:
        """Tell who waits for a supervisor's start that all are up."""
        self._hub.settle(root.started, _NONE)

    def start_failed(self, root: Group, reason: str) -> None:
        """Tell who waits for a supervisor's start that not all ever were."""
        outcome = closed("the supervisor was stopped before all had started")
        if reason and root.culprit is not None:
            outcome = self.death_of(root.culprit)
        self._hub.settle(root.started, outcome)

    def all_over(self, root: Group, reason: str) -> None:
        """Tell who watches a supervisor that it has ended."""
        anchor = root.anchor() if root.anchor is not None else None
        if anchor is not None and anchor.outcome is None:
            death = DeathReason.RESTARTS_EXCEEDED if reason else DeathReason.EXITED
            text = reason or "it was stopped"
            died = Died(root.group_id, 1, death, True, text)
            self._hub.settle(anchor, pickle.dumps(died, 5))
        root.bury()

    def find(self, name: str, namespace: str) -> Anchor | Settled:
        """Return what stands for the actor with a name, or a failure."""
        actor = self._names.get((namespace, name))
        anchor = actor.anchor() if actor is not None else None
        if actor is None or anchor is None or actor.is_killed or actor.is_exiting:
            where = f" in namespace {namespace!r}" if namespace else ""
            return _failed(
                FailureKind.NO_SUCH_ACTOR, f"There is no actor named {name!r}{where}"
            )
        found: Anchor = anchor
        return found

    def _start(self, actor: Actor) -> None:
        """Start a process and have it construct the actor."""
        hub = self._hub
        actor.is_exiting = actor.is_killed = False
        worker_id = WorkerId(f"a{next(self._processes)}")
        host = actor.host = hub.add_guest(worker_id)
        host.title = actor.title
        self._hosts[worker_id] = actor
        creation = actor.creation
        assert creation is not None
        if actor.gpus is None:
            actor.gpus = hub.capacity.take(actor.need)
        host.gpus = actor.gpus
        hub.effects.append(StartHost(worker_id))
        seq, host.next_seq = host.next_seq, host.next_seq + 1
        creation.seq, creation.worker, creation.stage = seq, host, _ASSIGNED
        creation.returns = ObjectRef()
        actor.sent[seq] = creation
        environment = {}
        if actor.options.num_gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, actor.gpus))
        become = HostActor(
            actor.actor_id,
            actor.life.incarnation,
            actor.class_,
            actor.options,
            environment,
        )
        messages: list[ForWorker] = [hub.introduction(host), become]
        messages.append(
            hub.parcels.call_of(host, creation, seq, CONSTRUCTOR, hub.effects)
        )
        hub.effects.append(SendTasks(worker_id, messages))

    # Calls come

    def accept(self, call: ActorCall) -> None:
        """Take a call."""
        actor = call.actor
        options = actor.options
        self._hub.unended[call] = None
        state = actor.life.state
        if state is _DEAD:
            self._hub.end(call, self.death_of(actor))
            return
        if state is _RESTARTING and options.fails_on_restart:
            self._end(call, self._unavailable(actor))
            return
        if call.dependencies:
            self._await(call)
            if call.stage is _ENDED:
                return
        lane = actor.lanes.get(call.caller)
        if lane is None:
            lane = actor.lanes[call.caller] = deque()
        lane.append(call)
        self._dirty[actor] = None

    def began(self, worker_id: WorkerId, seq: int, now: float) -> None:
        """Note that a call with a timeout has begun."""
        call = self._hosts[worker_id].sent.get(seq)
        if call is not None:
            self._hub.set_deadline(call, now + call.spec.options.timeout)

    def _await(self, call: ActorCall) -> None:
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
                self._die_unborn(actor)
        elif not call.missing:
            call.stage = _NEW
            if call is actor.creation and not actor.is_held_back:
                self._lacking[actor] = None
        self._dirty[actor] = None

    # Rounds

    @property
    def wake_at(self) -> float:
        """When `place` is wanted next; infinity: only events matter."""
        if self._starting:
            return -math.inf
        restart_at = min(self._restarts.values()) if self._restarts else math.inf
        return min(restart_at, self.groups.wake_at) if self.groups.live else restart_at

    def place(self, now: float) -> None:
        """Start what can start, send what can be sent, end what nobody wants."""
        while self._starting:
            self.groups.begin(self._starting.popleft(), now)
        while self._unwanted:
            unwanted = self._unwanted.popleft()
            if isinstance(unwanted, Group):
                self.groups.stop(unwanted, "", now)
            else:
                self._release(unwanted)
        if self._hub.overdue:
            overdue, self._hub.overdue = self._hub.overdue, []
            for call in overdue:
                if isinstance(call, ActorCall):
                    self._end_by_force(call)
        if self.groups.live:
            self.groups.place(now, self)
        if self._restarts and min(self._restarts.values()) <= now:
            for actor in [a for a, at in self._restarts.items() if at <= now]:
                del self._restarts[actor]
                actor.life.started_again()
                self._start(actor)
        if self._lacking:
            for actor in list(self._lacking):
                if self._hub.capacity.lack(actor.need):
                    break
                del self._lacking[actor]
                if actor.life.state is not _DEAD:
                    self._start(actor)
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
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
            self._fail_with_process(call, self.death_of(actor))
            return False
        is_known = incarnation == actor.ended_incarnation
        is_begun = not is_known or _has_begun(number, 0, actor.begun_direct)
        if not self._is_lost(call, is_begun=is_begun):
            actor.lanes.setdefault(call.caller, deque()).appendleft(call)
            self._dirty[actor] = None
        return False

    def answered(self, actor: Actor, ran: Ran) -> None:
        """Note what came of an adopted call; nothing if its process is gone."""
        if actor.host is not None and ran.seq in actor.sent:
            # It is no constructor's: the moment makes no difference.
            self.ran(actor.host.worker_id, [ran], 0.0)

    # Calls end

    def ran(self, worker_id: WorkerId, results: Sequence[Ran], now: float) -> None:
        """Note that an actor has answered calls, in any order."""
        actor = self._hosts[worker_id]
        unended, sent, counts = self._hub.unended, actor.sent, actor.pending
        for ran in results:
            call = sent.pop(ran.seq)
            if not ran.is_success:
                failed = Value(ran.payload, failure=ran.failure)
                self._fail(
                    actor, call, failed, is_retriable=not call.spec.options.retry_on
                )
            elif call is actor.creation:
                self._constructed(actor, now)
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
            self._dirty[actor] = None

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
            self._dirty[actor] = None

    def gave(self, worker_id: WorkerId, gave: Gave, now: float) -> None:
        """Note that an actor has answered a call that was not simple."""
        actor = self._hosts[worker_id]
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
            self._constructed(actor, now)
        else:
            outcomes = self._hub.taken(actor.host, gave.values)
            self._uncount(call)
            self._hub.end_with(call, outcomes)
        if actor.lanes:
            self._dirty[actor] = None

    def yielded(self, worker_id: WorkerId, item: Yielded) -> None:
        """Note the next item of a generator."""
        actor = self._hosts[worker_id]
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
            self._not_constructed(actor, value)
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

    def _end(self, call: ActorCall, outcome: bytes | Settled) -> None:
        self._uncount(call)
        self._hub.end(call, outcome)

    def _uncount(self, call: ActorCall) -> None:
        if call.spec.options.needs_room:
            give_room_back(call.actor, call.caller)

    # Actors live and end

    def _constructed(self, actor: Actor, now: float) -> None:
        actor.life.constructed()
        creation = actor.creation
        assert creation is not None
        creation.stage = _NEW
        if not actor.life.may_restart:
            # Nobody will construct it again: its arguments may go.
            creation.arguments, creation.dependencies, creation.held = b"", (), ()
        anchor = actor.anchor()
        if anchor is not None and anchor.outcome is None:
            self._hub.settle(anchor, _NONE)
        self._dirty[actor] = None
        if actor.is_released:
            self._stop(actor)
        if actor.group is not None:
            assert actor.host is not None
            self.groups.constructed(actor, actor.host.pid, now)

    def _not_constructed(self, actor: Actor, value: Value) -> None:
        """Its constructor raised: its process is of no use."""
        failure = value.failure
        assert failure is not None
        assert actor.host is not None
        assert actor.creation is not None
        actor.creation.stage = _NEW
        is_unpicklable = failure.kind is FailureKind.NOT_LOADABLE
        reason = DeathReason.CONSTRUCTOR_FAILED
        actor.life.reason = DeathReason.UNPICKLABLE if is_unpicklable else reason
        actor.message = f"its constructor failed: {failure.message}"
        actor.last_words = failure.detail
        promise: Promise = ObjectRef()
        actor.creation.returns = promise
        promise.outcome = Settled(value)
        self._hub.effects.append(KillWorker(actor.host.worker_id))

    def _end_by_force(self, call: ActorCall) -> None:
        """Kill the process of a call that goes on though it was interrupted."""
        actor, host = call.actor, call.actor.host
        first = next(iter(actor.sent), 0)
        if host is None or (actor.window == WINDOW and first != call.seq):
            return  # it has not begun: it is passed over when its turn comes
        if not host.is_killed:
            name = call.spec.name
            host.why_killed = f"{name} went on after it was told to end"
            host.is_killed = True
            self._hub.effects.append(KillWorker(host.worker_id))

    def exits(self, worker_id: WorkerId) -> None:
        """Note that an actor ends by itself."""
        actor = self._hosts[worker_id]
        actor.is_exiting = True
        self._hub.effects.append(StopWorker(worker_id))

    def kill(self, actor: Actor, *, is_final: bool) -> None:
        """Kill an actor's process; nothing if it is dead."""
        if actor.life.state is _DEAD:
            return
        actor.is_killed = actor.is_killed or is_final
        if actor.host is not None:
            # What comes now is not for this process any more.
            actor.host.is_killed = True
            self._hub.effects.append(KillWorker(actor.host.worker_id))
        elif is_final and actor.group is None:
            self._die_unborn(actor)

    def _release_soon(self, unwanted: Actor | Group) -> None:
        """In any thread: note that nobody has a handle."""
        self._unwanted.append(unwanted)
        self._wake()

    def _release(self, actor: Actor) -> None:
        if actor.life.state is _DEAD or actor.is_released:
            return
        actor.is_released = True
        if actor.host is None:
            self._die_unborn(actor)
        elif actor.life.state is _ALIVE:
            self._stop(actor)

    def _stop(self, actor: Actor) -> None:
        assert actor.host is not None
        actor.is_exiting = True
        self._hub.effects.append(StopWorker(actor.host.worker_id))

    def _die_unborn(self, actor: Actor) -> None:
        """It has no process, and will have none."""
        if actor.life.state is _DEAD:
            return
        reason = DeathReason.KILLED if actor.is_killed else DeathReason.EXITED
        if not actor.message:
            actor.message = "it was killed" if actor.is_killed else "nobody wants it"
        actor.life.ended(reason, 0.0, is_meant=True)
        self._bury(actor)
        if actor.group is not None:
            # What its constructor needs will never be there.
            failed = DeathReason.CONSTRUCTOR_FAILED
            self.groups.fell(actor, failed, "its arguments failed", 0.0)

    def died(self, death: WorkerDied, now: float, *, no_memory: bool = False) -> None:
        """Note that an actor's process is gone."""
        actor = self._hosts.pop(death.worker_id)
        self._hub.remove_guest(death.worker_id)
        host, actor.host = actor.host, None
        assert host is not None
        life = actor.life
        reason = self._reason_of(actor, death, no_memory=no_memory)
        failed = (DeathReason.CONSTRUCTOR_FAILED, DeathReason.UNPICKLABLE)
        if reason not in failed:
            actor.last_words = death.stderr_tail
            actor.message = f"its process (pid {host.pid}) {how_it_died(death)}"
            if host.why_killed:
                actor.message += f": {host.why_killed}"
            if reason is DeathReason.KILLED:
                actor.message = "it was killed by actors.kill()"
            elif reason is DeathReason.EXITED:
                actor.message = "it has ended"
            elif reason is DeathReason.OUT_OF_MEMORY:
                peak = death.peak_rss_bytes / 2**20
                actor.message += f"; memory ran out, its own peak was {peak:.0f} MiB"
        incarnation = life.incarnation
        actor.early.clear()
        actor.ended_incarnation, actor.begun_direct = incarnation, death.begun_direct
        delay = self._delay_after(actor, reason, now)
        watchers, actor.watchers = actor.watchers, []
        self._tell(actor, watchers, incarnation, reason)
        sent, actor.sent = actor.sent, {}
        sent = {seq: call for seq, call in sent.items() if call is not actor.creation}
        if delay is None:
            if life.reason is DeathReason.RESTARTS_EXCEEDED and actor.group is None:
                actor.message += f"; it was restarted {life.restarts} times already"
            for call in sent.values():
                self._fail_with_process(call, self.death_of(actor))
            self._bury(actor)
            return
        self._restarts[actor] = now + delay
        again = [
            call
            for seq, call in sent.items()
            if not self._is_lost(
                call, is_begun=_has_begun(seq, death.begun_seq, death.begun_direct)
            )
        ]
        for call in reversed(again):
            call.stage, call.worker = _NEW, None
            actor.lanes.setdefault(call.caller, deque()).appendleft(call)
        if actor.options.fails_on_restart:
            self._end_all(actor, self._unavailable(actor))

    def _delay_after(
        self, actor: Actor, reason: DeathReason, now: float
    ) -> float | None:
        """Seconds until its next incarnation; None: there will be none."""
        life = actor.life
        if actor.group is None:
            is_meant = actor.is_killed or actor.is_exiting or actor.is_released
            return life.ended(reason, now, is_meant=is_meant)
        actor.message = self.groups.ended(actor, reason, actor.message, now)
        actor.is_exiting = actor.is_killed = False
        return None if life.state is _DEAD else math.inf

    def _reason_of(
        self, actor: Actor, death: WorkerDied, *, no_memory: bool
    ) -> DeathReason:
        known = actor.life.reason
        if actor.life.state is LifeState.STARTING and known in (
            DeathReason.CONSTRUCTOR_FAILED,
            DeathReason.UNPICKLABLE,
        ):
            outcome = getattr(
                actor.creation.returns if actor.creation else None, "outcome", None
            )
            if outcome is not None:
                return known
        if actor.is_killed:
            return DeathReason.KILLED
        if actor.is_exiting:
            return DeathReason.EXITED
        return DeathReason.OUT_OF_MEMORY if no_memory else DeathReason.CRASHED

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
            self._end(call, self._unavailable(call.actor, may_have_run=True))
            return True
        call.crashes += 1
        return False

    def _fail_with_process(self, call: ActorCall, outcome: Settled) -> None:
        if call.is_timed_out:
            outcome = timed_out(call)
        self._end(call, cancelled(call) if call.is_cancelled else outcome)

    def _end_all(self, actor: Actor, outcome: Settled) -> None:
        lanes, actor.lanes = actor.lanes, {}
        for lane in lanes.values():
            for call in lane:
                if call.stage is not _ENDED:
                    self._end(call, outcome)

    def _bury(self, actor: Actor) -> None:
        """Let go of all that a dead actor had."""
        outcome = self.death_of(actor)
        self._end_all(actor, outcome)
        dissolve(actor)
        anchor = actor.anchor()
        if anchor is not None and anchor.outcome is None:
            self._hub.settle(anchor, outcome)
        self._tell_rest(actor)
        if actor.gpus is not None:
            self._hub.capacity.give_back(actor.need, actor.gpus)
            actor.gpus = None
        key = (actor.options.namespace, actor.options.name)
        if self._names.get(key) is actor:
            del self._names[key]
        if self.actors.pop(actor.actor_id, None) is not None:
            self.late.append(actor)
        self._lacking.pop(actor, None)
        self._restarts.pop(actor, None)
        if actor.creation is not None:
            self._hub.unended.pop(actor.creation, None)

    # Who watches

    def watch(self, actor: Actor, promise: Promise) -> None:
        """Make a ref known when this incarnation ends; now, if the actor is dead."""
        if actor.life.state is _DEAD:
            reason = actor.life.reason or DeathReason.EXITED
            self._tell(actor, [promise], actor.life.incarnation, reason)
        else:
            actor.watchers.append(promise)

    def _tell(
        self,
        actor: Actor,
        watchers: Sequence[Promise],
        incarnation: int,
        reason: DeathReason,
    ) -> None:
        is_final = actor.life.state is _DEAD
        died = Died(actor.actor_id, incarnation, reason, is_final, actor.message)
        for promise in watchers:
            self._hub.settle(promise, pickle.dumps(died, 5))

    def _tell_rest(self, actor: Actor) -> None:
        watchers, actor.watchers = actor.watchers, []
        reason = actor.life.reason or DeathReason.EXITED
        self._tell(actor, watchers, actor.life.incarnation, reason)

    # What callers are told

    def death_of(self, actor: Actor) -> Settled:
        """Return the outcome of what is asked of a dead actor."""
        reason = actor.life.reason or DeathReason.EXITED
        text = f"{actor.title} is dead: {actor.message}"
        failure = Failure(FailureKind.ACTOR_DIED, text, actor.last_words, reason.value)
        payload = b""
        creation = actor.creation
        if creation is not None and isinstance(creation.returns, Promise):
            outcome = creation.returns.outcome
            if isinstance(outcome, Settled):
                # What its constructor raised, or what its arguments should have been.
                payload = outcome.value.payload
        return Settled(Value(payload, failure=failure))

    def _unavailable(self, actor: Actor, *, may_have_run: bool = False) -> Settled:
        text = f"{actor.title} is being restarted: {actor.message}"
        if may_have_run:
            text += "; the call had begun and may have run"
        reason = (actor.life.reason or DeathReason.CRASHED).value
        kind = FailureKind.ACTOR_UNAVAILABLE
        return Settled(
            Value(b"", failure=Failure(kind, text, actor.last_words, reason))
        )

    def close(self) -> None:
        """Forget all actors; the hub ends their calls."""
        for group in list(self.groups.live):
            if group is group.root:
                assert isinstance(group, Group)
                why = "the runtime was shut down"
                if group.started.outcome is None:
                    self._hub.settle(group.started, closed(why))
                self.all_over(group, why)
        self.groups.clear()
        for actor in list(self.actors.values()):
            actor.message = "the runtime was shut down"
            if actor.life.state is not _DEAD:
                actor.life.ended(DeathReason.OWNER_DIED, 0.0, is_meant=True)
            self._tell_rest(actor)
        self.actors.clear()
        self._names.clear()
        self._dirty.clear()
        self._lacking.clear()
        self._restarts.clear()

    def check(self) -> None:
        """Raise AssertionError if a call is in two places, or an actor in none."""
        for actor in self.actors.values():
            actor.life.check()
            assert actor.life.state is not _DEAD, "a dead actor is listed"
            lanes = [c for lane in actor.lanes.values() for c in lane]
            waiting = [c for c in lanes if c.stage is not _ENDED]
            sent = list(actor.sent.values())
            assert len({*waiting, *sent}) == len(waiting) + len(sent), "twice"
            assert all(call.stage is _ASSIGNED for call in sent)
            assert (actor in self._restarts) == (actor.life.state is _RESTARTING)
            assert actor.host is not None or not sent
        for actor in self._hosts.values():
            assert actor.host is not None
        self.groups.check()
        for group in self.groups.live:
            assert group.machine is not None
            for name, child in group.children.items():
                state = group.machine.children[name].state
                if isinstance(child, Actor) and state in (
                    ChildState.STOPPED,
                    ChildState.DONE,
                ):
                    assert child.host is None, f"{name} runs though it is {state}"


def _name_taken(name: str) -> Settled:
    text = f"An actor named {name!r} exists in this namespace; "
    text += "use get_actor(), or get_if_exists=True"
    return _failed(FailureKind.NAME_TAKEN, text)


def _has_begun(seq: int, begun_seq: int, begun_direct: int) -> bool:
    """Tell whether a call had begun when its process ended."""
    if seq < FIRST_DIRECT:
        return seq <= begun_seq
    return seq <= begun_direct and caller_of(seq) == caller_of(begun_direct)


def _failed(kind: FailureKind, text: str) -> Settled:
    return Settled(Value(b"", failure=Failure(kind, text)))
