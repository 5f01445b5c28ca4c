"""Interchange: queues tasks, leases them to managers, returns results. Pure.

    Submit ──► ledger ──place──► leases at managers ──Finished──► outcomes at clients

A client's tasks live in the ledger until they are finished, and their outcomes with the
client's entry until it acknowledges them; both outlive its link. A manager's leases
live with its entry until they end, or it does.

All of this is written down (`records`), and a successor rebuilds it (`restoration`).
What makes others forget, `Accepted` and `AckFinished`, is a promise, and waits until
the records are on disk; a result does not, nor does a lease of a task that may be
started again: if power is lost before the disk has their records, the client knows the
result already, or the task runs once more.

Here is what each member may say, and what time brings; what follows is the business of
the parts, which all work with the same `books`.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from actors.endpoint.interchange.absences import Absences
from actors.endpoint.interchange.blocks import Blocks
from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.delivery import Delivery
from actors.endpoint.interchange.departures import Departures
from actors.endpoint.interchange.door import Door
from actors.endpoint.interchange.intake import Intake
from actors.endpoint.interchange.lease_ends import LeaseEnds
from actors.endpoint.interchange.leasing import Leasing
from actors.endpoint.interchange.load_teller import LoadTeller
from actors.endpoint.interchange.restoration import Restoration, take_snapshot
from actors.endpoint.interchange.settings import InterchangeSettings
from actors.endpoint.interchange.steering import Steering
from actors.errors import BrokenInvariant
from actors.logic.clients import ClientEntry
from actors.logic.fleet import ManagerEntry
from actors.logic.journal_state import JournalState
from actors.logic.ledger import Entry
from actors.logic.records import InterchangeRecord
from actors.logic.resources import Need
from actors.logic.turn import Admission, Exit, FrameMalformed, LinkClosed, Quit, Turn
from actors.messages import (
    AckResults,
    ActorEnded,
    ActorsStarted,
    Answer,
    BlocksReported,
    CallerKnown,
    CancelTasks,
    ClaimTasks,
    ClientId,
    Command,
    Failure,
    Finished,
    FrameRefused,
    Goodbye,
    Heartbeat,
    Hello,
    ItemsTaken,
    ItemsYielded,
    ListTasks,
    ManagerId,
    Needs,
    Outcome,
    Printed,
    Quiesce,
    Relay,
    Report,
    Reregister,
    RetireBlocks,
    Returned,
    Submit,
    Waits,
)

__all__ = ["Interchange"]


class Interchange:
    """The machine; see the module's docstring."""

    def __init__(self, settings: InterchangeSettings, now: float) -> None:
        self.settings = settings
        books = self.books = Books(settings, self)
        self.ledger, self.fleet = books.ledger, books.fleet
        self.clients, self.streams = books.clients, books.streams
        self.members, self.roster = books.members, books.roster
        self.journal: JournalState | None = None  # as its recorder told last
        self.started_at = now
        self.delivery = Delivery(books)
        self.leasing = Leasing(books, self.delivery)
        self._intake = Intake(books, self.leasing, self.delivery)
        self._lease_ends = LeaseEnds(books, self.leasing, self.delivery)
        self.departures = Departures(books, self.leasing, self._lease_ends)
        self.blocks = Blocks(books, self.leasing, self.delivery, self.departures)
        self._door = Door(
            books, self.leasing, self._intake, self._lease_ends, self.departures
        )
        self._absences = Absences(books, self.delivery, self.departures)
        self._load_teller = LoadTeller(books)
        self._steering = Steering(self)
        self._has_restored = False  # and not looked at what was restored

    @property
    def wall_offset(self) -> float:
        """What to add to `now` to get seconds since 1970."""
        return self.settings.wall_offset

    # What the parts ask of the whole

    def obey(self, command: Command, now: float, turn: Turn) -> Answer:
        """Do what an operator asks, or say why not."""
        return self._steering.obey(command, now, turn)

    def answer(
        self, outcome: Outcome, client: ClientEntry, now: float, turn: Turn
    ) -> None:
        """Give a client the outcome of a task that never waited."""
        self.delivery.answer(outcome, client, now, turn)

    def end_call(self, entry: Entry, outcome: Outcome, now: float, turn: Turn) -> None:
        """End a call, or a watch, that waits."""
        self.delivery.end_call(entry, outcome, now, turn)

    def impossible(self, name: str, need: Need) -> Failure | None:
        """Say why no node will ever have what is needed; None: one may."""
        return self.books.objections.to_need(need, name)

    def objection_to(self, needs: Needs, name: str) -> Failure | None:
        """Say why nothing that this endpoint starts can have such a task."""
        return self.books.objections.to_needs(needs, name)

    def tell_wait(self, name: str, need: Need, now: float, turn: Turn) -> None:
        """Say what something waits for, now and then."""
        self.leasing.tell_wait(name, need, now, turn)

    # What an earlier process left

    def restore(self, records: Iterable[InterchangeRecord], now: float) -> None:
        """Take over what an earlier process has recorded; once, before all else.

        Args:
            records: all of them, oldest first.
            now: monotonic seconds.
        """
        restoration = Restoration(self.books)
        for record in records:
            restoration.apply(record)
        restoration.finish(now)
        self._has_restored = True
        for client in self.clients.values():
            client.recount()
            if client.unread_bytes > self.settings.max_unread_bytes:
                self.delivery.hold_back(client, Turn())
        for manager in self.fleet.managers.values():
            self.books.block_errors.note_joined(manager.block_id)
        self._absences.restored(now)

    def snapshot(self) -> Iterator[list[InterchangeRecord]]:
        """Give the records that stand for all before them, in portions.

        Turns may come between two portions, as long as their records are replayed
        after all of these.
        """
        return take_snapshot(self.books)

    # Messages

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Let somebody in, or refuse it alone, with the reason."""
        return self._door.admit(hello, now)

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take one message; a sender that is not a member is asked to register."""
        turn = Turn()
        if not sender:
            self._handle_local(message, now, turn)
            return turn
        members = self.members
        # For every message there is: the dict itself.
        if sender not in members.here:
            turn.sends.append((sender, Reregister("not a member (any more)")))
            return turn
        members.liveness.heard(sender, now)
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
                self._absences.link_closed(peer, now, turn)
            case JournalState():
                self.journal = message
            case Quit(reason):
                for peer in self.members:
                    turn.sends.append((peer, Goodbye(reason)))
                turn.effects.append(Exit(0, reason))
            case FrameMalformed(peer, reason):
                self.members.blame(peer, reason, turn)
            case _:
                raise BrokenInvariant(f"the shell told {message!r}")

    def _handle_client(
        self, message: Any, client: ClientEntry, now: float, turn: Turn
    ) -> None:
        match message:
            case Submit(tasks):
                self._intake.submit(tasks, client, now, turn)
            case AckResults(task_ids):
                if self.delivery.acknowledged(task_ids, client, turn):
                    self.leasing.place(now, turn)
            case ItemsTaken(marks):
                self.books.items.read(marks, client, turn)
            case CancelTasks(task_ids, if_running, grace, is_recursive):
                self.delivery.cancel(
                    task_ids,
                    now,
                    turn,
                    client=client,
                    if_running=if_running,
                    grace=grace,
                    is_recursive=is_recursive,
                )
            case ClaimTasks(task_ids):
                self.delivery.claim(task_ids, client, now, turn)
            case ListTasks():
                self.delivery.list_tasks(client, now, turn)
            case Goodbye():
                self.delivery.forget(client, now, turn)
                self.members.leave(client.peer, message.reason, turn, is_lost=False)
            case Heartbeat():
                pass
            case _:
                self._unexpected(message, client.peer)

    def _handle_manager(
        self, message: Any, manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        match message:
            case Finished(outcomes):
                self._lease_ends.finished(outcomes, manager, now, turn)
                self.departures.stop_if_drained(manager, turn)
            case ItemsYielded(items):
                self.books.items.yielded(items, manager, now, turn)
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
                    self.departures.drain(manager, turn)
                self._lease_ends.progress(deltas, manager, now, turn)
                self.leasing.place(now, turn, only=manager)
            case Returned(leases):
                self._lease_ends.returned(leases, manager, now, turn)
                self.departures.stop_if_drained(manager, turn)
                self.leasing.place(now, turn)
            case Printed():
                self.books.audience.printed(message, manager, now, turn)
            case CallerKnown():
                self.books.audience.caller_known(message, manager)
            case Waits():
                told = self.books.waits.told(message, manager.manager_id)
                if told is not None:
                    self.members.send(manager.peer, told, now, turn)
            case ActorsStarted(actors):
                self.roster.started(actors, manager, now, turn)
                self.leasing.place(now, turn)
            case ActorEnded():
                self.roster.ended(message, manager, now, turn)
                self.departures.stop_if_drained(manager, turn)
                self.leasing.place(now, turn)
            case Goodbye(reason):
                self.departures.left(manager, reason, now, turn)
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
                    self.books.relayed.note(event, now)
                refused = [e for e in events if isinstance(e, FrameRefused)]
                self.members.malformed += len(refused)
            case BlocksReported(blocks):
                self.blocks.reported(blocks, now, turn)
            case RetireBlocks(block_ids, _, if_busy):
                held = self.blocks.retire(block_ids, turn, if_busy=if_busy)
                self.members.send(sender, self.blocks.held(held), now, turn)
            case Command():
                answer = self.obey(message, now, turn)
                if turn.records:
                    # What an operator was told to be so stays so, also without power.
                    turn.promise(sender, answer)
                else:
                    self.members.send(sender, answer, now, turn)
            case Quiesce():
                self.fleet.is_ending = True
            case Goodbye(reason):
                self.members.leave(sender, reason, turn, is_lost=False)
            case Heartbeat():
                pass
            case _:
                self._unexpected(message, sender)

    # Time

    def tick(self, now: float) -> Turn:
        """Beat, judge, forget the long gone, tell the load."""
        turn = Turn()
        self._absences.tick(now, turn)
        if now >= self.roster.wake_at:
            self.roster.tick(now, turn)
            self.leasing.place(now, turn)
        if self._has_restored:
            # The operator may have changed what there is.
            self._has_restored = False
            self._intake.refuse_unsuited(now, turn)
        if now >= self.fleet.drain_at:
            self.blocks.drain_ending(now, turn)
        if now >= self._place_at:
            self.books.placement.tick(now)
            self.leasing.place(now, turn)
        self._load_teller.tick(now, turn)
        return turn

    @property
    def wake_at(self) -> float:
        at = min(
            self._load_teller.wake_at,
            self.roster.wake_at,
            self.members.liveness.wake_at(),
            self.fleet.drain_at,
            self.started_at if self._has_restored else math.inf,
        )
        for client in self.clients.values():
            if client.gone_at < math.inf:
                at = min(at, self._absences.forget_at(client))
        return at if self.books.placement.is_simple else min(at, self._place_at)

    @property
    def _place_at(self) -> float:
        """When to place tasks without being told of anything."""
        is_idle = self.fleet.is_quiesced or self.fleet.is_ending
        return math.inf if is_idle else self.books.placement.wake_at

    @staticmethod
    def _unexpected(message: object, sender: str) -> None:
        raise BrokenInvariant(f"{sender} cannot have sent {message!r}")

    def check(self) -> None:
        """Raise AssertionError if tasks, leases and members contradict each other."""
        self.books.check()
