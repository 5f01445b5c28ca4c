"""Promise: an endpoint's supervisors go on as they were though the interchange dies.

The interchange against processes that construct, fail, crash, exit, dawdle and obey as
chance has it, a supervisor in a supervisor; the interchange dies between saving and
sending, sometimes with the end of what it saved, and its node's manager is lost. What
members are sent is all that they know.
"""

import itertools
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.interchange.roster_groups import LINGER
from actors.logic.actor_life import DeathReason, LifeState
from actors.logic.records import GroupsStand
from actors.logic.restarts import RestartScope
from actors.logic.turn import LinkClosed, Turn
from actors.messages import (
    AckEnded,
    AckResults,
    ActorEnded,
    ActorOptions,
    ActorsStarted,
    ActorWork,
    Adopted,
    Command,
    EndActors,
    FailureKind,
    GroupOptions,
    Heartbeat,
    Incarnation,
    NewActor,
    NewChild,
    NewGroup,
    Outcome,
    Results,
    StartActors,
    Submit,
    Task,
    TaskId,
    TaskState,
    encode_one,
)
from tests.endpoint.talk import EPOCH, PYTHON, TOKEN, hello, manager_hello
from tests.supervised import KINDS, SCOPES, SupervisedProcesses

PATIENCE = 5.0
CLIENT, MANAGER = "client:c", "manager:m1"
Key = tuple[str, int]


def actor(child: str, kind: Any = "permanent", **options: Any) -> NewChild:
    made = ActorOptions(child, max_concurrency=1, **options)
    return NewChild(child, kind, NewActor(child, b"class", b"args", made))


def group(
    children: list[NewChild],
    group_id: str = "g",
    scope: RestartScope = "one_for_one",
    max_restarts: int = 3,
) -> NewGroup:
    options = GroupOptions(scope, max_restarts, 10.0, PATIENCE, 0.1, 1.0)
    return NewGroup(group_id, options, children)


@dataclass
class Process:
    of: Incarnation
    is_up: bool = False
    is_asked: bool = False
    is_killed: bool = False


