"""What a manager asks of its worker processes, and what it hears of them.

    Starting ──WorkerStarted──► alive ──TasksRan, TasksRecalled──► alive ──WorkerDied

The effects are carried out by the pool (`actors.pool`), the events come from it. Per
worker, `WorkerDied` is the last event, exactly one, and comes after every result that
the worker managed to write. An effect for a worker that is dead or unknown does
nothing: its `WorkerDied` has said, or is about to say, what has not begun.
"""

import signal

import msgspec

from actors.logic.care import Place
from actors.logic.turn import Effect
from actors.messages import (
    Call,
    Failure,
    FromWorker,
    HostActor,
    Message,
    Ran,
    Run,
    WorkerId,
)

__all__ = [
    "AssignTasks",
    "EquipWorker",
    "ExpectCalls",
    "InitializerFailed",
    "KillWorker",
    "LookAtOutput",
    "RecallTasks",
    "StartWorker",
    "StopWorker",
    "TasksRan",
    "TasksRecalled",
    "TellWorker",
    "TerminateWorker",
    "WatchWorkers",
    "WorkerDied",
    "WorkerEvent",
    "WorkerSaid",
    "WorkerStarted",
    "WorkerWrote",
    "how_it_died",
]


class StartWorker(Effect, frozen=True):
    """Make a worker process; tasks may be assigned at once."""

    worker_id: WorkerId
    become: HostActor | None = None  # the actor whose process it is; None: nobody's
    worker_type: str = ""  # its environment; "": plain
    place: Place = Place()  # what it gets by its place on the node


class ExpectCalls(Effect, frozen=True):
    """Make workers, from now on, so that they soon can call others of the endpoint."""


class AssignTasks(Effect, frozen=True):
    """Run these, in this order, after what the worker already has."""

    worker_id: WorkerId
    runs: "list[Run] | list[Run | Call]"


class EquipWorker(Effect, frozen=True):
    """Set variables for what is assigned next, and unset those of before."""

    worker_id: WorkerId
    environment: dict[str, str]


class TellWorker(Effect, frozen=True):
    """Say something that the worker hears while a task runs."""

    worker_id: WorkerId
    message: Message


class RecallTasks(Effect, frozen=True):
    """Take back what has not begun; answered by one `TasksRecalled`."""

    worker_id: WorkerId


class WatchWorkers(Effect, frozen=True):
    """Tell what workers write from now on, by `WorkerWrote`, or do not any more."""

    is_wanted: bool
    is_shared: bool  # there are tasks of several clients


class LookAtOutput(Effect, frozen=True):
    """Tell what workers have written, while what runs goes on."""

    # {worker: the task that runs there as far as is known; of an actor's process: 0}
    running: dict[WorkerId, int]


class StopWorker(Effect, frozen=True):
    """End in order, after everything assigned has run; exit code 0."""

    worker_id: WorkerId


class TerminateWorker(Effect, frozen=True):
    """SIGTERM the worker and what it started: its task may end in order."""

    worker_id: WorkerId


class KillWorker(Effect, frozen=True):
    """SIGKILL the worker and whatever it started in its process group."""

    worker_id: WorkerId


class WorkerStarted(msgspec.Struct, frozen=True):
    """The process exists."""

    worker_id: WorkerId
    pid: int


class TasksRan(msgspec.Struct, frozen=True):
    """Tasks ended, well or not."""

    # A Struct, as one is made for each frame: in a fifth of a dataclass's time.

    worker_id: WorkerId
    results: list[Ran]


class WorkerSaid(msgspec.Struct, frozen=True):
    """A worker sent something else, which its tasks have to say to its owner."""

    worker_id: WorkerId
    message: FromWorker


class WorkerWrote(msgspec.Struct, frozen=True):
    """A worker has written to its output; comes before the result of who did.

    Only of workers whose output is watched, and never what tasks of two clients have
    written.
    """

    worker_id: WorkerId
    seq: int  # the task that has; of an actor's process: any
    text: bytes  # in order, without a gap but for what was left out
    left_out_bytes: int  # behind the text: too many to be read
    is_end: bool  # the task, or the actor, writes nothing more


class TasksRecalled(msgspec.Struct, frozen=True):
    """These have not begun and never will at this worker; perhaps none."""

    worker_id: WorkerId
    seqs: list[int]


class InitializerFailed(msgspec.Struct, frozen=True):
    """The initializer raised; the worker runs nothing and dies next."""

    worker_id: WorkerId
    failure: Failure


class WorkerDied(msgspec.Struct, frozen=True):
    """The process is gone.

    Tasks up to `begun_seq` without a result have begun and may have had effects;
    those beyond have not begun.
    """

    worker_id: WorkerId
    exit_code: int | None  # None: ended by a signal, or the exit is unknown
    signal: int | None  # None: exited by itself, or the exit is unknown
    peak_rss_bytes: int  # 0: unknown
    cpu_seconds: float
    begun_seq: int  # 0: none has
    stderr_tail: str  # the last 2,048 characters that it wrote, or why it is unknown
    begun_direct: int = 0  # of the calls that came from others; 0: none has
    has_memory_run_out: bool = False  # the kernel killed somebody for that meanwhile
    is_impossible: bool = False  # nothing can start such a worker; stderr_tail says why


WorkerEvent = (
    WorkerStarted
    | TasksRan
    | WorkerSaid
    | WorkerWrote
    | TasksRecalled
    | InitializerFailed
    | WorkerDied
)


def how_it_died(death: WorkerDied) -> str:
    """Say it as part of a sentence."""
    if death.signal is None and death.exit_code is None:
        return "ended, nobody knows how,"
    if death.signal is None:
        return f"exited with code {death.exit_code}"
    try:
        name = signal.Signals(death.signal).name
    except ValueError:
        name = "an unnamed one"
    return f"died by signal {death.signal} ({name})"
