"""Actors: who runs, under whom; what each has to do and uses."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from actors.endpoint.pictures import HostedPicture, ManagerPicture
from actors.messages import ActorRestarted
from tui.panes.base import Pane, Steer
from tui.table import Column, Table
from tui.text import number, size
from tui.view import View

__all__ = ["ActorRow", "Actors", "actor_rows"]

_SERVICES = ("interchange", "provider", "strategy")
# What serves the metrics, if anything does.
_MONITOR = "monitor"
_LOOKS = {
    "up": "good",
    "ready": "good",
    "alive": "good",
    "busy": "good",
    "idle": "dim",
    "dead": "dim",
    "away": "error",
}


@dataclass(frozen=True, slots=True)
class ActorRow:
    """One actor.

    Args:
        name: unique.
        depth: below how many supervisors.
        state: for people.
        pid: 0: not known.
        host: "": not known.
        restarts: as far as the endpoint remembers; -1: does not apply.
        mailbox: what waits for it, or is under way there; -1: not known.
        cpu: cores; -1: not known.
        rss_bytes: memory; 0: not known.
        label: what people call it; "": as its name.
        may_restart: whether an operator can have it restarted.
    """

    name: str
    depth: int
    state: str
    pid: int = 0
    host: str = ""
    restarts: int = -1
    mailbox: int = -1
    cpu: float = -1.0
    rss_bytes: int = 0
    label: str = ""
    may_restart: bool = False


def actor_rows(view: View) -> Sequence[ActorRow]:
    """List the actors as a tree: services, below the provider managers and workers."""
    status = view.status
    if status is None:
        return ()
    restarts: Counter[str] = Counter()
    for moment in view.restarts:
        if isinstance(moment.body, ActorRestarted):
            restarts[moment.body.actor] = max(
                restarts[moment.body.actor], moment.body.restarts
            )
    processes = {service.actor: service for service in view.services}
    members = {member.kind: member for member in status.members}
    rows = []
    for name in ("supervisor", *_SERVICES):
        process, member = processes.get(name), members.get(name)
        is_up = name == "interchange" or name in status.services
        waiting = status.tasks.get("waiting-for-nodes", 0)
        row = ActorRow(
            name,
            int(name != "supervisor"),
            "up" if is_up and view.is_connected else "away",
            process.pid if process else (member.pid if member else 0),
            member.host if member else "",
            restarts[name] if name != "supervisor" else -1,
            waiting if name == "interchange" else -1,
            process.cpu if process else -1.0,
            process.rss_bytes if process else 0,
            may_restart=name in _SERVICES,
        )
        rows.append(row)
    monitor = processes.get(_MONITOR)
    if monitor is not None:  # not every endpoint has one, and nobody is told of it
        rows.append(
            ActorRow(
                _MONITOR,
                1,
                "up",
                monitor.pid,
                restarts=restarts[_MONITOR],
                cpu=monitor.cpu,
                rss_bytes=monitor.rss_bytes,
            )
        )
    hosted: dict[str, list[HostedPicture]] = {}  # {manager_id: actors}; "": no process
    for actor in status.actors:
        hosted.setdefault(actor.manager_id, []).append(actor)
    for manager in status.managers:
        rows += _manager_rows(manager, view.cores)
        for actor in hosted.pop(manager.manager_id, ()):
            rows.append(_hosted_row(actor, 2, manager.host, view.cores))
    for actors in hosted.values():
        rows += [_hosted_row(actor, 1, "", view.cores) for actor in actors]
    return rows


def _hosted_row(
    actor: HostedPicture, depth: int, host: str, cores: Mapping[tuple[str, int], float]
) -> ActorRow:
    return ActorRow(
        actor.actor_id,
        depth,
        actor.state,
        actor.pid,
        host,
        actor.incarnation - 1,
        actor.waiting_calls + actor.leased_calls,
        cores.get((actor.manager_id, actor.pid), -1.0) if actor.pid else -1.0,
        actor.rss_bytes,
        f"{actor.class_name} {actor.name or actor.actor_id}",
        may_restart=True,
    )


def _manager_rows(
    manager: ManagerPicture, cores: Mapping[tuple[str, int], float]
) -> list[ActorRow]:
    rows = [
        ActorRow(
            manager.manager_id,
            1,
            manager.state,
            manager.pid,
            manager.host,
            mailbox=manager.leases,
            cpu=cores.get((manager.manager_id, manager.pid), -1.0),
            rss_bytes=manager.rss_bytes,
            may_restart=True,
        )
    ]
    for worker in manager.workers:
        is_busy = bool(worker.task_id)
        rows.append(
            ActorRow(
                worker.worker_id,
                2,
                "busy" if is_busy else "idle",
                worker.pid,
                manager.host,
                mailbox=int(is_busy),
                cpu=cores.get((manager.manager_id, worker.pid), -1.0),
                rss_bytes=worker.rss_bytes,
            )
        )
    return rows


class Actors(Pane[View]):
    """The pane."""

    LABEL: ClassVar[str] = "Actors"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("R", "restart", "Restart"),
    ]

    def compose(self) -> ComposeResult:
        yield Table(
            [
                Column("ACTOR", _name, 22, grows=True),
                Column("STATE", lambda r: r.state, 10, look=_look),
                Column("MAILBOX", lambda r: _known(r.mailbox), 7, is_number=True),
                Column("RESTARTS", lambda r: _known(r.restarts), 8, is_number=True),
                Column("CPU", _cpu, 5, is_number=True),
                Column("MEMORY", _memory, 8, is_number=True),
                Column("PID", _pid, 7, is_number=True, rank=1),
                Column("HOST", lambda r: r.host or "-", 16, rank=2),
            ],
            lambda row: row.name,
            empty="Not known yet",
            id="actor-table",
        )

    def show(self, view: View) -> None:
        self.query_one("#actor-table", Table).fill(actor_rows(view))

    def action_restart(self) -> None:
        """Restart what the cursor is on; a worker ends with its task."""
        row = self.query_one("#actor-table", Table).current
        if row is None:
            return
        if row.may_restart:
            self.post_message(Steer("restart", [row.name]))
        else:
            self.app.notify(
                f"Only {', '.join(_SERVICES)}, managers and clients' actors can be "
                "restarted; for a worker, cancel its task",
                severity="warning",
            )


def _name(row: ActorRow) -> str:
    return f"{'  ' * row.depth}{row.label or row.name}"


def _look(row: ActorRow) -> str:
    return _LOOKS.get(row.state, "warning")


def _known(count: int) -> str:
    return str(count) if count >= 0 else "-"


def _cpu(row: ActorRow) -> str:
    return number(round(row.cpu, 2)) if row.cpu >= 0 else "-"


def _memory(row: ActorRow) -> str:
    return size(row.rss_bytes) if row.rss_bytes else "-"


def _pid(row: ActorRow) -> str:
    return str(row.pid) if row.pid else "-"
