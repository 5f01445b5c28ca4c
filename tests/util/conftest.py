"""One runtime for all tests of tools."""

from collections.abc import Iterator

import pytest

import actors


@pytest.fixture(scope="package", autouse=True)
def runtime() -> Iterator[None]:
    actors.init(num_workers=2)
    yield
    actors.shutdown()
