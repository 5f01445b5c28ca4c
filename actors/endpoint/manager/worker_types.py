"""Worker types: workers in virtual environments and containers. Pure.

    lacking ─► started ─► idle for long ─► stopped ─► nobody left ─► released
                 ├─ late ─► abandoned ──┐
                 └─ died before it was up: another try, later
                                        └─ it cannot be had: its tasks fail

The places are shared out among the types that have work. A type that lacks workers gets
them, in the place of idle ones of a type that has more than its share perhaps.
"""

import math
from collections.abc import Iterable, Mapping

from actors.endpoint.manager.crew import Crew, KnownWorker
from actors.endpoint.manager.queues import Queues
from actors.endpoint.manager.settings import ManagerSettings
from actors.logic.apportion import apportion
from actors.logic.turn import Effect
from actors.logic.worker_types import no_such_type, not_to_be_had
from actors.logic.workers import WorkerDied
from actors.messages import Failure, Leased

__all__ = ["TYPE_IDLE_PERIOD", "AbandonType", "ReleaseType", "WorkerTypes"]

# A worker that is not plain makes room for a plain one when it was idle for so long,
# and when nobody of its type is left, its environment is released. As in funcX.
TYPE_IDLE_PERIOD = 60.0


class AbandonType(Effect, frozen=True):
    """End what starts workers of a type, and so all of them."""

    worker_type: str
    why: str


class ReleaseType(Effect, frozen=True):
    """There is no worker of a type, nor need for one: let go what starts them."""

    worker_type: str


