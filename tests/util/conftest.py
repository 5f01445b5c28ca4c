"""A runtime for each file's tests of tools; twice if it says so: here, on an endpoint.

RUNTIMES = ["embedded", "endpoint"]
"""

import contextlib
from collections.abc import Iterator
from multiprocessing import resource_tracker

import pytest

import actors
from tests.endpoints import RunningEndpoint
from tests.leaks import no_leaks


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a file's tests on each runtime that it names."""
    if "runtime" in metafunc.fixturenames:
        wanted = getattr(metafunc.module, "RUNTIMES", ["embedded"])
        metafunc.parametrize("runtime", wanted, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def runtime(request: pytest.FixtureRequest) -> Iterator[str]:
    # The first standard pool of a process starts it, and it stays, with a descriptor.
    resource_tracker.ensure_running()
    kind: str = request.param
    if kind == "embedded":
        actors.init(num_workers=2)
        yield kind
        actors.shutdown()
        return
    with RunningEndpoint() as endpoint:
        actors.init(endpoint.folder)
        yield kind
        actors.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left(runtime: str) -> Iterator[None]:
    """Look after each test whether it left something."""
    with no_leaks() if runtime == "embedded" else contextlib.nullcontext():
        yield
