"""An accepted task ends exactly once at its client, whatever members do or suffer."""

from typing import Any

import msgspec
import pytest

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.errors import BrokenInvariant
from actors.logic.liveness import Tempo
from actors.logic.placement import PlacementRules
from actors.logic.turn import Exit, FrameMalformed, HangUp, LinkClosed, Quit, Turn
from actors.messages import (
    Accepted,
    AckFinished,
    AckResults,
    Adopted,
    Block,
    BlockChanged,
    BlockId,
    BlocksHeld,
    BlocksReported,
    BlockState,
    CancelTasks,
    ClaimTasks,
    ClientId,
    Delta,
    Drain,
    Failure,
    FailureKind,
    Finished,
    FrameRefused,
    Goodbye,
    Heartbeat,
    Hello,
    Holding,
    Lease,
    LoadReported,
    ManagerId,
    MemberJoined,
    MemberLeft,
    MemberRefused,
    Needs,
    Notice,
    Outcome,
    Relay,
    Report,
    Reregister,
    Results,
    RetireBlocks,
    Returned,
    StatesChanged,
    Stop,
    Submit,
    TaskEnded,
    TaskId,
    TaskState,
    UnknownTasks,
)
from tests.endpoint.talk import (
    PYTHON,
    TOKEN,
    Talk,
    all_of,
    hello,
    manager_hello,
    only,
    outcome,
    sent_to,
    task,
)

CLIENT, MANAGER, OTHER = "client:c1", "manager:m1", "manager:m2"
DIED = Failure(FailureKind.WORKER_DIED, "worker w1 died")
T1 = TaskId("t1")


class Desk(Talk):
    """An interchange to talk with."""

    machine: Interchange

    def __init__(self, **settings: Any) -> None:
        ours: dict[str, Any] = {"tempo": Tempo(2.0, 8.0, 1.5), "keep_results": 60.0}
        super().__init__(
            Interchange(
                InterchangeSettings("n", "e", TOKEN, PYTHON, **{**ours, **settings}),
                100.0,
            )
        )

    def submit(self, *task_ids: str, retries: int = 3) -> Turn:
        return self.tell(Submit([task(t, retries=retries) for t in task_ids]), CLIENT)

    def leases(self, manager_id: str = "m1") -> dict[TaskId, int]:
        leases = self.machine.fleet.managers[ManagerId(manager_id)].leases
        return {task_id: entry.attempt for task_id, entry in leases.items()}

    def results(self, turn: Turn) -> list[Outcome]:
        return [o for r in sent_to(turn, CLIENT, Results) for o in r.outcomes]


@pytest.fixture
def desk() -> Desk:
    """An interchange with one client."""
    desk = Desk()
    desk.admit(hello("client", "c1"))
    return desk


@pytest.fixture
def busy(desk: Desk) -> Desk:
    """An interchange with one client, whose task t1 is leased to manager m1."""
    desk.submit("t1")
    turn = desk.admit(manager_hello())
    assert [t.task_id for t in only(sent_to(turn, MANAGER, Lease)).tasks] == ["t1"]
    return desk


def lost(desk: Desk, manager_id: str = "m1") -> Turn:
    """Let a manager's link close and its grace pass; everybody else stays."""
    desk.tell(LinkClosed(f"manager:{manager_id}"))
    for peer in desk.machine.members:
        desk.tell(Heartbeat(), peer)
    return desk.wait(1.6)


# The door


@pytest.mark.parametrize(
    ("newcomer", "reason"),
    [
        (hello("client", "c2", protocol=2), "protocol 2 is not 1"),
        (hello("client", "c2", token="wrong"), "token is not this endpoint's"),
        (hello("client", "c2", token="é"), "token is not this endpoint's"),
        (hello("client", "c2", python="2.7"), "Python 2.7 is not 3.11"),
        (hello("manager", "m1", python="2.7", slots=1), "Python 2.7 is not 3.11"),
        (hello("client", "a:b"), "and no ':'"),
        (Hello("client", "", "i", 1, PYTHON, TOKEN), "must have 1 to 200"),
        (hello("manager", "m1", slots=0), "slots 0 must be at least 1"),
    ],
)
def test_a_bad_newcomer_is_refused_alone_and_for_good(
    busy: Desk, newcomer: Hello, reason: str
) -> None:
    admission, turn = busy.ask(newcomer)
    assert not admission.peer
    assert admission.is_final
    assert reason in admission.reason
    assert only(all_of(turn.events, MemberRefused)).reason == admission.reason
    assert not turn.sends
    assert busy.leases() == {T1: 1}


def test_members_that_run_no_users_code_may_have_another_python(desk: Desk) -> None:
    for kind in ("strategy", "provider", "operator", "supervisor"):
        admission, _ = desk.ask(hello(kind, python="3.13"))
        assert admission.peer


def test_a_rival_of_a_connected_member_is_refused_for_now(busy: Desk) -> None:
    admission, _ = busy.ask(hello("client", "c1", instance="other"))
    assert not admission.peer
    assert not admission.is_final
    assert "connected already" in admission.reason
    assert not busy.ask(manager_hello(instance="other"))[0].peer


