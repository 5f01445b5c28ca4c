"""Promise: every task ends exactly once, and no worker idles while one could run.

The hub against a model: workers that run, crash, block and hand back in any order. What
the hub says to them is all that they know.
"""

import math
import random
from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from actors.embedded.crew import Crew
from actors.embedded.hub import Hub
from actors.embedded.parcels import MAX_DEFINED
from actors.embedded.requests import Requests
from actors.embedded.tasks import CallSpec, Task, TaskStage
from actors.embedded.workers import SendTasks
from actors.errors import BrokenInvariant
from actors.logic.patience import INTERRUPT_GRACE, RECALL_AFTER
from actors.logic.resources import ONE_CPU, Capacity
from actors.logic.workers import (
    KillWorker,
    RecallTasks,
    StartWorker,
    StopWorker,
    TellWorker,
    WorkerDied,
)
from actors.messages import (
    FUNCTION_MARK,
    Amount,
    AwaitRefs,
    Call,
    Define,
    Failure,
    FailureKind,
    Gave,
    GetValues,
    Interrupt,
    Introduce,
    PutValue,
    Ran,
    ReadyRefs,
    ReleaseRefs,
    Run,
    SubmitTask,
    TaskOptions,
    Value,
    Values,
    WorkerId,
)
from actors.refs import ObjectRef, Promise, Settled

PLAIN = TaskOptions()
VALUE = b"value"


class Process:
    """A worker as it would behave, told of by effects alone."""

    def __init__(self, worker_id: WorkerId) -> None:
        self.worker_id = worker_id
        self.index = 0
        self.backlog: deque[Run | Call] = deque()
        self.given = 0  # tasks, since its start
        self.begun = 0  # seq of the head, if it runs
        self.interrupts: set[int] = set()
        self.told: list[Any] = []
        self.is_killed = False
        self.is_stopping = False
        self.is_recalled = False
        self.made = 0

    def begin(self) -> Run | Call:
        self.begun = max(self.begun, self.backlog[0].seq)
        return self.backlog[0]


