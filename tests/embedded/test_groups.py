"""Promise: whatever children do, a user's supervisor starts and ends them in order.

The directory against processes that construct, fail, crash, exit, dawdle and obey as
chance has it; a supervisor in a supervisor. What the directory says to the processes is
all that they know.
"""

import pickle
import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)

from actors.embedded.actor_calls import ActorCall, Anchor
from actors.embedded.crew import Crew
from actors.embedded.directory import Directory, StartHost
from actors.embedded.groups import Group, GroupAnchor
from actors.embedded.hub import Hub
from actors.embedded.tasks import CallSpec
from actors.embedded.workers import SendTasks
from actors.logic.actor_life import LifeState
from actors.logic.resources import Capacity
from actors.logic.restarts import RestartScope
from actors.logic.workers import KillWorker, StartWorker, StopWorker, WorkerDied
from actors.messages import (
    ActorOptions,
    Call,
    Failure,
    FailureKind,
    GroupOptions,
    Ran,
    Run,
    TaskOptions,
    WorkerId,
)
from actors.refs import ObjectRef
from tests.supervised import KINDS, SCOPES, SupervisedProcesses

PATIENCE = 5.0
NONE = pickle.dumps(None, 5)


class Process:
    def __init__(self, worker_id: WorkerId) -> None:
        self.worker_id = worker_id
        self.name = ""
        self.is_up = False
        self.is_asked = False
        self.is_killed = False
        self.calls: list[int] = []  # seqs, the constructor's first


class World:
    """A directory, and processes that do as it says."""

    def __init__(self, needy: str = "") -> None:
        self.needy = needy  # who takes the one processor that there is
        self.now = 0.0
        self.hub = Hub(Capacity({"CPU": 1}), Crew(1, 1, random.Random(0)))
        self.directory = Directory(self.hub, random.Random(0), lambda: None)
        self.processes: dict[WorkerId, Process] = {}
        self.asked: list[str] = []  # classes of who was asked to end, in order
        self.refs: list[ObjectRef[Any]] = []

    def group(self, options: GroupOptions, children: list[tuple[Any, Any]]) -> Group:
        made: dict[str, tuple[Any, Any]] = {}
        for kind, child in children:
            if isinstance(child, Group):
                made["inner"] = (kind, child)
            else:
                cpus = 1.0 if child in self.needy else 0.0
                actor = ActorOptions(child, max_concurrency=1, num_cpus=cpus)
                made[child] = (
                    kind,
                    self.directory.prepare(b"c", actor, b"", is_supervised=True),
                )
        return self.directory.prepare_group(options, made)

    def begin(self, group: Group) -> GroupAnchor:
        anchor = GroupAnchor(group)
        self.directory.supervise(anchor)
        self.settle()
        return anchor

    def settle(self) -> None:
        self.hub.place(self.now)
        self.directory.place(self.now)
        while self.hub.effects:
            effects, self.hub.effects = self.hub.effects, []
            for effect in effects:
                self.perform(effect)
        self.directory.check()

    def perform(self, effect: object) -> None:
        match effect:
            case StartHost(worker_id):
                self.processes[worker_id] = Process(worker_id)
                self.hub.guests[worker_id].pid = 1
            case SendTasks(worker_id, messages) if worker_id in self.processes:
                process = self.processes[worker_id]
                assert not process.is_asked, "it was asked to end"
                for message in messages:
                    if isinstance(message, Run | Call):
                        process.calls.append(message.seq)
                    elif name := getattr(message, "options", None):
                        process.name = name.class_name
            case StopWorker(worker_id):
                process = self.processes[worker_id]
                if not process.is_asked:
                    self.asked.append(process.name)
                process.is_asked = True
            case KillWorker(worker_id):
                if worker_id in self.processes:
                    self.processes[worker_id].is_killed = True
            case StartWorker() | SendTasks():
                pass
            case _:
                raise AssertionError(effect)

    def construct(self, process: Process) -> None:
        process.is_up = True
        seq = process.calls.pop(0)
        ran = Ran(seq, True, NONE, self.now, self.now)
        self.directory.calls.ran(process.worker_id, [ran], self.now)
        self.settle()

    def fail_to_construct(self, process: Process) -> None:
        seq = process.calls.pop(0)
        failure = Failure(FailureKind.EXCEPTION, "ValueError: no")
        error = pickle.dumps(ValueError("no"))
        ran = Ran(seq, False, error, self.now, self.now, failure)
        self.directory.calls.ran(process.worker_id, [ran], self.now)
        self.settle()
        assert process.is_killed

    def answer(self, process: Process) -> None:
        seq = process.calls.pop(0)
        ran = Ran(seq, True, NONE, self.now, self.now)
        self.directory.calls.ran(process.worker_id, [ran], self.now)
        self.settle()

    def exit(self, process: Process) -> None:
        self.end(process, 0)

    def end(self, process: Process, code: int) -> None:
        del self.processes[process.worker_id]
        begun = process.calls[0] if process.calls else 0
        death = WorkerDied(process.worker_id, code, None, begun, 0.0, 0, "")
        self.directory.died(death, self.now)
        self.settle()

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(1000):
            at = self.directory.wake_at
            if at > until:
                break
            self.now = max(self.now, at)
            self.settle()
        else:
            raise AssertionError("it wakes for ever")
        self.now = until
        self.settle()

    def call(self, anchor: Anchor) -> None:
        ref: ObjectRef[Any] = ObjectRef()
        spec = CallSpec(b"@m", TaskOptions(retries=0), "m")
        ref.task = call = ActorCall(anchor.actor, anchor, "", spec, b"", ref)
        self.directory.calls.accept(call)
        self.refs.append(ref)
        self.settle()