def test_a_new_service_takes_the_old_ones_place(desk: Desk) -> None:
    desk.admit(hello("strategy"))
    desk.admit(hello("strategy", instance="other"))
    assert desk.machine.members.services("strategy") == ["strategy:strategy"]


def test_the_first_message_on_a_link_comes_from_the_interchange(desk: Desk) -> None:
    turn = desk.admit(hello("operator", "o1"))
    assert turn.sends[0] == ("operator:o1", Heartbeat())
    assert only(all_of(turn.events, MemberJoined)).member_id == "o1"


def test_coming_back_with_the_same_process_is_no_news(desk: Desk) -> None:
    desk.tell(LinkClosed(CLIENT))
    assert not all_of(desk.admit(hello("client", "c1")).events, MemberJoined)


def test_a_process_that_takes_anothers_place_inherits_its_name_only(
    busy: Desk,
) -> None:
    """The link that was just opened under the name stays open."""
    busy.tell(LinkClosed(MANAGER))
    turn = busy.admit(manager_hello(instance="other"))
    assert not all_of(turn.effects, HangUp)
    assert only(sent_to(turn, MANAGER, Adopted)).leases == []
    assert busy.leases() == {T1: 2}
    assert busy.machine.ledger.entries[T1].lost_starts == 1
    assert busy.tell(Heartbeat(), MANAGER).sends == []


def test_a_retired_block_sends_no_new_managers(desk: Desk) -> None:
    desk.admit(hello("strategy"))
    desk.tell(RetireBlocks([BlockId("block-1")], "idle"), "strategy:strategy")
    admission, _ = desk.ask(manager_hello())
    assert "block-1 is being ended" in admission.reason
    assert admission.is_final


def test_a_known_manager_of_a_retired_block_may_come_back(busy: Desk) -> None:
    """It has tasks, and perhaps results, that are waited for."""
    busy.admit(hello("strategy"))
    busy.tell(RetireBlocks([BlockId("block-1")], "no more", True), "strategy:strategy")
    busy.tell(LinkClosed(MANAGER))
    turn = busy.admit(manager_hello(held=[("t1", 1)]))
    assert only(sent_to(turn, MANAGER, Adopted)).leases == [Holding(T1, 1)]
    assert sent_to(turn, MANAGER, Drain)


# Unknown senders, nonsense, our own end


def test_an_unknown_sender_is_asked_to_register(desk: Desk) -> None:
    turn = desk.tell(Finished([outcome()]), "manager:m9")
    assert sent_to(turn, "manager:m9", Reregister)
    assert len(turn.sends) == 1


def test_a_malformed_frame_is_counted_and_told(desk: Desk) -> None:
    turn = desk.tell(FrameMalformed(CLIENT, "5 bytes refused"))
    assert only(turn.events) == FrameRefused(CLIENT, "5 bytes refused")
    assert desk.machine.members.malformed == 1


def test_on_quit_everybody_is_told_and_the_process_ends(busy: Desk) -> None:
    turn = busy.tell(Quit("SIGTERM"))
    assert turn.sends == [(p, Goodbye("SIGTERM")) for p in (CLIENT, MANAGER)]
    assert turn.effects == [Exit(0, "SIGTERM")]


@pytest.mark.parametrize(
    ("message", "sender"),
    [(Drain(), ""), (Drain(), CLIENT), (Drain(), MANAGER), (Drain(), "operator:o")],
)
def test_what_no_decoder_lets_through_is_our_own_fault(
    busy: Desk, message: Any, sender: str
) -> None:
    busy.admit(hello("operator", "o"))
    with pytest.raises(BrokenInvariant):
        busy.tell(message, sender)


# Clients' tasks


def test_tasks_are_accepted_and_wait_for_nodes(desk: Desk) -> None:
    turn = desk.submit("t1", "t2")
    assert turn.promises == [(CLIENT, Accepted([T1, TaskId("t2")]))]
    assert desk.machine.ledger.waiting == 2


def test_a_known_task_is_accepted_again_but_not_queued_again(busy: Desk) -> None:
    turn = busy.submit("t1")
    assert turn.promises == [(CLIENT, Accepted([T1]))]
    assert busy.machine.ledger.waiting == 0
    assert busy.machine.clients[ClientId("c1")].unfinished == 1


def test_a_task_whose_result_waits_for_its_client_is_not_run_again(
    busy: Desk,
) -> None:
    busy.tell(Finished([outcome()]), MANAGER)
    turn = busy.submit("t1")
    assert turn.promises == [(CLIENT, Accepted([T1]))]
    assert [o.task_id for o in busy.results(turn)] == ["t1"], "who asks has forgotten"
    assert not busy.machine.ledger.entries


def test_beyond_max_queued_tasks_the_rest_is_refused_with_the_limit() -> None:
    desk = Desk(max_queued_tasks=1)
    desk.admit(hello("client", "c1"))
    turn = desk.submit("t1", "t2")
    assert only(sent_to(turn, CLIENT, Accepted)).task_ids == ["t1", "t2"]
    refused = only(desk.results(turn))
    assert refused.task_id == "t2"
    assert refused.failure is not None
    assert refused.failure.kind is FailureKind.REFUSED
    assert "1 tasks already" in refused.failure.message
    assert desk.machine.clients[ClientId("c1")].unfinished == 1
    assert desk.results(desk.submit("t1", "t2")) == [refused]
    assert desk.machine.books.finished == 1, "a resent task is no second one"


