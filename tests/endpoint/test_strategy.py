"""The strategy orders what the rules want, once, and kills no busy block."""

import random
from typing import Any

import pytest

from actors.endpoint.strategy import (
    FAILURE_PAUSE,
    Strategy,
    StrategySettings,
)
from actors.logic.outlook import STALE_LOAD
from actors.logic.scaling import Bounds, StrategyKind
from actors.logic.turn import Answered, Exit, Knock, LinkClosed, Quit, Turn
from actors.messages import (
    Block,
    BlockId,
    BlockLoad,
    BlocksHeld,
    BlocksReported,
    BlockState,
    CancelBlocks,
    Goodbye,
    Heartbeat,
    LaunchBlocks,
    LoadReported,
    Published,
    Relay,
    RetireBlocks,
    ScaleTo,
    ScalingDecided,
    TypeLoad,
)
from tests.endpoint.talk import (
    PYTHON,
    TOKEN,
    Talk,
    all_of,
    hello,
    only,
    sent_to,
    welcome,
)

INTERCHANGE, PROVIDER = "interchange", "provider"
B1, B2, B3 = BlockId("block-1"), BlockId("block-2"), BlockId("block-3")
Given = tuple[BlockId, BlockState]
DRAIN_TIMEOUT = 17.0  # not the default


class Desk(Talk):
    """A strategy to talk with; it is in at both doors."""

    machine: Strategy

    def __init__(
        self,
        kind: StrategyKind = "simple",
        bounds: Bounds = Bounds(0, 4, 2, 1.0, 20.0),
        init_blocks: int = 0,
        **more: Any,
    ) -> None:
        more = {"drain_timeout": DRAIN_TIMEOUT, **more}
        settings = StrategySettings(
            kind, bounds, init_blocks, 5.0, "i", TOKEN, PYTHON, **more
        )
        super().__init__(Strategy(settings, random.Random(0), 100.0))
        self.launched: list[str] = []  # launch ids that were reported back
        knocks = all_of(self.wait(0.0).effects, Knock)
        assert [knock.door for knock in knocks] == [INTERCHANGE, PROVIDER]
        self.tell(Answered(INTERCHANGE, welcome()))
        self.tell(Answered(PROVIDER, welcome()))
        self.tell(Heartbeat(), INTERCHANGE)
        self.tell(Heartbeat(), PROVIDER)

    def enter_provider(self) -> Turn:
        turn = self.enter(PROVIDER)
        self.tell(Heartbeat(), PROVIDER)
        return turn

    def blocks(self, *given: Given, launch_id: str = "i-0", **more: Any) -> Turn:
        blocks = [Block(b, state, launch_id=launch_id, **more) for b, state in given]
        return self.tell(BlocksReported(blocks, list(self.launched)), PROVIDER)

    def load(
        self,
        waiting: int = 0,
        leased: int = 0,
        blocks: dict[BlockId, tuple[int, float]] | None = None,
        types: list[TypeLoad] | None = None,
        *,
        is_quiesced: bool = False,
        bad_state: str = "",
    ) -> Turn:
        """Tell the load; blocks are {id: (leases, idle)} with a manager each."""
        loads = [
            BlockLoad(block_id, 1, 2, leases, idle, False)
            for block_id, (leases, idle) in (blocks or {}).items()
        ]
        load = LoadReported(
            waiting, leased, 0, loads, is_quiesced, types or [], bad_state
        )
        return self.tell(Published("e", 1, 0.0, INTERCHANGE, load), "events")

    def stay(self, seconds: float, **load: Any) -> Turn:
        """Let time pass while load and links stay as they are."""
        whole = Turn()
        for _ in range(round(seconds)):
            self.tell(Heartbeat(), INTERCHANGE)
            self.tell(Heartbeat(), PROVIDER)
            self.load(**load)
            part = self.live(1.0)
            whole.sends += part.sends
        return whole


def orders(turn: Turn) -> list[LaunchBlocks]:
    return sent_to(turn, PROVIDER, LaunchBlocks)


