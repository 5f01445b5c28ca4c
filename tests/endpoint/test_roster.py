"""What clients want of actors is answered once, by the outcome of a task."""

import pickle

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.logic.turn import Turn
from actors.messages import (
    Accepted,
    ActorWork,
    Command,
    Outcome,
    Results,
    Submit,
    Task,
    TaskId,
    TaskState,
    encode_one,
)
from tests.endpoint.talk import EPOCH, PYTHON, TOKEN, Talk, hello, only, sent_to


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
