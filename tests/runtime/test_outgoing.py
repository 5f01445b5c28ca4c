"""What is worth no memory is dropped for who does not read; all else waits for it."""

from typing import Any

import pytest

from actors.messages import Heartbeat, Message, Output, Printed, to_member
from actors.runtime.outgoing import Outgoing, Port


class _SlowLink:
    """A link whose queue is full, until it is not."""

    def __init__(self) -> None:
        self.is_full = True
        self.sent: list[Any] = []

    def send(self, frame: bytes) -> bool:
        if not self.is_full:
            self.sent += to_member["client"].decode(frame)
        return not self.is_full


@pytest.mark.parametrize(
    "words", [Output(1, "h", b"lost\n", 5), Printed("t", False, 1, b"lost\n", 0)]
)
def test_what_workers_print_does_not_wait_for_who_does_not_read(words: Message) -> None:
    link, outgoing = _SlowLink(), Outgoing()
    port = Port("p", link, to_member["client"], 0.0)  # type: ignore[arg-type]
    outgoing.send(port, Heartbeat())
    assert outgoing.flush() == [port]
    port.waits_to_send = True
    outgoing.send(port, words)
    outgoing.send(port, Heartbeat())
    link.is_full = False
    assert outgoing.resume(port)
    assert link.sent == [Heartbeat(), Heartbeat()]
    outgoing.send(port, Output(1, "h", b"told\n", 10))
    assert not outgoing.flush()
    assert link.sent[-1] == Output(1, "h", b"told\n", 10)