def retired(turn: Turn) -> list[RetireBlocks]:
    return sent_to(turn, INTERCHANGE, RetireBlocks)


def told(turn: Turn) -> list[ScalingDecided]:
    return [
        event
        for relay in sent_to(turn, INTERCHANGE, Relay)
        for event in relay.events
        if isinstance(event, ScalingDecided)
    ]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def idle() -> Desk:
    """A strategy whose two running blocks are idle for so long that it retires them."""
    desk = Desk()
    desk.blocks((B1, BlockState.RUNNING), (B2, BlockState.RUNNING))
    desk.load(blocks={B1: (0, 1.0), B2: (0, 2.0)})
    return desk


def asked(idle: Desk) -> Desk:
    turn = idle.stay(26, blocks={B1: (0, 1.0), B2: (0, 2.0)})
    assert only(retired(turn)).block_ids == [B2, B1], "the longest idle first"
    return idle


def test_it_refuses_everybody_at_its_door(desk: Desk) -> None:
    assert not desk.ask(hello("client", "c1"))[0].peer


# Launching


def test_nothing_is_decided_before_the_blocks_are_known(desk: Desk) -> None:
    turn = desk.stay(20, waiting=9)
    assert not orders(turn)
    assert desk.machine.last_decision.reason == "the provider has not reported yet"


def test_tasks_without_slots_are_answered_at_once(desk: Desk) -> None:
    desk.blocks()
    desk.stay(7)
    desk.load(waiting=3)
    turn = desk.live(0.1)
    order = only(orders(turn))
    assert (order.count, order.launch_id) == (2, "i-1")
    decided = only(told(turn))
    assert (decided.action, decided.count) == ("launch", 2)
    assert "0 slots / 3 tasks is below parallelism 1" in decided.reason


def test_no_block_is_started_for_what_shall_not_run(desk: Desk) -> None:
    desk.blocks()
    assert not orders(desk.load(waiting=5, is_quiesced=True))
    assert not orders(desk.stay(12, waiting=5, is_quiesced=True))
    desk.load(waiting=5)
    assert orders(desk.wait(0.0))


def test_ordered_blocks_count_before_they_are_reported(desk: Desk) -> None:
    desk.blocks()
    desk.load(waiting=3)
    assert orders(desk.live(0.1))
    assert not orders(desk.stay(20, waiting=3))
    assert orders(desk.stay(6, waiting=5))


def test_an_order_is_repeated_until_it_is_reported(desk: Desk) -> None:
    desk.blocks()
    desk.load(waiting=3)
    order = only(orders(desk.live(0.1)))
    desk.tell(LinkClosed(PROVIDER))
    assert orders(desk.enter_provider()) == [order]
    desk.launched.append(order.launch_id)
    desk.blocks((B1, BlockState.PENDING), (B2, BlockState.PENDING))
    desk.tell(LinkClosed(PROVIDER))
    assert not orders(desk.enter_provider())


def test_an_order_made_while_the_provider_is_away_reaches_it_later(
    desk: Desk,
) -> None:
    desk.blocks()
    desk.tell(LinkClosed(PROVIDER))
    desk.load(waiting=1)
    turn = desk.wait(0.0)
    assert not orders(turn)
    assert only(orders(desk.enter_provider())).count == 1


def test_an_old_load_is_no_ground_to_act_on(desk: Desk) -> None:
    desk.load(waiting=3)
    desk.now += STALE_LOAD + 0.1
    desk.blocks()
    assert not orders(desk.wait(0.0))
    assert desk.machine.last_decision.reason == "the interchange has not told its load"


def test_lost_blocks_are_refilled_even_with_an_old_load() -> None:
    desk = Desk(bounds=Bounds(1, 4, 2))
    desk.blocks((B1, BlockState.RUNNING))
    desk.load(blocks={B1: (0, 0.0)})
    for _ in range(round(STALE_LOAD) + 1):
        desk.tell(Heartbeat(), INTERCHANGE)
        desk.tell(Heartbeat(), PROVIDER)
        desk.live(1.0)
    desk.blocks((B1, BlockState.COMPLETED))
    turn = desk.live(6.0)
    assert only(orders(turn)).count == 1
    assert told(turn)[0].reason == "0 blocks are below min_blocks 1"


