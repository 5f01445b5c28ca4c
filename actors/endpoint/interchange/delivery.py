"""Delivery: what clients are owed, until they have read it or left. Pure.

    outcome ──► kept, and sent ──AckResults──► forgotten
                  │        └─ too much of it is unread: the client is held back
                  └─ again at each admission

Outcomes live with the client's entry and outlive its link. For who has left they are
not even kept: its tasks are cancelled, and end for nobody.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

from actors.endpoint.interchange.books import Books
from actors.logic.clients import ClientEntry
from actors.logic.ledger import Entry
from actors.logic.records import (
    ClientForgotten,
    TasksCancelling,
    TasksFinished,
    TasksForgotten,
)
from actors.logic.turn import Turn
from actors.messages import (
    CancelTasks,
    ClientId,
    Failure,
    HandBack,
    ManagerId,
    Message,
    Notice,
    Outcome,
    Reregister,
    Results,
    Task,
    TaskEnded,
    TaskId,
    TasksListed,
    TaskState,
    UnknownTasks,
)

__all__ = ["Delivery"]

# Outcomes in one record when all tasks fail with the text of the blocks that failed.
# Chosen: such a record has a megabyte or two.
_FAILED_TOGETHER = 500
# Seconds that the calls of a client that has left have to end, until the process of an
# actor that nobody else wants is killed. Chosen: what code needs to clean up.
_CALL_GRACE = 2.0
# Looked up once: in Python 3.11 that takes long.
_SUCCESS = TaskState.SUCCESS

_Send = Callable[[str, Message, float, Turn], None]


class Delivery:
    """The machine; see the module's docstring.

    Args:
        books: of the interchange.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._ledger = books.ledger
        self._clients = books.clients
        self._streams = books.streams
        self._members = books.members
        self._max_unread_bytes = books.settings.max_unread_bytes

    # Outcomes

    def deliver(
        self,
        outcomes: list[Outcome],
        client: ClientEntry,
        now: float,
        turn: Turn,
        *,
        send: _Send | None = None,
    ) -> None:
        """Keep outcomes of a client's tasks, and send them.

        Args:
            outcomes: of tasks that are out of the ledger.
            client: whose.
            now: monotonic seconds.
            turn: what follows goes in here.
            send: how; None: after what is recorded.
        """
        books = self._books
        books.finished += len(outcomes)
        client.unfinished -= len(outcomes)
        if client.is_leaving:
            gone = [outcome.task_id for outcome in outcomes]
            turn.records.append(TasksForgotten(client.client_id, gone))
        else:
            turn.records.append(TasksFinished(client.client_id, outcomes))
            client.keep(outcomes)
            if client.leaves_more_than(self._max_unread_bytes):
                self.hold_back(client, turn)
        if self._streams:
            self._streams.ended(outcomes)
        for outcome in outcomes:
            if outcome.state is not _SUCCESS:
                books.failed += outcome.state is TaskState.FAILED
                books.cancelled += outcome.state is TaskState.CANCELLED
                message = outcome.failure.message if outcome.failure else ""
                turn.events.append(TaskEnded(outcome.task_id, outcome.state, message))
        if client.is_leaving:
            self._drop_if_empty(client)
        elif client.gone_at == math.inf:
            (send or self._members.send)(client.peer, Results(outcomes), now, turn)
        if not self._ledger.entries:
            books.is_load_news = True

    def answer(
        self, outcome: Outcome, client: ClientEntry, now: float, turn: Turn
    ) -> None:
        """Give a client the outcome of a task that never waited."""
        client.unfinished += 1
        self.deliver([outcome], client, now, turn)

    def end(
        self,
        entry: Entry,
        state: TaskState,
        failure: Failure | None,
        now: float,
        turn: Turn,
    ) -> None:
        """End a task by a decision of ours."""
        outcome = self._ledger.finish(entry, state, now, failure=failure)
        self.deliver([outcome], self._clients[entry.client_id], now, turn)

    def end_call(self, entry: Entry, outcome: Outcome, now: float, turn: Turn) -> None:
        """End a call, or a watch, that waits."""
        ended = self._ledger.finish(
            entry, outcome.state, now, tried=outcome, failure=outcome.failure
        )
        self.deliver([ended], self._clients[entry.client_id], now, turn)

    def refuse(
        self,
        tasks: list[Task],
        failure: Failure,
        client: ClientEntry,
        now: float,
        turn: Turn,
    ) -> None:
        """Let tasks fail that are not in the ledger."""
        at = now + self._books.settings.wall_offset
        refused = [
            Outcome(t.task_id, 1, TaskState.FAILED, b"", failure, at) for t in tasks
        ]
        client.unfinished += len(refused)
        self._deliver_many(refused, client, now, turn)

    def fail_all(self, failure: Failure, now: float, turn: Turn) -> None:
        """Let what waits for workers fail, also what is held back."""
        for client in self._clients.values():
            self._hold_no_longer(client)
        self.fail_waiting(failure, now, turn)

    def fail_waiting(self, failure: Failure, now: float, turn: Turn) -> None:
        """Let what waits for workers fail; actors wait on, for a better state."""
        by_client: defaultdict[ClientId, list[Outcome]] = defaultdict(list)
        for entry in list(self._ledger.those_waiting):
            outcome = self._ledger.finish(entry, TaskState.FAILED, now, failure=failure)
            by_client[entry.client_id].append(outcome)
        for client_id, outcomes in by_client.items():
            self._deliver_many(outcomes, self._clients[client_id], now, turn)
        self._books.roster.calls.fail_those_of_the_homeless(failure, now, turn)

    def _deliver_many(
        self, outcomes: list[Outcome], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        """Deliver outcomes that each carry a long text, in records of bounded size."""
        for start in range(0, len(outcomes), _FAILED_TOGETHER):
            some = outcomes[start : start + _FAILED_TOGETHER]
            self.deliver(some, client, now, turn)

    # Who does not read

    def acknowledged(
        self, task_ids: list[TaskId], client: ClientEntry, turn: Turn
    ) -> bool:
        """Forget what a client has read.

        Returns:
            Whether tasks wait now that were held back.
        """
        gone = client.acknowledge(task_ids)
        if gone:
            turn.records.append(TasksForgotten(client.client_id, gone))
        half = self._max_unread_bytes // 2
        is_let_go = client.is_held_back and client.unread_bytes <= half
        if is_let_go:
            self._let_go(client, turn)
        return is_let_go

    def hold_back(self, client: ClientEntry, turn: Turn) -> None:
        """Do nothing more for a client before it has read what is done."""
        if client.is_held_back:
            return
        client.is_held_back = True
        self._ledger.hold_back(client.client_id)
        self._call_back(client.client_id, turn)
        self._books.is_load_news = True
        text = (
            f"client {client.client_id} has left {client.unread_bytes} bytes of "
            f"results unread, max_unread_bytes is {self._max_unread_bytes}: its other "
            "tasks wait until it reads"
        )
        turn.events.append(Notice("warning", text))

    def _call_back(self, client_id: ClientId, turn: Turn) -> None:
        """Have managers hand back what they have not begun of a client's tasks."""
        # After short ones they have hundreds; each may have a large result.
        for manager in self._books.fleet.managers.values():
            unbegun = [
                task_id
                for task_id, entry in manager.leases.items()
                if entry.client_id == client_id
                and entry.state is not TaskState.RUNNING
                and not entry.is_cancelling
            ]
            if unbegun:
                # It may overtake a lease, which is carried out then: no harm is done.
                turn.sends.append((manager.peer, HandBack(unbegun)))

    def _hold_no_longer(self, client: ClientEntry) -> None:
        if client.is_held_back:
            client.is_held_back = False
            self._ledger.let_go(client.client_id)

    def _let_go(self, client: ClientEntry, turn: Turn) -> None:
        """Work again for a client that has read enough."""
        fleet = self._books.fleet
        self._hold_no_longer(client)
        self._books.is_load_news = True
        if client.is_put_off and not (fleet.is_quiesced or fleet.is_ending):
            turn.sends.append((client.peer, Reregister("tasks are taken again")))
        self._books.items.let_go_on(client, turn)

    # What clients ask for

    def claim(
        self, task_ids: list[TaskId], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        """Tell a client which tasks are not known here."""
        unknown = [
            task_id
            for task_id in task_ids
            if task_id not in self._ledger.entries
            and task_id not in client.unacknowledged
        ]
        if unknown:
            self._members.send(client.peer, UnknownTasks(unknown), now, turn)

    def list_tasks(self, client: ClientEntry, now: float, turn: Turn) -> None:
        """Tell a client of all its tasks."""
        # Seldom: once for a process that resumes what another one has begun.
        listed = TasksListed([*self._unfinished(client), *client.unacknowledged])
        self._members.send(client.peer, listed, now, turn)

    def _unfinished(self, client: ClientEntry) -> list[TaskId]:
        return [
            task_id
            for task_id, entry in self._ledger.entries.items()
            if entry.client_id == client.client_id
        ]

    def cancel(
        self,
        task_ids: Iterable[TaskId],
        now: float,
        turn: Turn,
        *,
        client: ClientEntry | None = None,
        if_running: bool = True,
        grace: float | None = None,
        is_recursive: bool = False,
    ) -> list[TaskId]:
        """Cancel tasks: waiting ones at once, leased ones through their managers.

        Args:
            task_ids: unknown and finished ones are passed over.
            now: monotonic seconds.
            turn: what follows goes in here.
            client: only its own tasks may be cancelled; None: any.
            if_running: also those that have begun.
            grace: see `CancelTasks`.
            is_recursive: see there.

        Returns:
            Those that are cancelled, or whose manager was asked.
        """
        asked: list[TaskId] = []
        cancelling: list[TaskId] = []
        at_managers: dict[ManagerId, list[TaskId]] = {}
        ended: dict[ClientId, list[Outcome]] = {}
        for task_id in task_ids:
            entry = self._ledger.entries.get(task_id)
            if entry is None or (client and entry.client_id != client.client_id):
                continue
            asked.append(task_id)
            if entry.manager_id:
                if if_running and not entry.is_cancelling:
                    entry.is_cancelling = True
                    cancelling.append(task_id)
                at_managers.setdefault(entry.manager_id, []).append(task_id)
            else:
                outcome = self._ledger.finish(entry, TaskState.CANCELLED, now)
                ended.setdefault(entry.client_id, []).append(outcome)
        if cancelling:
            turn.records.append(TasksCancelling(cancelling))
        for manager_id, ids in at_managers.items():
            peer = self._books.fleet.managers[manager_id].peer
            # A promise, so as not to overtake the lease that it is about.
            turn.promise(peer, CancelTasks(ids, if_running, grace, is_recursive))
        for client_id, outcomes in ended.items():
            self.deliver(outcomes, self._clients[client_id], now, turn)
        return asked

    # Who leaves

    def forget(self, client: ClientEntry, now: float, turn: Turn) -> None:
        """Drop a client's results; its tasks are cancelled, and end for nobody."""
        books = self._books
        turn.records.append(ClientForgotten(client.client_id))
        client.is_leaving = True
        client.gone_at = min(client.gone_at, now)
        client.forget()
        books.items.forget(client.client_id, turn)
        books.audience.forget(client.client_id, now, turn)
        self._hold_no_longer(client)
        books.roster.client_gone(client, now, turn)
        if client.unfinished:
            mine = self._unfinished(client)
            calls = self._ledger.calls.keys() & mine
            self.cancel([t for t in mine if t not in calls], now, turn)
            # Nobody else would end an actor whose method goes on and on.
            doomed = [t for t in mine if t in calls and not self._goes_on(t, client)]
            self.cancel(doomed, now, turn, grace=_CALL_GRACE)
        self._drop_if_empty(client)
        books.audience.look(now, turn)

    def _goes_on(self, task_id: TaskId, client: ClientEntry) -> bool:
        """Tell whether a call goes on although its caller has left."""
        calls = self._books.roster.calls
        is_lasting = calls.outlives_callers(self._ledger.calls[task_id])
        return is_lasting and not client.is_within

    def _drop_if_empty(self, client: ClientEntry) -> None:
        if not client.unfinished:
            self._clients.pop(client.client_id, None)