@dataclass
class World:
    """An interchange, and one manager and one client that do as it says."""

    now: float = 100.0
    records: list[Any] = field(default_factory=list)
    processes: dict[Key, Process] = field(default_factory=dict)
    ended: dict[Key, ActorEnded] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # who was asked to end, in order
    unanswered: dict[TaskId, Task] = field(default_factory=dict)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)  # {verb: them}
    torn: int | None = None  # the next turn is saved but for so much, and not sent
    later: tuple[str, ...] = ()  # what a client wants before the manager is back

    def __post_init__(self) -> None:
        self._instances = itertools.count()
        self._numbers = itertools.count()
        self._settings = InterchangeSettings("e", EPOCH, TOKEN, PYTHON)
        self.machine = Interchange(self._settings, self.now)
        self._verbs: dict[TaskId, str] = {}
        self.admit_client()
        self.admit_manager()

    # Members

    def admit_client(self) -> None:
        _, turn = self.machine.admit(hello("client", "c"), self.now)
        self.take(turn)

    def admit_manager(self, *, is_new: bool = True) -> None:
        if is_new:
            self.processes.clear()
            self.ended.clear()
            self._instance = f"i{next(self._instances)}"
            if MANAGER in self.machine.members:
                self.tell(LinkClosed(MANAGER), "")
        there = [p.of for p in self.processes.values()]
        there += [ended.of for ended in self.ended.values()]
        newcomer = manager_hello(slots=2, instance=self._instance, actors=there)
        admission, turn = self.machine.admit(newcomer, self.now)
        assert admission.peer == MANAGER, admission
        self.take(turn)
        for ended in list(self.ended.values()):
            self.tell(ended, MANAGER)
        up = [p.of for p in self.processes.values() if p.is_up]
        if up:
            self.tell(ActorsStarted(up), MANAGER)

    def tell(self, message: Any, sender: str) -> None:
        self.take(self.machine.handle(message, sender, self.now))

    def take(self, turn: Turn) -> None:
        self.machine.check()
        if self.torn is not None:
            torn, self.torn = min(self.torn, len(turn.records)), None
            self.records += turn.records[: len(turn.records) - torn]
            self.restart()
            return
        self.records += turn.records
        for peer, message in (*turn.sends, *turn.promises):
            if peer == MANAGER:
                self.hear(message)
            elif isinstance(message, Results):
                for outcome in message.outcomes:
                    verb = self._verbs[outcome.task_id]
                    if self.unanswered.pop(outcome.task_id, None) is not None:
                        self.outcomes.setdefault(verb, []).append(outcome)
                acknowledged = [o.task_id for o in message.outcomes]
                self.tell(AckResults(acknowledged), CLIENT)

    def hear(self, message: Any) -> None:
        match message:
            case StartActors(actors):
                for hosting in actors:
                    key = (hosting.of.actor_id, hosting.of.number)
                    assert key not in self.processes, "twice"
                    self.processes[key] = Process(hosting.of)
            case EndActors(actors, is_killed):
                for of in actors:
                    process = self.processes.get((of.actor_id, of.number))
                    if process is None:
                        continue
                    if is_killed:
                        process.is_killed = True
                    else:
                        if not process.is_asked:
                            self.asked.append(of.actor_id)
                        process.is_asked = True
            case AckEnded(actors):
                for of in actors:
                    self.ended.pop((of.actor_id, of.number), None)
            case Adopted(_, actors):
                kept = {(of.actor_id, of.number) for of in actors}
                for key, process in self.processes.items():
                    if key not in kept:
                        process.is_killed = True
                for key in self.ended.keys() - kept:
                    del self.ended[key]

    def restart(self, *, is_compacted: bool = False) -> None:
        """Have another interchange go on from the records."""
        if is_compacted:
            self.records = [r for some in self.machine.snapshot() for r in some]
        self.machine = Interchange(self._settings, self.now)
        self.machine.restore(self.records, self.now)
        self.machine.check()
        self.admit_client()
        if self.unanswered:
            self.tell(Submit(list(self.unanswered.values())), CLIENT)
        later, self.later = self.later, ()
        for verb in later:
            self.work(verb)
        self.admit_manager(is_new=False)

    # What users do

    def work(self, verb: Any, of: str = "g", arguments: bytes = b"") -> None:
        task_id = TaskId(f"t{next(self._numbers)}")
        task = Task(task_id, b"", arguments, 1.0, actor=ActorWork(of, verb))
        self._verbs[task_id] = verb
        self.unanswered[task_id] = task
        self.tell(Submit([task]), CLIENT)

    def supervise(self, new: NewGroup) -> None:
        self.work("supervise", new.group_id, encode_one(new))
        self.work("watch", new.group_id)

    def order(self, verb: Any, *names: str) -> None:
        work = ActorWork("endpoint/interchange", "command")
        order = encode_one(Command("r", verb, list(names)))
        task_id = TaskId(f"t{next(self._numbers)}")
        self._verbs[task_id] = "command"
        self.tell(Submit([Task(task_id, b"", order, 1.0, actor=work)]), CLIENT)

    # What processes do

    def named(self, name: str) -> Process:
        (found,) = (p for p in self.processes.values() if p.of.actor_id == name)
        return found

    def names(self) -> list[str]:
        return [process.of.actor_id for process in self.processes.values()]

    def construct(self, process: Process) -> None:
        process.is_up = True
        self.tell(ActorsStarted([process.of]), MANAGER)

    def construct_all(self) -> None:
        while new := [p for p in self.processes.values() if not p.is_up]:
            self.construct(new[0])

    def fail_to_construct(self, process: Process) -> None:
        self.end(process, "constructor_failed")

    def exit(self, process: Process) -> None:
        self.end(process, "exited")

    def end(self, process: Process, reason: str = "crashed") -> None:
        key = (process.of.actor_id, process.of.number)
        del self.processes[key]
        payload = pickle.dumps(ValueError("no")) if "constructor" in reason else b""
        self.ended[key] = ended = ActorEnded(process.of, reason, "boom", "", payload)
        self.tell(ended, MANAGER)

    def obey(self) -> None:
        for process in list(self.processes.values()):
            if process.is_asked or process.is_killed:
                self.end(process, "exited")

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(1000):
            at = self.machine.wake_at
            if at > until:
                break
            self.now = max(self.now, at) + 1e-3
            self.take(self.machine.tick(self.now))
        else:
            raise AssertionError("it wakes for ever")
        self.now = max(self.now, until)
        self.tell(Heartbeat(), MANAGER)
        self.tell(Heartbeat(), CLIENT)

    @property
    def groups(self) -> Any:
        return self.machine.roster.groups

    def told(self, verb: str) -> Any:
        """Return the only outcome of a verb: its value, or its failure."""
        (outcome,) = self.outcomes[verb]
        if outcome.state is TaskState.SUCCESS:
            return pickle.loads(outcome.payload)
        return outcome.failure


