"""Audience: the clients that want to see what their tasks and actors print. Pure.

    Hello.wants_output ─► WatchOutput ─► managers ─Printed─► Output ─► the client

Managers are told when there is somebody at all, and when there is nobody any more; and
whether there are several clients, so that words of tasks must be told apart.
What a task prints is for the client that asked for it, what an actor prints for the one
that made it; nobody else ever sees it. If that client is itself a worker of the
endpoint's, it is for the client for which it works:

    Calls ─► its manager ─CallerKnown─► kept as long as the worker is a client

None of it is kept: who is away misses it, and hears how much that was.
"""

from typing import Protocol

from actors.endpoint.interchange.members import Members
from actors.endpoint.interchange.roster import Roster
from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet, ManagerEntry
from actors.logic.ledger import Ledger
from actors.logic.output import Allowance, fitting
from actors.logic.turn import Turn
from actors.messages import (
    CallerKnown,
    ClientId,
    Output,
    Printed,
    TaskId,
    WatchOutput,
)

__all__ = ["Audience"]

# What one client is told at once, and per second. Chosen: what a terminal shows; far
# less than a link carries.
MOST_BYTES, BYTES_PER_SECOND = 4 << 20, 1 << 20
# So many tasks of one worker are remembered for what they have asked for themselves.
# Chosen: what one leaves behind seldom outlives as many others there.
_MOST_CALLERS = 64
# And so many workers, some of which may have died before they came as clients. Chosen.
_MOST_WORKERS = 10_000
_NOBODY = ClientId("")


class Endpoint(Protocol):
    """What the audience needs of the endpoint."""

    ledger: Ledger
    fleet: Fleet
    roster: Roster
    clients: dict[ClientId, ClientEntry]

    members: Members


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

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._here: set[ClientId] = set()
        self._told = WatchOutput(False)  # to all managers
        # {client that is a worker: {its task's number there: whom that works for}}
        self._callers: dict[ClientId, dict[int, ClientId]] = {}
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
        self._callers.pop(client_id, None)

    def manager_admitted(self, manager: ManagerEntry, now: float, turn: Turn) -> None:
        """Tell a manager that somebody listens; at first nobody does."""
        if self._told.is_wanted:
            self._endpoint.members.send(manager.peer, self._told, now, turn)

    def printed(
        self, message: Printed, manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        """Pass on what a task or an actor of a manager's has printed."""
        client_id = self._client_of(message.writer, message.is_actor, manager)
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
        peer, send = self._endpoint.clients[client_id].peer, self._endpoint.members.send
        pid, host = message.pid, manager.host
        if shown:
            send(peer, Output(pid, host, shown, listener.end), now, turn)
        if left_out:
            listener.end += left_out
            send(peer, Output(pid, host, b"", listener.end), now, turn)

    def caller_known(self, message: CallerKnown, manager: ManagerEntry) -> None:
        """Note for whom a worker asks for tasks."""
        # Perhaps sooner than the worker itself has come as a client.
        callers = self._callers.setdefault(message.client_id, {})
        callers[message.seq] = self._client_of(
            message.caller, message.is_actor, manager
        )
        if len(callers) > _MOST_CALLERS:
            del callers[next(iter(callers))]
        if len(self._callers) > _MOST_WORKERS:
            del self._callers[next(iter(self._callers))]

    def _client_of(
        self, writer: str, is_actor: bool, manager: ManagerEntry
    ) -> ClientId:
        """Return for whom a manager's task, or actor, works; "": nobody knows."""
        if is_actor:
            actor = self._endpoint.roster.actors.get(writer)
            if actor is None or actor.manager_id != manager.manager_id:
                return _NOBODY
            return self._outermost(actor.maker, actor.maker_seq)
        entry = self._endpoint.ledger.entries.get(TaskId(writer))
        if entry is None or entry.manager_id != manager.manager_id:
            return _NOBODY
        return self._outermost(entry.client_id, entry.task.caller_seq)

    def _outermost(self, client_id: ClientId, seq: int) -> ClientId:
        client = self._endpoint.clients.get(client_id)
        if client is None or not client.is_within:
            return client_id
        return self._callers.get(client_id, {}).get(seq, _NOBODY)

    def look(self, now: float, turn: Turn) -> None:
        """Tell managers what has changed; call it when clients come or go."""
        is_wanted = bool(self._here)
        word = WatchOutput(is_wanted, is_wanted and len(self._endpoint.clients) > 1)
        if word == self._told:
            return
        self._told = word
        for manager in self._endpoint.fleet.managers.values():
            self._endpoint.members.send(manager.peer, word, now, turn)

    def check(self) -> None:
        """Raise AssertionError if somebody listens who is no client."""
        clients = self._endpoint.clients
        assert self._here <= self._listeners.keys() <= clients.keys()
        assert self._told.is_wanted == bool(self._here)
        # One may have been dropped since.
        is_told_apart = self._told.is_shared or len(clients) < 2
        assert is_told_apart or not self._here, "words would be mixed"
