"""Promise: the picture of an endpoint is plain, aligned text of at most 80 columns."""

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.cli.picture import draw
from actors.endpoint.pictures import (
    BlockPicture,
    ClientPicture,
    HostedPicture,
    ManagerPicture,
    Snapshot,
    WorkerPicture,
)
from actors.messages import BlockState, TaskState, TypeSlots

COUNTS = {state.label: 0 for state in TaskState if state >= 2}


def snapshot(
    *,
    name: str = "lab",
    uptime: float = 1.0,
    tasks: dict[str, int] = COUNTS,
    malformed: int = 0,
    services: tuple[str, ...] = ("supervisor", "strategy", "provider"),
    blocks: tuple[BlockPicture, ...] = (),
    managers: tuple[ManagerPicture, ...] = (),
    clients: tuple[ClientPicture, ...] = (),
) -> Snapshot:
    return Snapshot(
        name,
        "e1",
        uptime,
        tasks,
        0,
        malformed,
        list(services),
        list(blocks),
        list(managers),
        list(clients),
    )


def block(
    block_id: str = "block-1",
    state: BlockState = BlockState.RUNNING,
    *,
    is_held: bool = False,
    is_draining: bool = False,
    message: str = "",
    exit_code: int | None = None,
    stderr_tail: str = "",
    job_id: str = "17",
) -> BlockPicture:
    return BlockPicture(
        block_id,
        state.value,
        job_id,
        1,
        2,
        is_held,
        is_draining,
        message,
        exit_code,
        stderr_tail,
    )


def manager(
    *workers: WorkerPicture, silent: float = 0.0, host: str = "node1"
) -> ManagerPicture:
    return ManagerPicture(
        "block-1.0", "block-1", host, 9, "ready", 2, 8, 3, silent, list(workers)
    )


def test_an_endpoint_that_does_nothing() -> None:
    assert draw(snapshot(), 80).splitlines() == [
        "lab: up 1 s, all services there",
        "",
        "WAITING-FOR-NODES  WAITING-FOR-LAUNCH  RUNNING  SUCCESS  FAILED  CANCELLED",
        "                0                   0        0        0       0          0",
        "",
        "no blocks",
    ]


def test_an_endpoint_that_works() -> None:
    picture = snapshot(
        tasks={**COUNTS, "running": 1},
        blocks=(block(),),
        managers=(
            manager(
                WorkerPicture("block-1.0-w1", 17, "c-1", "fit", 3 << 20, 1.25),
                WorkerPicture("block-1.0-w2", 0, ""),
            ),
        ),
        clients=(ClientPicture("me", "node2", 5, True, 3, 0),),
    )
    assert draw(picture, 80).splitlines()[5:] == [
        "BLOCK    STATE    MANAGERS  TASKS  JOB",
        "block-1  running         1      2  17",
        "",
        "block-1.0 on node1, pid 9: ready, 3 tasks, 2 workers",
        "  WORKER        PID  MEMORY    CPU  RUNS",
        "  block-1.0-w1   17   3 MiB  1.2 s  c-1 fit",
        "  block-1.0-w2    -       -      -  -",
        "",
        "CLIENT  HOST   PID  STATE      UNFINISHED  UNREAD",
        "me      node2    5  connected           3       0",
    ]


def test_a_missing_service_and_bad_frames_stand_in_the_first_line() -> None:
    first = draw(snapshot(services=("provider",), malformed=3), 80).splitlines()[0]
    assert first == "lab: up 1 s, without supervisor and strategy, 3 malformed frames"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (86400 + 7200, "1 day 2 h"),
        (3 * 86400, "3 days 0 h"),
    ],
)
def test_uptime_is_told_in_units_that_matter(seconds: float, text: str) -> None:
    assert draw(snapshot(uptime=seconds), 80).startswith(f"lab: up {text},")


def test_a_quiesced_endpoint_says_so_at_once() -> None:
    quiesced = msgspec.structs.replace(snapshot(), is_quiesced=True)
    assert draw(quiesced, 80).splitlines()[1].startswith("quiesced: ")


