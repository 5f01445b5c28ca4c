"""Interchange: queues tasks, leases them to managers, returns results. Pure.

Every member comes through the door and is known by its peer name, `kind:member_id`.
A client's tasks live in the ledger until they are finished, and their outcomes with the
client's entry until it acknowledges them; both outlive its link. A manager's leases
live with its entry until they end, or it does.
"""

import hmac
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from actors.endpoint.steering import Steering
from actors.errors import BrokenInvariant
from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet, ManagerEntry
from actors.logic.ledger import Entry, Ledger
from actors.logic.liveness import Liveness, Tempo
from actors.logic.turn import (
    Admission,
    Exit,
    FrameMalformed,
    HangUp,
    LinkClosed,
    Quit,
    Turn,
)
from actors.messages import (
    PROTOCOL,
    Accepted,
    AckFinished,
    AckResults,
    Adopted,
    Block,
    BlockChanged,
    BlockId,
    BlocksHeld,
    BlocksReported,
    BlockState,
    CancelTasks,
    ClaimTasks,
    ClientId,
    Command,
    Delta,
    Drain,
    Failure,
    FailureKind,
    Finished,
    FrameRefused,
    Goodbye,
    Heartbeat,
    Hello,
    Holding,
    Lease,
    LoadReported,
    ManagerId,
    MemberJoined,
    MemberLeft,
    MemberRefused,
    Message,
    Outcome,
    Relay,
    Report,
    Reregister,
    Results,
    RetireBlocks,
    Returned,
    StatesChanged,
    Step,
    Stop,
    Submit,
    Task,
    TaskEnded,
    TaskId,
    TaskState,
    UnknownTasks,
)

__all__ = ["Interchange", "InterchangeSettings"]

# How often the strategy is told the load, at least and at most; chosen: a fraction of
# the shortest sensible strategy period, and far below one percent of a core.
LOAD_PERIOD = 1.0
LOAD_PERIOD_MIN = 0.05
# Failures that cost an infrastructure attempt instead of ending the task.
_INFRASTRUCTURE = frozenset(
    {FailureKind.WORKER_DIED, FailureKind.MANAGER_LOST, FailureKind.BLOCK_FAILED}
)
# Kinds that run Python code of the same pickles; the others exchange messages only.
_PYTHON_BOUND = frozenset({"client", "manager"})
# Services of which there is one each: a new process takes the old one's place.
_SERVICES = frozenset({"strategy", "provider", "supervisor"})


@dataclass(frozen=True, slots=True)
class InterchangeSettings:
    """What the interchange needs to know of its endpoint.

    Args:
        name: of the endpoint.
        epoch: random per start.
        token: what members must show.
        python: "3.11": what clients and managers must run.
        tempo: of the heartbeats.
        keep_results: seconds that an absent client's results wait for it.
        max_queued_tasks: beyond it tasks are refused.
        wall_offset: seconds since 1970 = now + wall_offset.
    """

    name: str
    epoch: str
    token: str
    python: str
    tempo: Tempo = Tempo()
    keep_results: float = 86400.0
    max_queued_tasks: int = 1_000_000
    wall_offset: float = 0.0


