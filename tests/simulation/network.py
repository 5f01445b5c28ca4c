"""A clock, and a network of nodes: what the machines of a simulation live on.

Everything that happens is an event on one heap, and every choice comes from one seeded
random source, so a seed is a complete description of a run. Within a link messages keep
their order, as nng's do; a link that breaks loses what is under way on it; a partition
loses nothing as long as the link survives it, and tells nobody. Frames are encoded and
decoded on the way as between real processes.

A node works in rounds like the real loop: what arrived is handled, then the records of
all turns are saved, then their messages sent, then their effects carried out; records
on which nothing stands are saved later. It may crash between any two of these, and it
may be suspended: then nothing is handled until it wakes up, and then all of it in one
round.
"""

import heapq
import itertools
import math
import random
import zlib
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from actors.logic.turn import Answered, HangUp, Knock, LinkClosed, Machine, Turn
from actors.messages import (
    Decoder,
    Hello,
    Message,
    Refused,
    Welcome,
    encode_marked,
)
from actors.store.links import SenderGone, SharedDecoder
from tests.simulation.memory import Memory

__all__ = ["Heart", "Node", "Surroundings", "Wire"]


class Heart:
    """The clock and the heap of what is to happen."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, delay: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), event))

    def step(self) -> bool:
        if not self._events:
            return False
        at, _, event = heapq.heappop(self._events)
        self.now = max(self.now, at)
        event()
        return True


class Surroundings(Protocol):
    """What a node needs of its world."""

    heart: Heart
    memory: Memory
    chance: random.Random
    fingerprint: int  # of every frame that was sent, and when

    @property
    def now(self) -> float: ...
    def delay(self) -> float: ...
    def crashes_now(self, node: "Node") -> bool: ...
    def breaks_now(self) -> bool: ...
    def publish(self, node: "Node", event: Any) -> None: ...
    def knock(self, node: "Node", door: str, hello: Hello, number: int) -> None: ...


class Node:
    """One actor: its machine, its links, its life."""

    def __init__(self, world: Surroundings, name: str, machine: Machine) -> None:
        self.world = world
        self.name = name
        self.machine = machine
        self.is_alive = True
        self.links: dict[str, Wire] = {}  # {peer as this machine calls it: link}
        self.cut_until = -math.inf  # nothing goes in or out
        self.knocks: dict[str, int] = {}  # {door: number of the newest knock}
        self._suspended_until = -math.inf
        self._inbox: list[Callable[[], None]] = []
        self._turns: list[Turn] = []
        self._unsaved: list[Any] = []  # records
        self._wakes_at = math.inf

    # Rounds

    def happens(self, event: Callable[[], None]) -> None:
        """Let something arrive: it is handled now, or when the node wakes up."""
        if not self.is_alive:
            return
        self._inbox.append(event)
        if self.world.now >= self._suspended_until:
            self._round()

    def tell(self, message: Any, sender: str = "") -> None:
        """Let a message arrive that comes over no link."""
        self.happens(lambda: self._handle(message, sender))

    def suspend(self, seconds: float) -> None:
        """Handle nothing for a while, as a stopped or starved process."""
        self._suspended_until = self.world.now + seconds
        self.world.heart.after(seconds, self._wake)

    def answer(self, hello: Hello) -> Any:
        """Let the machine answer somebody at its door; within an event only."""
        admission, turn = self.machine.admit(hello, self.world.now)
        self._turns.append(turn)
        return admission

    def complete(self) -> None:
        """Carry out what the turns so far ask for."""
        turns, self._turns = self._turns, []
        for turn in turns:
            self._unsaved += turn.records
        # As the real loop: what is eager goes long before the records if it is alone.
        is_bound = any(t.sends or t.must_sync or t.events or t.effects for t in turns)
        acts = [self._save_all] if is_bound else []
        for act in (*acts, self._send_all, self._publish_all):
            if self.world.crashes_now(self):
                return
            act(turns)
        if self.world.crashes_now(self):
            return
        for turn in turns:
            for effect in turn.effects:
                self.do(effect)
        self.finish_round()

    def _save_all(self, _turns: list[Turn]) -> None:
        self.save_now()

    def save_now(self) -> None:
        """Save the records that wait."""
        records, self._unsaved = self._unsaved, []
        self.save(records)

    @property
    def has_unsaved(self) -> bool:
        """Whether records wait to be saved."""
        return bool(self._unsaved)

    def _send_all(self, turns: list[Turn]) -> None:
        for turn in turns:
            for peer, message in (*turn.sends, *turn.eager):
                if peer in self.links:
                    self.links[peer].send(self, message)
            for peer, message in turn.promises:
                self.promise(peer, message)

    def _publish_all(self, turns: list[Turn]) -> None:
        for turn in turns:
            for event in turn.events:
                self.world.publish(self, event)

    def _round(self) -> None:
        events, self._inbox = self._inbox, []
        for event in events:
            event()
        if not self.is_alive:
            return
        wake_at = self.machine.wake_at
        if wake_at <= self.world.now:
            self._turns.append(self.machine.tick(self.world.now))
            wake_at = self.machine.wake_at
        self.machine.check()
        self.complete()
        self._schedule(wake_at)

    def _handle(self, message: Any, sender: str) -> None:
        if self.is_alive:
            self._turns.append(self.machine.handle(message, sender, self.world.now))

    def _wake(self) -> None:
        if self.is_alive and self.world.now >= self._suspended_until:
            self._round()

    def schedule(self) -> None:
        """See to it that the machine's first tick comes."""
        self._schedule(self.machine.wake_at)

    def _schedule(self, at: float) -> None:
        if self.is_alive and at < self._wakes_at:
            self._wakes_at = at
            # Never at the very same moment: time passes between two rounds.
            delay = max(at - self.world.now, 1e-6)
            self.world.heart.after(delay, lambda: self._tick(at))

    def _tick(self, planned_at: float) -> None:
        if planned_at != self._wakes_at or not self.is_alive:
            return
        self._wakes_at = math.inf
        if self.world.now >= self._suspended_until:
            self._round()

    # What a shell does

    def save(self, records: list[Any]) -> None:
        """Write the records of some turns."""

    def promise(self, peer: str, message: Message) -> None:
        """Send once the records are safe."""
        raise AssertionError(f"{self.name} cannot promise {message!r}")

    def finish_round(self) -> None:
        """Do what is left when the turns of a round are carried out."""

    def settle(self) -> None:
        """Make good all promises before somebody is let in."""

    def do(self, effect: Any) -> None:
        match effect:
            case Knock(door, hello):
                number = self.knocks[door] = self.knocks.get(door, 0) + 1
                self.world.knock(self, door, hello, number)
            case HangUp(peer):
                link = self.links.pop(peer, None)
                if link is not None:
                    link.close(by=self)
            case _:
                raise AssertionError(f"{self.name} cannot do {effect!r}")

    def answered(
        self, door: str, number: int, answer: Welcome | Refused, wire: "Wire | None"
    ) -> None:
        """Take a door's answer, unless a newer knock has made it void."""
        if not self.is_alive or self.knocks[door] != number:
            if wire is not None:
                wire.close(by=self)
            return
        if wire is not None:
            old = self.links.pop(door, None)
            if old is not None:
                old.close(by=self)
            self.links[door] = wire
        self._handle(Answered(door, answer), "")
        if wire is not None:
            wire.attached(self)

    def crash(self) -> None:
        self.is_alive = False
        self._turns.clear()
        self._inbox.clear()
        for link in list(self.links.values()):
            link.close(by=self)
        self.links.clear()


