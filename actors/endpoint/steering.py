"""What operators may ask of an interchange, and the picture that they get of it."""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from actors.endpoint.restarting import restart
from actors.endpoint.roster import Roster
from actors.endpoint.roster_entry import Actor
from actors.endpoint.task_pictures import list_tasks, tell_story
from actors.logic.actor_life import LifeState
from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet, ManagerEntry
from actors.logic.journal_state import JournalState
from actors.logic.ledger import Ledger
from actors.logic.relayed import Relays
from actors.logic.turn import Turn
from actors.messages import (
    ActorReport,
    Answer,
    AnyEvent,
    Block,
    BlockId,
    BlocksHeld,
    ClientId,
    Command,
    Hello,
    ManagerId,
    Message,
    ScaleTo,
    StopEndpoint,
    TaskId,
    TaskState,
    TypeSlots,
    WorkerReport,
)

__all__ = [
    "BlockPicture",
    "ClientPicture",
    "HostedPicture",
    "JournalPicture",
    "ManagerPicture",
    "MemberPicture",
    "Relayed",
    "Snapshot",
    "Steered",
    "Steering",
    "WorkerPicture",
]

# Tasks in one list. Chosen: it takes the interchange a few milliseconds.
_MOST_TASKS = 2000
# What an endpoint needs besides its interchange.
_SERVICES = ("supervisor", "strategy", "provider")
# {verb: what was done, for the answer}
_DONE = {"hold": "held", "resume": "resumed", "drain": "draining"}


class Steered(Protocol):
    """What steering needs of an interchange."""

    ledger: Ledger
    fleet: Fleet
    clients: dict[ClientId, ClientEntry]
    blocks: dict[BlockId, Block]
    members: dict[str, Hello]
    finished: int
    failed: int
    cancelled: int
    malformed: int
    relayed: Relays
    journal: JournalState | None
    started_at: float

    @property
    def roster(self) -> Roster: ...
    @property
    def name(self) -> str: ...
    @property
    def epoch(self) -> str: ...
    def cancel(
        self, task_ids: Iterable[TaskId], now: float, turn: Turn
    ) -> list[TaskId]: ...
    def drain(self, manager: ManagerEntry, now: float, turn: Turn) -> None: ...
    def note_steering(self, turn: Turn) -> None: ...
    def place(self, now: float, turn: Turn) -> None: ...
    def quiesce(self, turn: Turn) -> None: ...
    def resume(self, now: float, turn: Turn) -> None: ...
    def retire(
        self, block_ids: Iterable[BlockId], now: float, turn: Turn, *, if_busy: bool
    ) -> list[BlockId]: ...
    def send(self, peer: str, message: Message, now: float, turn: Turn) -> bool: ...
    def services(self, kind: str) -> list[str]: ...
    def silence(self, peer: str, now: float) -> float: ...


class WorkerPicture(msgspec.Struct, frozen=True):
    """One worker process, as its manager reported it last."""

    worker_id: str
    pid: int  # 0: not started yet
    task_id: str  # what it runs, or ""
    task_name: str = ""  # as its client called it
    rss_bytes: int = 0
    cpu_seconds: float = 0.0


class ManagerPicture(msgspec.Struct, frozen=True):
    """One manager in a snapshot."""

    manager_id: str
    block_id: str
    host: str
    pid: int
    state: str  # ready, held, draining, away
    slots: int
    window: int  # leases it asked for at most
    leases: int
    silent: float  # seconds since it was heard
    workers: list[WorkerPicture]
    total: dict[str, float] = {}  # what its node has to run tasks and actors with
    free: dict[str, float] = {}  # what of it nobody takes
    time_left: float | None = None  # seconds until its block ends; None: not known
    types: list[TypeSlots] = []  # of workers that are not plain
    rss_bytes: int = 0  # of its own process
    cpu_seconds: float = 0.0  # likewise


