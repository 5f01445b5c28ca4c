"""Calls that go straight to an actor, from the worker or actor that makes them.

A call is said to the owner with the next news, as all is. Whoever asks for its value
before that has it taken back, and sent straight to the actor if there is a line to it
(see `lines`). The value then is in this process alone, until the ref goes elsewhere:
only what is published exists for the owner.

    remote() ──► unsaid ──get──► line ──► value here ──ref travels──► published
                    │              └─ slow, or cut ──► adopted by the owner
                    └─ anything else ──► by the owner

All but `publish`, `forget` and `offered` is for the process's main thread.
"""

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Protocol

from actors.embedded.lines import Line, LineClosed
from actors.messages import (
    AdoptCall,
    Answered,
    CallActor,
    Message,
    OfferLine,
    PutValue,
    Ran,
    Value,
)
from actors.worker import Worker

__all__ = ["StraightCalls"]

# A call that takes longer is looked after by the owner: it frees the processor of who
# waits, sees circles, and can cancel. Chosen: well below what a person notices.
ADOPT_AFTER = 0.005
# So many calls, or bytes of them, are sent straight together. Chosen: what any socket's
# buffer holds, so that sending never waits for an actor that is busy.
_MAX_CALLS, _MAX_BYTES = 64, 32_768
# Values of refs that have gone are looked for when there are so many. Chosen.
_MANY_VALUES = 256
# What a message takes besides its payload, roughly.
_MESSAGE_BYTES = 128


class _Borrower(Protocol):
    """What is needed of `Borrower`."""

    def say(self, message: Message, message_bytes: int, *, now: bool) -> None: ...
    def is_in_main_thread(self) -> bool: ...
    def keep_off(self) -> None: ...
    def let_in(self) -> None: ...
    def own(self, number: int) -> None: ...
    def tidy(self) -> None: ...
    def share(self, number: int) -> None: ...


class _Route:
    """What is known of the way to one actor."""

    __slots__ = ("is_gone", "last", "line", "offer")

    def __init__(self) -> None:
        self.last = 0  # the call that went by the owner last; -1: one without a number
        self.offer: OfferLine | None = None
        self.line: Line | None = None
        self.is_gone = False  # no handle is left here


