"""Helm: who runs a loop. A thread of its own does, or whoever waits for what it brings.

    nobody waits     the loop's thread waits and works
    a caller waits   the caller waits and works; the thread rests, and looks now and
                     then whether the caller has left

A result that came in would otherwise be handed from the loop's thread to the caller,
and each such hand-over costs as much as the rest of a short call. One lock, the helm,
is held by who works; the loop itself knows nothing of threads.

A signal's handler may raise, out of any line of the main thread's, and what was torn
apart in the middle of a round could never be mended. So while the main thread is at the
helm signals end its wait, and their handlers run when it has left.
"""

# The functions of `signal` without their conversions of numbers to enumerations and
# back: 10 of the 11 microseconds that it took to defer signals once.
import _signal  # type: ignore[import-not-found]
import contextlib
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Protocol, TypeVarTuple

__all__ = ["Helm", "Loop"]

# How often the resting thread looks whether a caller is still there, in seconds: what
# comes in after a caller has left waits no longer than this. Chosen: a hundredth of a
# core while callers come and go.
_LOOK_PERIOD = 0.001
# With nothing under way, a caller that left is expected back for so long. Chosen: the
# work that a program does between two calls that it waits for.
_EXPECT_BACK = 0.05
# After so many looks at one and the same caller the thread rests until that leaves.
_LOOKS = 20
# Signals whose handlers are known to raise: Ctrl-C, a polite end, a program's timeouts.
_DEFERRED = (int(signal.SIGINT), int(signal.SIGTERM), int(signal.SIGALRM))
_get_handler, _set_handler = _signal.getsignal, _signal.signal
_get_ident, _monotonic = threading.get_ident, time.monotonic

Ts = TypeVarTuple("Ts")


class Loop(Protocol):
    """What is run in rounds, by one thread at a time."""

    @property
    def is_over(self) -> bool:
        """Whether there is no more to do, ever."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way that somebody might want to hear of soon."""
        ...

    def round(self, longest: float) -> None:
        """Wait for something to do, at most so many seconds, and do it."""
        ...

    def wake(self) -> None:
        """End the wait that is under way, or the next one; from any thread."""
        ...