class BlockPicture(msgspec.Struct, frozen=True):
    """One block in a snapshot."""

    block_id: str
    state: str
    job_id: str
    managers: int
    leases: int
    is_held: bool
    is_draining: bool
    message: str  # why it ended, as the batch system says
    exit_code: int | None = None
    stderr_tail: str = ""
    time_left: float | None = None  # seconds until it ends; None: not known
    worker_type: str = ""  # the only one of its workers, or "plain"; "": any


class ClientPicture(msgspec.Struct, frozen=True):
    """One client in a snapshot."""

    client_id: str
    host: str
    pid: int
    is_connected: bool
    unfinished: int
    unacknowledged: int


class MemberPicture(msgspec.Struct, frozen=True):
    """One service, or operator, in a snapshot."""

    kind: str
    member_id: str
    host: str
    pid: int  # 0: not told
    silent: float  # seconds since it was heard


class HostedPicture(msgspec.Struct, frozen=True):
    """One actor of a client's, in a snapshot; a dead one as long as it has handles."""

    actor_id: str
    class_name: str
    name: str
    namespace: str
    state: str  # waiting (for a manager), starting, alive, restarting, dead
    incarnation: int
    manager_id: str  # "": nobody has it
    waiting_calls: int  # not handed to it yet
    holders: int  # clients, tasks and actors that have a handle
    is_detached: bool = False
    message: str = ""  # how its last incarnation ended
    leased_calls: int = 0  # at its manager: they run, or wait there
    max_restarts: int = 0  # -1: any number
    pid: int = 0  # as its manager reported last; 0: not known
    rss_bytes: int = 0
    cpu_seconds: float = 0.0


class JournalPicture(msgspec.Struct, frozen=True):
    """How far the disk is behind, as was told within the last seconds."""

    durability: str
    lag: float  # seconds that what must be safe had to wait for the disk, at most
    unsynced_records: int  # written, and not known to be on disk
    unsynced_bytes: int
    size_bytes: int  # of the interchange's journal
    free_bytes: int  # that its disk has left
    interval: float = 0.0  # seconds between two syncs, with durability "interval"
    compacted: float | None = None  # seconds since it was made short; None: not yet


class Relayed(msgspec.Struct, frozen=True):
    """What a service told: a decision, a restart."""

    age: float  # seconds
    event: AnyEvent


class Snapshot(msgspec.Struct, frozen=True):
    """An endpoint at one moment."""

    name: str
    epoch: str
    uptime: float  # seconds since the interchange started
    # {state: count}: unfinished tasks now, and those that ended since the start
    tasks: dict[str, int]
    finished: int  # since the interchange started
    malformed: int  # frames refused, since then
    services: list[str]  # strategy, provider, supervisor: those connected
    blocks: list[BlockPicture]
    managers: list[ManagerPicture]
    clients: list[ClientPicture]
    members: list[MemberPicture] = []
    relayed: list[Relayed] = []  # oldest first
    is_quiesced: bool = False  # no tasks are taken or handed out until it is resumed
    bad_state: str = ""  # why all tasks fail until it is resumed
    bad_state_detail: str = ""  # what the batch system says of the blocks
    actors: list[HostedPicture] = []  # of clients
    journal: JournalPicture | None = None  # None: not told yet