def test_it_starts_with_init_blocks_or_the_least_allowed() -> None:
    for init, least, there in ((3, 1, 0), (0, 2, 0), (3, 0, 1)):
        desk = Desk("none", Bounds(least, 4, 2), init)
        desk.blocks(*[(B1, BlockState.RUNNING)][:there])
        turn = desk.live(0.1)
        assert only(orders(turn)).count == max(init, least) - there


def test_init_blocks_are_started_once() -> None:
    desk = Desk("none", Bounds(0, 4, 2), 2)
    desk.blocks()
    desk.launched.append(only(orders(desk.live(0.1))).launch_id)
    desk.blocks((B1, BlockState.COMPLETED), (B2, BlockState.COMPLETED))
    assert not orders(desk.stay(20))


def test_strategy_none_does_nothing_for_tasks() -> None:
    desk = Desk("none")
    desk.blocks()
    assert not orders(desk.stay(20, waiting=9))


def test_more_than_the_rate_allows_comes_in_the_next_minute() -> None:
    desk = Desk(bounds=Bounds(0, 9, 2, 1.0, 20.0), max_launches_per_minute=3)
    desk.blocks()
    desk.load(waiting=99)
    assert only(orders(desk.live(0.1))).count == 3
    turn = desk.stay(50, waiting=99)
    assert not orders(turn)
    assert "max_launches_per_minute" in told(turn)[-1].reason
    assert only(orders(desk.stay(15, waiting=99))).count == 3


def test_the_first_blocks_come_at_the_rate_too_and_all_of_them() -> None:
    desk = Desk("none", Bounds(0, 9, 2), init_blocks=5, max_launches_per_minute=3)
    desk.blocks()
    counts = [order.count for order in orders(desk.stay(150))]
    assert counts == [3, 2]


def test_an_operator_is_not_bound_by_the_rate() -> None:
    desk = Desk(max_launches_per_minute=1)
    desk.blocks()
    assert only(orders(desk.tell(ScaleTo(4), INTERCHANGE))).count == 4


def test_staged_starts_a_block_at_a_time() -> None:
    desk = Desk("staged", Bounds(0, 4, 2, 1.0, 20.0, min_start_interval=12.0))
    desk.blocks()
    assert [o.count for o in orders(desk.stay(30, waiting=9))] == [1, 1]


# What it says


def test_every_decision_is_told_with_what_it_was_made_on(desk: Desk) -> None:
    desk.blocks((B1, BlockState.RUNNING), (B2, BlockState.PENDING))
    desk.live(0.1)
    turn = desk.stay(10, waiting=1, leased=2, blocks={B1: (2, 0.0)})
    first, second = told(turn)
    assert first == second
    assert first == ScalingDecided(
        *("none", 0, "4 slots serve 3 tasks"),
        kind="simple",
        tasks=3,
        waiting=1,
        active_blocks=2,
        pending_blocks=1,
        slots=4,
    )


def test_what_was_decided_while_the_interchange_was_away_is_told_later(
    desk: Desk,
) -> None:
    desk.tell(LinkClosed(INTERCHANGE))
    desk.blocks()
    desk.load(waiting=3)
    assert not told(desk.wait(0.0))
    assert [d.action for d in told(desk.enter(INTERCHANGE))] == ["launch"]
    desk.tell(LinkClosed(INTERCHANGE))
    assert not told(desk.enter(INTERCHANGE)), "it was told"


def test_each_worker_type_is_decided_on_by_itself() -> None:
    desk = Desk()
    desk.blocks((B1, BlockState.RUNNING), worker_type="cpu")
    desk.load(types=[TypeLoad("cpu", 1, 0), TypeLoad("gpu", 3, 0)])
    turn = desk.live(0.1)
    order = only(orders(turn))
    assert (order.count, order.worker_type) == (2, "gpu")
    assert [(d.action, d.worker_type) for d in told(turn)] == [
        ("none", "cpu"),
        ("launch", "gpu"),
    ]