class World:
    """A hub, and processes that do as it says."""

    def __init__(
        self,
        cpus: int = 2,
        max_workers: int = 8,
        *,
        most_tasks: int = 0,
        **resources: float,
    ) -> None:
        capacity = Capacity({"CPU": cpus, **resources})
        self.most_tasks = most_tasks
        chance = random.Random(0)
        self.hub = Hub(capacity, Crew(cpus, max_workers, chance), most_tasks)
        self.requests = Requests(self.hub)
        self.now = 0.0
        self.processes: dict[WorkerId, Process] = {}
        self.hub.crew.start(self.now, self.hub.effects)
        self.settle()

    def submit(
        self,
        options: TaskOptions = PLAIN,
        dependencies: tuple[Promise, ...] = (),
        held: tuple[Promise, ...] = (),
        function: bytes = b"function",
        *,
        alone: bool = False,
    ) -> ObjectRef[Any]:
        ref: ObjectRef[Any] = ObjectRef()
        spec = CallSpec(function, options, "f")
        for promise in held:
            self.number(promise)
        ref.task = Task(spec, b"arguments", ref, dependencies, held)
        run = self.hub.send_alone(ref.task, self.now) if alone else None
        if run is None:
            self.hub.accept(ref.task)
        else:
            process = self.processes[ref.task.worker.worker_id]
            process.backlog.append(run)
            process.given += 1
        self.settle()
        return ref

    def number(self, promise: Promise) -> int:
        if not promise.number:
            promise.number = next(self.hub.parcels.numbers)
            self.hub.parcels.numbered[promise.number] = promise
        return promise.number

    def settle(self) -> None:
        self.hub.place(self.now)
        while self.hub.effects:
            effects, self.hub.effects = self.hub.effects, []
            for effect in effects:
                self.perform(effect)
            if self.most_tasks:
                self.end_the_replaced()
        self.hub.check()

    def end_the_replaced(self) -> None:
        for process in list(self.processes.values()):
            assert process.given <= self.most_tasks
            if process.is_stopping and not process.backlog:
                del self.processes[process.worker_id]
                seq = process.begun
                death = WorkerDied(process.worker_id, 0, None, 0, 0.0, seq, "")
                self.hub.died(death, self.now)
                self.hub.place(self.now)

    def perform(self, effect: Any) -> None:
        match effect:
            case StartWorker(worker_id):
                self.processes[worker_id] = Process(worker_id)
                self.hub.crew.started(worker_id, 1000)
                return
        process = self.processes.get(effect.worker_id)
        if process is None:
            return
        match effect:
            case SendTasks(_, runs):
                for run in runs:
                    if isinstance(run, Introduce):
                        process.index = run.index
                    elif isinstance(run, Run | Call):
                        process.backlog.append(run)
                        process.given += 1
            case TellWorker(_, Interrupt(seq)):
                process.interrupts.add(seq)
            case TellWorker(_, message):
                process.told.append(message)
            case RecallTasks():
                process.is_recalled = True
            case KillWorker():
                process.is_killed = True
            case StopWorker():
                process.is_stopping = True

    # What processes do

    def busy(self) -> list[Process]:
        return [p for p in self.processes.values() if p.backlog]

    def finish(self, process: Process, *, error: str = "") -> None:
        run = process.begin()
        process.backlog.popleft()
        failure = Failure(FailureKind.EXCEPTION, error) if error else None
        ran = Ran(run.seq, not error, VALUE, self.now, self.now, failure)
        self.hub.ran(process.worker_id, [ran], self.now)
        self.settle()

    def recall(self, process: Process) -> None:
        process.is_recalled = False
        kept = [run for run in process.backlog if run.seq <= process.begun]
        seqs = [run.seq for run in process.backlog if run.seq > process.begun]
        process.backlog = deque(kept)
        self.hub.recalled(process.worker_id, seqs, self.now)
        self.settle()

    def die(self, process: Process) -> None:
        del self.processes[process.worker_id]
        death = WorkerDied(process.worker_id, None, 9, 0, 0.0, process.begun, "tail")
        self.hub.died(death, self.now)
        self.settle()

    def say(self, process: Process, message: Any) -> None:
        self.requests.take(process.worker_id, message)
        self.settle()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.hub.wake_at <= self.now:
            self.hub.tick(self.now)
        self.settle()

    def stage(self, ref: Promise) -> TaskStage:
        stage: TaskStage = ref.task.stage
        return stage

    def running(self, ref: Promise) -> Process:
        worker = ref.task.worker
        process = self.processes[worker.worker_id]
        process.begin()
        return process

    def run_all(self) -> None:
        """Let every task end well."""
        for _ in range(10_000):
            busy = self.busy()
            if not busy and not self.hub.unended:
                return
            for process in busy:
                if process.is_recalled:
                    self.recall(process)
                if process.backlog:
                    self.finish(process)
            self.pass_time(RECALL_AFTER)
        raise AssertionError("tasks never end")


def failure_of(promise: Promise) -> Failure:
    assert isinstance(promise.outcome, Settled)
    assert promise.outcome.value.failure is not None
    return promise.outcome.value.failure


# One after the other


def test_a_task_goes_to_an_idle_worker_at_once() -> None:
    world = World()
    ref = world.submit()
    world.finish(world.running(ref))
    assert ref.outcome == VALUE
    assert ref.task is None


def test_a_task_alone_is_given_to_an_idle_worker_in_one_step() -> None:
    world = World(1)
    ref = world.submit(alone=True)
    assert world.stage(ref) is TaskStage.ASSIGNED
    behind = world.submit(alone=True)
    assert world.stage(behind) is TaskStage.WAITING, "there is no idle worker"
    world.die(world.running(ref))
    assert ref.outcome is None, "its start was not its last"
    world.run_all()
    assert all(each.outcome == VALUE for each in (ref, behind))


def test_tasks_wait_while_all_workers_are_busy_and_none_is_started_for_them() -> None:
    world = World(2)
    refs = [world.submit() for _ in range(5)]
    assert len(world.processes) == 2
    assert sum(world.stage(ref) is TaskStage.ASSIGNED for ref in refs) == 2
    world.run_all()
    assert all(ref.outcome == VALUE for ref in refs)


