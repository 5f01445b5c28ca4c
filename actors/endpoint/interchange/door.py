"""Door: who is let in, and what there is to say to who comes (again). Pure.

Whoever is refused is refused alone, with the reason. A manager says what it holds, and
hears what it shall keep; a client hears all that it has not read.
"""

import hmac
import math

from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.departures import Departures
from actors.endpoint.interchange.intake import Intake
from actors.endpoint.interchange.lease_ends import LeaseEnds
from actors.endpoint.interchange.leasing import Leasing
from actors.logic.clients import ClientEntry
from actors.logic.fleet import ManagerEntry
from actors.logic.records import ClientAdmitted, ManagerAdmitted
from actors.logic.turn import Admission, HangUp, Turn
from actors.messages import (
    PLAIN_TYPE,
    PROTOCOL,
    Adopted,
    ClientId,
    Heartbeat,
    Hello,
    ItemsYielded,
    ManagerId,
    MemberJoined,
    MemberRefused,
    Results,
)

__all__ = ["Door"]

# Longer than any name that we make; what a stranger calls itself goes into the log.
_NAME_CHARACTERS = 200
# Kinds that run Python code of the same pickles; the others exchange messages only.
_PYTHON_BOUND = frozenset({"client", "manager"})
# Services of which there is one each: a new process takes the old one's place.
_SERVICES = frozenset({"strategy", "provider", "supervisor"})


class Door:
    """The machine; see the module's docstring.

    Args:
        books: of the interchange.
        leasing: which has somebody more.
        intake: which may learn of what there will never be.
        lease_ends: which compares what a manager holds with what it was given.
        departures: of those in whose place somebody comes.
    """

    def __init__(
        self,
        books: Books,
        leasing: Leasing,
        intake: Intake,
        lease_ends: LeaseEnds,
        departures: Departures,
    ) -> None:
        self._books = books
        self._settings = books.settings
        self._fleet = books.fleet
        self._members = books.members
        self._leasing = leasing
        self._intake = intake
        self._lease_ends = lease_ends
        self._departures = departures

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
        known = self._members.here.get(peer)
        self._members.join(peer, hello, now)
        # The first message tells the newcomer that its link works.
        self._members.send(peer, Heartbeat(), now, turn)
        match hello.kind:
            case "manager":
                self._admit_manager(hello, known, now, turn)
            case "client":
                self._admit_client(hello, now, turn)
        if known is None or known.instance != hello.instance:
            turn.events.append(
                MemberJoined(hello.kind, hello.member_id, hello.host, hello.slots)
            )
        self._books.is_load_news = True
        return Admission(peer), turn

    def _objection(self, hello: Hello) -> str:
        settings = self._settings
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
        is_known = ManagerId(hello.member_id) in self._fleet.managers
        if (
            hello.kind == "manager"
            and hello.block_id in self._fleet.retired
            # One that drains may come back: it has what is waited for.
            and not is_known
        ):
            return f"block {hello.block_id} is being ended"
        return ""

    def _rival(self, hello: Hello, peer: str) -> str:
        known = self._members.here.get(peer)
        if (
            known is not None
            and known.instance != hello.instance
            and hello.kind not in _SERVICES
            and self._members.liveness.is_connected(peer)
        ):
            return (
                f"{hello.kind} {hello.member_id} is connected already, from pid "
                f"{known.pid} on {known.host or 'an unnamed host'}"
            )
        return ""

    # Managers

    def _admit_manager(
        self, hello: Hello, known: Hello | None, now: float, turn: Turn
    ) -> None:
        books = self._books
        manager = self._enter_manager(hello, known, now, turn)
        books.block_errors.note_joined(manager.block_id)
        manager.instance = hello.instance
        manager.host, manager.pid = hello.host, hello.pid
        manager.is_connected = True
        # One that an earlier interchange knew is known by its places only.
        manager.equip(hello.resources)
        self._note_surroundings(manager, hello, now, turn)
        kept = books.roster.manager_admitted(manager, hello.actors, now, turn)
        books.roster.look_again()
        adopted = self._lease_ends.compare(manager, hello.held, now, turn)
        self._members.send(manager.peer, Adopted(adopted, kept), now, turn)
        books.audience.manager_admitted(manager, now, turn)
        if manager.is_draining:
            self._departures.drain_again(manager, now, turn)
        self._leasing.place(now, turn)
        self._leasing.tell_tags(now, turn)

    def _enter_manager(
        self, hello: Hello, known: Hello | None, now: float, turn: Turn
    ) -> ManagerEntry:
        """Return what is known of a manager; another process of its name is new."""
        managers = self._fleet.managers
        manager_id = ManagerId(hello.member_id)
        manager = managers.get(manager_id)
        if manager is not None and known and known.instance != hello.instance:
            why = "another process took its place"
            self._departures.lose(manager, why, now, turn)
            # Losing it ended the membership that was just begun, and its new link.
            turn.effects.remove(HangUp(manager.peer))
            self._members.join(manager.peer, hello, now)
            manager = None
        if manager is None:
            manager = ManagerEntry(manager_id, hello.block_id, hello.slots, now)
            manager.equip(hello.resources)
            managers[manager_id] = manager
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
        return manager

    def _note_surroundings(
        self, manager: ManagerEntry, hello: Hello, now: float, turn: Turn
    ) -> None:
        """Note what a manager's block is like: how long it lives, and its type."""
        fleet, rules, left = self._fleet, self._settings.placement, hello.time_left
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
            self._books.objections.note_offer(manager.drain_at - now)
            self._intake.refuse_unsuited(now, turn)

    # Clients

    def _admit_client(self, hello: Hello, now: float, turn: Turn) -> None:
        books, clients = self._books, self._books.clients
        client_id = ClientId(hello.member_id)
        client = clients.get(client_id)
        if client is None or client.is_leaving:
            # A client of that name may have been forgotten before.
            turn.records.append(ClientAdmitted(client_id, hello.is_within))
        if client is None:
            client = clients[client_id] = ClientEntry(client_id, hello.instance)
        client.instance = hello.instance
        client.is_put_off = False
        client.is_within = hello.is_within
        client.gone_at = math.inf
        client.is_leaving = False
        if hello.wants_output:
            books.audience.joined(client, now, turn)
        else:
            books.audience.look(now, turn)
        streams = books.streams
        for stream in streams.of_client(client_id) if streams else ():
            if stream.payloads:
                items = ItemsYielded(stream.unread)
                self._members.send(client.peer, items, now, turn)
        if client.unacknowledged:
            results = Results(list(client.unacknowledged.values()))
            self._members.send(client.peer, results, now, turn)
