"""Ports: the links to our peers, what comes over them, and what carries them.

a link comes up ──► port ──frames──► messages for the machine
                     ▲  └─ it goes down, or is dropped, or its peer is stuck
                     └──── messages of the machine, by `outgoing`
"""

import logging
import math
import time
from collections import deque
from functools import partial
from typing import Any

from actors.address import Address
from actors.errors import MalformedFrame
from actors.logic.turn import FrameMalformed, LinkClosed
from actors.messages import Decoder, Heartbeat, encode_frame, encode_marked
from actors.runtime.mailbox import Mailbox
from actors.runtime.outgoing import Outgoing, Port
from actors.store.links import Links, SenderGone, SharedDecoder
from actors.transport import Link, Relay, Security, Signal

__all__ = ["BACKLOG_BYTES", "HELLO_BYTES", "STUCK_TIMEOUT", "Ports"]

logger = logging.getLogger(__name__)

# With more than this to send to a peer that takes nothing for so many seconds, its link
# is closed. It comes back through the door and is told again whatever it did not
# acknowledge. The time is for who comes back to a lot of results, and does read.
BACKLOG_BYTES = 256 << 20
STUCK_TIMEOUT = 5.0
# After a smaller frame the next one is left to the next round: it is seldom there, and
# finding that out takes as long as decoding this one.
BUSY_FRAME_BYTES = 2048
# Frames read from one source per round, so that no peer keeps the others waiting.
FRAMES_PER_ROUND = 64
# A door's knock is small; a manager that holds many tasks lists their ids.
HELLO_BYTES = 16 << 20
# How long an admitted member may take to dial its link.
DIAL_TIMEOUT = 10.0
# At most so many may take their time with it; each costs three descriptors. Chosen.
MAX_UNDIALED = 1000


