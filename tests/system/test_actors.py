"""Actors outlive the interchange, and detached ones the program that made them.

What they had in memory goes with their process alone.
"""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = pytest.mark.slow

_BLOCKS = {"init_blocks": 1, "min_blocks": 1, "max_blocks": 1}


@pytest.fixture
def running() -> Iterator[RunningEndpoint]:
    with RunningEndpoint(blocks=_BLOCKS) as endpoint:
        actors.init(endpoint.folder)
        yield endpoint
        actors.shutdown()


class Counting:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def pid(self) -> int:
        return os.getpid()


Counter = actors.remote(Counting)


def test_an_actor_and_its_calls_outlive_the_interchange(
    running: RunningEndpoint,
) -> None:
    counter: Any = Counter.remote()
    assert actors.get(counter.add.remote()) == 1
    refs = []
    for _ in range(3):
        refs += [counter.add.remote() for _ in range(50)]
        os.kill(running.pid("interchange"), signal.SIGKILL)
        refs += [counter.add.remote() for _ in range(50)]
        assert actors.get(refs[-1], timeout=60) == len(refs) + 1
    assert actors.get(refs) == list(range(2, 302))


def test_a_supervisor_goes_on_and_counts_on_though_the_interchange_dies(
    running: RunningEndpoint,
) -> None:
    supervisor = actors.Supervisor(
        [actors.Child(name, Counter) for name in "abc"],
        restart_scope="rest_for_one",
        max_restarts=3,
        period=600.0,
        backoff=(0.2, 0.2),
    ).start(timeout=60)
    handles = [supervisor[name] for name in "abc"]
    assert actors.get([h.add.remote() for h in handles], timeout=60) == [1, 1, 1]
    for killed in range(1, 4):
        died = actors.watch(handles[1])
        os.kill(actors.get(handles[1].pid.remote(), timeout=60), signal.SIGKILL)
        if killed == 2:
            # Else while its end is not known yet.
            assert not actors.get(died, timeout=60).is_final
        os.kill(running.pid("interchange"), signal.SIGKILL)
        assert actors.get(died, timeout=60).incarnation == killed
        answers = actors.get([h.add.remote() for h in handles[:2]], timeout=60)
        assert answers == [1 + killed, 1], "the second begins anew"
    os.kill(actors.get(handles[1].pid.remote(), timeout=60), signal.SIGKILL)
    ended = actors.get(supervisor.watch(), timeout=60)
    assert ended.reason is actors.DeathReason.RESTARTS_EXCEEDED
    with pytest.raises(actors.ActorDiedError, match="more than 3 restarts"):
        actors.get(handles[0].add.remote(), timeout=60)


def test_a_program_that_leaves_takes_its_supervisors_along(
    running: RunningEndpoint,
) -> None:
    class Boss:
        """It lives on, and so does what it supervises."""

        def __init__(self) -> None:
            children = [actors.Child("a", Counter)]
            self.supervisor = actors.Supervisor(children).start()

        def child(self) -> Any:
            return self.supervisor["a"]

    boss: Any = actors.remote(Boss).options(name="boss", lifetime="detached").remote()
    kept = actors.get(boss.child.remote(), timeout=60)
    assert actors.get(kept.add.remote(), timeout=60) == 1
    named = Counter.options(name="mine")
    mine = actors.Supervisor([actors.Child("mine", named)]).start(timeout=60)
    assert actors.get(mine["mine"].add.remote()) == 1
    del kept, boss, mine
    actors.shutdown()
    actors.init(running.folder)
    with pytest.raises(actors.NoSuchActorError):
        eventually(lambda: actors.get_actor("mine") is None)
    boss = actors.get_actor("boss")
    kept = actors.get(boss.child.remote(), timeout=60)
    assert actors.get(kept.add.remote(), timeout=60) == 2
    actors.kill(boss)


@actors.remote
def count_slowly(count: int) -> Iterator[int]:
    for number in range(count):
        yield number
        time.sleep(0.005)


def test_a_generators_items_come_once_though_the_interchange_dies(
    running: RunningEndpoint,
) -> None:
    got = []
    for ref in count_slowly.remote(200):
        got.append(actors.get(ref))
        if got[-1] in (40, 120):
            os.kill(running.pid("interchange"), signal.SIGKILL)
    assert got == list(range(200))