class WorkerTypes:
    """The machine; see the module's docstring.

    Args:
        settings: of the manager.
        crew: its workers.
        queues: what waits for them.
    """

    def __init__(self, settings: ManagerSettings, crew: Crew, queues: Queues) -> None:
        self._settings = settings
        self._crew = crew
        self._queues = queues
        self._retry_at: dict[str, float] = {}  # {type: when to start one again}
        # {type without workers: when to let its environment go}
        self._release_at: dict[str, float] = {}
        self._served: dict[str, int] = {}  # {type: when a task of it was given last}
        self._services = 0

    @property
    def are_in_use(self) -> bool:
        """Whether there is work for workers that are not plain, or such a worker."""
        return bool(self._queues.typed) or self._crew.typed > 0

    def unknown(self, tasks: Iterable[Leased]) -> list[tuple[Leased, Failure]]:
        """Find tasks whose type is not in our endpoint.toml.

        The interchange knows the types, too; but tasks may be older than a change.
        """
        types = self._settings.start_timeouts
        return [
            (task, no_such_type(task.worker_type, types))
            for task in tasks
            if task.worker_type and task.worker_type not in types
        ]

    # Shares

    def shares(self) -> tuple[dict[str, int], dict[str, list[KnownWorker]]]:
        """Share the places out among types.

        Returns:
            {type: its places}, in the order of their turns where there are fewer places
            than types; and {type: its workers that may be given tasks}.
        """
        queues = self._queues
        demand = {name: len(queues.of_type(name)) for name in ("", *queues.typed)}
        alive: dict[str, list[KnownWorker]] = {}
        for worker in self._crew.workers.values():
            name = worker.worker_type
            if worker.is_retiring:
                # It has its place until it has ended, and gets nothing more.
                demand[name] = demand.get(name, 0) + 1
            elif not worker.is_killed and not worker.is_waiting and not worker.need:
                alive.setdefault(name, []).append(worker)
                if worker.backlog:
                    demand[name] = demand.get(name, 0) + len(worker.backlog)
        names = sorted(demand, key=lambda name: self._served.get(name, 0))
        shares = apportion(self._crew.places, {name: demand[name] for name in names})
        return {name: shares.get(name, 0) for name in names}, alive

    def may_start(self, name: str, now: float) -> bool:
        """Tell whether a worker may be started now, or has failed to start lately."""
        return self._retry_at.get(name, 0.0) <= now

    def change_workers(
        self,
        name: str,
        shares: Mapping[str, int],
        alive: dict[str, list[KnownWorker]],
        now: float,
        effects: list[Effect],
    ) -> None:
        """Start workers of a type that lacks some, in the place of others perhaps.

        Args:
            name: of the type.
            shares: see `shares`.
            alive: likewise; brought up to date.
            now: monotonic seconds.
            effects: what follows goes in here.
        """
        mine = alive.setdefault(name, [])
        waiting = len(self._queues.of_type(name))
        lack = min(shares.get(name, 0) - len(mine), waiting)
        if not self.may_start(name, now):
            return
        for _ in range(lack):
            usable = sum(map(len, alive.values()))
            if usable >= self._settings.slots:
                victim = _find_idle(alive, shares)
                if victim is None:
                    return
                alive[victim.worker_type].remove(victim)
                self._crew.stop(victim, effects)
            if self._crew.is_full:
                return
            mine.append(self._crew.start(now, effects, name))

    def served(self, name: str) -> None:
        """Note that a type has had its turn."""
        self._services += 1
        self._served[name] = self._services

    # Ends

    def died(
        self, worker: KnownWorker, death: WorkerDied, now: float
    ) -> Failure | None:
        """Note that a worker that was not plain is gone.

        Returns:
            Why its type cannot be had; None: it can.
        """
        name, failure = worker.worker_type, None
        if not worker.is_started and not worker.is_killed:
            if death.is_impossible:
                settings = self._settings
                where = f"{settings.manager_id} on {settings.host}"
                failure = not_to_be_had(name, where, death.stderr_tail)
            else:
                self._retry_at[name] = now + self._crew.backoff.next()
        if not self._has_workers(name):
            self._release_at[name] = now + TYPE_IDLE_PERIOD
        return failure

    def _has_workers(self, name: str) -> bool:
        return any(w.worker_type == name for w in self._crew.workers.values())

    # Time

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted next; infinity: only messages matter."""
        at = math.inf
        if self._crew.typed:
            at = min(
                (
                    w.idle_since + TYPE_IDLE_PERIOD if w.is_started else w.start_by
                    for w in self._crew.workers.values()
                    if w.worker_type and not w.backlog and not w.is_killed
                ),
                default=math.inf,
            )
        if self._retry_at or self._release_at:
            at = min([at, *self._retry_at.values(), *self._release_at.values()])
        return at

    def tick(self, now: float, effects: list[Effect]) -> bool:
        """Give up what does not start, and stop what nobody wants.

        Returns:
            Whether a type that has failed may be tried again now.
        """
        self._abandon_late(now, effects)
        self._stop_idle(now, effects)
        due = [name for name, at in self._retry_at.items() if at <= now]
        for name in due:
            del self._retry_at[name]
        return bool(due)

    def release(self, now: float, effects: list[Effect]) -> None:
        """Let go what starts workers of types that have had none for long."""
        for name in [n for n, at in self._release_at.items() if at <= now]:
            del self._release_at[name]
            if not self._has_workers(name):
                effects.append(ReleaseType(name))

    def _abandon_late(self, now: float, effects: list[Effect]) -> None:
        late = {
            worker.worker_type
            for worker in self._crew.workers.values()
            if not worker.is_started and worker.start_by <= now
        }
        for name in sorted(late):
            limit = self._settings.start_timeouts[name]
            why = f"it has not started within its start_timeout of {limit:g} s"
            effects.append(AbandonType(name, why))
        for worker in self._crew.workers.values():
            if worker.worker_type in late:
                worker.start_by = math.inf

    def _stop_idle(self, now: float, effects: list[Effect]) -> None:
        idle = [
            worker
            for worker in self._crew.workers.values()
            if worker.worker_type
            and worker.is_started
            and not worker.backlog
            and not worker.is_killed
            and worker.idle_since + TYPE_IDLE_PERIOD <= now
        ]
        for worker in idle:
            self._crew.stop(worker, effects)
            if self._crew.spares() < 0:
                self._crew.start(now, effects)


def _find_idle(
    alive: Mapping[str, list[KnownWorker]], shares: Mapping[str, int]
) -> KnownWorker | None:
    """Find the worker that is idle longest, of a type that has more than its share."""
    idle = [
        worker
        for name, workers in alive.items()
        if len(workers) > shares.get(name, 0)
        for worker in workers
        if worker.is_started and not worker.backlog
    ]
    return min(idle, key=lambda worker: worker.idle_since, default=None)
