"""Tasks that ended lately, for operators who look.

A table of the last few: of those that failed or were cancelled all until newer ones
push them out, of the others a sample. Large payloads are not kept.
"""

from collections import deque
from collections.abc import Iterator

import msgspec

from actors.messages import ClientId, Outcome, TaskId, TaskState

__all__ = ["SAMPLE", "EndedTask", "EndedTasks"]

# Looked up once: in Python 3.11 that takes long.
_SUCCESS = TaskState.SUCCESS
# How many are kept of each sort. Chosen: as many as a person looks through.
_KEPT = 250
# Successes of one moment that are remembered at most. Measured: to remember one takes a
# fifth of a microsecond; where that matters, hundreds come at one moment.
SAMPLE = 8
# Payloads up to this are kept with their outcome: to leave them out takes longer than
# all the rest.
_SMALL_BYTES = 4096


class EndedTask(msgspec.Struct, frozen=True):
    """One task that ended.

    Args:
        name: as its client called it.
        client_id: whose it was.
        outcome: its payload may be left out.
    """

    name: str
    client_id: ClientId
    outcome: Outcome


class EndedTasks:
    """The table; see the module's docstring."""

    def __init__(self) -> None:
        # What an `EndedTask` has: that is made when somebody looks.
        self._successes: deque[tuple[str, ClientId, Outcome]] = deque(maxlen=_KEPT)
        self._failures: deque[tuple[str, ClientId, Outcome]] = deque(maxlen=_KEPT)

    def note(self, name: str, client_id: ClientId, outcome: Outcome) -> None:
        """Remember a task; the oldest of its sort may be forgotten for it."""
        if len(outcome.payload) > _SMALL_BYTES:
            outcome = msgspec.structs.replace(outcome, payload=b"")
        if outcome.state is _SUCCESS:
            self._successes.append((name, client_id, outcome))
        else:
            self._failures.append((name, client_id, outcome))

    def __iter__(self) -> Iterator[EndedTask]:
        """Go through them, newest first."""
        both = [*self._successes, *self._failures]
        both.sort(key=lambda ended: ended[2].ended_at, reverse=True)
        return (EndedTask(*ended) for ended in both)

    def find(self, task_id: TaskId) -> EndedTask | None:
        """Return what is known of a task; None: nothing (any more)."""
        for ended in self:
            if ended.outcome.task_id == task_id:
                return ended
        return None
