"""Whatever an interchange was told, its records rebuild it: as they are, or compacted.

A conversation is drawn at random, its records go through bytes, and a new machine is
made of them. A snapshot that was taken piece by piece during the conversation, with the
records behind it, must give the same.
"""

from collections.abc import Iterator
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from actors.endpoint.interchange import (
    RETURN_GRACE,
    Interchange,
    InterchangeSettings,
)
from actors.logic.block_errors import WINDOW
from actors.logic.ledger import Entry
from actors.logic.liveness import Tempo
from actors.logic.records import InterchangeRecord, decode_record, encode_record
from actors.logic.turn import LinkClosed, Turn
from actors.messages import (
    AckResults,
    Block,
    BlockId,
    BlocksReported,
    BlockState,
    CancelTasks,
    ClientId,
    Command,
    Failure,
    FailureKind,
    Finished,
    Goodbye,
    Heartbeat,
    Holding,
    Lease,
    LoadReported,
    ManagerId,
    Report,
    Results,
    RetireBlocks,
    Returned,
    Submit,
    TaskId,
    TaskState,
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

CLIENTS, MANAGERS = ("c1", "c2"), ("m1", "m2")
DIED = Failure(FailureKind.WORKER_DIED, "worker w1 died")
SETTINGS = InterchangeSettings(
    "n", "e", TOKEN, PYTHON, Tempo(2.0, 8.0, 1.5), keep_results=20.0
)


class Recorded(Talk):
    """An interchange whose records are kept, as bytes."""

    machine: Interchange

    def __init__(self) -> None:
        super().__init__(Interchange(SETTINGS, 100.0))
        self.journal: list[bytes] = []
        self.tasks = 0
        # Half of a conversation may be compacted: the base, and what came behind.
        self.base: list[bytes] = []
        self.behind = 0
        self._portions: Iterator[list[InterchangeRecord]] | None = None
        for client in CLIENTS:
            self.keep(self.admit(hello("client", client)))

    def keep(self, turn: Turn) -> None:
        self.journal += map(encode_record, turn.records)

    def begin_snapshot(self) -> None:
        self.base, self.behind = [], len(self.journal)
        self._portions = self.machine.snapshot()

    def go_on_with_snapshot(self) -> None:
        for portion in self._portions or ():
            self.base += map(encode_record, portion)
            return

    def end_snapshot(self) -> None:
        for portion in self._portions or ():
            self.base += map(encode_record, portion)

    def act(self, choice: int) -> None:
        """Let something happen; which thing, and to whom, is in the number."""
        choice, kind = divmod(choice, 18)
        client = CLIENTS[choice % 2]
        manager_id = MANAGERS[choice // 2 % 2]
        number = choice // 4
        peer = f"client:{client}"
        known = self.machine.fleet.managers.get(ManagerId(manager_id))
        leases = list(known.leases) if known else []
        match kind:
            case 0 | 1 | 2:
                names = [f"t{self.tasks + n}" for n in range(1 + number % 3)]
                self.tasks += len(names)
                sent = [task(name, retries=number % 3) for name in names]
                self.keep(self.tell(Submit(sent), peer))
            case 3:
                self.keep(self.ask(hello("client", client))[1])
            case 4:
                self.keep(self.ask(manager_hello(manager_id, f"b-{manager_id}"))[1])
            case 5 | 6 | 7 if leases:
                entry = self.machine.ledger.entries[leases[number % len(leases)]]
                self.finish(entry, manager_id, kind, number)
            case 8:
                ids = list(self.unacknowledged(client))[: number % 3]
                self.keep(self.tell(AckResults(ids), peer))
            case 9 if leases:
                back = [Holding(leases[0], self.attempt(leases[0]))]
                self.keep(self.tell(Returned(back), f"manager:{manager_id}"))
            case 10:
                ids = [TaskId(f"t{number % (self.tasks + 1)}")]
                self.keep(self.tell(CancelTasks(ids, number % 2 == 0), peer))
            case 11:
                gone = f"manager:{manager_id}" if number % 2 else peer
                self.keep(self.tell(LinkClosed(gone)))
            case 12:
                self.keep(self.wait(1.0))
            case 13:
                self.keep(self.tell(Goodbye("done"), peer))
            case 14:
                order = RetireBlocks([known.block_id] if known else [], "idle")
                self.keep(self.ask(hello("strategy"))[1])
                self.keep(self.tell(order, "strategy:strategy"))
            case 15:
                held = [(str(t), self.attempt(t)) for t in leases[: number % 3]]
                again = manager_hello(manager_id, f"b-{manager_id}", held=held)
                self.keep(self.ask(again)[1])
            case 16:
                self.keep(self.ask(hello("operator", "o"))[1])
                verb: Literal["quiesce", "resume"]
                fleet = self.machine.fleet
                stands = fleet.is_quiesced or fleet.bad_state
                verb = "resume" if stands else "quiesce"
                self.keep(self.tell(Command("r", verb), "operator:o"))
            case 17:
                self.keep(self.ask(hello("provider"))[1])
                new_ids = [BlockId(f"block-{number + n}") for n in range(WINDOW)]
                for state in (BlockState.RUNNING, BlockState.FAILED):
                    blocks = [Block(block_id, state) for block_id in new_ids]
                    self.keep(self.tell(BlocksReported(blocks), "provider:provider"))

    def finish(self, entry: Entry, manager_id: str, kind: int, number: int) -> None:
        name, attempt = entry.task.task_id, entry.attempt
        ended = outcome(name, attempt)
        if kind == 6:
            ended = outcome(name, attempt, TaskState.FAILED, DIED)
        elif kind == 7 and number % 2:
            ended = outcome(name, attempt, TaskState.CANCELLED)
        self.keep(self.tell(Finished([ended]), f"manager:{manager_id}"))

    def attempt(self, task_id: TaskId) -> int:
        return self.machine.ledger.entries[task_id].attempt

    def unacknowledged(self, client: str) -> list[TaskId]:
        known = self.machine.clients.get(ClientId(client))
        return list(known.unacknowledged) if known else []


def rebuilt(records: list[bytes]) -> Interchange:
    machine = Interchange(SETTINGS, 500.0)
    machine.restore(map(decode_record, records), 500.0)
    machine.check()
    return machine


def essence(machine: Interchange) -> dict[str, Any]:
    """Return what must survive; moments and the order of the queue may differ."""
    return {
        "tasks": {
            task_id: (
                entry.client_id,
                entry.attempt,
                entry.lost_starts,
                entry.manager_id,
                entry.is_cancelling,
                entry.past,
                entry.task,
            )
            for task_id, entry in machine.ledger.entries.items()
        },
        "clients": {
            client.client_id: (
                client.unacknowledged,
                client.unfinished,
                client.is_leaving,
            )
            for client in machine.clients.values()
            # One without anything is as good as one who was never here.
            if client.unacknowledged or client.unfinished
        },
        "managers": {
            manager.manager_id: (
                manager.instance,
                manager.block_id,
                set(manager.leases),
            )
            for manager in machine.fleet.managers.values()
        },
        "held": machine.fleet.held,
        "retired": machine.fleet.retired,
        "is_quiesced": machine.fleet.is_quiesced,
        "bad_state": machine.fleet.bad_state,
    }


choices = st.lists(st.integers(0, 1 << 16), max_size=60)


@given(choices)
def test_a_machine_is_rebuilt_from_its_records(numbers: list[int]) -> None:
    recorded = Recorded()
    for number in numbers:
        recorded.act(number)
    assert essence(rebuilt(recorded.journal)) == essence(recorded.machine)


@given(choices, choices, choices)
def test_a_snapshot_that_was_taken_meanwhile_stands_for_all_before_it(
    before: list[int], meanwhile: list[int], later: list[int]
) -> None:
    recorded = Recorded()
    for number in before:
        recorded.act(number)
    recorded.begin_snapshot()
    for number in meanwhile:
        if number % 3 == 0:
            recorded.go_on_with_snapshot()
        recorded.act(number)
    recorded.end_snapshot()
    for number in later:
        recorded.act(number)
    records = [*recorded.base, *recorded.journal[recorded.behind :]]
    assert essence(rebuilt(records)) == essence(recorded.machine)


@given(choices, st.integers(0, 200))
def test_a_journal_that_ends_early_gives_a_machine_that_is_whole(
    numbers: list[int], cut: int
) -> None:
    recorded = Recorded()
    for number in numbers:
        recorded.act(number)
    rebuilt(recorded.journal[:cut])


def test_who_comes_back_finds_leases_and_results() -> None:
    recorded = Recorded()
    recorded.keep(recorded.admit(manager_hello("m1", "b1", slots=2)))
    submitted = Submit([task("t1"), task("t2"), task("t3")])
    recorded.keep(recorded.tell(submitted, "client:c1"))
    recorded.keep(recorded.tell(Finished([outcome("t1")]), "manager:m1"))
    desk = Talk(rebuilt(recorded.journal), 500.0)
    turn = desk.admit(hello("client", "c1", instance="i"))
    results = only(sent_to(turn, "client:c1", Results))
    assert [o.task_id for o in results.outcomes] == ["t1"]
    turn = desk.admit(manager_hello("m1", "b1", slots=2, held=[("t2", 1), ("t3", 1)]))
    assert not sent_to(turn, "manager:m1", Lease), "it has them already"
    assert not turn.records


def test_a_manager_has_a_little_more_time_to_find_a_new_interchange() -> None:
    recorded = Recorded()
    recorded.keep(recorded.admit(manager_hello("m1", "b1")))
    recorded.keep(recorded.tell(Submit([task("t1", retries=0)]), "client:c1"))
    machine = rebuilt(recorded.journal)
    desk = Talk(machine, 500.0)
    desk.live(RETURN_GRACE + SETTINGS.tempo.reconnect_grace - 0.5)
    assert list(machine.ledger.entries) == ["t1"]
    desk.live(1.0)
    failed = only(list(machine.clients[ClientId("c1")].unacknowledged.values()))
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.MANAGER_LOST


def test_reports_and_heartbeats_are_not_written_down() -> None:
    """What a journal need not know it must not cost."""
    recorded = Recorded()
    recorded.admit(manager_hello("m1", "b1"))
    assert not recorded.tell(Report(4, []), "manager:m1").records
    assert not recorded.tell(Heartbeat(), "client:c1").records
    turn = recorded.wait(2.5)
    assert any(isinstance(event, LoadReported) for event in turn.events)
    assert not turn.records
