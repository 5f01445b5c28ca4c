"""Holdings: which leases are here; and which of them stay when we are welcomed. Pure.

A manager that knocks says what it holds. Who lets it in answers what it still wants
from it, under which attempts: an interchange that lost what it had not yet synced may
count them anew.
"""

import msgspec

from actors.endpoint.hosts import Hosts
from actors.endpoint.manager.crew import Crew
from actors.endpoint.manager.endings import Endings
from actors.endpoint.manager.queues import Queues
from actors.endpoint.outflow import Outflow
from actors.logic.turn import Turn
from actors.messages import Holding, Leased, Outcome, TaskId

__all__ = ["Holdings"]


class Holdings:
    """See the module's docstring.

    Args:
        queues, crew, hosts, outbox: where leases, or their outcomes, are.
        endings: which knows what nobody wants any more.
        outflow: of the items of generators.
    """

    def __init__(
        self,
        queues: Queues,
        crew: Crew,
        *,
        hosts: Hosts,
        outbox: dict[TaskId, Outcome],
        endings: Endings,
        outflow: Outflow,
    ) -> None:
        self._queues = queues
        self._crew = crew
        self._hosts = hosts
        self._outbox = outbox
        self._endings = endings
        self._outflow = outflow

    def held(self) -> list[Holding]:
        """List all leases that are here, or whose outcome is."""
        held = self._queues.held()
        for worker in self._crew.workers.values():
            # What is dropped must not be adopted: nobody would ever end it.
            held += [
                Holding(t.task_id, t.attempt)
                for _, t in worker.backlog
                if not self._endings.is_dropped(t)
            ]
        held += self._hosts.held()
        held += [Holding(o.task_id, o.attempt) for o in self._outbox.values()]
        return held

    def keep_only(self, attempts: dict[TaskId, int], turn: Turn) -> None:
        """Keep what the interchange still wants from us, drop the rest.

        Args:
            attempts: {what it wants: under which attempt}.
            turn: takes the effects.
        """
        self._queues.hold_only(
            _under_attempt(task, attempts[task.task_id])
            for task in list(self._queues)
            if task.task_id in attempts
        )
        for task_id in [t for t in self._outbox if t not in attempts]:
            del self._outbox[task_id]
        for worker in self._crew.workers.values():
            for index, (seq, task) in enumerate(worker.backlog):
                attempt = attempts.get(task.task_id)
                if attempt is None or self._endings.is_dropped(task):
                    self._endings.drop(worker, index, turn.effects)
                    continue
                kept = _under_attempt(task, attempt)
                worker.backlog[index] = (seq, kept)
                self._outflow.renumber(task, kept.attempt)
                self._endings.renumber(task, kept)
                if index == 0 and kept is not task:
                    worker.reported = None


def _under_attempt(task: Leased, attempt: int) -> Leased:
    if task.attempt == attempt:
        return task
    return msgspec.structs.replace(task, attempt=attempt)
