"""What clients want of actors is answered once, by the outcome of a task."""

import itertools
import pickle
from typing import Any

import msgspec
import pytest

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.interchange.drawing import Drawing
from actors.logic.records import ActorPlaced, IncarnationEnded, InterchangeRecord
from actors.logic.turn import LinkClosed, Turn
from actors.messages import (
    Accepted,
    AckEnded,
    ActorEnded,
    ActorOptions,
    ActorsStarted,
    ActorWork,
    Adopted,
    Amount,
    Answer,
    Block,
    BlockId,
    BlocksReported,
    BlockState,
    CancelTasks,
    Command,
    EndActors,
    Failure,
    FailureKind,
    Finished,
    Goodbye,
    Hello,
    Holding,
    Incarnation,
    Lease,
    LeaseCalls,
    LoadReported,
    ManagerId,
    Needs,
    Outcome,
    Report,
    RestartManager,
    Results,
    Returned,
    StartActors,
    Submit,
    Task,
    TaskId,
    TaskState,
    encode_one,
)
from tests.endpoint.talk import (
    EPOCH,
    PYTHON,
    TOKEN,
    Talk,
    all_of,
    hello,
    manager_hello,
    only,
    outcome,
    sent_to,
)

WORKER_DIED = Failure(FailureKind.WORKER_DIED, "it died")


def talk() -> Talk:
    settings = InterchangeSettings("e", EPOCH, TOKEN, PYTHON)
    spoken_to = Talk(Interchange(settings, 100.0))
    spoken_to.admit(hello("client", "c"))
    return spoken_to


def outcomes(turn: Turn, client: str = "client:c") -> list[Outcome]:
    return [o for results in sent_to(turn, client, Results) for o in results.outcomes]


def ordered(command: Command) -> Submit:
    work = ActorWork("endpoint/interchange", "command")
    return Submit([Task(TaskId("t"), b"", encode_one(command), 1.0, actor=work)])


def test_a_command_is_accepted_and_answered_by_an_outcome() -> None:
    endpoint = talk()
    turn = endpoint.tell(ordered(Command("r", "status")), "client:c")
    assert only(sent_to(turn, "client:c", Accepted)).task_ids == ["t"]
    is_done, text, body = pickle.loads(only(outcomes(turn)).payload)
    assert (is_done, text, body[:1]) == (True, "", b"{")
    again = endpoint.tell(ordered(Command("r", "status")), "client:c")
    assert outcomes(again) == outcomes(turn), "asked again, it was not answered anew"


def test_nonsense_in_place_of_a_command_fails_its_task_alone() -> None:
    endpoint = talk()
    work = ActorWork("endpoint/interchange", "command")
    task = Task(TaskId("t"), b"", b"?", 1.0, actor=work)
    (failed,) = outcomes(endpoint.tell(Submit([task]), "client:c"))
    assert failed.state is TaskState.FAILED
    assert failed.failure is not None
    assert "1 bytes refused" in failed.failure.message


# Actors

MANAGER = "manager:m1"
CLIENT = "client:c"


class Stage(Talk):
    """An interchange with a client, and a manager of two workers."""

    machine: Interchange

    def __init__(self, *, has_manager: bool = True) -> None:
        settings = InterchangeSettings("e", EPOCH, TOKEN, PYTHON)
        self.records: list[InterchangeRecord] = []
        super().__init__(Interchange(settings, 100.0))
        self._tasks = itertools.count()
        self.admit(hello("client", "c"))
        if has_manager:
            self.admit(manager_hello(slots=2))

    def admit(self, newcomer: Hello) -> Turn:
        turn = super().admit(newcomer)
        self.records += turn.records
        return turn

    def tell(self, message: Any, sender: str = "") -> Turn:
        turn = super().tell(message, sender)
        self.records += turn.records
        return turn

    def work(
        self,
        verb: Any,
        actor_id: str = "a",
        client: str = CLIENT,
        retries: int = 0,
        **options: Any,
    ) -> Turn:
        made = ActorOptions("A", picture=b"p", **options) if verb == "create" else None
        task_id = TaskId(f"t{next(self._tasks)}")
        what = {"create": b"class", "find": b"name"}.get(verb, b"@m")
        task = Task(
            task_id,
            what,
            b"" if verb == "find" else b"args",
            1.0,
            retries,
            actor=ActorWork(actor_id, verb, made),
        )
        return self.tell(Submit([task]), client)

    def alive(self, number: int = 1, **options: Any) -> None:
        """Make an actor, and let its manager construct it."""
        if number == 1:
            self.work("create", **options)
        self.tell(ActorsStarted([Incarnation("a", number)]), MANAGER)

    def die(self, number: int = 1, reason: str = "crashed") -> Turn:
        return self.tell(ActorEnded(Incarnation("a", number), reason, "boom"), MANAGER)

    def restart(self) -> "Stage":
        """Give what an interchange that read our records would be."""
        successor = Stage(has_manager=False)
        successor.machine = Interchange(self.machine.settings, self.now)
        successor.machine.restore(self.records, self.now)
        successor.machine.check()
        successor.now = self.now
        return successor


