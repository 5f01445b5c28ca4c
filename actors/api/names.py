"""Names of what is called, for people."""

import functools
from collections.abc import Callable
from typing import Any

from actors.logic.chunks import run_chunk

__all__ = ["name_call"]


def name_call(function: Callable[..., Any]) -> str:
    """Name what is called in the end, for the people who look at its task."""
    name = getattr(function, "__qualname__", None)
    if type(name) is str:
        return name
    if isinstance(function, functools.partial):
        is_chunk = function.func is run_chunk
        return name_call(function.args[0] if is_chunk else function.func)
    # Objects that have whatever attribute they are asked for have no such name either.
    return type(function).__qualname__