def test_short_tasks_queue_up_at_workers_and_long_ones_do_not() -> None:
    world = World(1)
    for seconds, at_worker in ((0.00001, 100), (1.0, 1)):
        for ref in [world.submit() for _ in range(10)]:
            process = world.running(ref)
            run = process.backlog.popleft()
            ran = Ran(run.seq, True, VALUE, 0.0, seconds)
            world.hub.ran(process.worker_id, [ran], world.now)
            world.settle()
        refs = [world.submit() for _ in range(200)]
        (process,) = world.processes.values()
        assert len(process.backlog) >= at_worker
        assert (len(process.backlog) == 1) == (at_worker == 1)
        world.run_all()
        assert all(ref.outcome == VALUE for ref in refs)


def make_depth(world: World) -> None:
    """Let the hub see that tasks are short."""
    for _ in range(20):
        world.finish(world.running(world.submit()))


def test_no_task_waits_behind_a_long_one_while_a_worker_is_idle() -> None:
    world = World(2)
    make_depth(world)
    refs = [world.submit() for _ in range(40)]
    stuck = world.running(refs[0])
    (other,) = (p for p in world.processes.values() if p is not stuck)
    while other.backlog:
        world.finish(other)
    followers = len(stuck.backlog) - 1
    assert followers > 0
    world.pass_time(RECALL_AFTER * 2)
    assert stuck.is_recalled
    world.recall(stuck)
    assert len(stuck.backlog) == 1
    for _ in range(followers):
        world.finish(other)
    assert [ref.outcome is None for ref in refs] == [True] + [False] * 39
    world.run_all()
    assert all(ref.outcome == VALUE for ref in refs)


def test_higher_priority_goes_first_and_equals_in_their_order() -> None:
    world = World(1)
    first = world.submit()
    low = world.submit(TaskOptions(priority=-1))
    normal = [world.submit(), world.submit()]
    high = world.submit(TaskOptions(priority=5))
    order = []
    for ref in (first, high, *normal, low):
        order.append(ref)
        assert world.stage(ref) is TaskStage.ASSIGNED
        world.finish(world.running(ref))
    assert all(ref.outcome == VALUE for ref in order)


def test_a_task_waits_for_what_it_depends_on_and_gets_its_value() -> None:
    world = World(2)
    first = world.submit()
    second = world.submit(dependencies=(first,))
    assert world.stage(second) is TaskStage.BLOCKED
    world.finish(world.running(first))
    run = world.running(second).backlog[0]
    assert isinstance(run, Call)
    assert run.values == [Value(VALUE)]


def test_a_failed_dependency_fails_what_needs_it_with_the_same_outcome() -> None:
    world = World(2)
    first = world.submit()
    second = world.submit(dependencies=(first,))
    third = world.submit(dependencies=(world.submit(), second))
    world.finish(world.running(first), error="ValueError: no")
    assert first.outcome is second.outcome is third.outcome
    late = world.submit(dependencies=(first,))
    assert late.outcome is first.outcome
    world.run_all()


def defined_at(world: World, spec: CallSpec) -> tuple[list[Define], bytes]:
    """Run a task; return what was defined for it, and how it named its function."""
    ref: ObjectRef[Any] = ObjectRef()
    ref.task = Task(spec, b"arguments", ref)
    world.hub.accept(ref.task)
    world.hub.place(world.now)
    (sent,) = (e.messages for e in world.hub.effects if isinstance(e, SendTasks))
    world.settle()
    world.run_all()
    *definitions, run = sent
    assert isinstance(run, Run)
    return [d for d in definitions if isinstance(d, Define)], run.function


def test_a_large_function_is_sent_once_per_worker_and_after_a_recall() -> None:
    world = World(1)
    large = CallSpec(b"x" * 10_000, PLAIN, "f")
    first, name = defined_at(world, large)
    assert first[0].function == large.function
    assert name.startswith(FUNCTION_MARK)
    assert defined_at(world, large) == ([], name)
    (worker,) = world.hub.workers.values()
    world.hub._recall(worker)
    world.recall(world.processes[worker.worker_id])
    assert defined_at(world, large) == (first, name)
    small = CallSpec(b"small", PLAIN, "f")
    assert defined_at(world, small) == ([], b"small")


