"""Directory: the actors of one program, their processes and names. Pure.

    create ─► (waits for arguments, resources) ─► process ─► constructor ─► alive
                                   ▲                                          │
                                   └──────────(delay)────── its process died ─┘─► dead

It stands beside the hub, uses its refs and effects, and is driven in the same rounds.
Calls are the business of `call_lanes`.
"""

import itertools
import math
import pickle
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from actors.embedded.actor_calls import CONSTRUCTOR, Actor, ActorCall, Anchor
from actors.embedded.actor_failures import (
    death_of,
    describe_end,
    name_taken,
    no_such_actor,
    reason_of,
    unavailable,
)
from actors.embedded.call_lanes import WINDOW, CallLanes
from actors.embedded.failures import closed
from actors.embedded.groups import Group, GroupAnchor
from actors.embedded.hub import Hub
from actors.embedded.mailboxes import dissolve
from actors.embedded.tasks import CallSpec, TaskStage
from actors.embedded.workers import ForWorker, SendTasks
from actors.groups import Groups
from actors.logic.actor_life import ActorLife, DeathReason, Died, LifeState
from actors.logic.restarts import RestartKind
from actors.logic.turn import Effect
from actors.logic.workers import KillWorker, StopWorker, WorkerDied
from actors.messages import (
    ActorOptions,
    FailureKind,
    GroupOptions,
    HostActor,
    TaskOptions,
    Value,
    WorkerId,
)
from actors.refs import ObjectRef, Promise, Settled
from actors.supervisor import ChildState

__all__ = ["Directory", "StartHost"]

# Dead actors that can still be listed. Chosen.
MAX_LATE = 100

_NONE = pickle.dumps(None, 5)