def test_children_begin_one_after_the_other_and_their_start_is_told() -> None:
    world = World()
    inner = NewChild("inner", "permanent", group=group([actor("b"), actor("c")], "i"))
    world.supervise(group([actor("a"), inner, actor("d")]))
    for name in "abcd":
        assert "supervise" not in world.outcomes
        process = world.named(name)
        assert not process.is_up
        world.construct(process)
    assert world.told("supervise") is None
    assert world.names() == list("abcd")
    world.work("stop")
    for name in "dcba":
        assert world.asked.pop() == name
        world.end(world.named(name), "exited")
    died = world.told("watch")
    assert (died.actor, died.reason) == ("g", DeathReason.EXITED)


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_successor_goes_on_in_the_middle_of_a_restart_and_counts_on(
    *, is_compacted: bool
) -> None:
    world = World()
    world.supervise(group([actor("a"), actor("b"), actor("c")], max_restarts=2))
    world.construct_all()
    for _ in range(2):
        world.end(world.named("b"))
        world.restart(is_compacted=is_compacted)
        world.pass_time(2.0)
        assert sorted(world.names()) == list("abc")
        world.construct_all()
    world.end(world.named("b"))
    world.restart(is_compacted=is_compacted)
    assert world.asked == ["c"], "more than 2 within 10 s"
    for _ in range(2):
        # Asked again, and killed in the end.
        world.restart(is_compacted=is_compacted)
        world.pass_time(PATIENCE + 1.0)
        assert world.named("a" if world.names() == ["a"] else "c").is_killed
        world.obey()
    assert not world.names()
    died = world.told("watch")
    assert died.reason is DeathReason.RESTARTS_EXCEEDED
    assert "b ended again (boom): more than 2 restarts within 10 s" in died.message


@pytest.mark.parametrize("torn", [0, 1, 2, 3])
@pytest.mark.parametrize("at", range(12))
def test_nothing_is_lost_whenever_an_interchange_dies_between_saving_and_sending(
    at: int, torn: int
) -> None:
    world = World()
    children = [actor("a"), actor("b"), actor("c")]

    def crash(name: str) -> None:
        if name in world.names():
            world.end(world.named(name))

    steps = [
        lambda: world.supervise(group(children, scope="rest_for_one")),
        world.construct_all,
        lambda: crash("b"),
        world.obey,
        lambda: world.pass_time(1.0),
        world.construct_all,
        lambda: world.work("kill", "a"),
        world.obey,
        world.obey,
        lambda: world.pass_time(1.0),
        world.construct_all,
    ]
    for number, step in enumerate(steps):
        if number == at:
            world.torn = torn
        step()
    world.torn = torn if at == len(steps) else None
    for _ in range(4 if world.torn is None else 0):
        world.obey()
        world.construct_all()
        world.pass_time(2.0)
    world.asked.clear()
    world.work("stop")
    for name in "cba":
        process = world.named(name)
        assert process.is_asked, name
        world.end(process, "exited")
    assert not world.names()
    assert world.told("supervise") is None
    assert world.told("watch").reason is DeathReason.EXITED