def test_functions_that_nobody_can_call_any_more_are_forgotten() -> None:
    world = World(1)
    for index in range(MAX_DEFINED + 10):
        function = b"x" * 10_000 + str(index).encode()
        definitions, name = defined_at(world, CallSpec(function, PLAIN, "f"))
        assert bool(definitions) == (index < MAX_DEFINED)
        assert (name == function) == (index >= MAX_DEFINED)
    assert len(world.hub.parcels._keys) <= 1


# Resources


def test_what_needs_two_processors_runs_alone_and_is_not_starved() -> None:
    world = World(2)
    running = [world.submit() for _ in range(2)]
    big = world.submit(TaskOptions(num_cpus=2))
    later = [world.submit() for _ in range(4)]
    world.finish(world.running(running[0]))
    assert world.stage(big) is TaskStage.WAITING
    assert all(world.stage(ref) is TaskStage.WAITING for ref in later)
    world.finish(world.running(running[1]))
    assert world.stage(big) is TaskStage.ASSIGNED
    assert all(world.stage(ref) is TaskStage.WAITING for ref in later)
    world.run_all()


def test_what_waits_for_an_actors_processor_lets_others_pass() -> None:
    world = World(2)
    one = ONE_CPU
    gpus = world.hub.capacity.take(one, lasts=True)
    big = world.submit(TaskOptions(num_cpus=2))
    later = [world.submit() for _ in range(2)]
    assert [world.stage(ref) for ref in later].count(TaskStage.ASSIGNED) == 1
    world.finish(world.running(later[0]))
    world.hub.capacity.give_back(one, gpus, lasted=True)
    assert world.stage(big) is TaskStage.WAITING
    world.finish(world.running(later[1]))
    assert world.stage(big) is TaskStage.ASSIGNED
    world.run_all()


def test_what_lacks_a_resource_lets_others_pass() -> None:
    world = World(2, disk=1)
    disk = TaskOptions(resources=[Amount("disk", 1.0)])
    first, second, plain = world.submit(disk), world.submit(disk), world.submit()
    assert world.stage(first) is TaskStage.ASSIGNED
    assert world.stage(second) is TaskStage.WAITING
    assert world.stage(plain) is TaskStage.ASSIGNED
    world.finish(world.running(first))
    assert world.stage(second) is TaskStage.ASSIGNED
    world.run_all()
    assert world.hub.capacity.free() == {"CPU": 2, "disk": 1}


def test_halves_of_a_processor_run_two_at_a_time_in_further_workers() -> None:
    world = World(1)
    half = TaskOptions(num_cpus=0.5)
    refs = [world.submit(half) for _ in range(3)]
    stages = [world.stage(ref) for ref in refs]
    assert stages.count(TaskStage.ASSIGNED) == 2
    assert len(world.processes) == 2
    world.run_all()
    world.pass_time(5)
    assert sum(p.is_stopping for p in world.processes.values()) == 1


def test_every_gpu_is_given_to_one_task_at_a_time() -> None:
    world = World(4, GPU=2)
    options = TaskOptions(num_gpus=1)
    refs = [world.submit(options) for _ in range(3)]
    seen = set()
    for ref in refs[:2]:
        call = world.running(ref).backlog[0]
        assert isinstance(call, Call)
        seen.add(call.environment["CUDA_VISIBLE_DEVICES"])
    assert seen == {"0", "1"}
    assert world.stage(refs[2]) is TaskStage.WAITING
    world.run_all()


# Failures


def test_a_crash_costs_a_start_and_the_last_one_is_told() -> None:
    world = World(1)
    ref = world.submit(TaskOptions(retries=1))
    world.die(world.running(ref))
    assert ref.outcome is None
    world.die(world.running(ref))
    failure = failure_of(ref)
    assert failure.kind is FailureKind.WORKER_DIED
    assert failure.detail == "tail"
    assert len(world.processes) == 1


