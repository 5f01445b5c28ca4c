"""What a task prints is told to the client that asked for it, and to nobody else."""

import pytest

from actors.endpoint.interchange.audience import BYTES_PER_SECOND, MOST_BYTES
from actors.logic.turn import LinkClosed, Turn
from actors.messages import (
    ActorOptions,
    ActorWork,
    CallerKnown,
    ClientId,
    Finished,
    Goodbye,
    Lease,
    Output,
    Printed,
    Submit,
    Task,
    TaskId,
    WatchOutput,
)
from tests.endpoint.talk import hello, manager_hello, only, outcome, sent_to, task
from tests.endpoint.test_interchange import CLIENT, MANAGER, OTHER, Desk

QUIET = "client:quiet"


@pytest.fixture
def desk() -> Desk:
    """An interchange with a client that listens and has t1 at a manager."""
    desk = Desk()
    desk.admit(hello("client", "c1", wants_output=True))
    desk.submit("t1")
    turn = desk.admit(manager_hello(host="far"))
    assert only(sent_to(turn, MANAGER, WatchOutput)) == WatchOutput(True)
    assert sent_to(turn, MANAGER, Lease)
    return desk


def say(desk: Desk, text: bytes, writer: str = "t1", left_out: int = 0) -> Turn:
    return desk.tell(Printed(writer, False, 7, text, left_out), MANAGER)


def heard(turn: Turn, peer: str = CLIENT) -> list[Output]:
    assert all(to == peer for to, m in turn.sends if isinstance(m, Output))
    return sent_to(turn, peer, Output)


def test_managers_are_told_when_the_first_listens_and_when_the_last_has_left() -> None:
    desk = Desk()
    turn = desk.admit(manager_hello())
    assert not sent_to(turn, MANAGER, WatchOutput)
    assert not sent_to(desk.admit(hello("client", "quiet")), MANAGER, WatchOutput)
    turn = desk.admit(hello("client", "c1", wants_output=True))
    assert sent_to(turn, MANAGER, WatchOutput) == [WatchOutput(True, True)]
    turn = desk.admit(hello("client", "c2", wants_output=True))
    assert not sent_to(turn, MANAGER, WatchOutput)
    assert not sent_to(desk.tell(LinkClosed(CLIENT)), MANAGER, WatchOutput)
    turn = desk.tell(Goodbye("done"), "client:c2")
    assert sent_to(turn, MANAGER, WatchOutput) == [WatchOutput(False)]
    turn = desk.admit(hello("client", "c1", wants_output=True))
    assert sent_to(turn, MANAGER, WatchOutput) == [WatchOutput(True, True)]


def test_words_are_told_apart_as_long_as_there_are_several_clients(desk: Desk) -> None:
    turn = desk.admit(hello("client", "quiet"))
    assert sent_to(turn, MANAGER, WatchOutput) == [WatchOutput(True, True)]
    assert not sent_to(desk.admit(hello("client", "q2")), MANAGER, WatchOutput)
    assert not sent_to(desk.tell(Goodbye("done"), "client:q2"), MANAGER, WatchOutput)
    turn = desk.tell(Goodbye("done"), QUIET)
    assert sent_to(turn, MANAGER, WatchOutput) == [WatchOutput(True)]


def test_a_client_that_has_left_counts_until_its_tasks_have_ended(desk: Desk) -> None:
    desk.admit(manager_hello("m2", "block-2"))
    desk.admit(hello("client", "quiet"))
    desk.tell(Submit([task("q1")]), QUIET)
    assert not sent_to(desk.tell(Goodbye("done"), QUIET), MANAGER, WatchOutput)
    desk.tell(Finished([outcome("q1")]), OTHER)
    turn = desk.admit(hello("client", "c1", wants_output=True))
    assert sent_to(turn, MANAGER, WatchOutput) == [WatchOutput(True)]


def test_a_silent_client_listens_no_more(desk: Desk) -> None:
    turn = desk.live_beside(MANAGER, 30.0)
    assert WatchOutput(False) in sent_to(turn, MANAGER, WatchOutput)


def test_lines_come_with_pid_and_host_before_the_result(desk: Desk) -> None:
    (line,) = heard(say(desk, b"hello\n"))
    assert line == Output(7, "far", b"hello\n", 6)
    (line,) = heard(say(desk, b"again\n", left_out=0))
    assert line.end == 12
    assert desk.results(desk.tell(Finished([outcome("t1")]), MANAGER))
    assert not heard(say(desk, b"after its end\n"))


def test_who_does_not_want_output_gets_none(desk: Desk) -> None:
    desk.admit(hello("client", "quiet"))
    desk.tell(Submit([task("q1")]), QUIET)
    desk.tell(Finished([outcome("t1")]), MANAGER)
    assert not say(desk, b"private\n", "q1").sends


def test_nobody_hears_of_the_tasks_of_others(desk: Desk) -> None:
    desk.admit(hello("client", "c2", wants_output=True))
    desk.tell(Submit([task("t2")]), "client:c2")
    desk.admit(manager_hello("m2", "block-2"))
    words = Printed("t2", False, 8, b"of c2\n", 0)
    (line,) = heard(desk.tell(words, OTHER), "client:c2")
    assert line.end == 6
    # Whoever has not got the task cannot speak for it.
    assert not desk.tell(words, MANAGER).sends


