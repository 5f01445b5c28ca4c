"""What a key should have been: the words for a wrong value or an unknown key."""

import datetime
import difflib
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import inspect

from actors.config.shape import EndpointConfig
from actors.config.values import shown
from actors.config.workers import WorkerTypeConfig

__all__ = [
    "FAMILIES",
    "KEYS",
    "SECTIONS",
    "explain_unknown",
    "explain_value",
    "plain_type",
]

# {section: its shape}
SECTIONS: dict[str, type[msgspec.Struct]] = {
    field.name: field.type
    for field in msgspec.structs.fields(EndpointConfig)
    if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
}
# {section: the shape of the tables in it}, which have names that the user gives
FAMILIES: dict[str, type[msgspec.Struct]] = {"worker_types": WorkerTypeConfig}
# {section: its keys}; "" is the top of the file, with its tables
KEYS: dict[str, tuple[str, ...]] = {
    "": EndpointConfig.__struct_fields__,
    **{
        name: shape.__struct_fields__
        for name, shape in (*SECTIONS.items(), *FAMILIES.items())
    },
}

# Chosen: difflib's cost grows with the square of a key's length.
_COMPARED_CHARACTERS = 64


def plain_type(shape: Any) -> tuple[inspect.Type, dict[str, Any]]:
    """Take off a type what is not its kind: the description, and that it may be absent.

    Returns:
        The plain type, and what its description holds for error messages.
    """
    rule = inspect.type_info(shape)
    extra: dict[str, Any] = {}
    while True:
        match rule:
            case inspect.Metadata(type=inner):
                extra |= rule.extra or {}
                rule = inner
            case inspect.UnionType(types=types):
                # Absent is None in Python; TOML has no value for it.
                (rule,) = (t for t in types if not isinstance(t, inspect.NoneType))
            case _:
                return rule, extra


def explain_value(shape: Any, value: Any) -> str:
    """Say what a value must be, after it was refused.

    Args:
        shape: type of the key.
        value: as TOML gave it.
    """
    rule, extra = plain_type(shape)
    wanted, kinds = _describe(rule)
    must = f"must be {wanted}"
    # Not isinstance: Python's bool is an int, TOML's is not.
    if type(value) not in kinds:
        return f"{must}, not {_name_kind(value)}{_hint(rule, value)}"
    if isinstance(rule, inspect.LiteralType):
        meant = _closest(value, [str(v) for v in rule.values])
        return f"{must}; did you mean {shown(meant)}?" if meant else must
    if isinstance(rule, inspect.StrType):
        if rule.max_length is not None and len(value) > rule.max_length:
            return f"must have at most {rule.max_length} characters, not {len(value)}"
        return f"must {extra['must']}" if "must" in extra else must
    return must


def explain_unknown(section: str, name: str) -> tuple[str, list[tuple[str, str]]]:
    """Say that a key is unknown, and what was meant, if that can be guessed.

    Args:
        section: "" for the top of the file.
        name: of the key.

    Returns:
        The words, and (section, name) of the keys that may have been meant; a section
        as a whole is ("", section).
    """
    here = _place(section)
    section, _, _ = section.partition(".")
    if name in SECTIONS:
        return f"is not a key of {here}; the section is named [{name}]", [("", name)]
    homes = [place for place, keys in KEYS.items() if name in keys]
    if homes:
        there = " or ".join(_place(home) for home in homes)
        return f"is not a key of {here}; move it to {there}", [(h, name) for h in homes]
    if close := _closest(name, KEYS[section]):
        if close in SECTIONS:
            text = f"is not a known section; did you mean [{close}]?"
        else:
            text = f"is not a known key; did you mean {close}?"
        return text, [(section, close)]
    if close := _closest(name, [key for keys in KEYS.values() for key in keys]):
        homes = [place for place, keys in KEYS.items() if close in keys]
        there = " or ".join(_place(home) for home in homes)
        text = f"is not a known key; did you mean {close} in {there}?"
        return text, [(home, close) for home in homes]
    return f"is not a known key; {here} knows {', '.join(sorted(KEYS[section]))}", []


def _describe(rule: inspect.Type) -> tuple[str, tuple[type, ...]]:
    """Name a kind of value, with its bounds, and the Python types that are of it."""
    match rule:
        case inspect.IntType():
            return "a whole number" + _bounds(rule), (int,)
        case inspect.FloatType():
            return "a number" + _bounds(rule), (int, float)
        case inspect.StrType():
            return "a string", (str,)
        case inspect.BoolType():
            return "true or false", (bool,)
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(shown(v) for v in values), (str,)
        case inspect.ListType():
            return "an array of strings", (list,)
        case inspect.DictType(value_type=inspect.StrType()):
            return "a table of strings", (dict,)
        case inspect.DictType():
            return "a table", (dict,)
        case _:
            raise TypeError(f"{rule} has no place in endpoint.toml: describe it here")


def _bounds(rule: inspect.IntType | inspect.FloatType) -> str:
    if rule.gt is not None and rule.le is not None:
        return f" above {rule.gt:g} and at most {_number(rule.le)}"
    if rule.ge is not None and rule.le is not None:
        return f" from {_number(rule.ge)} to {_number(rule.le)}"
    return ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _name_kind(value: Any) -> str:
    match value:
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int():
            return "a whole number"
        case float():
            return "a number with a fraction"
        case dict():
            return "a table"
        case list():
            return "an array"
        case datetime.date() | datetime.time():
            return "a date or time"
        case _:
            return type(value).__name__


def _hint(rule: inspect.Type, value: Any) -> str:
    """Say how to write a number or a string that was only written wrongly."""
    if isinstance(rule, inspect.StrType) and type(value) in {int, float}:
        return "; write it in quotes"
    if isinstance(rule, inspect.IntType | inspect.FloatType) and type(value) is str:
        try:
            float(value)
        except ValueError:
            return ""
        return "; write it without quotes"
    return ""


def _closest(name: str, known: Iterable[str]) -> str:
    """Give the known name that is spelt most like this one, or ""."""
    close = difflib.get_close_matches(name[:_COMPARED_CHARACTERS], known, n=1)
    return close[0] if close else ""


def _place(section: str) -> str:
    if section in FAMILIES:
        return f"[{section}.NAME]"
    return f"[{section}]" if section else "the top of the file"