def test_what_had_not_begun_survives_a_crash_without_any_cost() -> None:
    world = World(1)
    make_depth(world)
    options = TaskOptions(retries=0)
    head, *others = [world.submit(options) for _ in range(5)]
    world.die(world.running(head))
    assert failure_of(head).kind is FailureKind.WORKER_DIED
    world.run_all()
    assert all(ref.outcome == VALUE for ref in others)


def test_its_own_exceptions_are_answered_with_new_starts_only_if_asked() -> None:
    world = World(1)
    plain = world.submit()
    world.finish(world.running(plain), error="E")
    assert failure_of(plain).message == "E"
    again = world.submit(TaskOptions(own_retries=2))
    for _ in range(2):
        world.finish(world.running(again), error="E")
        assert again.outcome is None
    world.finish(world.running(again), error="last")
    assert failure_of(again).message == "last"


def test_the_two_budgets_are_counted_apart() -> None:
    world = World(1)
    ref = world.submit(TaskOptions(retries=1, own_retries=1))
    world.die(world.running(ref))
    world.finish(world.running(ref), error="E")
    assert ref.outcome is None
    world.finish(world.running(ref))
    assert ref.outcome == VALUE


def test_a_worker_decides_which_exceptions_count() -> None:
    options = TaskOptions(own_retries=5, retry_on=b"types")
    for is_retriable in (True, False):
        world = World(1)
        ref = world.submit(options)
        process = world.running(ref)
        seq = process.backlog.popleft().seq
        failed = Value(b"", failure=Failure(FailureKind.EXCEPTION, "E"))
        gave = Gave(seq, [failed], 0.0, 0.0, is_retriable)
        world.hub.gave(process.worker_id, gave, world.now)
        world.settle()
        assert (ref.outcome is None) == is_retriable
        world.run_all()


def test_a_result_that_is_not_the_heads_is_a_broken_invariant() -> None:
    world = World(1)
    process = world.running(world.submit())
    ran = Ran(99, True, VALUE, 0.0, 0.0)
    with pytest.raises(BrokenInvariant):
        world.hub.ran(process.worker_id, [ran], world.now)


# Cancelling and timeouts


def test_a_waiting_task_is_cancelled_at_once_and_never_runs() -> None:
    world = World(1)
    world.submit()
    ref = world.submit()
    world.hub.cancel(ref, force=False, recursive=False)
    assert failure_of(ref).kind is FailureKind.CANCELLED
    world.run_all()
    assert all(p.begun == 1 for p in world.processes.values())


def test_a_running_task_is_interrupted_and_an_ended_one_left_alone() -> None:
    world = World(1)
    ref = world.submit()
    process = world.running(ref)
    world.hub.cancel(ref, force=False, recursive=False)
    world.settle()
    assert process.interrupts == {process.begun}
    world.finish(process, error="KeyboardInterrupt")
    assert failure_of(ref).kind is FailureKind.CANCELLED
    world.hub.cancel(ref, force=True, recursive=True)
    world.settle()
    assert not process.is_killed


def test_a_cancelled_task_behind_another_is_recalled_or_interrupted() -> None:
    for has_begun in (False, True):
        world = World(1)
        make_depth(world)
        head, follower = world.submit(), world.submit()
        process = world.running(head)
        world.hub.cancel(follower, force=False, recursive=False)
        world.settle()
        assert process.is_recalled
        if has_begun:
            # The head ended, and the follower began, before the recall was heard.
            world.finish(process)
            process.begin()
        world.recall(process)
        if has_begun:
            assert process.interrupts
            world.finish(process, error="KeyboardInterrupt")
        assert failure_of(follower).kind is FailureKind.CANCELLED
        world.run_all()


def test_force_kills_the_worker_and_is_no_crash() -> None:
    world = World(1)
    ref = world.submit()
    process = world.running(ref)
    world.hub.cancel(ref, force=True, recursive=False)
    world.settle()
    assert process.is_killed
    world.die(process)
    assert failure_of(ref).kind is FailureKind.CANCELLED