class Wire:
    """One pair of sockets: ordered both ways, until it breaks.

    Args:
        world: for time and chance.
        ends: {end: (peer as it calls the other, what it may receive)}; the first one
            listens, the second one has yet to dial.
    """

    def __init__(
        self, world: Surroundings, ends: dict[Node, tuple[str, Decoder[Any]]]
    ) -> None:
        self.world = world
        self._ends = ends
        self._dialer = list(ends)[1]
        self._undelivered: list[bytes] | None = []  # for the dialer; None: it dialed
        self._arrivals: dict[Node, float] = defaultdict(float)
        self.is_open = True

    def send(self, sender: Node, message: Message) -> None:
        if not self.is_open:
            return
        (receiver,) = [end for end in self._ends if end is not sender]
        frame = encode_marked([message])
        world = self.world
        world.fingerprint = zlib.crc32(frame, world.fingerprint)
        at = max(world.now + world.delay(), self._healed_at())
        at = self._arrivals[receiver] = max(at, self._arrivals[receiver] + 1e-9)
        world.heart.after(at - world.now, lambda: self._arrive(receiver, frame))
        if world.breaks_now():
            self.close()

    def attached(self, dialer: Node) -> None:
        """Note that the dialer is there, and give it what came before."""
        assert dialer is self._dialer
        frames, self._undelivered = self._undelivered or [], None
        # A listener that is gone already is dialed in vain, and nobody says so.
        for frame in frames if self.is_open else ():
            self._read(dialer, frame)

    def give_up_undialed(self, listener: Node) -> None:
        """Close it on the listener's side if nobody has dialed it by now."""
        if self.is_open and self._undelivered is not None:
            self.is_open = False
            listener.happens(lambda: self._tell(listener))

    def close(self, by: Node | None = None) -> None:
        """Break it; each end but the one that closed it learns so, in its time."""
        if not self.is_open:
            return
        self.is_open = False
        for end in self._ends:
            if end is not by:
                at = max(self.world.now + self.world.delay(), self._healed_at())
                self.world.heart.after(
                    at - self.world.now, partial(end.happens, partial(self._tell, end))
                )

    def _healed_at(self) -> float:
        return max(end.cut_until for end in self._ends)

    def _arrive(self, receiver: Node, frame: bytes) -> None:
        if not self.is_open:
            return
        if receiver is self._dialer and self._undelivered is not None:
            self._undelivered.append(frame)
        else:
            receiver.happens(lambda: self._read(receiver, frame))

    def _read(self, receiver: Node, frame: bytes) -> None:
        peer, decoder = self._ends[receiver]
        # A link that was hung up, or replaced, is read no more.
        if receiver.links.get(peer) is not self:
            return
        take = partial(self.world.memory.take, receiver)
        is_listener = receiver is not self._dialer
        shared = SharedDecoder(decoder.decode, take, are_items_vital=is_listener)
        try:
            messages = shared.decode(frame)
        except SenderGone:
            # As in the runtime: nothing that comes after it counts.
            self.close(by=receiver)
            self._tell(receiver)
            return
        for message in messages:
            receiver._handle(message, peer)

    def _tell(self, end: Node) -> None:
        peer, _ = self._ends[end]
        if end.links.get(peer) is self:
            del end.links[peer]
            end._handle(LinkClosed(peer), "")
