"""Views to draw: made by hand, the same each time, one for each state to be shown."""

import dataclasses
from collections.abc import Sequence

import msgspec

from actors.api.observer import ConnectionState
from actors.cli.log_files import Line
from actors.endpoint.pictures import (
    BlockPicture,
    ClientPicture,
    HostedPicture,
    JournalPicture,
    ManagerPicture,
    MemberPicture,
    Snapshot,
    WorkerPicture,
)
from actors.endpoint.task_pictures import TaskList, TaskPicture
from actors.messages import (
    ActorRestarted,
    BlockChanged,
    BlockId,
    BlockState,
    MemberJoined,
    MemberLeft,
    ScalingDecided,
    TaskEnded,
    TaskId,
    TaskState,
)
from tui.alerts import find_alerts
from tui.view import Connection, History, Latency, Moment, ServiceProcess, View

__all__ = [
    "NOW",
    "STATES",
    "busy",
    "disconnected",
    "empty",
    "failing",
    "huge",
    "normal",
]

# 2026-01-02 03:04:05 UTC
NOW = 1767323045.0
MIB = 1 << 20


def task(number: int, state: str, *, place: str = "", message: str = "") -> TaskPicture:
    return TaskPicture(
        f"node-3f29ab04c1d2-{number}",
        "train_model" if number % 3 else "load",
        state,
        1 + (number % 7 == 0),
        NOW - 10 - number,
        NOW - 60 - number,
        NOW - 10 - number if place else 0.0,
        place,
        "node-3f29ab04c1d2",
        message=message,
    )


def manager(number: int, state: str = "ready", slots: int = 4) -> ManagerPicture:
    block = f"block-{number}"
    return ManagerPicture(
        f"{block}.0",
        block,
        f"node{number:03d}.cluster",
        4000 + number,
        state,
        slots,
        2 * slots,
        slots if state == "ready" else 0,
        0.5 if state != "away" else 75.0,
        [
            WorkerPicture(
                f"{block}.0-w{worker}",
                5000 + 10 * number + worker,
                f"node-3f29ab04c1d2-{worker}" if state == "ready" else "",
                "train_model" if state == "ready" else "",
                (100 + worker) * MIB,
                12.5 * worker,
            )
            for worker in range(1, slots + 1)
        ],
        rss_bytes=(30 + number) * MIB,
        cpu_seconds=4.0,
    )


def block(number: int, state: str = "running", **more: object) -> BlockPicture:
    is_up = state == "running"
    picture = BlockPicture(
        f"block-{number}",
        state,
        f"{8800 + number}",
        int(is_up),
        4 * is_up,
        False,
        False,
        "",
    )
    return msgspec.structs.replace(picture, **more)


def snapshot(
    counts: tuple[int, int, int, int, int, int],
    blocks: list[BlockPicture],
    managers: list[ManagerPicture],
    *,
    services: list[str] | None = None,
    journal: JournalPicture | None = None,
    actors: Sequence[HostedPicture] = (),
) -> Snapshot:
    names = ("waiting-for-nodes", "waiting-for-launch", "running")
    ends = ("success", "failed", "cancelled")
    return Snapshot(
        "lab",
        "epoch-1",
        3725.0,
        dict(zip((*names, *ends), counts, strict=True)),
        sum(counts[3:]),
        0,
        ["supervisor", "strategy", "provider"] if services is None else services,
        blocks,
        managers,
        [ClientPicture("node-3f29ab04c1d2", "node", 77, True, sum(counts[:3]), 0)],
        [
            MemberPicture("supervisor", "supervisor", "node", 100, 1.0),
            MemberPicture("strategy", "strategy", "", 0, 1.0),
            MemberPicture("provider", "provider", "", 0, 1.0),
        ],
        journal=journal,
        actors=list(actors),
    )


