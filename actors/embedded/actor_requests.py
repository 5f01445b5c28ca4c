"""What a worker, or an actor, asks of the directory. Pure."""

from functools import partial
from typing import get_args

from actors.embedded.actor_calls import Actor, ActorCall, Anchor, CallerCount
from actors.embedded.deadlocks import runs_one_at_a_time
from actors.embedded.directory import Directory
from actors.embedded.groups import Group, GroupAnchor
from actors.embedded.mailboxes import give_room_back, pending_calls, reserve
from actors.embedded.requests import Requests
from actors.embedded.streams import Stream
from actors.embedded.tasks import CallSpec
from actors.embedded.workers import HubWorker
from actors.errors import BrokenInvariant
from actors.logic.actor_life import LifeState
from actors.logic.restarts import RestartKind
from actors.logic.workers import KillWorker, TellWorker
from actors.messages import (
    DYNAMIC,
    STREAMING,
    AdoptCall,
    Answered,
    CallActor,
    CreateActor,
    FindActor,
    KillActor,
    OfferLine,
    OpenLines,
    ReserveCall,
    StopGroup,
    Supervise,
    Value,
    Values,
    WatchActor,
    WorkerId,
)
from actors.refs import Promise, Settled

__all__ = ["ACTOR_REQUESTS", "ActorRequests", "line_path"]

_KINDS: dict[str, RestartKind] = {
    "permanent": "permanent",
    "transient": "transient",
    "temporary": "temporary",
}

_Request = (
    CallActor
    | CreateActor
    | FindActor
    | KillActor
    | WatchActor
    | ReserveCall
    | Supervise
    | StopGroup
    | AdoptCall
    | Answered
)
ACTOR_REQUESTS = get_args(_Request)


# Who has called an actor so often is likely to go on, and is offered a line. Chosen.
_OFTEN = 2
# So many callers of one actor are counted before those that are gone are forgotten.
_MANY_CALLERS = 64


