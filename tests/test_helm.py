"""A loop is run by one thread at a time, by somebody always, torn apart by nobody."""

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from actors.helm import Helm
from actors.inbox import Inbox
from tests.support import eventually


class Counting:
    """A loop that takes what others put, and notes who did so."""

    def __init__(self) -> None:
        self.is_over = False
        self.taken: list[object] = []
        self.threads: list[int] = []
        self.inside = 0
        self.has_waited_in_vain = False
        self.during: Callable[[], object] = lambda: None
        self._some = threading.Condition()
        self._waiting: list[object] = []

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    def put(self, item: object) -> None:
        with self._some:
            self._waiting.append(item)
            self._some.notify_all()

    def wake(self) -> None:
        self.put(None)

    def round(self, longest: float) -> None:
        self.inside += 1
        assert self.inside == 1, "two threads are in the loop"
        with self._some:
            if not self._waiting:
                is_woken = self._some.wait(min(longest, 60.0))
                self.has_waited_in_vain |= not is_woken and longest > 60
            items, self._waiting = self._waiting, []
        self.during()
        for item in items:
            if item is not None:
                self.taken.append(item)
                self.threads.append(threading.get_ident())
        self.inside -= 1

    def finish(self) -> None:
        self.is_over = True
        self.wake()


def has_taken(loop: Counting, item: object) -> Callable[[], bool]:
    return lambda: item in loop.taken


@pytest.fixture
def loop() -> Counting:
    return Counting()


@pytest.fixture
def helm(loop: Counting) -> Iterator[Helm]:
    helm = Helm(loop)
    thread = threading.Thread(target=helm.run)
    thread.start()
    yield helm
    loop.finish()
    thread.join(20)
    assert not thread.is_alive()


def test_the_thread_runs_the_loop_while_nobody_waits(
    loop: Counting, helm: Helm
) -> None:
    for number in range(5):
        loop.put(number)
        eventually(has_taken(loop, number))
    assert threading.get_ident() not in loop.threads


def test_who_waits_runs_the_loop_itself(loop: Counting, helm: Helm) -> None:
    threading.Timer(0.05, loop.put, ["awaited"]).start()
    helm.steer(lambda: "awaited" in loop.taken)
    assert loop.threads == [threading.get_ident()]


def test_what_comes_after_a_caller_left_is_taken_by_the_thread(
    loop: Counting, helm: Helm
) -> None:
    loop.put("first")
    helm.steer(lambda: "first" in loop.taken)
    loop.put("second")
    eventually(lambda: "second" in loop.taken)
    assert loop.threads[-1] != threading.get_ident()


def test_the_thread_takes_over_after_a_caller_that_stayed_for_long(
    loop: Counting, helm: Helm
) -> None:
    threading.Timer(0.3, loop.put, ["late"]).start()
    helm.steer(lambda: "late" in loop.taken)
    loop.put("next")
    eventually(lambda: "next" in loop.taken)


def test_a_caller_leaves_at_its_deadline(loop: Counting, helm: Helm) -> None:
    helm.steer(lambda: False, time.monotonic() + 0.05)
    loop.put("next")
    eventually(lambda: "next" in loop.taken)


def test_one_caller_steers_and_the_others_return_at_once(
    loop: Counting, helm: Helm
) -> None:
    first = threading.Thread(target=helm.steer, args=[lambda: "end" in loop.taken])
    first.start()
    eventually(helm._caller.locked)
    helm.steer(lambda: False)
    loop.put("end")
    first.join(20)
    assert not first.is_alive()
    assert loop.taken == ["end"]