def placed(turn: Turn) -> list[Incarnation]:
    starts = sent_to(turn, MANAGER, StartActors)
    return [actor.of for start in starts for actor in start.actors]


def handed_over(turn: Turn) -> list[str]:
    leases = sent_to(turn, MANAGER, LeaseCalls)
    return [call.task_id for lease in leases for call in lease.calls]


def failure_of(turn: Turn) -> Failure:
    failure = only(outcomes(turn)).failure
    assert failure is not None
    return failure


def test_an_actor_is_placed_and_its_creation_answered_at_once() -> None:
    stage = Stage()
    turn = stage.work("create")
    assert pickle.loads(only(outcomes(turn)).payload) == ("a", b"p")
    assert placed(turn) == [Incarnation("a", 1)]


def test_calls_wait_until_it_is_constructed_and_keep_their_order() -> None:
    stage = Stage()
    stage.work("create")
    assert not handed_over(stage.work("call"))
    assert not handed_over(stage.work("call"))
    turn = stage.tell(ActorsStarted([Incarnation("a", 1)]), MANAGER)
    assert handed_over(turn) == ["t1", "t2"]
    done = stage.tell(Finished([outcome("t1")]), MANAGER)
    assert only(outcomes(done)).state is TaskState.SUCCESS


def test_without_a_manager_an_actor_is_demand() -> None:
    stage = Stage(has_manager=False)
    stage.work("create", num_cpus=2)
    (drawn,) = Drawing(stage.machine).snapshot(stage.now).actors
    assert (drawn.state, drawn.holders, drawn.manager_id) == ("waiting", 1, "")
    load = all_of(stage.wait(1.1).events, LoadReported)[-1]
    assert load.waiting == 2
    assert placed(stage.admit(manager_hello(slots=2))) == [Incarnation("a", 1)]


def test_an_actor_waits_while_managers_are_held() -> None:
    stage = Stage()
    stage.admit(hello("operator", "o"))
    stage.tell(Command("r", "hold", ["m1"]), "operator:o")
    assert not placed(stage.work("create"))
    turn = stage.tell(Command("r", "resume", ["m1"]), "operator:o")
    assert placed(turn) == [Incarnation("a", 1)]


def test_an_actor_that_takes_processors_leaves_fewer_for_tasks() -> None:
    stage = Stage()
    stage.work("create", num_cpus=1)
    stage.tell(Report(1, []), MANAGER)
    tasks = [Task(TaskId(f"p{n}"), b"f", b"", 1.0) for n in range(2)]
    turn = stage.tell(Submit(tasks), CLIENT)
    assert [len(lease.tasks) for lease in sent_to(turn, MANAGER, Lease)] == [1]
    assert not placed(stage.work("create", "b", num_cpus=2))
    assert placed(stage.die()), "there is room now"


def test_a_death_fails_what_had_begun_and_the_calls_behind_it() -> None:
    stage = Stage()
    stage.alive()
    stage.work("call")
    watching = stage.work("watch")
    assert not outcomes(watching)
    turn = stage.die()
    assert sent_to(turn, MANAGER, AckEnded)
    died = pickle.loads(only(outcomes(turn)).payload)
    assert (died.reason, died.is_final, died.message) == ("crashed", True, "boom")
    lost = outcome("t1", state=TaskState.FAILED, failure=WORKER_DIED)
    assert failure_of(stage.tell(Finished([lost]), MANAGER)).kind == "actor_died"
    late = failure_of(stage.work("call"))
    assert (late.kind, late.reason) == (FailureKind.ACTOR_DIED, "crashed")
    assert pickle.loads(only(outcomes(stage.work("watch"))).payload) == died


