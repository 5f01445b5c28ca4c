"""Promise: a value comes back as it was; what is large is not copied on the way."""

import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.store import INLINE_BYTES, Parts, dump_parts, load_inline
from actors.store.layout import parse, plan
from tests.store.support import Bytes, filled, parts_of

_SIZES = st.sampled_from([0, 1, 100, 4095, 4096, 60_000, 65_536, 70_000, 200_000])
_ARRAYS = st.builds(filled, _SIZES, st.integers(0, 255))
_STRINGS = st.builds(
    lambda make, size: make(size),
    st.sampled_from(
        [bytes, bytearray, lambda size: "ä" * size, lambda size: "x" * size]
    ),
    _SIZES,
)
_VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), _STRINGS, _ARRAYS),
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.dictionaries(st.text(max_size=3), children, max_size=3),
    ),
    max_leaves=6,
)


def _flatten(parts: Parts) -> bytearray:
    planned = plan(parts.pickled, parts.buffers)
    content = bytearray(planned.byte_count)
    for offset, piece in planned.pieces:
        content[offset : offset + len(piece)] = piece
    return content


def _round_trip(data: bytes | Parts) -> Any:
    if isinstance(data, bytes):
        return load_inline(data)
    pickled, buffers = parse(memoryview(_flatten(data)))
    return pickle.loads(pickled, buffers=buffers)


def _is_equal(left: Any, right: Any) -> bool:
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_is_equal, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            _is_equal(left[key], right[key]) for key in left
        )
    return type(left) is type(right) and bool(np.all(left == right))


@given(value=_VALUES)
def test_any_value_comes_back_as_it_was(value: object) -> None:
    data = dump_parts(value, list)
    assert _is_equal(value, _round_trip(data))
    if isinstance(data, Parts):
        assert data.byte_count > INLINE_BYTES


@given(value=_VALUES)
def test_where_strings_are_looked_for_changes_no_value(value: object) -> None:
    assert _is_equal(value, _round_trip(dump_parts(value, list, glance=(value, b"x"))))
    assert _is_equal(value, _round_trip(dump_parts(value, list, glance=())))


@given(value=st.one_of(st.integers(), st.text(), st.lists(st.binary())))
def test_a_small_value_is_an_ordinary_pickle(value: object) -> None:
    assert dump_parts(value, list) == pickle.dumps(value, 5)


@pytest.mark.parametrize("size", [10, 5000, 60_000])
def test_a_small_array_is_a_private_copy_that_can_be_written_to(size: int) -> None:
    array = filled(size)
    data = dump_parts(array, list)
    assert isinstance(data, bytes)
    copy = load_inline(data)
    copy[0] = 7
    assert array[0] == 1


def test_a_small_array_that_is_read_only_stays_so() -> None:
    array = filled(5000)
    array.flags.writeable = False
    data = dump_parts(array, list)
    assert isinstance(data, bytes)
    assert not load_inline(data).flags.writeable


def test_a_large_array_is_handed_over_without_a_copy() -> None:
    array = filled(100_000)
    parts = parts_of({"a": [array]})
    assert np.shares_memory(np.frombuffer(parts.buffers[0], np.uint8), array)
    assert sum(map(len, parts.pickled)) < 1000


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"k": x}])
def test_a_large_string_is_handed_over_without_a_copy(
    wrap: Callable[[bytes], object],
) -> None:
    large = bytes(100_000)
    assert any(piece is large for piece in parts_of(wrap(large)).pickled)
    by_argument = dump_parts(((0, large), {}), list, glance=(0, large))
    assert isinstance(by_argument, Parts)
    assert any(piece is large for piece in by_argument.pickled)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(60_000).reshape(200, 300).T,
        np.arange(60_000).reshape(200, 300)[::2, ::3],
        np.zeros(20_000, [("a", "i4"), ("b", "f8")]),
        np.zeros((0, 5)),
        np.arange(50_000).astype("datetime64[s]"),
        np.array([[1], "two", None] * 30_000, dtype=object),
    ],
    ids=["fortran", "strided", "structured", "empty", "dates", "objects"],
)
def test_arrays_of_any_kind_come_back(array: Any) -> None:
    copy = _round_trip(dump_parts(array, list))
    assert copy.dtype == array.dtype
    assert np.array_equal(copy, array)


def test_what_can_only_go_by_value_keeps_its_buffers_outside() -> None:
    array = filled(100_000)
    parts = parts_of([array, lambda: array])
    assert len(parts.buffers) == 1, "what the first try left is gone"
    assert np.shares_memory(np.frombuffer(parts.buffers[0], np.uint8), array)
    copy, function = _round_trip(parts)
    assert np.array_equal(copy, array)
    assert function() is copy


class _Thing:
    def __init__(self, array: Bytes) -> None:
        self.array = array


def test_a_class_of_a_module_that_goes_by_value_does() -> None:
    module = sys.modules[__name__]
    value = _Thing(filled(100_000))
    assert sum(map(len, parts_of(value).pickled)) < 300
    cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    try:
        # Alone; behind a large string; in a frame of more than 64 KiB.
        many = [*range(20_000)]
        for bulky in (
            value,
            [bytes(100_000), value],
            [bytes(100_000), *many, value, *many],
        ):
            parts = dump_parts(bulky, lambda: [__name__.encode()])
            assert isinstance(parts, Parts)
            assert any(
                b"array" in piece and b"__init__" in piece for piece in parts.pickled
            )
    finally:
        cloudpickle.unregister_pickle_by_value(module)  # type: ignore[no-untyped-call]


def test_names_are_found_in_frames_and_not_looked_for_in_strings() -> None:
    asked = []

    def names() -> list[bytes]:
        asked.append(True)
        return [b"__main__"]

    text = b"__main__" * 10_000
    parts = dump_parts([text, 1 << 900_000], names)
    assert isinstance(parts, Parts)
    assert asked
    assert type(parts.pickled[1]) is bytes
    assert parts.pickled[1] is text


def test_what_cannot_be_pickled_raises_its_own_error() -> None:
    with pytest.raises(TypeError, match="lock"):
        dump_parts([filled(100_000), threading.Lock()], list)


@given(cut=st.integers(0, 150_000))
def test_less_than_all_of_a_value_is_refused(cut: int) -> None:
    content = memoryview(_flatten(parts_of([filled(80_000), bytes(70_000)])))
    cut = min(cut, len(content) - 1)
    with pytest.raises(ValueError, match=r"head|end"):
        parse(content[:cut])


def test_what_is_no_value_of_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="head"):
        parse(memoryview(bytes(100)))


def test_buffers_begin_where_vector_instructions_like_it() -> None:
    planned = plan([b"x"], [memoryview(bytes(70)), memoryview(bytes(1))])
    assert [offset % 64 for offset, _ in planned.pieces[2:]] == [0, 0]