def test_many_callers_never_meet_in_the_loop(loop: Counting, helm: Helm) -> None:
    def call(name: int) -> None:
        for number in range(200):
            item = (name, number)
            loop.put(item)
            helm.nudge()
            while item not in loop.taken:
                helm.steer(has_taken(loop, item))
                eventually(has_taken(loop, item))

    threads = [threading.Thread(target=call, args=[name]) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(loop.taken) == 800


def test_a_nudge_takes_what_is_there(loop: Counting, helm: Helm) -> None:
    loop.put("there")
    helm.nudge()
    eventually(lambda: "there" in loop.taken)


def test_an_errand_is_run_by_the_thread_also_while_a_caller_steers(
    loop: Counting, helm: Helm
) -> None:
    ran: list[int] = []

    def send_errand() -> None:
        helm.leave_to_thread(lambda: ran.append(threading.get_ident()))

    loop.during = send_errand
    loop.put("go")
    helm.steer(lambda: bool(ran))
    loop.during = lambda: None
    assert threading.get_ident() not in ran


def test_a_caller_that_waits_for_an_errand_is_woken_when_it_was_run(
    loop: Counting, helm: Helm
) -> None:
    """Who waited for a future whose end has a callback saw it with the next message."""
    left: list[bool] = []
    ran: list[bool] = []

    def is_done() -> bool:
        if "go" in loop.taken and not left:
            left.append(True)
            helm.leave_to_thread(lambda: ran.append(True))
        return bool(ran)

    threading.Timer(0.05, loop.put, ["go"]).start()
    helm.steer(is_done)
    assert not loop.has_waited_in_vain


def test_callers_return_when_the_loop_is_over(loop: Counting, helm: Helm) -> None:
    threading.Timer(0.05, loop.finish).start()
    helm.steer(lambda: False)
    assert loop.is_over


def test_an_interrupt_comes_between_rounds_only(loop: Counting, helm: Helm) -> None:
    whole: list[bool] = []

    def be_interrupted() -> None:
        whole.append(False)
        signal.raise_signal(signal.SIGINT)
        whole[-1] = True

    loop.during = be_interrupted
    loop.put("one")
    with pytest.raises(KeyboardInterrupt):
        helm.steer(lambda: False)
    loop.during = lambda: None
    assert all(whole)
    assert whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    loop.put("two")
    eventually(lambda: "two" in loop.taken)


def test_an_interrupt_ends_a_callers_wait(helm: Helm) -> None:
    main = threading.get_ident()
    timer = threading.Timer(0.05, signal.pthread_kill, [main, signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        helm.steer(lambda: False)


def test_a_handler_that_does_not_raise_leaves_the_caller_waiting(
    loop: Counting, helm: Helm
) -> None:
    came: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda number, _: came.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        threading.Timer(0.1, loop.put, ["awaited"]).start()
        helm.steer(lambda: "awaited" in loop.taken)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert came == [signal.SIGALRM]


def test_an_inbox_can_be_woken_for_nothing() -> None:
    inbox = Inbox()
    inbox.wake()
    assert inbox.read() == []
    inbox.close()


class Hesitating(Counting):
    """A loop whose thread is held up just before it takes the helm."""

    def __init__(self) -> None:
        super().__init__()
        self.hesitates, self.may_go_on = threading.Event(), threading.Event()
        self.steerer = threading.get_ident()

    @property
    def is_idle(self) -> bool:
        if threading.get_ident() != self.steerer and not self.may_go_on.is_set():
            self.hesitates.set()
            assert self.may_go_on.wait(60)
        return True


def test_who_comes_while_the_thread_is_about_to_take_the_helm_has_its_errands_run() -> (
    None
):
    """What a caller waited for was left to a thread that waited for the caller."""
    loop, is_done = Hesitating(), threading.Event()
    helm = Helm(loop)
    thread = threading.Thread(target=helm.run)
    thread.start()
    assert loop.hesitates.wait(60)

    def is_steered() -> None:
        loop.during = lambda: None
        loop.may_go_on.set()
        # By now it has found the helm taken.
        threading.Timer(0.1, leave).start()

    def leave() -> None:
        helm.leave_to_thread(is_done.set)
        eventually(is_done.is_set)
        loop.wake()

    loop.during = is_steered
    loop.wake()
    helm.steer(is_done.is_set, time.monotonic() + 60)
    assert is_done.is_set()
    loop.finish()
    thread.join(60)
    assert not thread.is_alive()
