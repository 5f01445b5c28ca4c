"""A task runs only where it suits, and is told at once if that is nowhere."""

import math
from typing import Any

import pytest

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.logic.liveness import Tempo
from actors.logic.placement import COLD_PERIOD, PlacementRules
from actors.logic.turn import Turn
from actors.messages import (
    PLAIN_TYPE,
    Block,
    BlockId,
    BlocksHeld,
    BlocksReported,
    BlockState,
    Drain,
    Finished,
    Goodbye,
    Holding,
    Lease,
    LoadReported,
    Needs,
    Notice,
    Results,
    Returned,
    Stop,
    Submit,
    TaskId,
    TypeLoad,
)
from tests.endpoint.talk import (
    PYTHON,
    TOKEN,
    Talk,
    all_of,
    hello,
    manager_hello,
    only,
    outcome,
    sent_to,
    task,
)

CLIENT, STRATEGY = "client:c1", "strategy:strategy"
TYPES = frozenset({"gpu", "sim"})


class Desk(Talk):
    """An interchange with a client; blocks live for 100 s, the last 10 s in peace."""

    machine: Interchange

    def __init__(self, **rules: Any) -> None:
        ours: dict[str, Any] = {"walltime": 100.0, "end_margin": 10.0}
        settings = InterchangeSettings(
            "n",
            "e",
            TOKEN,
            PYTHON,
            Tempo(200.0, 800.0, 1.5),
            placement=PlacementRules(**{**ours, **rules}),
        )
        super().__init__(Interchange(settings, 100.0))
        self.admit(hello("client", "c1"))

    def manager(self, number: int = 1, *, slots: int = 1, **more: Any) -> Turn:
        block = f"block-{number}"
        return self.admit(manager_hello(f"m{number}", block, slots=slots, **more))

    def submit(
        self,
        *names: str,
        worker_type: str = "",
        walltime: float = 0.0,
        retries: int = 3,
    ) -> Turn:
        needs = Needs(worker_type, walltime) if worker_type or walltime else None
        tasks = [task(name, needs=needs, retries=retries) for name in names]
        return self.tell(Submit(tasks), CLIENT)

    def finish(self, number: int, *names: str) -> Turn:
        done = Finished([outcome(name) for name in names])
        return self.tell(done, f"manager:m{number}")


def leased(turn: Turn, number: int = 1) -> dict[str, str]:
    """Give what a manager got, as {task: worker type}."""
    leases = sent_to(turn, f"manager:m{number}", Lease)
    return {t.task_id: t.worker_type for lease in leases for t in lease.tasks}


def failed(turn: Turn) -> dict[str, str]:
    """Give what failed, as {task: why}."""
    outcomes = [o for r in sent_to(turn, CLIENT, Results) for o in r.outcomes]
    assert all(o.failure is not None for o in outcomes)
    return {o.task_id: o.failure.message for o in outcomes if o.failure}


def loads(turn: Turn) -> LoadReported:
    return all_of(turn.events, LoadReported)[-1]


# Walltime


def test_a_task_goes_only_to_a_block_that_lives_long_enough() -> None:
    desk = Desk()
    desk.manager(1, time_left=50.0, slots=2)
    turn = desk.submit("t1", walltime=41.0)
    assert not leased(turn)
    assert leased(desk.submit("t2", walltime=40.0)) == {"t2": ""}
    assert leased(desk.manager(2, time_left=90.0), 2) == {"t1": ""}


def test_time_that_goes_by_counts() -> None:
    desk = Desk()
    desk.manager(1, time_left=50.0)
    desk.live(5.0)
    assert not leased(desk.submit("t1", walltime=36.0))


def test_a_block_whose_end_nobody_knows_takes_any_walltime() -> None:
    desk = Desk(walltime=math.inf)
    desk.manager(1)
    assert leased(desk.submit("t1", walltime=1e6))


@pytest.mark.parametrize("walltime", [90.1, 1e9, math.inf, math.nan, -1.0])
def test_what_fits_in_no_block_fails_when_it_is_submitted(walltime: float) -> None:
    desk = Desk()
    desk.manager(1, time_left=99.0)
    why = failed(desk.submit("t1", walltime=walltime))["t1"]
    assert f"walltime {walltime:g} s fits in no block" in why
    assert "tasks may have 90 s of a block's life of 100 s" in why
    assert not desk.machine.ledger.entries


