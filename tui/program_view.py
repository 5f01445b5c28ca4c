"""What one refresh shows of a running program: a frozen value, and who makes it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import psutil

from actors.embedded.pictures import (
    ActorState,
    ObjectState,
    ProgramState,
    TaskState,
    WorkerState,
)
from actors.embedded.window import find_windows, look_into
from actors.errors import ActorsError, AddressError

__all__ = ["ProgramReader", "ProgramView", "Usage", "merged"]

# Seconds between two looks; chosen: people see no more.
_PERIOD = 1.0
# Numbers for sparklines; chosen: wider than most screens.
_NUMBERS_KEPT = 240

_decoder = msgspec.json.Decoder(ProgramState)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process takes.

    Args:
        cpu: cores.
        rss_bytes: memory.
    """

    cpu: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class ProgramView:
    """Everything that the screens show.

    Args:
        pid: of the program.
        command: as it was started.
        at: when this was made, seconds since 1970.
        state: the last picture; None: there was none yet.
        trouble: why there is none now; "": there is.
        usage: {pid: what it takes}, of the program and its workers.
        rates: calls that ended per second, oldest first.
        waiting: tasks that have not ended, oldest first.
    """

    pid: int
    command: str = ""
    at: float = 0.0
    state: ProgramState | None = None
    trouble: str = ""
    usage: dict[int, Usage] = field(default_factory=dict)
    rates: tuple[float, ...] = ()
    waiting: tuple[float, ...] = ()


def merged(states: Sequence[ProgramState]) -> ProgramState:
    """Make one picture of a program's runtimes: its executors have their own."""
    if len(states) == 1:
        return states[0]
    tasks: list[TaskState] = []
    actors: list[ActorState] = []
    workers: list[WorkerState] = []
    objects: list[ObjectState] = []
    total: dict[str, float] = {}
    free: dict[str, float] = {}
    for state in states:
        tasks += state.tasks
        actors += state.actors
        workers += state.workers
        objects += state.objects
        for sums, amounts in ((total, state.total), (free, state.free)):
            for name, amount in amounts.items():
                sums[name] = sums.get(name, 0) + amount
    counts = [state.finished for state in states]
    rate = sum(count / period for count, period in counts if period > 0)
    return ProgramState(
        sum(state.unended for state in states),
        # As if of one second.
        (round(rate), 1.0),
        tasks,
        actors,
        workers,
        objects,
        (sum(s.stored[0] for s in states), sum(s.stored[1] for s in states)),
        total,
        free,
        max(state.uptime for state in states),
    )


class ProgramReader:
    """Looks at a program each second, in a thread of its own.

    Args:
        pid: of the program.
        show: gets each view, in that thread; it must not block.
    """

    def __init__(self, pid: int, show: Callable[[ProgramView], None]) -> None:
        self._pid = pid
        self._show = show
        self._command = _command_of(pid)
        self._state: ProgramState | None = None
        self._processes: dict[int, psutil.Process] = {}
        self._rates: deque[float] = deque(maxlen=_NUMBERS_KEPT)
        self._waiting: deque[float] = deque(maxlen=_NUMBERS_KEPT)
        self._is_over = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="actors-reader", daemon=True
        )

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; after `start`, once."""
        self._is_over.set()
        self._thread.join()

    def look(self) -> ProgramView:
        """Take a picture now."""
        trouble = ""
        try:
            self._state = merged(_look_at(self._pid))
        except (ActorsError, msgspec.MsgspecError) as error:
            trouble = str(error)
        else:
            count, period = self._state.finished
            self._rates.append(count / period if period > 0 else 0.0)
            self._waiting.append(self._state.unended)
        return ProgramView(
            self._pid,
            self._command,
            time.time(),
            self._state,
            trouble,
            {} if trouble else self._usage(),
            tuple(self._rates),
            tuple(self._waiting),
        )

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._show(self.look())
            self._is_over.wait(_PERIOD)

    def _usage(self) -> dict[int, Usage]:
        assert self._state is not None
        usage, pids = {}, {self._pid, *(w.pid for w in self._state.workers)}
        for pid in pids - {0}:
            try:
                # The same object each time: it knows how much was used before.
                process = self._processes.get(pid) or psutil.Process(pid)
                cpu = process.cpu_percent(None) / 100
                usage[pid] = Usage(cpu, process.memory_info().rss)
            except psutil.Error:
                self._processes.pop(pid, None)  # it is gone
            else:
                self._processes[pid] = process
        return usage


def _look_at(pid: int) -> list[ProgramState]:
    """Take a picture of each of a program's runtimes.

    Raises:
        AddressError: there is none, or none answers.
    """
    states, problems = [], []
    for path in find_windows(pid):
        try:
            states.append(_decoder.decode(look_into(path)))
        except AddressError as error:
            problems.append(str(error))
    if states:
        return states
    if not psutil.pid_exists(pid):
        raise AddressError(f"The process {pid} has ended")
    if problems:
        raise AddressError(problems[0])
    raise AddressError(
        f"The process {pid} has no workers of `actors`, or is not yours: they begin "
        "with its first remote call, or with actors.init()"
    )


def _command_of(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""
