"""What operators may ask of an interchange, and the picture that they get of it."""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet, ManagerEntry
from actors.logic.ledger import Ledger
from actors.logic.turn import Turn
from actors.messages import (
    Answer,
    Block,
    BlockId,
    ClientId,
    Command,
    Hello,
    ManagerId,
    Message,
    ScaleTo,
    StopEndpoint,
    TaskId,
    TaskState,
)

__all__ = ["Snapshot", "Steered", "Steering"]


class Steered(Protocol):
    """What steering needs of an interchange."""

    ledger: Ledger
    fleet: Fleet
    clients: dict[ClientId, ClientEntry]
    blocks: dict[BlockId, Block]
    members: dict[str, Hello]
    finished: int
    malformed: int
    started_at: float

    @property
    def name(self) -> str: ...
    @property
    def epoch(self) -> str: ...
    def cancel(
        self, task_ids: Iterable[TaskId], now: float, turn: Turn
    ) -> list[TaskId]: ...
    def drain(self, manager: ManagerEntry, now: float, turn: Turn) -> None: ...
    def retire(
        self, block_ids: Iterable[BlockId], now: float, turn: Turn, *, if_busy: bool
    ) -> list[BlockId]: ...
    def send(self, peer: str, message: Message, now: float, turn: Turn) -> bool: ...
    def services(self, kind: str) -> list[str]: ...
    def silence(self, peer: str, now: float) -> float: ...


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
    workers: list[dict[str, str | int | float]]


class BlockPicture(msgspec.Struct, frozen=True):
    """One block in a snapshot."""

    block_id: str
    state: str
    job_id: str
    managers: int
    leases: int
    is_held: bool
    message: str


class ClientPicture(msgspec.Struct, frozen=True):
    """One client in a snapshot."""

    client_id: str
    host: str
    pid: int
    is_connected: bool
    unfinished: int
    unacknowledged: int


class Snapshot(msgspec.Struct, frozen=True):
    """An endpoint at one moment."""

    name: str
    epoch: str
    uptime: float  # seconds
    tasks: dict[str, int]  # {state: count}
    finished: int  # since the interchange started
    malformed: int  # frames refused
    services: list[str]  # strategy, provider, supervisor: those connected
    blocks: list[BlockPicture]
    managers: list[ManagerPicture]
    clients: list[ClientPicture]


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
            case "hold" | "resume" | "drain":
                done, text = self._on_members(command, now, turn)
            case "scale":
                done, text = self._scale(command.number, now, turn)
            case "cancel":
                done, text = self._cancel(command.names, now, turn)
            case "stop":
                done, text = self._stop(now, turn)
        return Answer(command.request_id, done, text)

    def snapshot(self, now: float) -> Snapshot:
        """Draw the picture of this moment."""
        interchange = self._interchange
        fleet = interchange.fleet
        counts = {state.label: 0 for state in TaskState if 2 <= state <= 4}
        for entry in interchange.ledger.entries.values():
            counts[entry.state.label] += 1
        managers = [
            ManagerPicture(
                manager.manager_id,
                manager.block_id,
                manager.host,
                manager.pid,
                "draining"
                if manager.is_draining
                else "away"
                if not manager.is_connected
                else "ready"
                if fleet.is_usable(manager)
                else "held",
                manager.slots,
                manager.window,
                len(manager.leases),
                interchange.silence(manager.peer, now),
                [
                    {
                        "worker_id": worker.worker_id,
                        "pid": worker.pid,
                        "task_id": worker.task_id,
                        "rss_bytes": worker.rss_bytes,
                        "cpu_seconds": worker.cpu_seconds,
                    }
                    for worker in manager.workers
                ],
            )
            for manager in fleet.managers.values()
        ]
        blocks = [
            BlockPicture(
                block.block_id,
                block.state.value,
                block.job_id,
                len(fleet.of_block(block.block_id)),
                sum(len(m.leases) for m in fleet.of_block(block.block_id)),
                block.block_id in fleet.held or block.block_id in fleet.retired,
                block.message,
            )
            for block in interchange.blocks.values()
        ]
        clients = [
            ClientPicture(
                client.client_id,
                hello.host if (hello := interchange.members.get(client.peer)) else "",
                hello.pid if hello else 0,
                client.peer in interchange.services("client"),
                client.unfinished,
                len(client.unacknowledged),
            )
            for client in interchange.clients.values()
        ]
        return Snapshot(
            interchange.name,
            interchange.epoch,
            now - interchange.started_at,
            counts,
            interchange.finished,
            interchange.malformed,
            [
                kind
                for kind in ("strategy", "provider", "supervisor")
                if interchange.services(kind)
            ],
            blocks,
            managers,
            clients,
        )

    def _on_members(self, command: Command, now: float, turn: Turn) -> tuple[bool, str]:
        fleet = self._interchange.fleet
        known = {
            *fleet.managers,
            *self._interchange.blocks,
            *(m.block_id for m in fleet.managers.values()),
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
                    self._interchange.retire([BlockId(name)], now, turn, if_busy=True)
        return True, f"{command.verb}: {', '.join(command.names)}"

    def _scale(self, blocks: int, now: float, turn: Turn) -> tuple[bool, str]:
        if blocks < 0:
            return False, f"{blocks} blocks cannot be: give 0 or more"
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
                "the supervisor is not connected: end `actors run` by a signal",
            )
        stop = StopEndpoint("asked by an operator")
        self._interchange.send(supervisors[0], stop, now, turn)
        return True, "the endpoint stops"