def test_a_crash_counts_though_it_is_the_last_that_could_be_written_down() -> None:
    world = World()
    world.supervise(group([actor("a")], max_restarts=1))
    world.construct_all()
    # What its supervisor makes of it is lost.
    world.torn = 1
    world.end(world.named("a"))
    world.pass_time(1.0)
    world.construct_all()
    world.end(world.named("a"))
    assert world.told("watch").reason is DeathReason.RESTARTS_EXCEEDED


def test_what_waits_for_room_has_not_crashed_again_for_a_successor() -> None:
    world = World()
    world.supervise(group([actor("a")], max_restarts=1))
    world.construct_all()
    world.order("quiesce")
    world.end(world.named("a"))
    for _ in range(3):
        world.pass_time(1.0)
        world.restart()
        assert not world.names()
    world.order("resume")
    assert world.named("a").of.number == 2


def test_what_shall_end_before_its_manager_heard_of_it_never_begins() -> None:
    world = World()
    world.torn = 0
    # Said while the manager is away.
    world.later = ("stop",)
    world.supervise(group([actor("a"), actor("b")]))
    assert not world.names()
    assert world.told("watch").reason is DeathReason.EXITED
    assert world.told("supervise").kind is FailureKind.ACTOR_DIED


def test_restarts_of_long_ago_do_not_count_for_a_successor_either() -> None:
    world = World()
    world.supervise(group([actor("a")], max_restarts=1))
    world.construct_all()
    for _ in range(4):
        world.end(world.named("a"))
        world.restart()
        world.pass_time(11.0)
        world.construct_all()
    assert world.named("a").of.number == 5


def test_a_lost_node_counts_once_however_many_fall() -> None:
    world = World()
    children = [actor(name) for name in "abcd"]
    world.supervise(group(children, max_restarts=1))
    world.construct_all()
    world.admit_manager()
    world.pass_time(2.0)
    world.construct_all()
    assert sorted(world.names()) == list("abcd")
    assert {process.of.number for process in world.processes.values()} == {2}
    world.admit_manager()
    world.pass_time(2.0)
    assert world.told("watch").reason is DeathReason.RESTARTS_EXCEEDED


def test_what_was_taken_back_before_it_arrived_stays_so_for_two_successors() -> None:
    world = World()
    world.supervise(group([actor("a"), actor("b")]))
    world.work("release")
    # "b" is sent to the manager in this turn, which nobody hears of.
    world.torn = 0
    world.construct(world.named("a"))
    assert world.named("a").is_asked
    world.restart()
    world.obey()
    assert not world.names()


def test_a_transient_child_that_falls_with_its_siblings_is_started_again() -> None:
    """It is to end for their sake when it has ended already: that is not by itself."""
    world = World()
    children = [actor("a"), actor("b", "transient")]
    world.supervise(group(children, scope="one_for_all"))
    world.construct_all()
    world.admit_manager()
    world.pass_time(2.0)
    world.construct_all()
    assert sorted(world.names()) == ["a", "b"]


def test_an_operators_restart_is_no_crash_to_a_supervisor() -> None:
    world = World()
    children = [actor("a"), actor("b", "temporary")]
    world.supervise(group(children, scope="one_for_all", max_restarts=0))
    world.construct_all()
    world.order("restart", "b")
    assert not world.named("b").is_killed, "it is to be started once"
    world.order("restart", "a")
    assert world.named("a").is_killed
    world.restart()
    world.obey()
    world.pass_time(0.0)
    assert world.named("a").of.number == 2
    assert world.named("b").of.number == 1


