"""Session: a client's side of its tasks' lives. Pure.

    submit ──► outbox ──Submit──► (Accepted) ──► accepted ──Results──► resolved, acked
                  └── resent after every reconnection ──┘

A task stays in the outbox, payload and all, until the endpoint has accepted it; after
that only its id is kept. The first outcome of a task resolves it; every later one is
acknowledged and forgotten.

A client with a name may be resumed: a later process of the same name asks for all of
its tasks. Those that were submitted with a key are not acknowledged, so that their
outcomes are there for later processes until one of them leaves in order.
"""

import math
import random
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import replace

from actors.logic.membership import Membership
from actors.logic.turn import Admission, Effect, Exit, HangUp, Turn
from actors.messages import (
    PROTOCOL,
    Accepted,
    AckResults,
    CancelTasks,
    ClaimTasks,
    ClientId,
    Delta,
    Failure,
    FailureKind,
    Goodbye,
    Hello,
    Item,
    ItemsMark,
    ItemsTaken,
    ItemsYielded,
    ListTasks,
    Outcome,
    Output,
    Results,
    StatesChanged,
    Submit,
    Task,
    TaskId,
    TasksListed,
    TaskState,
    UnknownTasks,
)

__all__ = [
    "KEY_MARK",
    "BeBarred",
    "CancelNow",
    "Leave",
    "Progress",
    "Receive",
    "Resolve",
    "Resumed",
    "Session",
    "SessionSettings",
    "Show",
    "SubmitNow",
    "TakeNow",
]

# Stands in the id of a task between its client's name and its key; in no other id.
KEY_MARK = "!"

_id_of: Callable[[Task | Outcome], TaskId] = attrgetter("task_id")
# Room for the other fields of a frame that carries one task.
FRAME_OVERHEAD_BYTES = 4096


class SessionSettings(msgspec.Struct, frozen=True):
    """How a client introduces itself.

    Args:
        client_id: the same across reconnections.
        instance: random per process.
        token: to show at the door.
        python: "3.11".
        host, pid: for operators to read.
        patience: seconds without an endpoint after which tasks are given up.
        own_prefix: of the ids of this process's tasks that have no key. Outcomes of
            others are left for who will resume them; "": there are no others.
        resumes: take over what earlier processes have left.
        is_within: it is one of the endpoint's own workers.
        wants_output: it shows what its tasks and actors print.
    """

    client_id: ClientId
    instance: str
    token: str
    python: str
    host: str
    pid: int
    patience: float = 60.0
    own_prefix: str = ""
    resumes: bool = False
    is_within: bool = False
    wants_output: bool = False


# From the shell


class SubmitNow(msgspec.Struct, frozen=True):
    """The user submitted these, in this order."""

    tasks: list[Task]


class CancelNow(msgspec.Struct, frozen=True):
    """The user gave these up; after `delay` seconds, what has not ended by then.

    Args:
        task_ids, if_running, grace, is_recursive: see `CancelTasks`.
        delay: seconds.
    """

    task_ids: list[TaskId]
    if_running: bool = True
    delay: float = 0.0
    grace: float | None = None
    is_recursive: bool = False


class TakeNow(msgspec.Struct, frozen=True):
    """The user has taken so many items of a generator, or wants no others."""

    task_id: TaskId
    count: int


class Leave(msgspec.Struct, frozen=True):
    """The user is done; say goodbye, and give up what has not ended.

    Args:
        for_good: false: without a word, once all is accepted: somebody will resume.
    """

    for_good: bool = True


# To the shell


class Resolve(Effect, frozen=True):
    """These tasks ended; each comes exactly once."""

    outcomes: list[Outcome]


class Receive(Effect, frozen=True):
    """Generators have yielded these; each may come again."""

    items: list[Item]


class Resumed(Effect, frozen=True):
    """These tasks of an earlier process are ours now; each comes once.

    Args:
        task_ids: unfinished; or their `Resolve` follows.
        is_all: nothing more will come.
    """

    task_ids: list[TaskId]
    is_all: bool


class Progress(Effect, frozen=True):
    """These tasks went on; older news than what is known is left out."""

    deltas: list[Delta]


class Show(Effect, frozen=True):
    """Workers have written this.

    Args:
        pid, host: of the worker.
        text: whole lines.
        left_out_bytes: not told, before the text.
    """

    pid: int
    host: str
    text: bytes
    left_out_bytes: int


class BeBarred(Effect, frozen=True):
    """There is no endpoint for us: it refuses us, or nobody answers any more."""

    reason: str
    is_refusal: bool