def test_a_restart_takes_calls_that_had_not_begun_in_their_order() -> None:
    stage = Stage()
    stage.alive(max_restarts=1)
    for _ in range(3):
        stage.work("call")
    stage.die()
    lost = outcome("t1", state=TaskState.FAILED, failure=WORKER_DIED)
    failure = failure_of(stage.tell(Finished([lost]), MANAGER))
    assert failure.kind is FailureKind.ACTOR_UNAVAILABLE
    assert "may have run" in failure.message
    back = [Holding(TaskId(t), 1) for t in ("t3", "t2")]
    stage.tell(Returned(back), MANAGER)
    assert placed(stage.live(1.0)) == [Incarnation("a", 2)]
    turn = stage.tell(ActorsStarted([Incarnation("a", 2)]), MANAGER)
    assert handed_over(turn) == ["t2", "t3"]
    assert "restarted 1 times already" in _message(stage.die(2))


@pytest.mark.parametrize("is_recorded", [False, True])
def test_an_operators_restart_keeps_the_calls_order_and_does_not_count(
    is_recorded: bool,
) -> None:
    stage = Stage()
    stage.alive(max_restarts=1, name="tally")
    for _ in range(2):
        stage.work("call")
    stage.admit(hello("operator", "o"))
    turn = stage.tell(Command("r", "restart", ["tally"]), "operator:o")
    answer = only(sent_to(turn, "operator:o", Answer))
    assert answer.is_done
    assert "'tally' (a)" in answer.text
    assert EndActors([Incarnation("a", 1)], True) in sent_to(turn, MANAGER, EndActors)
    assert not handed_over(stage.work("call")), "not to one that ends"
    if is_recorded:
        # The interchange is another one now, and has it from the journal.
        stage = stage.restart()
        there = msgspec.structs.replace(
            manager_hello(slots=2, held=[("t1", 1), ("t2", 1)]),
            actors=[Incarnation("a", 1)],
        )
        turn = stage.admit(there)
        assert sent_to(turn, MANAGER, EndActors), "perhaps it was not told"
    turn = stage.die(reason="crashed")
    assert only(all_of(turn.records, IncarnationEnded)).reason == "restarted"
    back = [Holding(TaskId(t), 1) for t in ("t2", "t1")]
    stage.tell(Returned(back), MANAGER)
    assert placed(stage.wait(0.01)) == [Incarnation("a", 2)], "at once"
    turn = stage.tell(ActorsStarted([Incarnation("a", 2)]), MANAGER)
    assert handed_over(turn) == ["t1", "t2", "t3"]
    # It may still crash once.
    stage.die(2)
    assert placed(stage.live(1.0)) == [Incarnation("a", 3)]
    stage.alive(3)
    assert only(all_of(stage.die(3).records, IncarnationEnded)).is_final


def test_who_must_not_be_restarted_is_not() -> None:
    stage = Stage()
    stage.admit(hello("operator", "o"))

    def refusal(*names: str) -> str:
        turn = stage.tell(Command("r", "restart", [*names]), "operator:o")
        assert not sent_to(turn, MANAGER, EndActors)
        answer = only(sent_to(turn, "operator:o", Answer))
        assert not answer.is_done
        return answer.text

    stage.alive()
    assert "max_restarts 0" in refusal("a")
    assert "b cannot be restarted; these can: interchange," in refusal("a", "b")
    stage.work("create", "c", name="n", namespace="x", max_restarts=1)
    stage.work("create", "d", name="n", namespace="y", max_restarts=1)
    assert "n is the name of several actors: c, d" in refusal("n")
    stage.work("create", "e", max_restarts=1, num_cpus=7)
    assert "waits for a manager" in refusal("e")
    stage.work("kill", "c")
    assert "is dead, or about to end" in refusal("c")


