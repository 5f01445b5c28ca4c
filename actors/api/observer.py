"""Observer: an operator who stays: pictures now and then, events, and orders.

    away ──Welcome──► in: polls ──Answer──► Told     every `pace`, and after a gap
      ▲                │  events ─────────► Heard    as they come
      └──link lost─────┘  orders ─Answer──► Told, or Unanswered
                          and whatever becomes of the connection: Changed

Polls are repeated until they are answered; an order is sent once: whether it was done
when its link was lost, only the next picture tells. Nothing here ends by itself:
an endpoint that is away may come back, and is knocked at until then.
"""

import enum
import math
import random
import secrets
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from actors.api.addressing import Entrance, new_instance
from actors.api.operator import DEFAULT_TIMEOUT, operator_hello
from actors.inbox import Inbox
from actors.logic.membership import Membership
from actors.logic.turn import Admission, Effect, Exit, Quit, Turn
from actors.messages import Answer, Command, Goodbye, Hello, Published, Verb
from actors.runtime import Runtime

__all__ = [
    "Changed",
    "ConnectionState",
    "Heard",
    "Look",
    "Observation",
    "Observer",
    "Order",
    "Told",
    "Unanswered",
    "Watcher",
]

# A picture each second, unless it is large. Chosen: people see no more.
PERIOD = 1.0
# Seconds between two pictures, per byte of them. Measured by tests/bench/dashboard.py:
# a byte takes the interchange 8 ns to draw and encode with many workers to a manager,
# 16 with few; it shall never pay more than a hundredth of a core.
_PERIOD_PER_BYTE = 2e-6
# And after a search, which may take it 15 ms however little it finds.
_SEARCH_PERIOD = 2.0
# How often an endpoint that is away is told to be so, with the reason as it is by now.
_REMINDER_PERIOD = 1.0


class ConnectionState(enum.StrEnum):
    CONNECTING = "connecting"  # never been in
    CONNECTED = "connected"
    LOST = "lost"  # was in, and tries to come back
    REFUSED = "refused"  # for good


# What the shell tells


class Look(msgspec.Struct, frozen=True):
    """Poll this from now on; a later one with the same verb takes its place."""

    command: Command


class Order(msgspec.Struct, frozen=True):
    """Have this done, once; answered with `Told` or `Unanswered`."""

    command: Command


# What the machine tells


class Changed(Effect, frozen=True):
    """The connection is as said; repeated while it is away."""

    state: ConnectionState
    reason: str


class Told(Effect, frozen=True):
    """An answer, and to what."""

    command: Command
    answer: Answer


class Unanswered(Effect, frozen=True):
    """Nobody can tell any more how an order went."""

    command: Command
    reason: str


class Heard(Effect, frozen=True):
    """An event, and how many between it and the last one were missed."""

    event: Published
    missed: int


