"""Cutting into chunks, running and flattening gives what a plain map gives."""

import gc
import weakref
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.chunks import chunked, flattened, run_chunk


@given(st.lists(st.integers()), st.integers(1, 9))
def test_chunks_map_as_a_plain_map_does(items: list[int], size: int) -> None:
    chunks = list(chunked(((item, 1) for item in items), size))
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(chunks), "no chunk is empty"
    results = (run_chunk(int.__add__, chunk) for chunk in chunks)
    assert list(flattened(results)) == [item + 1 for item in items]


def test_chunks_are_cut_as_they_are_asked_for() -> None:
    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    assert next(chunked(endless(), 3)) == (0, 1, 2)


class _Thing:
    pass


def test_a_result_that_was_given_is_kept_by_nobody() -> None:
    flat = flattened([[_Thing(), _Thing()]])
    first = weakref.ref(next(flat))
    gc.collect()
    assert first() is None
    assert next(flat) is not None