def test_blocks_of_another_type_are_not_ended_for_those_of_none() -> None:
    desk = Desk(kind="auto", bounds=Bounds(0, 9, 2, 1.0, 0.1))
    blocks = [
        Block(B1, BlockState.RUNNING, launch_id="i-0", worker_type="cpu"),
        Block(B2, BlockState.RUNNING, launch_id="i-0"),
    ]
    desk.tell(BlocksReported(blocks, []), PROVIDER)
    idle = {B1: (0, 9.0), B2: (0, 9.0)}
    desk.load(types=[TypeLoad("cpu", 1, 0)], blocks=idle)
    (asking,) = retired(desk.stay(6, types=[TypeLoad("cpu", 1, 0)], blocks=idle))
    assert asking.block_ids == [B2]


def test_a_block_that_the_interchange_holds_by_itself_leaves(desk: Desk) -> None:
    """As its end is near; what it leaves undone may call for another one."""
    desk.blocks((B1, BlockState.RUNNING))
    desk.load(leased=2, blocks={B1: (2, 0.0)})
    assert not orders(desk.live(0.1))
    held = BlocksHeld([B1], [B1], [B1], is_unasked=True)
    desk.tell(held, INTERCHANGE)
    assert only(orders(desk.live(0.1))).count == 1
    late = desk.stay(3 * DRAIN_TIMEOUT, leased=2, blocks={B1: (2, 0.0)})
    assert not sent_to(late, PROVIDER, CancelBlocks), "it is busy to its end"


def test_an_open_question_stays_open_when_another_block_is_held(idle: Desk) -> None:
    asked(idle)
    idle.tell(BlocksHeld([B3], [B3], [B3], is_unasked=True), INTERCHANGE)
    assert not retired(idle.stay(20))


def test_a_block_that_is_held_while_it_is_asked_about_leaves_once(idle: Desk) -> None:
    asked(idle)
    idle.tell(BlocksHeld([B2], [B2], is_unasked=True), INTERCHANGE)
    assert not retired(idle.stay(20)), "it is open whether the other one can leave"
    idle.tell(BlocksHeld([]), INTERCHANGE)
    assert only(retired(idle.stay(20, blocks={B1: (0, 9.0)}))).block_ids == [B1]


def test_a_question_is_answered_also_if_the_held_block_has_ended_meanwhile(
    idle: Desk,
) -> None:
    """Otherwise nothing would ever be decided again."""
    asked(idle)
    idle.blocks((B1, BlockState.RUNNING), (B2, BlockState.COMPLETED))
    idle.tell(BlocksHeld([B2], [B2]), INTERCHANGE)
    assert only(retired(idle.stay(20, blocks={B1: (0, 9.0)}))).block_ids == [B1]


# Failures


@pytest.mark.parametrize("state", [BlockState.FAILED, BlockState.MISSING])
def test_a_failed_block_delays_the_next_launch(desk: Desk, state: BlockState) -> None:
    desk.blocks()
    desk.load(waiting=1)
    desk.launched.append(only(orders(desk.live(0.1))).launch_id)
    desk.blocks((B1, state), launch_id="i-1")
    assert not orders(desk.stay(FAILURE_PAUSE - 1, waiting=1))
    assert orders(desk.stay(8, waiting=1))


@pytest.mark.parametrize("state", [BlockState.COMPLETED, BlockState.TIMEOUT])
def test_a_block_that_was_of_no_use_has_failed_whatever_its_job_says(
    desk: Desk, state: BlockState
) -> None:
    desk.blocks((B1, BlockState.RUNNING), (B2, BlockState.RUNNING))
    desk.load(blocks={B1: (0, 1.0)})
    desk.blocks((B1, state), (B2, BlockState.RUNNING))
    assert desk.machine._launch_after < desk.now
    desk.blocks((B1, state), (B2, state))
    assert desk.machine._launch_after > desk.now


