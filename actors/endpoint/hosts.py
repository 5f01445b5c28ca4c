"""Hosts: the manager's part that looks after actors' processes. Pure.

    StartActors ─► process ─► constructor ─► ActorsStarted (and at each registration)
    LeaseCalls ─► its pipe ─► results, in any order ─► Finished
    it dies ─► ActorEnded, then Finished for what had begun, Returned for the rest

How an incarnation ended is kept until the interchange acknowledges it, as outcomes are.
Whether there will be another one is the interchange's business.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from actors.endpoint.outflow import Outflow, call_of
from actors.logic.actor_life import DeathReason
from actors.logic.patience import INTERRUPT_GRACE
from actors.logic.resources import GPU_VARIABLE, Capacity, Need, name_gpus
from actors.logic.turn import Effect
from actors.logic.workers import (
    AssignTasks,
    KillWorker,
    StartWorker,
    StopWorker,
    TellWorker,
    WorkerDied,
    how_it_died,
)
from actors.messages import (
    METHOD_MARK,
    ActorEnded,
    Call,
    FailureKind,
    Holding,
    HostActor,
    Hosting,
    Incarnation,
    Interrupt,
    LeasedCall,
    Ran,
    Run,
    TaskId,
    WorkerId,
)

__all__ = ["CallsEnded", "Host", "Hosts"]

# What stands for the class itself in place of a method's name, and its place.
_CONSTRUCTOR = METHOD_MARK + b"__init__"
_CONSTRUCTION_SEQ = 1


class Host(msgspec.Struct):
    """The process of one incarnation, from its start until its end."""

    of: Incarnation
    worker_id: WorkerId
    title: str  # for people
    need: Need  # what it takes, and which GPUs
    gpus: list[int]
    is_serial: bool  # it runs one call at a time
    pid: int = 0
    is_alive: bool = False  # it was constructed
    is_exiting: bool = False  # in order, by itself or as it was told
    is_killed: bool = False  # as it was told
    why_killed: str = ""  # by us, as one of its calls went on and on
    next_seq: int = _CONSTRUCTION_SEQ + 1
    arguments: bytes = b""  # of its constructor: they lie here until it has run
    failure: Ran | None = None  # what its constructor raised
    # {seq: call}: at the process
    calls: dict[int, LeasedCall] = msgspec.field(default_factory=dict)
    cancelled: set[int] = msgspec.field(default_factory=set)  # of them
    timed_out: set[int] = msgspec.field(default_factory=set)  # of them
    # {call that runs: when it has run for too long}
    timeout_at: dict[int, float] = msgspec.field(default_factory=dict)
    # {call that was interrupted: when the process is killed}
    kill_at: dict[int, float] = msgspec.field(default_factory=dict)

    def forget(self, seq: int) -> None:
        """Let go of all marks of a call that has ended."""
        self.cancelled.discard(seq)
        self.timed_out.discard(seq)
        self.timeout_at.pop(seq, None)
        self.kill_at.pop(seq, None)


class CallsEnded(msgspec.Struct, frozen=True):
    """What became of a dead process's calls."""

    begun: list[LeasedCall]
    timed_out: list[LeasedCall]
    unbegun: list[LeasedCall]
    message: str  # how the process died


