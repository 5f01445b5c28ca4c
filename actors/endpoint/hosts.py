"""Hosts: the manager's part that looks after actors' processes. Pure.

    StartActors ─► process ─► constructor ─► ActorsStarted (and at each registration)
    LeaseCalls ─► its pipe ─► results, in any order ─► Finished
    it dies ─► ActorEnded, then Finished for what had begun, Returned for the rest

How an incarnation ended is kept until the interchange acknowledges it, as outcomes are.
Whether there will be another one is the interchange's business.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

from actors.logic.actor_life import DeathReason
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


@dataclass(slots=True)
class Host:
    """The process of one incarnation, from its start until its end."""

    of: Incarnation
    worker_id: WorkerId
    title: str  # for people
    places: int  # of workers that it takes
    pid: int = 0
    is_alive: bool = False  # it was constructed
    is_exiting: bool = False  # in order, by itself or as it was told
    is_killed: bool = False  # as it was told
    next_seq: int = _CONSTRUCTION_SEQ + 1
    failure: Ran | None = None  # what its constructor raised
    # {seq: call}: at the process
    calls: dict[int, LeasedCall] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)  # of them


@dataclass(frozen=True, slots=True)
class CallsEnded:
    """What became of a dead process's calls."""

    begun: list[LeasedCall]
    unbegun: list[LeasedCall]
    message: str  # how the process died


class Hosts:
    """The machine; see the module's docstring.

    Args:
        prefix: of the processes' names.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = 0
        self.by_worker: dict[WorkerId, Host] = {}
        self._by_actor: dict[tuple[str, int], Host] = {}
        self.ended: dict[tuple[str, int], ActorEnded] = {}  # not acknowledged

    @property
    def reserved(self) -> int:
        """Places of workers that actors take."""
        return sum(host.places for host in self.by_worker.values())

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
            host = Host(actor.of, worker_id, options.class_name, ceil(options.num_cpus))
            self.by_worker[worker_id] = self._by_actor[key] = host
            become = HostActor(
                actor.of.actor_id, actor.of.number, actor.class_, options
            )
            construct = Run(_CONSTRUCTION_SEQ, _CONSTRUCTOR, actor.arguments)
            effects.append(StartWorker(worker_id, become))
            effects.append(AssignTasks(worker_id, [construct]))

    def call(self, calls: Sequence[LeasedCall], effects: list[Effect]) -> list[Holding]:
        """Give calls to their actors.

        Returns:
            Those whose actor is not here any more: they have not begun.
        """
        runs: dict[WorkerId, list[Run]] = {}
        strays: list[Holding] = []
        for call in calls:
            host = self._by_actor.get(_key(call.to))
            if host is None or host.is_exiting or host.is_killed:
                strays.append(Holding(call.task_id, call.attempt))
                continue
            seq, host.next_seq = host.next_seq, host.next_seq + 1
            host.calls[seq] = call
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
        effects: list[Effect],
    ) -> None:
        """Keep what the interchange still wants from us, drop the rest.

        Args:
            actors: that stay; the others are killed.
            attempts: {call: its attempt}; what others give goes nowhere.
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
                elif attempt != call.attempt:
                    host.calls[seq] = LeasedCall(
                        call.task_id, attempt, call.method, call.arguments, call.to
                    )
        for key in [key for key in self.ended if key not in kept]:
            del self.ended[key]

    def cancel(self, task_ids: Iterable[TaskId], effects: list[Effect]) -> None:
        """Interrupt calls; what has not begun never will."""
        wanted = set(task_ids)
        for host in self.by_worker.values():
            for seq, call in host.calls.items():
                if call.task_id in wanted:
                    host.cancelled.add(seq)
                    effects.append(TellWorker(host.worker_id, Interrupt(seq)))

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
    ) -> tuple[list[tuple[LeasedCall, Ran, bool]], bool]:
        """Take results.

        Returns:
            (call, result, whether it was cancelled) for each; and whether the actor was
            constructed by this.
        """
        ended: list[tuple[LeasedCall, Ran, bool]] = []
        is_constructed = False
        for ran in results:
            if ran.seq == _CONSTRUCTION_SEQ:
                if ran.is_success:
                    host.is_alive = is_constructed = True
                else:
                    host.failure = ran
                    effects.append(KillWorker(host.worker_id))
                continue
            call = host.calls.pop(ran.seq, None)
            if call is not None:
                is_cancelled = ran.seq in host.cancelled and not ran.is_success
                host.cancelled.discard(ran.seq)
                ended.append((call, ran, is_cancelled))
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
        elif host.is_exiting:
            reason, message = DeathReason.EXITED, "it has ended"
        self.ended[_key(host.of)] = ActorEnded(
            host.of, reason.value, message, last_words, payload
        )
        begun = [c for seq, c in host.calls.items() if seq <= death.begun_seq]
        unbegun = [c for seq, c in host.calls.items() if seq > death.begun_seq]
        return CallsEnded(begun, unbegun, message)

    def check(self) -> None:
        """Raise AssertionError if a call, or an incarnation, is in two places."""
        assert len(self.by_worker) == len(self._by_actor)
        calls = [h.task_id for h in self.held()]
        assert len(calls) == len(set(calls)), "a call is at two actors"
        assert not self.ended.keys() & self._by_actor.keys(), "dead and alive"


def _key(of: Incarnation) -> tuple[str, int]:
    return of.actor_id, of.number