def test_results_wait_for_their_ack_and_are_resent_to_who_comes_back(
    busy: Desk,
) -> None:
    turn = busy.tell(Finished([outcome()]), MANAGER)
    ended = only(busy.results(turn))
    assert (ended.state, ended.payload) == (TaskState.SUCCESS, b"r")
    busy.tell(LinkClosed(CLIENT))
    again = busy.admit(hello("client", "c1"))
    assert busy.results(again) == [ended]
    busy.tell(AckResults([T1, TaskId("unknown")]), CLIENT)
    busy.tell(LinkClosed(CLIENT))
    assert not busy.results(busy.admit(hello("client", "c1")))


def test_a_result_has_its_whole_history(busy: Desk) -> None:
    ended = only(busy.results(busy.tell(Finished([outcome()]), MANAGER)))
    assert [step.state for step in ended.steps] == [
        TaskState.WAITING_FOR_NODES,
        TaskState.WAITING_FOR_LAUNCH,
        TaskState.RUNNING,
        TaskState.SUCCESS,
    ]
    assert ended.steps[1].place == "m1"


def test_results_for_an_absent_client_are_kept_and_then_forgotten(
    busy: Desk,
) -> None:
    busy.tell(LinkClosed(CLIENT))
    assert not busy.tell(Finished([outcome()]), MANAGER).sends[1:], "only the ack"
    for _ in range(59):
        busy.tell(Heartbeat(), MANAGER)
        busy.wait(1.0)
    assert ClientId("c1") in busy.machine.clients
    busy.wait(1.1)
    assert ClientId("c1") not in busy.machine.clients


def test_a_client_that_leaves_nothing_behind_is_soon_forgotten(busy: Desk) -> None:
    """Many programs may come and go, each under a name of its own."""
    busy.tell(Finished([outcome()]), MANAGER)
    busy.tell(AckResults([T1]), CLIENT)
    busy.tell(LinkClosed(CLIENT))
    for _ in range(29):
        busy.tell(Heartbeat(), MANAGER)
        busy.wait(1.0)
    assert ClientId("c1") in busy.machine.clients
    busy.wait(1.1)
    assert ClientId("c1") not in busy.machine.clients


def test_a_forgotten_clients_running_tasks_are_cancelled_and_end_for_nobody(
    busy: Desk,
) -> None:
    turn = busy.tell(Goodbye("done"), CLIENT)
    assert sent_to(turn, MANAGER, CancelTasks) == [CancelTasks([T1])]
    assert HangUp(CLIENT) in turn.effects
    assert only(all_of(turn.events, MemberLeft)).is_lost is False
    turn = busy.tell(Finished([outcome(state=TaskState.CANCELLED)]), MANAGER)
    assert sent_to(turn, MANAGER, AckFinished)
    assert not busy.results(turn)
    assert not busy.machine.clients
    assert not busy.machine.ledger.entries


def test_a_claim_names_what_is_unknown(busy: Desk) -> None:
    turn = busy.tell(ClaimTasks([T1, TaskId("t9")]), CLIENT)
    assert turn.sends == [(CLIENT, UnknownTasks([TaskId("t9")]))]
    busy.tell(Finished([outcome()]), MANAGER)
    assert not busy.tell(ClaimTasks([T1]), CLIENT).sends


# Cancelling


def test_a_waiting_task_is_cancelled_at_once(desk: Desk) -> None:
    desk.submit("t1")
    turn = desk.tell(CancelTasks([T1, TaskId("t9")]), CLIENT)
    ended = only(desk.results(turn))
    assert ended.state is TaskState.CANCELLED
    assert only(all_of(turn.events, TaskEnded)).state is TaskState.CANCELLED


def test_a_leased_task_is_cancelled_by_its_manager(busy: Desk) -> None:
    turn = busy.tell(CancelTasks([T1], if_running=False), CLIENT)
    assert turn.promises == [(MANAGER, CancelTasks([T1], False))]
    turn = busy.tell(Finished([outcome(state=TaskState.CANCELLED)]), MANAGER)
    assert only(busy.results(turn)).state is TaskState.CANCELLED
    assert not busy.leases()


def test_nobody_cancels_another_clients_tasks(busy: Desk) -> None:
    busy.admit(hello("client", "c2"))
    assert not busy.tell(CancelTasks([T1]), "client:c2").sends


def test_a_result_that_overtakes_its_cancellation_counts(busy: Desk) -> None:
    busy.tell(CancelTasks([T1]), CLIENT)
    turn = busy.tell(Finished([outcome()]), MANAGER)
    assert only(busy.results(turn)).state is TaskState.SUCCESS


