"""A line's two ends: the actor never waits for a caller, and no call is left unread."""

import shutil
import tempfile
from collections.abc import Iterator
from time import monotonic

import pytest

from actors.embedded.lines import ActorLines, Line, LineClosed
from actors.messages import (
    FIRST_DIRECT,
    CallActor,
    Gave,
    Message,
    OfferLine,
    Ran,
    TaskOptions,
    Value,
)

OPTIONS = TaskOptions()


class End:
    """The actor's end, and what it has told the owner."""

    def __init__(self, path: str) -> None:
        self.told: list[Message] = []
        self.lines = ActorLines(self.told.append)
        self.lines.open(path)
        self.offer = OfferLine(1, 1, path, 0)

    def dial(self) -> Line:
        return Line(self.offer)


@pytest.fixture
def end() -> Iterator[End]:
    folder = tempfile.mkdtemp(prefix="a-", dir="/tmp")
    end = End(f"{folder}/x.line")
    yield end
    end.lines.close()
    shutil.rmtree(folder)


def call(number: int, payload: bytes = b"") -> CallActor:
    return CallActor([number], 1, b"method", Value(payload), [], OPTIONS)


def ran(number: int, payload: bytes = b"answer") -> Ran:
    return Ran(number, True, payload, 0.0, 0.0)


def test_what_a_newcomer_has_sent_is_read_with_its_arrival(end: End) -> None:
    # Or a call by the owner, made later, could come before it.
    line = end.dial()
    line.send([call(FIRST_DIRECT + 1), call(FIRST_DIRECT + 2)])
    assert [run.seq for run in end.lines.read()] == [
        FIRST_DIRECT + 1,
        FIRST_DIRECT + 2,
    ]
    assert end.lines.read() == []
    line.close()


def test_each_caller_gets_its_own_answers(end: End) -> None:
    lines = {index * FIRST_DIRECT + 1: end.dial() for index in (1, 2, 3)}
    for number, line in lines.items():
        line.send([call(number)])
    assert {run.seq for run in end.lines.read()} == {*lines}
    for number in reversed(lines):
        end.lines.answer(ran(number))
    for number, line in lines.items():
        assert line.wait(monotonic() + 10)
        assert line.receive() == [ran(number)]
        line.close()


def test_an_actor_does_not_wait_for_a_caller_that_reads_nothing(end: End) -> None:
    line, count = end.dial(), 50
    line.send([call(FIRST_DIRECT + n) for n in range(count)])
    assert len(end.lines.read()) == count
    for n in range(count):
        end.lines.answer(ran(FIRST_DIRECT + n, b"x" * 60_000))  # 3 MB in all
    answers: list[Ran | Gave] = []
    while len(answers) < count:
        answers += line.receive()
        end.lines.read()  # sends what has room now
    assert [answer.seq for answer in answers] == [
        FIRST_DIRECT + n for n in range(count)
    ]
    line.close()


def test_what_is_more_than_a_value_goes_by_the_owner(end: End) -> None:
    line, number = end.dial(), FIRST_DIRECT + 1
    line.send([call(number)])
    end.lines.read()
    gave = Gave(number, [Value(b"handle", [7], is_stored=True)], 0.0, 0.0)
    end.lines.answer(gave)
    assert end.told == [gave]
    assert line.wait(monotonic() + 10)
    assert line.receive() == [Gave(number, [], 0.0, 0.0)]
    line.close()


def test_a_caller_that_has_left_is_forgotten(end: End) -> None:
    line, number = end.dial(), FIRST_DIRECT + 1
    line.send([call(number)])
    end.lines.read()
    line.close()
    assert end.lines.read() == []
    end.lines.answer(ran(number))
    other = end.dial()
    other.send([call(number + 1)])
    assert [run.seq for run in end.lines.read()] == [number + 1]
    other.close()


def test_who_dials_where_nobody_listens_is_told(end: End) -> None:
    with pytest.raises(LineClosed):
        Line(OfferLine(1, 1, end.offer.path + "x", 0))