def test_a_bad_state_is_told_first_with_what_the_batch_system_says() -> None:
    bad = msgspec.structs.replace(
        snapshot(), bad_state="nothing can run: " + "so " * 40, bad_state_detail="why"
    )
    lines = draw(bad, 80).splitlines()
    assert lines[1].startswith("BAD STATE: nothing can run: so so")
    assert max(map(len, lines)) <= 80
    assert "| why" in lines[2:5]


def test_ends_and_types_are_shown_where_there_are_any() -> None:
    replace = msgspec.structs.replace
    blocks = (
        replace(block(), time_left=125.0, worker_type="gpu"),
        replace(block("block-2"), time_left=None),
    )
    managers = (replace(manager(), time_left=125.0, types=[TypeSlots("gpu", 2, 1)]),)
    lines = draw(snapshot(blocks=blocks, managers=managers), 100).splitlines()[5:]
    assert lines[:3] == [
        "BLOCK    STATE    MANAGERS  TASKS  WALLTIME LEFT  TYPE  JOB",
        "block-1  running         1      2          2 min  gpu   17",
        "block-2  running         1      2              -  any   17",
    ]
    assert "walltime left 2 min, 2 of type gpu (1 free)" in lines[4]


def test_what_operators_did_to_a_block_is_seen() -> None:
    text = draw(snapshot(blocks=(block(is_held=True, is_draining=True),)), 80)
    assert "running, draining, on hold" in text


def test_a_failed_block_shows_its_last_words() -> None:
    failed = block(
        state=BlockState.FAILED,
        exit_code=127,
        message="Node 0 ended",
        stderr_tail="\n".join(f"line {i}" for i in range(9)),
    )
    lines = draw(snapshot(blocks=(failed, block("block-2"))), 80).splitlines()
    at = next(i for i, line in enumerate(lines) if "failed, exit 127" in line)
    assert lines[at + 1 :] == [
        "  Node 0 ended",
        *(f"  | line {i}" for i in range(4, 9)),
    ]


def test_only_the_newest_ended_blocks_are_shown_after_the_living() -> None:
    ended = [block(f"block-{i}", BlockState.COMPLETED) for i in range(1, 9)]
    lines = draw(snapshot(blocks=(*ended, block("block-9"))), 80).splitlines()
    names = [line.split()[0] for line in lines if line.startswith("block-")]
    assert names == ["block-9", *(f"block-{i}" for i in range(4, 9))]
    assert lines[-1] == "and 3 that ended before; see --json"


def test_a_silent_manager_is_marked() -> None:
    assert "not heard for 2 min" in draw(snapshot(managers=(manager(silent=125),)), 80)


def test_a_wide_screen_leaves_nothing_out() -> None:
    picture = snapshot(blocks=(block(job_id="x" * 100),))
    assert "x" * 100 in draw(picture, 200)
    narrow = draw(picture, 80)
    assert re.search(r"x{10,}\.\.\.x{10,}", narrow)


texts = st.text(max_size=120)


@settings(max_examples=60, deadline=None)
@given(texts, texts, texts, texts, st.integers(min_value=0, max_value=10**12))
def test_no_name_breaks_a_line_or_the_margin(
    name: str, host: str, tail: str, job: str, number: int
) -> None:
    worker = WorkerPicture(f"w{name}", number, job, name, number * 1000, number)
    picture = snapshot(
        name=name,
        uptime=number,
        tasks=dict.fromkeys(COUNTS, number),
        blocks=(
            block(name, BlockState.FAILED, message=host, stderr_tail=tail, job_id=job),
        ),
        managers=(manager(worker, host=host),),
        clients=(ClientPicture(name, host, number, False, number, number),),
    )
    text = draw(picture, 80)
    for line in text.split("\n"):
        assert len(line) <= 80
        assert line.isprintable()


def test_actors_are_told_with_their_state_home_and_handles() -> None:
    actor = HostedPicture(
        "h-1-a7", "Counter", "tally", "n", "alive", 2, "block-1.0", 3, 1, True
    )
    picture = draw(msgspec.structs.replace(snapshot(), actors=[actor]), 100)
    (line,) = [line for line in picture.splitlines() if "tally" in line]
    assert line.split() == [
        "Counter",
        "h-1-a7",
        "n/tally",
        "alive",
        "2",
        "block-1.0",
        "3",
        "detached",
    ]
