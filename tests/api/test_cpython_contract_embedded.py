"""Who knows `concurrent.futures` knows our executor: it passes CPython's own tests."""

import pytest

from actors.api.embedded_executor import EmbeddedExecutor
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

pytestmark = [pytest.mark.slow, pytest.mark.contract]


class _EmbeddedMixin(ExecutorMixin):  # type: ignore[misc]
    executor_type = EmbeddedExecutor


class TestExecutor(ExecutorCases, _EmbeddedMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestWait(WaitCases, _EmbeddedMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestAsCompleted(AsCompletedCases, _EmbeddedMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestInitializer(InitializerCases, _EmbeddedMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestFailingInitializer(FailingInitializerCases, _EmbeddedMixin, BaseTestCase):  # type: ignore[misc]
    pass


class TestShutdown(ShutdownCases, _EmbeddedMixin, BaseTestCase):  # type: ignore[misc]
    pass
