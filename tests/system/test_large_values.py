"""Large values lie in shared memory, once, whoever dies; and are gone when unneeded.

Between processes of one host, that is: real ones, and real SIGKILL.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import actors
from actors.certificates import make_certificates
from actors.messages import AckResults, Results, Submit, Task, TaskId
from actors.payload import dump_arguments, dump_function, load_result
from tests.endpoints import RunningEndpoint, no_leftovers
from tests.support import eventually, free_port
from tests.system.peers import Member
from tests.system.support import kill, picture

__all__ = ["no_leftovers"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leftovers")]

Bytes = npt.NDArray[np.uint8]

BYTES = 1 << 20
_SHM = Path("/dev/shm")
_REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fleet() -> Iterator[RunningEndpoint]:
    """Run two blocks of two workers, which come back when they are lost."""
    with RunningEndpoint(
        blocks={"init_blocks": 2, "min_blocks": 2, "max_blocks": 2},
        heartbeat={"reconnect_grace": 1.0},
    ) as running:
        running.await_workers(4)
        yield running


@pytest.fixture
def program(fleet: RunningEndpoint) -> Iterator[None]:
    actors.init(fleet.folder)
    yield
    actors.shutdown()


def place_of(array: Any) -> str:
    """Name the file whose memory an array is; "": it is this process's own."""
    address = array.__array_interface__["data"][0]
    with open("/proc/self/maps", encoding="ascii") as maps:
        for line in maps:
            start, _, end = line.partition(" ")[0].partition("-")
            if int(start, 16) <= address < int(end, 16):
                return f"{line.partition('/')[1]}{line.partition('/')[2]}".strip()
    raise AssertionError("it is nowhere")


def is_shared(array: Any) -> bool:
    lies_there = place_of(array).startswith("/dev/shm/actors-objects-")
    return lies_there and not array.flags.writeable


def look(array: Bytes, *more: Bytes) -> tuple[bool, int, int]:
    """Tell whether arguments are shared, what they are, and who looks."""
    every = (array, *more)
    return all(map(is_shared, every)), sum(int(a[-1]) for a in every), os.getpid()


def filled(number: int) -> Bytes:
    return np.full(BYTES, number, np.uint8)


def doubled(array: Bytes) -> Bytes:
    return array * 2


def folders(endpoint: RunningEndpoint) -> list[Path]:
    """List the folders in shared memory of an endpoint, and of its clients."""
    ours = {os.getpid(), *(process.pid for process in endpoint.processes())}
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    inodes = {
        int(place.rpartition(":")[2])
        for _, kind, _, _, pid, place, *_ in locks
        if kind == "FLOCK" and int(pid) in ours
    }
    found = []
    for folder in _SHM.glob("actors-objects-*"):
        # It goes just now, perhaps.
        with suppress(FileNotFoundError):
            if (folder / "lock").stat().st_ino in inodes:
                found.append(folder)
    return found


def payloads(endpoint: RunningEndpoint) -> list[str]:
    """List what they have there."""
    found = []
    for folder in folders(endpoint):
        with suppress(FileNotFoundError):
            found += [str(folder / name) for name in os.listdir(folder)]
    return [path for path in found if not path.endswith("/lock")]


def kill_newest(endpoint: RunningEndpoint, role: str) -> bool:
    """Kill a process of a role; false: just now there is none."""
    pids = endpoint.pids(role)
    if pids:
        kill(pids[-1])
    return bool(pids)


def await_taken(endpoint: RunningEndpoint, count: int) -> None:
    """Wait until an endpoint has so many tasks that have not ended."""
    states = ("waiting-for-nodes", "waiting-for-launch", "running")
    eventually(
        lambda: sum(map(picture(endpoint).tasks.__getitem__, states)) == count,
        what=f"{count} tasks to be taken",
    )


# Every way that values go


def test_arguments_and_results_of_tasks_are_shared(program: None) -> None:
    ref = actors.remote(look).remote(filled(3), filled(4))
    shared, total, _ = actors.get(ref)
    assert (shared, total) == (True, 7)
    array = actors.get(actors.remote(filled).remote(5))
    assert is_shared(array)
    # A result that is an argument again.
    again = actors.remote(doubled).remote(actors.remote(doubled).remote(array))
    assert int(actors.get(again)[-1]) == 20


def test_a_value_that_is_no_array_comes_whole(program: None) -> None:
    texts = {"a": "x" * BYTES, "b": [b"y" * BYTES, {"c": "ü" * BYTES}]}
    assert actors.get(actors.remote(_same).remote(texts)) == texts


def _same(value: Any) -> Any:
    return value


def test_items_of_generators_are_shared(program: None) -> None:
    def count(array: Bytes) -> Iterator[Bytes]:
        for number in range(10):
            yield array + np.uint8(number)

    refs = actors.remote(count).remote(filled(1))
    arrays = [actors.get(ref) for ref in refs]
    assert [int(array[0]) for array in arrays] == list(range(1, 11))
    assert all(map(is_shared, arrays))


def test_what_actors_are_made_of_and_called_with_is_shared(program: None) -> None:
    class Keeper:
        def __init__(self, array: Bytes) -> None:
            self.array = array

        def looks(self, array: Bytes) -> tuple[bool, int, int]:
            return look(self.array, array)

        async def adds(self, array: Bytes) -> Bytes:
            return self.array + array

    keeper = actors.remote(Keeper).remote(filled(1))
    assert actors.get(keeper.looks.remote(filled(2)))[:2] == (True, 3)
    result = actors.get(keeper.adds.remote(filled(3)))
    assert int(result[-1]) == 4
    assert is_shared(result)


