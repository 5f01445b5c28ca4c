"""Every node of a job runs once, whatever requests and answers a cluster loses.

Here the cluster is a table in memory that keeps what `Cluster` promises: a name is
taken once, a request may be lost, or its answer, or it may come late.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from providers import (
    JobSpec,
    JobState,
    JobStatus,
    ProviderUnavailable,
    SubmitRejected,
)
from providers.cluster import ClusterProvider, NodeOrder

PATIENCE = 10.0
RUNNING = JobStatus(JobState.RUNNING)
DONE = JobStatus(JobState.COMPLETED, 0)


class Table:
    """A cluster in memory; every provider of a test asks the same one."""

    system = "Table"
    patience = PATIENCE

    def __init__(self) -> None:
        self.nodes: dict[str, JobStatus] = {}
        self.started: list[str] = []  # names, as often as they began
        self.late: list[str] = []  # requests to start that are still on their way
        self.is_silent = False
        self.loses = ""  # of a start: "request", "answer" or "time"
        self.refuses: Sequence[int] = ()  # numbers of nodes

    def _answer(self) -> None:
        if self.is_silent:
            raise ProviderUnavailable("Table is silent")

    def arrive(self) -> None:
        """Let what is on its way come in."""
        for name in self.late:
            self._take(name)
        self.late.clear()

    def _take(self, name: str) -> None:
        if name not in self.nodes:
            self.nodes[name] = RUNNING
            self.started.append(name)

    def start(self, node: NodeOrder) -> None:
        self._answer()
        if node.number in self.refuses:
            raise SubmitRejected("no such queue")
        if self.loses == "time":
            self.late.append(node.name)
        elif self.loses != "request":
            self._take(node.name)
        if self.loses:
            raise ProviderUnavailable(f"Table lost its {self.loses}")

    def look(self, nodes: Sequence[NodeOrder]) -> Mapping[str, JobStatus]:
        self._answer()
        names = [node.name for node in nodes if node.name in self.nodes]
        return {name: self.nodes[name] for name in names}

    def end(self, names: Sequence[str]) -> None:
        self._answer()
        for name in names:
            if name in self.nodes and not self.nodes[name].state.is_final:
                self.nodes[name] = JobStatus(JobState.CANCELLED, 143, "Cancelled")

    def forget(self, names: Sequence[str]) -> None:
        self._answer()
        for name in names:
            assert self.nodes.pop(name).state.is_final

    def close(self) -> None:
        pass


class World:
    """A table, a clock, and the provider that is alive at present."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = Table()
        self.now = 0.0
        self.restart()

    def restart(self) -> None:
        self.provider = ClusterProvider(self.table, 1.0, lambda: self.now)

    def spec(self, nodes: int = 1) -> JobSpec:
        return JobSpec("Lab.block_1", ["true"] * nodes, self.folder / "job")

    def submit(self, nodes: int = 1) -> str:
        """Submit as an endpoint does, which asks again after silence."""
        spec = self.spec(nodes)
        try:
            return self.provider.submit(spec)
        except ProviderUnavailable:
            job_id = self.provider.recover(spec)
            assert job_id is not None
            return job_id

    def status(self, job_id: str) -> JobStatus:
        return self.provider.status([job_id])[job_id]

    def wait(self) -> None:
        self.now += PATIENCE


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_job_runs_and_ends_and_is_forgotten_by_the_cluster(world: World) -> None:
    job_id = world.submit(nodes=2)
    assert world.status(job_id) == RUNNING
    first, second = world.table.started
    assert (first.rpartition("-")[2], second.rpartition("-")[2]) == ("0", "1")
    assert first.startswith("lab-block-1-"), "letters that any cluster takes"
    world.table.nodes[first] = DONE
    assert world.status(job_id) == RUNNING
    assert list(world.table.nodes) == [second]
    world.table.nodes[second] = JobStatus(JobState.FAILED, 3, "OOMKilled", "alas")
    failed = JobStatus(
        JobState.FAILED, 3, "Node 1 exited with code 3; OOMKilled", "alas"
    )
    assert world.status(job_id) == failed
    assert not world.table.nodes
    world.restart()
    assert world.status(job_id) == failed


def test_a_start_whose_answer_was_lost_is_found_again(world: World) -> None:
    world.table.loses = "answer"
    job_id = world.submit()
    assert world.status(job_id) == RUNNING
    world.wait()
    assert world.status(job_id) == RUNNING
    assert len(world.table.started) == 1


def test_a_start_that_was_lost_is_repeated_when_it_can_come_no_more(
    world: World,
) -> None:
    world.table.loses = "request"
    job_id = world.submit()
    world.table.loses = ""
    assert world.status(job_id).state is JobState.PENDING
    assert not world.table.started
    world.wait()
    world.status(job_id)
    assert world.status(job_id) == RUNNING
    assert len(world.table.started) == 1