def test_cancelling_reaches_what_the_task_has_called() -> None:
    world = World(2)
    parent = world.submit()
    process = world.running(parent)
    number = (process.index << 40) + 1
    asked = SubmitTask([number], b"f", Value(b"args"), [], PLAIN)
    world.say(process, asked)
    child = world.hub.parcels.numbered[number]
    world.hub.cancel(parent, force=False, recursive=True)
    world.settle()
    assert world.running(child).interrupts
    world.run_all()


def test_a_task_beyond_its_timeout_is_interrupted_then_killed() -> None:
    world = World(1)
    ref = world.submit(TaskOptions(timeout=2.0))
    process = world.running(ref)
    world.pass_time(1.9)
    assert not process.interrupts
    world.pass_time(0.2)
    assert process.interrupts == {process.begun}
    world.pass_time(INTERRUPT_GRACE + 0.1)
    assert process.is_killed
    world.die(process)
    assert failure_of(ref).kind is FailureKind.TIMED_OUT


def test_a_cancelled_task_that_goes_on_is_killed_after_the_grace() -> None:
    world = World(1)
    ref = world.submit()
    process = world.running(ref)
    world.hub.cancel(ref, force=False, recursive=False, grace=3.0)
    world.settle()
    assert process.interrupts == {process.begun or process.backlog[0].seq}
    world.pass_time(2.9)
    assert not process.is_killed
    world.pass_time(0.2)
    assert process.is_killed
    world.die(process)
    assert failure_of(ref).kind is FailureKind.CANCELLED


def test_a_cancelled_task_that_ends_in_time_costs_no_worker() -> None:
    world = World(1)
    ref = world.submit()
    process = world.running(ref)
    process.begin()
    world.hub.cancel(ref, force=False, recursive=False, grace=3.0)
    world.settle()
    world.finish(process, error="KeyboardInterrupt")
    after = world.submit()
    assert world.running(after) is process
    world.pass_time(5.0)
    assert not process.is_killed


# Workers that wait


def call_and_wait(world: World, process: Process) -> Promise:
    process.made += 1
    number = (process.index << 40) + process.made
    world.say(process, SubmitTask([number], b"f", Value(b"args"), [], PLAIN))
    ref = world.hub.parcels.numbered[number]
    world.say(process, GetValues(process.made, [number], True))
    return ref


def test_a_task_that_waits_gives_its_place_to_what_it_waits_for() -> None:
    world = World(1)
    outer = world.submit()
    behind = world.submit()
    process = world.running(outer)
    inner = call_and_wait(world, process)
    assert len(world.processes) == 2
    assert world.stage(inner) is TaskStage.ASSIGNED, "it goes before older tasks"
    assert world.stage(behind) is TaskStage.WAITING
    world.finish(world.running(inner))
    assert process.told == [Values(1, [Value(VALUE)])]
    world.finish(process)
    world.run_all()
    assert behind.outcome == VALUE


def test_tasks_that_nest_deeper_than_there_may_be_workers_fail_and_say_so() -> None:
    world = World(1, max_workers=3)
    ref: Promise = world.submit()
    chain = [ref]
    for _ in range(3):
        process = world.running(ref)
        ref = call_and_wait(world, process)
        chain.append(ref)
        if ref.outcome is not None:
            break
    failure = failure_of(chain[-1])
    assert "3 worker processes all wait" in failure.message
    assert world.processes[WorkerId("w3")].told, "who waited is told"


def test_what_is_known_already_is_answered_without_blocking() -> None:
    world = World(1)
    process = world.running(world.submit())
    world.say(process, PutValue(5, Value(b"put")))
    world.say(process, GetValues(1, [5], True))
    assert process.told == [Values(1, [Value(b"put")])]
    assert world.hub.workers[process.worker_id].blocked == 0