class Hosts:
    """The machine; see the module's docstring.

    Args:
        prefix: of the processes' names.
        capacity: what they take from.
        gpu_names: see `ManagerSettings`.
    """

    def __init__(
        self, prefix: str, capacity: Capacity, gpu_names: Sequence[str] = ()
    ) -> None:
        self._prefix = prefix
        self._capacity = capacity
        self._gpu_names = gpu_names
        self._count = 0
        self.by_worker: dict[WorkerId, Host] = {}
        self._by_actor: dict[tuple[str, int], Host] = {}
        self.ended: dict[tuple[str, int], ActorEnded] = {}  # not acknowledged

    # What the interchange wants

    def start(self, actors: Iterable[Hosting], effects: list[Effect]) -> None:
        """Begin incarnations; one that is here already is none."""
        for actor in actors:
            key = _key(actor.of)
            if key in self._by_actor or key in self.ended:
                continue
            self._count += 1
            worker_id = WorkerId(f"{self._prefix}-a{self._count}")
            options = actor.options
            is_serial = options.max_concurrency == 1 and not options.groups
            need = Need.of(options)
            gpus = self._capacity.take(need)
            host = Host(actor.of, worker_id, options.class_name, need, gpus, is_serial)
            self.by_worker[worker_id] = self._by_actor[key] = host
            environment = {}
            if gpus:
                environment[GPU_VARIABLE] = name_gpus(gpus, self._gpu_names)
            become = HostActor(
                actor.of.actor_id, actor.of.number, actor.class_, options, environment
            )
            host.arguments = actor.arguments
            construct = Run(_CONSTRUCTION_SEQ, _CONSTRUCTOR, actor.arguments)
            effects.append(StartWorker(worker_id, become))
            effects.append(AssignTasks(worker_id, [construct]))

    def call(
        self, calls: Sequence[LeasedCall], outflow: Outflow, effects: list[Effect]
    ) -> list[Holding]:
        """Give calls to their actors.

        Returns:
            Those whose actor is not here any more: they have not begun.
        """
        runs: dict[WorkerId, list[Run | Call]] = {}
        strays: list[Holding] = []
        for call in calls:
            host = self._by_actor.get(_key(call.to))
            is_leaving = host and (host.is_exiting or host.is_killed or host.why_killed)
            if host is None or is_leaving:
                strays.append(Holding(call.task_id, call.attempt))
                continue
            seq, host.next_seq = host.next_seq, host.next_seq + 1
            host.calls[seq] = call
            run: Run | Call
            if call.streams_from >= 0 or call.timeout is not None:
                run = call_of(seq, call.method, call)
                if call.streams_from >= 0:
                    outflow.begin(call, host.worker_id, seq)
            else:
                run = Run(seq, call.method, call.arguments)
            runs.setdefault(host.worker_id, []).append(run)
        effects.extend(AssignTasks(worker, some) for worker, some in runs.items())
        return strays

    def end(
        self, actors: Iterable[Incarnation], effects: list[Effect], *, is_killed: bool
    ) -> None:
        """Kill processes, or let them answer what they have."""
        for of in actors:
            host = self._by_actor.get(_key(of))
            if host is None:
                continue
            if is_killed:
                host.is_killed = True
                effects.append(KillWorker(host.worker_id))
            elif not host.is_exiting:
                host.is_exiting = True
                effects.append(StopWorker(host.worker_id))

    def acknowledged(self, actors: Iterable[Incarnation]) -> None:
        """Forget how incarnations ended."""
        for of in actors:
            self.ended.pop(_key(of), None)

    def adopted(
        self,
        actors: Iterable[Incarnation],
        attempts: dict[TaskId, int],
        outflow: Outflow,
        effects: list[Effect],
    ) -> None:
        """Keep what the interchange still wants from us, drop the rest.

        Args:
            actors: that stay; the others are killed.
            attempts: {call: its attempt}; what others give goes nowhere.
            outflow: of generators.
            effects: what follows goes in here.
        """
        kept = {_key(of) for of in actors}
        for key, host in self._by_actor.items():
            if key not in kept:
                self.end([host.of], effects, is_killed=True)
            for seq, call in list(host.calls.items()):
                attempt = attempts.get(call.task_id)
                if attempt is None:
                    del host.calls[seq]
                    host.forget(seq)
                elif attempt != call.attempt:
                    outflow.renumber(call, attempt)
                    host.calls[seq] = msgspec.structs.replace(call, attempt=attempt)
        for key in [key for key in self.ended if key not in kept]:
            del self.ended[key]

    def cancel(
        self,
        task_ids: Iterable[TaskId],
        now: float,
        grace: float,
        effects: list[Effect],
    ) -> None:
        """Interrupt calls; what has not begun never will.

        Args:
            task_ids: those of others are passed over.
            now: monotonic seconds.
            grace: seconds until the process of one that goes on is killed; < 0: never.
            effects: what follows goes in here.
        """
        wanted = set(task_ids)
        for host in self.by_worker.values():
            for seq, call in host.calls.items():
                if call.task_id not in wanted:
                    continue
                if seq not in host.cancelled:
                    host.cancelled.add(seq)
                    effects.append(TellWorker(host.worker_id, Interrupt(seq)))
                if grace >= 0:
                    # Perhaps it has not begun, which its process alone knows, and says.
                    at = now + max(grace, INTERRUPT_GRACE)
                    host.kill_at[seq] = min(at, host.kill_at.get(seq, math.inf))

    # Time

    def began(self, host: Host, seq: int, now: float) -> None:
        """Note that a call with a timeout has begun."""
        call = host.calls.get(seq)
        if call is not None and call.timeout is not None:
            host.timeout_at[seq] = now + call.timeout

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted next; infinity: only messages matter."""
        at = math.inf
        for host in self.by_worker.values():
            if host.timeout_at or host.kill_at:
                moments = (*host.timeout_at.values(), *host.kill_at.values())
                at = min(at, *moments)
        return at

    def tick(self, now: float, effects: list[Effect]) -> None:
        """Interrupt what has run for too long; kill what went on after that."""
        for host in self.by_worker.values():
            for seq, at in list(host.timeout_at.items()):
                if at <= now:
                    del host.timeout_at[seq]
                    host.timed_out.add(seq)
                    effects.append(TellWorker(host.worker_id, Interrupt(seq)))
                    host.kill_at.setdefault(seq, now + INTERRUPT_GRACE)
            for seq, at in list(host.kill_at.items()):
                if at <= now:
                    del host.kill_at[seq]
                    self._kill_for(host, seq, effects)

    @staticmethod
    def _kill_for(host: Host, seq: int, effects: list[Effect]) -> None:
        if host.is_serial and seq != min(host.calls):
            return  # it has not begun: it is passed over when its turn comes
        if not (host.is_killed or host.why_killed):
            name = host.calls[seq].name or host.title
            host.why_killed = f"{name} went on after it was told to end"
            effects.append(KillWorker(host.worker_id))

    # What we have

    def incarnations(self) -> list[Incarnation]:
        """List those that live here, or whose end is not acknowledged."""
        over = [ended.of for ended in self.ended.values()]
        return [*(host.of for host in self.by_worker.values()), *over]

    def alive(self) -> list[Incarnation]:
        """List those that were constructed."""
        return [host.of for host in self.by_worker.values() if host.is_alive]

    def held(self) -> Iterator[Holding]:
        """Give the calls that are at their actors."""
        for host in self.by_worker.values():
            for call in host.calls.values():
                yield Holding(call.task_id, call.attempt)

    # What processes do

    def ran(
        self, host: Host, results: Iterable[Ran], effects: list[Effect]
    ) -> tuple[list[tuple[LeasedCall, Ran, bool, bool]], bool]:
        """Take results.

        Returns:
            (call, result, whether it failed as it was cancelled, or as it took too
            long) for each; and whether the actor was constructed by this.
        """
        ended: list[tuple[LeasedCall, Ran, bool, bool]] = []
        is_constructed = False
        for ran in results:
            if ran.seq == _CONSTRUCTION_SEQ:
                host.arguments = b""
                if ran.is_success:
                    host.is_alive = is_constructed = True
                else:
                    host.failure = ran
                    effects.append(KillWorker(host.worker_id))
                continue
            call = host.calls.pop(ran.seq, None)
            if call is not None:
                is_cancelled = ran.seq in host.cancelled and not ran.is_success
                is_late = ran.seq in host.timed_out and not ran.is_success
                host.forget(ran.seq)
                ended.append((call, ran, is_cancelled, is_late))
        return ended, is_constructed

    def exits(self, host: Host, effects: list[Effect]) -> None:
        """Note that an actor ends by itself."""
        host.is_exiting = True
        effects.append(StopWorker(host.worker_id))

    def died(self, death: WorkerDied, payload_limit: int) -> CallsEnded:
        """Note that a process is gone; how stands in `ended`.

        Args:
            death: of one of ours.
            payload_limit: bytes that fit into a message.
        """
        host = self.by_worker.pop(death.worker_id)
        del self._by_actor[_key(host.of)]
        self._capacity.give_back(host.need, host.gpus)
        message = f"its process (pid {host.pid}) {how_it_died(death)}"
        reason, last_words, payload = DeathReason.CRASHED, death.stderr_tail, b""
        failure = host.failure.failure if host.failure is not None else None
        if host.is_killed:
            # For good or not, the interchange knows.
            message = "it was killed by actors.kill()"
        elif host.failure is not None and failure is not None:
            reason = DeathReason.CONSTRUCTOR_FAILED
            if failure.kind is FailureKind.NOT_LOADABLE:
                reason = DeathReason.UNPICKLABLE
            message = f"its constructor failed: {failure.message}"
            last_words = failure.detail
            if len(host.failure.payload) <= payload_limit:
                payload = host.failure.payload
        elif host.why_killed:
            message += f": {host.why_killed}"
        elif host.is_exiting:
            reason, message = DeathReason.EXITED, "it has ended"
        self.ended[_key(host.of)] = ActorEnded(
            host.of, reason.value, message, last_words, payload
        )
        begun: list[LeasedCall] = []
        timed_out: list[LeasedCall] = []
        unbegun: list[LeasedCall] = []
        for seq, call in host.calls.items():
            if seq > death.begun_seq:
                unbegun.append(call)
            elif seq in host.timed_out and seq not in host.cancelled:
                timed_out.append(call)
            else:
                begun.append(call)
        return CallsEnded(begun, timed_out, unbegun, message)

    def check(self) -> None:
        """Raise AssertionError if a call, or an incarnation, is in two places."""
        assert len(self.by_worker) == len(self._by_actor)
        calls = [h.task_id for h in self.held()]
        assert len(calls) == len(set(calls)), "a call is at two actors"
        assert not self.ended.keys() & self._by_actor.keys(), "dead and alive"


def _key(of: Incarnation) -> tuple[str, int]:
    return of.actor_id, of.number
