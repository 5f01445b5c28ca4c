"""Audience: the clients that want to see what their tasks and actors print. Pure.

    Hello.wants_output ─► WatchOutput ─► managers ─Printed─► Output ─► the client

Managers are told when there is somebody at all, and when there is nobody any more; and
whether there are several clients, so that words of tasks must be told apart.
What a task prints is for the client that asked for it, what an actor prints for the one
that made it; nobody else ever sees it. None of it is kept: who is away misses it, and
hears how much that was.
"""

from typing import Protocol

from actors.endpoint.roster import Roster
from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet, ManagerEntry
from actors.logic.ledger import Ledger
from actors.logic.output import Allowance, fitting
from actors.logic.turn import Turn
from actors.messages import ClientId, Message, Output, Printed, TaskId, WatchOutput

__all__ = ["Audience"]

# What one client is told at once, and per second. Chosen: what a terminal shows; far
# less than a link carries.
MOST_BYTES, BYTES_PER_SECOND = 4 << 20, 1 << 20


class _Endpoint(Protocol):
    """What the audience needs of the exchange."""

    ledger: Ledger
    fleet: Fleet
    roster: Roster
    clients: dict[ClientId, ClientEntry]

    def send(self, peer: str, message: Message, now: float, turn: Turn) -> object: ...


class _Listener:
    """What is known of a client that wants to see output.

    Args:
        instance: its process.
        now: monotonic seconds.
    """

    def __init__(self, instance: str, now: float) -> None:
        self.instance = instance
        self.end = 0  # see `Output`
        self.allowance = Allowance(MOST_BYTES, BYTES_PER_SECOND, now)


class Audience:
    """Who listens; see the module's docstring.

    Args:
        endpoint: whose clients they are.
    """

    def __init__(self, endpoint: _Endpoint) -> None:
        self._endpoint = endpoint
        self._here: set[ClientId] = set()
        self._told = WatchOutput(False)  # to all managers
        # Also of those that are away for a while.
        self._listeners: dict[ClientId, _Listener] = {}

    def joined(self, client: ClientEntry, now: float, turn: Turn) -> None:
        """Take a client in that wants to see output; twice is once."""
        known = self._listeners.get(client.client_id)
        if known is None or known.instance != client.instance:
            self._listeners[client.client_id] = _Listener(client.instance, now)
        self._here.add(client.client_id)
        self.look(now, turn)

    def left(self, client_id: ClientId, now: float, turn: Turn) -> None:
        """Note that a client is away; nothing if it never listened."""
        self._here.discard(client_id)
        self.look(now, turn)

    def forget(self, client_id: ClientId, now: float, turn: Turn) -> None:
        """Note that a client will not come back."""
        self.left(client_id, now, turn)
        self._listeners.pop(client_id, None)

    def manager_admitted(self, manager: ManagerEntry, now: float, turn: Turn) -> None:
        """Tell a manager that somebody listens; at first nobody does."""
        if self._told.is_wanted:
            self._endpoint.send(manager.peer, self._told, now, turn)

    def printed(
        self, message: Printed, manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        """Pass on what a task or an actor of a manager's has printed."""
        client_id = self._client_of(message, manager)
        listener = self._listeners.get(client_id)
        if listener is None:
            return
        text = message.text
        shown = fitting(text, listener.allowance.take(len(text), now))
        listener.end += len(shown)
        left_out = len(text) - len(shown) + message.left_out_bytes
        if client_id not in self._here:
            listener.end += left_out
            return
        peer, send = self._endpoint.clients[client_id].peer, self._endpoint.send
        pid, host = message.pid, manager.host
        if shown:
            send(peer, Output(pid, host, shown, listener.end), now, turn)
        if left_out:
            listener.end += left_out
            send(peer, Output(pid, host, b"", listener.end), now, turn)

    def _client_of(self, message: Printed, manager: ManagerEntry) -> ClientId:
        """Return whom it concerns; "": nobody."""
        nobody = ClientId("")
        if message.is_actor:
            actor = self._endpoint.roster.actors.get(message.writer)
            is_here = actor is not None and actor.manager_id == manager.manager_id
            return (actor.maker if actor is not None and is_here else None) or nobody
        entry = self._endpoint.ledger.entries.get(TaskId(message.writer))
        is_here = entry is not None and entry.manager_id == manager.manager_id
        return entry.client_id if entry is not None and is_here else nobody

    def look(self, now: float, turn: Turn) -> None:
        """Tell managers what has changed; call it when clients come or go."""
        is_wanted = bool(self._here)
        word = WatchOutput(is_wanted, is_wanted and len(self._endpoint.clients) > 1)
        if word == self._told:
            return
        self._told = word
        for manager in self._endpoint.fleet.managers.values():
            self._endpoint.send(manager.peer, word, now, turn)

    def check(self) -> None:
        """Raise AssertionError if somebody listens who is no client."""
        clients = self._endpoint.clients
        assert self._here <= self._listeners.keys() <= clients.keys()
        assert self._told.is_wanted == bool(self._here)
        # One may have been dropped since.
        is_told_apart = self._told.is_shared or len(clients) < 2
        assert is_told_apart or not self._here, "words would be mixed"
