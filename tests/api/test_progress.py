"""Promise: a bar counts what has ended, changes no result, and is gone afterwards."""

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

import actors
from actors.api.progress import Bar, CountedExecutor
from tests.support import eventually


def half(number: int) -> float:
    return 12 / number


def drawn(captured: pytest.CaptureFixture[str]) -> str:
    return captured.readouterr().err


def has_bar() -> bool:
    return any("Refresh" in type(t).__name__ for t in threading.enumerate())


def test_a_bar_shows_what_was_counted_last() -> None:
    out = io.StringIO()
    with Bar("cells", 4, Console(file=out, width=100)) as bar:
        bar.add(3, failed=1)
    assert "cells" in out.getvalue()
    assert "3/4" in out.getvalue()
    assert "1 failed" in out.getvalue()
    bar.close()
    assert out.getvalue().count("cells") == 1


def test_in_a_terminal_it_moves(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    with Bar("cells", 4, Console(file=out, width=100, force_terminal=True)) as bar:
        for count in range(1, 5):
            bar.add()
            eventually(lambda: f"{count}/4" in out.getvalue(), 5, f"{count}")  # noqa: B023
    eventually(lambda: not has_bar(), 5, "the bar's thread ends")


def test_a_map_that_nobody_reads_ends_its_bar(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ThreadPoolExecutor(2) as threads:
        counted = CountedExecutor(threads, "halves", lambda *_: 1)
        results = counted.map(half, [1, 2, 0])
        counted.complete()
    eventually(lambda: not has_bar(), 5, "the bar's thread ends")
    assert "3/3 1 failed" in drawn(capsys)
    assert next(results) == 12


@pytest.fixture(scope="module")
def executor() -> Iterator[actors.Executor]:
    with actors.Executor(max_workers=1) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("chunksize", [1, 4])
def test_a_map_gives_the_same_with_a_bar(
    executor: actors.Executor, chunksize: int, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = range(1, 11)
    results = executor.map(half, numbers, chunksize=chunksize, progress=True)
    assert list(results) == [half(n) for n in numbers]
    text = drawn(capsys)
    assert "half" in text
    assert "10/10" in text


@pytest.mark.slow
def test_a_failure_ends_a_map_and_its_bar(
    executor: actors.Executor, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError):
        list(executor.map(half, [1, 0], progress="halves"))
    eventually(lambda: not has_bar(), 5, "the bar's thread ends")
    assert "halves" in drawn(capsys)


@pytest.mark.slow
def test_get_counts_values_and_keeps_to_its_timeout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    actors.init(num_workers=1)
    try:
        remote = actors.remote(half)
        refs = [remote.remote(n) for n in (1, 2, 3)]
        assert actors.get([*refs, refs[0]], progress=True) == [12, 6, 4, 12]
        assert "values" in drawn(capsys)
        assert actors.get(refs[0], progress="one") == 12
        assert "1/1" in drawn(capsys)
        with pytest.raises(ZeroDivisionError):
            actors.get([remote.remote(0)], progress=True)
        never = actors.remote(wait_for_ever).remote()
        with pytest.raises(actors.GetTimeoutError):
            actors.get([never, refs[0]], timeout=0.2, progress=True)
        assert "1/2" in drawn(capsys)
    finally:
        actors.shutdown()


def wait_for_ever() -> None:
    threading.Event().wait()