def test_a_failing_first_start_tells_who_waits_for_it_why() -> None:
    world = World()
    world.supervise(group([actor("a"), actor("b"), actor("c")]))
    world.construct(world.named("a"))
    world.end(world.named("b"), "constructor_failed")
    assert world.asked == ["a"]
    # What was to blame is known to a successor.
    world.restart()
    world.obey()
    failure = world.told("supervise")
    assert failure.kind is FailureKind.ACTOR_DIED
    assert "Actor b" in failure.message
    (outcome,) = world.outcomes["supervise"]
    assert isinstance(pickle.loads(outcome.payload), ValueError)
    assert "b cannot run" in world.told("watch").message


def test_children_live_without_handles_and_end_when_the_supervisors_has_gone() -> None:
    world = World()
    world.supervise(group([actor("a"), actor("b")]))
    world.construct_all()
    for name in "ab":
        world.work("release", name)
    world.pass_time(60.0)
    assert world.names() == ["a", "b"]
    world.work("release")
    world.restart()
    world.pass_time(2 * LINGER)
    assert world.asked == ["b"]
    world.obey()
    world.obey()
    world.pass_time(2 * LINGER)
    assert not world.machine.roster.actors
    assert not world.groups.known


def test_a_killed_child_keeps_its_name_and_comes_back() -> None:
    world = World()
    world.supervise(group([actor("a", name="named")]))
    world.construct_all()
    world.work("watch", "a")
    world.work("kill", "a")
    world.restart()
    assert world.named("a").is_killed, "told again"
    world.obey()
    assert world.told("watch").reason is DeathReason.KILLED
    world.pass_time(1.0)
    world.construct_all()
    assert world.named("a").of.number == 2
    world.supervise(group([actor("other", name="named")], "g2"))
    failure = world.outcomes["supervise"][-1].failure
    assert failure is not None
    assert failure.kind is FailureKind.NAME_TAKEN


def test_what_has_ended_for_good_stays_so_when_others_start_anew() -> None:
    world = World()
    inner = group([actor("x", "temporary"), actor("y")], "i", max_restarts=0)
    children = [
        actor("a", "transient"),
        NewChild("i", "permanent", group=inner),
        actor("c"),
    ]
    world.supervise(group(children, scope="one_for_all"))
    world.construct_all()
    world.end(world.named("a"), "exited")
    world.end(world.named("x"))
    world.end(world.named("y"))
    world.obey()
    world.pass_time(2.0)
    world.construct_all()
    assert sorted(world.names()) == ["c", "y"]


@pytest.mark.parametrize(
    "new",
    [
        group([]),
        group([actor("a"), actor("a")]),
        group(
            [
                actor("a"),
                NewChild(
                    "b",
                    "permanent",
                    group([actor("c")], "a").children[0].actor,
                    group([actor("d")], "i"),
                ),
            ]
        ),
        group([NewChild("b", "permanent")]),
        group([actor("a"), NewChild("i", "permanent", group=group([actor("b")], "a"))]),
        group([actor("a", name="n"), actor("b", name="n")]),
        group([actor("a", num_cpus=-1.0)]),
        group([actor("a")], "other"),
        NewGroup(
            "g", GroupOptions("one_for_one", -1, 1.0, 1.0, 0.1, 1.0), [actor("a")]
        ),
        NewGroup(
            "g", GroupOptions("one_for_one", 1, float("nan"), 1, 0.1, 1.0), [actor("a")]
        ),
    ],
)
def test_a_group_that_makes_no_sense_is_refused(new: NewGroup) -> None:
    world = World()
    world.work("supervise", "g", encode_one(new))
    assert world.told("supervise").kind in (
        FailureKind.REFUSED,
        FailureKind.NAME_TAKEN,
    )
    world.work("supervise", "g", b"?")
    assert world.outcomes["supervise"][-1].failure is not None
    assert not world.groups.known
    assert not world.machine.roster.actors


