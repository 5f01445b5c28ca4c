"""Records are written before what stands on them; until then they wait for company."""

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from actors.logic.turn import Admission, Effect, Turn
from actors.messages import Hello
from actors.runtime import Runtime
from actors.runtime.saving import MAX_UNSAVED
from tests.support import eventually


class Act(Effect, frozen=True):
    """Something that a shell does."""


class Notes:
    """A machine that answers with the turns that it is given; its shell and recorder.

    What is done, and in which order, stands in `story`.
    """

    wake_at = math.inf

    def __init__(self) -> None:
        self.story: list[str] = []
        self.recorder_at = math.inf
        self._fd = os.eventfd(0)

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        raise AssertionError(hello)

    def handle(self, message: Turn, sender: str, now: float) -> Turn:
        return message

    def tick(self, now: float) -> Any:
        """Be the recorder's: as a machine nothing is ever due."""
        self.story.append("tick")
        self.recorder_at = math.inf
        return ()

    def check(self) -> None:
        """There is nothing to contradict."""

    def perform(self, effect: Effect) -> None:
        self.story.append("act")

    def write(self, records: Sequence[Any], *, must_sync: bool) -> None:
        self.story += [*records, *(["synced"] if must_sync else [])]

    def settle(self) -> None:
        self.story.append("settled")

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


class NotesRecorder:
    """The recorder's side of `Notes`, which has a moment of its own to wake at."""

    def __init__(self, notes: Notes) -> None:
        self.write, self.settle = notes.write, notes.settle
        self.fileno, self.tick = notes.fileno, notes.tick
        self._notes = notes

    @property
    def wake_at(self) -> float:
        return self._notes.recorder_at

    def begin_sync(self) -> bool:
        return False

    def has_synced(self) -> bool:
        raise AssertionError("no sync was begun")


@pytest.fixture
def notes() -> Iterator[Notes]:
    notes = Notes()
    yield notes
    notes.close()


@pytest.fixture
def runtime(notes: Notes) -> Iterator[Runtime]:
    runtime = Runtime(notes, notes, recorder=NotesRecorder(notes))
    yield runtime
    runtime.close()


def test_records_wait_for_company_and_are_written_in_their_order(
    runtime: Runtime, notes: Notes
) -> None:
    runtime.tell([Turn(["1", "2"])])
    assert not notes.story
    runtime.tell([Turn(["3"])])

    def are_written() -> bool:
        runtime.round(0.01)
        return bool(notes.story)

    eventually(are_written)
    assert notes.story == ["1", "2", "3"]


def test_they_are_written_before_anything_is_done(
    runtime: Runtime, notes: Notes
) -> None:
    runtime.tell([Turn(["1"])])
    runtime.tell([Turn(["2"], effects=[Act()])])
    assert notes.story == ["1", "2", "act"]


def test_they_are_written_before_what_must_be_synced(
    runtime: Runtime, notes: Notes
) -> None:
    runtime.tell([Turn(["1"]), Turn(["2"], must_sync=True)])
    assert notes.story == ["1", "2", "synced"]


@pytest.mark.parametrize("part", ["sends", "events"])
def test_they_are_written_before_anything_is_said(
    runtime: Runtime, notes: Notes, part: str
) -> None:
    """To a peer that is not there, as who is there would need a network."""
    turn = Turn(["2"], sends=[("nobody", None)]) if part == "sends" else None  # type: ignore[list-item]
    runtime.tell([Turn(["1"]), turn or Turn(["2"], events=[None])])  # type: ignore[list-item]
    assert notes.story == ["1", "2"]


def test_what_is_eager_does_not_wait_for_them(runtime: Runtime, notes: Notes) -> None:
    runtime.tell([Turn(["1"], eager=[("nobody", None)])])  # type: ignore[list-item]
    assert not notes.story


def test_many_do_not_wait(runtime: Runtime, notes: Notes) -> None:
    many = [str(number) for number in range(MAX_UNSAVED)]
    runtime.tell([Turn(many)])
    assert notes.story == many


def test_they_are_written_before_the_recorder_does_what_is_due(
    runtime: Runtime, notes: Notes
) -> None:
    """A snapshot knows what follows from them."""
    runtime.tell([Turn(["1"])])
    notes.recorder_at = -math.inf
    runtime.round(0.0)
    assert notes.story == ["1", "tick"]


def test_they_are_written_at_the_end(runtime: Runtime, notes: Notes) -> None:
    runtime.tell([Turn(["1"])])
    runtime.finish()
    runtime.run()
    assert notes.story == ["1"]
