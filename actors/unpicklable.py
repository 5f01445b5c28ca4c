"""What cannot be pickled or unpickled: which part of it, where, why, and what to do.

Pickle says what type it stumbled over, never where that stands. Here the value is
searched for its innermost part that cannot be pickled: `Argument 2 of f() (dict) cannot
be pickled: ['db'].lock is a _thread.lock: ...`.
"""

import functools
import socket
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from actors.errors import NotSerializable

__all__ = [
    "as_not_serializable",
    "describe_dump_error",
    "describe_load_error",
    "name_of",
    "shorten",
    "text_of",
]

# How deep and how often to try parts. Chosen: enough for a record in a list in a dict;
# the search must not outlast patience.
_SEARCH_DEPTH = 8
_SEARCH_TRIES = 500

# A reason is part of one line for people. Chosen.
_MAX_REASON_CHARACTERS = 300


def text_of(error: BaseException) -> str:
    """Return `str(error)`; if that raises, what it raised."""
    try:
        return str(error)
    except BaseException as reason:  # noqa: BLE001  other people's code
        return f"<str() failed: {type(reason).__name__}>"


def shorten(text: str, limit: int) -> str:
    """Cut a text longer than `limit` characters in the middle, and say so there."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ... ({len(text) - 2 * half} characters) ... {text[-half:]}"


def name_of(function: object) -> str:
    """Name a callable for people: `parse()`, or its type if it has no name."""
    name = getattr(function, "__qualname__", None) or getattr(
        function, "__name__", None
    )
    return f"{name}()" if name else f"a {_type_name(function)}"


def describe_load_error(what: str, error: BaseException, hint: str) -> str:
    """Say in one line what cannot be unpickled, where, why, and what to do.

    Args:
        what: the thing that travelled.
        error: what its unpickling raised.
        hint: the next step if a module is missing.
    """
    where = f"{sys.executable or 'python'} on {socket.gethostname()}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f"{what} needs module {error.name!r}, which {where} cannot import; {hint}"
        )
    text = f"{what} cannot be unpickled by {where}: {type(error).__name__}"
    reason = _one_line(error)
    if reason:
        text += f": {reason}"
    if isinstance(error, ImportError | AttributeError):
        text += "; is it another version of the module than at the sender?"
    return text


def describe_dump_error(
    what: str,
    value: object,
    error: BaseException,
    dumps: Callable[[object], bytes],
) -> str:
    """Say in one line what cannot be pickled, which part of it, and why.

    Args:
        what: the thing that should travel.
        value: itself.
        error: what its pickling raised.
        dumps: the pickler that did.
    """
    path, part = _Search(dumps).find(value)
    message = f"{what} ({_type_name(value)}) cannot be pickled: "
    if path:
        message += f"{path} is a {_type_name(part)}: "
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        return message + "it is nested too deeply"
    return message + (_one_line(error) or type(error).__name__)


def as_not_serializable(message: str, reason: BaseException) -> NotSerializable:
    """Make the error to raise: a NotSerializable and, if possible, a `type(reason)`."""
    return _rebuild_not_serializable(message, type(reason))


def _rebuild_not_serializable(
    message: str, kind: type[BaseException]
) -> NotSerializable:
    if not issubclass(kind, Exception) or issubclass(NotSerializable, kind):
        return NotSerializable(message)

    def text(_: NotSerializable) -> str:
        # Some classes take theirs from fields that only they know of.
        return message

    def reduce(_: NotSerializable) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild_not_serializable, (message, kind)

    try:
        both = type(
            "NotSerializable",
            (NotSerializable, kind),
            {
                "__module__": NotSerializable.__module__,
                "__reduce__": reduce,
                "__str__": text,
            },
        )
        error = both(message)
    except Exception:  # noqa: BLE001  other people's code
        # Two memory layouts in one, or a constructor that wants more: ours is enough.
        return NotSerializable(message)
    assert isinstance(error, NotSerializable)
    return error


def _one_line(error: BaseException) -> str:
    return shorten(" ".join(text_of(error).split()), _MAX_REASON_CHARACTERS)


class _Search:
    """Walk down to the innermost part that cannot be pickled."""

    def __init__(self, dumps: Callable[[object], bytes]) -> None:
        self._dumps = dumps
        self._tries = 0
        self._seen: set[int] = set()

    def find(self, value: object) -> tuple[str, object]:
        """Return (path, part); the path is empty if the value itself is at fault."""
        path = ""
        for _ in range(_SEARCH_DEPTH):
            found = self._find_child(value)
            if found is None:
                break
            step, value = found
            path += step
        return path, value

    def _find_child(self, value: object) -> tuple[str, object] | None:
        self._seen.add(id(value))
        for step, child in _children_of(value):
            self._tries += 1
            if self._tries > _SEARCH_TRIES:
                return None
            if id(child) not in self._seen and not self._can_dump(child):
                return step, child
        return None

    def _can_dump(self, value: object) -> bool:
        try:
            self._dumps(value)
        except Exception:  # noqa: BLE001  other people's code
            return False
        return True


def _children_of(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, types.FunctionType):
        yield from _references_of(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, functools.partial):
        yield ".func", value.func
        yield from ((f".args[{i}]", item) for i, item in enumerate(value.args))
        yield from ((f".keywords[{k!r}]", v) for k, v in value.keywords.items())
    elif isinstance(value, Mapping):
        for key, item in list(value.items()):
            yield f"[{key!r}]", item
            yield f" key {key!r}", key
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f" element {item!r}", item) for item in value)
    if not isinstance(value, types.FunctionType | types.ModuleType | type):
        names = dict(getattr(value, "__dict__", {}))
        for owner in type(value).__mro__:
            slots = owner.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    names[name] = getattr(value, name)
        yield from ((f".{name}", item) for name, item in names.items())


def _references_of(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=False):
        try:
            yield f" variable {name!r}", cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f" global {name!r}", function.__globals__[name]
    for index, default in enumerate(function.__defaults__ or ()):
        yield f" default {index + 1}", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f" default {name!r}", default


def _type_name(value: object) -> str:
    kind = type(value)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