def test_what_is_left_out_or_missed_counts(desk: Desk) -> None:
    """So that the client can say how much is missing."""
    first, second = heard(say(desk, b"one\n", left_out=100))
    assert (first.text, first.end) == (b"one\n", 4)
    assert (second.text, second.end) == (b"", 104)
    desk.tell(LinkClosed(CLIENT))
    assert not say(desk, b"nobody hears it\n", left_out=4).sends
    desk.admit(hello("client", "c1", wants_output=True))
    (line,) = heard(say(desk, b"two\n"))
    assert line.end == 128
    desk.tell(LinkClosed(CLIENT))
    desk.admit(hello("client", "c1", instance="another", wants_output=True))
    (line,) = heard(say(desk, b"three\n"))
    assert line.end == 6


def test_a_client_is_told_no_more_than_it_can_read(desk: Desk) -> None:
    lines = b"x" * 65_535 + b"\n"
    told = [o for _ in range(MOST_BYTES // 60_000) for o in heard(say(desk, lines))]
    shown = sum(len(each.text) for each in told)
    assert MOST_BYTES - len(lines) <= shown <= MOST_BYTES
    assert told[-1].text == b""
    assert told[-1].end == len(lines) * (MOST_BYTES // 60_000)
    desk.now += 1.0
    assert len(lines) < BYTES_PER_SECOND
    (line,) = heard(say(desk, lines))
    assert line.text == lines


def test_what_an_actor_prints_is_for_the_client_that_made_it(desk: Desk) -> None:
    work = ActorWork("a", "create", ActorOptions("A"))
    desk.tell(Submit([Task(TaskId("t2"), b"c", b"", 0.0, actor=work)]), CLIENT)
    hold = ActorWork("a", "hold")
    desk.admit(hello("client", "c2", wants_output=True))
    desk.tell(Submit([Task(TaskId("t3"), b"", b"", 0.0, actor=hold)]), "client:c2")
    words = Printed("a", True, 9, b"I live\n", 0)
    assert desk.machine.roster.actors["a"].manager_id == "m1"
    (line,) = heard(desk.tell(words, MANAGER))
    assert (line.pid, line.text) == (9, b"I live\n")
    desk.admit(manager_hello("m2", "block-2"))
    assert not desk.tell(words, OTHER).sends


def within(desk: Desk, caller: str = "t1", seq: int = 5) -> None:
    """Let a worker be a client, which asks for a task, leased to m2."""
    # In this order, perhaps: they come over two links.
    desk.tell(CallerKnown(ClientId("w"), seq, caller, False), MANAGER)
    desk.admit(hello("client", "w", is_within=True))
    asked = Task(TaskId("n1"), b"f", b"", 0.0, caller_seq=5)
    desk.tell(Submit([asked]), "client:w")
    desk.admit(manager_hello("m2", "block-2"))


def test_what_a_tasks_own_tasks_print_is_for_the_client_that_asked_for_it(
    desk: Desk,
) -> None:
    within(desk)
    words = Printed("n1", False, 8, b"nested\n", 0)
    (line,) = heard(desk.tell(words, OTHER))
    assert line.text == b"nested\n"
    # And so on, also if the outer one has ended.
    desk.admit(hello("client", "w2", is_within=True))
    desk.tell(CallerKnown(ClientId("w2"), 1, "n1", False), OTHER)
    desk.tell(Finished([outcome("t1")]), MANAGER)
    work = ActorWork("a", "create", ActorOptions("A"))
    asked = Task(TaskId("n2"), b"f", b"", 0.0, actor=work, caller_seq=1)
    desk.tell(Submit([asked]), "client:w2")
    home = f"manager:{desk.machine.roster.actors['a'].manager_id}"
    (line,) = heard(desk.tell(Printed("a", True, 9, b"an actor\n", 0), home))
    assert line.text == b"an actor\n"


@pytest.mark.parametrize(("caller", "seq"), [("t1", 4), ("unknown", 5)])
def test_who_is_not_known_to_work_for_somebody_is_heard_by_nobody(
    desk: Desk, caller: str, seq: int
) -> None:
    within(desk, caller, seq)
    words = Printed("n1", False, 8, b"nested\n", 0)
    assert not [m for _, m in desk.tell(words, OTHER).sends if isinstance(m, Output)]


def test_no_client_can_be_taken_for_a_worker(desk: Desk) -> None:
    desk.admit(hello("client", "c2", wants_output=True))
    desk.tell(Submit([task("t2")]), "client:c2")
    desk.tell(CallerKnown(ClientId("c2"), 0, "t1", False), MANAGER)
    desk.admit(manager_hello("m2", "block-2"))
    assert heard(desk.tell(Printed("t2", False, 8, b"mine\n", 0), OTHER), "client:c2")


def test_words_of_what_nobody_knows_are_dropped(desk: Desk) -> None:
    assert not say(desk, b"?\n", "unknown").sends
    assert not desk.tell(Printed("no actor", True, 9, b"?\n", 0), MANAGER).sends
