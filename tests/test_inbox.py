"""Threads and handlers of signals wake a loop; none of them waits for another."""

import os
import select
from contextlib import closing

import pytest

from actors.inbox import Bell, Inbox


def is_readable(bell: Bell | Inbox) -> bool:
    poller = select.poll()
    poller.register(bell.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def test_a_bell_that_is_rung_is_readable_until_it_is_heard() -> None:
    with closing(Bell()) as bell:
        assert not is_readable(bell)
        bell.ring()
        bell.ring()
        assert is_readable(bell)
        bell.hear()
        assert not is_readable(bell)
        bell.ring()
        assert is_readable(bell)


@pytest.mark.timeout(20)
def test_a_signals_handler_rings_while_its_own_thread_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = os.eventfd_write
    with closing(Bell()) as bell:

        def interrupted(descriptor: int, value: int) -> None:
            monkeypatch.setattr(os, "eventfd_write", write)
            write(descriptor, value)
            # The loop is quick, and then comes the signal.
            bell.hear()
            bell.ring()

        monkeypatch.setattr(os, "eventfd_write", interrupted)
        bell.ring()
        assert is_readable(bell)


def test_what_is_put_is_read_in_its_order() -> None:
    with closing(Inbox()) as inbox:
        inbox.put(1)
        inbox.put(2)
        assert is_readable(inbox)
        assert list(inbox.read()) == [1, 2]
        inbox.wake()
        assert list(inbox.read()) == []


def test_after_the_end_nobody_is_woken() -> None:
    inbox = Inbox()
    inbox.close()
    inbox.put(1)
    inbox.wake()
