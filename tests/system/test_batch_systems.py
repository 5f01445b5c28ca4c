"""An endpoint grows and shrinks on a real cluster, and a node that dies loses no task.

The cluster has two nodes; see `tests/providers/clusters.py` for where it is.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.messages import BlockState
from tests.endpoints import RunningEndpoint
from tests.providers.clusters import (
    GRIDENGINE,
    SCRIPTS,
    SLURM,
    frozen,
    needs,
    run_script,
    use_gridengine,
    use_slurm,
)
from tests.support import eventually
from tests.system import tasks
from tests.system.support import kill, lines, picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# A job has to be queued, started and connected; a node to be found dead.
WITHIN = 90.0
# Elastic from nothing to both nodes and back.
BLOCKS = {"init_blocks": 0, "min_blocks": 0, "max_blocks": 2, "walltime": 600.0}
SECTIONS: dict[str, Any] = {
    "strategy": {"period": 0.5, "max_idletime": 2.0},
    "heartbeat": {"reconnect_grace": 1.0},
}
MANY_RETRIES = 20
_REPOSITORY = Path(__file__).parents[2]
_CENSUS = _REPOSITORY / "examples/stdlib_census.py"
# Chosen: work for longer than the second block takes to come.
_CENSUS_FILES = 240


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_slurm(monkeypatch)


@pytest.fixture
def on_slurm(slurm: Path) -> Iterator[RunningEndpoint]:
    with RunningEndpoint(
        blocks={"provider": "slurm", **BLOCKS},
        provider_options={"exclusive": True, "poll_period": 1},
        **SECTIONS,
    ) as endpoint:
        yield endpoint


@pytest.fixture
def on_gridengine(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningEndpoint]:
    use_gridengine(monkeypatch)
    with RunningEndpoint(
        # A job has none of our variables.
        blocks={
            "provider": "gridengine",
            "nodes_per_block": 2,
            "environment": {"PYTHONPATH": str(Path(__file__).parents[2])},
            **BLOCKS,
        },
        provider_options={"parallel_environment": "mpi", "poll_period": 1},
        **SECTIONS,
    ) as endpoint:
        yield endpoint


def slurm_says(*words: str) -> str:
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def queue() -> list[str]:
    """List Slurm's jobs that are not over: name, state, node."""
    words = ("squeue", "--noheader", "--states=PD,R,CG", "--format=%j %T %N")
    return slurm_says(*words).splitlines()


def is_shrunk(endpoint: RunningEndpoint) -> bool:
    """Whether both blocks are over, and in order: drained, then perhaps cancelled."""
    states = [block.state for block in picture(endpoint).blocks]
    return len(states) == 2 and set(states) <= {
        BlockState.COMPLETED,
        BlockState.SCALED_IN,
    }


def expect_growth_and_shrinking(endpoint: RunningEndpoint, managers: int) -> None:
    """Check that work makes two blocks appear, and the lack of it makes them go."""
    assert not picture(endpoint).blocks
    with endpoint.executor() as executor:
        futures = [executor.submit(tasks.rest, 1.0) for _ in range(40)]
        eventually(
            lambda: len(picture(endpoint).managers) == managers,
            WITHIN,
            lambda: f"{managers} managers\n{endpoint.tail()}",
        )
        workers = {future.result(WITHIN) for future in as_completed(futures)}
        assert len(workers) == 2 * managers
        eventually(lambda: is_shrunk(endpoint), WITHIN, "no block to be left")
        assert not picture(endpoint).managers
        # And up again.
        assert executor.submit(tasks.square, 3).result(WITHIN) == 9


@needs(SLURM)
def test_an_endpoint_on_slurm_grows_from_nothing_to_its_limit_and_shrinks_to_nothing(
    on_slurm: RunningEndpoint,
) -> None:
    expect_growth_and_shrinking(on_slurm, managers=2)
    on_slurm.stop()
    eventually(lambda: not queue(), WITHIN, "Slurm to have no job of it")


@needs(GRIDENGINE)
def test_an_endpoint_on_grid_engine_grows_and_shrinks_by_blocks_of_two_nodes(
    on_gridengine: RunningEndpoint,
) -> None:
    expect_growth_and_shrinking(on_gridengine, managers=4)


@needs(SLURM)
@needs(SCRIPTS)
def test_a_node_that_is_killed_loses_no_task(
    slurm: Path, on_slurm: RunningEndpoint, tmp_path: Path
) -> None:
    endpoint, node = on_slurm, "n2"
    begun = tmp_path / "begun"
    with endpoint.executor(retries=MANY_RETRIES) as executor:
        futures = [
            executor.submit(tasks.noted, str(begun), number, 0.5)
            for number in range(60)
        ]
        eventually(
            lambda: len(picture(endpoint).managers) == 2 and len(lines(begun)) >= 10,
            WITHIN,
            lambda: f"tasks to run on both nodes\n{endpoint.tail()}",
        )
        assert any(line.endswith(node) for line in queue()), queue()
        run_script("slurm", "node-kill", str(slurm), node)
        try:
            results = [future.result(WITHIN) for future in futures]
        finally:
            run_script("slurm", "node-start", str(slurm), node)
    assert results == list(range(60))
    assert set(lines(begun)) == {str(number) for number in range(60)}


