"""A peer is told all that there is to tell, however much, as long as it reads."""

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.address import Address
from actors.logic.liveness import Tempo
from actors.logic.turn import Admission, LinkClosed, Turn
from actors.messages import (
    PROTOCOL,
    Heartbeat,
    Hello,
    Outcome,
    Results,
    TaskId,
    TaskState,
    Welcome,
    door_answer,
    encode_one,
    from_member,
    to_member,
)
from actors.runtime import Runtime, Serving
from actors.runtime.ports import BACKLOG_BYTES
from actors.transport import Knock, Link, Signal
from tests.support import eventually

pytestmark = pytest.mark.slow

MEBIBYTE = 1 << 20
# More than may wait for who does not read, and what the queues on the way take.
COUNT = BACKLOG_BYTES // MEBIBYTE + 40
MAX_FRAME_BYTES = 4 * MEBIBYTE


class Teller:
    """A machine that has a lot to tell to whoever comes, and a little now and then."""

    def __init__(self) -> None:
        # One payload for all: it is the queue that is tested, not the memory.
        payload = bytes(MEBIBYTE)
        self._outcomes = [
            Outcome(TaskId(str(n)), 1, TaskState.SUCCESS, payload) for n in range(COUNT)
        ]
        self.closed: list[str] = []
        self.wake_at = math.inf

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        turn = Turn()
        turn.sends += [("peer", Results([o])) for o in self._outcomes]
        self.wake_at = now
        return Admission("peer"), turn

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        if isinstance(message, LinkClosed):
            self.closed.append(message.peer)
            self.wake_at = math.inf
        return Turn()

    def tick(self, now: float) -> Turn:
        self.wake_at = now + 0.01
        turn = Turn()
        turn.sends.append(("peer", Heartbeat()))
        return turn

    def check(self) -> None:
        """There is nothing to contradict."""

    def perform(self, effect: object) -> None:
        raise AssertionError(effect)


@pytest.fixture
def address() -> Iterator[Address]:
    folder = Path(tempfile.mkdtemp(prefix="a-", dir="/tmp"))
    yield Address.parse(f"ipc://{folder}")
    shutil.rmtree(folder)


class Visit:
    """A runtime with a teller, and a visitor with a link to it, in this thread."""

    def __init__(self, address: Address, stuck_timeout: float) -> None:
        self.teller = Teller()
        self.runtime = Runtime(
            self.teller,
            self.teller,
            serving=Serving(
                address,
                "teller",
                None,
                lambda _: from_member["client"],
                Tempo(),
                "epoch",
                MAX_FRAME_BYTES,
                stuck_timeout=stuck_timeout,
            ),
        )
        hello = encode_one(Hello("client", "c", "i", PROTOCOL, "3.11", "t"))
        self.answers: list[bytes] = []
        with closing(Knock(address.door("teller"), None, hello, 1 << 20)) as knock:
            self.until(lambda: self._has_answer(knock), "an answer")
        answer = door_answer.decode(self.answers[0])
        assert isinstance(answer, Welcome)
        self.signal = Signal()
        url = address.link("teller", answer.link)
        self.link = Link.dial(url, None, MAX_FRAME_BYTES, self.signal)
        self.until(lambda: self.link.is_connected, "the link")

    def _has_answer(self, knock: Knock) -> bool:
        frame = knock.receive()
        if frame is not None:
            self.answers.append(frame)
        return frame is not None

    def until(self, condition: Any, what: str) -> None:
        """Let the runtime go round until something is so."""

        def is_so() -> bool:
            self.runtime.round(0.01)
            return bool(condition())

        eventually(is_so, 30, what)

    def close(self) -> None:
        self.link.close()
        self.runtime.close()


def test_who_reads_is_told_more_than_may_wait_for_others(address: Address) -> None:
    with closing(Visit(address, stuck_timeout=5.0)) as visit:
        told: list[str] = []

        def has_all() -> bool:
            while (frame := visit.link.receive()) is not None:
                for message in to_member["client"].decode(frame):
                    if isinstance(message, Results):
                        told.extend(o.task_id for o in message.outcomes)
            return len(told) == COUNT

        visit.until(has_all, "all that there is to tell")
        assert told == [str(n) for n in range(COUNT)]
        assert visit.teller.closed == []


def test_who_takes_nothing_is_hung_up_on(address: Address) -> None:
    with closing(Visit(address, stuck_timeout=0.2)) as visit:
        visit.until(lambda: visit.teller.closed == ["peer"], "the end of the link")
        # It sees that when it reads at last.
        eventually(
            lambda: visit.link.receive() is None and not visit.link.is_connected,
            what="the hang-up",
        )
