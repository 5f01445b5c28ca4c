"""How functions, arguments, results and exceptions become bytes, and what comes back.

Rules:

1. By reference whatever can be imported at the other side; by value (cloudpickle) what
   is defined in `__main__`, a lambda, a local function, a notebook or a test module,
   and what the user gave to `cloudpickle.register_pickle_by_value`.
2. The C pickler goes first, protocol 5; cloudpickle only if that fails, or if the bytes
   mention a module that goes by value (as in Dask's `distributed.protocol.pickle`).
3. What cannot be pickled is `NotSerializable` here and now, naming the argument and the
   offending part; the error is an instance of the original error's class, too.
4. Large buffers of arguments and results stand beside the pickle, and are read where
   they are (`store.layout`): arrays in what is over 64 KiB are read-only. Who dumps
   says where that is written: into bytes, or into shared memory (`store.links`).
5. An exception is tried out (pickled *and* unpickled) where it was raised. One that
   does not survive is replaced by one of its own or its nearest base class that does,
   with the same text, and as much of arguments, attributes and notes as can travel.

Only clients and workers import this module: nothing between them opens a payload.
"""

import functools
import pickle
import sys
import traceback
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cloudpickle

from actors.errors import NotSerializable
from actors.store.layout import PICKLE
from actors.store.links import load_inline
from actors.store.parts import Parts, dump_whole, join_parts
from actors.unpicklable import (
    as_not_serializable,
    describe_dump_error,
    describe_load_error,
    name_of,
    shorten,
    text_of,
)

__all__ = [
    "HINT_HERE",
    "CallDumper",
    "FunctionCache",
    "Wrapper",
    "describe_bad_arguments",
    "describe_bad_result",
    "dump_arguments",
    "dump_call",
    "dump_exception",
    "dump_function",
    "dump_result",
    "is_reference",
    "is_stateless",
    "load_arguments",
    "load_call",
    "load_function",
    "load_result",
    "modules_by_value",
]

_PROTOCOL = 5

# The commonest payloads, made once.
_NO_ARGUMENTS = pickle.dumps(((), {}), _PROTOCOL)
_NONE = pickle.dumps(None, _PROTOCOL)

# A traceback's text beyond this is cut in the middle. Chosen: some 400 frames.
_MAX_TRACEBACK_CHARACTERS = 65_536

_MAIN = [b"__main__"]

# Types whose pickles mention no module: nothing to look for in them. Measured: finding
# nothing takes longer than pickling a number.
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})

# A summary is one line for people. Chosen.
_MAX_SUMMARY_CHARACTERS = 300

HINT_HERE = "make it importable in this process"


# Bytes


@functools.lru_cache(maxsize=1)
def _register_test_modules(_module_count: int) -> None:
    """Have modules that pytest loaded as tests go by value; a worker has none of them.

    Args:
        _module_count: of `sys.modules`; the cache makes us look again if it changed.
    """
    for name, module in list(sys.modules.items()):
        loader = getattr(getattr(module, "__spec__", None), "loader", None)
        if (
            type(loader).__module__ == "_pytest.assertion.rewrite"
            # Plugins are loaded in the same way, but are installed.
            and "site-packages" not in (getattr(module, "__file__", None) or "")
            and getattr(module, "__name__", None) == name
        ):
            cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]


def modules_by_value() -> list[bytes]:
    """Name the modules whose mention in a pickle means that it goes by value."""
    if "_pytest" in sys.modules:
        _register_test_modules(len(sys.modules))
    names: set[str] = cloudpickle.list_registry_pickle_by_value()  # type: ignore[no-untyped-call]
    return [b"__main__", *(name.encode() for name in names)] if names else _MAIN


def _dumps(value: object) -> bytes:
    """Pickle by the rules above; raise whatever the value's own code raises."""
    try:
        data = pickle.dumps(value, _PROTOCOL)
    except Exception:  # noqa: BLE001  other people's code
        # No answer yet: cloudpickle may do it, and if not its error is the better one.
        return _dumps_by_value(value)
    for name in modules_by_value():
        if name in data:
            return _dumps_by_value(value)
    return data


