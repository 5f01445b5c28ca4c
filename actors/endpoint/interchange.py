"""Interchange: queues tasks, leases them to managers, returns results. Pure.

Every member comes through the door and is known by its peer name, `kind:member_id`.
Here is who they are, how they come and go, and what each may say; what happens to
tasks stands in `exchange`.
"""

import hmac
import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from actors.endpoint.exchange import Exchange, InterchangeSettings
from actors.endpoint.restoration import Restoration, steering_record, take_snapshot
from actors.endpoint.steering import Steering
from actors.errors import BrokenInvariant
from actors.logic.block_errors import describe_end
from actors.logic.clients import ClientEntry
from actors.logic.fleet import ManagerEntry, need_of
from actors.logic.journal_state import JournalState
from actors.logic.liveness import Liveness
from actors.logic.records import (
    ClientAdmitted,
    InterchangeRecord,
    ManagerAdmitted,
    TasksForgotten,
    TasksLeased,
)
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
    PLAIN_TYPE,
    PROTOCOL,
    AckResults,
    ActorEnded,
    ActorsStarted,
    Adopted,
    Answer,
    Block,
    BlockChanged,
    BlockId,
    BlocksHeld,
    BlocksReported,
    BlockState,
    CallerKnown,
    CancelTasks,
    ClaimTasks,
    ClientId,
    Command,
    Drain,
    Finished,
    FrameRefused,
    Goodbye,
    Heartbeat,
    Hello,
    Holding,
    ItemsTaken,
    ItemsYielded,
    ListTasks,
    LoadReported,
    ManagerId,
    MemberJoined,
    MemberLeft,
    MemberRefused,
    Message,
    Notice,
    Printed,
    Quiesce,
    Relay,
    Report,
    Reregister,
    Results,
    RetireBlocks,
    Returned,
    Submit,
    TaskId,
    TaskState,
    Waits,
)

__all__ = ["Interchange", "InterchangeSettings"]

# How often the strategy is told the load, at least and at most; chosen: a fraction of
# the shortest sensible strategy period, and far below one percent of a core.
LOAD_PERIOD = 1.0
LOAD_PERIOD_MIN = 0.05
# What managers have beyond the grace of a closed link to find a new process: a knock at
# the old one's door, and the longest wait between two knocks (`membership`).
RETURN_GRACE = 10.0
# How long handles of a client that is away keep actors alive. Chosen: a client gives
# an endpoint that is away up after the same time.
HANDLES_GRACE = 30.0
# How long a client that has no tasks or results here, and left without a word, is
# listed. Chosen: an operator sees who was there just now.
EMPTY_GRACE = 30.0
# Longer than any name that we make; what a stranger calls itself goes into the log.
_NAME_CHARACTERS = 200
# Kinds that run Python code of the same pickles; the others exchange messages only.
_PYTHON_BOUND = frozenset({"client", "manager"})
# Services of which there is one each: a new process takes the old one's place.
_SERVICES = frozenset({"strategy", "provider", "supervisor"})


