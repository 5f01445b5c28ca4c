"""The loop that runs one actor: everything that a machine only decides is done here.

    sources (links, door, pool, inbox) ──drain──► mailbox ──► machine ──► turns
       turns: 1. records written, at one go       2. messages sent, a frame per peer
              3. events published                 4. effects carried out
              (if there are eager messages only, the records wait for company)
       later: promises sent, all that stand on the records that one sync has secured

One thread, one selector, nothing that blocks but a disk that is full. All messages to
one peer that one round of the loop brings forth travel in one frame: batches form by
themselves when there is much to do, and nobody waits for a batch to fill.
"""

import logging
import math
import os
import secrets
import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from actors.address import Address
from actors.errors import ConfigError, DiskFull, MalformedFrame, TransportClosed
from actors.inbox import Source
from actors.logic.liveness import Tempo
from actors.logic.turn import (
    Answered,
    Effect,
    FrameMalformed,
    HangUp,
    LinkClosed,
    Machine,
    Turn,
)
from actors.logic.turn import Knock as KnockEffect
from actors.messages import (
    AnyEvent,
    Decoder,
    Heartbeat,
    Hello,
    JournalStalled,
    Message,
    Published,
    Refused,
    Welcome,
    door_answer,
    encode_events,
    encode_frame,
    encode_marked,
    encode_one,
    hello,
    published,
)
from actors.missing_doors import MissingDoors
from actors.nng import NOBODY_LISTENS
from actors.outgoing import UNHURRIED, Outgoing, Port
from actors.store.links import Links, SenderGone, SharedDecoder
from actors.transport import (
    Door,
    Knock,
    Link,
    Publisher,
    Relay,
    Security,
    Signal,
    Subscriber,
)

__all__ = [
    "Dialing",
    "Recorder",
    "Runtime",
    "Serving",
    "Shell",
]

logger = logging.getLogger(__name__)

# Promises that nobody waits for have records synced so late. Measured: the disk, and
# the thread that waits for it, hold up the tasks that come meanwhile: synced ten times
# as often, lone tasks take a sixth longer than without any sync.
SYNC_PERIOD = 0.05
# Records on which nothing stands yet wait for company, but no longer than this, in
# seconds, and no more of them. Measured: written one by one they take a tenth of the
# time of the process that serves lone tasks.
SAVE_PERIOD = 0.05
MAX_UNSAVED = 250
# The loop looks up now and then even if nothing is due. Chosen.
LONGEST_SLEEP = 60.0
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
# What a stranger calls itself is cut to this in the log.
_NAME_CHARACTERS = 200
# How long an admitted member may take to dial its link.
DIAL_TIMEOUT = 10.0
# At most so many may take their time with it; each costs three descriptors. Chosen.
MAX_UNDIALED = 1000
# How often to look whether a full disk has room again. Chosen.
ROOM_PERIOD = 0.5
# How long a leaving actor waits for its peers to read its last words.
LAST_WORDS = 2.0


class Shell(Protocol):
    """The part of an actor that does things."""

    def perform(self, effect: Effect) -> None:
        """Carry out what the machine decided; never block."""
        ...


