"""An actor's signs of life reach its root, and end with it."""

import contextlib
import os
import select
from collections.abc import Iterator

import pytest

from actors.endpoint.pulse import Pulse, PulseReader


class Pair:
    """A pulse and its reader, which tells when it is over."""

    def __init__(self, period: float = 60.0) -> None:
        ours, theirs = os.pipe()
        self.ended: list[PulseReader] = []
        self.reader = PulseReader(ours, "beat", self.ended.append)
        self.pulse = Pulse(theirs, period)

    def heard(self) -> bool:
        """Tell whether there was a sign of life since the last look."""
        if not select.select([self.reader], [], [], 0)[0]:
            return False
        return list(self.reader.read()) == ["beat"]


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    assert pair.heard(), "the first one comes at once"
    yield pair
    pair.pulse.close()
    assert not pair.reader.read()
    assert pair.ended == [pair.reader], "once, and its descriptor is closed"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pair.reader.fileno())


def test_a_beat_comes_when_it_is_time_and_is_told_once(pair: Pair) -> None:
    assert not pair.heard()
    pair.pulse.read()
    assert pair.heard()
    assert not pair.heard()


def test_the_loop_is_woken_for_each_beat() -> None:
    pair = Pair(period=0.001)
    with contextlib.closing(pair.pulse):
        for _ in range(3):
            assert select.select([pair.pulse], [], [], 10)[0]
            pair.pulse.read()
    while not pair.ended:
        pair.reader.read()


def test_whoever_reads_a_long_journal_shows_life_meanwhile(pair: Pair) -> None:
    items = pair.pulse.along(range(2500))
    assert [next(items) for _ in range(1001)] == list(range(1001))
    assert pair.heard()
    assert list(items) == list(range(1001, 2500))
    assert pair.heard()


def test_a_root_that_is_stopped_does_not_stop_its_actors(pair: Pair) -> None:
    for _ in range(100_000):
        pair.pulse.beat()
    while pair.heard():
        pass


def test_a_root_that_is_gone_is_no_error() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with contextlib.closing(Pulse(theirs, 60.0)) as pulse:
        pulse.beat()


def test_an_actors_own_children_do_not_show_life_in_its_place(pair: Pair) -> None:
    descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    pipe = os.fstat(pair.reader.fileno()).st_ino
    writing = [
        fd for fd in descriptors if fd != pair.reader.fileno() and _inode(fd) == pipe
    ]
    assert [os.get_inheritable(fd) for fd in writing] == [False]


def _inode(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:  # the one that the folder was listed through
        return 0
