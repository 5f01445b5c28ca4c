"""Promise: what can travel does; what can't is refused here, by name, with the reason.

Functions and classes of this module are defined in a test, so they go by value.
"""

import collections
import concurrent.futures.process
import copyreg
import functools
import operator
import os.path
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import NotSerializable
from actors.payload import (
    FunctionCache,
    dump_arguments,
    dump_call,
    dump_exception,
    dump_result,
    load_arguments,
    load_call,
    load_result,
)
from actors.remote_errors import load_exception
from actors.unpicklable import describe_load_error


def _double(number: int) -> int:
    return number * 2


class _Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def plus(self, number: int) -> int:
        return self.x + number


class _HoldsLock:
    def __init__(self) -> None:
        self.config = {"db": [1, threading.Lock()]}


def _in_another_process(function: bytes, arguments: bytes) -> str:
    """Call it where nothing of this test can be imported; return what it prints."""
    code = (
        "import pickle, sys; "
        "function, arguments = pickle.load(sys.stdin.buffer); "
        "args, kwargs = pickle.loads(arguments); "
        "print(pickle.loads(function)(*args, **kwargs))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((function, arguments)),
        stdout=subprocess.PIPE,
        check=True,
        cwd="/",
        env={},
    )
    return done.stdout.decode().strip()


# Calls


def test_an_importable_function_goes_by_reference() -> None:
    function, _ = dump_call(os.path.join, ("a", "b"), {})
    assert function == pickle.dumps(os.path.join, 5)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (_double, (21,), {}),
        (lambda x: x + 1, (41,), {}),
        (functools.partial(_double, 21), (), {}),
        (functools.partial(operator.mul, 21), (2,), {}),
        (_Point(40).plus, (2,), {}),
        (lambda point: point.x, (_Point(42),), {}),
        (lambda *, number: number, (), {"number": 42}),
        (int, ("42",), {}),
        ("4{}".format, (2,), {}),
    ],
)
def test_calls_run_where_this_test_cannot_be_imported(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert _in_another_process(*dump_call(function, args, kwargs)) == "42"


def test_a_script_sends_what_it_defines_by_value(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from actors.payload import dump_call\n"
        "class Box:\n"
        "    def __init__(self, value): self.value = value\n"
        "def opened(box): return box.value\n"
        "for part in dump_call(opened, (Box(42),), {}):\n"
        "    print(part.hex())\n"
    )
    lines = subprocess.run(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parent.parent)},
    ).stdout.split()
    function, arguments = (bytes.fromhex(line.decode()) for line in lines)
    assert _in_another_process(function, arguments) == "42"


@given(
    args=st.tuples(st.integers(), st.text(), st.lists(st.floats(allow_nan=False))),
    kwargs=st.dictionaries(st.text(), st.binary(), max_size=3),
)
def test_any_plain_arguments_come_back(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert load_call(*dump_call(len, args, kwargs)) == (len, args, kwargs)


def test_an_unpicklable_argument_is_named_with_its_path() -> None:
    with pytest.raises(NotSerializable) as caught:
        dump_call(_double, (1, {"jobs": [_HoldsLock()]}), {})
    assert str(caught.value) == (
        "Argument 2 of _double() (dict) cannot be pickled: "
        "['jobs'][0].config['db'][1] is a _thread.lock: "
        "cannot pickle '_thread.lock' object"
    )
    assert isinstance(caught.value.__cause__, TypeError)


def test_an_unpicklable_keyword_argument_is_named() -> None:
    with pytest.raises(NotSerializable, match=r"Argument 'lock' of _double\(\)"):
        dump_call(_double, (), {"number": 1, "lock": threading.Lock()})


def test_an_unpicklable_function_is_named_with_the_variable_at_fault() -> None:
    lock = threading.Lock()

    def locked() -> None:
        with lock:
            pass

    with pytest.raises(NotSerializable) as caught:
        dump_call(locked, (), {})
    assert "Function test_an_unpicklable" in str(caught.value)
    assert "variable 'lock' is a _thread.lock" in str(caught.value)


class _RaisesAtPickle:
    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        raise self._error("no way")


@pytest.mark.parametrize(
    "kind", [pickle.PicklingError, KeyError, AttributeError, OSError, ValueError]
)
def test_the_error_is_an_instance_of_the_original_errors_class(
    kind: type[Exception],
) -> None:
    with pytest.raises(NotSerializable, match="Argument 1") as caught:
        dump_call(_double, (_RaisesAtPickle(kind),), {})
    assert isinstance(caught.value, kind)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy, NotSerializable)
    assert isinstance(copy, kind)
    assert str(copy) == str(caught.value)