def test_a_detached_actor_is_found_by_a_later_program(running: RunningEndpoint) -> None:
    made: Any = Counter.options(name="tally", lifetime="detached").remote()
    assert actors.get(made.add.remote()) == 1
    del made
    actors.shutdown()
    actors.init(running.folder)
    found: Any = actors.get_actor("tally")
    assert actors.get(found.add.remote()) == 2
    actors.kill(found)
    with pytest.raises(actors.ActorDiedError, match="killed"):
        actors.get(found.add.remote())
    with pytest.raises(actors.NoSuchActorError):
        actors.get_actor("tally")


def test_a_lost_node_is_the_end_of_an_incarnation(running: RunningEndpoint) -> None:
    mortal: Any = Counter.remote()
    restarted: Any = Counter.options(max_restarts=1).remote()
    assert actors.get([mortal.add.remote(), restarted.add.remote()]) == [1, 1]
    died = actors.watch(mortal)
    os.kill(running.pid("manager"), signal.SIGKILL)
    assert actors.get(died, timeout=60).reason is actors.DeathReason.NODE_LOST
    with pytest.raises(actors.ActorDiedError, match="was lost"):
        actors.get(mortal.add.remote())
    assert actors.get(restarted.add.remote(), timeout=60) == 1


def test_an_operator_restarts_an_actor_and_a_manager(running: RunningEndpoint) -> None:
    interchange: Any = actors.get_actor("interchange", namespace="endpoint")
    counter: Any = Counter.options(name="tally", max_restarts=1).remote()
    pid = actors.get(counter.pid.remote())
    assert actors.get([counter.add.remote() for _ in range(3)]) == [1, 2, 3]
    for _ in range(2):
        told = actors.get(interchange.restart.remote("tally"), timeout=30)
        assert "Counting 'tally'" in told
        again = actors.get(counter.pid.remote(), timeout=60)
        assert again != pid
        pid = again
    refs = [counter.add.remote() for _ in range(100)]
    assert actors.get(refs, timeout=60) == list(range(1, 101)), "in their order"
    # A manager begins anew in its block: as the same process, with other workers.
    drawn = actors.get(interchange.status.remote())
    manager, workers = drawn.managers[0].pid, set(running.pids("worker"))
    block: Any = actors.get_actor("block-1.0", namespace="endpoint")
    assert "actors that begin again: 1" in actors.get(block.restart.remote())
    assert actors.get(counter.add.remote(), timeout=60) == 1
    assert manager in running.pids("manager")
    assert not workers & set(running.pids("worker"))
    status = actors.get(interchange.status.remote())
    (counted,) = status.actors
    assert (counted.incarnation, counted.state) == (4, "alive")
    assert [each.pid for each in status.managers] == [manager]
    # The provider looks every few seconds.
    eventually(
        lambda: (
            [b.state for b in actors.get(interchange.status.remote()).blocks]
            == ["running"]
        ),
        what="the block to run",
    )


def test_a_detached_actor_is_there_again_when_the_endpoint_is(
    running: RunningEndpoint,
) -> None:
    options = Counter.options(name="tally", lifetime="detached", max_restarts=-1)
    made: Any = options.remote()
    assert actors.get(made.add.remote()) == 1
    actors.shutdown()
    running.stop()
    running.start()
    actors.init(running.folder)
    found: Any = actors.get_actor("tally")
    assert actors.get(found.add.remote(), timeout=60) == 1
    actors.kill(found)


def test_actors_killed_at_random_answer_each_call_once_or_say_why(
    running: RunningEndpoint,
) -> None:
    many: list[Any] = [
        Counter.options(max_restarts=-1, max_task_retries=-1).remote() for _ in range(3)
    ]
    refs = []
    for round_ in range(4):
        pids = actors.get([each.pid.remote() for each in many], timeout=60)
        refs += [each.add.remote() for each in many for _ in range(20)]
        os.kill(pids[round_ % 3], signal.SIGKILL)
    values = actors.get(refs, timeout=60)
    assert all(1 <= value <= 80 for value in values)
    eventually(lambda: len(running.pids("worker")) >= 5, 30)