class StraightCalls:
    """See the module's docstring.

    Args:
        worker: of this process.
        borrower: of the same.
    """

    def __init__(self, worker: Worker, borrower: _Borrower) -> None:
        self._worker = worker
        self._borrower = borrower
        self._routes: dict[int, _Route] = {}  # {actor: the way to it}
        # {number: (call, the one before it)}: perhaps not said yet
        self._unsaid: dict[int, tuple[CallActor, int]] = {}
        self._values: dict[int, Ran] = {}  # {number: what nobody else knows}
        self._in_flight: Mapping[int, CallActor] = {}  # {number: call} on a line
        self._busy = threading.Lock()  # held while there are any
        self._count_lock = threading.Lock()

    def said(self, call: CallActor) -> None:
        """Note a call that was just said, in any thread; the news may not have gone."""
        with self._count_lock:
            route = self._routes.get(call.actor)
            if route is None:
                route = self._routes[call.actor] = _Route()
            last, route.last = route.last, call.numbers[0] if call.numbers else -1
        options, arguments = call.options, call.arguments
        if (
            route.offer is not None
            and options.num_returns == 1
            and not options.timeout
            and not options.retry_on
            and not options.needs_room
            and not call.dependencies
            and not arguments.refs
            and not arguments.is_stored
            and self._borrower.is_in_main_thread()
        ):
            if len(self._unsaid) >= _MAX_CALLS:
                self._unsaid.clear()
            self._unsaid[call.numbers[0]] = call, last

    def offered(self, offer: OfferLine) -> None:
        """Take an offer of the owner's; in any thread."""
        route = self._routes.get(offer.actor)
        if route is not None:
            route.offer = offer

    def get(
        self, numbers: Sequence[int], timeout: float | None
    ) -> Sequence[Value] | None:
        """Return values, if all of them are here or can be had by a line.

        None: they are the owner's to give; it knows of all of them now.
        """
        if not (self._unsaid or self._values or self._in_flight):
            return None
        if self._unsaid and self._borrower.is_in_main_thread():
            self._exchange(numbers, timeout)
        known = [self._values.get(number) for number in numbers]
        if None not in known:
            return [Value(ran.payload, failure=ran.failure) for ran in known if ran]
        self.publish(numbers)
        return None

    def publish(self, numbers: Sequence[int]) -> None:
        """Let the owner know refs of ours, before anybody names them; in any thread."""
        if self._in_flight and not self._borrower.is_in_main_thread():
            with self._busy:  # known, or adopted, in a moment
                pass
        for number in numbers if self._values else ():
            ran = self._values.pop(number, None)
            if ran is not None:
                self._borrower.share(number)
                value = Value(ran.payload, failure=ran.failure)
                size = _MESSAGE_BYTES + len(ran.payload)
                self._borrower.say(PutValue(number, value), size, now=False)

    def forget(self, number: int) -> None:
        """Note that no ref of a number is left here; in any thread."""
        self._values.pop(number, None)
        route = self._routes.pop(number, None)
        if route is not None:
            route.is_gone = True
            if route.line is not None and not route.line.adopted:
                route.line.close()

    def _exchange(self, numbers: Sequence[int], timeout: float | None) -> None:
        """Send calls straight and wait for their answers, if that can be."""
        unsaid, self._unsaid = self._unsaid, {}
        calls = [unsaid[number][0] for number in numbers if number in unsaid]
        if len(calls) != len(numbers) or len({*numbers}) != len(numbers):
            return
        actor = calls[0].actor
        size = sum(len(call.arguments.payload) + _MESSAGE_BYTES for call in calls)
        if any(call.actor != actor for call in calls) or size > _MAX_BYTES:
            return
        route = self._routes.get(actor)
        if route is None or route.last != numbers[-1]:
            return
        if any(
            unsaid[number][1] != before
            for number, before in zip(numbers[1:], numbers, strict=False)
        ):
            return
        line = self._line_of(route, unsaid[numbers[0]][1])
        if line is None or not self._busy.acquire(blocking=False):
            return
        self._borrower.keep_off()
        try:
            if self._worker.unsay(calls):
                route.last = line.offer.last
                self._in_flight = pending = dict(zip(numbers, calls, strict=True))
                longest = ADOPT_AFTER if timeout is None else min(timeout, ADOPT_AFTER)
                self._call_and_wait(route, line, pending, monotonic() + longest)
        finally:
            self._in_flight = {}
            self._busy.release()
            if len(self._values) >= _MANY_VALUES:
                self._borrower.tidy()
            self._borrower.let_in()

    def _line_of(self, route: _Route, last: int) -> Line | None:
        """Return the line, if it may be used next after a call by the owner."""
        offer, line = route.offer, route.line
        if offer is None or offer.last != last:
            return None
        if line is not None and line.offer.path == offer.path:
            line.offer = offer
            return None if line.adopted else line
        try:
            route.line = Line(offer)
        except LineClosed:
            # The actor does not listen yet, or is gone: there will be another offer.
            route.offer = None
            return None
        if line is not None and not line.adopted:
            line.close()
        return route.line

    def _call_and_wait(
        self, route: _Route, line: Line, pending: dict[int, CallActor], until: float
    ) -> None:
        owners: dict[int, CallActor] = {}  # whose values are in the owner's hands
        try:
            line.send(list(pending.values()))
            while pending and self._wait(line, until):
                for answer in line.receive():
                    call = pending.pop(answer.seq, None)
                    if call is None:
                        continue  # of one that the owner has given up
                    if type(answer) is Ran:
                        self._borrower.own(answer.seq)
                        self._values[answer.seq] = answer
                    else:
                        owners[answer.seq] = call
        except LineClosed:
            self._adopt(route, line, {**owners, **pending}, is_cut=True)
            route.line = None
            line.close()
        except BaseException:
            self._adopt(route, line, {**owners, **pending}, is_cut=False)
            self._lend(route, line, pending)
            raise
        else:
            self._adopt(route, line, {**owners, **pending}, is_cut=False)
            self._lend(route, line, pending)

    def _wait(self, line: Line, until: float) -> bool:
        """Wait, while the task may be interrupted."""
        try:
            self._borrower.let_in()
            return line.wait(until)
        finally:
            self._borrower.keep_off()

    def _adopt(
        self,
        route: _Route,
        line: Line,
        calls: Mapping[int, CallActor],
        *,
        is_cut: bool,
    ) -> None:
        """Have the owner look after calls that went straight."""
        for number, call in calls.items():
            adopt = AdoptCall(
                number,
                call.actor,
                line.offer.incarnation,
                call.method,
                call.arguments.payload,
                call.options,
                is_cut,
            )
            size = _MESSAGE_BYTES + len(call.arguments.payload)
            self._borrower.say(adopt, size, now=False)
            route.last = number

    def _lend(self, route: _Route, line: Line, calls: Mapping[int, CallActor]) -> None:
        """Have the second thread pass on what comes of calls that were adopted."""
        if calls:
            line.adopted = {*calls}
            self._worker.watch(line.fileno(), partial(self._pass_on, route, line))

    def _pass_on(self, route: _Route, line: Line) -> None:
        """In the second thread."""
        try:
            answers = line.receive()
        except LineClosed:
            # The actor is dead, which the owner knows, or will know in a moment.
            self._worker.unwatch(line.fileno())
            return
        for answer in answers:
            if type(answer) is Ran:
                size = _MESSAGE_BYTES + len(answer.payload)
                self._borrower.say(Answered(answer), size, now=True)
        left = line.adopted - {answer.seq for answer in answers}
        if not left:
            # In this order: the main thread reads the line when none is left.
            self._worker.unwatch(line.fileno())
        line.adopted = left
        if not left and route.is_gone:
            line.close()
