"""Others come to us: through our door to a link each, and for our events."""

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from actors.address import Address
from actors.errors import ConfigError, MalformedFrame, TransportClosed
from actors.logic.liveness import Tempo
from actors.logic.turn import FrameMalformed, LinkClosed
from actors.messages import (
    AnyEvent,
    Decoder,
    Hello,
    Published,
    Refused,
    Welcome,
    encode_events,
    encode_one,
    hello,
)
from actors.runtime.mailbox import Mailbox
from actors.runtime.ports import HELLO_BYTES, STUCK_TIMEOUT, Ports
from actors.transport import Door, Link, Publisher, Security

__all__ = ["Reception", "Serving"]

logger = logging.getLogger(__name__)

# What a stranger calls itself is cut to this in the log.
_NAME_CHARACTERS = 200


class Serving(msgspec.Struct, frozen=True):
    """How an actor is reached.

    Args:
        address: of the endpoint.
        actor: its name there.
        security: certificates, for `wss`.
        decoder: what a newcomer may send over its link.
        tempo, epoch, max_frame_bytes: told to newcomers.
        publishes: whether there is an events socket.
        stuck_timeout: see there.
    """

    address: Address
    actor: str
    security: Security | None
    decoder: Callable[[Hello], Decoder[Any]]
    tempo: Tempo
    epoch: str
    max_frame_bytes: int
    publishes: bool = False
    stuck_timeout: float = STUCK_TIMEOUT


class Reception:
    """The door, and the events socket.

    Args:
        serving: how we are reached.
        mailbox: of the machine that says who is let in.
        ports: where a newcomer's link goes.
    """

    def __init__(self, serving: Serving, mailbox: Mailbox, ports: Ports) -> None:
        self._serving = serving
        self._mailbox = mailbox
        self._ports = ports
        self._is_door_blamed = False
        self._published = 0
        self._publisher: Publisher | None = None
        address, actor = serving.address, serving.actor
        relay = ports.relay(address, serving.security)
        self._door = Door(address.door(actor), relay, HELLO_BYTES)
        if serving.publishes:
            self._publisher = Publisher(address.events(actor), relay)

    def fileno(self) -> int:
        """Return the descriptor that is readable while there are `newcomers`."""
        return self._door.fileno()

    def newcomers(self) -> Iterator[Hello]:
        """Give who is at the door now; who is given must be answered, by `admit`."""
        while (frame := self._door.receive()) is not None:
            try:
                newcomer = hello.decode(frame)
            except MalformedFrame as error:
                # Nobody at the door has a name: log the first, as for a sender.
                if not self._is_door_blamed:
                    self._is_door_blamed = True
                    logger.warning("somebody at the door was refused: %s", error)
                self._mailbox.tell(FrameMalformed("door", str(error)))
                self._door.answer(encode_one(Refused(f"this is no Hello: {error}")))
            else:
                yield newcomer

    def admit(self, newcomer: Hello) -> None:
        """Let somebody in, or refuse it, as the machine says."""
        self._door.answer(encode_one(self._admit(newcomer)))

    def _admit(self, newcomer: Hello) -> Welcome | Refused:
        serving, mailbox, ports = self._serving, self._mailbox, self._ports
        mailbox.now = now = time.monotonic()
        admission, turn = mailbox.machine.admit(newcomer, now)
        if not admission.peer:
            logger.warning(
                "%s %s was refused: %s",
                newcomer.kind,
                newcomer.member_id[:_NAME_CHARACTERS],
                admission.reason,
            )
            mailbox.turns.append(turn)
            return Refused(admission.reason, admission.is_final)
        ports.hang_up(admission.peer)
        link_id = secrets.token_urlsafe(16)
        try:
            link = Link.listen(
                serving.address.link(serving.actor, link_id),
                ports.relay(serving.address, serving.security),
                serving.max_frame_bytes,
                ports.signal,
            )
            link.fileno()
        except (ConfigError, TransportClosed) as error:
            # Out of descriptors, for one: those who are in must not suffer.
            logger.error("%s cannot be let in: %s", admission.peer, error)
            mailbox.turns.append(turn)
            mailbox.tell(LinkClosed(admission.peer))
            return Refused(f"there is no room for a link: {error}", is_final=False)
        port = ports.add(admission.peer, link, serving.decoder(newcomer), now)
        ports.share(port, newcomer.memory, are_items_vital=True)
        ports.undialed.append(port)
        mailbox.turns.append(turn)
        return Welcome(
            link_id,
            serving.epoch,
            serving.tempo.period,
            serving.tempo.threshold,
            serving.max_frame_bytes,
            ports.memory,
        )

    def publish(self, events: list[AnyEvent]) -> None:
        """Tell everybody who listens; nothing if there is no events socket."""
        if self._publisher is None:
            return
        at, epoch, actor = time.time(), self._serving.epoch, self._serving.actor
        frame = []
        for event in events:
            self._published += 1
            frame.append(Published(epoch, self._published, at, actor, event))
        self._publisher.send(encode_events(frame))

    def close(self) -> None:
        """Close the door, and the events socket; twice is fine."""
        self._door.close()
        if self._publisher is not None:
            self._publisher.close()
