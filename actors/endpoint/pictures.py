"""The picture that operators get of an endpoint."""

import msgspec

from actors.messages import AnyEvent, TypeSlots

__all__ = [
    "BlockPicture",
    "ClientPicture",
    "HostedPicture",
    "JournalPicture",
    "ManagerPicture",
    "MemberPicture",
    "Relayed",
    "Snapshot",
    "WorkerPicture",
]


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
