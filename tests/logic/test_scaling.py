"""Strategies decide by Parsl's rules to the letter, and never outside the bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.logic.scaling import Bounds, Demand, decide_none, decide_simple

LOTS = 10_000.0


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
    decision = decide_simple(Demand(tasks, active, idle), Bounds(*bounds))
    assert (decision.action, decision.count) == expected
    assert decision.reason


def test_idle_blocks_stay_until_max_idletime_has_passed() -> None:
    bounds = Bounds(0, 4, 2, max_idletime=120.0)
    assert decide_simple(Demand(0, 2, 119.9), bounds).action == "none"
    assert decide_simple(Demand(0, 2, 120.0), bounds).action == "retire"


def test_none_only_refills() -> None:
    bounds = Bounds(2, 4, 2)
    assert decide_none(Demand(0, 1, 0.0), bounds).count == 1
    assert decide_none(Demand(100, 2, 0.0), bounds).action == "none"
    assert decide_none(Demand(0, 4, LOTS), bounds).action == "none"


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
    decision = decide_simple(demand, bounds)
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
    decision = decide_simple(demand, bounds)
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
        decision = decide_simple(demand, bounds)
        if decision.action != "launch":
            return
        active = demand.active_blocks + decision.count
        demand = Demand(demand.tasks, active, demand.idle)
    # At most the refill comes first, and then what the tasks want.
    assert decide_simple(demand, bounds).action != "launch"
