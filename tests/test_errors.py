"""Every error keeps its class, its fields and its text on the way between processes."""

import copy
import pickle
from concurrent.futures.process import BrokenProcessPool

import pytest

from actors import errors
from actors.errors import ActorsError
from actors.task_errors import ManagerLost, TaskFailed, TaskLost, WorkerCrashed


def every_error() -> list[type[ActorsError]]:
    found, todo = [], [ActorsError]
    while todo:
        kind = todo.pop()
        found.append(kind)
        todo += [k for k in kind.__subclasses__() if k.__module__ == errors.__name__]
    return found


def make(kind: type[ActorsError]) -> ActorsError:
    if issubclass(kind, TaskFailed):
        return kind("worker w1 died", "the last lines")
    return kind("limit 5 exceeds 3: lower it")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", every_error())
def test_every_error_survives_pickle(kind: type[ActorsError], protocol: int) -> None:
    error = make(kind)
    error.add_note("a note")
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (
        str(error),
        error.args,
        vars(error),
    )


@pytest.mark.parametrize("kind", every_error())
def test_every_error_can_be_copied(kind: type[ActorsError]) -> None:
    assert str(copy.copy(make(kind))) == str(make(kind))


def test_every_error_is_public_and_all_names_exist() -> None:
    assert {kind.__name__ for kind in every_error()} == set(errors.__all__)


def test_a_failed_task_tells_what_and_what_is_known_beyond() -> None:
    error = TaskFailed("it failed", "because")
    assert (error.message, error.detail) == ("it failed", "because")
    assert str(error) == "it failed\nbecause"
    assert str(TaskFailed("it failed")) == "it failed"


@pytest.mark.parametrize("kind", [WorkerCrashed, ManagerLost])
def test_a_crash_is_what_executors_call_a_broken_pool(kind: type[TaskFailed]) -> None:
    assert issubclass(kind, BrokenProcessPool)
    assert not issubclass(TaskLost, BrokenProcessPool)


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (errors.ConfigError, ValueError),
        (errors.NotSerializable, TypeError),
        (errors.PayloadTooLarge, ValueError),
        (errors.AddressError, ConnectionError),
        (errors.AdmissionRefused, ConnectionError),
        (errors.TransportClosed, ConnectionError),
        (errors.MalformedFrame, ValueError),
        (errors.BrokenInvariant, AssertionError),
    ],
)
def test_an_error_is_also_what_python_calls_it(
    kind: type[ActorsError], base: type[Exception]
) -> None:
    assert issubclass(kind, base)
