"""`wait` and `as_completed` take generators among refs: for their next items.

Embedded and on an endpoint, in programs and in their tasks.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    with RunningEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True, params=["embedded", "endpoint"])
def initialized(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "endpoint":
        actors.init(request.getfixturevalue("running").folder)
    else:
        actors.init(num_workers=2)
    yield
    actors.shutdown()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="a-", dir="/tmp") as name:
        yield Path(name)


@actors.remote
def count_to(number: int, folder: Path) -> Iterator[int]:
    """Give the next number once there is a file of its name."""
    for index in range(number):
        eventually((folder / str(index)).exists, 60)
        yield index


@actors.remote
def two(path: Path) -> str:
    eventually(path.exists, 60)
    return "two"


def test_a_generator_is_ready_when_its_next_item_is_there(folder: Path) -> None:
    numbers = count_to.remote(2, folder)
    other = two.remote(folder / "other")
    assert actors.wait([numbers, other], timeout=0) == ([], [numbers, other])
    (folder / "0").touch()
    assert actors.wait([other, numbers]) == ([numbers], [other])
    # It was not taken by that.
    assert actors.wait([numbers], timeout=0) == ([numbers], [])
    assert actors.get(next(numbers)) == 0
    assert actors.wait([numbers], timeout=0.01) == ([], [numbers])
    (folder / "other").touch()
    assert actors.wait([numbers, other]) == ([other], [numbers])
    (folder / "1").touch()
    assert actors.wait([numbers, other], num_returns=2) == ([numbers, other], [])
    assert actors.get(next(numbers)) == 1
    # Its end is worth knowing, too.
    assert actors.wait([numbers]) == ([numbers], [])
    assert next(numbers, None) is None
    assert actors.wait([numbers], timeout=0) == ([numbers], [])


def test_as_completed_gives_the_items_as_they_come(folder: Path) -> None:
    first = count_to.remote(3, folder)
    other = two.remote(folder / "other")
    seen: list[int | str] = []
    (folder / "0").touch()
    for ref in actors.as_completed([first, other]):
        seen.append(actors.get(ref))
        following = {0: "1", 1: "other", "two": "2"}.get(seen[-1])
        if following is not None:
            (folder / following).touch()
    assert seen == [0, 1, "two", 2]


def test_a_failure_makes_it_ready() -> None:
    @actors.remote
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    numbers = fail.remote()
    values = []
    with pytest.raises(ValueError, match="no more"):
        for ref in actors.as_completed([numbers]):
            values.append(actors.get(ref))
    assert values == [1]


def test_what_is_no_ref_is_refused() -> None:
    numbers = count_to.remote(0, Path())
    with pytest.raises(TypeError, match="Expected ObjectRefs, not int"):
        actors.wait([numbers, 1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="all different"):
        actors.wait([numbers, numbers])


@actors.remote
def read_all(folder: Path) -> list[int | str]:
    numbers, other = count_to.remote(3, folder), two.remote(folder / "other")
    early = actors.wait([numbers, other], timeout=0.01)
    assert early == ([], [numbers, other])
    (folder / "0").touch()
    assert actors.wait([other, numbers]) == ([numbers], [other])
    for name in ("1", "2", "other"):
        (folder / name).touch()
    seen: list[int | str] = [actors.get(ref) for ref in numbers]
    assert actors.wait([numbers, other], num_returns=2) == ([numbers, other], [])
    return seen


def test_tasks_wait_for_generators_of_theirs(folder: Path) -> None:
    assert actors.get(read_all.remote(folder)) == [0, 1, 2]


def test_an_actors_generator_can_be_waited_for(folder: Path) -> None:
    @actors.remote
    class Counter(actors.Actor):
        @actors.method
        def count(self, number: int) -> Iterator[int]:
            for index in range(number):
                eventually((folder / str(index)).exists, 60)
                yield index

    counter = Counter.remote()
    numbers = counter.count.remote(1)
    assert actors.wait([numbers], timeout=0) == ([], [numbers])
    (folder / "0").touch()
    assert actors.wait([numbers]) == ([numbers], [])
    assert [actors.get(ref) for ref in numbers] == [0]