class ActorRequests:
    """Carries them out.

    Args:
        directory: of the program.
        requests: what knows the refs of workers.
        folder: for the sockets of actors that may be called straight; "": none may.
    """

    def __init__(
        self, directory: Directory, requests: Requests, folder: str = ""
    ) -> None:
        self._folder = folder
        self._directory = directory
        self._requests = requests
        self._hub = requests.hub
        self._adopted: dict[int, ActorCall] = {}  # {number of its ref: call}

    def take(self, worker_id: WorkerId, message: _Request) -> None:
        """Carry out what a worker says."""
        hub = self._hub
        worker = hub.workers.get(worker_id) or hub.guests.get(worker_id)
        if worker is None:
            return
        match message:
            case CallActor():
                self._call(worker, message)
            case CreateActor():
                self._create(worker, message)
            case FindActor(request, name, namespace):
                self._answer(worker, request, self._directory.find(name, namespace))
            case KillActor(number, is_final):
                self._directory.kill(self._actor(worker, number), is_final=is_final)
            case WatchActor(number, actor):
                promise = self._requests.made(worker, number)
                self._directory.watch(self._actor(worker, actor), promise)
            case ReserveCall():
                self._reserve(worker, message)
            case AdoptCall():
                self._adopt(worker, message)
            case Answered(ran):
                # Its caller may have let go of the actor meanwhile.
                call = self._adopted.get(ran.seq)
                if call is not None:
                    self._directory.calls.answered(call.actor, ran)
            case Supervise():
                group = self._group(worker, message)
                anchor = GroupAnchor(group)
                self._requests.made(worker, message.number, anchor)
                self._requests.made(worker, message.started, group.started)
                self._directory.supervise(anchor)
            case StopGroup(number):
                promise = self._requests.ref_of(worker, number)
                if not isinstance(promise, GroupAnchor):
                    raise BrokenInvariant(f"ref {number} is no supervisor's")
                self._directory.stop_group(promise.group)

    def _actor(self, worker: HubWorker, number: int) -> Actor:
        anchor = self._requests.ref_of(worker, number)
        if not isinstance(anchor, Anchor):
            raise BrokenInvariant(f"{worker.worker_id}: ref {number} is no actor's")
        return anchor.actor

    def _reserve(self, worker: HubWorker, asked: ReserveCall) -> None:
        actor, caller = self._actor(worker, asked.actor), worker.worker_id
        is_answered = False

        def tell(failure: Settled | None) -> None:
            nonlocal is_answered
            is_answered = True
            if not self._requests.end_wait(worker, asked.request):
                if failure is None:
                    give_room_back(actor, caller)
                return
            values = [] if failure is None else [failure.value]
            answer = Values(asked.request, values)
            self._hub.effects.append(TellWorker(worker.worker_id, answer))

        self._requests.begin_wait(worker, asked.request)
        reserve(actor, caller, tell)
        if not is_answered:
            # Any one of them makes room when it ends.
            pending = pending_calls(actor, caller)
            self._requests.block_on_any(
                worker, asked.request, pending, blocks=asked.blocks
            )

    def _group(self, worker: HubWorker, asked: Supervise) -> Group:
        children: dict[str, tuple[RestartKind, Anchor | Group]] = {}
        for child in asked.children:
            kind = _KINDS[child.kind]
            if child.group is not None:
                for number in (child.group.number, child.group.started):
                    self._requests.made(worker, number)
                children[child.name] = (kind, self._group(worker, child.group))
            else:
                assert child.actor is not None, "a child is an actor or a group"
                anchor = self._prepare(worker, child.actor, is_supervised=True)
                self._requests.made(worker, child.actor.number, anchor)
                children[child.name] = (kind, anchor)
        return self._directory.prepare_group(asked.options, children)

    def _prepare(
        self, worker: HubWorker, asked: CreateActor, *, is_supervised: bool = False
    ) -> Anchor:
        arguments = asked.arguments
        held = [self._requests.ref_of(worker, number) for number in arguments.refs]
        dependencies = [self._requests.ref_of(worker, n) for n in asked.dependencies]
        return self._directory.prepare(
            asked.class_,
            asked.options,
            self._requests.arguments_of(worker, arguments),
            dependencies,
            held,
            is_supervised=is_supervised,
        )

    def _create(self, worker: HubWorker, asked: CreateActor) -> None:
        made = self._directory.admit(self._prepare(worker, asked))
        if asked.request:
            self._answer(worker, asked.request, made)
        else:
            assert isinstance(made, Anchor), "only a name can be taken"
            self._requests.made(worker, asked.number, made)

    def _answer(self, worker: HubWorker, request: int, found: Anchor | Settled) -> None:
        if isinstance(found, Anchor):
            number = self._hub.parcels.give_ref(worker, found)
            value = Value(found.actor.options.picture, [number])
        else:
            value = found.value
        answer = Values(request, [value])
        self._hub.effects.append(TellWorker(worker.worker_id, answer))

    def _call(self, worker: HubWorker, asked: CallActor) -> None:
        options, requests = asked.options, self._requests
        anchor = requests.ref_of(worker, asked.actor)
        returns: Promise | list[Promise]
        if options.num_returns == STREAMING:
            returns = requests.made(worker, asked.numbers[0], Stream())
        elif options.num_returns in (1, DYNAMIC):
            returns = requests.made(worker, asked.numbers[0])
        else:
            returns = [requests.made(worker, number) for number in asked.numbers]
        held = [requests.ref_of(worker, number) for number in asked.arguments.refs]
        call = ActorCall(
            self._actor(worker, asked.actor),
            anchor,
            worker.worker_id,
            CallSpec(asked.method, options, options.name),
            requests.arguments_of(worker, asked.arguments),
            returns,
            [requests.ref_of(worker, number) for number in asked.dependencies],
            held,
        )
        for promise in [returns] if isinstance(returns, Promise) else returns:
            promise.task = call
        self._directory.calls.accept(call)
        self._count(worker, call, asked.actor)

    # Lines, see `actors.embedded.lines`

    def _count(self, worker: HubWorker, call: ActorCall, number: int) -> None:
        """Count a call, and offer the caller a line when none is under way."""
        actor, callers = call.actor, call.actor.callers
        if not self._folder or not runs_one_at_a_time(actor):
            return
        count = callers.get(call.caller)
        if count is None:
            if len(callers) >= _MANY_CALLERS:
                self._forget_callers(actor)
            count = callers[call.caller] = CallerCount()
        count.seen += 1
        returns = call.returns
        if isinstance(returns, list) and not returns:
            count.is_opaque = True
            return
        promise = returns if isinstance(returns, Promise) else returns[0]
        count.last = promise.number
        if promise.outcome is None:
            count.unanswered += 1
            answered = partial(self._one_less, worker, actor, count, number)
            self._hub.when_known(promise, answered)

    def _forget_callers(self, actor: Actor) -> None:
        hub = self._hub
        for caller in list(actor.callers):
            if caller not in hub.workers and caller not in hub.guests:
                del actor.callers[caller]

    def _one_less(
        self,
        worker: HubWorker,
        actor: Actor,
        count: CallerCount,
        number: int,
        _: Promise,
    ) -> None:
        count.unanswered -= 1
        host = actor.host
        if (
            count.unanswered
            or count.is_opaque
            or count.seen < _OFTEN
            or number not in worker.holds
            or host is None
            or host.is_killed
            or actor.is_exiting
            or actor.life.state is not LifeState.ALIVE
        ):
            return
        path = line_path(self._folder, host.worker_id)
        effects = self._hub.effects
        if not host.has_lines:
            host.has_lines = True
            effects.append(TellWorker(host.worker_id, OpenLines(path)))
        offer = OfferLine(number, actor.life.incarnation, path, count.last)
        effects.append(TellWorker(worker.worker_id, offer))

    def _adopt(self, worker: HubWorker, asked: AdoptCall) -> None:
        actor = self._actor(worker, asked.actor)
        promise = self._requests.made(worker, asked.number)
        promise.task = call = ActorCall(
            actor,
            self._requests.ref_of(worker, asked.actor),
            worker.worker_id,
            CallSpec(asked.method, asked.options, asked.options.name),
            asked.arguments,
            promise,
        )
        self._adopted[asked.number] = call
        self._hub.when_known(promise, lambda ref: self._adopted.pop(ref.number))
        lives = self._directory.calls.adopt(call, asked.number, asked.incarnation)
        self._count(worker, call, asked.actor)
        host = actor.host
        if asked.is_cut and lives and host is not None and not host.is_killed:
            # Usually it is dead, and that is about to be known. If it is not, its code
            # has closed the line, and nothing will ever come of it.
            self._hub.effects.append(KillWorker(host.worker_id))


def line_path(folder: str, worker_id: WorkerId) -> str:
    """Return where an actor's process listens for those who call it straight."""
    return f"{folder}/{worker_id}.line"