class Helm:
    """Lets several threads run one loop; see the module's docstring.

    Args:
        loop: what is run.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock = threading.Lock()  # held by who waits or works
        self._caller = threading.Lock()  # held by the one caller who steers
        self._left_at = -math.inf  # when the last caller left
        self._bed = threading.Lock()  # locked, but for a moment to wake the thread
        self._bed.acquire()
        self._sleeps_deeply = False
        self._errands: deque[Callable[[], object]] = deque()
        self._thread_id = 0

    # In the loop's own thread

    def run(self) -> None:
        """Run the loop until it is over, but for the time that callers do."""
        self._thread_id = threading.get_ident()
        while not self._loop.is_over:
            # Never wait for the lock: a caller may have come just now, and steer until
            # it has what an errand of ours brings.
            if self._is_left_to_callers() or not self._lock.acquire(blocking=False):
                self._rest()
            else:
                try:
                    # Whoever was in the loop before us may have left some.
                    if not self._errands:
                        self._loop.round(math.inf)
                finally:
                    self._lock.release()
            self._run_errands()
        # Nobody may be in the loop when its end is dealt with.
        with self._lock:
            self._run_errands()

    def _is_left_to_callers(self) -> bool:
        if self._caller.locked():
            return True
        patience = _EXPECT_BACK if self._loop.is_idle else _LOOK_PERIOD
        return time.monotonic() < self._left_at + patience

    def _rest(self) -> None:
        left_at = self._left_at
        for _ in range(_LOOKS):
            if self._bed.acquire(timeout=_LOOK_PERIOD):
                return
            if not self._caller.locked() or self._left_at != left_at:
                return
        # The order matters: who leaves looks at this after it has let the caller go.
        self._sleeps_deeply = True
        if self._caller.locked():
            self._bed.acquire()
        self._sleeps_deeply = False

    def _wake_thread(self) -> None:
        # Unlocked: it is being woken already.
        with contextlib.suppress(RuntimeError):
            self._bed.release()

    def _run_errands(self) -> None:
        if not self._errands:
            return
        while self._errands:
            self._errands.popleft()()
        if self._caller.locked():
            # It may have been for this, and nothing else need ever come.
            self._loop.wake()

    # From any thread

    def steer(self, is_done: Callable[[], bool], deadline: float = math.inf) -> None:
        """Run the loop until something is done, unless another caller does so already.

        Args:
            is_done: asked after each round.
            deadline: a monotonic moment to stop at.

        Raises:
            BaseException: whatever a signal's handler raises.
        """
        ident = threading.get_ident()
        if ident == self._thread_id and self._loop.is_over:
            return
        if ident != _MAIN_THREAD:
            self._steer(is_done, deadline, ())
            return
        signals = _DeferredSignals(self._loop.wake)
        while not signals.are_over:
            with signals:
                self._steer(is_done, deadline, signals.come)

    def _steer(
        self, is_done: Callable[[], bool], deadline: float, signals: Sequence[object]
    ) -> None:
        if not self._caller.acquire(blocking=False):
            return
        try:
            if not self._lock.acquire(blocking=False):
                self._loop.wake()
                self._lock.acquire()
            try:
                loop = self._loop
                while not (is_done() or signals or loop.is_over):
                    longest = deadline - time.monotonic()
                    if longest <= 0:
                        return
                    loop.round(longest)
            finally:
                self._left_at = time.monotonic()
                self._lock.release()
        finally:
            self._caller.release()
            if self._sleeps_deeply or self._loop.is_over:
                self._wake_thread()

    def nudge(self) -> None:
        """Have the loop look at what is new: here and now if nobody is in it."""
        if not self.attempt(self._loop.round, 0.0):
            self._loop.wake()

    def attempt(self, act: Callable[[*Ts], object], *what: *Ts) -> bool:
        """Do something in the loop, here and now, unless somebody else is in it.

        Args:
            act: what to do.
            what: given to it.

        Returns:
            Whether it was done, or the loop is over.
        """
        if _get_ident() != _MAIN_THREAD:
            return self._attempt(act, *what)
        if self._lock.locked():
            # If it is the thread: it shall rest afterwards, as we are likely to be back
            # and would have to take the helm from it again.
            self._left_at = time.monotonic()
            return False
        with _DeferredSignals(self._loop.wake):
            return self._attempt(act, *what)

    def _attempt(self, act: Callable[[*Ts], object], *what: *Ts) -> bool:
        is_free = self._lock.acquire(False)
        if is_free:
            try:
                if not self._loop.is_over:
                    act(*what)
            finally:
                self._lock.release()
        self._left_at = _monotonic()
        return is_free

    @property
    def is_taken(self) -> bool:
        """Whether somebody is in the loop, waiting perhaps: only waking tells them."""
        return self._lock.locked()

    def leave_to_thread(self, errand: Callable[[], object]) -> None:
        """Have something called by the loop's own thread, between two rounds.

        What users hang on to results runs there: a caller who waits may hold locks
        that it wants; and it may want rounds itself.
        """
        self._errands.append(errand)
        if threading.get_ident() != self._thread_id:
            self._wake_thread()


_MAIN_THREAD = threading.main_thread().ident


class _DeferredSignals:
    """While it is entered, handlers of signals do not run; they do at the exit.

    For the main thread only: no other runs handlers, or may set them.

    Args:
        wake: called when a signal comes.
    """

    __slots__ = ("_handlers", "_wake", "are_over", "come")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.come: list[tuple[int, FrameType | None]] = []  # while it is entered
        self._handlers: list[tuple[int, Any]] = []  # that are replaced
        self.are_over = False  # after an exit that found no signal

    def __enter__(self) -> None:
        self._handlers = handlers = []
        for number in _DEFERRED:
            if callable(handler := _get_handler(number)):
                handlers.append((number, handler))
        try:
            for number, _ in handlers:
                _set_handler(number, self._note)
        except BaseException:  # out of a handler that is not replaced yet
            self.__exit__()
            raise

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.come.append((number, frame))
        self._wake()

    def __exit__(self, *_: object) -> None:
        handlers = self._handlers
        for number, handler in handlers:
            _set_handler(number, handler)
        self.are_over = not self.come
        if self.come:
            come = self.come[:]
            self.come.clear()
            for number, frame in come:
                dict(handlers)[number](number, frame)