def hosted(
    number: int, state: str, manager_id: str = "", **more: object
) -> HostedPicture:
    whole = HostedPicture(
        f"{number:08x}", "Tally", "", "", state, 1, manager_id, 0, 1, max_restarts=3
    )
    return msgspec.structs.replace(whole, **more)


# A named one with calls, and one that must not be restarted.
LIVING = (
    hosted(
        1,
        "alive",
        "block-1.0",
        name="visits",
        waiting_calls=3,
        leased_calls=2,
        pid=5091,
        rss_bytes=41 * MIB,
        cpu_seconds=2.5,
    ),
    hosted(2, "alive", "block-2.0", max_restarts=0, pid=5092, rss_bytes=40 * MIB),
)
GIB = 1 << 30
JOURNAL = JournalPicture("sync", 0.0021, 12, 9 << 10, 61 * MIB, 212 * GIB, 0.0, 754.0)
SLOW_DISK = JournalPicture("sync", 3.2, 4711, 3 * MIB, 900 * MIB, 310 * MIB)


def history(scale: float) -> History:
    wave = [abs((n * 7) % 40 - 20) / 20 for n in range(60)]
    return History(
        tuple(scale * x for x in wave),
        tuple(50 * scale * x for x in wave[::-1]),
        tuple(8.0 for _ in wave),
        tuple(8.0 if n > 20 else 4.0 for n in range(60)),
        tuple(0.1 + x / 10 for x in wave),
        tuple(4 * x for x in wave),
        tuple(x / 500 for x in wave),
    )


SERVICES = (
    ServiceProcess("supervisor", 100, 30 * MIB, 0.01),
    ServiceProcess("interchange", 101, 64 * MIB, 0.42),
    ServiceProcess("provider", 102, 31 * MIB, 0.0),
    ServiceProcess("strategy", 103, 30 * MIB, 0.02),
)
JOINED = (
    Moment(NOW - 300, "interchange", MemberJoined("client", "node-3f29", "node")),
    Moment(
        NOW - 290, "interchange", MemberJoined("manager", "block-1.0", "node001", 4)
    ),
    Moment(
        NOW - 280,
        "interchange",
        BlockChanged(BlockId("block-1"), BlockState.RUNNING),
    ),
)
LAUNCHED = (
    Moment(
        NOW - 300, "strategy", ScalingDecided("launch", 1, "the endpoint starts with 1")
    ),
    Moment(
        NOW - 200, "strategy", ScalingDecided("launch", 1, "30 tasks want more than 4")
    ),
    Moment(NOW - 100, "strategy", ScalingDecided("none", 0, "max_blocks is 2")),
)
LINES = tuple(
    Line(
        NOW - 100 + n,
        ("interchange", "provider", "block-1.0")[n % 3],
        f"2026-01-02 03:03:{n:02d},000 INFO actors.endpoint.shell: line {n}",
    )
    for n in range(30)
)


def _view(**fields: object) -> View:
    view = dataclasses.replace(
        View("/srv/lab", NOW),
        has_logs=True,
        **fields,  # type: ignore[arg-type]
    )
    alerts = find_alerts(view.connection, view.status, view.restarts, NOW)
    return dataclasses.replace(view, alerts=alerts)


UP = Connection(ConnectionState.CONNECTED, "", 100.0)


def normal() -> View:
    tasks = [task(n, "running", place=f"block-{1 + n % 2}.0") for n in range(1, 9)]
    tasks += [task(n, "success", place="block-1.0-w1") for n in range(9, 20)]
    tasks += [task(n, "waiting-for-nodes") for n in range(20, 40)]
    return _view(
        connection=UP,
        status=snapshot(
            (20, 0, 8, 4711, 3, 1),
            [block(1), block(2)],
            [manager(1), manager(2)],
            journal=JOURNAL,
            actors=LIVING,
        ),
        tasks=TaskList(tasks, False),
        latency=Latency(0.0123, 0.25, 40),
        history=history(30),
        events=(*JOINED, *LAUNCHED),
        decisions=LAUNCHED,
        services=SERVICES,
        lines=LINES,
    )