def test_in_a_bad_state_nothing_is_launched_until_it_is_resumed(desk: Desk) -> None:
    desk.blocks((B1, BlockState.FAILED), (B2, BlockState.FAILED))
    turn = desk.stay(60, waiting=3, bad_state="the last 3 blocks failed")
    assert not orders(turn)
    reason = told(turn)[-1].reason
    assert "but the endpoint is in a bad state: the last 3 blocks failed" in reason
    desk.load(waiting=3)
    assert only(orders(desk.live(0.1))).count == 2, "at once"


def lonely() -> Desk:
    """A strategy whose first block has run without managers for almost too long."""
    desk = Desk(connect_timeout=30.0, bounds=Bounds(0, 4, 2, 1.0, 1000.0))
    desk.blocks((B1, BlockState.RUNNING), (B2, BlockState.PENDING))
    assert not retired(desk.stay(29))
    return desk


def test_a_block_that_nobody_connects_from_is_given_up_as_missing() -> None:
    desk = lonely()
    retire = only(retired(desk.stay(6)))
    assert (retire.block_ids, retire.if_busy) == ([B1], False)
    turn = desk.tell(BlocksHeld([B1]), INTERCHANGE)
    cancel = only(sent_to(turn, PROVIDER, CancelBlocks))
    assert (cancel.block_ids, cancel.is_missing) == ([B1], True)
    assert cancel.reason.startswith("it runs and no manager of it has connected for ")
    assert cancel.reason.endswith("connect_timeout is 30 s")
    assert cancel.reason in desk.machine.last_decision.reason


def test_a_manager_that_comes_in_time_keeps_its_block() -> None:
    desk = lonely()
    assert not retired(desk.stay(60, blocks={B1: (0, 1.0)}))


def test_one_that_comes_in_the_very_moment_is_drained_not_killed() -> None:
    desk = lonely()
    desk.stay(6)
    turn = desk.tell(BlocksHeld([B1], [B1]), INTERCHANGE)
    assert not sent_to(turn, PROVIDER, CancelBlocks)


def test_a_block_whose_managers_are_lost_for_long_is_given_up() -> None:
    desk = lonely()
    desk.stay(3, blocks={B1: (0, 1.0)})
    assert not retired(desk.stay(29))
    retire = only(retired(desk.stay(6)))
    assert retire.reason.startswith("its managers were lost and have not come back")


@pytest.mark.parametrize("state", [BlockState.UNKNOWN, BlockState.PENDING])
def test_who_is_not_known_to_run_is_not_given_up(state: BlockState) -> None:
    desk = lonely()
    desk.blocks((B1, state))
    assert not retired(desk.stay(60))


def test_time_in_which_no_load_was_told_does_not_count() -> None:
    desk = lonely()
    for _ in range(60):
        desk.tell(Heartbeat(), INTERCHANGE)
        desk.tell(Heartbeat(), PROVIDER)
        assert not retired(desk.live(1.0))
    assert not retired(desk.stay(25))


def test_failures_in_a_row_delay_ever_longer_and_success_forgives(desk: Desk) -> None:
    ended: list[Given] = []

    def pause(state: BlockState) -> float:
        block_id = BlockId(f"block-{len(ended)}")
        desk.blocks(*ended, (block_id, BlockState.RUNNING))
        if state is BlockState.TIMEOUT:
            desk.load(blocks={block_id: (0, 1.0)})
        ended.append((block_id, state))
        desk.blocks(*ended)
        return desk.machine._launch_after - desk.now

    first, second = pause(BlockState.FAILED), pause(BlockState.FAILED)
    assert second > 1.5 * first
    pause(BlockState.TIMEOUT)
    assert pause(BlockState.FAILED) < second


def test_a_failure_is_counted_once_and_only_our_own(desk: Desk) -> None:
    desk.blocks((B1, BlockState.FAILED), launch_id="older-1")
    assert desk.machine._launch_after < desk.now
    desk.blocks((B2, BlockState.FAILED))
    until = desk.machine._launch_after
    desk.now += 1.0
    desk.blocks((B2, BlockState.FAILED))
    assert desk.machine._launch_after == until


# Retiring, in three steps


