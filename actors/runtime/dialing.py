"""We go to others: knock at their doors, dial their links, hear their events."""

import logging
import time
from functools import partial
from typing import Any

import msgspec

from actors.address import Address
from actors.errors import MalformedFrame
from actors.logic.turn import Answered
from actors.messages import (
    Decoder,
    Hello,
    Welcome,
    door_answer,
    encode_one,
    published,
)
from actors.nng import NOBODY_LISTENS
from actors.runtime.mailbox import Mailbox
from actors.runtime.missing_doors import MissingDoors
from actors.runtime.ports import HELLO_BYTES, Ports
from actors.transport import Knock, Link, Security, Subscriber

__all__ = ["Dialer", "Dialing"]

logger = logging.getLogger(__name__)


class Dialing(msgspec.Struct, frozen=True):
    """How an actor reaches another one's door.

    Args:
        address: of the endpoint.
        actor: the other one's name there.
        security: certificates, for `wss`.
        decoder: what it may send us.
        max_frame_bytes: the largest frame that we take.
        listens: whether we want its events, too.
    """

    address: Address
    actor: str
    security: Security | None
    decoder: Decoder[Any]
    max_frame_bytes: int
    listens: bool = False


class Dialer:
    """Our knocks that are not answered yet, and the events that we hear.

    Args:
        dialing: {door: how we reach it}.
        mailbox: where answers and events go.
        ports: where links go.
    """

    def __init__(
        self, dialing: dict[str, Dialing], mailbox: Mailbox, ports: Ports
    ) -> None:
        self._dialing = dialing
        self._mailbox = mailbox
        self._ports = ports
        self.missing = MissingDoors()
        self._knocks: dict[str, Knock] = {}  # {door: unanswered knock}
        self._subscribers: list[Subscriber] = []
        for how in dialing.values():
            if how.listens:
                self._subscribe(how)

    def knock(self, door: str, newcomer: Hello) -> None:
        """Knock at a door once it is there; the machine is told its answer."""
        self._withdraw(door)
        how = self._dialing[door]
        url = how.address.door(how.actor)
        if self.missing.add(door, url, newcomer, time.monotonic()):
            return
        frame = encode_one(msgspec.structs.replace(newcomer, memory=self._ports.memory))
        relay = self._ports.relay(how.address, how.security)
        knock = Knock(url, relay, frame, HELLO_BYTES)
        self._knocks[door] = knock
        self._mailbox.watch(knock.fileno(), partial(self._read_answer, door, knock))

    def knock_at_found(self, now: float) -> None:
        """Knock at doors that were missing, and are there."""
        for door, newcomer in self.missing.find(now):
            self.knock(door, newcomer)

    def _withdraw(self, door: str) -> None:
        self.missing.discard(door)
        knock = self._knocks.pop(door, None)
        if knock is not None:
            self._mailbox.unwatch(knock.fileno())
            knock.close()

    def _read_answer(self, door: str, knock: Knock) -> None:
        frame = knock.receive()
        if frame is None:
            return
        self._withdraw(door)
        try:
            answer = door_answer.decode(frame)
        except MalformedFrame as error:
            logger.warning("the door %s answered nonsense: %s", door, error)
            return
        if isinstance(answer, Welcome):
            how, ports = self._dialing[door], self._ports
            ports.hang_up(door)
            link = Link.dial(
                how.address.link(how.actor, answer.link),
                ports.relay(how.address, how.security),
                how.max_frame_bytes,
                ports.signal,
            )
            port = ports.add(door, link, how.decoder, time.monotonic())
            ports.share(port, answer.memory)
        self._mailbox.tell(Answered(door, answer))

    def trouble(self, door: str) -> str:
        """Say why a door does not answer, as far as is known."""
        if door in self.missing:
            return NOBODY_LISTENS
        knock = self._knocks.get(door)
        return knock.trouble if knock is not None else ""

    def _subscribe(self, how: Dialing) -> None:
        subscriber = Subscriber(
            how.address.events(how.actor),
            self._ports.relay(how.address, how.security),
            how.max_frame_bytes,
        )
        self._subscribers.append(subscriber)
        self._mailbox.watch(subscriber.fileno(), partial(self._read_events, subscriber))

    def _read_events(self, subscriber: Subscriber) -> None:
        while (frame := subscriber.receive()) is not None:
            try:
                events = published.decode(frame)
            except MalformedFrame as error:
                logger.warning("events that are none: %s", error)
                continue
            for event in events:
                self._mailbox.tell(event, "events")

    def close(self) -> None:
        """Knock and hear no more; twice is fine."""
        for knock in self._knocks.values():
            knock.close()
        self._knocks.clear()
        for subscriber in self._subscribers:
            subscriber.close()
        self._subscribers.clear()
