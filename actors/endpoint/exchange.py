"""Exchange: the interchange's part that deals with tasks. Pure.

    Submit ──► ledger ──place──► leases at managers ──Finished──► outcomes at clients

A client's tasks live in the ledger until they are finished, and their outcomes with the
client's entry until it acknowledges them; both outlive its link. A manager's leases
live with its entry until they end, or it does. Who the members are, and how they come
and go, is the business of `interchange`.

All of this is written down (`records`), and a successor rebuilds it (`restoration`).
What makes others forget, `Accepted` and `AckFinished`, is a promise, and waits until
the records are on disk; a result does not, nor does a lease of a task that may be
started again: if power is lost before the disk has their records, the client knows the
result already, or the task runs once more.
"""

import abc
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from actors.endpoint.audience import Audience
from actors.endpoint.item_flow import ItemFlow
from actors.endpoint.objections import Objections
from actors.endpoint.restoration import put_back_record
from actors.endpoint.roster import Roster
from actors.endpoint.waits import WaitTable
from actors.logic.block_errors import BadState, BlockErrors
from actors.logic.clients import ClientEntry
from actors.logic.fleet import Fleet, ManagerEntry, ordering
from actors.logic.item_streams import ItemStreams
from actors.logic.ledger import Entry, Ledger
from actors.logic.liveness import Tempo
from actors.logic.matching import Matching
from actors.logic.placement import Placement, PlacementRules
from actors.logic.records import (
    ClientForgotten,
    ManagerRemoved,
    TasksAccepted,
    TasksCancelling,
    TasksFinished,
    TasksForgotten,
    TasksLeased,
)
from actors.logic.relayed import Relays
from actors.logic.resources import Need
from actors.logic.turn import Turn
from actors.messages import (
    Accepted,
    AckFinished,
    Answer,
    BlockId,
    CancelTasks,
    ClientId,
    Command,
    Delta,
    Drain,
    Failure,
    FailureKind,
    Lease,
    Leased,
    ManagerId,
    Message,
    Needs,
    Notice,
    Outcome,
    Reregister,
    Results,
    StatesChanged,
    Stop,
    Task,
    TaskEnded,
    TaskId,
    TasksListed,
    TaskState,
    UnknownTasks,
)

__all__ = ["Exchange", "InterchangeSettings"]

# Outcomes in one record when all tasks fail with the text of the blocks that failed.
# Chosen: such a record has a megabyte or two.
_FAILED_TOGETHER = 500
# Seconds that the calls of a client that has left have to end, until the process of an
# actor that nobody else wants is killed. Chosen: what code needs to clean up.
_CALL_GRACE = 2.0
# Failures that cost an infrastructure attempt instead of ending the task.
# Looked up once: in Python 3.11 that takes long.
_SUCCESS = TaskState.SUCCESS
_INFRASTRUCTURE = frozenset(
    {
        FailureKind.WORKER_DIED,
        FailureKind.OUT_OF_MEMORY,
        FailureKind.MANAGER_LOST,
        FailureKind.BLOCK_FAILED,
    }
)


# What is wanted of actors that needs workers.
_FOR_WORKERS = frozenset({"create", "call", "supervise"})


class InterchangeSettings(msgspec.Struct, frozen=True):
    """What the interchange needs to know of its endpoint.

    Args:
        name: of the endpoint.
        epoch: random per start.
        token: what members must show.
        python: "3.11": what clients and managers must run.
        tempo: of the heartbeats.
        keep_results: seconds that an absent client's results wait for it.
        max_queued_tasks: beyond it tasks are refused.
        max_unread_bytes: of results that a client has not acknowledged; beyond it none
            of its tasks is started, and none taken.
        wall_offset: seconds since 1970 = now + wall_offset.
        node: {name: amount} of what a node has to run tasks with; CPU may be missing:
            then nodes have as many as they have.
        placement: the operator's rules of it.
    """

    name: str
    epoch: str
    token: str
    python: str
    tempo: Tempo = Tempo()
    keep_results: float = 86400.0
    max_queued_tasks: int = 1_000_000
    max_unread_bytes: int = 1 << 30
    wall_offset: float = 0.0
    node: Mapping[str, float] = msgspec.field(default_factory=dict)
    placement: PlacementRules = PlacementRules()