def test_idle_blocks_are_retired_after_max_idletime(idle: Desk) -> None:
    load = {"blocks": {B1: (0, 1.0), B2: (0, 2.0)}}
    assert not retired(idle.stay(18, **load))
    assert retired(idle.stay(8, **load))


def test_a_task_in_between_starts_the_idle_time_anew(idle: Desk) -> None:
    idle.stay(15)
    idle.load(leased=1)
    assert not retired(idle.stay(18))


def test_a_block_that_is_asked_about_is_not_asked_about_again(
    idle: Desk,
) -> None:
    assert not retired(asked(idle).stay(20))


def test_held_blocks_are_left_to_drain_and_then_cancelled(idle: Desk) -> None:
    turn = asked(idle).tell(BlocksHeld([B2], [B2]), INTERCHANGE)
    assert not sent_to(turn, PROVIDER, CancelBlocks)
    assert not sent_to(idle.stay(DRAIN_TIMEOUT - 2), PROVIDER, CancelBlocks)
    cancel = only(sent_to(idle.stay(4), PROVIDER, CancelBlocks))
    assert cancel == CancelBlocks([B2], "did not drain in time")
    # The provider may have been away: say it again, until it is gone.
    assert sent_to(idle.stay(DRAIN_TIMEOUT + 1), PROVIDER, CancelBlocks)


def test_a_block_that_drained_is_not_cancelled(idle: Desk) -> None:
    asked(idle).tell(BlocksHeld([B1, B2]), INTERCHANGE)
    idle.blocks((B1, BlockState.COMPLETED), (B2, BlockState.COMPLETED))
    assert not sent_to(idle.stay(2 * DRAIN_TIMEOUT), PROVIDER, CancelBlocks)


def test_busy_blocks_that_were_not_held_stay_and_count(idle: Desk) -> None:
    asked(idle).tell(BlocksHeld([B2]), INTERCHANGE)
    assert not orders(idle.stay(6, leased=2)), "block 1 has two slots"
    assert only(orders(idle.stay(6, leased=3))).count == 1


def test_a_held_block_without_managers_is_cancelled_at_once(idle: Desk) -> None:
    turn = asked(idle).tell(BlocksHeld([B1, B2], [B1]), INTERCHANGE)
    assert sent_to(turn, PROVIDER, CancelBlocks) == [CancelBlocks([B2], "scaled in")]


def test_pending_blocks_are_retired_before_running_ones() -> None:
    desk = Desk(bounds=Bounds(1, 4, 2, 1.0, 20.0))
    desk.blocks((B1, BlockState.RUNNING), (B2, BlockState.PENDING))
    turn = desk.stay(27, blocks={B1: (0, 9.0)})
    assert only(retired(turn)).block_ids == [B2]


def test_auto_retires_only_blocks_that_were_idle_for_long() -> None:
    desk = Desk("auto")
    blocks = {B1: (1, 0.0), B2: (0, 25.0), B3: (0, 1.0)}
    desk.blocks(*((block_id, BlockState.RUNNING) for block_id in blocks))
    turn = desk.stay(6, leased=1, blocks=blocks)
    assert only(retired(turn)).block_ids == [B2]
    assert not only(retired(turn)).if_busy


def test_auto_cancels_what_it_launched_for_tasks_that_are_gone() -> None:
    desk = Desk("auto", init_blocks=1)
    desk.blocks()
    desk.launched.append(only(orders(desk.live(0.1))).launch_id)
    first = (B1, BlockState.PENDING)
    desk.blocks(first, launch_id="i-1")
    order = only(orders(desk.stay(6, waiting=6)))
    desk.launched.append(order.launch_id)
    blocks = [
        Block(B1, BlockState.PENDING, launch_id="i-1"),
        Block(B2, BlockState.PENDING, launch_id=order.launch_id),
        Block(B3, BlockState.PENDING, launch_id=order.launch_id),
    ]
    desk.tell(BlocksReported(blocks, list(desk.launched)), PROVIDER)
    turn = desk.stay(6, waiting=1)
    assert only(retired(turn)).block_ids == [B3, B2], "the first was wanted anyway"
    desk.tell(BlocksHeld([B3, B2]), INTERCHANGE)
    assert not orders(desk.stay(15, waiting=2)), "no flapping"


