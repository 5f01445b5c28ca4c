"""Why a task has no value, as an outcome: what the hub itself has to say."""

from actors.embedded.tasks import Task
from actors.logic.workers import WorkerDied, how_it_died
from actors.messages import Failure, FailureKind, Value
from actors.refs import Settled

__all__ = ["cancelled", "closed", "crashed", "no_worker", "timed_out"]


def _failed(kind: FailureKind, message: str, detail: str = "") -> Settled:
    return Settled(Value(b"", failure=Failure(kind, message, detail)))


def cancelled(task: Task) -> Settled:
    """Tell that somebody gave the task up."""
    return _failed(FailureKind.CANCELLED, f"Task {task.spec.name} was cancelled")


def closed(reason: str) -> Settled:
    """Tell that nobody is left to run the task."""
    return _failed(FailureKind.CLOSED, reason)


def timed_out(task: Task) -> Settled:
    """Tell that the task ran longer than it may."""
    return _failed(
        FailureKind.TIMED_OUT,
        f"Task {task.spec.name} ran longer than its timeout of "
        f"{task.spec.options.timeout:g} s",
    )


def no_worker(task: Task, why: str) -> Settled:
    """Tell that there is no process to run the task in."""
    return _failed(
        FailureKind.WORKER_DIED, f"Task {task.spec.name} was not started: {why}"
    )


def crashed(task: Task, death: WorkerDied, pid: int) -> Settled:
    """Tell that the worker died of the task, or with it."""
    text = (
        f"Worker {death.worker_id} (pid {pid}) {how_it_died(death)} while it ran "
        f"{task.spec.name}; peak memory {death.peak_rss_bytes / 2**20:.0f} MiB"
    )
    kind = FailureKind.WORKER_DIED
    if death.has_memory_run_out:
        kind = FailureKind.OUT_OF_MEMORY
        text += "; the kernel killed a process because memory ran out"
    if task.crashes > 1:
        text += f"; this was start {task.crashes}"
    return _failed(kind, text, death.stderr_tail)
