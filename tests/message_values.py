"""Any value of any type that stands in a message, for Hypothesis."""

import functools
import types
import typing
from typing import Any

import msgspec
from hypothesis import strategies as st

__all__ = ["values"]

_TEXT = st.text(max_size=5)


def values(kind: Any, text: st.SearchStrategy[str] = _TEXT) -> st.SearchStrategy[Any]:
    """Make any value of a type.

    Args:
        kind: the type.
        text: makes its strings, ids and names among them.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, typing.NewType):
        return values(kind.__supertype__, text)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(one, text) for one in arguments])
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(values(arguments[0], text), max_size=3)
    if origin is tuple and arguments[1:] == (...,):
        return st.lists(values(arguments[0], text), max_size=3).map(tuple)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _structs(kind, text)
    if kind is float:
        return st.floats(allow_nan=False)
    if kind is int:
        return st.integers(-(2**63), 2**64 - 1)
    if kind is str:
        return text
    return st.from_type(kind)


@functools.cache
def _structs(
    kind: type[msgspec.Struct], text: st.SearchStrategy[str]
) -> st.SearchStrategy[Any]:
    """Make any value of a struct, which may contain others of its own type."""

    def fields() -> st.SearchStrategy[Any]:
        hints = typing.get_type_hints(kind)
        return st.builds(
            kind, **{n: values(hints[n], text) for n in kind.__struct_fields__}
        )

    return st.deferred(fields)
