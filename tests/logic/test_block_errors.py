"""Blocks that were of no use are called so, and block after block ends the hope."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.logic.block_errors import WINDOW, BlockErrors
from actors.messages import Block, BlockId, BlockState

FINAL = [state for state in BlockState if not state.is_active]
USELESS = (BlockState.COMPLETED, BlockState.FAILED, BlockState.TIMEOUT)


class Story:
    """Blocks as their errors are judged."""

    def __init__(self) -> None:
        self.errors = BlockErrors()
        self.blocks: dict[BlockId, Block] = {}

    def report(
        self,
        number: int,
        state: BlockState,
        code: int | None = None,
        message: str = "",
        tail: str = "",
        *,
        is_retired: bool = False,
    ) -> Block:
        block_id = BlockId(f"block-{number}")
        block = Block(block_id, state, f"job {number}", code, message, tail)
        known = self.blocks.get(block_id)
        judged = self.errors.judge(block, known, is_retired=is_retired)
        self.blocks[block_id] = judged
        return judged

    def fail(self, number: int, message: str = "", tail: str = "") -> Block:
        self.report(number, BlockState.RUNNING)
        return self.report(number, BlockState.FAILED, 7, message, tail)

    @property
    def is_bad(self) -> bool:
        return self.errors.find_bad_state(self.blocks.values()) is not None


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.mark.parametrize("state", FINAL)
def test_a_block_that_ended_before_a_manager_came_is_missing(
    story: Story, state: BlockState
) -> None:
    story.report(1, BlockState.PENDING)
    judged = story.report(1, state, 7, "no such partition", "Traceback")
    is_missing = state in (*USELESS, BlockState.MISSING)
    assert (judged.state is BlockState.MISSING) == is_missing
    assert (judged.exit_code, judged.stderr_tail) == (7, "Traceback")
    assert judged.message.endswith("no such partition")
    if state in USELESS:
        assert judged.message.startswith(f"ended ({state}) before a manager")


def test_a_block_that_a_manager_joined_from_is_what_its_job_is(story: Story) -> None:
    story.report(1, BlockState.RUNNING)
    story.errors.note_joined(BlockId("block-1"))
    assert story.report(1, BlockState.COMPLETED).state is BlockState.COMPLETED


def test_a_block_that_we_end_ourselves_is_not_missing(story: Story) -> None:
    story.report(1, BlockState.RUNNING)
    ended = story.report(1, BlockState.FAILED, is_retired=True)
    assert ended.state is BlockState.FAILED


def test_of_a_block_that_ended_before_us_nothing_more_is_known(story: Story) -> None:
    for number in range(WINDOW):
        assert story.report(number, BlockState.FAILED).state is BlockState.FAILED
    assert not story.is_bad


def test_what_was_judged_stays(story: Story) -> None:
    missing = story.fail(1)
    assert story.report(1, BlockState.FAILED, 7) == missing


def test_the_last_three_launched_must_have_failed(story: Story) -> None:
    for number in range(WINDOW):
        assert not story.is_bad
        story.fail(number)
    assert story.is_bad
    story.report(WINDOW, BlockState.PENDING)
    assert not story.is_bad, "one more was launched"


def test_an_early_success_does_not_count_for_ever(story: Story) -> None:
    story.report(0, BlockState.RUNNING)
    story.errors.note_joined(BlockId("block-0"))
    story.report(0, BlockState.COMPLETED)
    for number in range(1, WINDOW + 1):
        story.fail(number)
    assert story.is_bad


@pytest.mark.parametrize("state", [BlockState.SCALED_IN, BlockState.CANCELLED])
def test_what_was_asked_to_end_is_no_failure(story: Story, state: BlockState) -> None:
    for number in range(WINDOW):
        story.report(number, BlockState.RUNNING)
        story.report(number, state)
    assert not story.is_bad


def test_a_block_that_has_worked_is_no_failure(story: Story) -> None:
    for number in range(WINDOW):
        story.report(number, BlockState.RUNNING)
        story.errors.note_joined(BlockId(f"block-{number}"))
    story.errors.note_worked(BlockId("block-1"))
    for number in range(WINDOW):
        story.report(number, BlockState.FAILED)
    assert not story.is_bad


def test_forgiven_blocks_count_no_more(story: Story) -> None:
    for number in range(WINDOW):
        story.fail(number)
    story.errors.forgive(story.blocks)
    assert not story.is_bad
    for number in range(WINDOW, 2 * WINDOW):
        assert not story.is_bad
        story.fail(number)
    assert story.is_bad


def test_the_text_joins_what_the_batch_system_says_of_each(story: Story) -> None:
    for number in range(WINDOW):
        tail = f"line {number}\nno module named lab"
        story.fail(number, message="NonZeroExitCode", tail=tail)
    bad = story.errors.find_bad_state(story.blocks.values())
    assert bad is not None
    assert bad.text == (
        "the last 3 blocks failed (block-0, block-1, block-2), so nothing can run: "
        "exit code 7, ended (failed) before a manager of it had connected: "
        "NonZeroExitCode, no module named lab; mend that, then `actors resume`"
    )
    newest, *_ = bad.detail.splitlines()
    assert newest == "block block-2 ended: missing"
    assert bad.detail.count("no module named lab") == WINDOW


def test_the_same_text_is_given_once_and_a_long_one_is_cut(story: Story) -> None:
    for number in range(WINDOW):
        story.fail(number, tail="x" * 1500)
    bad = story.errors.find_bad_state(story.blocks.values())
    assert bad is not None
    assert bad.detail.count("exit code 7") == 1
    story.fail(WINDOW, tail="y" * 1500)
    story.fail(WINDOW + 1, tail="z" * 1500)
    bad = story.errors.find_bad_state(story.blocks.values())
    assert bad is not None
    assert len(bad.detail) == 2048
    assert "z" * 1500 in bad.detail


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(BlockState)))))
def test_it_forgets_what_is_not_reported_any_more(
    given: list[tuple[int, BlockState]],
) -> None:
    story = Story()
    for number, state in given:
        story.report(number, state)
        story.errors.note_joined(BlockId(f"block-{number}"))
    story.errors.forgive(story.blocks)
    story.errors.keep(set())
    assert not story.errors._seen | story.errors._joined | story.errors._forgiven