class Observer:
    """The machine; see the module's docstring.

    Args:
        hello: how to introduce ourselves.
        chance: for the waits between knocks.
        period: seconds between two rounds of polls, at least.
    """

    def __init__(
        self, hello: Hello, chance: random.Random, period: float = PERIOD
    ) -> None:
        self.membership = Membership(
            "interchange",
            lambda: hello,
            chance,
            entered=self._entered,
            left=self._left,
            barred=self._barred,
        )
        self.state = ConnectionState.CONNECTING
        self._polls: dict[str, Command] = {}  # {verb: what to ask}
        self._asked: dict[str, Command] = {}  # {request_id: poll under way}
        self._orders: dict[str, tuple[Command, float]] = {}  # {request_id: by when}
        self._period = period
        self._numbered = 0
        self._poll_at = math.inf
        self._pace = 0.0  # seconds until the next round of polls
        self._remind_at = -math.inf
        self._reason = ""
        self._last: tuple[str, int] | None = None  # epoch and number of the last event
        self._is_over = False

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Refuse everybody: an operator has no door."""
        return Admission("", "an operator admits nobody"), Turn()

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take the interchange's word, an event, or a wish of the shell."""
        turn = Turn()
        if self.membership.take(message, sender, now, turn):
            return turn
        match message:
            case Answer():
                self._answered(message, now, turn)
            case Published():
                self._hear(message, now, turn)
            case Look(command):
                self._polls[command.verb] = command
                if self.membership.is_in:
                    self._ask(command, now, turn)
            case Order(command):
                self._order(command, now, turn)
            case Quit(reason):
                self._is_over = True
                self.membership.send(Goodbye(reason), now, turn)
                turn.effects.append(Exit(0, reason))
        return turn

    def tick(self, now: float) -> Turn:
        """Knock, poll, give up orders that nobody answers, tell that we are away."""
        turn = Turn()
        self.membership.tick(now, turn)
        if self.membership.is_in and now >= self._poll_at:
            self._poll(now, turn)
        for request_id, (command, until) in list(self._orders.items()):
            if now >= until:
                del self._orders[request_id]
                turn.effects.append(
                    Unanswered(command, f"no answer within {DEFAULT_TIMEOUT:g} s")
                )
        if not self.membership.is_in and now >= self._remind_at:
            self._remind_at = now + _REMINDER_PERIOD
            turn.effects.append(Changed(self.state, self._reason))
        return turn

    @property
    def wake_at(self) -> float:
        if self._is_over:
            return math.inf
        return min(
            self.membership.wake_at,
            self._poll_at if self.membership.is_in else self._remind_at,
            min((until for _, until in self._orders.values()), default=math.inf),
        )

    # The connection

    def _entered(self, now: float, turn: Turn) -> None:
        self._note_state(ConnectionState.CONNECTED, "", turn)
        self._poll(now, turn)

    def _left(self, reason: str, now: float, turn: Turn) -> None:
        self._note_state(ConnectionState.LOST, reason, turn)
        self._remind_at = now + _REMINDER_PERIOD
        self._asked.clear()
        self._pace = 0.0
        orders, self._orders = self._orders, {}
        for command, _ in orders.values():
            text = "the connection was lost before an answer came"
            turn.effects.append(Unanswered(command, text))

    def _barred(self, reason: str, turn: Turn) -> None:
        self._note_state(ConnectionState.REFUSED, reason, turn)
        self._remind_at = math.inf

    def _note_state(self, state: ConnectionState, reason: str, turn: Turn) -> None:
        self.state, self._reason = state, reason
        turn.effects.append(Changed(state, reason))

    # Polls

    def _poll(self, now: float, turn: Turn) -> None:
        self._asked.clear()
        self._poll_at = math.inf  # if there is nothing to ask
        for command in self._polls.values():
            self._ask(command, now, turn)

    def _ask(self, command: Command, now: float, turn: Turn) -> None:
        # One that is not answered is asked again, in the end.
        self._poll_at = now + DEFAULT_TIMEOUT
        request_id = self._number()
        self._asked[request_id] = command
        sent = Command(request_id, command.verb, command.names, command.number)
        self.membership.send(sent, now, turn)

    def _answered(self, answer: Answer, now: float, turn: Turn) -> None:
        order = self._orders.pop(answer.request_id, None)
        if order is not None:
            turn.effects.append(Told(order[0], answer))
            # What became of it is to be seen at once.
            self._poll_at = now
            return
        asked = self._asked.pop(answer.request_id, None)
        if asked is None:
            return
        self._pace += len(answer.body) * _PERIOD_PER_BYTE
        if asked.verb == "tasks" and any(asked.names):
            self._pace += _SEARCH_PERIOD
        if not self._asked:
            self._poll_at = now + max(self._period, self._pace)
            self._pace = 0.0
        # An answer to what is not asked any more would show what nobody looks at.
        if asked is self._polls.get(asked.verb):
            turn.effects.append(Told(asked, answer))

    # Events and orders

    def _hear(self, event: Published, now: float, turn: Turn) -> None:
        missed = 0
        if self._last is not None and self._last[0] == event.epoch:
            missed = max(0, event.seq - self._last[1] - 1)
        self._last = (event.epoch, event.seq)
        if missed and not self._asked:
            self._poll_at = now
        turn.effects.append(Heard(event, missed))

    def _order(self, command: Command, now: float, turn: Turn) -> None:
        if not self.membership.is_in:
            turn.effects.append(Unanswered(command, "the endpoint is not connected"))
            return
        request_id = self._number()
        self._orders[request_id] = (command, now + DEFAULT_TIMEOUT)
        sent = Command(request_id, command.verb, command.names, command.number)
        self.membership.send(sent, now, turn)

    def _number(self) -> str:
        self._numbered += 1
        return str(self._numbered)

    def check(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        assert not (self._asked.keys() & self._orders.keys())
        assert self.membership.is_in or not self._orders
        assert self.membership.is_in == (self.state is ConnectionState.CONNECTED)


class Watcher(Protocol):
    """Whom an observation tells, on its own thread: it must not block."""

    def take(self, news: Changed | Told | Unanswered | Heard) -> None: ...


class Observation:
    """An observer in a thread of its own.

    Args:
        entrance: of the endpoint, for kind "operator", with its events.
        watcher: is told everything.
        period: seconds between two rounds of polls, at least.

    Raises:
        ConfigError: the certificates are wrong.
    """

    def __init__(
        self, entrance: Entrance, watcher: Watcher, *, period: float = PERIOD
    ) -> None:
        self._watcher = watcher
        self._inbox = Inbox()
        chance = random.Random(secrets.randbits(64))
        self._runtime = Runtime(
            Observer(operator_hello(entrance.token), chance, period),
            self,
            dialing={"interchange": entrance.dialing},
            sources=[self._inbox],
        )
        self._thread = threading.Thread(
            target=self._runtime.run, name="actors-observer", daemon=True
        )

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def look(self, verb: Verb, names: Sequence[str] = (), number: int = 0) -> None:
        """Ask this again and again from now on, in place of what the verb asked."""
        self._inbox.put(Look(Command("", verb, list(names), number)))

    def order(
        self,
        verb: Verb,
        names: Sequence[str] = (),
        number: int = 0,
        *,
        request_id: str = "",
    ) -> Command:
        """Have something done; the watcher is told how it went.

        Args:
            verb: what.
            names: of blocks, managers or tasks, as the verb wants them.
            number: of blocks, for "scale".
            request_id: by which the watcher knows the answer, which may come before
                this returns; "": it need not.

        Returns:
            What the watcher finds in the `Told` or `Unanswered`, with an id of its own.
        """
        command = Command(request_id or new_instance(), verb, list(names), number)
        self._inbox.put(Order(command))
        return command

    def close(self) -> None:
        """Leave in order, and wait until that is done; after `start`, once."""
        self._inbox.put(Quit("looked long enough"))
        self._thread.join()
        self._inbox.close()

    def perform(self, effect: Effect) -> None:
        """Carry out what the machine decided."""
        match effect:
            case Exit():
                self._runtime.finish()
            case Changed(state, "") if state is not ConnectionState.CONNECTED:
                trouble = self._runtime.trouble("interchange")
                self._watcher.take(Changed(state, trouble))
            case Changed() | Told() | Unanswered() | Heard():
                self._watcher.take(effect)
            case _:
                raise TypeError(f"an observer cannot do {effect!r}")
