"""Promise: what a worker was given has run, has come back, or is known not to have.

Real processes. However a worker ends, its owner hears of it once, with the reason, and
after all results; however the owner ends, no worker outlives it.
"""

import contextlib
import ctypes
import gc
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.errors import NotSerializable
from actors.logic.workers import (
    InitializerFailed,
    TasksRan,
    TasksRecalled,
    WorkerDied,
    WorkerEvent,
    WorkerStarted,
)
from actors.messages import FailureKind, Large, Ran, Run, WorkerId
from actors.payload import dump_call, load_result
from actors.pool import Pool
from actors.process import ProcessIdentity
from actors.remote_errors import load_exception
from actors.store.links import MEMORY_VARIABLE, Links
from tests.support import eventually

ONE = WorkerId("one")
TWO = WorkerId("two")


def _run(seq: int, function: Callable[..., Any], *args: Any) -> Run:
    return Run(seq, *dump_call(function, args, {}))


class Owner:
    """A pool, and everything that it has told."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.events: list[WorkerEvent] = []

    def read_until(
        self, condition: Callable[[], object], within: float = 60, what: str = ""
    ) -> None:
        deadline = time.monotonic() + within
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"not within {within} s: {what}; {self.events[-5:]}"
            select.select([self.pool], [], [], left)
            self.events += self.pool.read()

    def of(self, kind: type[Any], worker_id: WorkerId = ONE) -> list[Any]:
        return [
            event
            for event in self.events
            if isinstance(event, kind) and event.worker_id == worker_id
        ]

    def results(self, worker_id: WorkerId = ONE) -> dict[int, Ran]:
        ran = [ran for event in self.of(TasksRan, worker_id) for ran in event.results]
        by_seq = {each.seq: each for each in ran}
        assert len(by_seq) == len(ran), "a task ran twice"
        return by_seq

    def recalled(self, worker_id: WorkerId = ONE) -> list[int]:
        return [s for event in self.of(TasksRecalled, worker_id) for s in event.seqs]

    def call(self, function: Callable[..., Any], *args: Any, seq: int = 1) -> Ran:
        self.pool.assign(ONE, [_run(seq, function, *args)])
        self.read_until(lambda: seq in self.results(), what=f"result {seq}")
        return self.results()[seq]

    def death(self, worker_id: WorkerId = ONE) -> WorkerDied:
        self.read_until(lambda: self.of(WorkerDied, worker_id), what="a death")
        (died,) = self.of(WorkerDied, worker_id)
        assert self.events.index(died) == max(
            i for i, event in enumerate(self.events) if event.worker_id == worker_id
        )
        return died  # type: ignore[no-any-return]


def _is_alive(pid: int) -> bool:
    try:
        return ProcessIdentity.of(pid).is_alive()
    except ProcessLookupError:
        return False


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    descriptors = len(os.listdir("/proc/self/fd"))
    with Pool(tmp_path / "logs") as pool:
        owner = Owner(pool)
        pool.start(ONE)
        yield owner
        pids = [event.pid for event in owner.of(WorkerStarted)]
    assert len(os.listdir("/proc/self/fd")) == descriptors
    eventually(lambda: not any(map(_is_alive, pids)), within=2, what="end of workers")


# Running


def test_a_task_runs_and_its_result_comes_back(owner: Owner) -> None:
    before = time.time()
    ran = owner.call(lambda x: x + 1, 41)
    assert ran.is_success
    assert load_result(ran.payload) == 42
    assert before <= ran.began_at <= ran.ended_at <= time.time()
    # It runs what it finds as soon as it is there; its parent may be slower to say so.
    owner.read_until(lambda: owner.of(WorkerStarted))
    (started,) = owner.of(WorkerStarted)
    assert started.pid == load_result(owner.call(os.getpid, seq=2).payload)


def test_a_preloaded_module_is_there_in_workers_made_from_then_on(
    owner: Owner,
) -> None:
    def has_it() -> bool:
        return "colorsys" in sys.modules

    assert not load_result(owner.call(has_it).payload)
    owner.pool.preload("colorsys")
    owner.pool.start(TWO)
    owner.pool.assign(TWO, [_run(1, has_it)])
    owner.read_until(lambda: 1 in owner.results(TWO), what="the second's result")
    assert load_result(owner.results(TWO)[1].payload)


def test_tasks_run_in_the_order_sent(owner: Owner) -> None:
    order: list[int] = []
    owner.pool.assign(ONE, [_run(n, abs, n) for n in range(1, 1001)])
    owner.read_until(lambda: len(owner.results()) == 1000)
    order = [ran.seq for event in owner.of(TasksRan) for ran in event.results]
    assert order == list(range(1, 1001))


def test_a_task_that_is_waited_for_is_answered_in_one_step(owner: Owner) -> None:
    owner.call(abs, 0)
    ran = None
    for seq in range(2, 100):
        # None: the worker was started, for instance.
        ran = owner.pool.exchange(ONE, _run(seq, abs, -seq), 20.0, 0.0001)
        if ran is None:
            owner.read_until(lambda seq=seq: seq in owner.results())  # type: ignore[misc]
        else:
            assert (ran.seq, load_result(ran.payload)) == (seq, seq)
    assert ran is not None


def test_what_else_happens_meanwhile_is_told_by_the_next_read(owner: Owner) -> None:
    owner.call(abs, 0)
    owner.pool.start(TWO)
    owner.pool.assign(TWO, [_run(1, abs, -1)])
    assert owner.pool.exchange(ONE, _run(2, time.sleep, 30), 20.0, 0.0001) is None
    owner.read_until(lambda: 1 in owner.results(TWO))
    owner.pool.kill(TWO)
    owner.death(TWO)
    assert owner.pool.exchange(TWO, _run(2, abs, 0), 20.0, 0.0) is None, "it is dead"


def test_two_results_in_one_frame_are_no_answer_to_one(owner: Owner) -> None:
    owner.call(abs, 0)
    owner.pool.assign(ONE, [_run(2, time.sleep, 0.05)])
    ran = owner.pool.exchange(ONE, _run(3, abs, -3), 20.0, 0.0)
    # What it has read is not there to be waited for any more.
    owner.events += owner.pool.read()
    if ran is not None:
        assert ran.seq == 2, "results came one by one"
        owner.read_until(lambda: 3 in owner.results())
    else:
        owner.read_until(lambda: {2, 3} <= owner.results().keys())


def test_several_workers_run_at_the_same_time(owner: Owner) -> None:
    owner.pool.start(TWO)
    owner.pool.assign(ONE, [_run(1, time.sleep, 30)])
    owner.pool.assign(TWO, [_run(1, os.getpid)])
    owner.read_until(lambda: owner.results(TWO))
    assert not owner.results(ONE)


def test_large_arguments_and_results_pass(owner: Owner) -> None:
    ran = owner.call(lambda data: data + b"!", b"x" * 20_000_000)
    assert load_result(ran.payload) == b"x" * 20_000_000 + b"!"


def test_a_worker_that_reads_nothing_does_not_block_its_owner(
    owner: Owner, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    def wait_for_gate() -> None:
        while not gate.exists():
            time.sleep(0.01)

    runs = [_run(1, wait_for_gate)]
    runs += [_run(n, len, b"x" * 100_000) for n in range(2, 102)]
    # It would never return if it waited for the worker.
    owner.pool.assign(ONE, runs)
    gate.touch()
    owner.read_until(lambda: len(owner.results()) == 101)


def test_results_of_short_tasks_do_not_wait_for_a_long_one(owner: Owner) -> None:
    runs = [_run(n, abs, n) for n in range(1, 10)]
    owner.pool.assign(ONE, [*runs, _run(10, time.sleep, 30)])
    owner.read_until(lambda: len(owner.results()) == 9, within=5)
    assert owner.pool.usage()[ONE].begun_seq == 10


def test_nothing_of_a_task_outlives_it(owner: Owner) -> None:
    class Trace:
        alive = weakref.WeakSet[Any]()

        def __init__(self) -> None:
            Trace.alive.add(self)

    def leave_something(argument: Trace) -> Trace:
        Trace.alive.add(argument)
        return Trace()

    def count_left() -> int:
        return len(Trace.alive)

    owner.pool.assign(ONE, [_run(1, gc.disable)])
    owner.call(leave_something, Trace(), seq=2)
    # `alive` travels with the class by value: one class for both calls.
    assert load_result(owner.call(count_left, seq=3).payload) == 0


def test_usage_names_every_living_worker(owner: Owner) -> None:
    owner.call(abs, 1, seq=7)
    (usage,) = owner.pool.usage().values()
    assert usage.pid == owner.of(WorkerStarted)[0].pid
    assert usage.rss_bytes > 2**20
    assert usage.begun_seq == 7
    assert abs(usage.begun_at - time.time()) < 20


# What a worker finds


def test_a_worker_looks_like_a_program_of_its_own(owner: Owner) -> None:
    def look() -> dict[str, Any]:
        return {
            "argv": sys.argv,
            "main": sorted(vars(sys.modules["__main__"])),
            "stdin": sys.stdin.read(),
            "interrupt": signal.getsignal(signal.SIGINT),
            "term": signal.getsignal(signal.SIGTERM),
            "child": signal.getsignal(signal.SIGCHLD),
            "group": os.getpgrp() == os.getpid(),
            "gc": gc.isenabled(),
            "nng": "pynng" in sys.modules,
            "threads": [thread.name for thread in threading.enumerate()],
        }

    seen = load_result(owner.call(look).payload)
    assert seen["argv"] == ["actors-worker"]
    assert "main" not in seen["main"]
    assert seen["stdin"] == ""
    assert seen["interrupt"] == signal.SIG_IGN
    assert seen["term"] == signal.SIG_DFL
    assert seen["child"] == signal.SIG_DFL
    assert seen["group"]
    assert seen["gc"]
    assert not seen["nng"]
    assert seen["threads"] == ["MainThread", "actors-control"]


def test_workers_draw_different_numbers(owner: Owner) -> None:
    def draw() -> float:
        return random.random()

    owner.pool.start(TWO)
    for worker_id in (ONE, TWO):
        owner.pool.assign(worker_id, [_run(1, draw)])
    owner.read_until(lambda: owner.results(ONE) and owner.results(TWO))
    assert owner.results(ONE)[1].payload != owner.results(TWO)[1].payload


def test_workers_hold_no_descriptor_of_each_other(owner: Owner) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    first = load_result(owner.call(count).payload)
    owner.pool.start(TWO)
    owner.pool.assign(TWO, [_run(1, count)])
    owner.read_until(lambda: owner.results(TWO))
    assert load_result(owner.results(TWO)[1].payload) == first


def test_output_goes_to_the_workers_log(owner: Owner, tmp_path: Path) -> None:
    def speak() -> None:
        print("said")
        os.system("echo shouted >&2")

    owner.call(speak)
    assert (tmp_path / "logs" / "one.log").read_text() == "said\nshouted\n"


# Failing


def _failing(owner: Owner, function: Callable[..., Any], *args: Any) -> BaseException:
    ran = owner.call(function, *args)
    assert not ran.is_success
    assert ran.failure is not None
    assert load_result(owner.call(abs, -2, seq=2).payload) == 2  # and it lives on
    return load_exception(ran.payload, ran.failure.detail)


def test_an_exception_comes_back_with_its_traceback(owner: Owner) -> None:
    def divide() -> float:
        return 1 / 0

    error = _failing(owner, divide)
    assert isinstance(error, ZeroDivisionError)
    text = str(error.__cause__)
    assert "in divide" in text
    assert "worker.py" not in text
    failure = owner.results()[1].failure
    assert failure is not None
    assert failure.kind is FailureKind.EXCEPTION
    assert failure.message == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt("stop"), MemoryError("much"), OSError(2)]
)
def test_a_worker_survives_what_ends_other_programs(
    owner: Owner, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    copy = _failing(owner, fail)
    assert type(copy) is type(error)
    assert copy.args == error.args


def test_sys_exit_in_a_task_is_its_result(owner: Owner) -> None:
    error = _failing(owner, sys.exit, "enough")
    assert isinstance(error, SystemExit)
    assert error.code == "enough"


def test_real_lack_of_memory_is_an_exception(owner: Owner) -> None:
    assert isinstance(_failing(owner, bytearray, 2**60), MemoryError)


def test_endless_recursion_is_an_exception(owner: Owner) -> None:
    def dive(depth: int) -> int:
        return dive(depth + 1)

    assert isinstance(_failing(owner, dive, 0), RecursionError)


def test_a_result_that_cannot_be_pickled_is_refused_alone(owner: Owner) -> None:
    error = _failing(owner, threading.Lock)
    assert isinstance(error, NotSerializable)
    assert "Result (_thread.lock) cannot be pickled" in str(error)
    failure = owner.results()[1].failure
    assert failure is not None
    assert failure.kind is FailureKind.NOT_SERIALIZABLE


@pytest.mark.parametrize("is_function", [True, False])
def test_a_module_that_the_worker_lacks_is_named_with_a_hint(
    owner: Owner, is_function: bool
) -> None:
    missing = b"\x80\x05cno_such_module\nthing\n."
    function, arguments = dump_call(len, ([],), {})
    run = Run(1, missing, arguments) if is_function else Run(1, function, missing)
    owner.pool.assign(ONE, [run])
    owner.read_until(owner.results)
    ran = owner.results()[1]
    assert ran.failure is not None
    assert ran.failure.kind is FailureKind.NOT_LOADABLE
    assert "needs module 'no_such_module'" in ran.failure.message
    assert sys.executable in ran.failure.message
    assert isinstance(load_exception(ran.payload), NotSerializable)
    error = str(load_exception(ran.payload))
    assert "PYTHONPATH or worker_init of endpoint.toml" in error


# Dying


def _with_a_result_before(
    owner: Owner, function: Callable[..., Any], *args: Any
) -> WorkerDied:
    owner.call(abs, -1)
    owner.pool.assign(ONE, [_run(2, function, *args), _run(3, abs, 3), _run(4, abs, 4)])
    died = owner.death()
    assert list(owner.results()) == [1]
    assert died.begun_seq == 2
    assert died.peak_rss_bytes > 2**20
    assert died.cpu_seconds > 0
    return died


def test_an_exit_code_is_told(owner: Owner) -> None:
    died = _with_a_result_before(owner, os._exit, 3)
    assert (died.exit_code, died.signal) == (3, None)


def test_a_killing_signal_is_told(owner: Owner) -> None:
    def kill_myself() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    died = _with_a_result_before(owner, kill_myself)
    assert (died.exit_code, died.signal) == (None, signal.SIGKILL)


def test_a_segmentation_fault_leaves_its_stack(owner: Owner) -> None:
    def read_at_zero() -> None:
        ctypes.string_at(0)

    died = _with_a_result_before(owner, read_at_zero)
    assert died.signal == signal.SIGSEGV
    assert "Segmentation fault" in died.stderr_tail
    assert "read_at_zero" in died.stderr_tail


def test_the_peak_of_memory_is_told(owner: Owner) -> None:
    def eat() -> None:
        data = bytearray(100 * 2**20)
        data[::4096] = b"x" * len(data[::4096])
        os._exit(1)

    assert _with_a_result_before(owner, eat).peak_rss_bytes > 100 * 2**20


def test_the_tail_of_the_output_is_told(owner: Owner) -> None:
    def speak_and_die() -> None:
        print("ä" * 5000 + "last words")
        os._exit(1)

    tail = _with_a_result_before(owner, speak_and_die).stderr_tail
    assert len(tail) == 2048
    assert tail.endswith("ä" * 10 + "last words\n")


def test_a_killed_worker_takes_its_subprocesses_along(owner: Owner) -> None:
    def start_something() -> int:
        return subprocess.Popen(["sleep", "60"]).pid

    pid = load_result(owner.call(start_something).payload)
    assert _is_alive(pid)
    owner.pool.kill(ONE)
    assert owner.death().signal == signal.SIGKILL
    eventually(lambda: not _is_alive(pid), within=2, what="end of the subprocess")


def test_a_crashed_worker_takes_its_subprocesses_along(owner: Owner) -> None:
    def start_something() -> int:
        return subprocess.Popen(["sleep", "60"]).pid

    pid = load_result(owner.call(start_something).payload)
    owner.pool.assign(ONE, [_run(2, os._exit, 1)])
    owner.death()
    eventually(lambda: not _is_alive(pid), within=2, what="end of the subprocess")


def test_a_worker_killed_before_it_started_dies_once(owner: Owner) -> None:
    owner.pool.kill(ONE)
    owner.pool.kill(ONE)
    died = owner.death()
    assert died.signal == signal.SIGKILL
    assert died.begun_seq == 0


def test_all_that_was_written_is_read_before_the_death(owner: Owner) -> None:
    def flood(count: int) -> bytes:
        return b"x" * count

    runs = [_run(n, flood, 10_000) for n in range(1, 20)]
    owner.pool.assign(ONE, [*runs, _run(20, os._exit, 0)])
    # 190 kB fit into the pipe: the worker is dead before anybody reads.
    pid_known = owner.of(WorkerStarted)
    owner.read_until(lambda: owner.of(WorkerStarted), what="start")
    assert pid_known == []
    (started,) = owner.of(WorkerStarted)
    eventually(lambda: not _is_alive(started.pid), what="death unseen by the pool")
    assert owner.death().begun_seq == 20
    # Results that were held back when it died may be lost, those before may not.
    held = 20 - 1 - len(owner.results())
    assert held * 10_000 <= 100_000


def test_large_results_of_workers_that_have_ended_are_all_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "actors.api.endpoint_worker:run_worker"
    with contextlib.closing(Links()) as links:
        monkeypatch.setenv(MEMORY_VARIABLE, links.offer())
        with Pool(tmp_path / "logs", program=program, links=links) as pool:
            owner = Owner(pool)
            for each in (ONE, TWO):
                pool.start(each)
            owner.read_until(lambda: len(owner.events) == 2)
            for each in (ONE, TWO):
                pool.assign(each, [_run(1, bytearray, 1_000_000)])
                pool.stop(each)
            (one,), (two,) = (owner.of(WorkerStarted, each) for each in (ONE, TWO))
            pids = [one.pid, two.pid]
            eventually(lambda: not any(map(_is_alive, pids)), what="unseen deaths")
            # As others on this host do at any time.
            Links().sweep()
            for each in (ONE, TWO):
                assert owner.death(each).exit_code == 0
                payload = owner.results(each)[1].payload
                assert isinstance(payload, Large)
                assert load_result(payload) == bytearray(1_000_000)


def test_a_task_that_closes_the_workers_pipes_costs_only_that_worker(
    owner: Owner,
) -> None:
    owner.pool.assign(ONE, [_run(1, os.closerange, 3, 100)])
    assert owner.death().begun_seq == 1


def test_nonsense_in_a_pipe_costs_only_that_worker(owner: Owner) -> None:
    def talk_nonsense() -> None:
        for descriptor in range(3, 20):
            try:
                os.write(descriptor, b"\x00\x00\x00\x03abc")
            except OSError:
                continue
        time.sleep(30)

    owner.pool.start(TWO)
    owner.pool.assign(ONE, [_run(1, talk_nonsense)])
    owner.death()
    owner.pool.assign(TWO, [_run(1, abs, 1)])
    owner.read_until(lambda: owner.results(TWO))


def test_orders_for_a_dead_or_unknown_worker_do_nothing(owner: Owner) -> None:
    owner.pool.kill(ONE)
    owner.death()
    for worker_id in (ONE, WorkerId("nobody")):
        owner.pool.assign(worker_id, [_run(1, abs, 1)])
        owner.pool.recall(worker_id)
        owner.pool.stop(worker_id)
        owner.pool.kill(worker_id)
    assert owner.pool.read() == []
    assert owner.pool.usage() == {}


def test_orders_for_a_worker_whose_death_is_not_read_yet_do_nothing(
    owner: Owner,
) -> None:
    owner.call(abs, 1)
    (started,) = owner.of(WorkerStarted)
    os.kill(started.pid, signal.SIGKILL)
    eventually(lambda: not _is_alive(started.pid), what="death")
    owner.pool.assign(ONE, [_run(2, abs, 1)])
    owner.pool.recall(ONE)
    owner.pool.stop(ONE)
    owner.pool.kill(ONE)
    assert owner.death().begun_seq == 1


# Stopping


def test_a_stopped_worker_finishes_its_backlog_and_exits_well(owner: Owner) -> None:
    owner.pool.assign(ONE, [_run(n, time.sleep, 0.001) for n in range(1, 51)])
    owner.pool.stop(ONE)
    owner.pool.stop(ONE)
    died = owner.death()
    assert (died.exit_code, died.signal) == (0, None)
    assert len(owner.results()) == 50


def test_a_stop_waits_for_what_has_not_been_sent_yet(owner: Owner) -> None:
    owner.pool.assign(ONE, [_run(n, len, b"x" * 50_000) for n in range(1, 51)])
    owner.pool.stop(ONE)
    assert owner.death().exit_code == 0
    assert len(owner.results()) == 50


def test_exit_functions_of_user_code_run_at_a_stop(
    owner: Owner, tmp_path: Path
) -> None:
    def register(path: str) -> None:
        import atexit  # noqa: PLC0415
        from pathlib import Path  # noqa: PLC0415

        atexit.register(Path(path).write_text, "done")

    owner.call(register, str(tmp_path / "exit"))
    owner.pool.stop(ONE)
    owner.death()
    assert (tmp_path / "exit").read_text() == "done"


# Recalling


def test_what_has_not_begun_comes_back_while_a_task_runs(owner: Owner) -> None:
    owner.pool.assign(ONE, [_run(1, time.sleep, 30)])
    owner.pool.assign(ONE, [_run(n, abs, n) for n in range(2, 102)])
    owner.read_until(lambda: owner.of(WorkerStarted))
    eventually(lambda: owner.pool.usage()[ONE].begun_seq == 1, what="begin")
    owner.pool.recall(ONE)
    owner.read_until(owner.recalled, within=5)
    assert owner.recalled() == list(range(2, 102))
    assert owner.results() == {}


def test_what_never_left_the_owner_comes_back_too(owner: Owner) -> None:
    owner.pool.assign(ONE, [_run(1, time.sleep, 30)])
    owner.read_until(lambda: owner.of(WorkerStarted))
    eventually(lambda: owner.pool.usage()[ONE].begun_seq == 1, what="begin")
    owner.pool.assign(ONE, [_run(n, len, b"x" * 90_000) for n in range(2, 52)])
    owner.pool.recall(ONE)
    owner.read_until(owner.recalled, within=5)
    assert sorted(owner.recalled()) == list(range(2, 52))


def test_a_task_that_somebody_waits_for_comes_back_if_there_was_no_room(
    owner: Owner,
) -> None:
    owner.pool.assign(ONE, [_run(1, time.sleep, 30)])
    runs = [_run(n, len, b"x" * 50_000) for n in range(2, 32)]
    owner.pool.assign(ONE, runs)
    assert owner.pool.exchange(ONE, _run(32, abs, -1), 0.0, 0.0) is None
    owner.pool.recall(ONE)
    owner.read_until(lambda: owner.of(TasksRecalled))
    assert owner.recalled()[-1] == 32


def test_an_idle_worker_has_nothing_to_hand_back(owner: Owner) -> None:
    owner.call(abs, 1)
    owner.pool.recall(ONE)
    owner.pool.recall(ONE)
    owner.read_until(lambda: len(owner.of(TasksRecalled)) == 2)
    assert owner.recalled() == []
    assert load_result(owner.call(abs, -3, seq=2).payload) == 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_each_task_has_run_or_come_back_exactly_once(owner: Owner, seed: int) -> None:
    chance = random.Random(seed)
    owner.pool.start(TWO)
    last = {ONE: 0, TWO: 0}
    recalls = {ONE: 0, TWO: 0}
    for _ in range(1500):
        worker_id = chance.choice([ONE, TWO])
        size = chance.choice([0, 0, 0, 1000, 70_000])
        runs = []
        for _ in range(chance.randint(0, 30)):
            last[worker_id] += 1
            if chance.random() < 0.02:
                runs.append(_run(last[worker_id], time.sleep, 0.002))
            else:
                runs.append(_run(last[worker_id], len, b"x" * size))
        owner.pool.assign(worker_id, runs)
        if chance.random() < 0.5:
            owner.pool.recall(worker_id)
            recalls[worker_id] += 1
        if chance.random() < 0.5:
            owner.events += owner.pool.read()

    def is_complete(worker_id: WorkerId) -> bool:
        answered = len(owner.of(TasksRecalled, worker_id)) == recalls[worker_id]
        told = len(owner.results(worker_id)) + len(owner.recalled(worker_id))
        return answered and told >= last[worker_id]

    for worker_id in (ONE, TWO):
        owner.read_until(lambda w=worker_id: is_complete(w))  # type: ignore[misc]
        seqs = [*owner.results(worker_id), *owner.recalled(worker_id)]
        assert sorted(seqs) == list(range(1, last[worker_id] + 1))
        assert owner.results(worker_id), "recalls left nothing to run"
        assert owner.recalled(worker_id), "no recall found anything"


# The initializer


def test_the_initializer_runs_before_the_first_task_and_is_no_result(
    tmp_path: Path,
) -> None:
    def initialize() -> None:
        os.environ["ACTORS_TEST"] = "set"

    initializer = dump_call(initialize, (), {})
    with Pool(tmp_path, initializer=initializer) as pool:
        owner = Owner(pool)
        pool.start(ONE)
        pool.recall(ONE)
        owner.read_until(lambda: owner.of(TasksRecalled))
        ran = owner.call(os.getenv, "ACTORS_TEST")
        assert load_result(ran.payload) == "set"
        assert list(owner.results()) == [1]
        assert owner.recalled() == []


def test_a_failing_initializer_is_told_and_runs_nothing(tmp_path: Path) -> None:
    with Pool(tmp_path, initializer=dump_call(int, ("x",), {})) as pool:
        owner = Owner(pool)
        pool.start(ONE)
        pool.assign(ONE, [_run(1, abs, 1)])
        died = owner.death()
        (failed,) = owner.of(InitializerFailed)
        assert failed.failure.message.startswith("ValueError: invalid literal")
        assert died.exit_code == 1
        assert died.begun_seq == 0
        assert owner.results() == {}


# The fork server


def test_without_the_fork_server_its_workers_die_and_the_next_ones_live(
    owner: Owner,
) -> None:
    owner.pool.start(TWO)
    server_pid = load_result(owner.call(os.getppid).payload)
    owner.pool.assign(TWO, [_run(1, time.sleep, 30)])
    owner.read_until(lambda: owner.of(WorkerStarted, TWO))
    eventually(lambda: owner.pool.usage()[TWO].begun_seq == 1, what="begin")
    pids = [usage.pid for usage in owner.pool.usage().values()]
    os.kill(server_pid, signal.SIGKILL)
    for worker_id in (ONE, TWO):
        died = owner.death(worker_id)
        assert died.begun_seq == 1
        assert "fork server ended with -9" in died.stderr_tail
    assert not any(map(_is_alive, pids))
    three = WorkerId("three")
    owner.pool.start(three)
    owner.pool.assign(three, [_run(1, abs, 1)])
    owner.read_until(lambda: owner.results(three))


def test_a_fork_server_that_cannot_start_leaves_its_reason(tmp_path: Path) -> None:
    with Pool(tmp_path, sys_path=["/nonexistent"]) as pool:
        owner = Owner(pool)
        pool.start(ONE)
        died = owner.death()
        assert "No module named" in died.stderr_tail
        assert died.begun_seq == 0


_OWNER = """
import os, sys, time
from pathlib import Path
from actors.messages import Run, WorkerId
from actors.payload import dump_call
from actors.pool import Pool