@pytest.mark.parametrize("how", ["died", "lost", "returned", "not held", "held"])
def test_a_task_being_cancelled_is_never_started_again(busy: Desk, how: str) -> None:
    busy.tell(CancelTasks([T1]), CLIENT)
    match how:
        case "died":
            failed = outcome(state=TaskState.FAILED, failure=DIED)
            turn = busy.tell(Finished([failed]), MANAGER)
        case "lost":
            turn = lost(busy)
        case "returned":
            turn = busy.tell(Returned([Holding(T1, 1)]), MANAGER)
        case "not held":
            busy.tell(LinkClosed(MANAGER))
            turn = busy.admit(manager_hello())
        case _:
            busy.tell(LinkClosed(MANAGER))
            turn = busy.admit(manager_hello(held=[("t1", 1)]))
            assert only(sent_to(turn, MANAGER, Adopted)).leases == []
    ended = only(busy.results(turn))
    assert ended.state is TaskState.CANCELLED
    assert ended.failure is None
    finals = [step.state for step in ended.steps if step.state.is_final]
    assert finals == [TaskState.CANCELLED]
    assert not busy.machine.ledger.entries


# Managers: leases and results


def test_a_duplicate_result_is_acknowledged_but_not_delivered_twice(
    busy: Desk,
) -> None:
    busy.tell(Finished([outcome()]), MANAGER)
    turn = busy.tell(Finished([outcome()]), MANAGER)
    assert turn.promises == [(MANAGER, AckFinished([T1]))]
    assert busy.machine.books.finished == 1


def test_a_users_failure_is_no_reason_to_start_again(busy: Desk) -> None:
    failure = Failure(FailureKind.EXCEPTION, "ValueError")
    failed = outcome(state=TaskState.FAILED, failure=failure)
    ended = only(busy.results(busy.tell(Finished([failed]), MANAGER)))
    assert ended.failure == failure


def test_a_dead_worker_costs_a_start_and_the_retry_avoids_the_block(
    busy: Desk,
) -> None:
    busy.admit(manager_hello("m2", "block-2"))
    failed = outcome(state=TaskState.FAILED, failure=DIED)
    turn = busy.tell(Finished([failed]), MANAGER)
    assert only(only(sent_to(turn, OTHER, Lease)).tasks).attempt == 2
    assert sent_to(turn, MANAGER, AckFinished), "it is out of the manager's hands"
    assert not busy.results(turn)
    entry = busy.machine.ledger.entries[T1]
    assert (entry.lost_starts, entry.avoid) == (1, "block-1")


def test_a_lonely_block_is_not_avoided(busy: Desk) -> None:
    failed = outcome(state=TaskState.FAILED, failure=DIED)
    turn = busy.tell(Finished([failed]), MANAGER)
    assert only(only(sent_to(turn, MANAGER, Lease)).tasks).attempt == 2


def test_when_the_retries_are_used_up_the_failure_says_so(desk: Desk) -> None:
    desk.submit("t1", retries=1)
    desk.admit(manager_hello())
    failed = outcome(state=TaskState.FAILED, failure=DIED)
    desk.tell(Finished([failed]), MANAGER)
    failed = outcome(attempt=2, state=TaskState.FAILED, failure=DIED)
    ended = only(desk.results(desk.tell(Finished([failed]), MANAGER)))
    assert ended.failure is not None
    assert ended.failure.kind is FailureKind.WORKER_DIED
    assert ended.failure.message == (
        "worker w1 died (start 2 of 2 that retries=1 allows)"
    )
    attempts = [step.attempt for step in ended.steps]
    assert attempts == sorted(attempts)


def test_an_old_attempts_death_is_not_counted_twice(busy: Desk) -> None:
    """The manager's `AckFinished` was lost, and it says again how attempt 1 ended."""
    failed = outcome(state=TaskState.FAILED, failure=DIED)
    busy.tell(Finished([failed]), MANAGER)
    busy.tell(LinkClosed(MANAGER))
    busy.admit(manager_hello(held=[("t1", 1)]))
    turn = busy.tell(Finished([failed]), MANAGER)
    entry = busy.machine.ledger.entries[T1]
    assert entry.lost_starts == 1
    assert sent_to(turn, MANAGER, AckFinished) == [AckFinished([T1])]
    # What it holds no more is given out again.
    assert [t.task_id for t in only(sent_to(turn, MANAGER, Lease)).tasks] == ["t1"]


def test_a_lease_that_never_arrived_is_given_out_again_for_free(busy: Desk) -> None:
    busy.tell(LinkClosed(MANAGER))
    turn = busy.admit(manager_hello())
    assert only(sent_to(turn, MANAGER, Adopted)).leases == []
    assert only(only(sent_to(turn, MANAGER, Lease)).tasks).attempt == 2
    assert busy.machine.ledger.entries[T1].lost_starts == 0


def test_what_a_manager_holds_stays_with_it(busy: Desk) -> None:
    busy.tell(LinkClosed(MANAGER))
    turn = busy.admit(manager_hello(held=[("t1", 1), ("t9", 1)]))
    assert only(sent_to(turn, MANAGER, Adopted)).leases == [Holding(T1, 1)]
    assert not sent_to(turn, MANAGER, Lease)


