"""What one refresh shows: a frozen value that the reader makes and widgets draw."""

from dataclasses import dataclass, field
from typing import Literal

from actors.api.observer import ConnectionState
from actors.cli.log_files import Line
from actors.endpoint.pictures import ManagerPicture, Snapshot
from actors.endpoint.task_pictures import TaskList
from actors.messages import AnyEvent

__all__ = [
    "Alert",
    "Connection",
    "History",
    "Latency",
    "Level",
    "Moment",
    "ServiceProcess",
    "View",
    "busy_workers",
]

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Connection:
    """How we stand with the endpoint.

    Args:
        state: as the observer says.
        reason: why not connected, as far as is known.
        age: seconds since the state began.
    """

    state: ConnectionState = ConnectionState.CONNECTING
    reason: str = ""
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened.

    Args:
        at: seconds since 1970.
        source: which actor told it.
        body: the event.
    """

    at: float
    source: str
    body: AnyEvent


@dataclass(frozen=True, slots=True)
class Alert:
    """What an operator should know.

    Args:
        level: how much it matters.
        text: what is the matter.
        advice: what to do about it.
    """

    level: Level
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """One process of the endpoint's own, as this host's kernel knows it.

    Args:
        actor: supervisor, interchange, provider, strategy, monitor.
        pid: of the process.
        rss_bytes: its memory.
        cpu: cores that it uses.
    """

    actor: str
    pid: int
    rss_bytes: int
    cpu: float


def busy_workers(manager: ManagerPicture) -> int:
    """Tell how many of a manager's workers run something.

    What they run is reported once they have run it for a while; of short tasks it is
    known only that the manager has them.
    """
    reported = sum(bool(worker.task_id) for worker in manager.workers)
    return max(reported, min(manager.leases, len(manager.workers)))


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the tasks that ended well in the last minute: medians, in seconds.

    Args:
        waited: from the queue to the start at a worker.
        ran: from there to the end.
        count: of the tasks.
    """

    waited: float
    ran: float
    count: int


@dataclass(frozen=True, slots=True)
class History:
    """Some minutes of numbers, oldest first, one for each picture.

    Args:
        ended: tasks per second.
        waiting: tasks in the queue.
        leased: tasks with managers.
        slots: workers there are.
        took: median seconds from the queue to the end.
        cpu: cores that workers use.
        lag: seconds that what must be safe had to wait for the disk.
    """

    ended: tuple[float, ...] = ()
    waiting: tuple[float, ...] = ()
    leased: tuple[float, ...] = ()
    slots: tuple[float, ...] = ()
    took: tuple[float, ...] = ()
    cpu: tuple[float, ...] = ()
    lag: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the screens show.

    Args:
        address: as the user wrote it.
        at: when this was made, seconds since 1970.
        connection: how we stand with the endpoint.
        status: the last picture; None: there was none yet.
        tasks: the last list of tasks; None: there was none yet.
        latency: None: no task ended well lately.
        history: for sparklines.
        events: newest last, without the periodic load.
        decisions: of the strategy, newest last, also from before we came.
        restarts: of actors, newest last, also from before we came.
        idle: {block_id: seconds without a task}.
        services: processes of the endpoint on this host.
        lines: of the logs, newest last.
        has_logs: whether the logs can be read from here.
        missed: events that did not reach us.
        alerts: worst first.
        cores: {(manager_id, pid): processor time that a worker, a client's actor or the
            manager itself takes}, as known.
    """

    address: str
    at: float
    connection: Connection = Connection()
    status: Snapshot | None = None
    tasks: TaskList | None = None
    latency: Latency | None = None
    history: History = History()
    events: tuple[Moment, ...] = ()
    decisions: tuple[Moment, ...] = ()
    restarts: tuple[Moment, ...] = ()
    idle: dict[str, float] = field(default_factory=dict)
    services: tuple[ServiceProcess, ...] = ()
    lines: tuple[Line, ...] = ()
    has_logs: bool = False
    missed: int = 0
    alerts: tuple[Alert, ...] = ()
    cores: dict[tuple[str, int], float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The endpoint's own name, once it is known."""
        return self.status.name if self.status else self.address

    @property
    def is_connected(self) -> bool:
        return self.connection.state is ConnectionState.CONNECTED