def test_when_block_after_block_fails_calls_fail_and_actors_wait_to_be_resumed() -> (
    None
):
    stage = Stage(has_manager=False)
    stage.work("create")
    stage.work("call")
    watching = stage.work("watch")
    stage.admit(hello("provider"))
    failed = [Block(BlockId(f"b{n}"), BlockState.FAILED, "j", 7) for n in range(3)]
    started = [msgspec.structs.replace(b, state=BlockState.PENDING) for b in failed]
    stage.tell(BlocksReported(started), "provider:provider")
    turn = stage.tell(BlocksReported(failed), "provider:provider")
    assert failure_of(turn).kind is FailureKind.BLOCK_FAILED
    assert failure_of(stage.work("call")).kind is FailureKind.BLOCK_FAILED
    assert not outcomes(watching), "it is not dead"
    stage.machine.blocks.resume(stage.now, Turn())
    assert placed(stage.admit(manager_hello(slots=2))) == [Incarnation("a", 1)]
    stage.tell(ActorsStarted([Incarnation("a", 1)]), MANAGER)
    assert handed_over(stage.work("call")) == ["t4"]


def test_an_actor_that_waits_for_its_restart_gets_it_now() -> None:
    stage = Stage()
    stage.alive(max_restarts=-1, is_detached=True)
    for number in range(1, 9):
        stage.die(number)
        stage.live(40.0)
        stage.tell(Report(2, []), MANAGER)
        stage.alive(number + 1)
    stage.die(9)
    assert not placed(stage.live(5.0)), "by now the delays are long"
    stage.admit(hello("operator", "o"))
    turn = stage.tell(Command("r", "restart", ["a"]), "operator:o")
    assert only(sent_to(turn, "operator:o", Answer)).is_done, turn
    assert placed(stage.live(0.01)) == [Incarnation("a", 10)]


def test_a_restarted_managers_actors_begin_again_if_they_may() -> None:
    stage = Stage()
    stage.alive(max_restarts=1)
    stage.work("create", "b")
    stage.admit(hello("operator", "o"))
    turn = stage.tell(Command("r", "restart", ["m1"]), "operator:o")
    assert sent_to(turn, MANAGER, RestartManager)
    text = only(sent_to(turn, "operator:o", Answer)).text
    assert "actors that begin again: 1; actors that die, with max_restarts 0: 1" in text
    turn = stage.tell(Goodbye("restarts"), MANAGER)
    ends = {r.actor_id: r for r in all_of(turn.records, IncarnationEnded)}
    assert (ends["a"].reason, ends["a"].is_final) == ("restarted", False)
    assert (ends["b"].reason, ends["b"].is_final) == ("node_lost", True)
    stage.wait(0.01)
    assert placed(stage.admit(manager_hello("m1", instance="j"))) == [
        Incarnation("a", 2)
    ]


def _message(turn: Turn) -> str:
    return only(all_of(turn.records, IncarnationEnded)).message


def test_a_call_that_may_be_retried_goes_first_again() -> None:
    stage = Stage()
    stage.alive(max_restarts=1)
    stage.work("call", retries=1)
    stage.work("call")
    stage.die()
    lost = outcome("t1", state=TaskState.FAILED, failure=WORKER_DIED)
    stage.tell(Returned([Holding(TaskId("t2"), 1)]), MANAGER)
    assert not outcomes(stage.tell(Finished([lost]), MANAGER))
    stage.live(1.0)
    turn = stage.tell(ActorsStarted([Incarnation("a", 2)]), MANAGER)
    assert handed_over(turn) == ["t1", "t2"]


def test_a_death_that_is_told_twice_does_not_take_the_next_try_away() -> None:
    stage = Stage()
    stage.alive(max_restarts=1)
    stage.work("call", retries=1)
    stage.die()
    lost = outcome("t1", state=TaskState.FAILED, failure=WORKER_DIED)
    stage.tell(Finished([lost]), MANAGER)
    stage.tell(LinkClosed(MANAGER))
    # It has not heard that this was acknowledged.
    stage.admit(manager_hello(slots=2, held=[("t1", 1)]))
    stage.live(1.0)
    stage.tell(Finished([lost]), MANAGER)
    turn = stage.tell(ActorsStarted([Incarnation("a", 2)]), MANAGER)
    assert handed_over(turn) == ["t1"]
    assert not handed_over(stage.tell(Finished([]), MANAGER))