class Steering:
    """Carry out commands on an interchange."""

    def __init__(self, interchange: Steered) -> None:
        self._interchange = interchange

    def obey(self, command: Command, now: float, turn: Turn) -> Answer:
        """Do what is asked, or say why not; never raises."""
        match command.verb:
            case "status":
                body = msgspec.json.encode(self.snapshot(now))
                return Answer(command.request_id, True, "", body)
            case "quiesce":
                done, text = self._quiesce(turn)
            case "resume" if not command.names:
                done, text = self._resume(now, turn)
            case "hold" | "resume" | "drain":
                done, text = self._on_members(command, now, turn)
            case "scale":
                done, text = self._scale(command.number, now, turn)
            case "cancel":
                done, text = self._cancel(command.names, now, turn)
            case "stop":
                done, text = self._stop(now, turn)
            case "restart":
                done, text = restart(self._interchange, command.names, now, turn)
            case "tasks":
                return self._list_tasks(command)
            case "story":
                return self._tell_story(command)
        return Answer(command.request_id, done, text)

    def snapshot(self, now: float) -> Snapshot:
        """Draw the picture of this moment."""
        interchange = self._interchange
        services = [k for k in _SERVICES if interchange.services(k)]
        bad_state = interchange.fleet.bad_state
        # Once, not for each block: of many blocks that would be most of the time.
        managers: dict[BlockId, list[ManagerEntry]] = {}
        for manager in interchange.fleet.managers.values():
            managers.setdefault(manager.block_id, []).append(manager)
        return Snapshot(
            interchange.name,
            interchange.epoch,
            now - interchange.started_at,
            self._task_counts(),
            interchange.finished,
            interchange.malformed,
            services,
            [
                self._draw_block(block, managers.get(block.block_id, ()), now)
                for block in interchange.blocks.values()
            ],
            [self._draw_manager(m, now) for m in interchange.fleet.managers.values()],
            self._draw_clients(),
            self._draw_members(now),
            [Relayed(now - at, event) for at, event in interchange.relayed],
            interchange.fleet.is_quiesced,
            bad_state.text if bad_state else "",
            bad_state.detail if bad_state else "",
            self._draw_actors(),
            _draw_journal(interchange.journal, now),
        )

    def _task_counts(self) -> dict[str, int]:
        interchange = self._interchange
        ledger, finished = interchange.ledger, interchange.finished
        failed, cancelled = interchange.failed, interchange.cancelled
        # Only leased tasks can run: they are few, however many wait.
        leased = (
            ledger.entries.get(task_id)
            for manager in interchange.fleet.managers.values()
            for task_id in manager.leases
        )
        running = sum(e is not None and e.state is TaskState.RUNNING for e in leased)
        counts = {
            TaskState.WAITING_FOR_NODES: ledger.waiting,
            TaskState.WAITING_FOR_LAUNCH: ledger.leased - running,
            TaskState.RUNNING: running,
            TaskState.SUCCESS: finished - failed - cancelled,
            TaskState.FAILED: failed,
            TaskState.CANCELLED: cancelled,
        }
        return {state.label: count for state, count in counts.items()}

    def _draw_block(
        self, block: Block, managers: Sequence[ManagerEntry], now: float
    ) -> BlockPicture:
        fleet = self._interchange.fleet
        ends_at = min((m.ends_at for m in managers), default=math.inf)
        return BlockPicture(
            block.block_id,
            block.state.value,
            block.job_id,
            len(managers),
            sum(len(manager.leases) for manager in managers),
            block.block_id in fleet.held,
            block.block_id in fleet.retired,
            block.message,
            block.exit_code,
            block.stderr_tail,
            _time_left(ends_at, now),
            fleet.type_of(block.block_id) or block.worker_type,
        )

    def _draw_manager(self, manager: ManagerEntry, now: float) -> ManagerPicture:
        if manager.is_draining:
            state = "draining"
        elif not manager.is_connected:
            state = "away"
        elif self._interchange.fleet.is_usable(manager):
            state = "ready"
        else:
            state = "held"
        return ManagerPicture(
            manager.manager_id,
            manager.block_id,
            manager.host,
            manager.pid,
            state,
            manager.slots,
            manager.window,
            len(manager.leases),
            self._interchange.silence(manager.peer, now),
            [self._draw_worker(worker, manager) for worker in manager.workers],
            manager.capacity.total(),
            manager.free(),
            _time_left(manager.ends_at, now),
            manager.types,
            manager.rss_bytes,
            manager.cpu_seconds,
        )

    def _draw_worker(
        self, worker: WorkerReport, manager: ManagerEntry
    ) -> WorkerPicture:
        # Its manager has reported again if the worker took up another task for long;
        # that it has finished this one, we know better than the report.
        is_current = worker.task_id in manager.leases
        entries = self._interchange.ledger.entries
        entry = entries.get(worker.task_id) if is_current else None
        return WorkerPicture(
            worker.worker_id,
            worker.pid,
            worker.task_id if is_current else "",
            entry.task.name if entry else "",
            worker.rss_bytes,
            worker.cpu_seconds,
        )

    def _draw_actors(self) -> list[HostedPicture]:
        managers = self._interchange.fleet.managers
        processes = {
            (manager.manager_id, process.actor_id): process
            for manager in managers.values()
            for process in manager.processes
        }
        return [
            _draw_actor(
                actor,
                managers.get(actor.manager_id),
                processes.get((actor.manager_id, actor.actor_id)),
            )
            for actor in self._interchange.roster.actors.values()
        ]

    def _draw_clients(self) -> list[ClientPicture]:
        interchange = self._interchange
        connected = set(interchange.services("client"))
        pictures = []
        for client in interchange.clients.values():
            hello = interchange.members.get(client.peer)
            pictures.append(
                ClientPicture(
                    client.client_id,
                    hello.host if hello else "",
                    hello.pid if hello else 0,
                    client.peer in connected,
                    client.unfinished,
                    len(client.unacknowledged),
                )
            )
        return pictures

    def _draw_members(self, now: float) -> list[MemberPicture]:
        interchange = self._interchange
        return [
            MemberPicture(
                hello.kind,
                hello.member_id,
                hello.host,
                hello.pid,
                interchange.silence(peer, now),
            )
            for peer, hello in interchange.members.items()
            if hello.kind not in ("client", "manager")
        ]

    def _list_tasks(self, command: Command) -> Answer:
        text, states = "".join(command.names[:1]), command.names[1:]
        limit = min(max(1, command.number), _MOST_TASKS)
        ledger, fleet = self._interchange.ledger, self._interchange.fleet
        picture = list_tasks(ledger, fleet, text, states, limit)
        return Answer(command.request_id, True, "", msgspec.json.encode(picture))

    def _tell_story(self, command: Command) -> Answer:
        name = "".join(command.names[:1])
        story = tell_story(
            self._interchange.ledger, self._interchange.fleet, TaskId(name)
        )
        if story is None:
            text = f"nothing is known (any more) of a task {name or '(nothing)'}"
            return Answer(command.request_id, False, text)
        return Answer(command.request_id, True, "", msgspec.json.encode(story))

    def _on_members(self, command: Command, now: float, turn: Turn) -> tuple[bool, str]:
        fleet = self._interchange.fleet
        known = {
            *fleet.managers,
            *self._interchange.blocks,
            *(m.block_id for m in fleet.managers.values()),
            # One that is held and away would come back held.
            *fleet.held,
        }
        unknown = [name for name in command.names if name not in known]
        if unknown or not command.names:
            return False, (
                f"no block or manager is called {', '.join(unknown) or '(nothing)'}; "
                f"there are: {', '.join(sorted(known)) or 'none'}"
            )
        for name in command.names:
            match command.verb:
                case "hold":
                    fleet.held.add(name)
                case "resume":
                    fleet.held.discard(name)
                case "drain" if name in fleet.managers:
                    manager = fleet.managers[ManagerId(name)]
                    self._interchange.drain(manager, now, turn)
                case "drain":
                    self._drain_block(BlockId(name), now, turn)
        self._interchange.note_steering(turn)
        if command.verb == "resume":
            self._interchange.place(now, turn)
        return True, f"{_DONE[command.verb]}: {', '.join(command.names)}"

    def _quiesce(self, turn: Turn) -> tuple[bool, str]:
        ledger = self._interchange.ledger
        self._interchange.quiesce(turn)
        return True, (
            f"quiesced: tasks with managers ({ledger.leased}) go on, those that wait "
            f"({ledger.waiting}) do so until it is resumed, and no new ones are taken"
        )

    def _resume(self, now: float, turn: Turn) -> tuple[bool, str]:
        fleet = self._interchange.fleet
        if not fleet.is_quiesced and not fleet.bad_state:
            held = ", ".join(sorted(fleet.held)) or "none"
            return False, (
                "the endpoint is neither quiesced nor in a bad state; name the blocks "
                f"or managers that shall be resumed; held are: {held}"
            )
        was_bad = fleet.bad_state is not None
        self._interchange.resume(now, turn)
        again = "; blocks are started again" if was_bad else ""
        return True, f"resumed: tasks are taken and handed out again{again}"

    def _drain_block(self, block_id: BlockId, now: float, turn: Turn) -> None:
        interchange = self._interchange
        interchange.retire([block_id], now, turn, if_busy=True)
        if not interchange.fleet.of_block(block_id):
            # Nobody there can drain, and nobody may join any more: the strategy has
            # what is left of the block cancelled.
            for strategy in interchange.services("strategy")[:1]:
                held = BlocksHeld([block_id], is_unasked=True)
                interchange.send(strategy, held, now, turn)

    def _scale(self, blocks: int, now: float, turn: Turn) -> tuple[bool, str]:
        if blocks < 0:
            return False, f"{blocks} blocks cannot be: give 0 or more"
        if self._interchange.fleet.bad_state:
            return False, "the endpoint is in a bad state: `actors resume` first"
        strategies = self._interchange.services("strategy")
        if not strategies:
            return False, "the strategy is not connected: try again in a moment"
        self._interchange.send(strategies[0], ScaleTo(blocks), now, turn)
        return True, f"the strategy was asked for {blocks} blocks"

    def _cancel(self, names: list[str], now: float, turn: Turn) -> tuple[bool, str]:
        asked = self._interchange.cancel([TaskId(name) for name in names], now, turn)
        missing = [name for name in names if name not in asked]
        if missing or not names:
            return False, (
                f"not among the unfinished tasks: {', '.join(missing) or '(nothing)'}"
                + (f"; cancelled: {', '.join(asked)}" if asked else "")
            )
        return True, f"cancelled: {', '.join(asked)}"

    def _stop(self, now: float, turn: Turn) -> tuple[bool, str]:
        supervisors = self._interchange.services("supervisor")
        if not supervisors:
            return (
                False,
                (
                    "the supervisor is not connected: try again in a moment, or end "
                    "`actors run` by a signal"
                ),
            )
        stop = StopEndpoint("asked by an operator")
        self._interchange.send(supervisors[0], stop, now, turn)
        return True, "the endpoint stops"


