"""One runtime for all tests of tools."""

from collections.abc import Iterator

import pytest

import actors
from tests.leaks import no_leaks


@pytest.fixture(scope="package", autouse=True)
def runtime() -> Iterator[None]:
    actors.init(num_workers=2)
    yield
    actors.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Look after each test whether it left something."""
    with no_leaks():
        yield