def test_an_original_error_that_cannot_be_combined_leaves_ours() -> None:
    class Demanding(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(one, two)

    class Value:
        def __reduce__(self) -> Any:
            raise Demanding(1, 2)

    with pytest.raises(NotSerializable, match="Argument 1"):
        dump_call(_double, (Value(),), {})


def test_an_argument_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotSerializable, match="nested too deeply"):
        dump_call(_double, (deep,), {})
    while deep:
        deep = deep.pop()


def test_a_value_that_contains_itself_travels() -> None:
    ring: list[Any] = []
    ring.append(ring)
    (copy,) = load_call(*dump_call(len, (ring,), {}))[1]
    assert copy[0] is copy


# The cache of functions


def test_a_function_is_unpickled_once() -> None:
    cache = FunctionCache()
    data, _ = dump_call(lambda: 1, (), {})
    assert cache.load(data) is cache.load(bytes(bytearray(data)))


def test_what_carries_state_is_unpickled_for_each_call() -> None:
    cache = FunctionCache()
    calls: list[Callable[..., Any]] = [_Point(1).plus, [].append]
    calls.append(functools.partial(_double, 1))
    for stateful in calls:
        data, _ = dump_call(stateful, (), {})
        assert cache.load(data) is not cache.load(data)
    assert len(cache) == 0


def test_the_least_recently_used_function_goes_first() -> None:
    cache = FunctionCache(max_count=2)
    one, two, three = (dump_call(eval(f"lambda: {n}"), (), {})[0] for n in (1, 2, 3))
    first, second = cache.load(one), cache.load(two)
    assert cache.load(one) is first
    cache.load(three)
    assert len(cache) == 2
    assert cache.load(one) is first
    assert cache.load(two) is not second


def test_functions_larger_than_the_cache_are_not_kept() -> None:
    cache = FunctionCache(max_bytes=10)
    data, _ = dump_call(_double, (), {})
    assert cache.load(data)(21) == 42
    assert len(cache) == 0


def test_what_is_no_function_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="int is not callable"):
        FunctionCache().load(pickle.dumps(42))


# Results


def test_an_unpicklable_result_is_refused_with_its_path() -> None:
    with pytest.raises(NotSerializable, match=r"Result \(list\).*\[1\] is a _thread"):
        dump_result([1, threading.Lock()])


def test_an_instance_of_a_class_by_value_comes_back_as_that_class() -> None:
    assert type(load_result(dump_result(_Point(1)))) is _Point


def test_a_result_that_cannot_be_unpickled_is_refused_with_the_module() -> None:
    payload = b"\x80\x05cno_such_module\nthing\n."
    with pytest.raises(NotSerializable, match="needs module 'no_such_module'") as error:
        load_result(payload)
    assert isinstance(error.value, ModuleNotFoundError)


@given(st.binary(max_size=30))
def test_a_damaged_result_is_refused_and_nothing_else(payload: bytes) -> None:
    try:
        load_result(payload)
    except NotSerializable as error:
        assert "Result" in str(error)  # noqa: PT017


def test_a_name_that_is_missing_hints_at_versions() -> None:
    with pytest.raises(AttributeError) as error:
        pickle.loads(b"\x80\x05cos.path\nnothing\n.")
    assert "another version" in describe_load_error("Function", error.value, "hint")


# Exceptions