def test_who_waits_for_the_start_is_told_when_all_are_up_also_those_inside() -> None:
    world = World()
    options = GroupOptions("one_for_one", 3, 10.0, PATIENCE, 0.1, 1.0)
    inner = world.group(options, [("permanent", "b"), ("temporary", "c")])
    children = [("permanent", "a"), ("permanent", inner), ("permanent", "d")]
    group = world.group(options, children)
    anchor = world.begin(group)
    for name in "abcd":
        assert group.started.outcome is None
        (process,) = (p for p in world.processes.values() if not p.is_up)
        assert process.name == name
        world.construct(process)
    assert group.started.outcome == NONE
    del anchor
    world.settle()
    assert world.asked == ["d"], "nobody uses it any more"


def test_what_has_ended_for_good_stays_so_when_others_start_anew() -> None:
    world = World()
    options = GroupOptions("one_for_all", 3, 10.0, PATIENCE, 0.1, 1.0)
    group = world.group(options, [("transient", "a"), ("permanent", "b")])
    anchor = world.begin(group)
    for name in "ab":
        (process,) = (p for p in world.processes.values() if not p.is_up)
        assert process.name == name
        world.construct(process)
    first, second = world.processes.values()
    world.directory.exits(first.worker_id)
    world.settle()
    world.end(first, 0)
    world.end(second, 1)
    world.pass_time(1.0)
    (again,) = world.processes.values()
    assert again.name == "b"
    world.construct(again)
    assert group.machine is not None
    assert group.machine.is_up
    del anchor


class GroupMachine(SupervisedProcesses):
    @initialize(
        scopes=st.tuples(SCOPES, SCOPES),
        kinds=st.lists(KINDS, min_size=6, max_size=6),
        restarts=st.integers(0, 4),
        needy=st.sampled_from(["", "", "ax", "bc"]),
    )
    def begin(
        self,
        scopes: tuple[RestartScope, RestartScope],
        kinds: list[str],
        restarts: int,
        needy: str,
    ) -> None:
        self.world = World(needy)
        outer, inner = (
            GroupOptions(scope, restarts, 10.0, PATIENCE, 0.1, 1.0) for scope in scopes
        )
        group = self.world.group(inner, [(kinds[4], "x"), (kinds[5], "y")])
        names: list[Any] = ["a", "b", group, "c"]
        self.group = self.world.group(outer, list(zip(kinds, names, strict=False)))
        self.anchors = [*self.group.anchors, *group.anchors]
        self.anchor: GroupAnchor | None = self.world.begin(self.group)

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        process = self.draw(data)
        if process is not None:
            self.world.end(process, 1)

    @rule(data=st.data())
    def exit(self, data: st.DataObject) -> None:
        process = self.draw(data, is_up=True, is_killed=False)
        if process is not None:
            self.world.directory.exits(process.worker_id)
            self.world.settle()
            self.world.end(process, 0)

    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        anchor = data.draw(st.sampled_from(self.anchors))
        self.world.directory.kill(anchor.actor, is_final=data.draw(st.booleans()))
        self.world.settle()

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        self.world.call(data.draw(st.sampled_from(self.anchors)))

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        process = self.draw(data, is_up=True)
        if process is not None and process.calls:
            self.world.answer(process)

    @rule(seconds=st.sampled_from([0.0, 0.2, 1.5, 6.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @precondition(lambda self: self.anchor is not None)
    @rule(is_dropped=st.booleans())
    def stop(self, *, is_dropped: bool) -> None:
        if is_dropped:
            self.anchor = None
        else:
            self.world.directory.stop_group(self.group)
        self.world.settle()

    @invariant()
    def one_process_each_and_none_of_the_dead(self) -> None:
        if not hasattr(self, "world"):
            return
        names = [process.name for process in self.world.processes.values()]
        assert len(names) == len(set(names)), names
        for anchor in self.anchors:
            if anchor.actor.life.state is LifeState.DEAD:
                assert anchor.actor.options.class_name not in names

    @invariant()
    def at_most_one_is_on_its_way_per_supervisor(self) -> None:
        if hasattr(self, "world"):
            for names in ("abc", "xy"):
                starting = [
                    process.name
                    for process in self.world.processes.values()
                    if process.name in names
                    and not (process.is_up or process.is_asked or process.is_killed)
                ]
                assert len(starting) <= 1, starting

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        for _ in range(20):
            for process in list(world.processes.values()):
                if process.is_asked or process.is_killed:
                    world.end(process, 0)
                elif not process.is_up:
                    world.construct(process)
            world.pass_time(2.0)
        for live in world.directory.groups.live:
            assert live.machine is not None
            # Two who need the only processor wait for each other's end.
            assert live.machine.is_up or world.needy, "it is stuck"
        world.directory.stop_group(self.group)
        world.settle()
        world.asked.clear()
        for _ in range(100):
            for process in list(world.processes.values()):
                if process.is_asked or process.is_killed:
                    world.end(process, 0)
            world.pass_time(1.0)
            if not world.directory.groups.live:
                break
        order = "abxyc"
        assert world.asked == sorted(world.asked, key=order.index, reverse=True)
        assert not world.directory.groups.live
        assert not world.processes
        for anchor in self.anchors:
            assert anchor.actor.life.state is LifeState.DEAD
        assert not world.directory.actors
        assert all(ref.outcome is not None for ref in world.refs)
        assert self.group.started.outcome is not None
        assert self.anchor is None or self.anchor.outcome is not None


GroupMachine.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None
)
TestGroupMachine = GroupMachine.TestCase
