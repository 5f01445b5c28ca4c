"""Operators get what they ask for, or a sentence that says why not."""

from typing import Any

import msgspec
import pytest

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.pictures import Snapshot
from actors.logic.block_errors import BadState
from actors.logic.journal_state import JournalState
from actors.logic.liveness import Tempo
from actors.logic.turn import LinkClosed, Turn
from actors.messages import (
    Accepted,
    Answer,
    Block,
    BlockId,
    BlocksHeld,
    BlocksReported,
    BlockState,
    CancelTasks,
    Command,
    Delta,
    Drain,
    Finished,
    Heartbeat,
    Lease,
    Report,
    Reregister,
    RestartActor,
    RestartManager,
    Results,
    ScaleTo,
    Stop,
    StopEndpoint,
    Submit,
    TaskId,
    TaskState,
    Verb,
    WorkerId,
    WorkerReport,
)
from tests.endpoint.talk import (
    PYTHON,
    TOKEN,
    Talk,
    hello,
    manager_hello,
    only,
    outcome,
    sent_to,
    task,
)

OPERATOR, MANAGER, CLIENT = "operator:o1", "manager:m1", "client:c1"


class Desk(Talk):
    """An interchange with an operator, a client, and an idle manager m1 of block-1."""

    machine: Interchange

    def __init__(self) -> None:
        settings = InterchangeSettings("n", "e", TOKEN, PYTHON, Tempo(2.0, 8.0, 1.5))
        super().__init__(Interchange(settings, 100.0))
        self.admit(hello("operator", "o1"))
        self.admit(hello("client", "c1", pid=5))
        self.admit(manager_hello())

    def command(self, verb: Verb, *names: str, number: int = 0) -> tuple[Answer, Turn]:
        turn = self.tell(Command("r1", verb, list(names), number), OPERATOR)
        answer = only(sent_to(turn, OPERATOR, Answer))
        assert answer.request_id == "r1"
        return answer, turn

    def submit(self, *task_ids: str) -> Turn:
        return self.tell(Submit([task(t) for t in task_ids]), CLIENT)

    def status(self) -> Snapshot:
        answer, _ = self.command("status")
        assert answer.is_done
        return msgspec.json.decode(answer.body, type=Snapshot)

    def blocks(self, **states: BlockState) -> None:
        self.admit(hello("provider"))
        blocks = [
            Block(BlockId(name.replace("_", "-")), state, f"job-{name}")
            for name, state in states.items()
        ]
        self.tell(BlocksReported(blocks), "provider:provider")


@pytest.fixture
def desk() -> Desk:
    return Desk()


# Hold, resume, drain


@pytest.mark.parametrize("name", ["m1", "block-1"])
def test_the_held_get_nothing_until_they_are_resumed(desk: Desk, name: str) -> None:
    assert desk.command("hold", name)[0].is_done
    assert not sent_to(desk.submit("t1"), MANAGER, Lease)
    assert only(desk.status().managers).state == "held"
    answer, turn = desk.command("resume", name)
    assert answer.is_done
    assert sent_to(turn, MANAGER, Lease), "at once"


@pytest.mark.parametrize("name", ["m1", "block-1"])
def test_the_held_may_be_resumed_while_they_are_away(desk: Desk, name: str) -> None:
    """They would come back held, and nobody could say why nothing runs."""
    desk.command("hold", name)
    desk.tell(LinkClosed(MANAGER))
    for peer in desk.machine.members:
        desk.tell(Heartbeat(), peer)
    desk.wait(2.0)
    assert not desk.machine.fleet.managers
    desk.admit(hello("operator", "o1"))
    assert desk.command("resume", name)[0].is_done
    desk.submit("t1")
    assert sent_to(desk.admit(manager_hello()), MANAGER, Lease)


