"""How tests talk with a machine: message in, turn out, and `check()` after each."""

from typing import Any, TypeVar

from actors.logic.turn import Admission, Answered, Knock, Machine, Turn
from actors.messages import (
    PROTOCOL,
    BlockId,
    Heartbeat,
    Hello,
    Holding,
    MemberKind,
    Needs,
    Outcome,
    Task,
    TaskId,
    TaskState,
    Welcome,
)

__all__ = [
    "EPOCH",
    "MAX_FRAME_BYTES",
    "PYTHON",
    "TOKEN",
    "Talk",
    "all_of",
    "hello",
    "manager_hello",
    "only",
    "outcome",
    "sent_to",
    "task",
    "welcome",
]

TOKEN, PYTHON, EPOCH = "t", "3.11", "e1"
MAX_FRAME_BYTES = 1 << 20

Kind = TypeVar("Kind")


class Talk:
    """One machine and its clock.

    Args:
        machine: spoken to.
        now: what its clock shows.
    """

    def __init__(self, machine: Machine, now: float = 100.0) -> None:
        self.machine = machine
        self.now = now

    def ask(self, newcomer: Hello) -> tuple[Admission, Turn]:
        """Knock at the machine's door."""
        answer = self.machine.admit(newcomer, self.now)
        self.machine.check()
        return answer

    def admit(self, newcomer: Hello) -> Turn:
        """Knock, and be let in."""
        admission, turn = self.ask(newcomer)
        assert admission.peer == f"{newcomer.kind}:{newcomer.member_id}", admission
        return turn

    def tell(self, message: Any, sender: str = "") -> Turn:
        """Give the machine a message."""
        turn = self.machine.handle(message, sender, self.now)
        self.machine.check()
        return turn

    def wait(self, seconds: float) -> Turn:
        """Let time pass with one tick at its end."""
        self.now += seconds
        turn = self.machine.tick(self.now)
        self.machine.check()
        return turn

    def live(self, seconds: float) -> Turn:
        """Let time pass with every tick that the machine wants.

        Returns:
            All that followed, as one turn.
        """
        until, whole = self.now + seconds, Turn()
        while (at := max(self.machine.wake_at, self.now)) <= until:
            self.now = at + 1e-3
            _append(whole, self.machine.tick(self.now))
            self.machine.check()
        self.now = until
        return whole

    def live_beside(self, peer: str, seconds: float) -> Turn:
        """Let time pass as `live` does, with a peer that shows life."""
        whole, rounds = Turn(), int(seconds / 2) + 1
        for _ in range(rounds):
            self.tell(Heartbeat(), peer)
            _append(whole, self.live(seconds / rounds))
        return whole

    def enter(self, door: str = "interchange", answer: Any = None) -> Turn:
        """Let the machine knock at a door and be let in.

        Returns:
            What follows from the `Welcome`.
        """
        latest = self.now + 6.0
        while door not in {k.door for k in all_of(self.live(0.1).effects, Knock)}:
            assert self.now < latest, f"nobody knocks at {door}"
        return self.tell(Answered(door, answer or welcome()))


def _append(whole: Turn, part: Turn) -> None:
    whole.records += part.records
    whole.must_sync = whole.must_sync or part.must_sync
    whole.sends += part.sends
    whole.eager += part.eager
    whole.promises += part.promises
    whole.events += part.events
    whole.effects += part.effects


def sent_to(turn: Turn, peer: str, kind: type[Kind]) -> list[Kind]:
    """Give what a turn sends to a peer, at once or as a promise, of one kind."""
    told = (*turn.sends, *turn.eager, *turn.promises)
    return [m for to, m in told if to == peer and isinstance(m, kind)]


def all_of(things: list[Any], kind: type[Kind]) -> list[Kind]:
    """Give the things of one kind."""
    return [thing for thing in things if isinstance(thing, kind)]


def only(things: list[Kind]) -> Kind:
    """Give the only thing there is."""
    assert len(things) == 1, things
    return things[0]


def hello(
    kind: MemberKind, member_id: str = "", *, instance: str = "i", **fields: Any
) -> Hello:
    """Introduce a member that nothing is wrong with."""
    ours = {"protocol": PROTOCOL, "python": PYTHON, "token": TOKEN, "host": "h"}
    return Hello(kind, member_id or kind, instance, **{**ours, **fields})


def manager_hello(
    manager_id: str = "m1",
    block_id: str = "block-1",
    *,
    slots: int = 1,
    held: list[tuple[str, int]] | None = None,
    instance: str = "i",
    **fields: Any,
) -> Hello:
    """Introduce a manager."""
    return hello(
        "manager",
        manager_id,
        instance=instance,
        block_id=BlockId(block_id),
        slots=slots,
        held=[Holding(TaskId(task_id), attempt) for task_id, attempt in held or []],
        **fields,
    )


def welcome(epoch: str = EPOCH, max_frame_bytes: int = MAX_FRAME_BYTES) -> Welcome:
    """Make a door's good answer; its heart beats every 2 s, and may fail for 8 s."""
    return Welcome("url", epoch, 2.0, 8.0, max_frame_bytes)


def task(
    task_id: str = "t1",
    *,
    retries: int = 3,
    priority: int = 0,
    needs: Needs | None = None,
) -> Task:
    """Make a task; its arguments are its id."""
    arguments = task_id.encode()
    return Task(TaskId(task_id), b"f", arguments, 1.0, retries, priority, needs=needs)


def outcome(
    task_id: str = "t1",
    attempt: int = 1,
    state: TaskState = TaskState.SUCCESS,
    failure: Any = None,
) -> Outcome:
    """Make an outcome as a manager tells it."""
    payload = b"r" if state is TaskState.SUCCESS else b""
    return Outcome(TaskId(task_id), attempt, state, payload, failure, 3.0, 2.0)
