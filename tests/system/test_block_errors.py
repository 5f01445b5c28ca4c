"""Who waits for blocks that never come up is told why, by every future.

Real processes: the launch command of a block fails, or starts no manager.
"""

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

import actors
from actors.messages import BlockState
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks
from tests.system.support import order, picture

pytestmark = pytest.mark.slow

MANAGER = (
    "exec {python} -m actors.endpoint.launch manager {endpoint_dir} "
    "--block {{block_id}} --node {{node}}"
)
# As many as must fail: they do so at once, without the pauses between launches.
THREE = {"init_blocks": 3, "max_blocks": 3}


def test_every_future_has_the_words_of_the_blocks_and_resume_ends_it(
    tmp_path: Path,
) -> None:
    mended = tmp_path / "mended"
    launch = (
        f"if ! test -e {mended}; then echo no module named lab >&2; exit 7; fi; "
        f"{MANAGER}"
    )
    with RunningEndpoint(blocks={"launch_command": launch, **THREE}) as endpoint:
        with endpoint.executor() as executor:
            first = [executor.submit(tasks.square, n) for n in range(20)]
            errors = [future.exception(30) for future in first]
            errors.append(executor.submit(tasks.square, 1).exception(30))
            for error in errors:
                assert isinstance(error, actors.BadStateError)
                assert isinstance(error, BrokenProcessPool)
                assert "exit code 7" in str(error)
                assert "no module named lab" in error.detail
                assert "`actors resume`" in error.message
            status = picture(endpoint)
            assert "no module named lab" in status.bad_state_detail
            # Those launched last may only just have ended.
            eventually(
                lambda: (
                    {b.state for b in picture(endpoint).blocks} == {BlockState.MISSING}
                ),
                what="all blocks to be seen to have had no manager",
            )
            mended.touch()
            order(endpoint, "resume")
            assert executor.submit(tasks.square, 3).result(30) == 9
        assert not picture(endpoint).bad_state


def test_a_block_that_no_manager_connects_from_is_missing_and_ended() -> None:
    with RunningEndpoint(
        blocks={
            "launch_command": "echo asleep >&2; sleep 600 # {{block_id}}.{{node}}",
            "connect_timeout": 1.0,
            **THREE,
        },
    ) as endpoint:
        with endpoint.executor() as executor:
            error = executor.submit(tasks.square, 1).exception(30)
        assert isinstance(error, actors.BadStateError)
        assert "no manager of it has connected for 1 s" in str(error)
        assert "asleep" in error.detail
        eventually(
            lambda: {b.state for b in picture(endpoint).blocks} == {BlockState.MISSING},
            what="the jobs to be ended",
        )
