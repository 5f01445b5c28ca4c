"""Who knows `concurrent.futures` knows our executor: it passes CPython's own tests."""

from collections.abc import Iterator

import pytest

import actors
from tests.api.cpython_contract import (
    AsCompletedCases,
    BaseTestCase,
    ExecutorCases,
    ExecutorMixin,
    FailingInitializerCases,
    InitializerCases,
    ShutdownCases,
    WaitCases,
)
from tests.endpoints import RunningEndpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.contract,
    pytest.mark.usefixtures("address"),
]

# As many workers as the mixins' `worker_count`: some tests know how long 50 naps take.
_WORKERS = ExecutorMixin.worker_count


@pytest.fixture(scope="module")
def address() -> Iterator[None]:
    """Run an endpoint which executors without an address find, here and in scripts."""
    with (
        RunningEndpoint(workers={"workers_per_node": _WORKERS}) as endpoint,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("ACTORS_ADDRESS", str(endpoint.folder))
        yield


class _EndpointMixin(ExecutorMixin):  # type: ignore[misc]
    executor_type = actors.Executor


class TestExecutor(ExecutorCases, _EndpointMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestWait(WaitCases, _EndpointMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestAsCompleted(AsCompletedCases, _EndpointMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestInitializer(InitializerCases, _EndpointMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestFailingInitializer(FailingInitializerCases, _EndpointMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestShutdown(ShutdownCases, _EndpointMixin, BaseTestCase):  # type: ignore[misc]
    pass
