"""What runs in a worker instead of a function that has more than one result.

By reference, so that the endpoint's workers need nothing but this package.
"""

import pickle
from typing import Any

__all__ = ["call_and_list", "call_and_split"]


def call_and_list(function: bytes, *args: Any, **kwargs: Any) -> list[Any]:
    """Call a generator's function and return what it yields.

    Args:
        function: pickled.
        args: its arguments.
        kwargs: those by name.
    """
    return list(pickle.loads(function)(*args, **kwargs))


def call_and_split(function: bytes, count: int, *args: Any, **kwargs: Any) -> list[Any]:
    """Call a function and return its so many results.

    Args:
        function: pickled.
        count: how many values it returns, 0 or more.
        args: its arguments.
        kwargs: those by name.

    Raises:
        ValueError: it returned more or fewer.
    """
    result = pickle.loads(function)(*args, **kwargs)
    values = list(result) if count else []
    if len(values) != count:
        raise ValueError(
            f"The task returned {len(values)} values; its num_returns is {count}"
        )
    return values