class Recorder(Protocol):
    """What saves records."""

    def write(self, records: Sequence[Any], *, must_sync: bool) -> None:
        """Append records; return at once, or once they are safe.

        Raises:
            DiskFull: nothing was written; try the same again.
            ActorsError: the disk failed: end this process.
        """
        ...

    def begin_sync(self) -> bool:
        """Begin to make safe what was written; call it while none is under way.

        Returns:
            Whether that takes a while: then `fileno` becomes readable, and `has_synced`
            says when it is done. False: all is as safe as it must be.
        """
        ...

    def has_synced(self) -> bool:
        """Tell, once per `begin_sync`, that it is done.

        Raises:
            ActorsError: the disk failed: end this process.
        """
        ...

    def settle(self) -> None:
        """Wait until all that was written is as safe as it must be.

        A sync that was begun is over then; nothing more is told of it.

        Raises:
            ActorsError: the disk failed: end this process.
        """
        ...

    def fileno(self) -> int:
        """Return a descriptor; readable: call `has_synced`."""
        ...

    def tick(self, now: float) -> Sequence[Any]:
        """Do what is due at `wake_at`; never for long.

        Returns:
            Messages for the machine, perhaps none.
        """
        ...

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted; infinity: not."""
        ...


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


class Runtime:
    """One actor's loop.

    Args:
        machine: what decides.
        shell: what does.
        serving: how others reach us; None: nobody can.
        dialing: {door: how we reach it}.
        sources: further sources; their messages come with sender "".
        recorder: saves the records; None: there must be none.
        meanwhile: called now and then while all stands still for a full disk.
        links: where large payloads are, for peers that see the same memory; None:
            they travel in messages.
    """

    def __init__(
        self,
        machine: Machine,
        shell: Shell,
        *,
        serving: Serving | None = None,
        dialing: dict[str, Dialing] | None = None,
        sources: Iterable[Source] = (),
        recorder: Recorder | None = None,
        meanwhile: Callable[[], object] | None = None,
        links: Links | None = None,
    ) -> None:
        self._links = links
        self._machine = machine
        self._shell = shell
        self._serving = serving
        self._dialing = dialing or {}
        self._recorder = recorder
        self._meanwhile = meanwhile
        # Directly: `selectors` takes longer for the smallest round than we do.
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], object]] = {}  # {descriptor: reader}
        self._relays: dict[Security | None, Relay] = {}  # {certificates: relay}
        self._signals = [Signal()]  # the one that all links use, until we close
        self._ports: dict[str, Port] = {}  # {peer: port}
        self._by_link: dict[Link, Port] = {}
        self._outgoing = Outgoing()
        self._knocks: dict[str, Knock] = {}  # {door: unanswered knock}
        self._missing = MissingDoors()
        self._subscribers: list[Subscriber] = []
        self._undialed: deque[Port] = deque()  # oldest first
        # Promises that wait for the next sync, and those for the one under way.
        self._promises: list[tuple[Port, Message]] = []
        self._awaited: list[tuple[Port, Message]] = []
        self._is_syncing = False
        self._sync_at = math.inf  # when the promises that wait shall be seen to
        self._unsaved: list[Any] = []  # records, oldest first
        self._save_at = math.inf  # when they shall be written at the latest
        self._published = 0
        self._now = 0.0  # when something was read, or told, the last time
        self._turns: list[Turn] = []
        self._is_over = False
        self._is_door_blamed = False
        self._door: Door | None = None
        self._publisher: Publisher | None = None
        self._watch(self._signals[0].fileno(), self._read_signal)
        if recorder is not None:
            self._watch(recorder.fileno(), self._read_recorder)
        for source in sources:
            self.add_source(source)
        if serving is not None:
            self._open(serving)
        for how in self._dialing.values():
            if how.listens:
                self._subscribe(how)

    def add_source(self, source: Source) -> None:
        """Read a source from now on."""
        self._watch(source.fileno(), lambda: self._read_source(source))

    def remove_source(self, source: Source) -> None:
        """Read a source no longer; call it before closing the source."""
        self._unwatch(source.fileno())

    def read_now(self, source: Source) -> None:
        """Read a source; callable from the shell, for what it has just asked for."""
        self._read_source(source)

    def finish(self) -> None:
        """End the loop after this round; callable from the shell."""
        self._is_over = True

    def run(self) -> None:
        """Run until `finish`; then give peers a moment to read the last words."""
        try:
            while not self._is_over:
                self.round()
        finally:
            self.end()

    @property
    def is_over(self) -> bool:
        """Whether `finish` was called: there is nothing left but to `end`."""
        return self._is_over

    def end(self) -> None:
        """Say the last words if it is over, and close."""
        try:
            if self._is_over:
                self._say_last_words()
        finally:
            self.close()

    def close(self) -> None:
        """Close every socket; twice is fine."""
        for port in list(self._ports.values()):
            self._drop(port)
        for knock in self._knocks.values():
            knock.close()
        self._knocks.clear()
        for subscriber in self._subscribers:
            subscriber.close()
        self._subscribers.clear()
        if self._door is not None:
            self._door.close()
        if self._publisher is not None:
            self._publisher.close()
        for relay in self._relays.values():
            relay.close()
        self._relays.clear()
        self._epoll.close()
        # Let go of what would otherwise wait for the garbage collector: the signal's
        # descriptor is closed by whoever lets go of it last.
        self._callbacks.clear()
        self._signals.clear()

    # One round

    def round(self, longest: float = LONGEST_SLEEP, awake: float = 0.0) -> None:
        """Wait for something to do, and do it.

        Args:
            longest: seconds to wait at most.
            awake: for so many of them do not sleep, but look again and again: whoever
                sleeps is woken late.
        """
        now = time.monotonic()
        machine_at = self._machine.wake_at
        recorder_at = math.inf if self._recorder is None else self._recorder.wake_at
        wake_at = min(
            machine_at,
            recorder_at,
            math.inf if self._is_syncing else self._sync_at,
            self._save_at,
            self._outgoing.hurry_at,
            self._missing.look_at,
            now + min(longest, LONGEST_SLEEP),
        )
        self._read_what_is_there(max(0.0, wake_at - now), awake)
        now = self._now
        if machine_at <= now:
            self._turns.append(self._machine.tick(now))
        if self._save_at <= now:
            self._save()
        if recorder_at <= now and self._recorder is not None:
            # It may write a part of what the machine knows: no record of that may
            # come later than what builds on it.
            self._save()
            for message in self._recorder.tick(now):
                self._tell(message)
        if self._missing.look_at <= now:
            for door, newcomer in self._missing.find(now):
                self._knock(door, newcomer)
        while self._undialed and (
            len(self._undialed) > MAX_UNDIALED
            or self._undialed[0].opened_at + DIAL_TIMEOUT <= now
        ):
            port = self._undialed.popleft()
            if not port.link.was_connected and port.link in self._by_link:
                self._closed(port)
        self._complete()
        if self._outgoing.hurry_at <= now:
            self._outgoing.hurry(now)
            self._flush()

    def tell(self, messages: Iterable[Any]) -> None:
        """Give the machine messages, and do what follows, between two rounds."""
        for message in messages:
            self._tell(message)
        self._complete()

    def _read_what_is_there(self, longest: float, awake: float = 0.0) -> None:
        ready = self._epoll.poll(0.0) if awake else []
        if awake and not ready:
            until = time.monotonic() + min(awake, longest)
            while not ready and time.monotonic() < until:
                # Whoever has something to do for us goes first.
                os.sched_yield()
                ready = self._epoll.poll(0.0)
        if not ready:
            ready = self._epoll.poll(longest)
        self._now = time.monotonic()
        for fd, _ in ready:
            read = self._callbacks.get(fd)
            if read is not None:  # else another reader has just closed it
                read()

    def _complete(self) -> None:
        """Carry out what the turns of this round ask for, and what follows from it."""
        ports, send = self._ports, self._outgoing.send
        while self._turns:
            turns, self._turns = self._turns, []
            is_bound = must_sync = False
            for turn in turns:
                if turn.records:
                    self._unsaved += turn.records
                must_sync = must_sync or turn.must_sync
                is_bound = is_bound or bool(turn.sends or turn.events or turn.effects)
            if must_sync or (is_bound and self._unsaved):
                self._save(must_sync=must_sync)
            events: list[AnyEvent] = []
            effects: list[Effect] = []
            for turn in turns:
                for peer, message in turn.sends:
                    if (port := ports.get(peer)) is not None:
                        send(port, message)
                for peer, message in turn.eager:
                    if (port := ports.get(peer)) is not None:
                        send(port, message)
                for peer, message in turn.promises:
                    self._promise(peer, message)
                events += turn.events
                effects += turn.effects
            self._flush()
            if events:
                self._publish(events)
            for effect in effects:
                self._perform(effect)
        if self._unsaved:
            if len(self._unsaved) >= MAX_UNSAVED:
                self._save()
            elif self._save_at == math.inf:
                self._save_at = self._now + SAVE_PERIOD
        is_due = self._promises and not self._is_syncing
        if is_due and self._sync_at <= self._now:
            self._begin_sync()

    def _save(self, *, must_sync: bool = False) -> None:
        """Write the records that wait, if any do."""
        self._save_at = math.inf
        records, self._unsaved = self._unsaved, []
        if not records and not must_sync:
            return
        recorder = self._recorder
        assert recorder is not None, "records, but nothing to save them"
        is_waiting = False
        while True:
            try:
                recorder.write(records, must_sync=must_sync)
                break
            except DiskFull as error:
                if not is_waiting:
                    logger.error("all stands still: %s", error)
                    self._publish([JournalStalled(str(error))])
                    is_waiting = True
                self._beat_and_wait()
        if is_waiting:
            logger.info("there is room again: all goes on")
            self._publish([JournalStalled("", is_over=True)])

    def _beat_and_wait(self) -> None:
        """Show life, and wait for room on the disk.

        Nothing may be sent that stands on records which are not written, so nothing is
        read either: whoever has something to say keeps it until it is acknowledged.
        """
        frame = encode_frame([Heartbeat()])
        for port in self._ports.values():
            if port.frame is None and not port.outgoing:
                port.link.send(frame)
        if self._meanwhile is not None:
            self._meanwhile()
        time.sleep(ROOM_PERIOD)

    # Promises

    def _promise(self, peer: str, message: Message) -> None:
        port = self._ports.get(peer)
        if port is None:
            return
        self._promises.append((port, message))
        if type(message) not in UNHURRIED:
            self._sync_at = -math.inf
        elif self._sync_at == math.inf:
            self._sync_at = self._now + SYNC_PERIOD

    def _begin_sync(self) -> None:
        """Have the records made safe that promises stand on; then keep those."""
        self._save()
        self._awaited, self._promises = self._promises, []
        self._sync_at = math.inf
        if self._recorder is not None and self._recorder.begin_sync():
            self._is_syncing = True
        else:
            self._keep_promises()

    def _read_recorder(self) -> None:
        assert self._recorder is not None
        if self._recorder.has_synced():
            self._is_syncing = False
            self._keep_promises()

    def _keep_promises(self) -> None:
        kept, self._awaited = self._awaited, []
        for port, message in kept:
            # Who came back meanwhile over a new link was told anew, or asks anew.
            if self._ports.get(port.peer) is port:
                self._outgoing.send(port, message)
        self._flush()

    def _settle(self) -> None:
        """Save all records and keep all promises before anything else happens."""
        self._save()
        if self._recorder is not None and (self._awaited or self._promises):
            self._recorder.settle()
            self._is_syncing = False
            self._awaited += self._promises
            self._promises = []
            self._sync_at = math.inf
            self._keep_promises()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case KnockEffect(door, newcomer):
                self._knock(door, newcomer)
            case HangUp(peer):
                port = self._ports.get(peer)
                if port is not None:
                    self._drop(port)
            case _:
                self._shell.perform(effect)

    def _tell(self, message: Any, sender: str = "") -> None:
        self._now = now = time.monotonic()
        self._turns.append(self._machine.handle(message, sender, now))

    def _watch(self, fd: int, callback: Callable[[], object]) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def _read_source(self, source: Source) -> None:
        handle, turns = self._machine.handle, self._turns
        messages = source.read()
        now = self._now
        for message in messages:
            turns.append(handle(message, "", now))

    # Others come to us

    def _open(self, serving: Serving) -> None:
        address, actor = serving.address, serving.actor
        relay = self._relay(address, serving.security)
        self._door = Door(address.door(actor), relay, HELLO_BYTES)
        self._watch(self._door.fileno(), self._read_door)
        if serving.publishes:
            self._publisher = Publisher(address.events(actor), relay)

    def _relay(self, address: Address, security: Security | None) -> Relay | None:
        """Return what carries to and from other hosts with these certificates."""
        if address.scheme == "ipc":
            return None
        if security not in self._relays:
            self._relays[security] = Relay(security)
        return self._relays[security]

    def _read_door(self) -> None:
        assert self._door is not None
        while (frame := self._door.receive()) is not None:
            try:
                newcomer = hello.decode(frame)
            except MalformedFrame as error:
                # Nobody at the door has a name: log the first, as for a sender.
                if not self._is_door_blamed:
                    self._is_door_blamed = True
                    logger.warning("somebody at the door was refused: %s", error)
                self._tell(FrameMalformed("door", str(error)))
                self._door.answer(encode_one(Refused(f"this is no Hello: {error}")))
                continue
            self._door.answer(encode_one(self._admit(newcomer)))

    def _admit(self, newcomer: Hello) -> Welcome | Refused:
        serving = self._serving
        assert serving is not None
        # What was decided for a peer's old link must not go out on its new one: a lease
        # that the peer is told not to have would run all the same. And a manager drops
        # outcomes of tasks that are over: they must be on disk by then.
        self._complete()
        self._settle()
        self._now = now = time.monotonic()
        admission, turn = self._machine.admit(newcomer, now)
        if not admission.peer:
            logger.warning(
                "%s %s was refused: %s",
                newcomer.kind,
                newcomer.member_id[:_NAME_CHARACTERS],
                admission.reason,
            )
            self._turns.append(turn)
            return Refused(admission.reason, admission.is_final)
        old = self._ports.get(admission.peer)
        if old is not None:
            self._drop(old)
        link_id = secrets.token_urlsafe(16)
        try:
            link = Link.listen(
                serving.address.link(serving.actor, link_id),
                self._relay(serving.address, serving.security),
                serving.max_frame_bytes,
                self._signals[0],
            )
            link.fileno()
        except (ConfigError, TransportClosed) as error:
            # Out of descriptors, for one: those who are in must not suffer.
            logger.error("%s cannot be let in: %s", admission.peer, error)
            self._turns.append(turn)
            self._tell(LinkClosed(admission.peer))
            return Refused(f"there is no room for a link: {error}", is_final=False)
        port = self._add_port(admission.peer, link, serving.decoder(newcomer), now)
        self._share(port, newcomer.memory, are_items_vital=True)
        self._undialed.append(port)
        self._turns.append(turn)
        return Welcome(
            link_id,
            serving.epoch,
            serving.tempo.period,
            serving.tempo.threshold,
            serving.max_frame_bytes,
            self._memory,
        )

    def _publish(self, events: list[AnyEvent]) -> None:
        if self._publisher is None or self._serving is None:
            return
        at, epoch, actor = time.time(), self._serving.epoch, self._serving.actor
        frame = []
        for event in events:
            self._published += 1
            frame.append(Published(epoch, self._published, at, actor, event))
        self._publisher.send(encode_events(frame))

    # We go to others

    def _knock(self, door: str, newcomer: Hello) -> None:
        self._withdraw(door)
        how = self._dialing[door]
        url = how.address.door(how.actor)
        if self._missing.add(door, url, newcomer, time.monotonic()):
            return
        frame = encode_one(msgspec.structs.replace(newcomer, memory=self._memory))
        relay = self._relay(how.address, how.security)
        knock = Knock(url, relay, frame, HELLO_BYTES)
        self._knocks[door] = knock
        self._watch(knock.fileno(), lambda: self._read_answer(door, knock))

    def _withdraw(self, door: str) -> None:
        self._missing.discard(door)
        knock = self._knocks.pop(door, None)
        if knock is not None:
            self._unwatch(knock.fileno())
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
            how = self._dialing[door]
            old = self._ports.get(door)
            if old is not None:
                self._drop(old)
            link = Link.dial(
                how.address.link(how.actor, answer.link),
                self._relay(how.address, how.security),
                how.max_frame_bytes,
                self._signals[0],
            )
            port = self._add_port(door, link, how.decoder, time.monotonic())
            self._share(port, answer.memory)
        self._tell(Answered(door, answer))

    def trouble(self, door: str) -> str:
        """Say why a door does not answer, as far as is known."""
        if door in self._missing:
            return NOBODY_LISTENS
        knock = self._knocks.get(door)
        return knock.trouble if knock is not None else ""

    def _subscribe(self, how: Dialing) -> None:
        subscriber = Subscriber(
            how.address.events(how.actor),
            self._relay(how.address, how.security),
            how.max_frame_bytes,
        )
        self._subscribers.append(subscriber)
        self._watch(subscriber.fileno(), lambda: self._read_events(subscriber))

    def _read_events(self, subscriber: Subscriber) -> None:
        while (frame := subscriber.receive()) is not None:
            try:
                events = published.decode(frame)
            except MalformedFrame as error:
                logger.warning("events that are none: %s", error)
                continue
            for event in events:
                self._tell(event, "events")

    # Links

    def _add_port(
        self, peer: str, link: Link, decoder: Decoder[Any], now: float
    ) -> Port:
        port = Port(peer, link, decoder, now)
        self._ports[peer] = port
        self._by_link[link] = port
        self._watch(link.fileno(), lambda: self._read_link(port))
        return port

    @property
    def _memory(self) -> str:
        """The shared memory that we see; "": none."""
        return self._links.place if self._links is not None else ""

    def _share(self, port: Port, memory: str, *, are_items_vital: bool = False) -> None:
        """Exchange references to large payloads with a peer that sees as much."""
        if self._links is not None and memory and memory == self._memory:
            port.sees_memory = True
            port.encode = encode_marked
            port.decoder = SharedDecoder(
                port.decoder.decode, self._links.take, are_items_vital=are_items_vital
            )

    def sees_memory(self, peer: str) -> bool | None:
        """Tell whether a peer sees the same shared memory; None: there is no link."""
        port = self._ports.get(peer)
        return None if port is None else port.sees_memory

    def _drop(self, port: Port) -> None:
        """Close a port without a word to the machine."""
        self._unwatch(port.link.fileno())
        if port.waits_to_send:
            self._unwatch(port.link.send_fileno())
        self._outgoing.drop(port)
        del self._by_link[port.link]
        if self._ports.get(port.peer) is port:
            del self._ports[port.peer]
        port.link.close()

    def _closed(self, port: Port) -> None:
        self._drop(port)
        if port.sees_memory and self._links is not None and not self._is_over:
            # It may have been killed. At our own end others sweep: there may be no
            # more threads for that.
            self._links.sweep_soon()
        self._tell(LinkClosed(port.peer))

    def _read_signal(self) -> None:
        for link, change in self._signals[0].drain():
            port = self._by_link.get(link)
            if port is not None and change == "down":
                while port.link in self._by_link and self._read_link(port):
                    pass
                if port.link in self._by_link:
                    self._closed(port)

    def _read_link(self, port: Port) -> bool:
        """Take some frames; false: there are no more."""
        decode, link = port.decoder.decode, port.link
        handle, turns, now = self._machine.handle, self._turns, self._now
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
            now = self._now = time.monotonic()
        return True

    def _malformed(self, port: Port, error: MalformedFrame) -> None:
        port.malformed += 1
        if port.malformed == 1:
            logger.warning("%s sent what is no message: %s", port.peer, error)
        self._tell(FrameMalformed(port.peer, str(error)))

    def _flush(self) -> None:
        for port in self._outgoing.flush():
            if not port.waits_to_send:
                port.waits_to_send = True
                port.moved_at = time.monotonic()
                self._watch(port.link.send_fileno(), partial(self._resume, port))
            if port.outgoing_bytes > BACKLOG_BYTES and self._is_stuck(port):
                logger.warning(
                    "%s does not read: %d bytes wait for it; its link is closed",
                    port.peer,
                    port.outgoing_bytes,
                )
                self._closed(port)

    def _is_stuck(self, port: Port) -> bool:
        limit = STUCK_TIMEOUT if self._serving is None else self._serving.stuck_timeout
        silent = time.monotonic() - port.moved_at
        return silent > limit and port.link in self._by_link

    def _resume(self, port: Port) -> None:
        if self._outgoing.resume(port):
            self._unwatch(port.link.send_fileno())

    def _say_last_words(self) -> None:
        """Wait until the peers have hung up, having read everything, or a moment."""
        until = time.monotonic() + LAST_WORDS
        self._settle()
        self._outgoing.hurry(math.inf)
        self._flush()
        if self._door is not None:
            self._unwatch(self._door.fileno())
        while any(p.link.is_connected for p in self._ports.values()):
            left = until - time.monotonic()
            if left <= 0:
                return
            self._read_what_is_there(left)
            self._turns.clear()
