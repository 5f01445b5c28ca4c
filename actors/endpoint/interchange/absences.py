"""Absences: who is away, or silent, and is given up in the end. Pure.

A manager is lost with what it has. A client's tasks and results outlive its membership,
until it is forgotten: how long it may be away depends on what it has left behind.
"""

import math

from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.delivery import Delivery
from actors.endpoint.interchange.departures import Departures
from actors.logic.clients import ClientEntry
from actors.logic.turn import Turn
from actors.messages import PROTOCOL, ClientId, Heartbeat, Hello, ManagerId

__all__ = ["RETURN_GRACE", "Absences"]

# What managers have beyond the grace of a closed link to find a new process: a knock at
# the old one's door, and the longest wait between two knocks (`membership`).
RETURN_GRACE = 10.0
# How long handles of a client that is away keep actors alive. Chosen: a client gives
# an endpoint that is away up after the same time.
HANDLES_GRACE = 30.0
# How long a client that has no tasks or results here, and left without a word, is
# listed. Chosen: an operator sees who was there just now.
EMPTY_GRACE = 30.0


class Absences:
    """The machine; see the module's docstring.

    Args:
        books: of the interchange.
        delivery: which forgets clients.
        departures: of managers.
    """

    def __init__(
        self, books: Books, delivery: Delivery, departures: Departures
    ) -> None:
        self._books = books
        self._members = books.members
        self._clients = books.clients
        self._managers = books.fleet.managers
        self._delivery = delivery
        self._departures = departures
        self._keep_results = books.settings.keep_results
        self._reconnect_grace = books.settings.tempo.reconnect_grace

    def restored(self, now: float) -> None:
        """Give all that an earlier process knew, who are away now, time to return."""
        for client in self._clients.values():
            if client.is_within:
                client.gone_at += RETURN_GRACE
        for manager in self._managers.values():
            hello = Hello(
                "manager",
                manager.manager_id,
                manager.instance,
                PROTOCOL,
                self._books.settings.python,
                "",
                manager.pid,
                manager.host,
                manager.block_id,
                manager.slots,
            )
            # It has a little more time than after an ordinary loss of its link.
            self._members.join(manager.peer, hello, now + RETURN_GRACE)
            self._members.liveness.closed(manager.peer, now + RETURN_GRACE)

    def link_closed(self, peer: str, now: float, turn: Turn) -> None:
        """Note that a member is away."""
        self._members.liveness.closed(peer, now)
        kind, _, member_id = peer.partition(":")
        if kind == "client":
            self._client_left(ClientId(member_id), now, turn)
        if kind == "manager":
            manager = self._managers.get(ManagerId(member_id))
            if manager is not None:
                manager.is_connected = False

    def _client_left(self, client_id: ClientId, now: float, turn: Turn) -> None:
        client = self._clients.get(client_id)
        if client is not None:
            client.gone_at = min(client.gone_at, now)
            self._books.audience.left(client_id, now, turn)

    def tick(self, now: float, turn: Turn) -> None:
        """Give up who is away or silent for too long; beat for the others."""
        liveness = self._members.liveness
        for peer in liveness.lost(now):
            self._lose(peer, now, turn)
        for peer in liveness.due(now):
            self._members.send(peer, Heartbeat(), now, turn)
        for client in list(self._clients.values()):
            if now < self.forget_at(client):
                continue
            if client.held_actors and not client.is_within:
                self._books.roster.client_gone(client, now, turn)
            else:
                self._delivery.forget(client, now, turn)

    def _lose(self, peer: str, now: float, turn: Turn) -> None:
        """Give up a member that was silent, or away, for too long."""
        kind, _, member_id = peer.partition(":")
        if self._members.liveness.is_connected(peer):
            reason = f"not heard for {self._members.silence(peer, now):.1f} s"
        else:
            reason = "its link closed and it did not come back"
        if kind == "manager":
            manager = self._managers[ManagerId(member_id)]
            self._departures.lose(manager, reason, now, turn)
            return
        if kind == "client":
            self._client_left(ClientId(member_id), now, turn)
        self._members.leave(peer, reason, turn, is_lost=True)

    def forget_at(self, client: ClientEntry) -> float:
        """Say when a client, or its handles on actors, is given up."""
        if client.is_leaving:
            return math.inf
        if client.is_within:
            # As a manager that is away: its worker is gone, or its node.
            return client.gone_at + self._reconnect_grace
        if client.held_actors:
            return client.gone_at + HANDLES_GRACE
        if not client.unfinished and not client.unacknowledged:
            # It left nothing behind: when it comes back it may as well be new.
            return client.gone_at + EMPTY_GRACE
        return client.gone_at + self._keep_results