_CONSTRUCTOR_OPTIONS = TaskOptions(retries=0)
_RESTARTING, _DEAD = LifeState.RESTARTING, LifeState.DEAD


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
        self.calls = CallLanes(hub, self)
        self._hub = hub
        self._chance = chance
        self._wake = wake
        self._numbers = itertools.count(1)
        self._processes = itertools.count(1)
        self.actors: dict[str, Actor] = {}  # {actor_id: it}, all that are not dead
        self._names: dict[tuple[str, str], Actor] = {}  # {(namespace, name): it}
        self.late: deque[Actor] = deque(maxlen=MAX_LATE)  # that died, to be told of
        self.groups: Groups[Actor] = Groups(chance)
        self._group_numbers = itertools.count(1)
        self._starting: deque[Group] = deque()
        self._unwanted: deque[Actor | Group] = deque()  # any thread puts them here
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
                return name_taken(options.name)
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
        if creation.stage is TaskStage.NEW:
            self.calls.await_arguments(creation)
        if creation.stage is TaskStage.ENDED:
            self.die_unborn(actor)
        elif creation.stage is TaskStage.NEW:
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
                self._hub.settle(group.started, name_taken(name))
                self._hub.settle(anchor, name_taken(name))
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
            outcome = death_of(root.culprit)
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
            return no_such_actor(name, namespace)
        found: Anchor = anchor
        return found

    def _start(self, actor: Actor) -> None:
        """Start a process and have it construct the actor."""
        hub = self._hub
        actor.is_exiting = actor.is_killed = False
        worker_id = WorkerId(f"a{next(self._processes)}")
        host = actor.host = hub.crew.add_guest(worker_id)
        host.title = actor.title
        self.calls.hosts[worker_id] = actor
        creation = actor.creation
        assert creation is not None
        if actor.gpus is None:
            actor.gpus = hub.capacity.take(actor.need, lasts=True)
        host.gpus = actor.gpus
        hub.effects.append(StartHost(worker_id))
        seq, host.next_seq = host.next_seq, host.next_seq + 1
        creation.seq, creation.worker, creation.stage = seq, host, TaskStage.ASSIGNED
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
        messages: list[ForWorker] = [hub.crew.introduction(host), become]
        messages.append(
            hub.parcels.call_of(host, creation, seq, CONSTRUCTOR, hub.effects)
        )
        hub.effects.append(SendTasks(worker_id, messages))

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
            self.calls.end_overdue()
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
        if self.calls.dirty:
            self.calls.send()

    # Actors live and end

    def can_begin(self, actor: Actor) -> None:
        """Note that the arguments of its constructor are known."""
        if not actor.is_held_back:
            self._lacking[actor] = None

    def constructed(self, actor: Actor, now: float) -> None:
        """Note that its constructor has returned."""
        actor.life.constructed()
        creation = actor.creation
        assert creation is not None
        creation.stage = TaskStage.NEW
        if not actor.life.may_restart:
            # Nobody will construct it again: its arguments may go.
            creation.arguments, creation.dependencies, creation.held = b"", (), ()
        anchor = actor.anchor()
        if anchor is not None and anchor.outcome is None:
            self._hub.settle(anchor, _NONE)
        self.calls.dirty[actor] = None
        if actor.is_released:
            self._stop(actor)
        if actor.group is not None:
            assert actor.host is not None
            self.groups.constructed(actor, actor.host.pid, now)

    def not_constructed(self, actor: Actor, value: Value) -> None:
        """Note that its constructor has raised: its process is of no use."""
        failure = value.failure
        assert failure is not None
        assert actor.host is not None
        assert actor.creation is not None
        actor.creation.stage = TaskStage.NEW
        is_unpicklable = failure.kind is FailureKind.NOT_LOADABLE
        reason = DeathReason.CONSTRUCTOR_FAILED
        actor.life.reason = DeathReason.UNPICKLABLE if is_unpicklable else reason
        actor.message = f"its constructor failed: {failure.message}"
        actor.last_words = failure.detail
        promise: Promise = ObjectRef()
        actor.creation.returns = promise
        promise.outcome = Settled(value)
        self._hub.effects.append(KillWorker(actor.host.worker_id))

    def exits(self, worker_id: WorkerId) -> None:
        """Note that an actor ends by itself."""
        actor = self.calls.hosts[worker_id]
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
            self.die_unborn(actor)

    def _release_soon(self, unwanted: Actor | Group) -> None:
        """In any thread: note that nobody has a handle."""
        self._unwanted.append(unwanted)
        self._wake()

    def _release(self, actor: Actor) -> None:
        if actor.life.state is _DEAD or actor.is_released:
            return
        actor.is_released = True
        if actor.host is None:
            self.die_unborn(actor)
        elif actor.life.state is LifeState.ALIVE:
            self._stop(actor)

    def _stop(self, actor: Actor) -> None:
        assert actor.host is not None
        actor.is_exiting = True
        self._hub.effects.append(StopWorker(actor.host.worker_id))

    def die_unborn(self, actor: Actor) -> None:
        """Let an actor be dead that has no process, and will have none."""
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

    def died(self, death: WorkerDied, now: float) -> None:
        """Note that an actor's process is gone."""
        actor = self.calls.hosts.pop(death.worker_id)
        self._hub.crew.remove_guest(death.worker_id)
        host, actor.host = actor.host, None
        assert host is not None
        life = actor.life
        reason = reason_of(actor, death)
        describe_end(actor, host, death, reason)
        incarnation = life.incarnation
        actor.early.clear()
        actor.ended_incarnation, actor.begun_direct = incarnation, death.begun_direct
        delay = self._delay_after(actor, reason, now)
        watchers, actor.watchers = actor.watchers, []
        self._tell(actor, watchers, incarnation, reason)
        if delay is None:
            if life.reason is DeathReason.RESTARTS_EXCEEDED and actor.group is None:
                actor.message += f"; it was restarted {life.restarts} times already"
            self.calls.fail_sent(actor)
            self._bury(actor)
            return
        self._restarts[actor] = now + delay
        self.calls.take_back(actor, death)
        if actor.options.fails_on_restart:
            self.calls.end_waiting(actor, unavailable(actor))

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

    def _bury(self, actor: Actor) -> None:
        """Let go of all that a dead actor had."""
        outcome = death_of(actor)
        self.calls.end_waiting(actor, outcome)
        dissolve(actor)
        anchor = actor.anchor()
        if anchor is not None and anchor.outcome is None:
            self._hub.settle(anchor, outcome)
        self._tell_rest(actor)
        if actor.gpus is not None:
            self._hub.capacity.give_back(actor.need, actor.gpus, lasted=True)
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
        self.calls.dirty.clear()
        self._lacking.clear()
        self._restarts.clear()

    def disown(self, why: str) -> None:
        """In a process that is not their owner: let all actors be dead."""
        for actor in self.actors.values():
            actor.message = why
            if actor.life.state is not _DEAD:
                actor.life.ended(DeathReason.OWNER_DIED, 0.0, is_meant=True)

    def check(self) -> None:
        """Raise AssertionError if a call is in two places, or an actor in none."""
        for actor in self.actors.values():
            actor.life.check()
            assert actor.life.state is not _DEAD, "a dead actor is listed"
            assert (actor in self._restarts) == (actor.life.state is _RESTARTING)
            self.calls.check(actor)
        for actor in self.calls.hosts.values():
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