def test_how_a_group_stands_is_written_down_without_what_has_not_changed() -> None:
    world = World()
    world.supervise(group([actor(f"a{n}") for n in range(20)]))
    world.construct_all()
    told = [r for r in world.records if isinstance(r, GroupsStand)]
    assert sum(len(s.children) for r in told for s in r.groups) <= 4 * 20


class GroupMachine(SupervisedProcesses):
    @initialize(
        scopes=st.tuples(SCOPES, SCOPES),
        kinds=st.lists(KINDS, min_size=6, max_size=6),
        restarts=st.integers(0, 4),
    )
    def begin(
        self,
        scopes: tuple[RestartScope, RestartScope],
        kinds: list[Any],
        restarts: int,
    ) -> None:
        self.world = World()
        self.is_released = False
        inner = group(
            [actor("x", kinds[4]), actor("y", kinds[5])], "i", scopes[1], restarts
        )
        children = [
            actor("a", kinds[0]),
            actor("b", kinds[1]),
            NewChild("i", kinds[2], group=inner),
            actor("c", kinds[3]),
        ]
        self.world.supervise(group(children, "g", scopes[0], restarts))

    @rule(data=st.data(), reason=st.sampled_from(["crashed", "crashed", "exited"]))
    def end(self, data: st.DataObject, reason: str) -> None:
        process = self.draw(data)
        if process is not None:
            self.world.end(process, reason)

    @rule(name=st.sampled_from("abcxy"), verb=st.sampled_from(["kill", "restart"]))
    def kill(self, name: str, verb: str) -> None:
        self.world.work(verb, name)

    @rule(name=st.sampled_from("abcxy"))
    def order_restart(self, name: str) -> None:
        self.world.order("restart", name)

    @rule(name=st.sampled_from("abcxy"))
    def release_child(self, name: str) -> None:
        self.world.work("release", name)

    @rule(is_compacted=st.booleans())
    def restart(self, *, is_compacted: bool) -> None:
        self.world.restart(is_compacted=is_compacted)

    @rule(torn=st.integers(0, 3))
    def die_in_the_next_turn(self, torn: int) -> None:
        self.world.torn = torn

    @rule()
    def lose_the_node(self) -> None:
        self.world.admit_manager()

    @rule(seconds=st.sampled_from([0.0, 0.2, 1.5, 6.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @precondition(lambda self: not self.is_released)
    @rule(is_dropped=st.booleans())
    def stop(self, *, is_dropped: bool) -> None:
        self.is_released = is_dropped
        self.world.work("release" if is_dropped else "stop")

    @invariant()
    def one_process_each_and_none_of_the_dead(self) -> None:
        if not hasattr(self, "world"):
            return
        # One that an interchange does not know of is killed as soon as it registers.
        names = [
            p.of.actor_id for p in self.world.processes.values() if not p.is_killed
        ]
        assert len(names) == len(set(names)), names
        for each in self.world.machine.roster.actors.values():
            if each.life.state is LifeState.DEAD:
                assert each.actor_id not in names

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.torn = None
        for _ in range(20):
            world.obey()
            world.construct_all()
            world.pass_time(2.0)
        for each in world.groups.known.values():
            assert each.died is not None or each.machine.is_up, "it is stuck"
        world.work("stop")
        world.asked.clear()
        for _ in range(200):
            world.obey()
            world.pass_time(1.0)
            if not any(each.died is None for each in world.groups.known.values()):
                break
        order = "abxyc"
        assert world.asked == sorted(world.asked, key=order.index, reverse=True)
        assert not [p for p in world.processes.values() if not p.is_killed]
        world.work("release")
        for name in "abcxy":
            world.work("release", name)
        world.pass_time(2 * LINGER)
        world.restart()
        world.pass_time(2 * LINGER)
        assert not world.unanswered
        assert not world.machine.roster.actors
        assert not world.groups.known
        assert len(world.outcomes["supervise"]) == len(world.outcomes["watch"]) == 1


GroupMachine.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None
)
TestGroupMachine = GroupMachine.TestCase
