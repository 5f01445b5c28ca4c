"""Strategies decide by Parsl's rules to the letter, and never outside the bounds."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.logic.scaling import (
    Bounds,
    Decision,
    Demand,
    StrategyKind,
    decide,
    decide_each,
)

LOTS = 10_000.0
KINDS: tuple[StrategyKind, ...] = ("none", "simple", "auto", "staged")


@pytest.mark.parametrize(
    ("tasks", "active", "bounds", "expected"),
    [
        # bounds: (min, max, slots per block, parallelism)
        # No tasks, no more blocks than the least: nothing.
        (0, 0, (0, 4, 2, 1.0), ("none", 0)),
        (0, 1, (1, 4, 2, 1.0), ("none", 0)),
        # No tasks and more blocks than the least, for long: down to the least.
        (0, 3, (0, 4, 2, 1.0), ("retire", 3)),
        (0, 3, (1, 4, 2, 1.0), ("retire", 2)),
        # Fewer than the least, tasks or not: refilled (ours, not Parsl's).
        (0, 0, (2, 4, 2, 1.0), ("launch", 2)),
        (9, 1, (2, 4, 2, 1.0), ("launch", 1)),
        # slots / tasks < parallelism: min(ceil(ceil(excess) / slots per block), room).
        (1, 0, (0, 4, 2, 1.0), ("launch", 1)),
        (3, 0, (0, 4, 2, 1.0), ("launch", 2)),
        (3, 1, (0, 4, 2, 1.0), ("launch", 1)),
        (100, 1, (0, 4, 2, 1.0), ("launch", 3)),
        (100, 4, (0, 4, 2, 1.0), ("none", 0)),
        (5, 0, (0, 9, 1, 0.5), ("launch", 3)),
        (4, 0, (0, 9, 4, 0.5), ("launch", 1)),
        (10, 1, (0, 9, 2, 0.5), ("launch", 2)),
        (11, 1, (0, 9, 2, 0.5), ("launch", 2)),
        (13, 1, (0, 9, 2, 0.5), ("launch", 3)),
        # Enough slots: nothing, whatever the idle time.
        (2, 1, (0, 4, 2, 1.0), ("none", 0)),
        (1, 4, (0, 4, 2, 1.0), ("none", 0)),
        (4, 1, (0, 4, 2, 0.5), ("none", 0)),
        # parallelism 0: one block when there is none, and no more.
        (100, 0, (0, 4, 2, 0.0), ("launch", 1)),
        (100, 1, (0, 4, 2, 0.0), ("none", 0)),
        # No block allowed.
        (100, 0, (0, 0, 2, 0.0), ("none", 0)),
        (100, 0, (0, 0, 2, 1.0), ("none", 0)),
        # An operator may have launched more than the most.
        (100, 6, (0, 4, 2, 1.0), ("none", 0)),
    ],
)
def test_simple_does_what_parsls_does(
    tasks: int,
    active: int,
    bounds: tuple[int, int, int, float],
    expected: tuple[str, int],
) -> None:
    idle = 0.0 if tasks else LOTS
    decision = decide("simple", Demand(tasks, active, idle), Bounds(*bounds))
    assert (decision.action, decision.count) == expected
    assert decision.reason


def test_idle_blocks_stay_until_max_idletime_has_passed() -> None:
    bounds = Bounds(0, 4, 2, max_idletime=120.0)
    assert decide("simple", Demand(0, 2, 119.9), bounds).action == "none"
    assert decide("simple", Demand(0, 2, 120.0), bounds).action == "retire"


def test_none_only_refills() -> None:
    bounds = Bounds(2, 4, 2)
    assert decide("none", Demand(0, 1, 0.0), bounds).count == 1
    assert decide("none", Demand(100, 2, 0.0), bounds).action == "none"
    assert decide("none", Demand(0, 4, LOTS), bounds).action == "none"


def auto(tasks: int, active: int, idle_blocks: int, **bounds: Any) -> tuple[str, int]:
    given_bounds = {"min_blocks": 0, "max_blocks": 4, "slots_per_block": 2, **bounds}
    demand = Demand(tasks, active, 0.0, idle_blocks=idle_blocks)
    decision = decide("auto", demand, Bounds(**given_bounds))
    assert (decision.who == "idle") == (decision.action == "retire")
    return decision.action, decision.count


@pytest.mark.parametrize(
    ("tasks", "active", "idle", "bounds", "expected"),
    [
        # min(floor(floor(slots - tasks * parallelism) / slots per block), active - min)
        (1, 4, 4, {}, ("retire", 3)),
        (2, 4, 4, {}, ("retire", 3)),
        (3, 4, 4, {}, ("retire", 2)),
        (7, 4, 4, {}, ("none", 0)),
        (3, 4, 4, {"parallelism": 0.5}, ("retire", 3)),
        (3, 4, 4, {"min_blocks": 3}, ("retire", 1)),
        # Only such as were idle for long.
        (1, 4, 0, {}, ("none", 0)),
        (1, 4, 1, {}, ("retire", 1)),
        # The last one stays while there are tasks; Parsl's would go and come again.
        (3, 1, 1, {"parallelism": 0.0}, ("none", 0)),
        (3, 4, 4, {"parallelism": 0.0}, ("retire", 3)),
        # Not more slots than tasks: as with `simple`.
        (9, 4, 4, {}, ("none", 0)),
        (8, 4, 4, {"parallelism": 0.5}, ("none", 0)),
        (9, 1, 0, {}, ("launch", 3)),
    ],
)
def test_auto_retires_idle_blocks_while_others_work(
    tasks: int, active: int, idle: int, bounds: Any, expected: tuple[str, int]
) -> None:
    assert auto(tasks, active, idle, **bounds) == expected


def test_without_tasks_auto_is_simple_but_takes_one_by_one() -> None:
    bounds = Bounds(1, 4, 2, max_idletime=120.0)
    for idle in (119.9, 120.0):
        demand = Demand(0, 3, idle)
        assert decide("auto", demand, bounds) == decide("simple", demand, bounds)
    decision = decide("auto", Demand(0, 3, 60.0, idle_blocks=1), bounds)
    assert (decision.action, decision.count, decision.who) == ("retire", 1, "idle")


def test_auto_does_without_blocks_that_have_not_come_up_yet() -> None:
    demand = Demand(3, 4, 0.0, pending_blocks=3, spare_blocks=3)
    decision = decide("auto", demand, Bounds(0, 4, 2))
    assert (decision.action, decision.count) == ("retire", 2)
    assert decision.who == "idle or spare"
    # An operator, or init_blocks, wanted them.
    assert decide("auto", replace(demand, spare_blocks=0), Bounds(0, 4, 2)).count == 0
    # Without tasks they have their time, as with `simple`.
    calm = replace(demand, tasks=0, idle=1.0)
    assert decide("auto", calm, Bounds(0, 4, 2)).action == "none"


@pytest.mark.parametrize(
    ("tasks", "active", "since", "expected"),
    [
        # Blocks of two slots were ended when there were four tasks.
        (5, 2, 10.0, "none"),
        (6, 2, 10.0, "launch"),
        (5, 2, 120.0, "launch"),
        # With no block at all nothing would run.
        (1, 0, 10.0, "launch"),
    ],
)
def test_auto_starts_nothing_soon_after_a_stop_unless_there_is_more_to_do(
    tasks: int, active: int, since: float, expected: str
) -> None:
    demand = Demand(tasks, active, 0.0, since_stop=since, tasks_at_stop=4)
    assert decide("auto", demand, Bounds(0, 4, 2)).action == expected


@pytest.mark.parametrize(
    ("waiting", "active", "pending", "since", "expected"),
    [
        # bounds: from 1 to 4 blocks, a start a minute
        (0, 1, 0, LOTS, ("none", 0)),
        (3, 1, 0, LOTS, ("launch", 1)),
        # The vetoes
        (3, 2, 0, 59.9, ("none", 0)),
        (3, 2, 0, 60.0, ("launch", 1)),
        (3, 3, 2, LOTS, ("launch", 1)),
        (2, 3, 2, LOTS, ("none", 0)),
        (9, 4, 0, LOTS, ("none", 0)),
        # Fewer than the least: whatever speaks against it, one at a tick.
        (0, 0, 0, 0.0, ("launch", 1)),
        (9, 0, 0, 0.0, ("launch", 1)),
    ],
)
def test_staged_starts_one_at_a_time_as_codalabs_does(
    waiting: int,
    active: int,
    pending: int,
    since: float,
    expected: tuple[str, int],
) -> None:
    demand = Demand(
        waiting, active, 0.0, waiting, pending, active - pending, since_start=since
    )
    decision = decide("staged", demand, Bounds(1, 4, 2))
    assert (decision.action, decision.count) == expected
    assert decision.reason


def test_staged_refills_one_at_a_tick() -> None:
    assert decide("staged", Demand(0, 1, 0.0), Bounds(3, 4, 2)).count == 1


def test_staged_ends_idle_blocks_only_while_nothing_waits() -> None:
    bounds = Bounds(1, 4, 2)
    quiet = Demand(5, 3, 0.0, waiting=0, idle_blocks=3)
    decision = decide("staged", quiet, bounds)
    assert (decision.action, decision.count, decision.who) == ("retire", 2, "idle")
    waits = replace(quiet, waiting=1, since_start=0.0)
    assert decide("staged", waits, bounds).action == "none"


# By worker type


def each(
    kind: StrategyKind, bounds: Bounds, **demands: Demand
) -> dict[str, tuple[str, int]]:
    return {
        decision.worker_type: (decision.action, decision.count)
        for decision in decide_each(kind, demands, bounds)
    }


def test_each_type_grows_by_its_own_tasks_as_far_as_there_is_room() -> None:
    decided = each(
        "simple", Bounds(0, 4, 2), cpu=Demand(2, 1, 0.0), gpu=Demand(9, 1, 0.0)
    )
    assert decided == {"cpu": ("none", 0), "gpu": ("launch", 2)}
    # The first one comes first.
    decided = each(
        "simple", Bounds(0, 4, 2), cpu=Demand(9, 1, 0.0), gpu=Demand(9, 1, 0.0)
    )
    assert decided == {"cpu": ("launch", 2), "gpu": ("none", 0)}


def test_blocks_of_a_type_stay_while_it_has_tasks_and_go_without() -> None:
    bounds = Bounds(0, 9, 2)
    busy = Demand(1, 3, 0.0, idle_blocks=2)
    gone = Demand(0, 3, LOTS, idle_blocks=3)
    assert each("auto", bounds, cpu=busy, gpu=gone) == {
        "cpu": ("none", 0),
        "gpu": ("retire", 3),
    }


def test_all_types_together_keep_the_least() -> None:
    gone = Demand(0, 2, LOTS, idle_blocks=2)
    decided = each("simple", Bounds(3, 9, 2), cpu=gone, gpu=gone)
    assert decided == {"cpu": ("retire", 1), "gpu": ("none", 0)}


def test_a_type_that_waits_in_vain_gets_the_place_of_one_that_nobody_needs() -> None:
    """Even where that leaves fewer than `min_blocks` for a moment."""
    gone = Demand(0, 2, LOTS, idle_blocks=2)
    stuck = Demand(3, 0, 0.0, waiting=3)
    for kind in ("simple", "auto", "staged"):
        decided = each(kind, Bounds(2, 2, 2), cpu=gone, gpu=stuck)
        assert decided == {"cpu": ("retire", 2), "gpu": ("none", 0)}, kind
        # One that has a block of its own has to make do with it.
        served = Demand(3, 1, 0.0, waiting=3)
        decided = each(kind, Bounds(3, 3, 2), cpu=gone, gpu=served)
        assert decided["cpu"] == ("none", 0), kind


@pytest.mark.parametrize("kind", ["simple", "auto"])
def test_tasks_that_no_block_lives_long_enough_for_get_a_new_one(
    kind: StrategyKind,
) -> None:
    """Though there are slots enough, and some of them idle."""
    bounds = Bounds(0, 4, 2)
    idle = Demand(3, 2, 0.0, waiting=3, idle_blocks=2, too_long=3)
    assert _short(decide(kind, idle, bounds)) == ("launch", 2)
    to_come = Demand(3, 4, 0.0, waiting=3, pending_blocks=2, spare_blocks=2, too_long=3)
    assert _short(decide(kind, to_come, bounds)) == ("none", 0)
    full = Demand(3, 4, 0.0, waiting=3, idle_blocks=4, too_long=3)
    decision = decide(kind, full, bounds)
    assert _short(decision) == ("none", 0)
    assert decision.reason == (
        "3 tasks wait for a block that lives long enough, but max_blocks is 4"
    )
    none = Demand(3, 2, 0.0, waiting=3, too_long=3)
    assert _short(decide(kind, none, Bounds(0, 4, 2, 0.0))) == ("launch", 1)


def _short(decision: Decision) -> tuple[str, int]:
    return decision.action, decision.count


def test_what_is_missing_to_the_least_goes_to_the_type_that_waits() -> None:
    decided = each(
        "simple",
        Bounds(3, 9, 2),
        cpu=Demand(1, 1, 0.0),
        gpu=Demand(5, 0, 0.0, waiting=5),
    )
    assert decided == {"gpu": ("launch", 2)}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4)), max_size=4))
def test_types_together_never_leave_the_bounds(given: list[tuple[int, int]]) -> None:
    bounds = Bounds(2, 8, 2)
    demands = {
        f"type-{number}": Demand(tasks, active, 0.0 if tasks else LOTS)
        for number, (tasks, active) in enumerate(given)
    }
    active = sum(demand.active_blocks for demand in demands.values())
    for kind in KINDS:
        after = active
        for decision in decide_each(kind, demands, bounds):
            sign = {"launch": 1, "retire": -1, "none": 0}[decision.action]
            after += sign * decision.count
        assert min(active, 2) <= after <= max(active, 8)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Demand, Bounds]:
    least = draw(st.integers(0, 5))
    bounds = Bounds(
        least,
        draw(st.integers(least, 10)),
        draw(st.integers(1, 64)),
        draw(st.floats(0, 1)),
        draw(st.floats(0, 300)),
    )
    tasks = draw(st.integers(0, 1000))
    idle = 0.0 if tasks else draw(st.floats(0, 600))
    return Demand(tasks, draw(st.integers(0, 12)), idle), bounds


@given(cases())
def test_no_decision_leaves_the_bounds(case: tuple[Demand, Bounds]) -> None:
    demand, bounds = case
    decision = decide("simple", demand, bounds)
    match decision.action:
        case "launch":
            assert decision.count >= 1
            assert demand.active_blocks + decision.count <= bounds.max_blocks
        case "retire":
            assert demand.tasks == 0
            assert demand.idle >= bounds.max_idletime
            assert demand.active_blocks - decision.count == bounds.min_blocks
        case "none":
            assert decision.count == 0
            assert demand.active_blocks >= bounds.min_blocks


@given(cases())
def test_launches_are_needed_and_no_larger_than_needed(
    case: tuple[Demand, Bounds],
) -> None:
    demand, bounds = case
    decision = decide("simple", demand, bounds)
    slots = demand.active_blocks * bounds.slots_per_block
    is_refill = demand.active_blocks < bounds.min_blocks
    if demand.tasks and slots and slots / demand.tasks >= bounds.parallelism:
        assert decision.action != "launch" or is_refill
    if decision.action == "launch" and not is_refill and slots:
        wanted = math.ceil(demand.tasks * bounds.parallelism - slots)
        assert (decision.count - 1) * bounds.slots_per_block < wanted


@given(cases())
def test_deciding_again_after_a_launch_launches_nothing_more(
    case: tuple[Demand, Bounds],
) -> None:
    """Ordered blocks count: an impatient strategy must not order them twice."""
    demand, bounds = case
    for _ in range(2):
        decision = decide("simple", demand, bounds)
        if decision.action != "launch":
            return
        active = demand.active_blocks + decision.count
        demand = Demand(demand.tasks, active, demand.idle)
    # At most the refill comes first, and then what the tasks want.
    assert decide("simple", demand, bounds).action != "launch"


@given(cases(), st.integers(1, 12))
def test_what_auto_retires_it_does_not_launch_again(
    case: tuple[Demand, Bounds], idle_blocks: int
) -> None:
    """No flapping: at the same demand the next decision is to leave it at that."""
    demand, bounds = case
    demand = replace(demand, idle_blocks=min(idle_blocks, demand.active_blocks))
    decision = decide("auto", demand, bounds)
    if decision.action == "retire":
        left = demand.active_blocks - decision.count
        assert left >= bounds.min_blocks
        assert left >= 1 or not demand.tasks
        after = decide("auto", replace(demand, active_blocks=left), bounds)
        assert after.action != "launch"
