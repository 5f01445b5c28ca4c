"""Books: all that an interchange knows, and the parts that work with it. Pure.

What clients and managers have been told, and must not be lost, is recorded; a successor
rebuilds it (`actors.endpoint.interchange.restoration`).
"""

import math
import random
from itertools import chain
from typing import Protocol

from actors.endpoint.interchange import audience, item_flow, roster
from actors.endpoint.interchange.members import Members
from actors.endpoint.interchange.objections import Objections
from actors.endpoint.interchange.settings import InterchangeSettings
from actors.endpoint.interchange.waits import WaitTable
from actors.logic.block_errors import BlockErrors
from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet, ordering
from actors.logic.item_streams import ItemStreams
from actors.logic.ledger import Ledger
from actors.logic.placement import Placement
from actors.logic.relayed import Relays
from actors.messages import ClientId

__all__ = ["Books", "Endpoint"]


class Endpoint(roster.Endpoint, audience.Endpoint, item_flow.Endpoint, Protocol):
    """What is asked of the endpoint as a whole."""


class Books:
    """The books of one interchange; see the module's docstring.

    Args:
        settings: of it.
        endpoint: whose actors, listeners and items these are.
    """

    def __init__(self, settings: InterchangeSettings, endpoint: Endpoint) -> None:
        self.settings = settings
        self.members = Members(settings.tempo)
        self.ledger = Ledger(settings.wall_offset)
        self.clients: dict[ClientId, ClientEntry] = {}
        self.streams = ItemStreams(settings.max_unread_bytes)
        # Chance that needs no secret: what is random is to be spread, not hidden.
        chance = random.Random(settings.epoch)
        rules = settings.placement
        self.fleet = Fleet(ordering(rules.selector, chance))
        self.placement = Placement(rules, self.ledger, self.fleet)
        self.objections = Objections(rules, settings.node, self.fleet)
        self.block_errors = BlockErrors()
        self.relayed = Relays()
        self.finished = 0  # tasks since the start, whatever the end
        self.failed = 0
        self.cancelled = 0
        self.is_load_news = True  # the strategy should hear of the load soon
        self.items = item_flow.ItemFlow(endpoint, self.streams)
        # The delays of its actors' restarts need chance, and nobody else's knowledge.
        self.roster = roster.Roster(endpoint, random.Random(settings.epoch))
        self.audience = audience.Audience(endpoint)
        self.waits = WaitTable(self.ledger, self.roster.actors)

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
        if has_some and not (self.fleet.is_quiesced or self.fleet.is_ending):
            # Else `place` was told that nobody but one could get anything.
            roomy = self.fleet.find_roomy()
            placement = self.placement
            if not placement.is_simple:
                roomy = [m for m in roomy if placement.has_task_for(m, math.inf)]
            entries = chain(self.ledger.backlog, self.ledger.demanding)
            avoided = all(entry.avoid for entry in entries)
            assert avoided or not roomy, f"tasks wait though there is room at {roomy}"