def _dumps_by_value(value: object) -> bytes:
    data: bytes = cloudpickle.dumps(value, _PROTOCOL)  # type: ignore[no-untyped-call]
    return data


# Calls


class CallDumper:
    """Pickles calls; a function that is called again and again only once.

    It keeps the last function that went by reference: nothing that could be freed
    otherwise, as its module holds it, too. Functions that go by value are pickled each
    time, as what they refer to may have changed. Any thread may use it.

    Args:
        write: see `dump_arguments`.
    """

    def __init__(self, write: Callable[[Parts], bytes] = join_parts) -> None:
        self._last: tuple[object, bytes] = (None, b"")
        self._write = write

    def dump(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[bytes, bytes]:
        """Pickle a call, as `dump_call` does."""
        arguments = dump_arguments(function, args, kwargs, self._write)
        return self.dump_function(function), arguments

    def dump_function(self, function: Callable[..., Any]) -> bytes:
        """Pickle a function, as the module's `dump_function` does."""
        last, pickled_function = self._last
        if function is not last:
            pickled_function = dump_function(function)
            if is_reference(pickled_function, function):
                self._last = (function, pickled_function)
        return pickled_function


def dump_call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[bytes, bytes]:
    """Pickle a call.

    Returns:
        (pickled function, pickled arguments).

    Raises:
        NotSerializable: names the function, or the argument by position (1 is the
            first) or name, and the part of it that cannot be pickled.
    """
    return dump_function(function), dump_arguments(function, args, kwargs)


def is_reference(pickled: bytes, function: Callable[..., Any]) -> bool:
    """Tell whether a function was pickled by reference: where to find it, no more."""
    return _is_at(function) and pickled == pickle.dumps(function, _PROTOCOL)


def _is_at(function: Callable[..., Any]) -> bool:
    """Tell whether a function stands under its own name in its module."""
    return (
        isinstance(function, types.FunctionType | types.BuiltinFunctionType | type)
        and getattr(sys.modules.get(function.__module__), function.__qualname__, None)
        is function
    )


def dump_function(function: Callable[..., Any]) -> bytes:
    """Pickle a function.

    Raises:
        NotSerializable: names the part of it that cannot be pickled.
    """
    try:
        return _dumps(function)
    except Exception as error:
        what = f"Function {name_of(function)}"
        message = describe_dump_error(what, function, error, _dumps)
        raise as_not_serializable(message, error) from error


def dump_arguments(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    write: Callable[[Parts], bytes] = join_parts,
) -> bytes:
    """Pickle the arguments of a call.

    Args:
        function: that is called.
        args: by position.
        kwargs: by name.
        write: puts what is over 64 KiB in one place.

    Raises:
        NotSerializable: names the argument by position (1 is the first) or name, and
            the part of it that cannot be pickled.
    """
    if not args and not kwargs:
        return _NO_ARGUMENTS
    try:
        if (
            not kwargs
            and type(args) is tuple
            # The usual case of one takes half the time of all.
            and type(args[0]) in _PLAIN
            and (len(args) == 1 or _PLAIN.issuperset(map(type, args)))
        ):
            return pickle.dumps((args, {}), _PROTOCOL)
        # Copying what has its type already would take a tenth of the whole.
        call = (
            args if type(args) is tuple else tuple(args),
            kwargs if type(kwargs) is dict else dict(kwargs),
        )
        return dump_whole(call, modules_by_value, args, write)
    except Exception as error:
        raise describe_bad_arguments(function, args, kwargs, error) from error


def describe_bad_arguments(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    error: Exception,
) -> NotSerializable:
    """Make the error that names the argument at fault, and the part of it."""
    what, value = _find_argument(args, kwargs)
    what = f"{what} of {name_of(function)}"
    message = describe_dump_error(what, value, error, _dumps)
    return as_not_serializable(message, error)


def describe_bad_result(what: str, value: object, error: Exception) -> NotSerializable:
    """Make the error that names the part of a value that cannot be pickled."""
    message = describe_dump_error(what, value, error, _dumps)
    return as_not_serializable(message, error)


def load_function(function: bytes) -> Callable[..., Any]:
    """Unpickle a function; raise whatever its unpickling raises."""
    value = pickle.loads(function)
    if not callable(value):
        raise TypeError(f"{type(value).__name__} is not callable")
    return value  # type: ignore[no-any-return]


def load_arguments(arguments: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Unpickle (args, kwargs); raise whatever their unpickling raises."""
    # As `load_inline` does; for every task there is.
    is_pickle = arguments.startswith(PICKLE)
    args, kwargs = pickle.loads(arguments) if is_pickle else load_inline(arguments)
    return args, kwargs


def load_call(
    function: bytes, arguments: bytes
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Unpickle a call; raise whatever its unpickling raises."""
    args, kwargs = load_arguments(arguments)
    return load_function(function), args, kwargs


class FunctionCache:
    """Functions by their pickled bytes, so that each is unpickled once per worker.

    Plain functions and classes only: a bound method or a partial carries state, and
    each call must find that as it was sent. The least recently used go first.
    """

    # Chosen: more different functions than a program calls in turns, and less memory
    # than anybody misses.
    MAX_COUNT = 256
    MAX_BYTES = 64 * 2**20

    def __init__(self, max_count: int = MAX_COUNT, max_bytes: int = MAX_BYTES) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        # {pickled function: function}, least recently used first
        self._functions: OrderedDict[bytes, Callable[..., Any]] = OrderedDict()
        self._bytes = 0
        self._last_key = b""
        self._last: Callable[..., Any] | None = None

    def load(self, function: bytes) -> Callable[..., Any]:
        """Return the function; raise whatever its unpickling raises."""
        # A comparison costs less than a hash, and most calls repeat the last one.
        if self._last is not None and function == self._last_key:
            return self._last
        found = self._functions.get(function)
        if found is not None:
            self._functions.move_to_end(function)
        else:
            found = load_function(function)
            if not is_stateless(found) or len(function) > self._max_bytes:
                return found
            self._functions[function] = found
            self._bytes += len(function)
            while (
                len(self._functions) > self._max_count or self._bytes > self._max_bytes
            ):
                dropped, _ = self._functions.popitem(last=False)
                self._bytes -= len(dropped)
        self._last_key, self._last = function, found
        return found

    def __len__(self) -> int:
        return len(self._functions)


class Wrapper:
    """Calls a function, and has no state of its own that calls change.

    Args:
        function: what is called.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function; subclasses do more."""
        return self.function(*args, **kwargs)


def is_stateless(function: Callable[..., Any]) -> bool:
    """Tell whether a function may be called again without being unpickled anew."""
    if isinstance(function, Wrapper):
        return is_stateless(function.function)
    if isinstance(function, types.BuiltinFunctionType):
        # `[].append` is of the same type as `len`; their owners tell them apart.
        return isinstance(function.__self__, types.ModuleType | None)
    return isinstance(function, types.FunctionType | type)


# Results


def dump_result(
    value: object,
    what: str = "Result",
    write: Callable[[Parts], bytes] = join_parts,
) -> bytes:
    """Pickle a result.

    Args:
        value: the result.
        what: stands there for people.
        write: see `dump_arguments`.

    Raises:
        NotSerializable: names the part of it that cannot be pickled.
    """
    if value is None:
        return _NONE
    try:
        if type(value) in _PLAIN:
            return pickle.dumps(value, _PROTOCOL)
        return dump_whole(value, modules_by_value, write=write)
    except Exception as error:
        raise describe_bad_result(what, value, error) from error


def load_result(payload: bytes) -> Any:
    """Unpickle a result.

    Raises:
        NotSerializable: it cannot be unpickled here, and why.
    """
    try:
        # As `load_inline` does; for every task there is.
        is_pickle = payload.startswith(PICKLE)
        return pickle.loads(payload) if is_pickle else load_inline(payload)
    except BaseException as error:
        # SystemExit, too: it would end the thread that all other results come through.
        message = describe_load_error("Result", error, HINT_HERE)
        raise as_not_serializable(message, error) from error


# Exceptions


def dump_exception(error: BaseException, own_frames: int = 0) -> tuple[bytes, str, str]:
    """Pickle an exception so that it can be unpickled.

    Args:
        error: any exception, SystemExit and KeyboardInterrupt too.
        own_frames: how many of the outermost frames are the caller's own and not to
            be shown.

    Returns:
        (pickled exception, summary in one line, text of the traceback).
    """
    frames = error.__traceback__
    for _ in range(own_frames):
        frames = frames.tb_next if frames else None
    text = "".join(traceback.format_exception(type(error), error, frames))
    name = type(error).__qualname__
    lines = text_of(error).splitlines()
    summary = f"{name}: {lines[0]}" if lines else name
    return (
        _dump_surviving(error),
        _encodable(shorten(summary, _MAX_SUMMARY_CHARACTERS)),
        _encodable(shorten(text, _MAX_TRACEBACK_CHARACTERS)),
    )


def _dump_surviving(error: BaseException) -> bytes:
    payload, reason = _try_out(error, error)
    if payload is not None:
        # Libraries change how exceptions are pickled (tblib does, for Dask), and
        # some of Python's own lose their text by it.
        exact, _ = _try_out(error, error, is_text_kept=True)
        if exact is None:
            called = _rebuild_by_call, (type(error), error.args, vars(error))
            exact, _ = _try_out(_Rebuilt(*called), error, is_text_kept=True)
        return exact or payload
    note = (
        f"Raised as {type(error).__module__}.{type(error).__qualname__}, "
        f"which does not survive pickling: {reason}"
    )
    text = text_of(error)
    state = {
        name: value
        for name, value in getattr(error, "__dict__", {}).items()
        if name != "__notes__" and _is_picklable(value)
    }
    notes = [str(note) for note in getattr(error, "__notes__", [])]
    state["__notes__"] = [*notes, note]
    for base in type(error).__mro__:
        if not issubclass(base, BaseException):
            continue
        for args in (error.args, (text,)):
            for rebuild in (_rebuild_by_call, _rebuild_without_init):
                payload, _ = _try_out(
                    _Rebuilt(rebuild, (base, args, state)), error, is_text_kept=True
                )
                if payload is not None:
                    return payload
    # Only if its text itself cannot travel.
    return pickle.dumps(Exception(ascii(text)), _PROTOCOL)


class _Rebuilt:
    """Be pickled as a call of `rebuild`, hence be unpickled as what it returns."""

    def __init__(self, rebuild: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._reduced = (rebuild, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._reduced


def _rebuild_by_call(
    base: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    error = base(*args)
    error.__dict__.update(state)
    return error


def _rebuild_without_init(
    base: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    # An `__init__` with parameters of its own is the usual reason why an exception
    # cannot be unpickled; `__new__` sets `args`, and the rest is in the state.
    error = base.__new__(base, *args)
    error.__dict__.update(state)
    return error


def _try_out(
    candidate: object, original: BaseException, is_text_kept: bool = False
) -> tuple[bytes | None, str]:
    """Return what `candidate` is as bytes if they give an exception again, or why not.

    Anything may come out of other people's `__reduce__`, SystemExit too; it must not
    end the worker.
    """
    try:
        payload = _dumps(candidate)
        copy = pickle.loads(payload)
    except BaseException as reason:  # noqa: BLE001  other people's code
        return None, f"{type(reason).__name__}: {text_of(reason)}"
    if not isinstance(copy, BaseException):
        return None, f"it becomes a {type(copy).__name__}"
    if is_text_kept and text_of(copy) != text_of(original):
        return None, "its text is lost"
    return payload, ""


def _encodable(text: str) -> str:
    # Names of files may hold lone surrogates, which no message can carry.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_picklable(value: object) -> bool:
    try:
        pickle.loads(_dumps(value))
    except BaseException:  # noqa: BLE001  other people's code
        return False
    return True


def _find_argument(
    args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[str, object]:
    for position, value in enumerate(args, start=1):
        if not _can_dump(value):
            return f"Argument {position}", value
    for name, value in kwargs.items():
        if not _can_dump(value):
            return f"Argument {name!r}", value
    return "Arguments", (tuple(args), dict(kwargs))


def _can_dump(value: object) -> bool:
    try:
        _dumps(value)
    except Exception:  # noqa: BLE001  other people's code
        return False
    return True