def test_a_start_that_comes_late_is_not_repeated(world: World) -> None:
    world.table.loses = "time"
    job_id = world.submit()
    world.restart()
    world.table.loses = ""
    assert world.provider.recover(world.spec()) == job_id
    assert world.status(job_id).state is JobState.PENDING
    world.table.arrive()
    world.wait()
    assert world.status(job_id) == RUNNING
    assert len(world.table.started) == 1


def test_a_cancelled_start_that_comes_late_is_ended(world: World) -> None:
    world.table.loses = "time"
    job_id = world.submit()
    world.provider.cancel([job_id])
    assert world.status(job_id).state is JobState.PENDING, "it may still come"
    world.table.arrive()
    world.status(job_id)
    assert world.status(job_id).state is JobState.CANCELLED
    assert not world.table.nodes


def test_a_cancelled_start_that_was_lost_is_over_after_a_while(world: World) -> None:
    world.table.loses = "request"
    job_id = world.submit()
    world.provider.cancel([job_id])
    world.status(job_id)
    world.wait()
    assert world.status(job_id) == JobStatus(JobState.CANCELLED, message="Cancelled")
    assert not world.table.started


def test_a_refused_job_was_never_taken_and_can_be_submitted_once_it_is_mended(
    world: World,
) -> None:
    world.table.refuses = [0]
    with pytest.raises(SubmitRejected, match="no such queue"):
        world.submit()
    assert world.provider.recover(world.spec()) is None
    world.table.refuses = ()
    job_id = world.submit()
    assert world.status(job_id) == RUNNING


def test_a_job_of_which_one_node_is_refused_fails_and_takes_the_others_along(
    world: World,
) -> None:
    world.table.refuses = [1]
    job_id = world.submit(nodes=2)
    world.status(job_id)
    world.wait()
    status = world.status(job_id)
    assert status.state is JobState.FAILED
    assert status.message == "Node 1 was refused: no such queue"
    assert not world.table.nodes


def test_a_start_refused_after_silence_fails_the_job(world: World) -> None:
    world.table.loses = "request"
    job_id = world.submit()
    world.table.loses, world.table.refuses = "", [0]
    world.status(job_id)
    world.wait()
    status = world.status(job_id)
    assert status.state is JobState.FAILED
    assert status.message == "Node 0: no such queue"


def test_a_silent_cluster_makes_jobs_unknown(world: World) -> None:
    job_id = world.submit()
    world.table.is_silent = True
    assert world.status(job_id) == JobStatus(
        JobState.UNKNOWN, message="Table is silent"
    )
    with pytest.raises(ProviderUnavailable):
        world.provider.cancel([job_id])
    world.table.is_silent = False
    assert world.status(job_id).state is JobState.CANCELLED


def test_a_node_that_the_cluster_has_lost_is_unknown_for_a_while_and_then_failed(
    world: World,
) -> None:
    job_id = world.submit()
    world.table.nodes.clear()
    assert world.status(job_id).state is JobState.UNKNOWN
    world.restart()
    assert world.status(job_id).state is JobState.UNKNOWN
    world.wait()
    status = world.status(job_id)
    assert status.state is JobState.FAILED
    assert "Table does not know lab-block-1-" in status.message


STEPS = st.sampled_from(
    [
        *("silent", "heard", "lose request", "lose answer", "lose time", "lose "),
        *("restart", "status", "arrive", "wait", "cancel", "end", "lose node"),
    ]
)


# A node that was asked for a second time came in after its job had ended.
@example(steps=["lose time", "wait", "cancel"], nodes=2)
@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=25), nodes=st.integers(1, 3))
def test_in_any_trouble_a_node_begins_at_most_once_and_none_is_left_behind(
    steps: list[str], nodes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    table = world.table
    table.loses = "answer"
    job_id = world.submit(nodes)
    ended: set[JobState] = set()
    # What the cluster loses before anybody has seen it begins again: it is gone.
    begins = 1 + steps.count("lose node")
    for step in steps:
        match step.split(" "):
            case ["silent"]:
                table.is_silent = True
            case ["heard"]:
                table.is_silent = False
            case ["lose", "node"]:
                # A worker dies with what it runs.
                table.nodes.clear()
            case ["lose", what]:
                table.loses = what
            case ["restart"]:
                world.restart()
            case ["arrive"]:
                table.arrive()
            case ["wait"]:
                # Patience is how long a request may take.
                table.arrive()
                world.wait()
            case ["cancel"]:
                try:
                    world.provider.cancel([job_id])
                except ProviderUnavailable:
                    assert table.is_silent
            case ["end"]:
                table.nodes.update(dict.fromkeys(table.nodes, DONE))
        status = world.status(job_id)
        if status.state.is_final:
            ended.add(status.state)
    table.is_silent, table.loses = False, ""
    table.arrive()
    for _ in range(5):
        world.status(job_id)
        table.arrive()
        table.nodes.update({n: DONE for n, at in table.nodes.items() if at is RUNNING})
        world.wait()
    final = world.status(job_id)
    assert final.state.is_final
    assert ended <= {final.state}, "final states stick"
    assert not table.nodes
    assert all(table.started.count(name) <= begins for name in table.started)