@contextmanager
def census(endpoint: RunningEndpoint) -> Iterator[subprocess.Popen[str]]:
    """Run the README's example on an endpoint, as it stands there."""
    process = subprocess.Popen(
        [sys.executable, str(_CENSUS), "--files", str(_CENSUS_FILES)],
        env={
            **os.environ,
            "ACTORS_ADDRESS": str(endpoint.folder),
            "PYTHONPATH": str(_REPOSITORY),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def expect_good_end(process: subprocess.Popen[str]) -> None:
    """The example compares its results with those of a run without an endpoint."""
    output, _ = process.communicate(timeout=6 * WITHIN)
    assert process.returncode == 0, output


@needs(SLURM)
def test_the_example_runs_unchanged_on_no_node_on_both_and_on_none_again(
    on_slurm: RunningEndpoint,
) -> None:
    endpoint = on_slurm
    assert not picture(endpoint).blocks
    with census(endpoint) as process:
        eventually(
            lambda: len(picture(endpoint).managers) == BLOCKS["max_blocks"],
            WITHIN,
            lambda: f"managers on both nodes\n{endpoint.tail()}",
        )
        expect_good_end(process)
    assert picture(endpoint).tasks["failed"] == 0
    eventually(lambda: is_shrunk(endpoint), WITHIN, "no block to be left")
    eventually(lambda: not queue(), WITHIN, "Slurm to have no job of it")


@needs(SLURM)
@needs(SCRIPTS)
def test_the_example_loses_nothing_when_a_node_is_killed(
    slurm: Path, on_slurm: RunningEndpoint
) -> None:
    endpoint, node = on_slurm, "n2"
    with census(endpoint) as process:
        eventually(
            lambda: (
                len(picture(endpoint).managers) == 2
                and picture(endpoint).tasks["success"] >= 5
                and any(line.endswith(node) for line in queue())
            ),
            WITHIN,
            lambda: f"tasks to run on both nodes\n{endpoint.tail()}",
        )
        assert process.poll() is None, "it was over too soon"
        run_script("slurm", "node-kill", str(slurm), node)
        try:
            expect_good_end(process)
        finally:
            run_script("slurm", "node-start", str(slurm), node)
    assert picture(endpoint).tasks["failed"] == 0


@needs(SLURM)
def test_a_block_that_is_preempted_and_requeued_goes_on_with_its_tasks(
    slurm: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    with RunningEndpoint(
        blocks={"provider": "slurm", **BLOCKS, "max_blocks": 1},
        provider_options={
            "partition": "spot",
            "requeue": True,
            "exclusive": True,
            "poll_period": 1,
        },
        **SECTIONS,
    ) as endpoint:
        with endpoint.executor(retries=MANY_RETRIES) as executor:
            futures = [
                executor.submit(tasks.noted, str(begun), number, 0.5)
                for number in range(20)
            ]
            eventually(lambda: len(lines(begun)) >= 4, WITHIN, "tasks to run")
            lord = slurm_says(
                *("sbatch", "--parsable", "--partition=debug", "--nodes=2"),
                *("--exclusive", f"--output={tmp_path}/lord", "--wrap=sleep 600"),
            )
            try:
                eventually(
                    lambda: any("PENDING" in line for line in queue()),
                    WITHIN,
                    "the block to be requeued",
                )
            finally:
                slurm_says("scancel", lord)
            assert [f.result(WITHIN) for f in futures] == list(range(20))
        (block,) = picture(endpoint).blocks
        assert block.block_id == "block-1", "no other was asked for"


@needs(SLURM)
def test_a_silent_controller_and_a_killed_provider_double_no_block(slurm: Path) -> None:
    controller = int((slurm / "run/slurmctld.pid").read_text())
    with RunningEndpoint(
        blocks={"provider": "slurm", **BLOCKS, "max_blocks": 1},
        provider_options={"poll_period": 1, "command_timeout": 2},
        **SECTIONS,
    ) as endpoint:
        with endpoint.executor() as executor:
            with frozen(controller):
                future = executor.submit(tasks.square, 3)
                eventually(
                    lambda: [b.state for b in picture(endpoint).blocks] == ["unknown"],
                    WITHIN,
                    "a submission without an answer",
                )
                provider = endpoint.pid("provider")
                kill(provider)
                eventually(
                    lambda: endpoint.pids("provider") not in ([], [provider]),
                    WITHIN,
                    "another provider",
                )
            assert future.result(WITHIN) == 9
        (block,) = picture(endpoint).blocks
        folder = endpoint.paths.blocks / block.block_id
        assert [path.name for path in folder.glob("run-*")] == ["run-1"]
        endpoint.stop()
        eventually(lambda: not queue(), WITHIN, "Slurm to have no job of it")
