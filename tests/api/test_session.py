"""Each submitted task is resolved exactly once at its client, whatever links do."""

import random

import pytest

from actors.api.session import (
    BeBarred,
    CancelNow,
    Leave,
    Progress,
    Receive,
    Resolve,
    Session,
    SessionSettings,
    Show,
    SubmitNow,
)
from actors.logic.turn import Answered, Exit, HangUp, Knock, LinkClosed, Turn
from actors.messages import (
    Accepted,
    AckResults,
    ActorWork,
    CancelTasks,
    ClaimTasks,
    ClientId,
    Delta,
    FailureKind,
    Goodbye,
    Heartbeat,
    Item,
    ItemsMark,
    ItemsTaken,
    ItemsYielded,
    Outcome,
    Output,
    Refused,
    Reregister,
    Results,
    StatesChanged,
    Submit,
    Task,
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
    only,
    outcome,
    sent_to,
    task,
    welcome,
)

DOOR = "interchange"
T1, T2 = TaskId("t1"), TaskId("t2")
PATIENCE = 60.0


class Client(Talk):
    """A session to talk with.

    Args:
        is_in: whether it has been let in.
    """

    machine: Session

    def __init__(self, *, is_in: bool = True, wants_output: bool = False) -> None:
        settings = SessionSettings(
            ClientId("c1"),
            "i",
            TOKEN,
            PYTHON,
            "h",
            7,
            PATIENCE,
            wants_output=wants_output,
        )
        super().__init__(Session(settings, random.Random(0), 100.0))
        if is_in:
            self.enter()
            self.tell(Heartbeat(), DOOR)

    def submit(self, *task_ids: str) -> Turn:
        return self.tell(SubmitNow([task(t) for t in task_ids]))

    def accepted(self, *task_ids: str) -> None:
        self.submit(*task_ids)
        self.tell(Accepted([TaskId(t) for t in task_ids]), DOOR)

    def come_back(self, epoch: str = "e1") -> Turn:
        self.tell(LinkClosed(DOOR))
        return self.enter(answer=welcome(epoch))


def resolved(turn: Turn) -> list[Outcome]:
    return [o for effect in all_of(turn.effects, Resolve) for o in effect.outcomes]


def submitted(turn: Turn) -> list[TaskId]:
    return [t.task_id for m in sent_to(turn, DOOR, Submit) for t in m.tasks]


@pytest.fixture
def client() -> Client:
    return Client()


def test_it_introduces_itself_and_refuses_everybody() -> None:
    client = Client(is_in=False)
    knock = only(all_of(client.wait(0.0).effects, Knock))
    assert (knock.hello.kind, knock.hello.member_id) == ("client", "c1")
    assert (knock.hello.pid, knock.hello.host) == (7, "h")
    assert not client.ask(hello("manager", "m1", slots=1))[0].peer


# Submitting


def test_a_task_is_sent_at_once_and_kept_until_it_is_accepted(client: Client) -> None:
    assert submitted(client.submit("t1")) == [T1]
    assert client.machine.outbox.keys() == {T1}
    client.tell(Accepted([T1, T2]), DOOR)
    assert not client.machine.outbox
    assert client.machine.unfinished == 1
    client.tell(Accepted([T1]), DOOR)
    assert client.machine.unfinished == 1


def test_what_is_not_accepted_is_sent_again_in_order(client: Client) -> None:
    client.submit("t1", "t2")
    client.submit("t3")
    client.tell(Accepted([T2]), DOOR)
    assert submitted(client.come_back()) == ["t1", "t3"]


def test_what_is_submitted_while_nobody_is_there_is_sent_later() -> None:
    client = Client(is_in=False)
    assert not client.submit("t1").sends
    assert submitted(client.enter()) == [T1]


def test_a_task_that_fits_no_frame_fails_alone_and_says_what_to_do() -> None:
    client = Client(is_in=False)
    client.enter(answer=welcome(max_frame_bytes=5000))
    large = Task(T1, bytes(900), bytes(5), 1.0)
    turn = client.tell(SubmitNow([large, task("t2")]))
    failed = only(resolved(turn))
    assert failed.failure is not None
    assert (failed.task_id, failed.failure.kind) == (T1, FailureKind.TOO_LARGE)
    assert "905 bytes" in failed.failure.message
    assert "max_frame_bytes 5000" in failed.failure.message
    assert submitted(turn) == [T2]


