"""Fixtures for tests of what users call."""

import pytest

from tests.endpoints import endpoint, no_leftovers, shared_endpoint

__all__ = ["endpoint", "leave_nothing", "no_leftovers", "shared_endpoint"]


@pytest.fixture(autouse=True)
def leave_nothing(no_leftovers: None) -> None:
    """Look after each test whether it left something."""