def test_nothing_is_leased_while_a_manager_is_away(desk: Desk) -> None:
    desk.admit(manager_hello())
    desk.tell(LinkClosed(MANAGER))
    assert not sent_to(desk.submit("t1"), MANAGER, Lease)


def test_a_lost_managers_tasks_start_again_elsewhere(busy: Desk) -> None:
    busy.admit(manager_hello("m2", "block-2"))
    turn = lost(busy)
    assert only(only(sent_to(turn, OTHER, Lease)).tasks).attempt == 2
    left = only(all_of(turn.events, MemberLeft))
    assert left.is_lost
    assert left.reason == "its link closed and it did not come back"
    assert HangUp(MANAGER) in turn.effects


def test_a_silent_manager_is_lost_after_the_threshold(busy: Desk) -> None:
    for _ in range(7):
        busy.tell(Heartbeat(), CLIENT)
        assert not all_of(busy.wait(1.0).events, MemberLeft)
    busy.tell(Heartbeat(), CLIENT)
    left = only(all_of(busy.wait(1.1).events, MemberLeft))
    assert (left.member_id, left.is_lost) == ("m1", True)
    assert left.reason == "not heard for 8.1 s"


def test_a_task_without_retries_fails_with_its_lost_manager(desk: Desk) -> None:
    desk.submit("t1", retries=0)
    desk.admit(manager_hello())
    ended = only(desk.results(lost(desk)))
    assert ended.failure is not None
    assert ended.failure.kind is FailureKind.MANAGER_LOST
    assert "manager m1 on h was lost" in ended.failure.message
    assert "start 1 of 1 that retries=0 allows" in ended.failure.message


def test_who_comes_back_from_the_lost_keeps_what_nobody_has_yet(busy: Desk) -> None:
    lost(busy)
    turn = busy.admit(manager_hello(held=[("t1", 1)]))
    assert only(sent_to(turn, MANAGER, Adopted)).leases == [Holding(T1, 2)]
    ended = only(busy.results(busy.tell(Finished([outcome()]), MANAGER)))
    attempts = [step.attempt for step in ended.steps]
    assert attempts == sorted(attempts)
    assert not busy.leases()


def test_who_missed_its_adoption_may_say_so_again(busy: Desk) -> None:
    """`Adopted` was lost with the link: the manager still speaks of attempt 1."""
    lost(busy)
    busy.admit(manager_hello(held=[("t1", 1)]))
    busy.tell(LinkClosed(MANAGER))
    turn = busy.admit(manager_hello(held=[("t1", 1)]))
    assert only(sent_to(turn, MANAGER, Adopted)).leases == [Holding(T1, 2)]


def test_the_death_of_an_adopted_start_that_was_counted_costs_nothing_more(
    busy: Desk,
) -> None:
    lost(busy)
    busy.admit(manager_hello(held=[("t1", 1)]))
    assert busy.machine.ledger.entries[T1].lost_starts == 1
    failed = outcome(state=TaskState.FAILED, failure=DIED)
    busy.tell(Finished([failed]), MANAGER)
    assert busy.machine.ledger.entries[T1].lost_starts == 1


def test_who_comes_back_from_the_lost_drops_what_another_has(busy: Desk) -> None:
    busy.admit(manager_hello("m2", "block-2"))
    lost(busy)
    turn = busy.admit(manager_hello(held=[("t1", 1)]))
    assert only(sent_to(turn, MANAGER, Adopted)).leases == []
    assert busy.leases("m2") == {T1: 2}


def test_a_result_that_comes_back_from_the_lost_ends_the_other_try(
    busy: Desk,
) -> None:
    busy.admit(manager_hello("m2", "block-2"))
    lost(busy)
    busy.admit(manager_hello(held=[("t1", 1)]))
    turn = busy.tell(Finished([outcome()]), MANAGER)
    assert only(busy.results(turn)).state is TaskState.SUCCESS
    assert sent_to(turn, OTHER, CancelTasks) == [CancelTasks([T1])]
    assert not busy.leases("m2")


def test_what_another_has_room_for_by_that_does_not_wait_any_longer(busy: Desk) -> None:
    busy.admit(manager_hello("m2", "block-2"))
    lost(busy)
    busy.admit(manager_hello(held=[("t1", 1)]))
    busy.submit("t2", "t3")
    assert (list(busy.leases()), list(busy.leases("m2"))) == (["t2"], ["t1"])
    busy.tell(Finished([outcome()]), MANAGER)
    assert list(busy.leases("m2")) == ["t3"]


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELLED])
def test_a_failure_that_comes_back_from_the_lost_changes_nothing(
    busy: Desk, state: TaskState
) -> None:
    busy.admit(manager_hello("m2", "block-2"))
    lost(busy)
    busy.admit(manager_hello(held=[("t1", 1)]))
    failure = DIED if state is TaskState.FAILED else None
    turn = busy.tell(Finished([outcome(state=state, failure=failure)]), MANAGER)
    assert turn.promises == [(MANAGER, AckFinished([T1]))]
    assert busy.leases("m2") == {T1: 2}


