"""Kinds of options: what a user gives must be what will travel.

A task or an actor is described in messages whose fields have types. What is of another
type would be found by whoever reads them, and that one knows nobody to tell: so it is
refused here, at the call. Numbers of other libraries (NumPy's) become Python's own.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from actors.errors import ConfigError

__all__ = ["of_their_kinds"]

# Beyond it a number does not travel as one. Specified: what a double holds exactly.
_LARGEST = 2**53


def of_their_kinds(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as they travel; those that nobody knows, and None, as they are.

    Raises:
        ConfigError: a value is of another kind than its option.
    """
    return {
        name: value
        if value is None or name not in _KINDS
        else _KINDS[name](name, value)
        for name, value in options.items()
    }


def _refuse(name: str, value: object, what: str) -> ConfigError:
    return ConfigError(f"{name} {value!r} must be {what}")


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _refuse(name, value, "a whole number")
    if abs(int(value)) > _LARGEST:
        raise _refuse(name, value, f"within {_LARGEST} of 0")
    return int(value)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        raise _refuse(name, value, "a number")
    return int(value) if isinstance(value, Integral) else float(value)


def _amount(name: str, value: object) -> float:
    number = _number(name, value)
    if math.isinf(number):
        raise _refuse(name, value, "finite")
    return number


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _refuse(name, value, "a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refuse(name, value, "a text that UTF-8 can express") from None
    return value


def _truth(name: str, value: object) -> bool:
    if value not in (True, False):
        raise _refuse(name, value, "true or false")
    return bool(value)


def _by_name(of: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    def mapping(name: str, value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _refuse(name, value, "a mapping of names to numbers")
        return {
            _text(f"A name in {name}", key): of(f"{name}[{key!r}]", each)
            for key, each in value.items()
        }

    return mapping


def _exceptions(name: str, value: object) -> bool | list[type[BaseException]]:
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and all(map(_is_exception, value)):
        return list(value)
    raise _refuse(name, value, "true, false, or a list of exception classes")


def _is_exception(kind: object) -> bool:
    return inspect.isclass(kind) and issubclass(kind, BaseException)


def _returns(name: str, value: object) -> int | str:
    return value if isinstance(value, str) else _whole(name, value)


# {option of functions, classes, methods and executors: what makes it one that travels}
_KINDS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(
        (
            "retries",
            "priority",
            "max_restarts",
            "max_task_retries",
            "max_concurrency",
            "max_pending_calls",
            "max_workers",
            "max_tasks_per_child",
        ),
        _whole,
    ),
    **dict.fromkeys(("timeout", "walltime", "restart_period", "patience"), _number),
    **dict.fromkeys(("num_cpus", "num_gpus"), _amount),
    **dict.fromkeys(
        ("name", "namespace", "worker_type", "tag", "concurrency_group", "key"), _text
    ),
    "get_if_exists": _truth,
    "resources": _by_name(_amount),
    "concurrency_groups": _by_name(_whole),
    "retry_exceptions": _exceptions,
    "num_returns": _returns,
}