def test_holding_does_not_disturb_what_runs(desk: Desk) -> None:
    desk.submit("t1")
    desk.command("hold", "m1")
    assert sent_to(desk.tell(Finished([outcome()]), MANAGER), CLIENT, Results)


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("hold", ["m1", "m7"]),
        ("hold", []),
        ("resume", ["m1", "m7"]),
        ("drain", ["m1", "m7"]),
        ("drain", []),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(
    desk: Desk, verb: Verb, names: list[str]
) -> None:
    answer, turn = desk.command(verb, *names)
    assert not answer.is_done
    assert answer.text.endswith("there are: block-1, m1")
    assert ("m7" in answer.text) == bool(names)
    assert not desk.machine.fleet.held
    assert not sent_to(turn, MANAGER, Drain)


def test_a_drained_manager_ends_when_it_has_nothing_left(desk: Desk) -> None:
    desk.submit("t1")
    _, turn = desk.command("drain", "m1")
    assert sent_to(turn, MANAGER, Drain)
    assert not sent_to(turn, MANAGER, Stop)
    assert only(desk.status().managers).state == "draining"
    assert sent_to(desk.tell(Finished([outcome()]), MANAGER), MANAGER, Stop)


def test_a_drained_block_drains_busy_managers_and_takes_no_new_ones(
    desk: Desk,
) -> None:
    desk.submit("t1")
    answer, turn = desk.command("drain", "block-1")
    assert answer.is_done
    assert sent_to(turn, MANAGER, Drain)
    assert not desk.ask(manager_hello("m2"))[0].peer


def test_a_drained_block_without_managers_is_the_strategys_to_end(desk: Desk) -> None:
    desk.admit(hello("strategy"))
    desk.blocks(block_2=BlockState.PENDING)
    _, turn = desk.command("drain", "block-2")
    held = sent_to(turn, "strategy:strategy", BlocksHeld)
    assert held == [BlocksHeld([BlockId("block-2")], is_unasked=True)]


# Quiesce


def test_the_quiesced_hand_out_nothing_and_what_runs_goes_on(desk: Desk) -> None:
    desk.submit("t1", "t2")
    desk.command("quiesce")
    turn = desk.tell(Finished([outcome("t1")]), MANAGER)
    assert sent_to(turn, CLIENT, Results)
    assert not sent_to(turn, MANAGER, Lease)
    assert not sent_to(desk.tell(Report(5, []), MANAGER), MANAGER, Lease)
    answer, turn = desk.command("resume")
    assert answer.is_done
    assert [t.task_id for t in only(sent_to(turn, MANAGER, Lease)).tasks] == ["t2"]


def test_the_quiesced_leave_new_tasks_to_their_client_and_call_it_back(
    desk: Desk,
) -> None:
    desk.submit("t1")
    desk.command("quiesce")
    turn = desk.submit("t1", "t2")
    accepted = only(sent_to(turn, CLIENT, Accepted))
    assert accepted.task_ids == ["t1"], "it was taken before, and is said again"
    assert TaskId("t2") not in desk.machine.ledger.entries
    _, turn = desk.command("resume")
    assert sent_to(turn, CLIENT, Reregister)
    desk.tell(LinkClosed(CLIENT))
    desk.admit(hello("client", "c1", pid=5))
    turn = desk.submit("t2")
    assert only(sent_to(turn, CLIENT, Accepted)).task_ids == ["t2"]
    desk.command("quiesce")
    assert not sent_to(desk.command("resume")[1], CLIENT, Reregister), "none put off"


def test_the_quiesced_tell_finished_tasks_again(desk: Desk) -> None:
    desk.submit("t1")
    desk.tell(Finished([outcome("t1")]), MANAGER)
    desk.command("quiesce")
    assert sent_to(desk.submit("t1"), CLIENT, Results)


def test_that_it_is_quiesced_is_on_disk_before_it_is_said(desk: Desk) -> None:
    _, turn = desk.command("quiesce")
    assert only(turn.records).is_quiesced
    assert only(turn.promises)[0] == OPERATOR
    assert desk.status().is_quiesced
    desk.command("resume")
    assert not desk.status().is_quiesced


