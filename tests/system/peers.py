"""Somebody at a door or a link who may say anything: the tests' own members.

    with Member(endpoint, "client") as member:
        member.send(b"no message")
        member.say(ClaimTasks([TaskId("x")]))
        assert member.hear(UnknownTasks)

Frames go through `actors.transport` as they are; only `Link`'s own guard against large
frames is out of the way.
"""

import os
import secrets
import socket
from typing import Any, Self, TypeVar

from actors.address import Address
from actors.api.addressing import find_entrance
from actors.endpoint.surroundings import python_version
from actors.messages import (
    PROTOCOL,
    Decoder,
    DoorAnswer,
    Hello,
    MemberKind,
    Message,
    Welcome,
    door_answer,
    encode_frame,
    encode_one,
    to_member,
)
from actors.tls import Security
from actors.transport import Knock, Link, Relay, Signal
from tests.endpoints import RunningEndpoint
from tests.support import eventually

__all__ = ["HUGE", "Member", "hello_to", "knock", "raw_connection", "security_of"]

# More than anybody at an endpoint takes.
HUGE = 1 << 30

Kind = TypeVar("Kind", bound=Message)


def security_of(endpoint: RunningEndpoint) -> Security | None:
    """Return what an endpoint's own members show, if they must show anything."""
    return find_entrance(endpoint.folder, "client").dialing.security


def hello_to(endpoint: RunningEndpoint, kind: MemberKind = "client") -> Hello:
    """Make an introduction that the endpoint accepts."""
    return Hello(
        kind,
        f"stranger-{secrets.token_hex(4)}",
        secrets.token_hex(8),
        PROTOCOL,
        python_version(),
        find_entrance(endpoint.folder, kind).token,
        os.getpid(),
        slots=1,
    )


def knock(
    url: str, frame: bytes, security: Security | None = None, within: float = 10
) -> DoorAnswer:
    """Knock with any bytes, and wait for the answer."""
    answers: list[bytes] = []

    def is_answered() -> bool:
        frame = request.receive()
        if frame is not None:
            answers.append(frame)
        return bool(answers)

    relay = Relay(security)
    request = Knock(url, relay, frame, HUGE)
    try:
        eventually(is_answered, within, f"an answer from {url}")
    finally:
        request.close()
        relay.close()
    return door_answer.decode(answers[0])


class Member:
    """A link to an actor, with nobody's manners.

    Args:
        endpoint: whose.
        kind: as what to come.
        hello: how to introduce ourselves; None: as somebody new.
        actor: whose door to enter.
    """

    def __init__(
        self,
        endpoint: RunningEndpoint,
        kind: MemberKind,
        hello: Hello | None = None,
        actor: str = "interchange",
        decoder: Decoder[Any] | None = None,
    ) -> None:
        self.hello = hello or hello_to(endpoint, kind)
        self._endpoint = endpoint
        self._actor = actor
        # The provider is reached on its own host only, whoever dials the endpoint.
        self._address = (
            endpoint.address
            if actor == "interchange"
            else Address.parse(f"ipc://{endpoint.paths.sockets}")
        )
        is_local = self._address.scheme == "ipc"
        self._security = None if is_local else security_of(endpoint)
        self._relay = Relay(self._security)
        self._decoder = decoder or to_member[kind]
        self._signal = Signal()
        self._heard: list[Message] = []
        self.link = self._enter()

    def _enter(self) -> Link:
        door = self._address.door(self._actor)
        answer = knock(door, encode_one(self.hello), self._security)
        assert isinstance(answer, Welcome), answer
        url = self._address.link(self._actor, answer.link)
        link = Link.dial(url, self._relay, HUGE, self._signal)
        eventually(lambda: link.is_connected, what="the link to be there")
        return link

    def enter_again(self) -> None:
        """Come back through the door with the same introduction."""
        self.link.close()
        self.link = self._enter()

    def send(self, frame: bytes) -> None:
        """Send any bytes."""
        eventually(lambda: self.link.send(frame) or self.is_down, what="room")

    def say(self, *messages: Message) -> None:
        """Send messages in one frame."""
        self.send(encode_frame(messages))

    def hear(self, kind: type[Kind], within: float = 10) -> Kind:
        """Wait for the next message of a kind; others stay to be heard.

        A result, for one, may come before its task is said to be accepted.
        """
        found: list[Kind] = []

        def has_come() -> bool:
            while (frame := self.link.receive()) is not None:
                self._heard += self._decoder.decode(frame)
            for message in self._heard:
                if isinstance(message, kind):
                    self._heard.remove(message)
                    found.append(message)
                    return True
            return False

        eventually(has_come, within, f"a {kind.__name__}")
        return found[0]

    @property
    def is_down(self) -> bool:
        """Whether the other side has hung up."""
        return self.link.was_connected and not self.link.is_connected

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()
        self._relay.close()


def raw_connection(url: str) -> socket.socket:
    """Connect to where a url leads, below all protocols."""
    if url.startswith("ipc://"):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(url.removeprefix("ipc://"))
        return raw
    host, _, port = url.split("/")[2].rpartition(":")
    return socket.create_connection((host, int(port)), 5)