def test_a_manager_that_is_lost_takes_its_actors_along() -> None:
    stage = Stage()
    stage.alive(max_restarts=1)
    stage.work("call")
    turn = stage.tell(Goodbye("walltime"), MANAGER)
    assert only(all_of(turn.records, IncarnationEnded)).reason == "node_lost"
    assert failure_of(turn).kind is FailureKind.ACTOR_UNAVAILABLE
    stage.live(1.0)
    assert placed(stage.admit(manager_hello("m1", instance="j"))) == [
        Incarnation("a", 2)
    ]


def test_an_incarnation_that_did_not_arrive_is_begun_again() -> None:
    stage = Stage()
    stage.work("create")
    stage.tell(LinkClosed(MANAGER))
    assert placed(stage.admit(manager_hello(slots=2))) == [Incarnation("a", 1)]
    stage.tell(LinkClosed(MANAGER))
    there = msgspec.structs.replace(
        manager_hello(slots=2), actors=[Incarnation("a", 1)]
    )
    turn = stage.admit(there)
    assert not placed(turn)
    assert only(sent_to(turn, MANAGER, Adopted)).actors == [Incarnation("a", 1)]


def test_one_that_was_let_go_before_it_arrived_is_not_begun_again() -> None:
    stage = Stage()
    stage.work("create")
    stage.tell(LinkClosed(MANAGER))
    stage.work("release")
    stage.live(3.0)
    assert not placed(stage.admit(manager_hello(slots=2)))
    assert not stage.machine.roster.actors


def test_the_last_handle_ends_an_actor_after_a_while() -> None:
    stage = Stage()
    stage.alive()
    stage.admit(hello("client", "d"))
    stage.work("hold", client="client:d")
    stage.work("release")
    assert not sent_to(stage.live(5.0), MANAGER, EndActors)
    stage.work("release", client="client:d")
    ended = only(sent_to(stage.live(5.0), MANAGER, EndActors))
    assert (ended.actors, ended.is_killed) == ([Incarnation("a", 1)], False)
    stage.die(reason="exited")
    assert not stage.machine.roster.actors


def test_a_client_that_leaves_or_stays_away_has_no_handles() -> None:
    for leave in (Goodbye("done"), LinkClosed(CLIENT)):
        stage = Stage()
        stage.alive()
        stage.tell(leave, CLIENT if isinstance(leave, Goodbye) else "")
        assert sent_to(stage.live(40.0), MANAGER, EndActors)


def test_a_detached_actor_stays_until_it_is_killed() -> None:
    stage = Stage()
    stage.alive(is_detached=True, name="name")
    stage.tell(Goodbye("done"), CLIENT)
    assert not sent_to(stage.live(60.0), MANAGER, EndActors)
    stage.admit(hello("client", "d"))
    found = only(outcomes(stage.work("find", "", "client:d"), "client:d"))
    assert pickle.loads(found.payload) == ("a", b"p")
    killed = only(sent_to(stage.work("kill", client="client:d"), MANAGER, EndActors))
    assert killed.is_killed
    failure = only(outcomes(stage.work("find", "", "client:d"), "client:d")).failure
    assert failure is not None
    assert failure.kind is FailureKind.NO_SUCH_ACTOR
    died = stage.die()
    assert only(all_of(died.records, IncarnationEnded)).reason == "killed"


def test_calls_of_who_has_left_go_on_where_the_actor_does() -> None:
    stage = Stage()
    stage.alive(is_detached=True)
    stage.work("create", "b")
    stage.work("call")
    stage.work("call", "b")
    turn = stage.tell(Goodbye("done"), CLIENT)
    assert not sent_to(turn, MANAGER, CancelTasks)
    left = [t for t, e in stage.machine.ledger.entries.items() if not e.is_cancelling]
    assert left == ["t2"], "t1 made the other actor; t3 was for it, and had not begun"
    successor = stage.restart()
    assert {*successor.machine.ledger.entries} == {"t2"}
    stage.tell(Finished([outcome("t2")]), MANAGER)
    assert not stage.machine.clients
    assert not stage.machine.ledger.entries