class Ports:
    """All links of one loop.

    Args:
        mailbox: where what comes goes.
        links: where large payloads are, for peers that see the same memory; None:
            they travel in messages.
        stuck_timeout: see there.
    """

    def __init__(
        self, mailbox: Mailbox, links: Links | None, *, stuck_timeout: float
    ) -> None:
        self._mailbox = mailbox
        self._links = links
        self._stuck_timeout = stuck_timeout
        self.by_peer: dict[str, Port] = {}  # {peer: its port}
        self.outgoing = Outgoing()
        self.undialed: deque[Port] = deque()  # oldest first
        self._by_link: dict[Link, Port] = {}
        self._relays: dict[Security | None, Relay] = {}  # {certificates: relay}
        self._signals = [Signal()]  # the one that all links use, until we close
        mailbox.watch(self._signals[0].fileno(), self._read_signal)

    @property
    def signal(self) -> Signal:
        """What links are to tell that they have come up or gone down."""
        return self._signals[0]

    def relay(self, address: Address, security: Security | None) -> Relay | None:
        """Return what carries to and from other hosts with these certificates."""
        if address.scheme == "ipc":
            return None
        if security not in self._relays:
            self._relays[security] = Relay(security)
        return self._relays[security]

    def close(self) -> None:
        """Close every link, and what carries them; twice is fine."""
        for port in list(self.by_peer.values()):
            self.drop(port)
        for relay in self._relays.values():
            relay.close()
        self._relays.clear()
        # Its descriptor is closed by whoever lets go of it last.
        self._signals.clear()

    # Coming and going

    def add(self, peer: str, link: Link, decoder: Decoder[Any], now: float) -> Port:
        """Read a link from now on, under the name of a peer that has none."""
        port = Port(peer, link, decoder, now)
        self.by_peer[peer] = port
        self._by_link[link] = port
        self._mailbox.watch(link.fileno(), partial(self._read_link, port))
        return port

    @property
    def memory(self) -> str:
        """The shared memory that we see; "": none."""
        return self._links.place if self._links is not None else ""

    def share(self, port: Port, memory: str, *, are_items_vital: bool = False) -> None:
        """Exchange references to large payloads with a peer that sees as much."""
        if self._links is not None and memory and memory == self.memory:
            port.sees_memory = True
            port.encode = encode_marked
            port.decoder = SharedDecoder(
                port.decoder.decode, self._links.take, are_items_vital=are_items_vital
            )

    def drop(self, port: Port) -> None:
        """Close a port without a word to the machine."""
        self._mailbox.unwatch(port.link.fileno())
        if port.waits_to_send:
            self._mailbox.unwatch(port.link.send_fileno())
        self.outgoing.drop(port)
        del self._by_link[port.link]
        if self.by_peer.get(port.peer) is port:
            del self.by_peer[port.peer]
        port.link.close()

    def hang_up(self, peer: str) -> None:
        """Close a peer's port, if it has one, without a word to the machine."""
        port = self.by_peer.get(peer)
        if port is not None:
            self.drop(port)

    def _closed(self, port: Port) -> None:
        self.drop(port)
        if port.sees_memory and self._links is not None and not self._mailbox.is_over:
            # It may have been killed. At our own end others sweep: there may be no
            # more threads for that.
            self._links.sweep_soon()
        self._mailbox.tell(LinkClosed(port.peer))

    def close_undialed(self, now: float) -> None:
        """Close links that were offered, and that nobody has dialed in time."""
        while self.undialed and (
            len(self.undialed) > MAX_UNDIALED
            or self.undialed[0].opened_at + DIAL_TIMEOUT <= now
        ):
            port = self.undialed.popleft()
            if not port.link.was_connected and port.link in self._by_link:
                self._closed(port)

    def _read_signal(self) -> None:
        for link, change in self._signals[0].drain():
            port = self._by_link.get(link)
            if port is not None and change == "down":
                while port.link in self._by_link and self._read_link(port):
                    pass
                if port.link in self._by_link:
                    self._closed(port)

    # What comes

    def _read_link(self, port: Port) -> bool:
        """Take some frames; false: there are no more."""
        mailbox, decode, link = self._mailbox, port.decoder.decode, port.link
        handle, turns, now = mailbox.handle, mailbox.turns, mailbox.now
        for _ in range(FRAMES_PER_ROUND):
            frame = link.receive()
            if frame is None:
                return False
            try:
                messages = decode(frame)
            except SenderGone as error:
                # As if its end had been seen before this came; nothing after it counts.
                logger.warning("%s: %s", port.peer, error)
                self._closed(port)
                return False
            except MalformedFrame as error:
                self._malformed(port, error)
                continue
            for message in messages:
                turns.append(handle(message, port.peer, now))
            if len(frame) < BUSY_FRAME_BYTES:
                return True
            now = mailbox.now = time.monotonic()
        return True

    def _malformed(self, port: Port, error: MalformedFrame) -> None:
        port.malformed += 1
        if port.malformed == 1:
            logger.warning("%s sent what is no message: %s", port.peer, error)
        self._mailbox.tell(FrameMalformed(port.peer, str(error)))

    # What goes

    def flush(self) -> None:
        """Send what does not wait for company."""
        for port in self.outgoing.flush():
            if not port.waits_to_send:
                port.waits_to_send = True
                port.moved_at = time.monotonic()
                self._mailbox.watch(
                    port.link.send_fileno(), partial(self._resume, port)
                )
            if port.outgoing_bytes > BACKLOG_BYTES and self._is_stuck(port):
                logger.warning(
                    "%s does not read: %d bytes wait for it; its link is closed",
                    port.peer,
                    port.outgoing_bytes,
                )
                self._closed(port)

    def flush_late(self, now: float = math.inf) -> None:
        """Send what has waited for company long enough; by default: all."""
        self.outgoing.hurry(now)
        self.flush()

    def _is_stuck(self, port: Port) -> bool:
        silent = time.monotonic() - port.moved_at
        return silent > self._stuck_timeout and port.link in self._by_link

    def _resume(self, port: Port) -> None:
        if self.outgoing.resume(port):
            self._mailbox.unwatch(port.link.send_fileno())

    def beat(self) -> None:
        """Show life to each peer for which nothing waits."""
        frame = encode_frame([Heartbeat()])
        for port in self.by_peer.values():
            if port.frame is None and not port.outgoing:
                port.link.send(frame)