def test_what_is_not_quiesced_cannot_be_resumed(desk: Desk) -> None:
    desk.command("hold", "m1")
    answer, _ = desk.command("resume")
    assert (answer.is_done, answer.text) == (
        False,
        (
            "the endpoint is neither quiesced nor in a bad state; name the blocks or "
            "managers that shall be resumed; held are: m1"
        ),
    )


def test_a_bad_state_is_seen_and_ends_when_it_is_resumed(desk: Desk) -> None:
    desk.machine.fleet.bad_state = BadState("all failed", "Traceback")
    picture = desk.status()
    assert (picture.bad_state, picture.bad_state_detail) == ("all failed", "Traceback")
    refused, _ = desk.command("scale", number=2)
    assert not refused.is_done
    assert "`actors resume` first" in refused.text
    answer, _ = desk.command("resume")
    assert (answer.is_done, answer.text) == (
        True,
        "resumed: tasks are taken and handed out again; blocks are started again",
    )
    assert not desk.status().bad_state


# Scale, cancel, stop


def test_scale_is_the_strategys_business(desk: Desk) -> None:
    desk.admit(hello("strategy"))
    answer, turn = desk.command("scale", number=3)
    assert answer.is_done
    assert sent_to(turn, "strategy:strategy", ScaleTo) == [ScaleTo(3)]


def test_scale_without_a_strategy_or_below_nothing_is_refused(desk: Desk) -> None:
    answer, _ = desk.command("scale", number=3)
    assert (answer.is_done, answer.text) == (
        False,
        "the strategy is not connected: try again in a moment",
    )
    answer, _ = desk.command("scale", number=-1)
    assert (answer.is_done, answer.text) == (
        False,
        "-1 blocks cannot be: give 0 or more",
    )


def test_an_operator_cancels_anybodys_task(desk: Desk) -> None:
    desk.submit("t1", "t2")
    answer, turn = desk.command("cancel", "t1", "t2")
    assert (answer.is_done, answer.text) == (True, "cancelled: t1, t2")
    assert sent_to(turn, MANAGER, CancelTasks) == [CancelTasks([TaskId("t1")])]
    assert only(sent_to(turn, CLIENT, Results)).outcomes[0].task_id == "t2"


def test_tasks_that_are_not_there_are_named(desk: Desk) -> None:
    desk.submit("t1")
    answer, _ = desk.command("cancel", "t1", "t9")
    assert not answer.is_done
    assert answer.text == "not among the unfinished tasks: t9; cancelled: t1"
    assert "(nothing)" in desk.command("cancel")[0].text


def test_stop_is_the_supervisors_business(desk: Desk) -> None:
    assert "end `actors run` by a signal" in desk.command("stop")[0].text
    desk.admit(hello("supervisor"))
    answer, turn = desk.command("stop")
    assert answer.is_done
    assert sent_to(turn, "supervisor:supervisor", StopEndpoint)


def test_restart_is_the_supervisors_business_too(desk: Desk) -> None:
    assert "not connected" in desk.command("restart", "strategy")[0].text
    desk.admit(hello("supervisor"))
    answer, turn = desk.command("restart", "strategy", "interchange")
    assert answer.is_done
    orders = sent_to(turn, "supervisor:supervisor", RestartActor)
    assert [order.actor for order in orders] == ["strategy", "interchange"]


@pytest.mark.parametrize("names", [(), ("supervisor",), ("strategy", "block-1.0")])
def test_others_cannot_be_restarted(desk: Desk, names: tuple[str, ...]) -> None:
    desk.admit(hello("supervisor"))
    answer, turn = desk.command("restart", *names)
    assert not answer.is_done
    assert "these can: interchange, strategy, provider" in answer.text
    assert not sent_to(turn, "supervisor:supervisor", RestartActor)


