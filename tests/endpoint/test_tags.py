"""A task that asks for a tag runs on managers that have it, and on no others."""

import msgspec

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.logic.liveness import Tempo
from actors.logic.turn import Turn
from actors.messages import (
    Accepted,
    Amount,
    Finished,
    Goodbye,
    Lease,
    Needs,
    Notice,
    Submit,
)
from tests.endpoint.talk import (
    PYTHON,
    TOKEN,
    Talk,
    hello,
    manager_hello,
    outcome,
    sent_to,
    task,
)

CLIENT = "client:c1"


class Desk(Talk):
    """An interchange with one client."""

    machine: Interchange

    def __init__(self) -> None:
        settings = InterchangeSettings("n", "e", TOKEN, PYTHON, Tempo(200.0, 800.0))
        super().__init__(Interchange(settings, 100.0))
        self.admit(hello("client", "c1"))

    def manager(
        self,
        number: int,
        tag: str = "",
        *,
        slots: int = 1,
        is_exclusive: bool = False,
    ) -> Turn:
        said = manager_hello(f"m{number}", f"block-{number}", slots=slots)
        return self.admit(
            msgspec.structs.replace(said, tag=tag, is_exclusive=is_exclusive)
        )

    def submit(self, *names: str, tag: str = "", cpus: float = 1.0) -> Turn:
        amounts = (Amount("CPU", cpus),) if cpus != 1.0 else None
        needs = Needs(tag=tag, amounts=amounts) if tag or amounts else None
        tasks = [msgspec.structs.replace(task(name), needs=needs) for name in names]
        turn = self.tell(Submit(tasks), CLIENT)
        assert sent_to(turn, CLIENT, Accepted)
        return turn

    def finish(self, number: int, *names: str) -> Turn:
        done = Finished([outcome(name) for name in names])
        return self.tell(done, f"manager:m{number}")


def leased(turn: Turn, number: int) -> list[str]:
    leases = sent_to(turn, f"manager:m{number}", Lease)
    return [leased.task_id for lease in leases for leased in lease.tasks]


def test_a_tagged_task_passes_over_those_without_its_tag_and_waits_for_one() -> None:
    desk = Desk()
    desk.manager(1, "cpu", slots=4)
    desk.manager(2, slots=4)
    turn = desk.submit("t1", tag="gpu")
    assert not leased(turn, 1) + leased(turn, 2)
    # It keeps nobody else from running.
    turn = desk.submit("t2")
    assert leased(turn, 1) + leased(turn, 2) == ["t2"]
    assert leased(desk.manager(3, "gpu"), 3) == ["t1"]


def notices(turn: Turn) -> list[str]:
    return [event.text for event in turn.events if isinstance(event, Notice)]


def test_a_wait_for_a_tag_that_no_manager_has_is_told() -> None:
    desk = Desk()
    assert not notices(desk.submit("t1", "t2", tag="gpu"))
    (told,) = notices(desk.manager(1, "cpu"))
    assert "waits for a manager with the tag 'gpu': none of 1 has it" in told
    assert Notice("info", told) in [event for _, event in desk.machine.books.relayed]
    # Not again and again; and not if one has it, busy or not.
    assert not notices(desk.submit("t3", tag="gpu"))
    assert not notices(desk.manager(2, "gpu"))
    assert not notices(desk.submit("t4", tag="gpu"))
    # What else it waits for is told before.
    told = notices(desk.submit("t5", tag="tpu", cpus=2.0))[-1]
    assert "the tag 'tpu': none of 2 has it" in told


def test_a_tagged_manager_takes_plain_tasks_too_unless_it_is_exclusive() -> None:
    desk = Desk()
    desk.manager(1, "gpu", is_exclusive=True)
    assert not leased(desk.submit("t1"), 1)
    assert leased(desk.submit("t2", tag="gpu"), 1) == ["t2"]
    assert leased(desk.manager(2, "gpu"), 2) == ["t1"]
    assert not leased(desk.finish(1, "t2"), 1)


def test_once_no_manager_is_exclusive_all_is_as_before() -> None:
    desk = Desk()
    desk.manager(1, is_exclusive=True)
    desk.submit("t1")
    desk.tell(Goodbye("drained"), "manager:m1")
    assert not desk.machine.fleet.exclusive
    assert leased(desk.manager(2), 2) == ["t1"]


def test_order_holds_among_tasks_of_a_tag_and_others() -> None:
    desk = Desk()
    desk.submit("t1", tag="gpu")
    desk.submit("t2")
    desk.submit("t3", tag="gpu")
    assert leased(desk.manager(1, "gpu"), 1) == ["t1"]
    assert leased(desk.finish(1, "t1"), 1) == ["t2"]
    assert leased(desk.finish(1, "t2"), 1) == ["t3"]


def test_tags_hold_for_tasks_that_ask_for_more_than_a_processor_too() -> None:
    desk = Desk()
    desk.manager(1, slots=4)
    desk.manager(2, "gpu", slots=4, is_exclusive=True)
    assert leased(desk.submit("t1", tag="gpu", cpus=2.0), 2) == ["t1"]
    assert leased(desk.submit("t2", cpus=2.0), 1) == ["t2"]
    turn = desk.submit("t3", tag="other", cpus=2.0)
    assert not leased(turn, 1) + leased(turn, 2)
