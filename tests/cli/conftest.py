"""The running endpoints that tests of the command line share."""

from tests.endpoints import no_leftovers, shared_endpoint

__all__ = ["no_leftovers", "shared_endpoint"]