# Results


def test_a_result_resolves_once_and_is_acknowledged_each_time(client: Client) -> None:
    client.accepted("t1")
    turn = client.tell(Results([outcome()]), DOOR)
    assert resolved(turn) == [outcome()]
    assert sent_to(turn, DOOR, AckResults) == [AckResults([T1])]
    turn = client.tell(Results([outcome()]), DOOR)
    assert not resolved(turn)
    assert sent_to(turn, DOOR, AckResults) == [AckResults([T1])]
    assert client.machine.unfinished == 0


def test_a_result_that_overtakes_its_acceptance_counts(client: Client) -> None:
    """The first `Accepted` was lost with its link."""
    client.submit("t1")
    assert resolved(client.tell(Results([outcome()]), DOOR))
    client.tell(Accepted([T1]), DOOR)
    assert client.machine.unfinished == 0
    assert not submitted(client.come_back())


def test_a_result_of_an_unknown_task_is_only_acknowledged(client: Client) -> None:
    turn = client.tell(Results([outcome("t9")]), DOOR)
    assert not turn.effects
    assert sent_to(turn, DOOR, AckResults)


def test_items_of_a_task_that_has_ended_go_nowhere_and_hold_nobody_up(
    client: Client,
) -> None:
    """An endpoint that lost power may run again what it had told the end of."""
    client.submit("t1")
    items = [Item(TaskId("t1"), 0, b"a")]
    assert client.tell(ItemsYielded(items), DOOR).effects == [Receive(items)]
    client.tell(Results([outcome("t1")]), DOOR)
    turn = client.tell(ItemsYielded(items), DOOR)
    assert not turn.effects
    assert turn.sends == [(DOOR, ItemsTaken([ItemsMark(TaskId("t1"), 1)]))]


def test_a_task_that_runs_before_it_is_accepted_is_told_to_run_then(
    client: Client,
) -> None:
    """It is leased at once, and accepted once it is on the endpoint's disk."""
    client.submit("t1")
    delta = Delta(T1, 1, TaskState.RUNNING, 1.0)
    assert not client.tell(StatesChanged([delta]), DOOR).effects
    turn = client.tell(Accepted([T1]), DOOR)
    assert all_of(turn.effects, Progress) == [Progress([delta])]
    assert not client.tell(StatesChanged([delta]), DOOR).effects


def test_only_news_is_told_by_attempt_and_rank(client: Client) -> None:
    client.accepted("t1")

    def news(attempt: int, state: TaskState) -> bool:
        delta = Delta(T1, attempt, state, 1.0)
        turn = client.tell(StatesChanged([delta]), DOOR)
        assert [d for e in all_of(turn.effects, Progress) for d in e.deltas] in (
            [],
            [delta],
        )
        return bool(turn.effects)

    assert news(1, TaskState.RUNNING)
    assert not news(1, TaskState.RUNNING)
    assert not news(1, TaskState.WAITING_FOR_LAUNCH)
    assert news(2, TaskState.WAITING_FOR_NODES)
    assert not news(1, TaskState.RUNNING)
    client.tell(Results([outcome()]), DOOR)
    assert not news(3, TaskState.RUNNING)


# Cancelling


def test_a_cancellation_of_what_is_known_goes_to_the_endpoint(client: Client) -> None:
    client.accepted("t1")
    turn = client.tell(CancelNow([T1, T2], if_running=False))
    assert turn.sends == [(DOOR, CancelTasks([T1], False))]
    assert client.machine.unfinished == 1, "the endpoint has the last word"


def test_a_task_that_was_never_sent_is_cancelled_here_and_now() -> None:
    client = Client(is_in=False)
    client.submit("t1")
    assert only(resolved(client.tell(CancelNow([T1])))).state is TaskState.CANCELLED
    assert not submitted(client.enter())