def empty() -> View:
    """An endpoint just started, with nothing to do."""
    return _view(
        connection=UP,
        status=snapshot((0,) * 6, [], []),
        tasks=TaskList([], is_cut=False),
    )


def busy() -> View:
    """More than fits on any screen."""
    many = range(1, 61)
    tasks = [task(n, "running", place=f"block-{1 + n % 60}.0") for n in range(1, 400)]
    tasks += [task(n, "waiting-for-nodes") for n in range(400, 1000)]
    return _view(
        connection=UP,
        status=snapshot(
            (98_765, 120, 240, 1_234_567, 12, 0),
            [block(n) for n in many],
            [manager(n) for n in many],
            journal=JOURNAL,
        ),
        tasks=TaskList(tasks, True),
        latency=Latency(12.5, 0.004, 90),
        history=history(25_000),
        events=JOINED * 100,
        decisions=LAUNCHED * 20,
        services=SERVICES,
        idle={f"block-{n}": 0.0 for n in many},
        lines=LINES * 100,
    )


def failing() -> View:
    """Everything that may go wrong, at once."""
    restarted = Moment(
        NOW - 30,
        "supervisor",
        ActorRestarted("provider", "exit code 1: ModuleNotFoundError: no slurm", 2),
    )
    failed = block(
        3,
        "failed",
        message="Node failure on node003",
        exit_code=137,
        stderr_tail="Traceback (most recent call last):\nMemoryError",
    )
    lost = Moment(
        NOW - 20,
        "interchange",
        MemberLeft("manager", "block-3.0", "block block-3 ended: failed", True),
    )
    ended = Moment(
        NOW - 10,
        "interchange",
        TaskEnded(TaskId("node-3f29ab04c1d2-4"), TaskState.FAILED, "ValueError\nx"),
    )
    tasks = [
        task(n, "failed", place="block-1.0-w2", message="ValueError") for n in range(9)
    ]
    return _view(
        connection=UP,
        status=snapshot(
            (40, 0, 0, 5, 90, 2),
            [block(1, is_held=True), block(2, is_draining=True), failed],
            [manager(1, "held"), manager(2, "away")],
            services=["supervisor", "provider"],
            journal=SLOW_DISK,
            actors=[
                hosted(3, "restarting", name="visits", incarnation=3),
                hosted(4, "waiting"),
                hosted(5, "dead", message="its process was killed by signal 9"),
            ],
        ),
        tasks=TaskList(tasks, False),
        history=history(1),
        events=(*JOINED, lost, ended, restarted),
        decisions=LAUNCHED,
        restarts=(restarted,),
        services=SERVICES[:1],
        lines=(
            *LINES[:3],
            Line(NOW, "provider", "2026-01-02 03:04:05,000 ERROR it broke \x1b[31m!"),
        ),
        missed=12,
    )


def disconnected() -> View:
    """What was known when the link was lost."""
    reason = "its process 100 is gone: `actors run /srv/lab` starts it"
    lost = Connection(ConnectionState.LOST, reason, 42.0)
    view = dataclasses.replace(normal(), connection=lost, services=())
    alerts = find_alerts(lost, view.status, view.restarts, NOW)
    return dataclasses.replace(view, alerts=alerts)


def huge(tasks: int, managers: int, shift: int = 0) -> View:
    """As many as the dashboard must bear; `shift` makes another moment of it."""
    view = busy()
    assert view.status is not None
    status = snapshot(
        (tasks, 0, 4 * managers, 0, 0, 0),
        [block(n) for n in range(managers)],
        [manager(n) for n in range(managers)],
    )
    listed = [task(n + shift, "waiting-for-nodes") for n in range(tasks)]
    return dataclasses.replace(view, status=status, tasks=TaskList(listed, True))


STATES = {
    "normal": normal,
    "empty": empty,
    "busy": busy,
    "failing": failing,
    "disconnected": disconnected,
}
