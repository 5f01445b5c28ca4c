"""Options of a provider: read from a table of `endpoint.toml`, checked, explained.

A provider's options are a frozen dataclass with a default for each. Their annotations
are the types: `str`, `bool`, `int` and `float`, whose values an int may have, too.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

__all__ = [
    "check_at_least",
    "check_directives",
    "check_positive",
    "check_word",
    "read_options",
]

_Options = TypeVar("_Options")

_KIND_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


def read_options(shape: type[_Options], given: Mapping[str, Any]) -> _Options:
    """Make a provider's options from what a configuration says.

    Args:
        shape: a dataclass; see the module's docstring.
        given: by name; what is left out keeps its default.

    Raises:
        TypeError: an unknown name, or a value of another type.
        ValueError: what the dataclass itself refuses.
    """
    kinds = get_type_hints(shape)
    assert dataclasses.is_dataclass(shape)
    names = [field.name for field in dataclasses.fields(shape)]
    for name, value in given.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {_listed(names)}"
            raise TypeError(f"{name} is not a known option; {hint}")
        kind = kinds[name]
        # Not isinstance: Python's bool is an int, a configuration's is not.
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise TypeError(f"{name} {value!r} must be {_KIND_NAMES[kind]}")
    return shape(**given)


def check_word(name: str, value: str) -> None:
    """Refuse what cannot be one argument of a command.

    Raises:
        ValueError: it holds a line break or another control character.
    """
    if not value.isprintable():
        raise ValueError(f"{name} {value!r} must be printable text on one line")


def check_positive(name: str, value: float) -> None:
    """Refuse a duration that is none.

    Raises:
        ValueError: not above 0, or infinite.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{name} {value} must be a number of seconds above 0")


def check_at_least(least: int, name: str, value: float) -> None:
    """Refuse a number that is too small, or none.

    Raises:
        ValueError: it is.
    """
    if not value >= least:
        raise ValueError(f"{name} {value} must be {least} or more")


def check_directives(name: str, text: str, prefix: str) -> None:
    """Refuse lines that the batch system would not read as its own.

    Args:
        name: of the option.
        text: lines; empty ones are allowed.
        prefix: that each must begin with, such as `#SBATCH`.

    Raises:
        ValueError: some line begins with something else.
    """
    for line in text.splitlines():
        if line.strip() and line.split(maxsplit=1)[0] != prefix:
            raise ValueError(
                f"{name} line {line!r} must begin with {prefix}; shell lines belong "
                "into worker_init"
            )


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names))