def test_of_blocks_to_come_the_newest_goes_first() -> None:
    desk = Desk()
    desk.blocks(
        (B1, BlockState.PENDING), (B2, BlockState.RUNNING), (B3, BlockState.PENDING)
    )
    desk.load()
    turn = desk.stay(27)
    assert only(retired(turn)).block_ids == [B3, B1, B2]


def test_a_block_that_has_managers_is_no_pending_one_whatever_its_job_says() -> None:
    desk = Desk(bounds=Bounds(1, 4, 2, 1.0, 20.0))
    desk.blocks((B1, BlockState.PENDING), (B2, BlockState.RUNNING))
    turn = desk.stay(27, blocks={B1: (0, 9.0)})
    assert only(retired(turn)).block_ids == [B2]


def test_nothing_is_launched_while_it_is_open_which_blocks_stay(idle: Desk) -> None:
    """Blocks that turn out to be busy count: there would be more than the most."""
    asked(idle)
    idle.load(waiting=99)
    assert not orders(idle.live(0.1))
    idle.tell(BlocksHeld([]), INTERCHANGE)
    assert only(orders(idle.live(0.1))).count == 2, "four are the most"


def test_a_question_lost_with_the_link_is_asked_again(idle: Desk) -> None:
    """Otherwise the blocks would never be counted, nor ended."""
    asked(idle).tell(LinkClosed(INTERCHANGE))
    idle.enter(INTERCHANGE)
    assert retired(idle.stay(6))


def test_a_block_whose_managers_joined_since_the_last_load_is_left_to_drain(
    idle: Desk,
) -> None:
    asked(idle).load(blocks={})
    turn = idle.tell(BlocksHeld([B2], [B2], [B2]), INTERCHANGE)
    assert not sent_to(turn, PROVIDER, CancelBlocks)


# Operators


def test_an_operator_may_have_more_blocks_than_the_rules_want(desk: Desk) -> None:
    desk.blocks((B1, BlockState.RUNNING))
    desk.load(leased=1)
    turn = desk.tell(ScaleTo(3), INTERCHANGE)
    assert only(orders(turn)).count == 2
    assert only(told(turn)).reason == "an operator asked for 3 blocks"


def test_an_operator_may_have_less_and_busy_ones_drain_last(desk: Desk) -> None:
    desk.blocks(
        (B1, BlockState.RUNNING), (B2, BlockState.RUNNING), (B3, BlockState.PENDING)
    )
    loads = {B1: (1, 0.0), B2: (0, 5.0)}
    desk.load(leased=1, blocks=loads)
    turn = desk.tell(ScaleTo(0), INTERCHANGE)
    retire = only(retired(turn))
    assert (retire.block_ids, retire.if_busy) == ([B3, B2, B1], True)
    turn = desk.tell(BlocksHeld([B3, B2, B1], [B2, B1], [B1]), INTERCHANGE)
    assert sent_to(turn, PROVIDER, CancelBlocks) == [CancelBlocks([B3], "scaled in")]
    late = desk.stay(3 * DRAIN_TIMEOUT, leased=1, blocks=loads)
    cancelled = {b for c in sent_to(late, PROVIDER, CancelBlocks) for b in c.block_ids}
    assert B1 not in cancelled, "it computes"


def test_an_operator_who_has_what_they_want_is_told_so(desk: Desk) -> None:
    desk.blocks((B1, BlockState.RUNNING))
    turn = desk.tell(ScaleTo(1), INTERCHANGE)
    assert not orders(turn)
    assert not retired(turn)
    assert only(told(turn)).action == "none"


# The end


def test_it_says_goodbye_to_both_and_ends(desk: Desk) -> None:
    turn = desk.tell(Quit("SIGTERM"))
    assert turn.sends == [
        (INTERCHANGE, Goodbye("SIGTERM")),
        (PROVIDER, Goodbye("SIGTERM")),
    ]
    assert turn.effects == [Exit(0, "SIGTERM")]