def test_waiting_for_some_is_answered_when_so_many_are_known() -> None:
    world = World(1)
    process = world.running(world.submit())
    for number in (1, 2):
        world.say(process, PutValue(number, Value(b"")))
    world.say(process, SubmitTask([3], b"f", Value(b""), [], PLAIN))
    world.say(process, AwaitRefs(1, [3, 1, 2], 2, True))
    assert process.told == [ReadyRefs(1, [1, 2])]
    world.say(process, AwaitRefs(2, [3, 1], 2, True))
    assert len(process.told) == 1
    inner = world.hub.parcels.numbered[3]
    world.finish(world.running(inner))
    assert process.told[1] == ReadyRefs(2, [3, 1])


def test_a_ref_in_a_worker_is_kept_until_the_worker_lets_go() -> None:
    world = World(1)
    value: ObjectRef[Any] = ObjectRef()
    value.outcome = b"x"
    number = world.number(value)
    process = world.running(world.submit(held=(value,)))
    call = process.backlog[0]
    assert isinstance(call, Call)
    assert call.arguments.refs == [number]
    del value
    assert number in world.hub.parcels.numbered
    world.finish(process)
    assert number in world.hub.parcels.numbered
    world.say(process, ReleaseRefs([number], [1]))
    assert number not in world.hub.parcels.numbered


def test_refs_given_to_a_worker_that_dies_are_freed() -> None:
    world = World(1)
    value: ObjectRef[Any] = ObjectRef()
    value.outcome = b"x"
    number = world.number(value)
    ref = world.submit(TaskOptions(retries=0), held=(value,))
    process = world.running(ref)
    del value
    world.die(process)
    del ref
    assert number not in world.hub.parcels.numbered


def test_naming_a_ref_that_a_worker_does_not_hold_is_a_broken_invariant() -> None:
    world = World(1)
    process = world.running(world.submit())
    with pytest.raises(BrokenInvariant):
        world.requests.take(process.worker_id, GetValues(1, [77], True))


def test_a_guest_calls_and_gets_and_its_end_frees_what_it_held() -> None:
    world = World(1)
    guest = world.hub.crew.add_guest(WorkerId("a1"))
    assert world.hub.crew.introduction(guest).index == guest.index
    process = world.processes[guest.worker_id] = Process(guest.worker_id)
    process.index = guest.index
    inner = call_and_wait(world, process)
    assert len(world.processes) == 2, "it takes no worker's place"
    number = inner.number
    world.finish(world.running(inner))
    assert process.told == [Values(1, [Value(VALUE)])]
    del inner
    assert number in world.hub.parcels.numbered
    world.hub.crew.remove_guest(guest.worker_id)
    assert number not in world.hub.parcels.numbered


# The end


def test_closing_ends_every_task_with_the_reason() -> None:
    world = World(1)
    running = world.submit()
    refs = [running, world.submit(), world.submit(dependencies=(running,))]
    world.hub.close("enough")
    assert [failure_of(ref).message for ref in refs] == ["enough"] * 3
    assert not world.hub.unended


def test_workers_that_never_come_up_fail_the_tasks_in_the_end() -> None:
    world = World.__new__(World)
    world.hub = hub = Hub(Capacity({"CPU": 1}), Crew(1, 4, random.Random(0)))
    hub.crew.start(0.0, hub.effects)
    ref: ObjectRef[Any] = ObjectRef()
    ref.task = Task(CallSpec(b"f", PLAIN, "f"), b"", ref)
    hub.accept(ref.task)
    now = 0.0
    for _ in range(20):
        hub.place(now)
        hub.effects.clear()
        for worker_id in list(hub.workers):
            death = WorkerDied(worker_id, None, None, 0, 0.0, 0, "Cannot fork: why")
            hub.died(death, now)
        now = hub.wake_at if hub.wake_at < math.inf else now + 1
        hub.tick(now)
        if ref.outcome is not None:
            break
    assert "Cannot fork: why" in failure_of(ref).message


# Anything in any order