def test_leases_handed_back_cost_nothing(busy: Desk) -> None:
    busy.admit(manager_hello("m2", "block-2"))
    turn = busy.tell(Returned([Holding(T1, 1), Holding(TaskId("t9"), 1)]), MANAGER)
    assert busy.machine.ledger.entries[T1].lost_starts == 0
    assert busy.machine.ledger.entries[T1].attempt == 2
    assert sent_to(turn, MANAGER, Lease) or sent_to(turn, OTHER, Lease)


def test_a_manager_that_leaves_with_leases_is_lost_without_them_it_left(
    busy: Desk,
) -> None:
    turn = busy.tell(Goodbye("asked to"), MANAGER)
    assert only(all_of(turn.events, MemberLeft)).is_lost
    assert busy.machine.ledger.waiting == 1
    busy.admit(manager_hello("m2", "block-2"))
    busy.tell(Finished([outcome(attempt=2)]), OTHER)
    turn = busy.tell(Goodbye("asked to"), OTHER)
    assert not only(all_of(turn.events, MemberLeft)).is_lost


def test_news_of_running_tasks_goes_on_to_their_clients_once(busy: Desk) -> None:
    delta = Delta(T1, 1, TaskState.RUNNING, 5.0, "w1")
    turn = busy.tell(Report(1, [delta]), MANAGER)
    assert turn.sends == [(CLIENT, StatesChanged([delta]))]
    assert not busy.tell(Report(1, [delta]), MANAGER).sends
    old = Delta(T1, 0, TaskState.RUNNING, 5.0, "w1")
    unknown = Delta(TaskId("t9"), 1, TaskState.RUNNING, 5.0, "w1")
    assert not busy.tell(Report(1, [old, unknown]), MANAGER).sends


def test_a_larger_window_gets_more_leases(desk: Desk) -> None:
    desk.admit(manager_hello())
    desk.submit("t1", "t2", "t3")
    assert len(desk.leases()) == 1
    turn = desk.tell(Report(3, []), MANAGER)
    assert len(only(sent_to(turn, MANAGER, Lease)).tasks) == 2


# Draining


def test_a_drained_manager_is_stopped_once_it_has_nothing_left(busy: Desk) -> None:
    busy.admit(hello("strategy"))
    busy.tell(RetireBlocks([BlockId("block-1")], "no more", True), "strategy:strategy")
    assert not sent_to(busy.submit("t2"), MANAGER, Lease)
    turn = busy.tell(Finished([outcome()]), MANAGER)
    assert sent_to(turn, MANAGER, Stop)
    turn = busy.tell(Goodbye("drained"), MANAGER)
    assert not only(all_of(turn.events, MemberLeft)).is_lost


def test_only_blocks_idle_in_that_very_step_are_held(busy: Desk) -> None:
    busy.admit(hello("strategy"))
    busy.admit(manager_hello("m2", "block-2"))
    blocks = [BlockId("block-1"), BlockId("block-2"), BlockId("block-3")]
    turn = busy.tell(RetireBlocks(blocks, "idle"), "strategy:strategy")
    assert sent_to(turn, "strategy:strategy", BlocksHeld) == [
        BlocksHeld(blocks[1:], [BlockId("block-2")])
    ]
    assert sent_to(turn, OTHER, Drain)
    assert sent_to(turn, OTHER, Stop)
    assert not sent_to(turn, MANAGER, Drain)


def test_a_stop_that_was_lost_with_the_link_is_said_again(desk: Desk) -> None:
    desk.admit(hello("strategy"))
    desk.admit(manager_hello())
    turn = desk.tell(RetireBlocks([BlockId("block-1")], ""), "strategy:strategy")
    assert sent_to(turn, MANAGER, Stop)
    desk.tell(LinkClosed(MANAGER))
    turn = desk.admit(manager_hello())
    assert sent_to(turn, MANAGER, Drain)
    assert sent_to(turn, MANAGER, Stop)


def test_a_manager_that_comes_back_draining_gets_nothing_and_is_stopped(
    desk: Desk,
) -> None:
    """It was told to drain, and was lost, by the same interchange."""
    desk.admit(manager_hello())
    turn = desk.tell(Report(0, [], is_draining=True), MANAGER)
    assert sent_to(turn, MANAGER, Stop)
    assert not sent_to(desk.submit("t1"), MANAGER, Lease)


# Blocks


def block(state: BlockState, block_id: str = "block-1", **fields: Any) -> Block:
    return Block(BlockId(block_id), state, **fields)


def report(desk: Desk, *blocks: Block) -> Turn:
    return desk.tell(BlocksReported(list(blocks)), "provider:provider")


def test_the_end_of_a_block_is_the_end_of_its_managers(desk: Desk) -> None:
    desk.admit(hello("provider"))
    desk.submit("t1", retries=0)
    desk.admit(manager_hello())
    report(desk, block(BlockState.RUNNING))
    ended = block(
        BlockState.FAILED, exit_code=137, message="killed", stderr_tail="out of memory"
    )
    turn = report(desk, ended)
    assert all_of(turn.events, BlockChanged) == [
        BlockChanged(BlockId("block-1"), BlockState.FAILED, "killed")
    ]
    failure = only(desk.results(turn)).failure
    assert failure is not None
    assert failure.detail == (
        "block block-1 ended: failed\nexit code 137\nkilled\nout of memory"
    )
    assert only(all_of(turn.events, MemberLeft)).is_lost