class Exchange(abc.ABC):
    """Tasks between clients and managers; see the module's docstring."""

    def __init__(self, settings: InterchangeSettings) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.wall_offset)
        # Chance that needs no secret: what is random is to be spread, not hidden.
        chance = random.Random(settings.epoch)
        self.fleet = Fleet(ordering(settings.placement.selector, chance))
        self.placement = Placement(settings.placement, self.ledger, self.fleet)
        self.objections = Objections(settings.placement, settings.node, self.fleet)
        self.block_errors = BlockErrors()
        self.clients: dict[ClientId, ClientEntry] = {}
        self.streams = ItemStreams(settings.max_unread_bytes)
        self.items = ItemFlow(self, self.streams)
        # The delays of its actors' restarts need chance, and nobody else's knowledge.
        self.roster = Roster(self, random.Random(settings.epoch))
        self.audience = Audience(self)
        self.waits = WaitTable(self.ledger, self.roster.actors)
        self.relayed = Relays()
        self.finished = 0  # since the start, whatever the end
        self.failed = 0
        self.cancelled = 0
        self._load_changed = True  # the strategy should hear of it soon
        self._waits_for_others = False  # tasks that ask go behind some that do not
        self.is_ending = False  # the endpoint stops: tasks are for its successor

    @abc.abstractmethod
    def _send(self, peer: str, message: Message, now: float, turn: Turn) -> None:
        """Send to a member."""

    @abc.abstractmethod
    def send(self, peer: str, message: Message, now: float, turn: Turn) -> bool:
        """Send to a member; false: there is none of that name."""

    @abc.abstractmethod
    def _send_eagerly(
        self, peer: str, message: Message, now: float, turn: Turn
    ) -> None:
        """Send to a member, perhaps before it is recorded."""

    def _promise(self, peer: str, message: Message, turn: Turn) -> None:
        """Send to a member once all that is recorded so far is safe."""
        turn.promises.append((peer, message))

    @abc.abstractmethod
    def _leave(self, peer: str, reason: str, turn: Turn, *, is_lost: bool) -> None:
        """End a membership."""

    @property
    def wall_offset(self) -> float:
        """What to add to `now` to get seconds since 1970."""
        return self.settings.wall_offset

    @abc.abstractmethod
    def obey(self, command: Command, now: float, turn: Turn) -> Answer:
        """Do what an operator asks, or say why not."""

    # Clients

    def _submit(
        self, tasks: list[Task], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        entries, done = self.ledger.entries, client.unacknowledged
        fresh = [t for t in tasks if t.task_id not in entries and t.task_id not in done]
        if len(fresh) < len(tasks) and done:
            # Who asks again for a task that has ended, under its key, has forgotten it.
            again = [done[t.task_id] for t in tasks if t.task_id in done]
            if again:
                self._send(client.peer, Results(again), now, turn)
        if self.fleet.is_quiesced or self.is_ending or client.is_held_back:
            orders, fresh = _split_orders(fresh)
            self._put_off(tasks, fresh, client, turn)
            # `resume`, for one.
            self.roster.wishes.take(orders, client, now, turn)
            return
        if self.fleet.bad_state is not None:
            self._fail_new(tasks, fresh, client, now, turn)
            return
        if not entries:
            self._load_changed = True
        room = max(0, self.settings.max_queued_tasks - len(entries))
        accepted = fresh[:room]
        for_actors: list[Task] = []
        nowhere: list[tuple[Task, Failure]] = []
        # For every task there is; `any` takes twice as long.
        asks = [t for t in accepted if t.actor is not None or t.needs is not None]
        if asks:
            # Who says an id twice means the first.
            accepted = list({t.task_id: t for t in reversed(accepted)}.values())[::-1]
            for_actors = [t for t in accepted if t.actor is not None]
            accepted, nowhere = self.objections.sort_out(
                t for t in accepted if t.actor is None
            )
        if accepted:
            at = now + self.settings.wall_offset
            turn.records.append(TasksAccepted(client.client_id, at, accepted))
            # What a task waits for goes before what may have to wait for it.
            ledger = self.ledger
            accept = ledger.accept_first if client.is_within else ledger.accept
            client.unfinished += accept(accepted, client.client_id, now)
        self._promise(client.peer, Accepted([t.task_id for t in tasks]), turn)
        if for_actors:
            self.roster.wishes.take(for_actors, client, now, turn)
        for task, failure in nowhere:
            # An id may stand there twice.
            if task.task_id not in entries and task.task_id not in done:
                self._refuse_tasks([task], failure, client, now, turn)
        if len(fresh) > room:
            failure = Failure(
                FailureKind.REFUSED,
                f"the endpoint holds {self.settings.max_queued_tasks} tasks already, "
                "its max_queued_tasks: wait for results before submitting more",
            )
            self._refuse_tasks(fresh[room:], failure, client, now, turn)
        self.place(now, turn)
        if asks:
            self._tell_tags(now, turn)

    def impossible(self, name: str, need: Need) -> Failure | None:
        """Say why no node will ever have what is needed; None: one may."""
        return self.objections.to_need(need, name)

    def objection_to(self, needs: Needs, name: str) -> Failure | None:
        """Say why nothing that this endpoint starts can have such a task."""
        return self.objections.to_needs(needs, name)

    def _refuse_unsuited(self, now: float, turn: Turn) -> None:
        """Let tasks fail that wait for what there will never be, as is known now."""
        for entry in [*self.ledger.demanding, *self.ledger.asking]:
            needs = entry.task.needs
            failure = (
                self.objections.to_needs(needs, entry.task.name) if needs else None
            )
            if failure is not None:
                self._end(entry, TaskState.FAILED, failure, now, turn)

    def _put_off(
        self, tasks: list[Task], fresh: list[Task], client: ClientEntry, turn: Turn
    ) -> None:
        """Leave new tasks to their client, which says them again when it comes back."""
        client.is_put_off = client.is_put_off or bool(fresh)
        put_off = {t.task_id for t in fresh}
        known = [t.task_id for t in tasks if t.task_id not in put_off]
        if known:
            self._promise(client.peer, Accepted(known), turn)

    def promise(self, peer: str, message: Message, turn: Turn) -> None:
        """Send to a member once all that is recorded so far is safe."""
        self._promise(peer, message, turn)

    def end_call(self, entry: Entry, outcome: Outcome, now: float, turn: Turn) -> None:
        """End a call, or a watch, that waits."""
        ended = self.ledger.finish(
            entry, outcome.state, now, tried=outcome, failure=outcome.failure
        )
        self._deliver([ended], self.clients[entry.client_id], now, turn)

    def answer(
        self, outcome: Outcome, client: ClientEntry, now: float, turn: Turn
    ) -> None:
        """Give a client the outcome of a task that never waited."""
        client.unfinished += 1
        self._deliver([outcome], client, now, turn)

    def _refuse_tasks(
        self,
        tasks: list[Task],
        failure: Failure,
        client: ClientEntry,
        now: float,
        turn: Turn,
    ) -> None:
        at = now + self.settings.wall_offset
        refused = [
            Outcome(t.task_id, 1, TaskState.FAILED, b"", failure, at) for t in tasks
        ]
        client.unfinished += len(refused)
        self._deliver_many(refused, client, now, turn)

    def _fail_new(
        self,
        tasks: list[Task],
        fresh: list[Task],
        client: ClientEntry,
        now: float,
        turn: Turn,
    ) -> None:
        """Let new tasks fail: the endpoint is in a bad state."""
        assert self.fleet.bad_state is not None
        orders, hopeless = _split_orders(fresh)
        self._promise(client.peer, Accepted([t.task_id for t in tasks]), turn)
        # `resume`, for one.
        self.roster.wishes.take(orders, client, now, turn)
        failure = _blocks_failed(self.fleet.bad_state)
        self._refuse_tasks(hopeless, failure, client, now, turn)

    def _enter_bad_state(self, bad_state: BadState, now: float, turn: Turn) -> None:
        """Let every task fail that waits, and every new one, until it is forgiven."""
        self.fleet.bad_state = bad_state
        for client in self.clients.values():
            if client.is_held_back:
                client.is_held_back = False
                self.ledger.let_go(client.client_id)
        self._fail_waiting(bad_state, now, turn)

    def _fail_waiting(self, bad_state: BadState, now: float, turn: Turn) -> None:
        """Let what waits for workers fail; actors wait on, for a better state."""
        failure = _blocks_failed(bad_state)
        by_client: defaultdict[ClientId, list[Outcome]] = defaultdict(list)
        for entry in list(self.ledger.those_waiting):
            outcome = self.ledger.finish(entry, TaskState.FAILED, now, failure=failure)
            by_client[entry.client_id].append(outcome)
        for client_id, outcomes in by_client.items():
            self._deliver_many(outcomes, self.clients[client_id], now, turn)
        self.roster.calls.fail_those_of_the_homeless(failure, now, turn)

    def _deliver_many(
        self, outcomes: list[Outcome], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        """Deliver outcomes that each carry a long text, in records of bounded size."""
        for start in range(0, len(outcomes), _FAILED_TOGETHER):
            some = outcomes[start : start + _FAILED_TOGETHER]
            self._deliver(some, client, now, turn)

    def _claim(
        self, task_ids: list[TaskId], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        unknown = [
            task_id
            for task_id in task_ids
            if task_id not in self.ledger.entries
            and task_id not in client.unacknowledged
        ]
        if unknown:
            self._send(client.peer, UnknownTasks(unknown), now, turn)

    def _list_tasks(self, client: ClientEntry, now: float, turn: Turn) -> None:
        # Seldom: once for a process that resumes what another one has begun.
        unfinished = [
            task_id
            for task_id, entry in self.ledger.entries.items()
            if entry.client_id == client.client_id
        ]
        listed = TasksListed([*unfinished, *client.unacknowledged])
        self._send(client.peer, listed, now, turn)

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
            entry = self.ledger.entries.get(task_id)
            if entry is None or (client and entry.client_id != client.client_id):
                continue
            asked.append(task_id)
            if entry.manager_id:
                if if_running and not entry.is_cancelling:
                    entry.is_cancelling = True
                    cancelling.append(task_id)
                at_managers.setdefault(entry.manager_id, []).append(task_id)
            else:
                outcome = self.ledger.finish(entry, TaskState.CANCELLED, now)
                ended.setdefault(entry.client_id, []).append(outcome)
        if cancelling:
            turn.records.append(TasksCancelling(cancelling))
        for manager_id, ids in at_managers.items():
            peer = self.fleet.managers[manager_id].peer
            # A promise, so as not to overtake the lease that it is about.
            order = CancelTasks(ids, if_running, grace, is_recursive)
            self._promise(peer, order, turn)
        for client_id, outcomes in ended.items():
            self._deliver(outcomes, self.clients[client_id], now, turn)
        return asked

    def _deliver(
        self,
        outcomes: list[Outcome],
        client: ClientEntry,
        now: float,
        turn: Turn,
        *,
        send: Callable[[str, Message, float, Turn], None] | None = None,
    ) -> None:
        self.finished += len(outcomes)
        client.unfinished -= len(outcomes)
        if client.is_leaving:
            gone = [outcome.task_id for outcome in outcomes]
            turn.records.append(TasksForgotten(client.client_id, gone))
        else:
            turn.records.append(TasksFinished(client.client_id, outcomes))
            client.keep(outcomes)
            if client.leaves_more_than(self.settings.max_unread_bytes):
                self._hold_back(client, turn)
        if self.streams:
            self.streams.ended(outcomes)
        for outcome in outcomes:
            if outcome.state is not _SUCCESS:
                self.failed += outcome.state is TaskState.FAILED
                self.cancelled += outcome.state is TaskState.CANCELLED
                message = outcome.failure.message if outcome.failure else ""
                turn.events.append(TaskEnded(outcome.task_id, outcome.state, message))
        if client.is_leaving:
            self._drop_if_empty(client)
        elif client.gone_at == math.inf:
            (send or self._send)(client.peer, Results(outcomes), now, turn)
        if not self.ledger.entries:
            self._load_changed = True

    def _hold_back(self, client: ClientEntry, turn: Turn) -> None:
        """Do nothing more for a client before it has read what is done."""
        if client.is_held_back:
            return
        client.is_held_back = True
        self.ledger.hold_back(client.client_id)
        self._load_changed = True
        text = (
            f"client {client.client_id} has left {client.unread_bytes} bytes of "
            "results unread, max_unread_bytes is "
            f"{self.settings.max_unread_bytes}: its other tasks wait until it reads"
        )
        turn.events.append(Notice("warning", text))

    def _let_go(self, client: ClientEntry, now: float, turn: Turn) -> None:
        """Work for a client again, which has read enough or has left."""
        client.is_held_back = False
        self.ledger.let_go(client.client_id)
        self._load_changed = True
        if client.is_put_off and not (self.fleet.is_quiesced or self.is_ending):
            turn.sends.append((client.peer, Reregister("tasks are taken again")))
        self.items.let_go_on(client, turn)
        self.place(now, turn)

    def _forget_client(self, client: ClientEntry, now: float, turn: Turn) -> None:
        """Drop a client's results; its tasks are cancelled, and end for nobody."""
        turn.records.append(ClientForgotten(client.client_id))
        client.is_leaving = True
        client.gone_at = min(client.gone_at, now)
        client.forget()
        self.items.forget(client.client_id, turn)
        self.audience.forget(client.client_id, now, turn)
        if client.is_held_back:
            client.is_held_back = False
            self.ledger.let_go(client.client_id)
        self.roster.client_gone(client, now, turn)
        if client.unfinished:
            mine = [
                task_id
                for task_id, entry in self.ledger.entries.items()
                if entry.client_id == client.client_id
            ]
            calls = self.ledger.calls.keys() & mine
            self.cancel([t for t in mine if t not in calls], now, turn)
            # Nobody else would end an actor whose method goes on and on.
            doomed = [t for t in mine if t in calls and not self._goes_on(t, client)]
            self.cancel(doomed, now, turn, grace=_CALL_GRACE)
        self._drop_if_empty(client)
        self.audience.look(now, turn)

    def _goes_on(self, task_id: TaskId, client: ClientEntry) -> bool:
        """Tell whether a call goes on although its caller has left."""
        is_lasting = self.roster.calls.outlives_callers(self.ledger.calls[task_id])
        return is_lasting and not client.is_within

    def _drop_if_empty(self, client: ClientEntry) -> None:
        if not client.unfinished:
            self.clients.pop(client.client_id, None)

    # Managers

    def place(
        self, now: float, turn: Turn, *, only: ManagerEntry | None = None
    ) -> None:
        """Lease what waits to those who have room.

        Args:
            now: monotonic seconds.
            turn: what follows goes in here.
            only: whose room alone has grown, and no task waits that did not wait
                before: so nobody else can get any. To look at all managers after each
                task costs more than the task if there are a hundred.
        """
        if self.fleet.is_quiesced or self.is_ending:
            return
        ledger, roster = self.ledger, self.roster
        is_roomier = False
        # For every task there is: the queues themselves, as to ask them takes a call.
        asking, demanding = ledger.asking.queues, ledger.demanding.queues
        if asking or roster.has_homeless:
            is_roomier = self.fleet.take_roomier()
            if is_roomier:
                roster.look_again()
        if roster.is_eager:
            roster.place(now, turn)
        if asking and (is_roomier or ledger.asking.is_news or self._waits_for_others):
            self._place_asking(now, turn)
        if ledger.backlog.count or demanding:
            self._place_plain(now, turn, only)
            if asking and not ledger.backlog.count:
                # Whose turn was after theirs.
                self._place_asking(now, turn)
        if self.fleet.bad_state is not None:
            # What was lost with one of the last managers, for one.
            self._fail_waiting(self.fleet.bad_state, now, turn)

    def _place_plain(self, now: float, turn: Turn, only: ManagerEntry | None) -> None:
        if not self.placement.is_simple:
            for manager, entries in self.placement.deal(now, only):
                for entry in entries:
                    manager.hold(entry)
                self._hand_over(entries, manager, now, turn)
            return
        backlog = self.ledger.backlog
        for manager, count in self.fleet.shares(backlog, only):
            leases = self.ledger.lease(
                manager.manager_id,
                manager.block_id,
                count,
                now,
                is_only_block=not self.fleet.has_other_block(manager.block_id),
            )
            if not leases:
                continue
            self._hand_over(leases, manager, now, turn)
            if not backlog.count:
                return

    def _place_asking(self, now: float, turn: Turn) -> None:
        """Lease tasks that ask for something."""
        self.ledger.asking.is_news = False
        leases: dict[ManagerId, list[Entry]] = {}

        def tell(entry: Entry, need: Need) -> None:
            self.tell_wait(entry.task.name, need, now, turn)

        suits = self.placement.suits
        matching = Matching(
            self.ledger, self.fleet, tell, lambda m, n: suits(m, n, now)
        )
        for manager, entry in matching.matches():
            self.ledger.lease_one(entry, manager.manager_id, now)
            self.placement.settle(manager, entry)
            manager.hold(entry)
            leases.setdefault(manager.manager_id, []).append(entry)
        self._waits_for_others = matching.waits_for_others
        for manager_id, entries in leases.items():
            self._hand_over(entries, self.fleet.managers[manager_id], now, turn)

    def tell_wait(self, name: str, need: Need, now: float, turn: Turn) -> None:
        """Say what something waits for, now and then."""
        why = self.objections.explain_wait(need, now)
        if why:
            self._tell_all(f"{name} waits for {need}: {why}", now, turn)

    def _tell_tags(self, now: float, turn: Turn) -> None:
        """Say which tags are waited for that no manager has, now and then."""
        for queues in (self.ledger.demanding, self.ledger.asking):
            for wish, head in queues.by_turn():
                why = wish.tag and self.objections.explain_tag(wish.tag, now)
                if why:
                    text = f"waits for a manager with the tag {wish.tag!r}: {why}"
                    self._tell_all(f"{head.task.name or 'a task'} {text}", now, turn)

    def _tell_all(self, text: str, now: float, turn: Turn) -> None:
        """Tell operators, also those who come later."""
        notice = Notice("info", text)
        turn.events.append(notice)
        self.relayed.note(notice, now)

    def _hand_over(
        self, leases: Sequence[Entry], manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        held = manager.leases
        tasks: list[Leased] = []
        last_starts: list[Leased] = []
        ids: list[TaskId] = []
        for entry in leases:
            task = entry.task
            task_id = task.task_id
            held[task_id] = entry
            ids.append(task_id)
            if task.needs is None and task.streams_from < 0:
                leased = Leased(
                    task_id, entry.attempt, task.function, task.arguments, task.timeout
                )
            else:
                leased = self._leased(entry)
            # What may not be started again must not be forgotten to have been started;
            # nor the items that it will not yield again.
            is_last = entry.lost_starts >= task.retries or leased.streams_from > 0
            (last_starts if is_last else tasks).append(leased)
        at = now + self.settings.wall_offset
        turn.records.append(TasksLeased(manager.manager_id, at, ids))
        if tasks:
            # Forgotten, they are leased again: their managers say that they have them.
            self._send_eagerly(manager.peer, Lease(tasks), now, turn)
        if last_starts:
            self._promise(manager.peer, Lease(last_starts), turn)

    def _leased(self, entry: Entry) -> Leased:
        """Say all that there may be to say of a task."""
        task, needs = entry.task, entry.task.needs
        return Leased(
            task.task_id,
            entry.attempt,
            task.function,
            task.arguments,
            task.timeout,
            needs.worker_type if needs else "",
            self.streams.known(task) if task.streams_from >= 0 else -1,
            needs.amounts if needs else None,
        )

    def _finished(
        self, outcomes: list[Outcome], manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        by_client: defaultdict[ClientId, list[Outcome]] = defaultdict(list)
        held, finish = manager.leases, self.ledger.finish
        is_plain = manager.has_plain_leases_only
        freed: ManagerEntry | None = manager  # None: perhaps others, too
        for outcome in outcomes:
            entry = held.get(outcome.task_id)
            if entry is not None and outcome.state is _SUCCESS:
                # As `_finish` would, which has more to ask.
                if is_plain:
                    del held[outcome.task_id]
                else:
                    manager.release(outcome.task_id, now)
                ended = finish(entry, _SUCCESS, now, tried=outcome)
                by_client[entry.client_id].append(ended)
                continue
            freed = None
            final = self._finish(outcome, manager, now, turn)
            if final is not None:
                client_id, ended = final
                by_client[client_id].append(ended)
        # A duplicate, or a task that nobody knows, is acknowledged again.
        firsts = [o.task_id for o in outcomes if o.attempt == 1]
        if firsts:
            self._promise(manager.peer, AckFinished(firsts), turn)
        if len(firsts) < len(outcomes):
            for outcome in outcomes:
                if outcome.attempt != 1:
                    ack = AckFinished([outcome.task_id], outcome.attempt)
                    self._promise(manager.peer, ack, turn)
        if by_client:
            manager.note_idle(now)
            self.block_errors.note_worked(manager.block_id)
        for client_id, ended_now in by_client.items():
            # Forgotten, they are told again: the manager keeps them until the ack.
            client = self.clients[client_id]
            self._deliver(ended_now, client, now, turn, send=self._send_eagerly)
        self._stop_if_drained(manager, now, turn)
        self.place(now, turn, only=freed)

    def _finish(
        self, outcome: Outcome, manager: ManagerEntry, now: float, turn: Turn
    ) -> tuple[ClientId, Outcome] | None:
        entry = self.ledger.entries.get(outcome.task_id)
        if entry is None:
            manager.release(outcome.task_id, now)
            return None
        is_holder = entry.manager_id == manager.manager_id
        failure = outcome.failure
        is_infrastructure = failure is not None and failure.kind in _INFRASTRUCTURE
        is_conclusive = outcome.state is TaskState.SUCCESS or (
            outcome.state is TaskState.FAILED and not is_infrastructure
        )
        if not is_holder and not is_conclusive:
            return None
        if (
            is_holder
            and not is_conclusive
            and outcome.attempt < entry.attempt
            and outcome.attempt != entry.claimed
        ):
            # Told again, as our acknowledgement was lost: it has a newer lease by now.
            return None
        if is_holder:
            manager.release(outcome.task_id, now)
        elif entry.manager_id:
            # It came back from the lost with a result: the other try is in vain.
            other = self.fleet.managers[entry.manager_id]
            other.release(outcome.task_id, now)
            self._promise(other.peer, CancelTasks([outcome.task_id]), turn)
        # The death of an older attempt was counted when that attempt was given up.
        is_counted = outcome.attempt != entry.attempt
        if (
            failure is not None
            and is_infrastructure
            and not entry.is_cancelling
            and (is_counted or self.ledger.may_start_again(entry))
        ):
            self.ledger.put_back(
                entry,
                failure.message,
                now,
                was_lost=not is_counted,
                avoid=manager.block_id,
                tried=outcome,
            )
            turn.records.append(put_back_record(entry))
            if entry.task.actor is not None:
                self.roster.calls.wait_again(entry)
            return None
        state = outcome.state
        if is_infrastructure and entry.is_cancelling:
            state, failure = TaskState.CANCELLED, None
        elif is_infrastructure and entry.task.actor is not None:
            failure, payload = self.roster.calls.failure_for(entry)
            outcome = msgspec.structs.replace(outcome, payload=payload)
        elif failure is not None and is_infrastructure:
            failure = _without_retries(failure, entry)
        ended = self.ledger.finish(entry, state, now, tried=outcome, failure=failure)
        return entry.client_id, ended

    def _progress(
        self, deltas: list[Delta], manager: ManagerEntry, now: float, turn: Turn
    ) -> None:
        by_client: dict[ClientId, list[Delta]] = {}
        for delta in deltas:
            if delta.task_id in manager.leases:
                entry = self.ledger.progress(delta)
                if entry is not None:
                    by_client.setdefault(entry.client_id, []).append(delta)
        for client_id, news in by_client.items():
            client = self.clients[client_id]
            if client.gone_at == math.inf:
                self._send(client.peer, StatesChanged(news), now, turn)

    def _leased_entry(self, task_id: TaskId, manager: ManagerEntry) -> Entry | None:
        entry = self.ledger.entries.get(task_id)
        if entry is not None and entry.manager_id == manager.manager_id:
            return entry
        return None

    def _put_back(
        self, entry: Entry, manager: ManagerEntry, why: str, now: float, turn: Turn
    ) -> None:
        """Let an unstarted task wait again, or end it if it was being cancelled."""
        manager.release(entry.task.task_id, now)
        if entry.is_cancelling:
            self._end(entry, TaskState.CANCELLED, None, now, turn)
        else:
            self.ledger.put_back(entry, why, now, was_lost=False, avoid=BlockId(""))
            turn.records.append(put_back_record(entry))
            if entry.task.actor is not None:
                self.roster.calls.wait_again(entry)

    def _end(
        self,
        entry: Entry,
        state: TaskState,
        failure: Failure | None,
        now: float,
        turn: Turn,
    ) -> None:
        outcome = self.ledger.finish(entry, state, now, failure=failure)
        self._deliver([outcome], self.clients[entry.client_id], now, turn)

    def _lose_manager(
        self, manager: ManagerEntry, reason: str, now: float, turn: Turn
    ) -> None:
        """Give up a manager: what it had is started again elsewhere, or fails."""
        where = f"manager {manager.manager_id} on {manager.host or 'an unnamed host'}"
        if now >= manager.drain_at:
            where += (
                f", whose block {manager.block_id} had come to the end of its time,"
            )
        failure = Failure(
            FailureKind.MANAGER_LOST,
            f"{where} was lost while it held the task, which may have run",
            reason,
        )
        self.roster.manager_lost(manager, now, turn)
        for task_id in list(manager.all_leases):
            entry = self._leased_entry(task_id, manager)
            manager.release(task_id, now)
            if entry is None:
                continue
            if entry.is_cancelling:
                self._end(entry, TaskState.CANCELLED, None, now, turn)
            elif self.ledger.may_start_again(entry):
                self.ledger.put_back(
                    entry,
                    f"{where} was lost",
                    now,
                    was_lost=True,
                    avoid=manager.block_id,
                )
                turn.records.append(put_back_record(entry))
                if entry.task.actor is not None:
                    self.roster.calls.wait_again(entry)
            elif entry.task.actor is not None:
                text, _ = self.roster.calls.failure_for(entry)
                self._end(entry, TaskState.FAILED, text, now, turn)
            else:
                text = _without_retries(failure, entry)
                self._end(entry, TaskState.FAILED, text, now, turn)
        self._remove_manager(manager, reason, turn, is_lost=True)
        self.place(now, turn)

    def _remove_manager(
        self, manager: ManagerEntry, reason: str, turn: Turn, *, is_lost: bool
    ) -> None:
        self.waits.manager_gone(manager.manager_id)
        if self.fleet.managers.pop(manager.manager_id, None) is not None:
            turn.records.append(ManagerRemoved(manager.manager_id))
        self.fleet.laid_out.discard(manager.manager_id)
        self.fleet.exclusive.discard(manager.manager_id)
        self._leave(manager.peer, reason, turn, is_lost=is_lost)
        self._load_changed = True

    def drain(self, manager: ManagerEntry, now: float, turn: Turn) -> None:
        """Give a manager nothing more; once it has nothing left, it ends."""
        if not manager.is_draining:
            manager.is_draining = True
            # Whoever gets it knows that no lease is under way any more.
            self._promise(manager.peer, Drain(), turn)
            self._stop_if_drained(manager, now, turn)

    def _stop_if_drained(self, manager: ManagerEntry, now: float, turn: Turn) -> None:
        if manager.is_draining and not manager.is_busy and not manager.is_stopping:
            manager.is_stopping = True
            # It would take unacknowledged outcomes with it.
            self._promise(manager.peer, Stop("drained"), turn)


def _split_orders(tasks: list[Task]) -> tuple[list[Task], list[Task]]:
    """Tell what the endpoint does by itself from what needs workers."""
    orders = [t for t in tasks if t.actor and t.actor.verb not in _FOR_WORKERS]
    return orders, [t for t in tasks if t not in orders] if orders else tasks


def _blocks_failed(bad_state: BadState) -> Failure:
    return Failure(FailureKind.BLOCK_FAILED, bad_state.text, bad_state.detail)


def _without_retries(failure: Failure, entry: Entry) -> Failure:
    starts = entry.lost_starts + 1
    return Failure(
        failure.kind,
        f"{failure.message} (start {starts} of {entry.task.retries + 1} that retries="
        f"{entry.task.retries} allows)",
        failure.detail,
    )