def _round_trip(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001
        payload, _, text = dump_exception(raised)
    return load_exception(payload, text)


class _OwnSignature(Exception):
    """Its arguments are not those of its constructor: the usual fault."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class _HoldsALock(ValueError):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.number = 42


class _LockInArguments(LookupError):
    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __str__(self) -> str:
        return "it was locked"


class _BecomesAString(KeyError):
    def __reduce__(self) -> Any:
        return str, ("not an exception",)


class _ExitsAtUnpickle(Exception):
    def __reduce__(self) -> Any:
        return sys.exit, (1,)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong", 7),
        KeyError("key"),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        SystemExit(3),
        KeyboardInterrupt(),
        MemoryError(),
        StopIteration(5),
        ExceptionGroup("several", [ValueError(1), KeyError(2)]),
        subprocess.CalledProcessError(1, ["false"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_of_python_come_back_as_they_were(error: BaseException) -> None:
    copy = _round_trip(error)
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert repr(copy.args) == repr(error.args)


def test_a_library_that_pickles_exceptions_its_own_way_takes_no_text_from_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_init(error: UnicodeDecodeError) -> tuple[Any, ...]:
        return UnicodeDecodeError.__new__, (UnicodeDecodeError, *error.args)

    monkeypatch.setitem(copyreg.dispatch_table, UnicodeDecodeError, without_init)
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    assert str(_round_trip(error)) == str(error)


def test_notes_come_along() -> None:
    error = ValueError("wrong")
    error.add_note("look here")
    assert _round_trip(error).__notes__ == ["look here"]


def test_an_exception_with_a_constructor_of_its_own_keeps_class_and_fields() -> None:
    copy = _round_trip(_OwnSignature(404, "not found"))
    assert type(copy) is _OwnSignature
    assert str(copy) == "404: not found"
    assert copy.code == 404


def test_an_unpicklable_attribute_is_left_behind() -> None:
    error = _HoldsALock("wrong")
    error.add_note("look here")
    copy = _round_trip(error)
    assert type(copy) is _HoldsALock
    assert str(copy) == "wrong"
    assert copy.__dict__["number"] == 42
    first, last = copy.__notes__
    assert first == "look here"
    assert "_HoldsALock, which does not survive pickling: TypeError" in last


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (_LockInArguments(), LookupError),
        (_BecomesAString("key"), KeyError),
        (_ExitsAtUnpickle("text"), Exception),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_does_not_survive_is_replaced_with_base_and_text_kept(
    error: Exception, base: type[Exception]
) -> None:
    text = str(error)
    copy = _round_trip(error)
    assert isinstance(copy, base)
    assert str(copy) == text


def test_an_exception_whose_text_fails_still_travels() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    try:
        raise Silent
    except Silent as error:
        payload, summary, text = dump_exception(error)
    assert summary.endswith("<str() failed: RuntimeError>")
    assert "Silent" in text
    assert isinstance(load_exception(payload, text), Exception)


def test_the_cause_is_the_remote_traceback() -> None:
    cause = _round_trip(ValueError("wrong")).__cause__
    assert isinstance(cause, concurrent.futures.process._RemoteTraceback)
    assert 'raise error\nValueError: wrong\n"""' in str(cause)


def test_frames_of_the_caller_are_left_out() -> None:
    try:
        int("x")
    except ValueError as error:
        _, summary, text = dump_exception(error, own_frames=1)
    assert summary == text.strip()
    assert summary == "ValueError: invalid literal for int() with base 10: 'x'"


def test_text_that_no_message_can_carry_is_escaped() -> None:
    _, summary, text = dump_exception(ValueError("\udcff"))
    assert summary.encode() == b"ValueError: \\udcff"
    assert text.encode()


def test_a_long_traceback_is_cut() -> None:
    _, summary, text = dump_exception(ValueError("x" * 1_000_000))
    assert len(summary) < 400
    assert len(text) < 70_000


def test_an_exception_that_cannot_be_unpickled_is_not_serializable() -> None:
    error = load_exception(b"\x80\x05cno_such_module\nError\n.", "the text")
    assert isinstance(error, NotSerializable)
    assert "no_such_module" in str(error)
    assert "the text" in str(error.__cause__)


def test_a_payload_that_is_no_exception_is_not_serializable() -> None:
    error = load_exception(pickle.dumps(42))
    assert isinstance(error, NotSerializable)
    assert "int is no exception" in str(error)


def test_a_class_of_the_standard_library_goes_by_reference() -> None:
    data = dump_result(collections.Counter("aab"))
    assert data == pickle.dumps(collections.Counter("aab"), 5)


# Arrays


def test_large_arrays_are_read_where_they_are_and_only_read() -> None:
    array, small = np.arange(20_000), np.arange(10)
    (first, second, text), named = load_arguments(
        dump_arguments(max, (array, small, "text"), {"named": array[::2]})
    )
    assert not first.flags.writeable
    assert not first.flags.owndata
    assert second.flags.writeable, "a small one is a copy"
    assert (first == array).all()
    assert (named["named"] == array[::2]).all()
    assert text == "text"
    result = load_result(dump_result({"array": array}))["array"]
    assert (result == array).all()
    assert not result.flags.writeable


def test_arrays_in_small_values_are_copies_that_can_be_written_to() -> None:
    array = np.arange(1_000)
    result = load_result(dump_result([array]))[0]
    result[:] = 7
    assert (array[:3] == [0, 1, 2]).all()
    array.flags.writeable = False
    assert not load_result(dump_result([array]))[0].flags.writeable


@pytest.mark.parametrize("kind", [bytes, bytearray, str])
def test_long_strings_are_whole(kind: type) -> None:
    value = kind("x" * 100_000, "ascii") if kind is not str else "x" * 100_000
    assert load_result(dump_result((value, 1))) == (value, 1)
    assert load_arguments(dump_arguments(max, (value,), {})) == ((value,), {})