def test_a_block_that_drained_takes_its_stopped_managers_along_in_order(
    desk: Desk,
) -> None:
    desk.admit(hello("provider"))
    desk.admit(hello("strategy"))
    desk.admit(manager_hello())
    desk.tell(RetireBlocks([BlockId("block-1")], ""), "strategy:strategy")
    turn = report(desk, block(BlockState.COMPLETED))
    assert not only(all_of(turn.events, MemberLeft)).is_lost


def test_a_block_whose_state_is_unknown_is_not_gone(busy: Desk) -> None:
    busy.admit(hello("provider"))
    turn = report(busy, block(BlockState.UNKNOWN))
    assert not all_of(turn.events, MemberLeft)
    assert busy.leases() == {T1: 1}


def test_an_unchanged_block_is_no_news(desk: Desk) -> None:
    desk.admit(hello("provider"))
    assert report(desk, block(BlockState.PENDING)).events
    assert not report(desk, block(BlockState.PENDING)).events


def failing(desk: Desk, *numbers: int) -> Turn:
    """Report blocks that start and fail, and say why."""
    desk.ask(hello("provider"))
    ids = [BlockId(f"block-{number}") for number in numbers]
    report(desk, *(Block(block_id, BlockState.PENDING) for block_id in ids))
    return report(
        desk,
        *(
            Block(block_id, BlockState.FAILED, "j", 7, "no such partition", "Traceback")
            for block_id in ids
        ),
    )


def test_a_block_without_managers_is_missing_and_its_text_kept(desk: Desk) -> None:
    changed = only(all_of(failing(desk, 1).events, BlockChanged))
    assert changed.state is BlockState.MISSING
    assert "no such partition" in changed.message
    (block,) = desk.machine.blocks.known.values()
    assert block.state is BlockState.MISSING


def test_when_block_after_block_fails_all_tasks_fail_with_the_batch_systems_words(
    desk: Desk,
) -> None:
    desk.submit("t1", "t2")
    assert not desk.results(failing(desk, 1, 2))
    turn = failing(desk, 1, 2, 3)
    failed = desk.results(turn)
    assert [ended.task_id for ended in failed] == ["t1", "t2"]
    for ended in [*failed, only(desk.results(desk.submit("t3")))]:
        assert ended.state is TaskState.FAILED
        failure = ended.failure
        assert failure is not None
        assert failure.kind is FailureKind.BLOCK_FAILED
        assert "no such partition" in failure.message
        assert "`actors resume`" in failure.message
        assert "Traceback" in failure.detail
    assert "Bad state: the last 3" in only(all_of(turn.events, Notice)).text
    load = only(all_of(desk.live(0.1).events, LoadReported))
    assert load.bad_state.startswith("the last 3 blocks failed")
    assert not desk.machine.ledger.entries


def test_what_is_handed_back_in_a_bad_state_fails_as_well(busy: Desk) -> None:
    """A manager of a block that is to end still had it."""
    busy.admit(hello("strategy"))
    report(busy, Block(BlockId("block-1"), BlockState.RUNNING))
    busy.tell(RetireBlocks([BlockId("block-1")], "no more", True), "strategy:strategy")
    assert not busy.results(failing(busy, 2, 3, 4))
    assert busy.machine.fleet.bad_state is not None
    failed = only(busy.results(busy.tell(Returned([Holding(T1, 1)]), MANAGER)))
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.BLOCK_FAILED
    assert not busy.machine.ledger.entries


def test_no_task_fails_as_long_as_another_block_works(busy: Desk) -> None:
    """Other blocks may be refused because there are as many as we are allowed."""
    report(busy, Block(BlockId("block-1"), BlockState.RUNNING))
    assert not busy.results(failing(busy, 2, 3, 4, 5))
    assert busy.machine.fleet.bad_state is None


def test_a_block_that_finished_a_task_is_no_failure(busy: Desk) -> None:
    busy.admit(hello("provider"))
    ids = [BlockId(f"block-{number}") for number in (1, 2, 3)]
    report(busy, *(Block(block_id, BlockState.RUNNING) for block_id in ids))
    busy.tell(Finished([outcome("t1")]), MANAGER)
    busy.submit("t8")
    assert not busy.results(
        report(busy, *(Block(block_id, BlockState.FAILED) for block_id in ids))
    )


def test_a_resumed_endpoint_takes_tasks_and_forgives_its_blocks(desk: Desk) -> None:
    failing(desk, 1, 2, 3)
    desk.machine.blocks.resume(desk.now, turn := Turn())
    assert turn.records
    assert not desk.results(desk.submit("t1"))
    assert not desk.results(failing(desk, 1, 2, 3, 4))
    assert desk.results(failing(desk, 1, 2, 3, 4, 5, 6))