def test_what_fits_in_none_of_the_blocks_that_come_up_fails_then() -> None:
    """Starting up may take longer than the margin allows for."""
    desk = Desk()
    desk.submit("t1", "t2", walltime=80.0)
    desk.submit("t3", walltime=60.0)
    for number, left in ((1, 70.0), (2, 80.0)):
        turn = desk.manager(number, time_left=left)
        assert not failed(turn)
        # A second manager of a block is no other block.
        desk.admit(manager_hello(f"n{number}", f"block-{number}", time_left=left))
    turn = desk.manager(3, time_left=75.0)
    assert failed(turn).keys() == {"t1", "t2"}
    assert (
        "the last 3 had at most 70 s for tasks when they came up"
        in (failed(turn)["t1"])
    )
    assert failed(desk.submit("t4", walltime=71.0)), "and so do others at once"
    assert desk.machine.ledger.entries.keys() == {"t3"}


def test_a_block_near_its_end_drains_by_itself() -> None:
    desk = Desk()
    desk.admit(hello("strategy"))
    desk.manager(1, time_left=50.0, slots=2)
    desk.submit("t1", "t2", "t3")
    turn = desk.live(39.0)
    assert not sent_to(turn, "manager:m1", Drain)
    turn = desk.live(2.0)
    assert sent_to(turn, "manager:m1", Drain)
    block = BlockId("block-1")
    assert only(sent_to(turn, STRATEGY, BlocksHeld)) == BlocksHeld(
        [block], [block], [block], is_unasked=True
    )
    assert only(all_of(turn.events, Notice)).text == (
        "block block-1 drains: its time ends soon"
    )
    # What runs goes on; nothing more comes, not even without a walltime.
    turn = desk.finish(1, "t1")
    assert not leased(turn)
    assert not sent_to(turn, "manager:m1", Stop)
    assert sent_to(desk.finish(1, "t2"), "manager:m1", Stop)
    assert not sent_to(desk.live(30.0), "manager:m1", Drain)
    assert leased(desk.manager(2, time_left=90.0), 2) == {"t3": ""}


def test_a_manager_that_comes_in_when_its_block_ends_gets_nothing() -> None:
    desk = Desk()
    desk.submit("t1")
    desk.manager(1, time_left=3.0)
    turn = desk.live(0.1)
    assert sent_to(turn, "manager:m1", Drain)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_task_that_a_blocks_end_killed_is_started_on_another(is_told: bool) -> None:
    """It costs a start that `retries` allows, and not the user's patience."""
    desk = Desk()
    desk.manager(1, time_left=50.0)
    desk.submit("t1", retries=1)
    desk.live(42.0)
    if is_told:
        block = Block(BlockId("block-1"), BlockState.TIMEOUT, message="out of time")
        desk.admit(hello("provider"))
        turn = desk.tell(BlocksReported([block]), "provider:provider")
    else:
        turn = desk.tell(Goodbye("SIGTERM"), "manager:m1")
    assert not failed(turn)
    entry = desk.machine.ledger.entries[TaskId("t1")]
    assert (entry.lost_starts, entry.avoid) == (1, "block-1")


def test_a_task_without_starts_left_is_told_of_the_blocks_end() -> None:
    desk = Desk()
    desk.admit(hello("provider"))
    desk.manager(1, time_left=50.0)
    desk.submit("t1", retries=0)
    desk.live(42.0)
    block = Block(BlockId("block-1"), BlockState.TIMEOUT, message="out of time")
    turn = desk.tell(BlocksReported([block]), "provider:provider")
    assert (
        "whose block block-1 had come to the end of its time, was lost"
        in (failed(turn)["t1"])
    )


def test_the_strategy_hears_how_many_wait_for_a_longer_block() -> None:
    desk = Desk()
    desk.submit("t1", "t2", walltime=60.0)
    load = loads(desk.live(0.2))
    assert (load.waiting, load.too_long) == (2, 0), "no block is there to be too short"
    desk.manager(1, time_left=50.0)
    assert loads(desk.live(0.2)).too_long == 2


