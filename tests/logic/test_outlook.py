"""Reports of blocks and of load become one demand, whichever comes first or is old."""

import pytest

from actors.logic.outlook import STALE_LOAD, Outlook
from actors.logic.scaling import Demand
from actors.messages import (
    Block,
    BlockId,
    BlockLoad,
    BlockState,
    LaunchBlocks,
    LoadReported,
    TypeLoad,
)

B1, B2, B3 = BlockId("block-1"), BlockId("block-2"), BlockId("block-3")
IDLE = 20.0


@pytest.fixture
def outlook() -> Outlook:
    """Two running blocks, of which one has managers, and one that ended."""
    outlook = Outlook(IDLE, 0.0)
    outlook.note_blocks(
        [
            Block(B1, BlockState.RUNNING, worker_type="gpu"),
            Block(B2, BlockState.RUNNING),
            Block(B3, BlockState.FAILED),
        ]
    )
    return outlook


def load(
    waiting: int, leased: int, *blocks: BlockLoad, types: list[TypeLoad] | None = None
) -> LoadReported:
    return LoadReported(waiting, leased, 0, list(blocks), types=types or [])


def demand(outlook: Outlook, now: float) -> Demand:
    return outlook.demands((), (), -100.0, now)[""]


def test_a_block_is_pending_until_a_manager_joins_whatever_its_job_says(
    outlook: Outlook,
) -> None:
    outlook.note_load(load(3, 1, BlockLoad(B1, 1, 2, 1, 0.0, False)), 5.0)
    assert demand(outlook, 5.0) == Demand(4, 2, 0.0, 3, 1, 0, 0, 105.0)


def test_ordered_blocks_count_and_leaving_ones_do_not(outlook: Outlook) -> None:
    order = LaunchBlocks("i-1", 3, "why")
    demands = outlook.demands({B1}, [order], 0.0, 5.0)
    assert (demands[""].active_blocks, demands[""].pending_blocks) == (4, 4)


def test_a_block_is_idle_by_what_its_managers_say_and_the_time_since(
    outlook: Outlook,
) -> None:
    outlook.note_load(load(1, 0, BlockLoad(B1, 1, 2, 0, IDLE - 1, False)), 5.0)
    assert demand(outlook, 5.9).idle_blocks == 0
    assert demand(outlook, 6.0).idle_blocks == 1


def test_a_block_to_come_is_idle_for_as_long_as_no_task_waits(outlook: Outlook) -> None:
    busy = BlockLoad(B1, 1, 2, 1, 0.0, False)
    outlook.note_load(load(1, 1, busy), 5.0)
    outlook.note_load(load(0, 1, busy), 6.0)
    assert demand(outlook, 6.0 + IDLE - 0.1).idle_blocks == 0
    assert demand(outlook, 6.0 + IDLE).idle_blocks == 1
    outlook.note_load(load(1, 1, busy), 6.0 + IDLE)
    assert demand(outlook, 6.0 + IDLE).idle_blocks == 0


def test_a_block_to_come_is_spare_if_it_was_launched_for_the_tasks(
    outlook: Outlook,
) -> None:
    outlook.note_blocks(
        [
            Block(B1, BlockState.RUNNING, launch_id="i-1"),
            Block(B2, BlockState.RUNNING, launch_id="i-2"),
            Block(B3, BlockState.PENDING, launch_id="i-2"),
        ]
    )
    outlook.elastic.add("i-2")
    outlook.note_load(load(1, 1, BlockLoad(B2, 1, 2, 1, 0.0, False)), 5.0)
    assert demand(outlook, 5.0).spare_blocks == 1


def test_how_much_there_was_to_do_at_the_last_stop_is_remembered(
    outlook: Outlook,
) -> None:
    outlook.note_load(load(1, 2), 5.0)
    outlook.note_stop(6.0)
    outlook.note_load(load(4, 2), 7.0)
    seen = demand(outlook, 8.0)
    assert (seen.since_stop, seen.tasks_at_stop) == (2.0, 3)


def test_what_was_so_at_the_last_report_was_so_until_the_next(outlook: Outlook) -> None:
    """An interchange that was away for long must not make us end what it needs."""
    outlook.note_load(load(0, 1), 5.0)
    outlook.note_load(load(0, 0), 100.0)
    assert demand(outlook, 101.0).idle == 1.0


def test_an_old_load_is_called_so(outlook: Outlook) -> None:
    assert outlook.is_stale(0.0)
    outlook.note_load(load(0, 0), 5.0)
    assert not outlook.is_stale(5.0 + STALE_LOAD)
    assert outlook.is_stale(5.1 + STALE_LOAD)


def test_with_types_each_has_its_own_tasks_blocks_and_idle_time(
    outlook: Outlook,
) -> None:
    types = [TypeLoad("gpu", 0, 0), TypeLoad("cpu", 5, 0)]
    outlook.note_load(load(5, 0, types=types), 5.0)
    order = LaunchBlocks("i-1", 1, "why", "cpu")
    demands = outlook.demands((), [order], 5.0, 15.0)
    assert demands["gpu"] == Demand(0, 1, 15.0, 0, 1, 0, since_start=10.0)
    # The block of no type counts for the one that lacks slots.
    assert demands["cpu"] == Demand(5, 2, 0.0, 5, 2, 0, since_start=10.0)
    assert demands[""].active_blocks == 0


def test_a_block_of_no_type_counts_for_whom_it_is_needed_by(
    outlook: Outlook,
) -> None:
    types = [TypeLoad("gpu", 4, 0), TypeLoad("cpu", 9, 0)]
    outlook.note_load(load(13, 0, types=types), 5.0)
    orders = [LaunchBlocks("i-1", 2, "why")]
    demands = outlook.demands((), orders, 5.0, 15.0, slots_per_block=4)
    active = {name: demand.active_blocks for name, demand in demands.items()}
    assert active == {"gpu": 1, "cpu": 3, "": 0}
    outlook.note_load(load(1, 0, types=[TypeLoad("gpu", 4, 0)]), 6.0)
    demands = outlook.demands((), orders, 5.0, 15.0, slots_per_block=4)
    active = {name: demand.active_blocks for name, demand in demands.items()}
    assert active == {"gpu": 1, "": 3}, "nobody needs them"


def test_a_block_is_of_the_type_that_it_has_taken(outlook: Outlook) -> None:
    taken = BlockLoad(B2, 1, 2, 1, 0.0, False, "cpu")
    outlook.note_load(load(0, 1, taken, types=[TypeLoad("gpu", 1, 0)]), 5.0)
    demands = outlook.demands((), (), 5.0, 15.0)
    assert {name: d.active_blocks for name, d in demands.items()} == {
        "gpu": 1,
        "cpu": 1,
    }
    assert outlook.is_of(outlook.blocks[B2], "cpu")


def test_tasks_that_are_too_long_are_those_of_whom_most_wait(outlook: Outlook) -> None:
    told = LoadReported(5, 0, 0, [], too_long=2)
    outlook.note_load(told, 5.0)
    assert demand(outlook, 5.0).too_long == 2
    types = [TypeLoad("gpu", 1, 3), TypeLoad("cpu", 4, 0)]
    outlook.note_load(LoadReported(5, 3, 0, [], types=types, too_long=2), 6.0)
    demands = outlook.demands((), (), 5.0, 15.0)
    assert (demands["gpu"].too_long, demands["cpu"].too_long) == (0, 2)
