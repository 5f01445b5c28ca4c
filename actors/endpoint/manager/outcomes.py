"""What is said of a task that has ended, well or not. Pure."""

import msgspec

from actors.endpoint.manager.crew import KnownWorker
from actors.endpoint.manager.settings import ManagerSettings
from actors.endpoint.outflow import Outflow
from actors.logic.care import EXIT_OVER_LIMIT, over_memory
from actors.logic.workers import WorkerDied, how_it_died
from actors.messages import (
    Failure,
    FailureKind,
    Leased,
    LeasedCall,
    Outcome,
    Ran,
    TaskState,
    WorkerId,
)

__all__ = ["FRAME_OVERHEAD_BYTES", "Outcomes", "took_too_long"]

# Looked up once: in Python 3.11 that takes as long as making an outcome.
_SUCCESS, _FAILED = TaskState.SUCCESS, TaskState.FAILED
# Room for the other fields of a frame that carries one result.
FRAME_OVERHEAD_BYTES = 4096


class Outcomes:
    """Makes outcomes; they name the worker and its host.

    Args:
        settings: of the manager.
        outflow: which knows the generators whose items were too large.
    """

    def __init__(self, settings: ManagerSettings, outflow: Outflow) -> None:
        self._settings = settings
        self._outflow = outflow

    def of_run(
        self, task: Leased | LeasedCall, ran: Ran, worker_id: WorkerId, limit: int
    ) -> Outcome:
        """Pass on what a worker says.

        Args:
            task: which has run.
            ran: how.
            worker_id: where.
            limit: bytes of payload that fit into a message; 0: any number.
        """
        state = _SUCCESS if ran.is_success else _FAILED
        payload, failure = ran.payload, ran.failure
        if len(payload) > limit > 0 or (
            task.streams_from >= 0 and self._outflow.is_spoilt(task.task_id)
        ):
            is_item = task.streams_from >= 0
            what = "an item" if is_item else f"result of {len(payload)} bytes"
            failure = Failure(
                FailureKind.TOO_LARGE,
                f"{what} exceeds the endpoint's "
                f"max_frame_bytes {limit + FRAME_OVERHEAD_BYTES}: raise it in "
                "endpoint.toml, or let the task write a file and return its name",
            )
            state, payload = TaskState.FAILED, b""
        return Outcome(
            task.task_id,
            task.attempt,
            state,
            payload,
            failure,
            ran.ended_at,
            ran.began_at,
            worker_id,
        )

    def cancelled(self, task: Leased | LeasedCall, now: float) -> Outcome:
        """Tell that a task has ended as it was cancelled."""
        at = now + self._settings.wall_offset
        return Outcome(
            task.task_id, task.attempt, TaskState.CANCELLED, b"", ended_at=at
        )

    def refused(self, task: Leased, failure: Failure, now: float) -> Outcome:
        """Tell that a task never began."""
        at = now + self._settings.wall_offset
        return Outcome(
            task.task_id, task.attempt, TaskState.FAILED, b"", failure, ended_at=at
        )

    def of_death(
        self, task: Leased, death: WorkerDied, worker: KnownWorker, now: float
    ) -> Outcome:
        """Tell that a task ended with its worker, and why that one died."""
        care = self._settings.care
        if worker.over_bytes:
            peak_bytes = max(worker.over_bytes, death.peak_rss_bytes)
            title = f"worker {self._name(worker)}"
            failure = over_memory(title, peak_bytes, care.memory_limit_bytes)
        elif death.exit_code == EXIT_OVER_LIMIT and care.has_work_dirs:
            last = death.stderr_tail.strip().rpartition("\n")[2]
            failure = Failure(FailureKind.WORK_DIR_LIMIT, last)
        else:
            kind, more = FailureKind.WORKER_DIED, ""
            if death.has_memory_run_out and not worker.is_killed:
                kind = FailureKind.OUT_OF_MEMORY
                more = "; the kernel killed a process because memory ran out"
            failure = Failure(
                kind,
                f"worker {self._name(worker)} {how_it_died(death)} while it ran the "
                f"task; peak memory {death.peak_rss_bytes / 2**20:.0f} MiB{more}",
                death.stderr_tail,
            )
        return self._lost(task, failure, worker, now)

    def terminated(self, task: Leased, worker: KnownWorker, now: float) -> Outcome:
        """Tell that a task ended as its manager was asked to."""
        failure = Failure(
            FailureKind.WORKER_DIED,
            f"worker {self._name(worker)} was asked to end while it ran the task: "
            f"{worker.why_terminated}",
        )
        return self._lost(task, failure, worker, now)

    def too_late(self, task: Leased, worker: KnownWorker, now: float) -> Outcome:
        """Tell that a task went on after its timeout, and was ended with its worker."""
        failure = took_too_long(task, ", and was ended with its worker")
        return self._lost(task, failure, worker, now)

    def of_dead_actor(self, call: LeasedCall, failure: Failure, now: float) -> Outcome:
        """Tell that a call ended with its actor."""
        at = now + self._settings.wall_offset
        return Outcome(
            call.task_id, call.attempt, TaskState.FAILED, b"", failure, at, at
        )

    @staticmethod
    def as_late(task: Leased | LeasedCall, outcome: Outcome) -> Outcome:
        """Say that a task failed because it was interrupted at its timeout."""
        failure = took_too_long(task)
        return msgspec.structs.replace(outcome, payload=b"", failure=failure)

    def _name(self, worker: KnownWorker) -> str:
        return f"{worker.worker_id} (pid {worker.pid} on {self._settings.host})"

    def _lost(
        self, task: Leased, failure: Failure, worker: KnownWorker, now: float
    ) -> Outcome:
        wall_offset = self._settings.wall_offset
        return Outcome(
            task.task_id,
            task.attempt,
            TaskState.FAILED,
            b"",
            failure,
            now + wall_offset,
            min(worker.head_since, now) + wall_offset,
            worker.worker_id,
        )


def took_too_long(task: Leased | LeasedCall, how: str = "") -> Failure:
    """Name the timeout that a task has exceeded; `how` ends the sentence."""
    name = getattr(task, "name", "") or task.task_id
    text = f"Task {name} ran longer than its timeout of {task.timeout:g} s{how}"
    return Failure(FailureKind.TIMED_OUT, text)