class HubMachine(RuleBasedStateMachine):
    """Users, workers and chance do what they like; the hub keeps its promise."""

    @initialize(cpus=st.integers(1, 3), most_tasks=st.sampled_from([0, 0, 1, 3]))
    def begin(self, cpus: int, most_tasks: int) -> None:
        self.world = World(cpus, max_workers=12, most_tasks=most_tasks, disk=1)
        self.refs: list[Promise] = []

    def draw(self, data: st.DataObject, processes: list[Process]) -> Process:
        return data.draw(st.sampled_from(sorted(processes, key=lambda p: p.worker_id)))

    @rule(
        options=st.sampled_from(
            [
                PLAIN,
                TaskOptions(own_retries=1, retries=1),
                TaskOptions(num_cpus=0.5),
                TaskOptions(num_cpus=0),
                TaskOptions(priority=3, retries=0),
                TaskOptions(timeout=1.0),
                TaskOptions(resources=[Amount("disk", 1.0)]),
            ]
        ),
        count=st.integers(1, 20),
        data=st.data(),
        alone=st.booleans(),
    )
    def submit(
        self, options: TaskOptions, count: int, data: st.DataObject, *, alone: bool
    ) -> None:
        known = self.refs[-5:]
        chosen = st.lists(st.sampled_from(known), max_size=2) if known else st.just([])
        for _ in range(count):
            dependencies, held = tuple(data.draw(chosen)), tuple(data.draw(chosen))
            ref = self.world.submit(options, dependencies, held, alone=alone)
            self.refs.append(ref)

    @precondition(lambda self: self.world.busy())
    @rule(data=st.data(), error=st.sampled_from(["", "", "", "E"]))
    def finish(self, data: st.DataObject, error: str) -> None:
        process = self.draw(data, self.world.busy())
        worker = self.world.hub.workers[process.worker_id]
        if not worker.blocked:
            self.world.finish(process, error=error)

    @precondition(lambda self: self.world.busy())
    @rule(data=st.data())
    def begin_head(self, data: st.DataObject) -> None:
        self.draw(data, self.world.busy()).begin()

    @precondition(lambda self: self.world.busy())
    @rule(data=st.data())
    def call_and_wait(self, data: st.DataObject) -> None:
        process = self.draw(data, self.world.busy())
        if not self.world.hub.workers[process.worker_id].blocked:
            process.begin()
            self.refs.append(call_and_wait(self.world, process))

    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.world.die(self.draw(data, list(self.world.processes.values())))

    @precondition(lambda self: any(p.is_killed for p in self.world.processes.values()))
    @rule()
    def kill(self) -> None:
        for process in list(self.world.processes.values()):
            if process.is_killed:
                self.world.die(process)

    @precondition(
        lambda self: any(p.is_recalled for p in self.world.processes.values())
    )
    @rule()
    def answer_recalls(self) -> None:
        for process in list(self.world.processes.values()):
            if process.is_recalled:
                self.world.recall(process)

    @precondition(lambda self: self.refs)
    @rule(data=st.data(), force=st.booleans(), recursive=st.booleans())
    def cancel(self, data: st.DataObject, *, force: bool, recursive: bool) -> None:
        ref = data.draw(st.sampled_from(self.refs))
        self.world.hub.cancel(ref, force=force, recursive=recursive)
        self.world.settle()

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.5, 3.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def forget(self) -> None:
        """The user drops refs; their tasks run all the same."""
        del self.refs[::2]

    @invariant()
    def nobody_idles_while_somebody_waits(self) -> None:
        hub = self.world.hub
        if hub.idle:
            for lane in hub.waiting.lanes()[:1]:
                assert hub.capacity.lack(lane.need), f"{lane.need} could run"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        for _ in range(2000):
            if not world.hub.unended:
                break
            for process in list(world.processes.values()):
                worker = world.hub.workers.get(process.worker_id)
                if worker is None:
                    continue
                if process.is_killed:
                    world.die(process)
                    continue
                if process.is_recalled:
                    world.recall(process)
                if process.backlog and not worker.blocked:
                    world.finish(process)
            world.pass_time(0.01)
        stuck = [(task.stage, str(task.spec.need)) for task in world.hub.unended]
        assert not stuck, f"tasks never end: {stuck}"
        assert all(ref.outcome is not None for ref in self.refs)
        assert world.hub.capacity.free() == world.hub.capacity.total()


HubMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestHubMachine = HubMachine.TestCase
