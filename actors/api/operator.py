"""Operator: one question to an interchange, and its answer, in the calling thread.

    away ──Welcome──► in, Command sent ──Answer──► answered ──► Goodbye, over
                        ▲      │                       └─ of a stop: until the far side
                        └──────┘ link lost: asked again     goes, over
                                                  at the deadline, wherever it is: over

Every verb may be asked twice: what is held is held. The second answer to a `cancel`
only says that the tasks are gone already.
"""

import math
import os
import random
import secrets
import socket
import time
from collections.abc import Sequence
from typing import Any

from actors.api.addressing import Entrance, new_instance
from actors.endpoint.surroundings import python_version
from actors.errors import AddressError, AdmissionRefused
from actors.logic.membership import Membership
from actors.logic.turn import Admission, Effect, Exit, LinkClosed, Turn
from actors.messages import PROTOCOL, Answer, Command, Goodbye, Hello, Verb
from actors.runtime import Runtime

__all__ = [
    "DEFAULT_TIMEOUT",
    "Inquiry",
    "ask",
    "ask_to_stop",
    "operator_hello",
]

# Seconds that an answer may take. Chosen: an endpoint that is just starting takes one
# or two, and a person waits no longer without a word.
DEFAULT_TIMEOUT = 10.0


class Inquiry:
    """The machine; see the module's docstring.

    Args:
        hello: how to introduce ourselves.
        command: what to ask.
        chance: for the waits between knocks.
        deadline: monotonic seconds.
        until_gone: after the answer wait for the interchange to go.
    """

    def __init__(
        self,
        hello: Hello,
        command: Command,
        chance: random.Random,
        deadline: float,
        *,
        until_gone: bool = False,
    ) -> None:
        self.membership = Membership(
            "interchange",
            lambda: hello,
            chance,
            entered=self._entered,
            barred=self._barred,
        )
        self.answer: Answer | None = None
        self.is_gone = False  # the interchange went after its answer
        self._command = command
        self._asked_epoch = ""  # the interchange's that was asked
        self._deadline = deadline
        self._until_gone = until_gone
        self._is_over = False

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Refuse everybody: an operator has no door."""
        return Admission("", "an operator admits nobody"), Turn()

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take the interchange's word."""
        turn = Turn()
        if self.membership.take(message, sender, now, turn):
            return turn
        match message:
            case Answer(request_id=self._command.request_id):
                self.answer = message
                if not (self._until_gone and message.is_done):
                    self.membership.send(Goodbye("answered"), now, turn)
                    self._end("answered", turn)
            case Goodbye() | LinkClosed() if self.answer is not None:
                self.is_gone = True
                self._end("the interchange is gone", turn)
        return turn

    def tick(self, now: float) -> Turn:
        """Knock, and give up at the deadline."""
        turn = Turn()
        self.membership.tick(now, turn)
        if now >= self._deadline:
            self.membership.send(Goodbye("waited long enough"), now, turn)
            self._end("the deadline is over", turn)
        return turn

    @property
    def wake_at(self) -> float:
        if self._is_over:
            return math.inf
        return min(self._deadline, self.membership.wake_at)

    def _entered(self, now: float, turn: Turn) -> None:
        epoch = self.membership.epoch
        if self._is_restarted(epoch):
            # It was killed before its answer had left: asked again, its successor
            # would be killed, too.
            text = f"restarting: {', '.join(self._command.names)}"
            self.answer = Answer(self._command.request_id, True, text)
            self.membership.send(Goodbye("answered"), now, turn)
            self._end("the interchange is another one", turn)
        elif self.answer is None:
            self._asked_epoch = epoch
            self.membership.send(self._command, now, turn)

    def _is_restarted(self, epoch: str) -> bool:
        """Tell whether the interchange was to be restarted, and was."""
        command = self._command
        is_about_it = command.verb == "restart" and "interchange" in command.names
        return is_about_it and self._asked_epoch not in ("", epoch)

    def _barred(self, _: str, turn: Turn) -> None:
        self._end("refused", turn)

    def _end(self, reason: str, turn: Turn) -> None:
        if not self._is_over:
            self._is_over = True
            turn.effects.append(Exit(0, reason))

    def check(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        assert not self.is_gone or self.answer is not None


class _Shell:
    """Ends the loop; what was said stands in the inquiry."""

    def __init__(self, inquiry: Inquiry, entrance: Entrance) -> None:
        self.trouble = ""  # why the door was not reached
        self._runtime = Runtime(
            inquiry, self, dialing={"interchange": entrance.dialing}
        )

    def perform(self, effect: Effect) -> None:
        match effect:
            case Exit():
                self.trouble = self._runtime.trouble("interchange")
                self._runtime.finish()
            case _:
                raise TypeError(f"an operator cannot do {effect!r}")

    def run(self) -> None:
        self._runtime.run()


def ask(
    entrance: Entrance,
    verb: Verb,
    *,
    names: Sequence[str] = (),
    number: int = 0,
    timeout: float = DEFAULT_TIMEOUT,
) -> Answer:
    """Ask an endpoint's interchange, and wait for its answer.

    Args:
        entrance: of the endpoint, for kind "operator".
        verb: what to do.
        names: of blocks, managers or tasks, as the verb wants them.
        number: of blocks, for "scale".
        timeout: seconds, > 0.

    Returns:
        The answer, which may be a no: see `is_done`.

    Raises:
        AddressError: nobody answered, with what is known about why.
        AdmissionRefused: the endpoint did not let us in.
        ConfigError: the endpoint's folder or the certificates are wrong.
    """
    command = Command(new_instance(), verb, list(names), number)
    return _inquire(entrance, command, timeout, until_gone=False)[0]


def ask_to_stop(entrance: Entrance, timeout: float) -> tuple[Answer, bool]:
    """Ask an endpoint to stop, and wait until its interchange is gone.

    For endpoints of other hosts: on this one, watch the root process instead.

    Args:
        entrance: of the endpoint, for kind "operator".
        timeout: seconds for the answer and the end together, > 0.

    Returns:
        The answer, and whether the interchange is gone; it stays if it said no.

    Raises:
        AddressError, AdmissionRefused, ConfigError: as for `ask`.
    """
    command = Command(new_instance(), "stop")
    return _inquire(entrance, command, timeout, until_gone=True)


def _inquire(
    entrance: Entrance, command: Command, timeout: float, *, until_gone: bool
) -> tuple[Answer, bool]:
    if entrance.obstacle:
        raise AddressError(f"Nobody answers at {entrance.name}; {entrance.obstacle}")
    inquiry = Inquiry(
        operator_hello(entrance.token),
        command,
        random.Random(secrets.randbits(64)),
        time.monotonic() + timeout,
        until_gone=until_gone,
    )
    shell = _Shell(inquiry, entrance)
    shell.run()
    if inquiry.answer is not None:
        return inquiry.answer, inquiry.is_gone
    if inquiry.membership.is_barred:
        refusal = inquiry.membership.refusal
        raise AdmissionRefused(f"{entrance.name} refuses us: {refusal}")
    trouble = f": {shell.trouble}" if shell.trouble else ""
    raise AddressError(
        f"No answer from {entrance.name} within {round(timeout, 1):g} s{trouble}"
        f"{entrance.hint}"
    )


def operator_hello(token: str) -> Hello:
    """Introduce an operator of this process, a new one each time."""
    host = socket.gethostname()
    return Hello(
        "operator",
        f"{host}-{secrets.token_hex(6)}",
        new_instance(),
        PROTOCOL,
        python_version(),
        token,
        os.getpid(),
        host,
    )
