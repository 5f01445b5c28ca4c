"""Drawing: the picture of an interchange at one moment. Pure."""

import math
from collections.abc import Sequence
from typing import Protocol

from actors.endpoint.interchange.blocks import Blocks
from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.roster_entry import Actor
from actors.endpoint.pictures import (
    BlockPicture,
    ClientPicture,
    HostedPicture,
    JournalPicture,
    ManagerPicture,
    MemberPicture,
    Relayed,
    Snapshot,
    WorkerPicture,
)
from actors.logic.actor_life import LifeState
from actors.logic.fleet import ManagerEntry
from actors.logic.journal_state import JournalState
from actors.messages import ActorReport, Block, BlockId, TaskState, WorkerReport

__all__ = ["Drawing", "Drawn"]

# What an endpoint needs besides its interchange.
_SERVICES = ("supervisor", "strategy", "provider")


class Drawn(Protocol):
    """What is drawn."""

    books: Books
    blocks: Blocks
    journal: JournalState | None
    started_at: float


class Drawing:
    """Draw an interchange.

    Args:
        interchange: which one.
    """

    def __init__(self, interchange: Drawn) -> None:
        self._interchange = interchange
        self._books = interchange.books

    def snapshot(self, now: float) -> Snapshot:
        """Draw the picture of this moment."""
        interchange, books = self._interchange, self._books
        services = [k for k in _SERVICES if books.members.services(k)]
        bad_state = books.fleet.bad_state
        # Once, not for each block: of many blocks that would be most of the time.
        managers: dict[BlockId, list[ManagerEntry]] = {}
        for manager in books.fleet.managers.values():
            managers.setdefault(manager.block_id, []).append(manager)
        return Snapshot(
            books.settings.name,
            books.settings.epoch,
            now - interchange.started_at,
            self._task_counts(),
            books.finished,
            books.members.malformed,
            services,
            [
                self._draw_block(block, managers.get(block.block_id, ()), now)
                for block in interchange.blocks.known.values()
            ],
            [self._draw_manager(m, now) for m in books.fleet.managers.values()],
            self._draw_clients(),
            self._draw_members(now),
            [Relayed(now - at, event) for at, event in books.relayed],
            books.fleet.is_quiesced,
            bad_state.text if bad_state else "",
            bad_state.detail if bad_state else "",
            self._draw_actors(),
            _draw_journal(interchange.journal, now),
        )

    def _task_counts(self) -> dict[str, int]:
        books = self._books
        ledger, finished = books.ledger, books.finished
        failed, cancelled = books.failed, books.cancelled
        # Only leased tasks can run: they are few, however many wait.
        leased = (
            ledger.entries.get(task_id)
            for manager in books.fleet.managers.values()
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
        fleet = self._books.fleet
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
        elif self._books.fleet.is_usable(manager):
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
            self._books.members.silence(manager.peer, now),
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
        entries = self._books.ledger.entries
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
        managers = self._books.fleet.managers
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
            for actor in self._books.roster.actors.values()
        ]

    def _draw_clients(self) -> list[ClientPicture]:
        books = self._books
        connected = set(books.members.services("client"))
        pictures = []
        for client in books.clients.values():
            hello = books.members.here.get(client.peer)
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
        members = self._books.members
        return [
            MemberPicture(
                hello.kind,
                hello.member_id,
                hello.host,
                hello.pid,
                members.silence(peer, now),
            )
            for peer, hello in members.here.items()
            if hello.kind not in ("client", "manager")
        ]


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