def _draw_journal(journal: JournalState | None, now: float) -> JournalPicture | None:
    if journal is None:
        return None
    is_short = journal.compacted_at > -math.inf
    return JournalPicture(
        journal.durability,
        journal.lag,
        journal.unsynced_records,
        journal.unsynced_bytes,
        journal.size_bytes,
        journal.free_bytes,
        journal.interval,
        now - journal.compacted_at if is_short else None,
    )


def _time_left(ends_at: float, now: float) -> float | None:
    return None if ends_at == math.inf else max(0.0, ends_at - now)


def _draw_actor(
    actor: Actor, manager: ManagerEntry | None, process: ActorReport | None
) -> HostedPicture:
    options, state = actor.options, actor.life.state
    is_homeless = state is LifeState.STARTING and not actor.manager_id
    return HostedPicture(
        actor.actor_id,
        options.class_name,
        options.name,
        options.namespace,
        "waiting" if is_homeless else state.value,
        actor.life.incarnation,
        actor.manager_id,
        sum(map(len, actor.lanes.values())),
        len(actor.holders),
        options.is_detached,
        actor.message,
        sum(task_id in manager.calls for task_id in actor.sent) if manager else 0,
        options.max_restarts,
        process.pid if process else 0,
        process.rss_bytes if process else 0,
        process.cpu_seconds if process else 0.0,
    )