class Session:
    """The machine; see the module's docstring."""

    def __init__(
        self, settings: SessionSettings, chance: random.Random, now: float
    ) -> None:
        self.settings = settings
        self.membership = Membership(
            "interchange",
            self._hello,
            chance,
            entered=self._rejoin,
            left=self._went_away,
            barred=self._was_refused,
        )
        self.outbox: dict[TaskId, Task] = {}  # not accepted, oldest first
        self.accepted: dict[TaskId, tuple[int, int]] = {}  # {id: (attempt, rank)}
        # {task not accepted: what it does already}
        self._early: dict[TaskId, Delta] = {}
        self._cancels: dict[TaskId, CancelNow] = {}  # of what has not ended yet
        self._cancel_later: list[tuple[float, CancelNow]] = []  # (moment, what)
        self._epoch = ""  # of the interchange that let us in last
        self._output_end = 0  # of what it has told; see `Output`
        self._away_since = now
        self._is_barred = False
        self._last_words = ""  # why the endpoint left
        self._resumed: set[TaskId] = set()  # and resolved, as long as more may come
        self._is_resuming = settings.resumes
        self._is_leaving = False  # once all is accepted
        self._says_goodbye = False  # once it is let in

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Refuse everybody: a client has no door."""
        return Admission("", "a client admits nobody"), Turn()

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take a message from the interchange or from the user."""
        turn = Turn()
        if self.membership.take(message, sender, now, turn):
            return turn
        match message:
            case Results(outcomes):
                self._resolve(outcomes, now, turn)
            case Accepted(task_ids):
                sent = self.outbox.pop
                news = [t for t in task_ids if sent(t, None) is not None]
                self.accepted.update(dict.fromkeys(news, (0, 0)))
                if self._early:
                    self._catch_up(task_ids, turn)
                self._leave_if_accepted(turn)
            case SubmitNow(tasks):
                self.outbox.update(zip(map(_id_of, tasks), tasks, strict=True))
                self._submit(tasks, now, turn)
            case StatesChanged(deltas):
                self._progress(deltas, turn)
            case CancelNow(delay=delay) if delay > 0:
                wish = replace(message, delay=0.0)
                self._cancel_later.append((now + delay, wish))
            case CancelNow():
                self._cancel(message, now, turn)
            case ItemsYielded(items):
                self._receive(items, now, turn)
            case TakeNow(task_id, count):
                # What is not heard is asked for again, by the same items.
                taken = ItemsTaken([ItemsMark(task_id, count)])
                self.membership.send(taken, now, turn)
            case Output():
                self._show(message, turn)
            case UnknownTasks(task_ids):
                self._give_up(
                    task_ids,
                    "the endpoint was restarted, or had given this client up, and no "
                    "longer knows the task, which may have run: submit it again if "
                    "that is safe",
                    turn,
                )
            case TasksListed(task_ids):
                self._resume(task_ids, turn)
            case Leave(for_good=False):
                self._is_leaving = True
                self._leave_if_accepted(turn)
            case Leave():
                self._leave(now, turn)
            case Goodbye(reason):
                # It keeps what it has accepted, and may be started again.
                self._last_words = reason
        return turn

    def tick(self, now: float) -> Turn:
        """Care for the membership."""
        turn = Turn()
        self.membership.tick(now, turn)
        due = [wish for moment, wish in self._cancel_later if moment <= now]
        self._cancel_later = [(m, wish) for m, wish in self._cancel_later if m > now]
        for wish in due:
            self._cancel(wish, now, turn)
        if self._give_up_at() <= now and self.membership.refusal:
            reason = f"{self.membership.refusal}, for {self.settings.patience:g} s"
            self._bar(reason, is_refusal=True, turn=turn)
        elif self._give_up_at() <= now:
            reason = f"no answer for {self.settings.patience:g} s"
            if self._last_words:
                reason += f", after it said that {self._last_words}"
            self._bar(reason, is_refusal=False, turn=turn)
        return turn

    @property
    def wake_at(self) -> float:
        at = min(self.membership.wake_at, self._give_up_at())
        if self._cancel_later:
            at = min(at, *(moment for moment, _ in self._cancel_later))
        return at

    def _give_up_at(self) -> float:
        if self.membership.is_in or self._is_barred:
            return math.inf
        return self._away_since + self.settings.patience

    def _bar(self, reason: str, *, is_refusal: bool, turn: Turn) -> None:
        if not self._is_barred:
            self._is_barred = True
            turn.effects.append(BeBarred(reason, is_refusal))

    @property
    def unfinished(self) -> int:
        return len(self.outbox) + len(self.accepted)

    def _hello(self) -> Hello:
        settings = self.settings
        return Hello(
            "client",
            settings.client_id,
            settings.instance,
            PROTOCOL,
            settings.python,
            settings.token,
            settings.pid,
            settings.host,
            is_within=settings.is_within,
            wants_output=settings.wants_output,
        )

    def _went_away(self, _: str, now: float, __: Turn) -> None:
        self._away_since = now

    def _was_refused(self, reason: str, turn: Turn) -> None:
        self._bar(reason, is_refusal=True, turn=turn)

    def _rejoin(self, now: float, turn: Turn) -> None:
        """Resume: ask after what was accepted, resend what was not."""
        if self.accepted:
            # A new endpoint never knew them; the old one may have given us up.
            self.membership.send(ClaimTasks(list(self.accepted)), now, turn)
        if self._epoch != self.membership.epoch:
            self._output_end = 0  # another interchange counts anew
        self._epoch = self.membership.epoch
        self._last_words = ""
        if self._is_resuming:
            self.membership.send(ListTasks(), now, turn)
        if self.outbox:
            self._submit(list(self.outbox.values()), now, turn)
        for wish in dict.fromkeys(map(_without_tasks, self._cancels.values())):
            task_ids = [
                t for t, how in self._cancels.items() if _without_tasks(how) == wish
            ]
            self.membership.send(CancelTasks(task_ids, *wish), now, turn)
        if self._says_goodbye:
            self._leave(now, turn)

    def _submit(self, tasks: Sequence[Task], now: float, turn: Turn) -> None:
        if not self.membership.is_in:
            return
        limit = self.membership.max_frame_bytes - FRAME_OVERHEAD_BYTES
        fitting = [t for t in tasks if len(t.function) + len(t.arguments) <= limit]
        if len(fitting) < len(tasks):
            self._refuse_large(tasks, limit, turn)
        self.membership.send(Submit(fitting), now, turn)

    def _refuse_large(self, tasks: Sequence[Task], limit: int, turn: Turn) -> None:
        refused = []
        for task in tasks:
            payload_bytes = len(task.function) + len(task.arguments)
            if payload_bytes > limit:
                del self.outbox[task.task_id]
                text = (
                    f"function and arguments of {payload_bytes} bytes exceed the "
                    f"endpoint's max_frame_bytes {limit + FRAME_OVERHEAD_BYTES}: raise "
                    "it in endpoint.toml, or pass the name of a file"
                )
                refused.append(_failed(task.task_id, FailureKind.TOO_LARGE, text))
        turn.effects.append(Resolve(refused))

    def _resolve(self, outcomes: list[Outcome], now: float, turn: Turn) -> None:
        prefix = self.settings.own_prefix
        if not (prefix or self._cancels or self._early):
            # The usual case; what is below does the same to it.
            accepted, sent = self.accepted.pop, self.outbox.pop
            ended = [
                o
                for o in outcomes
                if accepted(o.task_id, None) or sent(o.task_id, None) is not None
            ]
            if ended:
                turn.effects.append(Resolve(ended))
            acks = [t for t in map(_id_of, outcomes) if KEY_MARK not in t]
            if acks:
                self.membership.send(AckResults(acks), now, turn)
            return
        news: list[Outcome] = []
        acks = []
        resumed: list[TaskId] = []
        for outcome in outcomes:
            task_id = outcome.task_id
            if self._settle(task_id):
                news.append(outcome)
            elif prefix and not task_id.startswith(prefix):
                if not self._is_resuming:
                    continue  # perhaps another process will
                if task_id not in self._resumed:
                    self._resumed.add(task_id)
                    resumed.append(task_id)
                    news.append(outcome)
            if KEY_MARK not in task_id:
                acks.append(task_id)
        if resumed:
            turn.effects.append(Resumed(resumed, is_all=False))
        if news:
            turn.effects.append(Resolve(news))
        if acks:
            self.membership.send(AckResults(acks), now, turn)

    def _show(self, output: Output, turn: Turn) -> None:
        """Pass on what workers have written, and what of it is missing."""
        left_out = output.end - len(output.text) - self._output_end
        self._output_end = output.end
        show = Show(output.pid, output.host, output.text, max(0, left_out))
        turn.effects.append(show)

    def _resume(self, task_ids: list[TaskId], turn: Turn) -> None:
        """Take over what is unfinished, or whose outcome is under way."""
        if not self._is_resuming:
            return
        news = [
            task_id
            for task_id in task_ids
            if task_id not in self._resumed
            and task_id not in self.accepted
            and task_id not in self.outbox
        ]
        self.accepted.update((task_id, (0, 0)) for task_id in news)
        self._is_resuming = False
        self._resumed.clear()
        turn.effects.append(Resumed(news, is_all=True))

    def _leave(self, now: float, turn: Turn) -> None:
        """Say goodbye behind what was asked of actors, which may be away just now."""
        for task_id in [t for t, task in self.outbox.items() if task.actor is None]:
            self._settle(task_id)
        if self.outbox and not self.membership.is_in:
            self._says_goodbye = True
            return
        self.membership.send(Goodbye("the client is done"), now, turn)
        turn.effects.append(Exit(0, "the client is done"))

    def _leave_if_accepted(self, turn: Turn) -> None:
        if self._is_leaving and not self.outbox:
            # That it never said goodbye is how the endpoint knows that it may return.
            turn.effects.append(HangUp(self.membership.door))
            turn.effects.append(Exit(0, "the client will be resumed"))

    def _settle(self, task_id: TaskId) -> bool:
        """Forget a task that has ended; false: it is not one of ours (any more)."""
        if self._cancels:
            self._cancels.pop(task_id, None)
        if self._early:
            self._early.pop(task_id, None)
        known = self.accepted.pop(task_id, None) or self.outbox.pop(task_id, None)
        return known is not None

    def _catch_up(self, task_ids: list[TaskId], turn: Turn) -> None:
        """Pass on what tasks have done before we were told that they are accepted."""
        early = [self._early.pop(t) for t in task_ids if t in self._early]
        self._progress(early, turn)

    def _progress(self, deltas: list[Delta], turn: Turn) -> None:
        news = []
        for delta in deltas:
            known = self.accepted.get(delta.task_id)
            if known is None and delta.task_id in self.outbox:
                # It began before it was on the endpoint's disk.
                self._early[delta.task_id] = delta
            rank = (delta.attempt, int(delta.state))
            if known is not None and rank > known:
                self.accepted[delta.task_id] = rank
                news.append(delta)
        if news:
            turn.effects.append(Progress(news))

    def _receive(self, items: list[Item], now: float, turn: Turn) -> None:
        """Pass items on; those of a task of ours that has ended go nowhere.

        After a loss of power an endpoint may run again what it had told the end of.
        """
        prefix = self.settings.own_prefix
        wanted: list[Item] = []
        marks: list[ItemsMark] = []
        for item in items:
            task_id = item.task_id
            is_open = task_id in self.accepted or task_id in self.outbox
            if is_open or (prefix and not task_id.startswith(prefix)):
                wanted.append(item)
            else:
                # Its generator must not wait for a reader that is gone.
                marks.append(ItemsMark(task_id, item.index + 1))
        if wanted:
            turn.effects.append(Receive(wanted))
        if marks:
            self.membership.send(ItemsTaken(marks), now, turn)

    def _cancel(self, wish: CancelNow, now: float, turn: Turn) -> None:
        """Cancel; what was never sent ends here and now."""
        known = [t for t in wish.task_ids if t in self.accepted or t in self.outbox]
        if self._epoch:
            # Asked again after each reconnection, until the tasks have ended.
            self._cancels.update(dict.fromkeys(known, wish))
            order = CancelTasks(known, *_without_tasks(wish))
            self.membership.send(order, now, turn)
        elif known:
            for task_id in known:
                del self.outbox[task_id]
            ended = [Outcome(t, 0, TaskState.CANCELLED, b"") for t in known]
            turn.effects.append(Resolve(ended))

    def _give_up(self, task_ids: list[TaskId], text: str, turn: Turn) -> None:
        lost = []
        for task_id in task_ids:
            if self._settle(task_id):
                lost.append(_failed(task_id, FailureKind.LOST, text))
        if lost:
            turn.effects.append(Resolve(lost))

    def check(self) -> None:
        """Raise AssertionError if a task is both accepted and not."""
        assert not self.outbox.keys() & self.accepted.keys()


def _failed(task_id: TaskId, kind: FailureKind, text: str) -> Outcome:
    return Outcome(task_id, 0, TaskState.FAILED, b"", Failure(kind, text))


def _without_tasks(wish: CancelNow) -> tuple[bool, float | None, bool]:
    return wish.if_running, wish.grace, wish.is_recursive
