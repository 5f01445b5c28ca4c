"""What an interchange remembers of one client."""

import math
from collections.abc import Iterable

from actors.messages import ClientId, Outcome, TaskId

__all__ = ["OUTCOME_BYTES", "ClientEntry"]

# Chosen: about what an outcome takes beside its payload.
OUTCOME_BYTES = 1000


class ClientEntry:
    """One client, from its first admission until it left or was away too long."""

    __slots__ = (
        "client_id",
        "gone_at",
        "held_actors",
        "instance",
        "is_held_back",
        "is_leaving",
        "is_put_off",
        "is_within",
        "unacknowledged",
        "unfinished",
        "unread_bytes",
    )

    def __init__(self, client_id: ClientId, instance: str) -> None:
        self.client_id = client_id
        self.instance = instance
        self.unacknowledged: dict[TaskId, Outcome] = {}
        self.unread_bytes = 0  # of these, about
        self.is_held_back = False  # it has not read enough of them to get more
        self.is_within = False  # it is one of the endpoint's own workers
        self.held_actors: set[str] = set()  # on which it has handles
        self.unfinished = 0  # its tasks in the ledger
        self.gone_at = math.inf  # since when its link is closed
        self.is_leaving = False  # nobody will come for its results
        self.is_put_off = False  # it has tasks that were not taken: call it back

    @property
    def peer(self) -> str:
        return f"client:{self.client_id}"

    def keep(self, outcomes: Iterable[Outcome]) -> None:
        """Keep outcomes until they are acknowledged."""
        kept = self.unacknowledged
        size = 0
        for outcome in outcomes:
            kept[outcome.task_id] = outcome
            size += OUTCOME_BYTES + len(outcome.payload)
        self.unread_bytes += size

    def acknowledge(self, task_ids: Iterable[TaskId]) -> list[TaskId]:
        """Let go of outcomes that the client has; return those that it had not."""
        kept = self.unacknowledged
        size = 0
        gone = []
        for task_id in task_ids:
            outcome = kept.pop(task_id, None)
            if outcome is not None:
                gone.append(task_id)
                size += OUTCOME_BYTES + len(outcome.payload)
        self.unread_bytes -= size
        return gone

    def forget(self) -> None:
        """Let go of all outcomes."""
        self.unacknowledged.clear()
        self.unread_bytes = 0

    def recount(self) -> None:
        """Count again what is kept, after it was put there by another way."""
        outcomes = list(self.unacknowledged.values())
        self.unread_bytes = 0
        self.keep(outcomes)

    def check(self) -> None:
        """Raise AssertionError unless the count is right."""
        size = sum(OUTCOME_BYTES + len(o.payload) for o in self.unacknowledged.values())
        assert size == self.unread_bytes, (self.client_id, size, self.unread_bytes)