def test_a_manager_is_restarted_unless_it_leaves_or_is_away(desk: Desk) -> None:
    answer, turn = desk.command("restart", "m1", "m1")
    assert answer.is_done
    assert answer.text == "restarting: m1 (tasks that begin again, or fail: 0)"
    assert len(sent_to(turn, MANAGER, RestartManager)) == 1
    desk.command("drain", "m1")
    assert "m1 drains" in desk.command("restart", "m1")[0].text
    desk.tell(LinkClosed(MANAGER))
    assert "m1 is away" in desk.command("restart", "m1")[0].text


# Status


def test_the_picture_counts_tasks_by_state(desk: Desk) -> None:
    desk.submit("t1", "t2", "t3")
    desk.tell(Report(2, []), MANAGER)
    running = Delta(TaskId("t1"), 1, TaskState.RUNNING, 1.0, "w1")
    desk.tell(Report(2, [running]), MANAGER)
    assert desk.status().tasks == {
        "waiting-for-nodes": 1,
        "waiting-for-launch": 1,
        "running": 1,
        "success": 0,
        "failed": 0,
        "cancelled": 0,
    }
    desk.tell(Finished([outcome("t1")]), MANAGER)
    desk.command("cancel", "t3")
    desk.tell(Finished([outcome("t2", state=TaskState.FAILED)]), MANAGER)
    tasks = desk.status().tasks
    assert (tasks["success"], tasks["failed"]) == (1, 1)
    assert desk.status().finished == sum(
        tasks[s] for s in ("success", "failed", "cancelled")
    )


def test_the_picture_shows_members_and_blocks(desk: Desk) -> None:
    desk.blocks(block_1=BlockState.RUNNING, block_2=BlockState.PENDING)
    desk.submit("t1")
    desk.command("hold", "block-2")
    worker = WorkerReport(WorkerId("w1"), 9, TaskId("t1"), 5 << 20, 1.5)
    desk.tell(Report(1, [], [worker]), MANAGER)
    desk.now += 1.0
    picture = desk.status()
    assert (picture.name, picture.epoch, picture.uptime) == ("n", "e", 1.0)
    assert picture.services == ["provider"]
    first, second = picture.blocks
    assert (first.block_id, first.state, first.job_id) == (
        "block-1",
        "running",
        "job-block_1",
    )
    assert (first.managers, first.leases, second.managers) == (1, 1, 0)
    assert (first.is_held, second.is_held) == (False, True)
    manager = only(picture.managers)
    assert (manager.state, manager.leases, manager.silent) == ("ready", 1, 1.0)
    shown = only(manager.workers)
    assert (shown.worker_id, shown.pid, shown.task_id) == ("w1", 9, "t1")
    client = only(picture.clients)
    assert (client.pid, client.is_connected, client.unfinished) == (5, True, 1)


def test_the_picture_shows_who_is_away(desk: Desk) -> None:
    desk.tell(LinkClosed(MANAGER))
    desk.tell(LinkClosed(CLIENT))
    picture = desk.status()
    assert only(picture.managers).state == "away"
    assert not only(picture.clients).is_connected


def test_a_worker_that_has_finished_is_shown_idle(desk: Desk) -> None:
    desk.submit("t1")
    worker: Any = WorkerReport(WorkerId("w1"), 9, TaskId("t1"))
    desk.tell(Report(1, [], [worker]), MANAGER)
    desk.tell(Finished([outcome("t1")]), MANAGER)
    assert only(only(desk.status().managers).workers).task_id == ""


def test_the_picture_tells_how_far_the_disk_is_behind(desk: Desk) -> None:
    assert desk.status().journal is None, "nobody has told yet"
    desk.tell(JournalState("sync", 0.25, 3, 400, 5000, 6000, compacted_at=90.0), "")
    desk.now = 100.0
    journal = desk.status().journal
    assert journal is not None
    assert (journal.lag, journal.unsynced_records) == (0.25, 3)
    assert (journal.size_bytes, journal.free_bytes) == (5000, 6000)
    assert journal.compacted == 10.0
