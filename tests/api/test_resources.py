"""Tasks and actors get what they ask for, here and on an endpoint: no more, no less."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import actors
from tests.both_ways import BOTH_WAYS, initialized
from tests.support import eventually

pytestmark = pytest.mark.slow

LICENSES = {"license": 1.0}


@pytest.fixture(scope="module", autouse=True, params=BOTH_WAYS)
def runtime(request: pytest.FixtureRequest) -> Iterator[str]:
    """Two processors, two GPUs and a license."""
    own = {"num_workers": 2, "num_gpus": 2, "resources": LICENSES}
    node = {"workers_per_node": 2, "gpus": 2, "resources": LICENSES}
    tables = {"workers": node}
    with initialized(request.param, embedded=own, endpoint=tables) as way:
        yield way


@actors.remote
def gpus() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@actors.remote
def meet(folder: Path, name: str, others: list[str]) -> str | None:
    """Wait until others run, too."""
    (folder / name).touch()
    eventually(lambda: all((folder / other).exists() for other in others))
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@actors.remote
def alone(folder: Path) -> None:
    """Fail if another one runs at the same time."""
    mark = folder / "mark"
    mark.touch(exist_ok=False)
    time.sleep(0.02)  # another one would have the time to come in between
    mark.unlink()


@actors.remote(num_cpus=2)
def outer() -> str:
    return actors.get(inner.remote())


@actors.remote(num_cpus=2)
def inner() -> str:
    return "inner"


class Model:
    def gpus(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_each_task_has_its_gpus_to_itself_and_others_see_none(tmp_path: Path) -> None:
    one = meet.options(num_gpus=1, num_cpus=0)
    names = ["a", "b"]
    seen = actors.get([one.remote(tmp_path, name, names) for name in names])
    assert sorted(str(gpu) for gpu in seen) == ["0", "1"]
    assert actors.get(gpus.options(num_gpus=2).remote()) == "0,1"
    assert actors.get(gpus.remote()) is None


def test_parts_of_processors_run_side_by_side(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    half = meet.options(num_cpus=0.5)
    actors.get([half.remote(tmp_path, name, names) for name in names])


@pytest.mark.parametrize(
    "options", [{"num_cpus": 2}, {"resources": LICENSES}, {"num_gpus": 2}]
)
def test_what_is_there_once_is_given_to_one_at_a_time(
    tmp_path: Path, options: dict[str, object]
) -> None:
    one = alone.options(**options)  # type: ignore[call-overload]
    actors.get([one.remote(tmp_path) for _ in range(4)])


def test_a_task_that_waits_lends_its_processors() -> None:
    assert actors.get([outer.remote() for _ in range(3)]) == ["inner"] * 3


def test_an_actor_keeps_its_gpus_until_it_ends() -> None:
    model = actors.remote(Model).options(num_gpus=1.0).remote()
    taken = actors.get(model.gpus.remote())
    left = actors.get([gpus.options(num_gpus=1).remote() for _ in range(3)])
    assert {taken, *left} == {"0", "1"}
    assert taken not in left
    del model
    assert actors.get(gpus.options(num_gpus=2).remote()) is not None


@pytest.mark.parametrize(
    ("options", "lack"),
    [
        ({"num_cpus": 64}, "CPU"),
        ({"num_gpus": 3}, "GPU"),
        ({"resources": {"tape": 1}}, "tape"),
    ],
)
def test_what_there_will_never_be_is_told_and_not_waited_for(
    options: dict[str, object], lack: str
) -> None:
    with pytest.raises(actors.ConfigError, match=rf"gpus needs .* \d+ {lack}"):
        gpus.options(**options).remote()  # type: ignore[call-overload]
    with pytest.raises(actors.ConfigError, match=rf"Model.* needs .* \d+ {lack}"):
        actors.remote(Model).options(**options).remote()


def test_what_there_is_and_what_is_free_of_it_can_be_asked() -> None:
    total = {"CPU": 2.0, "GPU": 2.0, "license": 1.0}
    actors.get(gpus.remote())
    assert actors.cluster_resources() == total
    eventually(lambda: actors.available_resources() == total)
    model = actors.remote(Model).options(num_gpus=0.5, resources=LICENSES).remote()
    actors.get(model.gpus.remote())
    assert actors.available_resources() == {"CPU": 2.0, "GPU": 1.5, "license": 0.0}
