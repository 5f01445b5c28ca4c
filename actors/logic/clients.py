"""What an interchange remembers of one client."""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

from actors.messages import ClientId, Outcome, TaskId

__all__ = ["OUTCOME_BYTES", "ClientEntry"]

# Chosen: about what an outcome takes beside its payload.
OUTCOME_BYTES = 1000

_id_of: Callable[[Outcome], TaskId] = attrgetter("task_id")
_payload_of: Callable[[Outcome], bytes] = attrgetter("payload")


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
        # Of these, about: exact while it is held back, else perhaps too many, as what
        # it acknowledges is not subtracted one by one.
        self.unread_bytes = 0
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

    def keep(self, outcomes: Sequence[Outcome]) -> None:
        """Keep outcomes until they are acknowledged."""
        # For every task there is: loops that C runs.
        self.unacknowledged.update(zip(map(_id_of, outcomes), outcomes, strict=True))
        self.unread_bytes += _size_of(outcomes)

    def acknowledge(self, task_ids: list[TaskId]) -> list[TaskId]:
        """Let go of outcomes that the client has; return those that it had not."""
        pop = self.unacknowledged.pop
        if not self.is_held_back:
            gone = [t for t in task_ids if pop(t, None) is not None]
            if not self.unacknowledged:
                self.unread_bytes = 0
            return gone
        read = [o for o in [pop(t, None) for t in task_ids] if o is not None]
        self.unread_bytes -= _size_of(read)
        return [outcome.task_id for outcome in read]

    def leaves_more_than(self, limit: int) -> bool:
        """Tell whether so many bytes are unread."""
        if self.unread_bytes > limit:
            self.recount()
        return self.unread_bytes > limit

    def forget(self) -> None:
        """Let go of all outcomes."""
        self.unacknowledged.clear()
        self.unread_bytes = 0

    def recount(self) -> None:
        """Count what is kept."""
        self.unread_bytes = _size_of(list(self.unacknowledged.values()))

    def check(self) -> None:
        """Raise AssertionError unless the count is right."""
        size = _size_of(list(self.unacknowledged.values()))
        is_exact = self.is_held_back or not self.unacknowledged
        counted = self.unread_bytes
        assert size == counted or (size < counted and not is_exact), self.client_id


def _size_of(outcomes: Sequence[Outcome]) -> int:
    return OUTCOME_BYTES * len(outcomes) + sum(map(len, map(_payload_of, outcomes)))
