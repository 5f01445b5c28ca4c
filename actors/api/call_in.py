"""What runs on an endpoint instead of a function whose program has a namespace.

By reference, so that the endpoint's workers need nothing but this package.
"""

import contextlib
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

from actors.refs import context

__all__ = ["call_in"]


def call_in(namespace: str, function: bytes, *args: Any, **kwargs: Any) -> Any:
    """Call a function whose program has a namespace.

    Args:
        namespace: where it looks for actors' names.
        function: pickled.
        args: its arguments.
        kwargs: those by name.
    """
    called = pickle.loads(function)
    if inspect.isgeneratorfunction(called):
        return _iterate_in(namespace, called(*args, **kwargs))
    with _in_namespace(namespace):
        return called(*args, **kwargs)


def _iterate_in(namespace: str, items: Iterator[Any]) -> Iterator[Any]:
    with _in_namespace(namespace):
        yield from items


@contextlib.contextmanager
def _in_namespace(namespace: str) -> Iterator[None]:
    here = context()
    before, here.namespace = here.namespace, namespace
    try:
        yield
    finally:
        here.namespace = before