class Interchange(Exchange):
    """The machine; see the module's docstring."""

    def __init__(self, settings: InterchangeSettings, now: float) -> None:
        super().__init__(settings)
        self.blocks: dict[BlockId, Block] = {}
        self.members: dict[str, Hello] = {}  # {peer: how it introduced itself}
        self.malformed = 0
        self.journal: JournalState | None = None  # as its recorder told last
        self._blamed: set[str] = set()  # who sent nonsense, as far as they are here
        self.started_at = now
        self._liveness = Liveness(settings.tempo)
        self._steering = Steering(self)
        self._load_told_at = -math.inf
        self._has_restored = False  # and not looked at what was restored

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def epoch(self) -> str:
        return self.settings.epoch

    def obey(self, command: Command, now: float, turn: Turn) -> Answer:
        """Do what an operator asks, or say why not."""
        return self._steering.obey(command, now, turn)

    # What an earlier process left

    def restore(self, records: Iterable[InterchangeRecord], now: float) -> None:
        """Take over what an earlier process has recorded; once, before all else.

        Args:
            records: all of them, oldest first.
            now: monotonic seconds.
        """
        restoration = Restoration(self)
        for record in records:
            restoration.apply(record)
        restoration.finish(now)
        self._has_restored = True
        for client in self.clients.values():
            client.recount()
            if client.unread_bytes > self.settings.max_unread_bytes:
                self._hold_back(client, Turn())
            if client.is_within:
                client.gone_at += RETURN_GRACE
        for manager in self.fleet.managers.values():
            self.block_errors.note_joined(manager.block_id)
            self.members[manager.peer] = Hello(
                "manager",
                manager.manager_id,
                manager.instance,
                PROTOCOL,
                self.settings.python,
                "",
                manager.pid,
                manager.host,
                manager.block_id,
                manager.slots,
            )
            # It has a little more time than after an ordinary loss of its link.
            self._liveness.joined(manager.peer, now + RETURN_GRACE)
            self._liveness.closed(manager.peer, now + RETURN_GRACE)

    def snapshot(self) -> Iterator[list[InterchangeRecord]]:
        """Give the records that stand for all before them, in portions.

        Turns may come between two portions, as long as their records are replayed
        after all of these.
        """
        return take_snapshot(self)

    # The door

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Let somebody in, or refuse it alone, with the reason."""
        turn = Turn()
        peer = f"{hello.kind}:{hello.member_id}"
        reason = self._objection(hello)
        rival = self._rival(hello, peer)
        if reason or rival:
            # Whoever is refused may be anybody, and call itself anything.
            name = hello.member_id[:_NAME_CHARACTERS]
            turn.events.append(MemberRefused(hello.kind, name, reason or rival))
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
        if not 0 < len(hello.member_id) <= _NAME_CHARACTERS or ":" in hello.member_id:
            return (
                f"member_id {hello.member_id[:_NAME_CHARACTERS]!r} must have 1 to "
                f"{_NAME_CHARACTERS} characters and no ':'"
            )
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
            manager.equip(hello.resources)
            self.fleet.managers[manager_id] = manager
            turn.records.append(
                ManagerAdmitted(
                    manager_id,
                    hello.instance,
                    hello.block_id,
                    hello.slots,
                    hello.host[:_NAME_CHARACTERS],
                    hello.pid,
                )
            )
        self.block_errors.note_joined(manager.block_id)
        manager.instance = hello.instance
        manager.host, manager.pid = hello.host, hello.pid
        manager.is_connected = True
        # One that an earlier interchange knew is known by its places only.
        manager.equip(hello.resources)
        self._note_surroundings(manager, hello, now, turn)
        kept = self.roster.manager_admitted(manager, hello.actors, now, turn)
        self.roster.look_again()
        # What it says of an earlier try of a call is no word on the present one.
        calls = self.ledger.calls
        said = [
            holding
            for holding in hello.held
            if holding.task_id not in calls
            or holding.attempt >= calls[holding.task_id].attempt
        ]
        held = {holding.task_id for holding in said}
        for task_id in [t for t in manager.all_leases if t not in held]:
            # The lease never reached it: nothing has begun.
            entry = self.ledger.entries[task_id]
            why = f"lease did not reach {manager_id}"
            self._put_back(entry, manager, why, now, turn)
        for task_id in list(manager.all_leases):
            entry = self.ledger.entries[task_id]
            if entry.is_cancelling:
                # It drops what is not adopted, and says no more of it.
                manager.release(task_id, now)
                self._end(entry, TaskState.CANCELLED, None, now, turn)
        adopted: list[Holding] = []
        unrecorded: list[TaskId] = []
        # Of one task it may have both an old outcome and a lease.
        claims: dict[TaskId, int] = {}
        for holding in said:
            newest = max(claims.get(holding.task_id, 0), holding.attempt)
            claims[holding.task_id] = newest
        for task_id, claimed in claims.items():
            attempt = self.ledger.adopt(task_id, claimed, manager_id, now)
            if attempt is not None:
                entry = self.ledger.entries[task_id]
                if task_id not in manager.all_leases:
                    unrecorded.append(task_id)
                    manager.hold(entry)
                adopted.append(Holding(task_id, attempt))
        if unrecorded:
            at = now + self.settings.wall_offset
            turn.records.append(TasksLeased(manager_id, at, unrecorded))
        self._send(manager.peer, Adopted(adopted, kept), now, turn)
        self.audience.manager_admitted(manager, now, turn)
        if manager.is_draining:
            # What it was told before may not have reached it.
            manager.is_stopping = False
            self._send(manager.peer, Drain(), now, turn)
            self._stop_if_drained(manager, now, turn)
        self.place(now, turn)
        self._tell_tags(now, turn)

    def _note_surroundings(
        self, manager: ManagerEntry, hello: Hello, now: float, turn: Turn
    ) -> None:
        """Note what a manager's block is like: how long it lives, and its type."""
        fleet, rules, left = self.fleet, self.settings.placement, hello.time_left
        is_first = len(fleet.of_block(manager.block_id)) == 1
        is_fresh = manager.ends_at == math.inf and is_first
        manager.tag, manager.is_exclusive = hello.tag, hello.is_exclusive
        if hello.is_exclusive:
            fleet.exclusive.add(manager.manager_id)
        if left is not None:
            # Not max(): what was told may be no number.
            left = left if left > 0 else 0.0
            life = left if rules.walltime == math.inf else rules.walltime
            fleet.end_at(manager, now + left, rules.margin(life))
        if hello.worker_type and rules.is_hard:
            told = "" if hello.worker_type == PLAIN_TYPE else hello.worker_type
            fleet.types.setdefault(manager.block_id, told)
        fleet.keep_type(manager)
        if is_fresh:
            self.objections.note_offer(manager.drain_at - now)
            self._refuse_unsuited(now, turn)

    def _admit_client(self, hello: Hello, now: float, turn: Turn) -> None:
        client_id = ClientId(hello.member_id)
        client = self.clients.get(client_id)
        if client is None or client.is_leaving:
            # A client of that name may have been forgotten before.
            turn.records.append(ClientAdmitted(client_id, hello.is_within))
        if client is None:
            client = self.clients[client_id] = ClientEntry(client_id, hello.instance)
        client.instance = hello.instance
        client.is_put_off = False
        client.is_within = hello.is_within
        client.gone_at = math.inf
        client.is_leaving = False
        if hello.wants_output:
            self.audience.joined(client, now, turn)
        else:
            self.audience.look(now, turn)
        for stream in self.streams.of_client(client_id) if self.streams else ():
            if stream.payloads:
                self._send(client.peer, ItemsYielded(stream.unread), now, turn)
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
                self._link_closed(peer, now, turn)
            case JournalState():
                self.journal = message
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
                gone = client.acknowledge(task_ids)
                if gone:
                    turn.records.append(TasksForgotten(client.client_id, gone))
                half = self.settings.max_unread_bytes // 2
                if client.is_held_back and client.unread_bytes <= half:
                    self._let_go(client, now, turn)
            case ItemsTaken(marks):
                self.items.read(marks, client, turn)
            case CancelTasks(task_ids, if_running, grace, is_recursive):
                self.cancel(
                    task_ids,
                    now,
                    turn,
                    client=client,
                    if_running=if_running,
                    grace=grace,
                    is_recursive=is_recursive,
                )
            case ClaimTasks(task_ids):
                self._claim(task_ids, client, now, turn)
            case ListTasks():
                self._list_tasks(client, now, turn)
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
            case ItemsYielded(items):
                self.items.yielded(items, manager, now, turn)
            case Report(window, deltas, workers, is_draining, types, resting=resting):
                manager.window = max(0, window)
                manager.workers, manager.types = workers, types
                manager.processes = message.actors
                manager.rss_bytes = message.rss_bytes
                manager.cpu_seconds = message.cpu_seconds
                if resting or manager.resting:
                    manager.note_resting(resting)
                if is_draining:
                    # It drains: perhaps it was told so before we had lost it.
                    self.drain(manager, now, turn)
                self._progress(deltas, manager, now, turn)
                self.place(now, turn, only=manager)
            case Returned(leases):
                for lease in leases:
                    entry = self._leased_entry(lease.task_id, manager)
                    if entry is not None:
                        self._put_back(entry, manager, "handed back", now, turn)
                self._stop_if_drained(manager, now, turn)
                self.place(now, turn)
            case Printed():
                self.audience.printed(message, manager, now, turn)
            case CallerKnown():
                self.audience.caller_known(message, manager)
            case Waits():
                told = self.waits.told(message, manager.manager_id)
                if told is not None:
                    self._send(manager.peer, told, now, turn)
            case ActorsStarted(actors):
                self.roster.started(actors, manager, now, turn)
                self.place(now, turn)
            case ActorEnded():
                self.roster.ended(message, manager, now, turn)
                self._stop_if_drained(manager, now, turn)
                self.place(now, turn)
            case Goodbye(reason):
                if manager.is_busy:
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
                for event in events:
                    self.relayed.note(event, now)
                self.malformed += sum(isinstance(e, FrameRefused) for e in events)
            case BlocksReported(blocks):
                self._blocks_reported(blocks, now, turn)
            case RetireBlocks(block_ids, _, if_busy):
                held = self.retire(block_ids, now, turn, if_busy=if_busy)
                self._send(sender, self.blocks_held(held), now, turn)
            case Command():
                answer = self.obey(message, now, turn)
                if turn.records:
                    # What an operator was told to be so stays so, also without power.
                    self._promise(sender, answer, turn)
                else:
                    self._send(sender, answer, now, turn)
            case Quiesce():
                self.is_ending = True
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
            if now < self._forget_at(client):
                continue
            if client.held_actors and not client.is_within:
                self.roster.client_gone(client, now, turn)
            else:
                self._forget_client(client, now, turn)
        if now >= self.roster.wake_at:
            self.roster.tick(now, turn)
            self.place(now, turn)
        if self._has_restored:
            # The operator may have changed what there is.
            self._has_restored = False
            self._refuse_unsuited(now, turn)
        if now >= self.fleet.drain_at:
            self._drain_ending(now, turn)
        if now >= self._place_at:
            self.placement.tick(now)
            self.place(now, turn)
        if self._load_changed or now >= self._load_told_at + LOAD_PERIOD:
            self._tell_load(now, turn)
        return turn

    @property
    def wake_at(self) -> float:
        load_at = self._load_told_at + (
            LOAD_PERIOD_MIN if self._load_changed else LOAD_PERIOD
        )
        at = min(
            load_at,
            self.roster.wake_at,
            self._liveness.wake_at(),
            self.fleet.drain_at,
            self.started_at if self._has_restored else math.inf,
        )
        for client in self.clients.values():
            if client.gone_at < math.inf:
                at = min(at, self._forget_at(client))
        return at if self.placement.is_simple else min(at, self._place_at)

    @property
    def _place_at(self) -> float:
        """When to place tasks without being told of anything."""
        is_idle = self.fleet.is_quiesced or self.is_ending
        return math.inf if is_idle else self.placement.wake_at

    def _forget_at(self, client: ClientEntry) -> float:
        if client.is_leaving:
            return math.inf
        if client.is_within:
            # As a manager that is away: its worker is gone, or its node.
            return client.gone_at + self.settings.tempo.reconnect_grace
        if client.held_actors:
            return client.gone_at + HANDLES_GRACE
        if not client.unfinished and not client.unacknowledged:
            # It left nothing behind: when it comes back it may as well be new.
            return client.gone_at + EMPTY_GRACE
        return client.gone_at + self.settings.keep_results

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
            if not if_busy and any(m.is_busy for m in managers):
                continue
            self.fleet.retired.add(block_id)
            held.append(block_id)
            for manager in managers:
                self.drain(manager, now, turn)
        self._load_changed = True
        self.note_steering(turn)
        return held

    def _drain_ending(self, now: float, turn: Turn) -> None:
        """Give blocks nothing more that are about to end, and let others take over."""
        ending = self.fleet.take_ending(now)
        if not ending:
            return
        held = self.retire(ending, now, turn, if_busy=True)
        for strategy in self.services("strategy"):
            unasked = self.blocks_held(held, is_unasked=True)
            self._send(strategy, unasked, now, turn)
        for block_id in held:
            text = f"block {block_id} drains: its time ends soon"
            turn.events.append(Notice("info", text))

    def _blocks_reported(self, blocks: list[Block], now: float, turn: Turn) -> None:
        errors, has_failed = self.block_errors, False
        for reported_block in blocks:
            known = self.blocks.get(reported_block.block_id)
            is_retired = reported_block.block_id in self.fleet.retired
            block = errors.judge(reported_block, known, is_retired=is_retired)
            if known is None or known.state != block.state:
                turn.events.append(
                    BlockChanged(block.block_id, block.state, block.message)
                )
                has_failed = has_failed or errors.is_failure(block)
            self.blocks[block.block_id] = block
            if block.state.is_active:
                continue
            # The batch system's word is final: nobody waits for heartbeats.
            for manager in self.fleet.of_block(block.block_id):
                if manager.is_stopping and not manager.is_busy:
                    self._remove_manager(manager, "drained", turn, is_lost=False)
                else:
                    reason = describe_end(block)
                    self._lose_manager(manager, reason, now, turn)
        reported = {block.block_id for block in blocks}
        for block_id in [b for b in self.blocks if b not in reported]:
            # Either it ended long ago, or its end was seen by a provider that crashed.
            gone = self.blocks.pop(block_id)
            self.fleet.types.pop(block_id, None)
            if block_id in self.fleet.retired:
                self.fleet.retired.remove(block_id)
                self.note_steering(turn)
            if gone.state.is_active:
                text = "it ended while the provider was away"
                turn.events.append(BlockChanged(block_id, BlockState.MISSING, text))
        errors.keep(reported)
        if has_failed:
            self._look_for_bad_state(now, turn)
        self._load_changed = True

    def _look_for_bad_state(self, now: float, turn: Turn) -> None:
        """Give up if block after block failed, and no other is left to run tasks."""
        fleet = self.fleet
        if fleet.bad_state or any(
            m.block_id not in fleet.retired for m in fleet.managers.values()
        ):
            return
        bad_state = self.block_errors.find_bad_state(self.blocks.values())
        if bad_state is not None:
            self._enter_bad_state(bad_state, now, turn)
            self.note_steering(turn)
            turn.events.append(Notice("error", f"Bad state: {bad_state.text}"))

    def blocks_held(
        self, block_ids: list[BlockId], *, is_unasked: bool = False
    ) -> BlocksHeld:
        """Tell the strategy how blocks that were just held are."""
        managers = {block_id: self.fleet.of_block(block_id) for block_id in block_ids}
        return BlocksHeld(
            block_ids,
            [b for b in block_ids if managers[b]],
            [b for b in block_ids if any(m.is_busy for m in managers[b])],
            is_unasked,
        )

    def block_states(self) -> dict[BlockId, BlockState]:
        """All blocks that the provider reported."""
        return {block_id: block.state for block_id, block in self.blocks.items()}

    def note_steering(self, turn: Turn) -> None:
        """Record what gets no tasks."""
        self.roster.look_again()
        self.fleet.look_again()
        turn.records.append(steering_record(self.fleet))

    def quiesce(self, turn: Turn) -> None:
        """Take no task and hand none out, until `resume`; what runs goes on."""
        self.fleet.is_quiesced = True
        self._load_changed = True
        self.note_steering(turn)

    def resume(self, now: float, turn: Turn) -> None:
        """Undo `quiesce`, and have clients say again what was not taken.

        Leave the bad state, too: the blocks so far do not count any more.
        """
        self.fleet.is_quiesced = False
        self.fleet.bad_state = None
        self.block_errors.forgive(self.blocks)
        self._load_changed = True
        self.note_steering(turn)
        for client in self.clients.values():
            if client.is_put_off:
                turn.sends.append((client.peer, Reregister("tasks are taken again")))
        self.place(now, turn)

    # Members

    def _send(self, peer: str, message: Message, now: float, turn: Turn) -> None:
        turn.sends.append((peer, message))
        self._liveness.sent(peer, now)

    def _send_eagerly(
        self, peer: str, message: Message, now: float, turn: Turn
    ) -> None:
        turn.eager.append((peer, message))
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

    def _link_closed(self, peer: str, now: float, turn: Turn) -> None:
        self._liveness.closed(peer, now)
        kind, _, member_id = peer.partition(":")
        if kind == "client" and (client := self.clients.get(ClientId(member_id))):
            client.gone_at = min(client.gone_at, now)
            self.audience.left(client.client_id, now, turn)
        if kind == "manager":
            manager = self.fleet.managers.get(ManagerId(member_id))
            if manager is not None:
                manager.is_connected = False

    def _lose(self, peer: str, now: float, turn: Turn) -> None:
        """Give up a member that was silent, or away, for too long."""
        kind, _, member_id = peer.partition(":")
        if self._liveness.is_connected(peer):
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
                self.audience.left(client.client_id, now, turn)
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
                self._wanted_places(),
                self.ledger.leased + self.fleet.reserved,
                self.finished,
                self.fleet.loads(now),
                self.fleet.is_quiesced,
                self.placement.type_loads(),
                too_long=self.placement.count_too_long(now),
                bad_state=self.fleet.bad_state.text if self.fleet.bad_state else "",
            )
        )

    def _wanted_places(self) -> int:
        """Count workers' places that are waited for."""
        asked = sum(
            count * self.fleet.places_for(need_of(needs))
            for needs, count in self.ledger.asking.counts()
        )
        plain = len(self.ledger.backlog) + len(self.ledger.demanding)
        return plain + asked + self.roster.wanted

    @staticmethod
    def _unexpected(message: object, sender: str) -> None:
        raise BrokenInvariant(f"{sender} cannot have sent {message!r}")

    def check(self) -> None:
        """Raise AssertionError if tasks, leases and members contradict each other."""
        self.ledger.check()
        self.fleet.check()
        self.roster.check()
        self.streams.check()
        self.audience.check()
        leases = {
            task_id: manager_id
            for manager_id, manager in self.fleet.managers.items()
            for task_id in manager.all_leases
        }
        for task_id, entry in self.ledger.entries.items():
            if entry.manager_id:
                assert leases.get(task_id) == entry.manager_id, task_id
            assert entry.client_id in self.clients, task_id
        for client in self.clients.values():
            client.check()
            held_back = client.client_id in self.ledger.held_back
            assert held_back == client.is_held_back, client.client_id
            # Another client may have taken the same id: that is its own affair.
            both = [
                task_id
                for task_id in client.unacknowledged.keys() & self.ledger.entries.keys()
                if self.ledger.entries[task_id].client_id == client.client_id
            ]
            assert not both, f"finished and unfinished: {both}"
        for manager in self.fleet.managers.values():
            assert manager.peer in self.members, manager.peer
        self.placement.check()
        has_some = self.ledger.backlog or self.ledger.demanding
        if has_some and not self.fleet.is_quiesced and not self.is_ending:
            # Else `place` was told that nobody but one could get anything.
            roomy = self.fleet.find_roomy()
            if not self.placement.is_simple:
                roomy = [m for m in roomy if self.placement.has_task_for(m, math.inf)]
            entries = chain(self.ledger.backlog, self.ledger.demanding)
            avoided = all(entry.avoid for entry in entries)
            assert avoided or not roomy, f"tasks wait though there is room at {roomy}"
