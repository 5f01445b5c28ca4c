"""Intake: which tasks of clients are taken, and which fail at once. Pure.

Submit ─► taken: recorded, Accepted, and it waits
       ├► refused: Accepted, and failed: too many, nowhere to run, a bad state
       └► put off: it stays with its client, which says it again when called back
"""

from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.delivery import Delivery
from actors.endpoint.interchange.leasing import Leasing
from actors.logic.clients import ClientEntry
from actors.logic.records import TasksAccepted
from actors.logic.turn import Turn
from actors.messages import (
    Accepted,
    Failure,
    FailureKind,
    Results,
    Task,
    TaskState,
)

__all__ = ["Intake"]

# What is wanted of actors that needs workers.
_FOR_WORKERS = frozenset({"create", "call", "supervise"})


class Intake:
    """The machine; see the module's docstring.

    Args:
        books: of the interchange.
        leasing: of what is taken.
        delivery: of why the rest fails.
    """

    def __init__(self, books: Books, leasing: Leasing, delivery: Delivery) -> None:
        self._books = books
        self._settings = books.settings
        self._ledger = books.ledger
        self._fleet = books.fleet
        self._objections = books.objections
        self._wishes = books.roster.wishes
        self._leasing = leasing
        self._delivery = delivery

    def submit(
        self, tasks: list[Task], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        """Take a client's tasks; those that are known are accepted again."""
        entries, done = self._ledger.entries, client.unacknowledged
        fresh = [t for t in tasks if t.task_id not in entries and t.task_id not in done]
        if len(fresh) < len(tasks) and done:
            # Who asks again for a task that has ended, under its key, has forgotten it.
            again = [done[t.task_id] for t in tasks if t.task_id in done]
            if again:
                self._books.members.send(client.peer, Results(again), now, turn)
        fleet = self._fleet
        if fleet.is_quiesced or fleet.is_ending or client.is_held_back:
            orders, fresh = _split_orders(fresh)
            self._put_off(tasks, fresh, client, turn)
            # `resume`, for one.
            self._wishes.take(orders, client, now, turn)
            return
        if fleet.bad_state is not None:
            orders, hopeless = _split_orders(fresh)
            turn.promise(client.peer, Accepted([t.task_id for t in tasks]))
            # `resume`, for one.
            self._wishes.take(orders, client, now, turn)
            failure = fleet.bad_state.failure
            self._delivery.refuse(hopeless, failure, client, now, turn)
            return
        if not entries:
            self._books.is_load_news = True
        room = max(0, self._settings.max_queued_tasks - len(entries))
        accepted = fresh[:room]
        for_actors: list[Task] = []
        nowhere: list[tuple[Task, Failure]] = []
        # For every task there is; `any` takes twice as long.
        asks = [t for t in accepted if t.actor is not None or t.needs is not None]
        if asks:
            # Who says an id twice means the first.
            accepted = list({t.task_id: t for t in reversed(accepted)}.values())[::-1]
            for_actors = [t for t in accepted if t.actor is not None]
            accepted, nowhere = self._objections.sort_out(
                t for t in accepted if t.actor is None
            )
        if accepted:
            at = now + self._settings.wall_offset
            turn.records.append(TasksAccepted(client.client_id, at, accepted))
            # What a task waits for goes before what may have to wait for it.
            ledger = self._ledger
            accept = ledger.accept_first if client.is_within else ledger.accept
            client.unfinished += accept(accepted, client.client_id, now)
        turn.promise(client.peer, Accepted([t.task_id for t in tasks]))
        if for_actors:
            self._wishes.take(for_actors, client, now, turn)
        for task, failure in nowhere:
            # An id may stand there twice.
            if task.task_id not in entries and task.task_id not in done:
                self._delivery.refuse([task], failure, client, now, turn)
        if len(fresh) > room:
            failure = Failure(
                FailureKind.REFUSED,
                f"the endpoint holds {self._settings.max_queued_tasks} tasks already, "
                "its max_queued_tasks: wait for results before submitting more",
            )
            self._delivery.refuse(fresh[room:], failure, client, now, turn)
        self._leasing.place(now, turn)
        if asks:
            self._leasing.tell_tags(now, turn)

    @staticmethod
    def _put_off(
        tasks: list[Task], fresh: list[Task], client: ClientEntry, turn: Turn
    ) -> None:
        """Leave new tasks to their client, which says them again when it comes back."""
        client.is_put_off = client.is_put_off or bool(fresh)
        put_off = {t.task_id for t in fresh}
        known = [t.task_id for t in tasks if t.task_id not in put_off]
        if known:
            turn.promise(client.peer, Accepted(known))

    def refuse_unsuited(self, now: float, turn: Turn) -> None:
        """Let tasks fail that wait for what there will never be, as is known now."""
        for entry in [*self._ledger.demanding, *self._ledger.asking]:
            needs = entry.task.needs
            failure = (
                self._objections.to_needs(needs, entry.task.name) if needs else None
            )
            if failure is not None:
                self._delivery.end(entry, TaskState.FAILED, failure, now, turn)


def _split_orders(tasks: list[Task]) -> tuple[list[Task], list[Task]]:
    """Tell what the endpoint does by itself from what needs workers."""
    orders = [t for t in tasks if t.actor and t.actor.verb not in _FOR_WORKERS]
    return orders, [t for t in tasks if t not in orders] if orders else tasks