@pytest.mark.parametrize("state", [BlockState.COMPLETED, BlockState.RUNNING])
def test_a_block_that_is_not_reported_any_more_is_over(
    desk: Desk, state: BlockState
) -> None:
    """A report names all active blocks; a provider that crashed may have missed one."""
    desk.admit(hello("provider"))
    desk.admit(hello("strategy"))
    report(desk, block(state))
    desk.tell(RetireBlocks([BlockId("block-1")], ""), "strategy:strategy")
    report(desk)
    assert not desk.machine.blocks.known
    assert not desk.machine.fleet.retired


# Members and time


def test_a_member_hears_from_us_each_period(desk: Desk) -> None:
    desk.tell(Heartbeat(), CLIENT)
    assert not sent_to(desk.wait(1.9), CLIENT, Heartbeat)
    assert sent_to(desk.wait(0.2), CLIENT, Heartbeat)


def test_a_silent_client_is_no_member_but_its_results_wait(busy: Desk) -> None:
    for _ in range(9):
        busy.tell(Heartbeat(), MANAGER)
        busy.wait(1.0)
    assert CLIENT not in busy.machine.members
    busy.tell(Finished([outcome()]), MANAGER)
    assert sent_to(busy.tell(Heartbeat(), CLIENT), CLIENT, Reregister)
    assert only(busy.results(busy.admit(hello("client", "c1")))).task_id == "t1"


def test_after_a_suspension_of_our_own_nobody_is_judged_at_once(busy: Desk) -> None:
    busy.wait(1.0)
    assert not all_of(busy.wait(1000.0).events, MemberLeft)
    assert busy.leases() == {T1: 1}


def test_the_load_is_told_each_second_and_soon_after_a_change(desk: Desk) -> None:
    assert all_of(desk.wait(0.05).events, LoadReported)
    assert not all_of(desk.wait(0.5).events, LoadReported)
    desk.submit("t1")
    assert desk.machine.wake_at <= desk.now + 0.05
    load = only(all_of(desk.wait(0.05).events, LoadReported))
    assert (load.waiting, load.leased, load.finished) == (1, 0, 0)
    assert all_of(desk.wait(1.0).events, LoadReported)


def test_events_of_others_are_published(desk: Desk) -> None:
    desk.admit(hello("supervisor"))
    notice = Notice("info", "all is well")
    assert desk.tell(Relay([notice]), "supervisor:supervisor").events == [notice]


def test_frames_that_others_refused_count_too(desk: Desk) -> None:
    desk.admit(hello("provider"))
    refused = FrameRefused("provider's door", "no message")
    desk.tell(Relay([refused]), "provider:provider")
    assert desk.machine.members.malformed == 1


def test_a_service_that_leaves_is_hung_up_on(desk: Desk) -> None:
    desk.admit(hello("strategy"))
    turn = desk.tell(Goodbye("stopping"), "strategy:strategy")
    assert turn.effects == [HangUp("strategy:strategy")]
    assert not desk.machine.members.services("strategy")


def test_a_service_whose_link_closed_ends_by_itself(desk: Desk) -> None:
    desk.admit(hello("supervisor"))
    desk.admit(hello("strategy"))
    desk.tell(LinkClosed("strategy:strategy"))
    turn = desk.wait(2.0)
    assert only(all_of(turn.events, MemberLeft)).member_id == "strategy"


@pytest.mark.parametrize("has_lease", [True, False])
def test_an_old_attempts_end_told_again_is_no_end_of_the_new_one(
    busy: Desk, has_lease: bool
) -> None:
    """The manager has not heard that we know of the death, nor perhaps of the lease."""
    death = outcome("t1", 1, TaskState.FAILED, failure=DIED)
    busy.tell(Finished([death]), MANAGER)
    assert busy.leases() == {T1: 2}
    busy.tell(LinkClosed(MANAGER))
    held = [("t1", 2)] if has_lease else []
    busy.admit(manager_hello(held=[*held, ("t1", 1)]))
    turn = busy.tell(Finished([death]), MANAGER)
    # What never reached it is leased again.
    assert busy.leases() == {T1: 2 if has_lease else 3}
    assert bool(sent_to(turn, MANAGER, Lease)) is not has_lease
    assert only(sent_to(turn, MANAGER, AckFinished)) == AckFinished([T1])


def test_a_task_of_an_unknown_worker_type_fails_and_is_never_leased() -> None:
    desk = Desk(placement=PlacementRules(worker_types=frozenset({"sim"})))
    desk.admit(hello("client", "c1"))
    desk.admit(manager_hello(slots=3))
    tasks = [
        msgspec.structs.replace(task(name), needs=Needs(name))
        for name in ("sim", "gpu")
    ]
    turn = desk.tell(Submit([*tasks, task("t1")]), CLIENT)
    failure = only(desk.results(turn)).failure
    assert failure is not None
    assert failure.kind is FailureKind.WORKER_TYPE
    assert "worker type 'gpu' is unknown to this endpoint, which has sim" in (
        failure.message
    )
    assert desk.leases() == {TaskId("sim"): 1, T1: 1}
    leased = [t for lease in sent_to(turn, MANAGER, Lease) for t in lease.tasks]
    assert {t.task_id: t.worker_type for t in leased} == {"sim": "sim", "t1": ""}