# Types


def test_a_task_keeps_its_type_through_every_attempt() -> None:
    desk = Desk(worker_types=TYPES)
    desk.manager(1, slots=2)
    assert leased(desk.submit("g1", worker_type="gpu")) == {"g1": "gpu"}
    turn = desk.tell(Returned([Holding(TaskId("g1"), 1)]), "manager:m1")
    assert leased(turn) == {"g1": "gpu"}


def test_what_is_left_waiting_is_looked_at_again_without_any_message() -> None:
    desk = Desk(worker_types=TYPES)
    desk.manager(1, slots=2, time_left=90.0)
    desk.submit("g1", worker_type="gpu")
    assert not leased(desk.submit("s1", worker_type="sim"))
    assert leased(desk.live(COLD_PERIOD + 0.1)) == {"s1": "sim"}


def test_hard_types_are_told_to_the_strategy_with_their_blocks() -> None:
    desk = Desk(worker_types=TYPES, is_hard=True)
    desk.manager(1, worker_type="gpu")
    desk.manager(2, worker_type=PLAIN_TYPE)
    desk.manager(3)
    desk.submit("g1", "g2", worker_type="gpu")
    desk.submit("p1")
    load = loads(desk.live(0.2))
    assert load.types == [TypeLoad(PLAIN_TYPE, 0, 1), TypeLoad("gpu", 0, 2)]
    types = {block.block_id: block.worker_type for block in load.blocks}
    assert types == {"block-1": "gpu", "block-2": PLAIN_TYPE, "block-3": "gpu"}


def test_soft_types_are_no_business_of_the_strategy() -> None:
    desk = Desk(worker_types=TYPES)
    desk.manager(1, worker_type="gpu")
    desk.submit("g1", worker_type="gpu")
    assert loads(desk.live(0.2)).types == []


# After a restart


def restarted(desk: Desk, **rules: Any) -> Desk:
    """Start an interchange anew, from its records."""
    successor = Desk.__new__(Desk)
    settings = InterchangeSettings(
        "n",
        "e2",
        TOKEN,
        PYTHON,
        Tempo(200.0, 800.0, 1.5),
        placement=PlacementRules(**rules),
    )
    Talk.__init__(successor, Interchange(settings, desk.now), desk.now)
    records = [record for some in desk.machine.snapshot() for record in some]
    successor.machine.restore(records, desk.now)
    successor.machine.check()
    return successor


def test_tasks_keep_their_needs_and_order_across_a_restart() -> None:
    desk = Desk(worker_types=TYPES)
    desk.submit("g1", worker_type="gpu")
    desk.submit("p1")
    desk.submit("w1", walltime=20.0)
    desk = restarted(desk, worker_types=TYPES)
    desk.admit(hello("client", "c1"))
    desk.live(0.1)
    turn = desk.manager(1, slots=3)
    assert leased(turn) == {"p1": "", "w1": "", "g1": "gpu"}


def test_a_type_that_is_configured_no_more_fails_its_tasks() -> None:
    desk = Desk(worker_types=TYPES)
    desk.submit("g1", worker_type="gpu")
    desk.submit("s1", worker_type="sim")
    desk = restarted(desk, worker_types=frozenset({"sim"}))
    desk.live(0.1)
    turn = desk.admit(hello("client", "c1"))
    assert failed(turn).keys() == {"g1"}
    assert desk.machine.ledger.entries.keys() == {"s1"}


def test_a_manager_that_comes_back_has_its_typed_leases() -> None:
    desk = Desk(worker_types=TYPES)
    desk.manager(1, slots=2)
    desk.submit("g1", worker_type="gpu")
    desk = restarted(desk, worker_types=TYPES)
    desk.admit(hello("client", "c1"))
    desk.manager(1, slots=2, held=[("g1", 1)])
    manager = only(list(desk.machine.fleet.managers.values()))
    assert manager.typed == {"gpu": 1}
    desk.finish(1, "g1")
    assert manager.typed == {}