pool = Pool(Path(sys.argv[1]))
pool.start(WorkerId("one"))
pool.start(WorkerId("two"))
code = "import os, subprocess, time; p = subprocess.Popen(['sleep', '60']).pid; "
code += "print(os.getppid(), p, flush=True); time.sleep(60)"
pool.assign(WorkerId("one"), [Run(1, *dump_call(exec, (code,), {}))])
logs = Path(sys.argv[1])
while len(pool.usage()) < 2 or not (logs / "one.log").read_text().endswith("\\n"):
    pool.read()
    time.sleep(0.01)
pids = [usage.pid for usage in pool.usage().values()]
pids += map(int, (logs / "one.log").read_text().split())
print(*pids, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nobody_outlives_the_owner(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as output:
        pids = [int(word) for word in output.readline().split()]
    assert len(set(pids)) == 4
    assert all(map(_is_alive, pids))
    process.send_signal(number)
    process.wait()
    eventually(lambda: not any(map(_is_alive, pids)), within=2, what="end of all")


def test_workers_of_an_owner_whose_thread_has_ended_live_on(tmp_path: Path) -> None:
    with Pool(tmp_path) as pool:
        thread = threading.Thread(target=pool.start, args=(ONE,))
        thread.start()
        thread.join()
        assert load_result(Owner(pool).call(abs, -1).payload) == 1


def test_an_interrupt_at_the_terminal_reaches_no_worker(owner: Owner) -> None:
    server_pid = load_result(owner.call(os.getppid).payload)
    assert os.getpgid(server_pid) != os.getpgrp()
    (started,) = owner.of(WorkerStarted)
    os.killpg(started.pid, signal.SIGINT)
    os.kill(server_pid, signal.SIGINT)
    assert load_result(owner.call(abs, -2, seq=2).payload) == 2


# Opening and closing


def test_the_same_worker_id_twice_is_refused(owner: Owner) -> None:
    with pytest.raises(ValueError, match="'one' exists"):
        owner.pool.start(ONE)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_worker_id_must_name_a_file(tmp_path: Path, name: str) -> None:
    with Pool(tmp_path) as pool, pytest.raises(ValueError, match="name of a file"):
        pool.start(WorkerId(name))


def test_a_closed_pool_has_killed_everything_and_kept_the_logs(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "logs")
    owner = Owner(pool)
    pool.start(ONE)
    pool.assign(ONE, [_run(1, time.sleep, 60)])
    owner.read_until(lambda: owner.of(WorkerStarted))
    (started,) = owner.of(WorkerStarted)
    pool.close()
    pool.close()
    assert not _is_alive(started.pid)
    assert (tmp_path / "logs" / "one.log").exists()


def test_logs_are_removed_if_asked(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "logs")
    pool.start(ONE)
    pool.close(remove_logs=True)
    assert not (tmp_path / "logs").exists()
