"""Values and keys as TOML writes them."""

import datetime
import math
import re
from typing import Any

__all__ = ["render_key", "render_value", "shown"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# What a TOML basic string may not hold as it is.
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
# Chosen: with key and rule, an error still fits on two lines of a terminal.
_SHOWN_CHARACTERS = 60
_SHOWN_BITS = 128


def render_key(key: str) -> str:
    """Write one part of a key: bare if TOML allows it, else quoted."""
    return key if _BARE_KEY.fullmatch(key) else _render_string(key)


def render_value(value: Any) -> str:
    """Write a value so that reading it gives an equal one.

    Tables become inline tables.

    Raises:
        TypeError: no TOML type.
    """
    match value:
        case bool():  # before int, which it is too
            return "true" if value else "false"
        case str():
            return _render_string(value)
        case int():
            return str(value)
        case float():
            return _render_float(value)
        case list():
            return "[" + ", ".join(render_value(item) for item in value) + "]"
        case dict():
            pairs = (f"{render_key(k)} = {render_value(v)}" for k, v in value.items())
            return "{ " + ", ".join(pairs) + " }" if value else "{}"
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case _:
            raise TypeError(f"{value!r} is no TOML value")


def shown(value: Any) -> str:
    """Write a value for an error message: on one line, shortened."""
    match value:
        case list():
            return "[...]" if value else "[]"
        case dict():
            return "{...}" if value else "{}"
        case int() if value.bit_length() > _SHOWN_BITS:
            # In base 16, because Python refuses to print thousands of decimal digits.
            return f"{value:#x}"[:_SHOWN_CHARACTERS] + "..."
        case str():
            text = _render_string(value[:_SHOWN_CHARACTERS])
            return text if len(value) <= _SHOWN_CHARACTERS else text[:-1] + '..."'
        case _:
            return render_value(value)


def _render_string(text: str) -> str:
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04X}"


def _render_float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