class Interchange:
    """The machine; see the module's docstring."""

    def __init__(self, settings: InterchangeSettings, now: float) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.wall_offset)
        self.fleet = Fleet()
        self.clients: dict[ClientId, ClientEntry] = {}
        self.blocks: dict[BlockId, Block] = {}
        self.members: dict[str, Hello] = {}  # {peer: how it introduced itself}
        self.finished = 0  # since the start, whatever the end
        self.failed = 0
        self.cancelled = 0
        self.malformed = 0
        self._blamed: set[str] = set()  # who sent nonsense, as far as they are here
        self.started_at = now
        self._liveness = Liveness(settings.tempo)
        self._steering = Steering(self)
        self._load_told_at = -math.inf
        self._load_changed = True

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def epoch(self) -> str:
        return self.settings.epoch

    # The door

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Let somebody in, or refuse it alone, with the reason."""
        turn = Turn()
        peer = f"{hello.kind}:{hello.member_id}"
        reason = self._objection(hello)
        rival = self._rival(hello, peer)
        if reason or rival:
            turn.events.append(
                MemberRefused(hello.kind, hello.member_id, reason or rival)
            )
            # A rival may leave; what is wrong with the newcomer itself stays wrong.
            return Admission("", reason or rival, is_final=bool(reason)), turn
        known = self.members.get(peer)
        self.members[peer] = hello
        self._liveness.joined(peer, now)
        # The first message tells the newcomer that its link works.
        self._send(peer, Heartbeat(), now, turn)
        match hello.kind:
            case "manager":
                self._admit_manager(hello, known, now, turn)
            case "client":
                self._admit_client(hello, now, turn)
        if known is None or known.instance != hello.instance:
            turn.events.append(
                MemberJoined(hello.kind, hello.member_id, hello.host, hello.slots)
            )
        self._load_changed = True
        return Admission(peer), turn

    def _objection(self, hello: Hello) -> str:
        settings = self.settings
        if hello.protocol != PROTOCOL:
            return (
                f"protocol {hello.protocol} is not {PROTOCOL}: install the same "
                "version of actors on both sides"
            )
        if not hmac.compare_digest(hello.token.encode(), settings.token.encode()):
            return "the token is not this endpoint's: copy its folder's token file"
        if hello.kind in _PYTHON_BOUND and hello.python != settings.python:
            return (
                f"Python {hello.python} is not {settings.python}, which this endpoint "
                "runs: pickles of one cannot be trusted to load in the other"
            )
        if not hello.member_id or ":" in hello.member_id:
            return f"member_id {hello.member_id!r} must not be empty or contain ':'"
        if hello.kind == "manager" and hello.slots < 1:
            return f"slots {hello.slots} must be at least 1"
        is_known = ManagerId(hello.member_id) in self.fleet.managers
        if (
            hello.kind == "manager"
            and hello.block_id in self.fleet.retired
            # One that drains may come back: it has what is waited for.
            and not is_known
        ):
            return f"block {hello.block_id} is being ended"
        return ""

    def _rival(self, hello: Hello, peer: str) -> str:
        known = self.members.get(peer)
        if (
            known is not None
            and known.instance != hello.instance
            and hello.kind not in _SERVICES
            and self._liveness.is_connected(peer)
        ):
            return (
                f"{hello.kind} {hello.member_id} is connected already, from pid "
                f"{known.pid} on {known.host or 'an unnamed host'}"
            )
        return ""

    def _admit_manager(
        self, hello: Hello, known: Hello | None, now: float, turn: Turn
    ) -> None:
        manager_id = ManagerId(hello.member_id)
        manager = self.fleet.managers.get(manager_id)
        if manager is not None and known and known.instance != hello.instance:
            self._lose_manager(manager, "another process took its place", now, turn)
            # Losing it ended the membership that was just begun, and its new link.
            turn.effects.remove(HangUp(manager.peer))
            self.members[manager.peer] = hello
            self._liveness.joined(manager.peer, now)
            manager = None
        if manager is None:
            manager = ManagerEntry(manager_id, hello.block_id, hello.slots, now)
            self.fleet.managers[manager_id] = manager
        manager.instance = hello.instance
        manager.host, manager.pid = hello.host, hello.pid
        manager.is_connected = True
        held = {holding.task_id for holding in hello.held}
        for task_id in [t for t in manager.leases if t not in held]:
            # The lease never reached it: nothing has begun.
            entry = self.ledger.entries[task_id]
            why = f"lease did not reach {manager_id}"
            self._put_back(entry, manager, why, now, turn)
        for task_id in list(manager.leases):
            entry = self.ledger.entries[task_id]
            if entry.is_cancelling:
                # It drops what is not adopted, and says no more of it.
                manager.release(task_id, now)
                self._end(entry, TaskState.CANCELLED, None, now, turn)
        adopted: list[Holding] = []
        for holding in hello.held:
            attempt = self.ledger.adopt(
                holding.task_id, holding.attempt, manager_id, now
            )
            if attempt is not None:
                manager.leases[holding.task_id] = attempt
                adopted.append(Holding(holding.task_id, attempt))
        self._send(manager.peer, Adopted(adopted), now, turn)
        if manager.is_draining:
            # What it was told before may not have reached it.
            manager.is_stopping = False
            self._send(manager.peer, Drain(), now, turn)
            self._stop_if_drained(manager, now, turn)
        self.place(now, turn)

    def _admit_client(self, hello: Hello, now: float, turn: Turn) -> None:
        client_id = ClientId(hello.member_id)
        client = self.clients.get(client_id)
        if client is None:
            client = self.clients[client_id] = ClientEntry(client_id, hello.instance)
        client.instance = hello.instance
        client.gone_at = math.inf
        client.is_leaving = False
        if client.unacknowledged:
            results = Results(list(client.unacknowledged.values()))
            self._send(client.peer, results, now, turn)

    # Messages

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take one message; a sender that is not a member is asked to register."""
        turn = Turn()
        if not sender:
            self._handle_local(message, now, turn)
            return turn
        if sender not in self.members:
            turn.sends.append((sender, Reregister("not a member (any more)")))
            return turn
        self._liveness.heard(sender, now)
        kind, _, member_id = sender.partition(":")
        match kind:
            case "client":
                client = self.clients[ClientId(member_id)]
                self._handle_client(message, client, now, turn)
            case "manager":
                manager = self.fleet.managers[ManagerId(member_id)]
                self._handle_manager(message, manager, now, turn)
            case _:
                self._handle_service(message, sender, now, turn)
        return turn

    def _handle_local(self, message: Any, now: float, turn: Turn) -> None:
        match message:
            case LinkClosed(peer):
                self._link_closed(peer, now)
            case Quit(reason):
                for peer in self.members:
                    turn.sends.append((peer, Goodbye(reason)))
                turn.effects.append(Exit(0, reason))
            case FrameMalformed(peer, reason):
                self.malformed += 1
                # A flood of nonsense must not become a flood of events.
                if peer not in self._blamed:
                    self._blamed.add(peer)
                    turn.events.append(FrameRefused(peer, reason))
            case _:
                raise BrokenInvariant(f"the shell told {message!r}")

    def _handle_client(
        self, message: Any, client: ClientEntry, now: float, turn: Turn
    ) -> None:
        match message:
            case Submit(tasks):
                self._submit(tasks, client, now, turn)
            case AckResults(task_ids):
                for task_id in task_ids:
                    client.unacknowledged.pop(task_id, None)
            case CancelTasks(task_ids, if_running):
                self.cancel(task_ids, now, turn, client=client, if_running=if_running)
            case ClaimTasks(task_ids):
                self._claim(task_ids, client, now, turn)
            case Goodbye():
                self._forget_client(client, now, turn)
                self._leave(client.peer, message.reason, turn, is_lost=False)
            case Heartbeat():
                pass
            case _:
                self._unexpected(message, client.peer)

    def _handle_manager(
        self, message: Any, manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        match message:
            case Finished(outcomes):
                self._finished(outcomes, manager, now, turn)
            case Report(window, deltas, workers):
                manager.window = max(0, window)
                manager.workers = workers
                if manager.window == 0:
                    # It drains: perhaps it was told so before we had lost it.
                    self.drain(manager, now, turn)
                self._progress(deltas, manager, now, turn)
                self.place(now, turn)
            case Returned(leases):
                for lease in leases:
                    entry = self._leased_entry(lease.task_id, manager)
                    if entry is not None:
                        self._put_back(entry, manager, "handed back", now, turn)
                self._stop_if_drained(manager, now, turn)
                self.place(now, turn)
            case Goodbye(reason):
                if manager.leases:
                    self._lose_manager(manager, reason, now, turn)
                else:
                    self._remove_manager(manager, reason, turn, is_lost=False)
            case Heartbeat():
                pass
            case _:
                self._unexpected(message, manager.peer)

    def _handle_service(
        self, message: Any, sender: str, now: float, turn: Turn
    ) -> None:
        match message:
            case Relay(events):
                turn.events.extend(events)
            case BlocksReported(blocks):
                self._blocks_reported(blocks, now, turn)
            case RetireBlocks(block_ids, _, if_busy):
                held = self.retire(block_ids, now, turn, if_busy=if_busy)
                self._send(sender, BlocksHeld(held), now, turn)
            case Command():
                answer = self._steering.obey(message, now, turn)
                self._send(sender, answer, now, turn)
            case Goodbye(reason):
                self._leave(sender, reason, turn, is_lost=False)
            case Heartbeat():
                pass
            case _:
                self._unexpected(message, sender)

    # Time

    def tick(self, now: float) -> Turn:
        """Beat, judge, forget the long gone, tell the load."""
        turn = Turn()
        for peer in self._liveness.lost(now):
            self._lose(peer, now, turn)
        for peer in self._liveness.due(now):
            self._send(peer, Heartbeat(), now, turn)
        for client in list(self.clients.values()):
            if now >= self._forget_at(client):
                self._forget_client(client, now, turn)
        if self._load_changed or now >= self._load_told_at + LOAD_PERIOD:
            self._tell_load(now, turn)
        return turn

    @property
    def wake_at(self) -> float:
        load_at = self._load_told_at + (
            LOAD_PERIOD_MIN if self._load_changed else LOAD_PERIOD
        )
        forget_at = min(map(self._forget_at, self.clients.values()), default=math.inf)
        return min(load_at, forget_at, self._liveness.wake_at())

    def _forget_at(self, client: ClientEntry) -> float:
        if client.is_leaving:
            return math.inf
        return client.gone_at + self.settings.keep_results

    # Clients' tasks

    def _submit(
        self, tasks: list[Task], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        entries, done = self.ledger.entries, client.unacknowledged
        fresh = [t for t in tasks if t.task_id not in entries and t.task_id not in done]
        if not entries:
            self._load_changed = True
        room = max(0, self.settings.max_queued_tasks - len(entries))
        count = self.ledger.accept(fresh[:room], client.client_id, now)
        client.unfinished += count
        accepted = Accepted([t.task_id for t in tasks])
        self._send(client.peer, accepted, now, turn)
        if len(fresh) > room:
            self._refuse_tasks(fresh[room:], client, now, turn)
        self.place(now, turn)

    def _refuse_tasks(
        self, tasks: list[Task], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        failure = Failure(
            FailureKind.REFUSED,
            f"the endpoint holds {self.settings.max_queued_tasks} tasks already, its "
            "max_queued_tasks: wait for results before submitting more",
        )
        at = now + self.settings.wall_offset
        steps = [Step(TaskState.FAILED, 1, at, failure.message)]
        refused = [
            Outcome(t.task_id, 1, TaskState.FAILED, b"", steps, failure) for t in tasks
        ]
        client.unfinished += len(refused)
        self._deliver(refused, client, now, turn)

    def _claim(
        self, task_ids: list[TaskId], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        unknown = [
            task_id
            for task_id in task_ids
            if task_id not in self.ledger.entries
            and task_id not in client.unacknowledged
        ]
        if unknown:
            self._send(client.peer, UnknownTasks(unknown), now, turn)

    def cancel(
        self,
        task_ids: Iterable[TaskId],
        now: float,
        turn: Turn,
        *,
        client: ClientEntry | None = None,
        if_running: bool = True,
    ) -> list[TaskId]:
        """Cancel tasks: waiting ones at once, leased ones through their managers.

        Args:
            task_ids: unknown and finished ones are passed over.
            now: monotonic seconds.
            turn: what follows goes in here.
            client: only its own tasks may be cancelled; None: any.
            if_running: also those that have begun.

        Returns:
            Those that are cancelled, or whose manager was asked.
        """
        asked: list[TaskId] = []
        at_managers: dict[ManagerId, list[TaskId]] = {}
        ended: dict[ClientId, list[Outcome]] = {}
        for task_id in task_ids:
            entry = self.ledger.entries.get(task_id)
            if entry is None or (client and entry.client_id != client.client_id):
                continue
            asked.append(task_id)
            if entry.manager_id:
                entry.is_cancelling = entry.is_cancelling or if_running
                at_managers.setdefault(entry.manager_id, []).append(task_id)
            else:
                outcome = self.ledger.finish(entry, TaskState.CANCELLED, now)
                ended.setdefault(entry.client_id, []).append(outcome)
        for manager_id, ids in at_managers.items():
            peer = self.fleet.managers[manager_id].peer
            self._send(peer, CancelTasks(ids, if_running), now, turn)
        for client_id, outcomes in ended.items():
            self._deliver(outcomes, self.clients[client_id], now, turn)
        return asked

    def _deliver(
        self, outcomes: list[Outcome], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        self.finished += len(outcomes)
        client.unfinished -= len(outcomes)
        for outcome in outcomes:
            if not client.is_leaving:
                client.unacknowledged[outcome.task_id] = outcome
            if outcome.state is not TaskState.SUCCESS:
                self.failed += outcome.state is TaskState.FAILED
                self.cancelled += outcome.state is TaskState.CANCELLED
                message = outcome.failure.message if outcome.failure else ""
                turn.events.append(TaskEnded(outcome.task_id, outcome.state, message))
        if client.is_leaving:
            self._drop_if_empty(client)
        elif client.gone_at == math.inf:
            self._send(client.peer, Results(outcomes), now, turn)
        if not self.ledger.entries:
            self._load_changed = True

    def _forget_client(self, client: ClientEntry, now: float, turn: Turn) -> None:
        """Drop a client's results; its tasks are cancelled, and end for nobody."""
        client.is_leaving = True
        client.gone_at = min(client.gone_at, now)
        client.unacknowledged.clear()
        mine = [
            task_id
            for task_id, entry in self.ledger.entries.items()
            if entry.client_id == client.client_id
        ]
        self.cancel(mine, now, turn, client=client)
        self._drop_if_empty(client)

    def _drop_if_empty(self, client: ClientEntry) -> None:
        if not client.unfinished:
            self.clients.pop(client.client_id, None)

    # Managers and leases

    def place(self, now: float, turn: Turn) -> None:
        """Lease what waits to those who have room."""
        if not self.ledger.waiting:
            return
        for manager, count in self.fleet.shares(lambda: self.ledger.waiting):
            leases = self.ledger.lease(
                manager.manager_id,
                manager.block_id,
                count,
                now,
                is_only_block=not self.fleet.has_other_block(manager.block_id),
            )
            if not leases:
                continue
            held = manager.leases
            for lease in leases:
                held[lease.task_id] = lease.attempt
            self._send(manager.peer, Lease(leases), now, turn)
            if not self.ledger.waiting:
                return

    def _finished(
        self, outcomes: list[Outcome], manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        by_client: dict[ClientId, list[Outcome]] = {}
        for outcome in outcomes:
            final = self._finish(outcome, manager, now, turn)
            if final is not None:
                client_id, ended = final
                by_client.setdefault(client_id, []).append(ended)
        # A duplicate, or a task that nobody knows, is acknowledged again.
        acks = AckFinished([Holding(o.task_id, o.attempt) for o in outcomes])
        self._send(manager.peer, acks, now, turn)
        for client_id, ended_now in by_client.items():
            self._deliver(ended_now, self.clients[client_id], now, turn)
        self._stop_if_drained(manager, now, turn)
        self.place(now, turn)

    def _finish(
        self, outcome: Outcome, manager: ManagerEntry, now: float, turn: Turn
    ) -> tuple[ClientId, Outcome] | None:
        entry = self.ledger.entries.get(outcome.task_id)
        if entry is None:
            manager.release(outcome.task_id, now)
            return None
        is_holder = entry.manager_id == manager.manager_id
        failure = outcome.failure
        is_infrastructure = failure is not None and failure.kind in _INFRASTRUCTURE
        is_conclusive = outcome.state is TaskState.SUCCESS or (
            outcome.state is TaskState.FAILED and not is_infrastructure
        )
        if not is_holder and not is_conclusive:
            return None
        if is_holder:
            manager.release(outcome.task_id, now)
        elif entry.manager_id:
            # It came back from the lost with a result: the other try is in vain.
            other = self.fleet.managers[entry.manager_id]
            other.release(outcome.task_id, now)
            self._send(other.peer, CancelTasks([outcome.task_id]), now, turn)
        # The death of an older attempt was counted when that attempt was given up.
        is_counted = outcome.attempt != entry.attempt
        if (
            failure is not None
            and is_infrastructure
            and not entry.is_cancelling
            and (is_counted or self.ledger.may_start_again(entry))
        ):
            self.ledger.put_back(
                entry,
                failure.message,
                now,
                was_lost=not is_counted,
                avoid=manager.block_id,
                steps=_under_attempt(outcome.steps, entry.attempt),
            )
            return None
        state = outcome.state
        if is_infrastructure and entry.is_cancelling:
            state, failure = TaskState.CANCELLED, None
        if failure is not None and is_infrastructure:
            failure = _without_retries(failure, entry)
        ended = self.ledger.finish(
            entry,
            state,
            now,
            payload=outcome.payload,
            steps=_under_attempt(outcome.steps, entry.attempt),
            failure=failure,
        )
        return entry.client_id, ended

    def _progress(
        self, deltas: list[Delta], manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        by_client: dict[ClientId, list[Delta]] = {}
        for delta in deltas:
            if delta.task_id in manager.leases:
                entry = self.ledger.progress(delta)
                if entry is not None:
                    by_client.setdefault(entry.client_id, []).append(delta)
        for client_id, news in by_client.items():
            client = self.clients[client_id]
            if client.gone_at == math.inf:
                self._send(client.peer, StatesChanged(news), now, turn)

    def _leased_entry(self, task_id: TaskId, manager: ManagerEntry) -> Entry | None:
        entry = self.ledger.entries.get(task_id)
        if entry is not None and entry.manager_id == manager.manager_id:
            return entry
        return None

    def _put_back(
        self, entry: Entry, manager: ManagerEntry, why: str, now: float, turn: Turn
    ) -> None:
        """Let an unstarted task wait again, or end it if it was being cancelled."""
        manager.release(entry.task.task_id, now)
        if entry.is_cancelling:
            self._end(entry, TaskState.CANCELLED, None, now, turn)
        else:
            self.ledger.put_back(entry, why, now, was_lost=False, avoid=BlockId(""))

    def _end(
        self,
        entry: Entry,
        state: TaskState,
        failure: Failure | None,
        now: float,
        turn: Turn,
    ) -> None:
        outcome = self.ledger.finish(entry, state, now, failure=failure)
        self._deliver([outcome], self.clients[entry.client_id], now, turn)

    def _lose_manager(
        self, manager: ManagerEntry, reason: str, now: float, turn: Turn
    ) -> None:
        """Give up a manager: what it had is started again elsewhere, or fails."""
        where = f"manager {manager.manager_id} on {manager.host or 'an unnamed host'}"
        failure = Failure(
            FailureKind.MANAGER_LOST,
            f"{where} was lost while it held the task, which may have run",
            reason,
        )
        for task_id in list(manager.leases):
            entry = self._leased_entry(task_id, manager)
            manager.release(task_id, now)
            if entry is None:
                continue
            if entry.is_cancelling:
                self._end(entry, TaskState.CANCELLED, None, now, turn)
            elif self.ledger.may_start_again(entry):
                self.ledger.put_back(
                    entry,
                    f"{where} was lost",
                    now,
                    was_lost=True,
                    avoid=manager.block_id,
                )
            else:
                text = _without_retries(failure, entry)
                self._end(entry, TaskState.FAILED, text, now, turn)
        self._remove_manager(manager, reason, turn, is_lost=True)
        self.place(now, turn)

    def _remove_manager(
        self, manager: ManagerEntry, reason: str, turn: Turn, *, is_lost: bool
    ) -> None:
        self.fleet.managers.pop(manager.manager_id, None)
        self._leave(manager.peer, reason, turn, is_lost=is_lost)
        self._load_changed = True

    def drain(self, manager: ManagerEntry, now: float, turn: Turn) -> None:
        """Give a manager nothing more; once it has nothing left, it ends."""
        if not manager.is_draining:
            manager.is_draining = True
            self._send(manager.peer, Drain(), now, turn)
            self._stop_if_drained(manager, now, turn)

    def _stop_if_drained(self, manager: ManagerEntry, now: float, turn: Turn) -> None:
        if manager.is_draining and not manager.leases and not manager.is_stopping:
            manager.is_stopping = True
            self._send(manager.peer, Stop("drained"), now, turn)

    # Blocks

    def retire(
        self, block_ids: Iterable[BlockId], now: float, turn: Turn, *, if_busy: bool
    ) -> list[BlockId]:
        """Hold and drain blocks that are idle in this very step.

        Returns:
            Those held; busy ones only if asked for.
        """
        held: list[BlockId] = []
        for block_id in block_ids:
            managers = self.fleet.of_block(block_id)
            if not if_busy and any(m.leases for m in managers):
                continue
            self.fleet.retired.add(block_id)
            held.append(block_id)
            for manager in managers:
                self.drain(manager, now, turn)
        self._load_changed = True
        return held

    def _blocks_reported(self, blocks: list[Block], now: float, turn: Turn) -> None:
        for block in blocks:
            known = self.blocks.get(block.block_id)
            if known is None or known.state != block.state:
                turn.events.append(
                    BlockChanged(block.block_id, block.state, block.message)
                )
            self.blocks[block.block_id] = block
            if block.state.is_active:
                continue
            # The batch system's word is final: nobody waits for heartbeats.
            for manager in self.fleet.of_block(block.block_id):
                if manager.is_stopping and not manager.leases:
                    self._remove_manager(manager, "drained", turn, is_lost=False)
                else:
                    reason = _block_end(block)
                    self._lose_manager(manager, reason, now, turn)
        reported = {block.block_id for block in blocks}
        for block_id in [b for b in self.blocks if b not in reported]:
            # Either it ended long ago, or its end was seen by a provider that crashed.
            gone = self.blocks.pop(block_id)
            self.fleet.retired.discard(block_id)
            if gone.state.is_active:
                text = "it ended while the provider was away"
                turn.events.append(BlockChanged(block_id, BlockState.MISSING, text))
        self._load_changed = True

    def block_states(self) -> dict[BlockId, BlockState]:
        """All blocks that the provider reported."""
        return {block_id: block.state for block_id, block in self.blocks.items()}

    # Members

    def _send(self, peer: str, message: Message, now: float, turn: Turn) -> None:
        turn.sends.append((peer, message))
        self._liveness.sent(peer, now)

    def send(self, peer: str, message: Message, now: float, turn: Turn) -> bool:
        """Send to a member; false: there is none of that name."""
        if peer not in self.members:
            return False
        self._send(peer, message, now, turn)
        return True

    def services(self, kind: str) -> list[str]:
        """Name the connected members of one kind."""
        return [
            peer
            for peer, hello in self.members.items()
            if hello.kind == kind and self._liveness.is_connected(peer)
        ]

    def silence(self, peer: str, now: float) -> float:
        """Seconds since a member was heard."""
        return self._liveness.silence(peer, now)

    def _link_closed(self, peer: str, now: float) -> None:
        self._liveness.closed(peer, now)
        kind, _, member_id = peer.partition(":")
        if kind == "client" and (client := self.clients.get(ClientId(member_id))):
            client.gone_at = min(client.gone_at, now)
        if kind == "manager":
            manager = self.fleet.managers.get(ManagerId(member_id))
            if manager is not None:
                manager.is_connected = False

    def _lose(self, peer: str, now: float, turn: Turn) -> None:
        """Give up a member that was silent, or away, for too long."""
        kind, _, member_id = peer.partition(":")
        connected = self._liveness.is_connected(peer)
        if connected:
            reason = f"not heard for {self._liveness.silence(peer, now):.1f} s"
        else:
            reason = "its link closed and it did not come back"
        if kind == "manager":
            manager = self.fleet.managers[ManagerId(member_id)]
            self._lose_manager(manager, reason, now, turn)
            return
        if kind == "client":
            client = self.clients.get(ClientId(member_id))
            if client is not None:
                client.gone_at = min(client.gone_at, now)
        self._leave(peer, reason, turn, is_lost=True)

    def _leave(self, peer: str, reason: str, turn: Turn, *, is_lost: bool) -> None:
        hello = self.members.pop(peer, None)
        self._blamed.discard(peer)
        self._liveness.left(peer)
        # Who leaves in order waits for this, to know that we have read everything.
        turn.effects.append(HangUp(peer))
        if hello is not None:
            turn.events.append(MemberLeft(hello.kind, hello.member_id, reason, is_lost))

    def _tell_load(self, now: float, turn: Turn) -> None:
        self._load_told_at = now
        self._load_changed = False
        turn.events.append(
            LoadReported(
                self.ledger.waiting,
                self.ledger.leased,
                self.finished,
                self.fleet.loads(now),
            )
        )

    @staticmethod
    def _unexpected(message: object, sender: str) -> None:
        raise BrokenInvariant(f"{sender} cannot have sent {message!r}")

    def check(self) -> None:
        """Raise AssertionError if tasks, leases and members contradict each other."""
        self.ledger.check()
        self.fleet.check()
        leases = {
            task_id: manager_id
            for manager_id, manager in self.fleet.managers.items()
            for task_id in manager.leases
        }
        for task_id, entry in self.ledger.entries.items():
            if entry.manager_id:
                assert leases.get(task_id) == entry.manager_id, task_id
            assert entry.client_id in self.clients, task_id
        for client in self.clients.values():
            both = client.unacknowledged.keys() & self.ledger.entries.keys()
            assert not both, f"finished and unfinished: {both}"
        for manager in self.fleet.managers.values():
            assert manager.peer in self.members, manager.peer


def _under_attempt(steps: list[Step], attempt: int) -> list[Step]:
    """Let a history that was begun under an older attempt go on under this one."""
    if all(step.attempt == attempt for step in steps):
        return steps
    return [Step(step.state, attempt, step.at, step.place) for step in steps]


def _without_retries(failure: Failure, entry: Entry) -> Failure:
    starts = entry.lost_starts + 1
    return Failure(
        failure.kind,
        f"{failure.message} (start {starts} of {entry.task.retries + 1} that retries="
        f"{entry.task.retries} allows)",
        failure.detail,
    )


def _block_end(block: Block) -> str:
    lines = [f"block {block.block_id} ended: {block.state}"]
    if block.exit_code is not None:
        lines.append(f"exit code {block.exit_code}")
    if block.message:
        lines.append(block.message)
    if block.stderr_tail:
        lines.append(block.stderr_tail)
    return "\n".join(lines)