def test_a_cancellation_while_nobody_is_there_is_said_later(client: Client) -> None:
    client.accepted("t1", "t2")
    client.tell(LinkClosed(DOOR))
    assert not client.tell(CancelNow([T1])).sends
    client.tell(CancelNow([T2], if_running=False))
    turn = client.enter()
    assert sent_to(turn, DOOR, CancelTasks) == [
        CancelTasks([T1], True),
        CancelTasks([T2], False),
    ]


def test_a_cancellation_lost_with_the_link_is_said_again(client: Client) -> None:
    client.accepted("t1")
    client.tell(CancelNow([T1]))
    turn = client.come_back()
    assert sent_to(turn, DOOR, CancelTasks) == [CancelTasks([T1], True)]


def test_a_cancellation_is_not_said_again_once_the_task_has_ended(
    client: Client,
) -> None:
    client.accepted("t1")
    client.tell(CancelNow([T1]))
    client.tell(Results([outcome()]), DOOR)
    assert not sent_to(client.come_back(), DOOR, CancelTasks)


def test_a_delayed_cancellation_spares_what_ends_in_time(client: Client) -> None:
    client.accepted("t1", "t2")
    assert not client.tell(CancelNow([T1, T2], delay=3.0)).sends
    client.tell(Results([outcome()]), DOOR)
    assert not sent_to(client.live(2.5), DOOR, CancelTasks)
    assert sent_to(client.live(1.0), DOOR, CancelTasks) == [CancelTasks([T2], True)]


# Coming and going


@pytest.mark.parametrize("epoch", ["e1", "e2"])
def test_whoever_comes_back_asks_whether_its_tasks_are_still_known(
    client: Client, epoch: str
) -> None:
    """A new endpoint never knew them; the old one may have given them up."""
    client.accepted("t1")
    client.submit("t2")
    turn = client.come_back(epoch)
    assert sent_to(turn, DOOR, ClaimTasks) == [ClaimTasks([T1])]
    lost = only(resolved(client.tell(UnknownTasks([T1]), DOOR)))
    assert lost.failure is not None
    assert lost.failure.kind is FailureKind.LOST
    assert "submit it again if that is safe" in lost.failure.message
    assert client.machine.unfinished == 1


def test_nothing_is_asked_by_who_has_nothing_accepted(client: Client) -> None:
    assert not client.come_back("e2").sends


def test_an_endpoint_that_stops_keeps_the_tasks_until_it_is_back(
    client: Client,
) -> None:
    client.accepted("t1")
    client.submit("t2")
    turn = client.tell(Goodbye("the endpoint stops"), DOOR)
    assert HangUp(DOOR) in turn.effects
    assert not resolved(turn)
    assert sent_to(client.enter(), DOOR, ClaimTasks) == [ClaimTasks([T1])]
    assert client.machine.unfinished == 2


def test_an_endpoint_that_stops_and_stays_away_is_given_up(client: Client) -> None:
    client.accepted("t1")
    client.tell(Goodbye("the endpoint stops"), DOOR)
    bar = only(all_of(client.live(2 * PATIENCE).effects, BeBarred))
    assert bar.reason.endswith("after it said that the endpoint stops")


def test_who_is_not_known_any_more_registers_again(client: Client) -> None:
    client.accepted("t1")
    assert client.tell(Reregister("who?"), DOOR).effects == [HangUp(DOOR)]
    assert sent_to(client.enter(), DOOR, ClaimTasks)


def test_a_final_refusal_bars_the_client_once() -> None:
    client = Client(is_in=False)
    turn = client.tell(Answered(DOOR, Refused("wrong token")))
    assert turn.effects == [BeBarred("wrong token", is_refusal=True)]
    assert not client.submit("t1").effects
    assert not client.live(2 * PATIENCE).effects


def test_a_refusal_for_now_does_not() -> None:
    client = Client(is_in=False)
    assert not client.tell(Answered(DOOR, Refused("a rival", is_final=False))).effects
    client.enter()


def test_who_is_refused_for_now_until_its_patience_ends_is_told_why() -> None:
    client = Client(is_in=False)
    client.tell(Answered(DOOR, Refused("a rival is there", is_final=False)))
    barred = only(all_of(client.live(PATIENCE + 1).effects, BeBarred))
    assert barred == BeBarred("a rival is there, for 60 s", is_refusal=True)


