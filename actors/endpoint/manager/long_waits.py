"""Long waits: tasks and actors' calls here that wait for others. Pure.

A worker says whom its task waits for once that takes long; the interchange, which knows
all who wait, finds circles and answers with `Deadlocked`.
"""

from collections.abc import Iterator

from actors.endpoint.hosts import Hosts
from actors.endpoint.manager.crew import Crew
from actors.logic.turn import Effect
from actors.logic.workers import TellWorker
from actors.messages import Deadlocked, Waits, WaitsLong, WorkerId

__all__ = ["LongWaits"]


class LongWaits:
    """The waits that are under way.

    Args:
        crew: whose tasks wait,
        hosts: or whose calls.
    """

    def __init__(self, crew: Crew, hosts: Hosts) -> None:
        self._crew = crew
        self._hosts = hosts
        self._waits: dict[WorkerId, WaitsLong] = {}

    def take(self, worker_id: WorkerId, said: WaitsLong) -> Waits | None:
        """Note that a wait goes on, or is over; return what to tell of it."""
        if said.task_ids:
            self._waits[worker_id] = said
        elif self._waits.pop(worker_id, None) is None:
            return None
        return self._as_told(worker_id, said)

    def end(self, worker_id: WorkerId) -> Waits | None:
        """Note that a process is about to be gone, with its wait; likewise."""
        wait = self._waits.get(worker_id)
        if wait is None:
            return None
        return self.take(worker_id, WaitsLong(wait.number, [], 0))

    def told(self) -> Iterator[Waits]:
        """Give all that go on."""
        for worker_id, wait in self._waits.items():
            told = self._as_told(worker_id, wait)
            if told is not None:
                yield told

    def deadlocked(self, told: Deadlocked, effects: list[Effect]) -> None:
        """Tell who waits in a circle."""
        for worker_id, wait in self._waits.items():
            known = self._as_told(worker_id, wait)
            if known is not None and (
                (known.waiter, known.incarnation, known.number)
                == (told.waiter, told.incarnation, told.number)
            ):
                effects.append(TellWorker(worker_id, told))

    def _as_told(self, worker_id: WorkerId, wait: WaitsLong) -> Waits | None:
        """Say who waits; None: it has ended."""
        host = self._hosts.by_worker.get(worker_id)
        worker = self._crew.workers.get(worker_id)
        if host is not None:
            who = host.of.actor_id, host.of.number
        elif worker is not None and worker.head is not None:
            who = worker.head.task_id, 0
        else:
            return None
        return Waits(*who, wait.number, wait.task_ids, wait.spare)
