"""Waits: who on an endpoint waits for whom, and whether that will ever end. Pure.

A process that waits cannot do what others wait for:

    get in A ─► call of B ─► B's process, which waits in turn ─► call of A ─► A

Only what is certain counts: waits without a timeout, of the one thread that runs the
calls of an actor or the task of a worker. Their managers tell of those that take long.
Whoever closes a circle is told.
"""

from collections.abc import Mapping

import msgspec

from actors.endpoint.interchange.roster_entry import Actor
from actors.logic.actor_life import LifeState
from actors.logic.ledger import Ledger
from actors.messages import Deadlocked, ManagerId, TaskId, Waits

__all__ = ["WaitTable"]

_Key = tuple[str, int]  # an actor and its incarnation; or a task, and 0


class _Wait(msgspec.Struct, frozen=True):
    manager_id: ManagerId
    told: Waits


class WaitTable:
    """The machine; see the module's docstring.

    Args:
        ledger: of the endpoint's tasks.
        actors: {actor id: actor}.
    """

    def __init__(self, ledger: Ledger, actors: Mapping[str, Actor]) -> None:
        self._ledger = ledger
        self._actors = actors
        self._waits: dict[_Key, _Wait] = {}

    def told(self, told: Waits, manager_id: ManagerId) -> Deadlocked | None:
        """Take note of a wait, or of its end.

        Returns:
            What to tell who waits; None: somebody may end the wait.
        """
        key = told.waiter, told.incarnation
        if not told.task_ids:
            self._waits.pop(key, None)
            return None
        wait = self._waits[key] = _Wait(manager_id, told)
        ways = self._ways(wait, _Search(key))
        if not ways or len(ways) <= told.spare:
            return None
        text = "Waiting would never end: " + " waits for ".join(
            [self._title(key), *ways[0]]
        )
        return Deadlocked(*key, told.number, text)

    def manager_gone(self, manager_id: ManagerId) -> None:
        """Forget the waits at a manager."""
        self._waits = {
            key: wait
            for key, wait in self._waits.items()
            if wait.manager_id != manager_id
        }

    def _ways(self, wait: _Wait, search: "_Search") -> list[list[str]]:
        """Return for each that is waited for whom it takes, up to the origin."""
        ways = [self._of_task(task_id, search) for task_id in wait.told.task_ids]
        return [way for way in ways if way]

    def _of_task(self, task_id: TaskId, search: "_Search") -> list[str]:
        entry = self._ledger.entries.get(task_id)
        if entry is None:
            return []
        work = entry.task.actor
        if work is None:
            return self._of_process((task_id, 0), search) if entry.manager_id else []
        actor = self._actors.get(work.actor_id)
        if work.verb != "call" or actor is None:
            return []
        options = actor.options
        if options.max_concurrency != 1 or options.groups:
            return []
        return self._of_process((actor.actor_id, actor.life.incarnation), search)

    def _of_process(self, key: _Key, search: "_Search") -> list[str]:
        if key == search.origin:
            return [self._title(key)]
        if key not in search.seen:
            search.seen[key] = []  # a circle without the origin is none of ours
            wait = self._waits.get(key)
            if wait is not None and self._is_so(key, wait):
                ways = self._ways(wait, search)
                if len(ways) > wait.told.spare:
                    search.seen[key] = [self._title(key), *ways[0]]
        return search.seen[key]

    def _is_so(self, key: _Key, wait: _Wait) -> bool:
        """Tell whether a wait may be under way still."""
        name, incarnation = key
        if incarnation:
            actor = self._actors.get(name)
            return (
                actor is not None
                and actor.life.incarnation == incarnation
                and actor.life.state is LifeState.ALIVE
            )
        entry = self._ledger.entries.get(TaskId(name))
        return entry is not None and entry.manager_id == wait.manager_id

    def _title(self, key: _Key) -> str:
        name, incarnation = key
        if incarnation:
            actor = self._actors.get(name)
            return actor.title if actor is not None else f"Actor {name}"
        entry = self._ledger.entries.get(TaskId(name))
        return f"Task {entry.task.name if entry and entry.task.name else name}"


class _Search:
    """Goes from tasks to the processes that must do something for them."""

    def __init__(self, origin: _Key) -> None:
        self.origin = origin
        self.seen: dict[_Key, list[str]] = {}  # {process: the way to the origin}