def test_a_refusal_is_forgotten_by_who_was_let_in_after_it() -> None:
    client = Client(is_in=False)
    client.tell(Answered(DOOR, Refused("a rival is there", is_final=False)))
    client.enter()
    client.tell(LinkClosed(DOOR))
    barred = only(all_of(client.live(PATIENCE + 1).effects, BeBarred))
    assert barred == BeBarred("no answer for 60 s", is_refusal=False)


def test_without_an_endpoint_the_client_gives_up_after_its_patience(
    client: Client,
) -> None:
    client.accepted("t1")
    client.tell(LinkClosed(DOOR))
    assert not all_of(client.live(PATIENCE - 1).effects, BeBarred)
    barred = only(all_of(client.live(2.0).effects, BeBarred))
    assert barred == BeBarred("no answer for 60 s", is_refusal=False)
    assert not all_of(client.live(PATIENCE).effects, BeBarred)


def test_the_patience_begins_anew_with_each_loss(client: Client) -> None:
    client.live(5.0)
    client.come_back()
    client.tell(LinkClosed(DOOR))
    assert not all_of(client.live(PATIENCE - 1).effects, BeBarred)


def test_the_patience_begins_when_an_endpoint_falls_silent_too(client: Client) -> None:
    client.live_beside(DOOR, 2 * PATIENCE)
    client.accepted("t1")
    turn = client.live(PATIENCE)
    assert all_of(turn.effects, HangUp) == [HangUp(DOOR)]
    assert not all_of(turn.effects, BeBarred)
    assert all_of(client.live(PATIENCE).effects, BeBarred)


def test_it_says_goodbye_and_ends(client: Client) -> None:
    client.submit("t1")
    client.accepted("t2")
    turn = client.tell(Leave())
    assert turn.sends == [(DOOR, Goodbye("the client is done"))]
    assert turn.effects == [Exit(0, "the client is done")]


def test_who_leaves_while_nobody_is_there_ends_at_once(client: Client) -> None:
    client.submit("t1")
    client.tell(LinkClosed(DOOR))
    assert client.tell(Leave()).effects == [Exit(0, "the client is done")]


def test_who_leaves_says_first_what_it_asked_of_actors(client: Client) -> None:
    kill = Task(T2, b"", b"", 1.0, actor=ActorWork("a", "kill"))
    client.tell(SubmitNow([task("t1"), kill]))
    client.tell(LinkClosed(DOOR))
    assert not client.tell(Leave()).effects
    turn = client.enter(answer=welcome("e1"))
    assert [type(message) for _, message in turn.sends] == [Submit, Goodbye]
    assert submitted(turn) == [T2]
    assert all_of(turn.effects, Exit) == [Exit(0, "the client is done")]


def test_what_workers_print_is_shown_with_what_is_missing_before_it() -> None:
    client = Client(is_in=False, wants_output=True)
    knock = only(all_of(client.wait(0.0).effects, Knock))
    assert knock.hello.wants_output
    client = Client()
    shown = client.tell(Output(3, "h2", b"a\n", 2), DOOR).effects
    assert shown == [Show(3, "h2", b"a\n", 0)]
    shown = client.tell(Output(3, "h2", b"b\n", 14), DOOR).effects
    assert shown == [Show(3, "h2", b"b\n", 10)]
    shown = client.tell(Output(3, "h2", b"", 20), DOOR).effects
    assert shown == [Show(3, "h2", b"", 6)]
    client.come_back()
    shown = client.tell(Output(3, "h2", b"c\n", 23), DOOR).effects
    assert shown == [Show(3, "h2", b"c\n", 1)]


def test_an_interchange_that_was_restarted_counts_output_anew() -> None:
    client = Client()
    client.tell(Output(3, "h2", b"a\n", 200), DOOR)
    client.come_back("e2")
    shown = client.tell(Output(3, "h2", b"b\n", 2), DOOR).effects
    assert shown == [Show(3, "h2", b"b\n", 0)]
