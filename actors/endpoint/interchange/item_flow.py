"""Item flow: what generators yield, from their managers to their clients. Pure.

What is kept is the business of `actors.logic.item_streams`; here it is passed on, and
written down.
"""

import math
from collections import defaultdict
from typing import Protocol

from actors.endpoint.interchange.members import Members
from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet, ManagerEntry
from actors.logic.item_streams import ALL_ITEMS, ItemStream, ItemStreams
from actors.logic.ledger import Ledger
from actors.logic.records import ItemsKept, ItemsRead
from actors.logic.turn import Turn
from actors.messages import (
    ClientId,
    Item,
    ItemsMark,
    ItemsTaken,
    ItemsYielded,
    TaskId,
)

__all__ = ["ItemFlow"]


class Endpoint(Protocol):
    """What the flow needs of the endpoint."""

    ledger: Ledger
    fleet: Fleet
    clients: dict[ClientId, ClientEntry]

    members: Members


class ItemFlow:
    """The way of items; see the module's docstring.

    Args:
        endpoint: whose tasks they are of.
        streams: what is kept.
    """

    def __init__(self, endpoint: Endpoint, streams: ItemStreams) -> None:
        self._endpoint = endpoint
        self._streams = streams

    def yielded(
        self, items: list[Item], manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        """Keep what is new for its clients, and tell how far it may be forgotten."""
        endpoint, streams = self._endpoint, self._streams
        marks: dict[TaskId, ItemsMark] = {}
        runs: list[tuple[ItemStream, list[Item]]] = []  # of items without a gap
        last: dict[ItemStream, list[Item]] = {}  # the newest of each
        for item in items:
            entry = endpoint.ledger.entries.get(item.task_id)
            if entry is None or endpoint.clients[entry.client_id].is_leaving:
                # Nobody will read it.
                marks[item.task_id] = ItemsMark(item.task_id, ALL_ITEMS)
                continue
            stream = streams.of_task(entry.task, entry.client_id)
            if streams.add(stream, item):
                run = last.get(stream)
                if run is None or run[-1].index + 1 != item.index:
                    run = last[stream] = []
                    runs.append((stream, run))
                run.append(item)
            if self._may_go_on(stream):
                marks[item.task_id] = streams.mark_for(stream)
            else:
                stream.is_owed = True
                marks.pop(item.task_id, None)
        by_client: defaultdict[ClientId, list[Item]] = defaultdict(list)
        for stream, some in runs:
            payloads = [item.payload for item in some]
            record = ItemsKept(
                stream.client_id, stream.task_id, some[0].index, payloads
            )
            turn.records.append(record)
            by_client[stream.client_id] += some
        for client_id, some in by_client.items():
            client = endpoint.clients[client_id]
            if client.gone_at == math.inf:
                endpoint.members.send(client.peer, ItemsYielded(some), now, turn)
        if marks:
            # A promise: else they are lost with the disk's power, and nobody has them.
            taken = ItemsTaken(list(marks.values()))
            turn.promise(manager.peer, taken)

    def _may_go_on(self, stream: ItemStream) -> bool:
        client = self._endpoint.clients[stream.client_id]
        return not client.is_held_back and self._streams.has_room(stream)

    def read(self, marks: list[ItemsMark], client: ClientEntry, turn: Turn) -> None:
        """Forget what a client has read, and let its generators go on."""
        ledger, streams = self._endpoint.ledger, self._streams
        for mark in marks:
            stream = streams.streams.get(mark.task_id)
            entry = ledger.entries.get(mark.task_id)
            if stream is None and entry is not None:
                stream = streams.of_task(entry.task, entry.client_id)
            if stream is None or stream.client_id != client.client_id:
                continue
            if mark.count > stream.read:
                record = ItemsRead(client.client_id, mark.task_id, mark.count)
                turn.records.append(record)
                streams.take(stream, mark.count)
        self.let_go_on(client, turn)

    def let_go_on(self, client: ClientEntry, turn: Turn) -> None:
        """Tell managers of a client's generators that these may go on."""
        if not self._streams or client.is_held_back:
            return
        for stream in self._streams.owed(client.client_id):
            stream.is_owed = False
            self._tell_taken(stream, turn)

    def forget(self, client_id: ClientId, turn: Turn) -> None:
        """Drop the items of a client that has left."""
        for stream in self._streams.of_client(client_id):
            # A generator that waits for its reader would wait for ever.
            self._streams.take(stream, ALL_ITEMS)
            self._tell_taken(stream, turn)
        self._streams.forget(client_id)

    def _tell_taken(self, stream: ItemStream, turn: Turn) -> None:
        """Tell who has a generator how far it may forget its items."""
        entry = self._endpoint.ledger.entries.get(stream.task_id)
        managers = self._endpoint.fleet.managers
        manager = managers.get(entry.manager_id) if entry else None
        if manager is not None:
            taken = ItemsTaken([self._streams.mark_for(stream)])
            turn.promise(manager.peer, taken)
