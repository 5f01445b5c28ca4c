"""Promise: operators find their tasks, however many there are, and all about one."""

import msgspec
import pytest

from actors.endpoint.task_pictures import TaskList, TaskStory
from actors.messages import (
    ActorRestarted,
    Amount,
    Delta,
    Failure,
    FailureKind,
    Finished,
    Needs,
    Relay,
    Report,
    ScalingDecided,
    Submit,
    TaskId,
    TaskState,
    WorkerId,
    WorkerReport,
)
from tests.endpoint.talk import hello, outcome, task
from tests.endpoint.test_steering import CLIENT, MANAGER, Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()


def tasks(desk: Desk, text: str = "", *states: str, limit: int = 100) -> TaskList:
    answer, _ = desk.command("tasks", text, *states, number=limit)
    assert answer.is_done
    return msgspec.json.decode(answer.body, type=TaskList)


def ids(listed: TaskList) -> list[str]:
    return [t.task_id for t in listed.tasks]


def test_running_ones_come_first_then_the_ended_then_the_queue(desk: Desk) -> None:
    desk.submit("t1", "t2", "t3", "t4")
    desk.tell(Finished([outcome("t1")]), MANAGER)
    running = Delta(TaskId("t2"), 1, TaskState.RUNNING, 7.0, "w1")
    desk.tell(Report(1, [running]), MANAGER)
    listed = tasks(desk)
    assert [(t.task_id, t.state, t.place) for t in listed.tasks] == [
        ("t2", "running", "m1"),
        ("t1", "success", "m1"),
        ("t3", "waiting-for-nodes", ""),
        ("t4", "waiting-for-nodes", ""),
    ]
    assert not listed.is_cut


def test_a_text_and_states_choose(desk: Desk) -> None:
    desk.submit("abc", "abd", "xyz")
    assert ids(tasks(desk, "ab")) == ["abc", "abd"]
    assert ids(tasks(desk, "ab", "waiting-for-nodes")) == ["abd"]
    assert ids(tasks(desk, "", "waiting-for-launch")) == ["abc"]
    assert ids(tasks(desk, "nothing")) == []


def test_a_name_is_searched_too(desk: Desk) -> None:
    named = msgspec.structs.replace(task("t1"), name="train")
    desk.tell(Submit([named, task("t2")]), CLIENT)
    assert ids(tasks(desk, "rai")) == ["t1"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 50])
def test_a_list_is_never_longer_than_asked_and_shows_some_of_each(
    desk: Desk, limit: int
) -> None:
    desk.submit(*(f"a{n}" for n in range(30)))
    for n in range(30):
        desk.tell(Finished([outcome(f"a{n}")]), MANAGER)
    desk.submit(*(f"b{n}" for n in range(200)))
    listed = tasks(desk, limit=limit)
    assert len(listed.tasks) <= max(limit, 2)
    assert listed.is_cut
    if limit >= 10:
        states = {t.state for t in listed.tasks}
        assert states == {"waiting-for-launch", "success", "waiting-for-nodes"}
        assert len(listed.tasks) == limit


def test_the_story_of_an_unfinished_task_begins_with_its_earlier_tries(
    desk: Desk,
) -> None:
    desk.submit("t1")
    died = Failure(FailureKind.WORKER_DIED, "worker w1 died", "signal 9")
    desk.tell(Finished([outcome("t1", state=TaskState.FAILED, failure=died)]), MANAGER)
    answer, _ = desk.command("story", "t1")
    story = msgspec.json.decode(answer.body, type=TaskStory)
    assert story.task.attempt == 2
    places = [(s.attempt, s.state, s.place) for s in story.steps]
    assert (1, "waiting-for-launch", "m1") in places
    assert (1, "waiting-for-nodes", "worker w1 died") in places
    assert places[-1][0] == 2


def test_the_story_of_a_running_task_names_its_worker(desk: Desk) -> None:
    desk.submit("t1")
    running = Delta(TaskId("t1"), 1, TaskState.RUNNING, 7.0, "w1")
    workers = [WorkerReport(WorkerId("w1"), 7, TaskId("t1"))]
    desk.tell(Report(1, [running], workers), MANAGER)
    answer, _ = desk.command("story", "t1")
    story = msgspec.json.decode(answer.body, type=TaskStory)
    assert (story.steps[-1].state, story.steps[-1].place) == ("running", "w1")


def test_what_a_waiting_task_asks_for_is_told(desk: Desk) -> None:
    needs = Needs(amounts=(Amount("CPU", 0.5),), tag="ssd", walltime=60.0)
    desk.submit("t1")
    desk.tell(Submit([msgspec.structs.replace(task("t2"), needs=needs)]), CLIENT)
    answer, _ = desk.command("story", "t2")
    story = msgspec.json.decode(answer.body, type=TaskStory)
    assert story.task.message == "asks for 0.5 CPU, the tag 'ssd', 60 s"


def test_the_story_of_a_failed_task_has_its_traceback(desk: Desk) -> None:
    desk.submit("t1")
    failure = Failure(FailureKind.EXCEPTION, "ValueError: no", "Traceback of t1")
    desk.tell(
        Finished([outcome("t1", state=TaskState.FAILED, failure=failure)]), MANAGER
    )
    answer, _ = desk.command("story", "t1")
    story = msgspec.json.decode(answer.body, type=TaskStory)
    assert (story.failure, story.detail) == ("exception", "Traceback of t1")
    assert story.steps[-1].place == "ValueError: no"
    assert story.task.message == "ValueError: no"


@pytest.mark.parametrize("names", [["t9"], []])
def test_of_an_unknown_task_there_is_no_story(desk: Desk, names: list[str]) -> None:
    answer, _ = desk.command("story", *names)
    assert not answer.is_done
    assert "nothing is known" in answer.text


def test_the_picture_tells_what_services_told_before_we_came(desk: Desk) -> None:
    desk.admit(hello("strategy"))
    decided = ScalingDecided("launch", 1, "the endpoint starts")
    restarted = ActorRestarted("provider", "signal 9", 1)
    desk.tell(Relay([decided, restarted]), "strategy:strategy")
    desk.now += 1.0
    relayed = desk.status().relayed
    assert [(r.age, r.event) for r in relayed] == [(1.0, decided), (1.0, restarted)]
    assert [m.kind for m in desk.status().members] == ["operator", "strategy"]