def test_a_method_of_an_actor_that_nobody_wants_is_killed_if_it_goes_on() -> None:
    stage = Stage()
    stage.alive()
    stage.work("call")
    turn = stage.tell(Goodbye("done"), CLIENT)
    cancelled = only(sent_to(turn, MANAGER, CancelTasks))
    assert cancelled.task_ids == ["t1"]
    assert cancelled.grace == 2.0


def test_who_asks_hears_whether_a_task_can_ever_run() -> None:
    stage = Stage()
    verdicts = []
    for name, amount in (("CPU", 2.0), ("GPU", 64.0)):
        needs = Needs(amounts=(Amount(name, amount),))
        asked = Task(
            TaskId(name),
            b"",
            b"",
            1.0,
            name="f",
            actor=ActorWork("", "suits"),
            needs=needs,
        )
        answer = only(outcomes(stage.tell(Submit([asked]), CLIENT)))
        verdicts.append(pickle.loads(answer.payload))
    assert verdicts[0] is None
    kind, text = verdicts[1]
    assert kind == FailureKind.IMPOSSIBLE.value
    assert text.startswith("f needs")


def test_a_name_is_one_actors() -> None:
    stage = Stage()
    stage.work("create", name="name")
    failure = failure_of(stage.work("create", "b", name="name"))
    assert failure.kind is FailureKind.NAME_TAKEN
    same = stage.work("create", "c", name="name", get_if_exists=True)
    assert pickle.loads(only(outcomes(same)).payload) == ("a", b"p")
    assert outcomes(stage.work("create", "d", name="name", namespace="n"))[0].payload


def test_calls_fail_at_once_during_a_restart_if_told() -> None:
    stage = Stage()
    stage.alive(max_restarts=-1, fails_on_restart=True)
    stage.die()
    assert failure_of(stage.work("call")).kind is FailureKind.ACTOR_UNAVAILABLE


def test_a_cancelled_call_that_waits_is_never_handed_over() -> None:
    stage = Stage()
    stage.work("create")
    stage.work("call")
    stage.work("call")
    turn = stage.tell(CancelTasks([TaskId("t1")]), CLIENT)
    assert only(outcomes(turn)).state is TaskState.CANCELLED
    turn = stage.tell(ActorsStarted([Incarnation("a", 1)]), MANAGER)
    assert handed_over(turn) == ["t2"]


def test_a_successor_knows_actors_homes_handles_and_calls() -> None:
    stage = Stage()
    stage.alive(max_restarts=2, name="name")
    stage.work("call")
    stage.die()
    stage.tell(Returned([Holding(TaskId("t1"), 1)]), MANAGER)
    stage.live(1.0)
    stage.records += [ActorPlaced("a", 2, ManagerId("m1"))]
    later = stage.restart()
    there = msgspec.structs.replace(
        manager_hello(slots=2), actors=[Incarnation("a", 2)]
    )
    turn = later.admit(there)
    assert only(sent_to(turn, MANAGER, Adopted)).actors == [Incarnation("a", 2)]
    turn = later.tell(ActorsStarted([Incarnation("a", 2)]), MANAGER)
    assert handed_over(turn) == ["t1"]
    # A snapshot says the same.
    snapshot = Stage(has_manager=False)
    snapshot.records = [r for some in later.machine.snapshot() for r in some]
    again = snapshot.restart()
    actor = again.machine.roster.actors["a"]
    assert (actor.life.incarnation, actor.holders) == (2, {"c"})
    # Nobody comes back: it ends.
    again.live(200.0)
    assert not again.machine.roster.actors


def test_a_workers_own_tasks_go_first_and_end_with_it() -> None:
    stage = Stage(has_manager=False)
    task = [Task(TaskId(f"p{n}"), b"f", b"", 1.0) for n in range(4)]
    stage.tell(Submit(task[:2]), CLIENT)
    stage.admit(hello("client", "w", is_within=True))
    stage.tell(Submit(task[2:]), "client:w")
    waiting = [e.task.task_id for e in stage.machine.ledger.backlog]
    assert waiting == ["p2", "p3", "p0", "p1"]
    stage.tell(LinkClosed("client:w"))
    stage.live(10.0)
    assert {*stage.machine.ledger.entries} == {"p0", "p1"}
