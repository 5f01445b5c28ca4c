"""Reports: what the interchange hears of a manager, and when. Pure.

Always with the period of the heartbeat; sooner when a task begins to take long, when
workers come or go, and when more or fewer leases are wanted.
"""

import math

from actors.endpoint.hosts import Host, Hosts
from actors.endpoint.manager.crew import Crew
from actors.endpoint.manager.settings import ManagerSettings
from actors.endpoint.manager.worker_care import WorkerCare
from actors.messages import (
    ActorReport,
    Delta,
    Report,
    TaskId,
    TaskState,
    TypeSlots,
    WorkerReport,
)

__all__ = ["REPORT_RUNNING_AFTER", "Reports"]

# A task that runs for so long is reported at once, not with the next heartbeat.
REPORT_RUNNING_AFTER = 1.0
# New workers are reported so soon. Chosen: those of one start come in one report, and
# operators see them at once.
REPORT_WORKERS_AFTER = 0.1


class Reports:
    """Makes reports; see the module's docstring.

    Args:
        settings: of the manager.
        crew: its workers.
        hosts: its actors.
        care: which knows what they use.
    """

    def __init__(
        self, settings: ManagerSettings, crew: Crew, hosts: Hosts, care: WorkerCare
    ) -> None:
        self._settings = settings
        self._crew = crew
        self._hosts = hosts
        self._care = care
        self._reported_at = -math.inf
        self._report_by = math.inf  # workers came or went
        self.window = 0  # that was reported last
        self.places = settings.slots  # likewise

    def hurry(self, now: float) -> None:
        """Let the next report come soon."""
        self._report_by = min(self._report_by, now + REPORT_WORKERS_AFTER)

    @property
    def due_at(self) -> float:
        """When the next report is due, as long as somebody reads them."""
        unreported = math.inf
        # For every task there is; a generator takes three times as long.
        for worker in self._crew.workers.values():
            backlog = worker.backlog
            if backlog and worker.reported != backlog[0][1].task_id:
                unreported = min(unreported, worker.head_since)
        return min(
            self._reported_at + self._settings.heartbeat_period,
            self._report_by,
            unreported + REPORT_RUNNING_AFTER,
        )

    def make(self, window: int, is_draining: bool, now: float) -> Report:
        """Make the next report.

        Args:
            window: leases that are wanted at most.
            is_draining: whether that is all there will be.
            now: monotonic seconds.
        """
        self._reported_at = now
        self._report_by = math.inf
        self.window = window
        self.places = self._crew.places
        workers = self._crew.workers.values()
        deltas, reports = [], []
        for worker in workers:
            head = worker.head
            if head is not None and worker.reported != head.task_id:
                worker.reported = head.task_id
                at = worker.head_since + self._settings.wall_offset
                deltas.append(
                    Delta(
                        head.task_id,
                        head.attempt,
                        TaskState.RUNNING,
                        at,
                        worker.worker_id,
                    )
                )
            usage = self._care.usage.get(worker.worker_id)
            reports.append(
                WorkerReport(
                    worker.worker_id,
                    worker.pid,
                    head.task_id if head else TaskId(""),
                    usage.rss_bytes if usage else 0,
                    usage.cpu_seconds if usage else 0.0,
                )
            )
        resting = [
            w.backlog[0][1].task_id
            for w in workers
            if w.need is not None and w.is_waiting and w.backlog
        ]
        own = self._care.own_usage
        return Report(
            window,
            deltas,
            reports,
            is_draining,
            self._type_slots() if self._crew.typed else [],
            actors=[self._of_actor(h) for h in self._hosts.by_worker.values()],
            resting=resting,
            rss_bytes=own.rss_bytes if own else 0,
            cpu_seconds=own.cpu_seconds if own else 0.0,
        )

    def _of_actor(self, host: Host) -> ActorReport:
        usage = self._care.usage.get(host.worker_id)
        return ActorReport(
            host.of.actor_id,
            host.pid,
            usage.rss_bytes if usage else 0,
            usage.cpu_seconds if usage else 0.0,
        )

    def _type_slots(self) -> list[TypeSlots]:
        """Count workers of each type but plain ones, and those that run nothing."""
        totals: dict[str, tuple[int, int]] = {}
        for worker in self._crew.workers.values():
            if worker.worker_type and not worker.is_killed:
                total, free = totals.get(worker.worker_type, (0, 0))
                is_free = worker.is_started and not worker.backlog
                totals[worker.worker_type] = total + 1, free + is_free
        return [TypeSlots(name, *counts) for name, counts in totals.items()]