def test_a_supervised_actor_may_be_made_of_large_values(program: None) -> None:
    class Keeper:
        def __init__(self, array: Bytes) -> None:
            self.array = array

        def total(self) -> int:
            return int(self.array.sum())

    child = actors.Child("keeper", Keeper, args=(filled(2),))
    with actors.Supervisor([child]) as supervisor:
        assert actors.get(supervisor["keeper"].total.remote()) == 2 * BYTES


def test_tasks_that_call_tasks_share_values(program: None) -> None:
    def outer(array: Bytes) -> tuple[bool, bool, int]:
        inner = actors.remote(doubled).remote(array)
        shared, total, _ = actors.get(actors.remote(look).remote(inner))
        return shared, is_shared(actors.get(inner)), total

    assert actors.get(actors.remote(outer).remote(filled(7))) == (True, True, 14)


def test_an_executor_shares_values(fleet: RunningEndpoint) -> None:
    with fleet.executor() as executor:
        assert executor.submit(look, filled(9)).result(30)[:2] == (True, 9)
        result = executor.submit(filled, 8).result(30)
    # It outlives the executor.
    assert is_shared(result)
    assert int(result.sum()) == 8 * BYTES


def test_nothing_is_left_of_what_nobody_needs(
    fleet: RunningEndpoint, program: None
) -> None:
    arrays = actors.get([actors.remote(filled).remote(n) for n in range(8)])
    refs = [actors.remote(look).remote(array) for array in arrays]
    assert [total for _, total, _ in actors.get(refs)] == list(range(8))
    # The arrays are still there, and need no names.
    eventually(lambda: not payloads(fleet), what=lambda: f"{payloads(fleet)} to go")
    assert [int(array[0]) for array in arrays] == list(range(8))


# Whoever dies


@pytest.mark.parametrize(
    ("role", "times"), [("worker", 4), ("interchange", 3), ("manager", 1)]
)
def test_no_value_is_lost_with_a_process(
    fleet: RunningEndpoint, tmp_path: Path, role: str, times: int
) -> None:
    gate = tmp_path / "gate"

    def work(array: Bytes, number: int) -> Bytes:
        if not number:
            eventually(gate.exists, 60)
        return array + np.uint8(number)

    # Whatever dies may be what runs them, again and again.
    with fleet.executor(retries=50) as executor:
        futures = [executor.submit(work, filled(1), number) for number in range(60)]
        try:
            for time in range(times):
                # In the midst of it, each time a little further.
                eventually(futures[1 + 3 * time].done, what="some to be done")
                eventually(lambda: kill_newest(fleet, role), what=role)
        finally:
            gate.touch()
        for number, future in enumerate(futures):
            array = future.result(120)
            assert array.shape == (BYTES,)
            assert int(array[0]) == int(array[-1]) == 1 + number


def test_values_of_waiting_tasks_survive_the_endpoint(tmp_path: Path) -> None:
    """Their memory goes with their processes: they come back from the journal."""
    gate = tmp_path / "gate"

    def work(array: Bytes) -> tuple[int, Bytes]:
        eventually(gate.exists, 60)
        return int(array.sum()), array

    with RunningEndpoint() as endpoint, endpoint.executor() as executor:
        futures = [executor.submit(work, filled(number)) for number in range(6)]
        await_taken(endpoint, 6)
        endpoint.kill()
        endpoint.start()
        gate.touch()
        for number, future in enumerate(futures):
            total, array = future.result(60)
            assert total == number * BYTES
            assert int(array[-1]) == number


def test_a_killed_client_leaves_nothing() -> None:
    script = """
        import sys, time
        import numpy as np
        import actors

        def sleep(array):
            time.sleep(600)

        actors.init(sys.argv[1])
        refs = [actors.remote(sleep).remote(np.ones(1 << 20)) for _ in range(8)]
        time.sleep(600)
    """
    # Its tasks are cancelled when it has been away for a second.
    with RunningEndpoint(results={"keep": 1.0}) as endpoint:
        client = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(endpoint.folder)],
            cwd=_REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        )
        try:
            await_taken(endpoint, 8)
            # At the interchange, and some at the manager.
            eventually(lambda: len(payloads(endpoint)) > 8, what="values to be there")
            before = folders(endpoint)
        finally:
            client.kill()
            client.wait()
        eventually(lambda: not payloads(endpoint), 60, "its values to go")
        gone = [folder for folder in before if not folder.exists()]
        assert len(gone) >= 1, "its folder is there"


# Over the network


def test_members_over_the_network_share_what_they_see() -> None:
    running = RunningEndpoint(
        transport={"listen": f"wss://127.0.0.1:{free_port()}"},
        workers={"workers_per_node": 1},
    )
    make_certificates(running.paths.credentials, ["127.0.0.1"])
    with running as endpoint, endpoint.executor() as executor:
        # Then both sides know what the other one sees.
        assert executor.submit(abs, -1).result(30) == 1
        assert executor.submit(look, filled(9)).result(30)[:2] == (True, 9)
        assert is_shared(executor.submit(filled, 3).result(30))


def test_members_that_see_other_memory_get_it_in_messages(
    fleet: RunningEndpoint,
) -> None:
    with Member(fleet, "client") as member:
        arguments = dump_arguments(doubled, (filled(4),), {})
        member.say(
            Submit([Task(TaskId("far"), dump_function(doubled), arguments, 0.0)])
        )
        (outcome,) = member.hear(Results, 30).outcomes
        array = load_result(outcome.payload)
        assert len(outcome.payload) > BYTES
        assert not is_shared(array)
        assert int(array[-1]) == 8
        member.say(AckResults([outcome.task_id]))
