"""No job is submitted twice, and none is forgotten, wherever the provider crashes."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.endpoint.provider import (
    ENDED_KEPT,
    QUIT_PATIENCE,
    BlockEnded,
    BlockPlanned,
    CancelJobs,
    JobEndSeen,
    JobReport,
    JobsPolled,
    JobSubmitted,
    PollJobs,
    Provider,
    ProviderRecord,
    ProviderSettings,
    SubmitFailed,
    SubmitJob,
    SubmitUnanswered,
)
from actors.logic.turn import (
    Exit,
    FrameMalformed,
    HangUp,
    LinkClosed,
    Quit,
    Turn,
)
from actors.messages import (
    Block,
    BlockId,
    BlocksReported,
    BlockState,
    CancelBlocks,
    FrameRefused,
    Goodbye,
    Heartbeat,
    LaunchBlocks,
    Notice,
    Relay,
)
from tests.endpoint.talk import PYTHON, TOKEN, Talk, all_of, hello, only, sent_to

STRATEGY = "strategy"
B1, B2 = BlockId("block-1"), BlockId("block-2")


class Batch(Talk):
    """A provider to talk with; its strategy is connected."""

    machine: Provider

    def __init__(self, records: list[ProviderRecord] | None = None) -> None:
        settings = ProviderSettings(5.0, 2.0, "i", TOKEN, PYTHON)
        machine = Provider(settings, random.Random(0), 100.0)
        for record in records or []:
            machine.replay(record)
        super().__init__(machine)
        admission, turn = self.ask(hello("strategy"))
        assert admission.peer == STRATEGY
        self.first_report = only(sent_to(turn, STRATEGY, BlocksReported))

    def launch(self, count: int = 1, launch_id: str = "l1") -> Turn:
        return self.tell(LaunchBlocks(launch_id, count, "why"), STRATEGY)

    def poll(self, state: BlockState, block_id: BlockId = B1, **more: Any) -> Turn:
        return self.tell(JobsPolled({block_id: JobReport(state, **more)}))

    def states(self) -> dict[BlockId, BlockState]:
        return {b.block_id: b.state for b in self.machine.blocks.values()}


@pytest.fixture
def batch() -> Batch:
    return Batch()


@pytest.fixture
def running(batch: Batch) -> Batch:
    """A provider with one running block."""
    batch.launch()
    batch.tell(JobSubmitted(B1, "j1"))
    batch.poll(BlockState.RUNNING)
    return batch


def blocks_told(turn: Turn) -> list[Block]:
    return only(sent_to(turn, STRATEGY, BlocksReported)).blocks


# The door


@pytest.mark.parametrize(
    "newcomer",
    [
        hello("strategy", protocol=2),
        hello("strategy", token="wrong"),
        hello("manager", "m1", slots=1),
        hello("client", "c1"),
    ],
)
def test_nobody_but_this_endpoints_strategy_enters(batch: Batch, newcomer: Any) -> None:
    admission, turn = batch.ask(newcomer)
    assert not admission.peer
    assert admission.reason
    assert turn == Turn()


def test_a_new_strategy_is_told_all_blocks(running: Batch) -> None:
    _, turn = running.ask(hello("strategy", instance="other"))
    report = only(sent_to(turn, STRATEGY, BlocksReported))
    assert [b.state for b in report.blocks] == [BlockState.RUNNING]
    assert report.launch_ids == ["l1"]


def test_a_strategy_that_leaves_is_hung_up_on_and_told_nothing(running: Batch) -> None:
    turn = running.tell(Goodbye("stopping"), STRATEGY)
    assert turn.effects == [HangUp(STRATEGY)]
    assert not running.poll(BlockState.COMPLETED).sends


def test_a_strategy_whose_link_closed_is_told_nothing(running: Batch) -> None:
    running.tell(LinkClosed(STRATEGY))
    assert not running.poll(BlockState.COMPLETED).sends


def test_the_strategy_hears_from_us_each_period(batch: Batch) -> None:
    assert sent_to(batch.live(0.1), STRATEGY, Heartbeat)
    assert not sent_to(batch.live(1.8), STRATEGY, Heartbeat)
    assert sent_to(batch.live(0.2), STRATEGY, Heartbeat)


# Launching


def test_a_launch_is_planned_on_disk_before_it_is_submitted(batch: Batch) -> None:
    turn = batch.launch(2)
    assert turn.records == [BlockPlanned(B1, "l1"), BlockPlanned(B2, "l1")]
    assert turn.must_sync
    assert turn.effects == [SubmitJob(B1, False), SubmitJob(B2, False)]
    assert [b.state for b in blocks_told(turn)] == [BlockState.PENDING] * 2


def test_the_same_order_twice_launches_once(batch: Batch) -> None:
    batch.launch()
    turn = batch.launch()
    assert not turn.records
    assert not turn.effects
    assert only(sent_to(turn, STRATEGY, BlocksReported)).launch_ids == ["l1"]


def test_a_submitted_job_is_saved_told_and_polled(batch: Batch) -> None:
    batch.launch()
    turn = batch.tell(JobSubmitted(B1, "j1"))
    assert turn.records == [JobSubmitted(B1, "j1")]
    assert turn.must_sync
    assert only(blocks_told(turn)).job_id == "j1"
    assert PollJobs({B1: "j1"}) in batch.live(0.1).effects


def test_a_job_that_comes_after_its_blocks_end_is_cancelled(batch: Batch) -> None:
    batch.launch()
    batch.tell(SubmitFailed(B1, "no answer in time"))
    turn = batch.tell(JobSubmitted(B1, "j1"))
    assert turn == Turn(effects=[CancelJobs({B1: "j1"})])
    assert batch.tell(JobSubmitted(B2, "j2")).effects == [CancelJobs({B2: "j2"})]


def test_a_refused_job_is_a_failed_block_and_an_error_for_operators(
    batch: Batch,
) -> None:
    batch.enter()
    batch.launch()
    turn = batch.tell(SubmitFailed(B1, "no such partition"))
    assert turn.records == [BlockEnded(B1)]
    failed = only(blocks_told(turn))
    assert (failed.state, failed.message) == (BlockState.FAILED, "no such partition")
    assert sent_to(turn, "interchange", Relay) == [
        Relay([Notice("error", "block-1 could not be submitted: no such partition")])
    ]


def test_a_submission_without_an_answer_is_asked_about_until_there_is_one(
    batch: Batch,
) -> None:
    batch.launch()
    for _ in range(3):
        turn = batch.tell(SubmitUnanswered(B1, "controller down"))
        assert not turn.records, "the job may have been taken"
        assert batch.states() == {B1: BlockState.UNKNOWN}
        assert not all_of(batch.live(4.9).effects, SubmitJob)
        assert all_of(batch.live(0.2).effects, SubmitJob) == [SubmitJob(B1, True)]
    assert not all_of(batch.live(60.0).effects, SubmitJob), "one question at a time"
    turn = batch.tell(JobSubmitted(B1, "j1"))
    assert turn.records == [JobSubmitted(B1, "j1")]


def test_a_block_cancelled_without_an_answer_is_cancelled_when_its_job_is_found(
    batch: Batch,
) -> None:
    batch.launch()
    batch.tell(SubmitUnanswered(B1, "controller down"))
    assert not batch.tell(CancelBlocks([B1], "why"), STRATEGY).effects
    assert SubmitJob(B1, True) in batch.live(5.1).effects
    assert CancelJobs({B1: "j1"}) in batch.tell(JobSubmitted(B1, "j1")).effects


# Polling and cancelling


def test_one_poll_is_under_way_at_a_time(running: Batch) -> None:
    assert all_of(running.live(0.1).effects, PollJobs)
    assert not all_of(running.live(20.0).effects, PollJobs)
    running.poll(BlockState.RUNNING)
    assert all_of(running.live(5.0).effects, PollJobs)


def test_the_end_of_a_job_is_polled_for_at_once(running: Batch) -> None:
    running.live(0.1)
    running.poll(BlockState.RUNNING)
    running.tell(JobEndSeen())
    assert all_of(running.live(0.1).effects, PollJobs)


def test_only_what_changed_is_told(running: Batch) -> None:
    assert not running.poll(BlockState.RUNNING).sends
    turn = running.poll(BlockState.FAILED, exit_code=1, stderr_tail="oops")
    assert turn.records == [BlockEnded(B1)]
    block = only(blocks_told(turn))
    assert (block.exit_code, block.stderr_tail) == (1, "oops")


def test_unknown_is_not_gone(running: Batch) -> None:
    turn = running.poll(BlockState.UNKNOWN)
    assert not turn.records
    assert running.states() == {B1: BlockState.UNKNOWN}


def test_an_ended_block_stays_ended(running: Batch) -> None:
    running.poll(BlockState.COMPLETED)
    assert running.poll(BlockState.RUNNING) == Turn()
    assert not all_of(running.live(20.0).effects, PollJobs)


def test_a_cancelled_block_is_scaled_in(running: Batch) -> None:
    turn = running.tell(CancelBlocks([B1, B2], "why"), STRATEGY)
    assert turn.effects == [CancelJobs({B1: "j1"})]
    assert only(blocks_told(running.poll(BlockState.CANCELLED))).state is (
        BlockState.SCALED_IN
    )
    assert not running.tell(CancelBlocks([B1], "again"), STRATEGY).effects


def test_a_block_that_is_given_up_is_missing_with_the_reason(running: Batch) -> None:
    order = CancelBlocks([B1], "no manager has connected", is_missing=True)
    assert running.tell(order, STRATEGY).effects == [CancelJobs({B1: "j1"})]
    # Whatever is said later, this is why.
    running.tell(CancelBlocks([B1], "did not drain in time"), STRATEGY)
    turn = running.poll(
        BlockState.CANCELLED, message="by user 0", stderr_tail="connection refused"
    )
    block = only(blocks_told(turn))
    assert block.state is BlockState.MISSING
    assert block.message == "no manager has connected"
    assert block.stderr_tail == "connection refused"


def test_a_block_cancelled_before_it_has_a_job_is_cancelled_then(
    batch: Batch,
) -> None:
    batch.launch()
    assert not batch.tell(CancelBlocks([B1], "why"), STRATEGY).effects
    turn = batch.tell(JobSubmitted(B1, "j1"))
    assert turn.effects == [CancelJobs({B1: "j1"})]


# Stopping


def test_on_quit_all_blocks_end_before_the_provider_does(running: Batch) -> None:
    running.enter()
    turn = running.tell(Quit("SIGTERM"))
    assert turn.effects == [CancelJobs({B1: "j1"})]
    assert not all_of(running.live(1.0).effects, Exit)
    running.poll(BlockState.CANCELLED)
    turn = running.live(0.1)
    assert sent_to(turn, "interchange", Goodbye) == [Goodbye("SIGTERM")]
    assert all_of(turn.effects, Exit) == [Exit(0, "SIGTERM")]


def test_a_block_that_will_not_end_does_not_keep_the_provider(running: Batch) -> None:
    running.tell(Quit("SIGTERM"))
    turn = running.live(QUIT_PATIENCE + 0.1)
    assert all_of(turn.effects, Exit) == [Exit(0, "SIGTERM")]


def test_an_idle_provider_quits_at_once(batch: Batch) -> None:
    batch.tell(Quit("SIGTERM"))
    assert all_of(batch.wait(0.0).effects, Exit)


def test_an_interchange_that_comes_late_hears_of_blocks_as_they_were_launched(
    batch: Batch,
) -> None:
    """Of one of which it hears the end only, it cannot tell whether it was of use."""
    batch.launch()
    batch.tell(JobSubmitted(B1, "j1"))
    batch.poll(BlockState.FAILED)
    reports = sent_to(batch.enter(), "interchange", BlocksReported)
    assert [only(r.blocks).state for r in reports] == [
        BlockState.PENDING,
        BlockState.FAILED,
    ]
    batch.tell(LinkClosed("interchange"))
    again = sent_to(batch.enter(), "interchange", BlocksReported)
    assert only(only(again).blocks).state is BlockState.FAILED


# Crashes


def test_a_block_keeps_the_type_that_it_was_launched_for() -> None:
    batch = Batch()
    turn = batch.tell(LaunchBlocks("l1", 1, "why", "gpu"), STRATEGY)
    assert turn.records == [BlockPlanned(B1, "l1", "gpu")]
    assert turn.effects == [SubmitJob(B1, False, "gpu")]
    again = Batch([BlockPlanned(B1, "l1", "gpu")])
    assert SubmitJob(B1, True, "gpu") in again.live(0.1).effects
    planned = BlockPlanned(B1, "l1", "gpu")
    assert again.machine.snapshot()[0] == planned
    again.tell(JobSubmitted(B1, "j1"))
    report = again.machine.blocks[B1].block()
    assert report.worker_type == "gpu"


def test_a_restarted_provider_looks_for_jobs_that_it_may_have_submitted() -> None:
    batch = Batch([BlockPlanned(B1, "l1")])
    assert only(batch.first_report.blocks).state is BlockState.PENDING
    assert all_of(batch.live(0.1).effects, SubmitJob) == [SubmitJob(B1, True)]
    assert not all_of(batch.live(0.1).effects, SubmitJob)


def test_a_restarted_provider_adopts_jobs_and_asks_how_they_are() -> None:
    batch = Batch([BlockPlanned(B1, "l1"), JobSubmitted(B1, "j1")])
    assert only(batch.first_report.blocks).state is BlockState.UNKNOWN
    effects = batch.live(0.1).effects
    assert PollJobs({B1: "j1"}) in effects
    assert not all_of(effects, SubmitJob)


def test_a_restarted_provider_carries_no_order_out_twice() -> None:
    batch = Batch([BlockPlanned(B1, "l1"), BlockEnded(B1)])
    assert batch.first_report == BlocksReported([], ["l1"])
    assert not batch.launch().effects


def test_a_compacted_journal_leads_to_the_same_state(running: Batch) -> None:
    running.launch(1, "l2")
    again = Batch(running.machine.snapshot())
    assert again.states() == {B1: BlockState.UNKNOWN, B2: BlockState.PENDING}
    assert again.first_report.launch_ids == ["l1", "l2"]
    assert SubmitJob(B2, True) in again.live(0.1).effects


def test_numbers_of_blocks_are_never_used_again_after_compaction() -> None:
    """A job of the old name may still be known to the batch system."""
    restarted = Batch([BlockPlanned(B1, "l1"), BlockEnded(B1)])
    again = Batch(restarted.machine.snapshot())
    assert SubmitJob(B2, False) in again.launch(1, "l2").effects


def test_old_blocks_and_orders_are_forgotten(running: Batch) -> None:
    for number in range(2, 3 * ENDED_KEPT):
        block_id = BlockId(f"block-{number}")
        running.launch(1, f"l{number}")
        running.tell(JobSubmitted(block_id, "j"))
        turn = running.poll(BlockState.COMPLETED, block_id)
    report = only(sent_to(turn, STRATEGY, BlocksReported))
    assert len(report.blocks) == ENDED_KEPT + 1
    assert report.blocks[0].block_id == B1, "an active one is kept"
    assert len(report.launch_ids) <= 2 * ENDED_KEPT
    assert {b.launch_id for b in report.blocks} <= set(report.launch_ids)


def test_the_end_of_a_block_that_was_launched_long_ago_is_told(running: Batch) -> None:
    """Whoever waits for it would wait for ever."""
    for number in range(2, ENDED_KEPT + 3):
        block_id = BlockId(f"block-{number}")
        running.launch(1, f"l{number}")
        running.tell(JobSubmitted(block_id, "j"))
        running.poll(BlockState.COMPLETED, block_id)
    turn = running.poll(BlockState.COMPLETED)
    report = only(sent_to(turn, STRATEGY, BlocksReported))
    assert {b.block_id: b.state for b in report.blocks}[B1] is BlockState.COMPLETED


class _Disk:
    """A batch system, and the records that outlive a provider."""

    def __init__(self) -> None:
        self.records: list[ProviderRecord] = []
        self.jobs: set[BlockId] = set()
        self.planned: set[BlockId] = set()

    def carry_out(self, batch: Batch, turn: Turn, *, crash_after: int) -> bool:
        """Save, submit and answer, until the crash; true: it crashed."""
        for record in turn.records:
            if crash_after == 0:
                return True
            crash_after -= 1
            self.records.append(record)
            if isinstance(record, BlockPlanned):
                assert record.block_id not in self.planned, "a number was used twice"
                self.planned.add(record.block_id)
        for effect in all_of(turn.effects, SubmitJob):
            if crash_after == 0:
                return True
            crash_after -= 1
            if effect.block_id in self.jobs:
                assert effect.may_exist, f"{effect.block_id} was submitted twice"
            self.jobs.add(effect.block_id)
            job = JobSubmitted(effect.block_id, f"j-{effect.block_id}")
            answer = batch.tell(job)
            if self.carry_out(batch, answer, crash_after=crash_after):
                return True
        return False


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 8), st.booleans())),
)
def test_wherever_it_crashes_each_planned_block_gets_one_job(
    orders: list[tuple[int, int, bool]],
) -> None:
    disk = _Disk()
    batch = Batch()
    for number, (count, crash_after, is_compacted) in enumerate(orders):
        order = LaunchBlocks(f"l{number}", count, "")
        turn, steps = batch.tell(order, STRATEGY), crash_after
        while disk.carry_out(batch, turn, crash_after=steps):
            batch = Batch(disk.records)
            if is_compacted:
                disk.records = batch.machine.snapshot()
                batch = Batch(disk.records)
            assert not disk.carry_out(batch, batch.live(0.1), crash_after=99)
            # Nobody has told the strategy, so it asks again.
            turn, steps = batch.tell(order, STRATEGY), 99
        assert disk.jobs == disk.planned == set(batch.machine.blocks)
    assert Batch(disk.records).machine.blocks.keys() == disk.jobs


def test_nonsense_at_the_door_is_told_once_per_sender(batch: Batch) -> None:
    batch.enter("interchange")
    turn = batch.tell(FrameMalformed("door", "no message"))
    refused = FrameRefused("provider's door", "no message")
    assert sent_to(turn, "interchange", Relay) == [Relay([refused])]
    again = batch.tell(FrameMalformed("door", "no message"))
    assert not sent_to(again, "interchange", Relay)
