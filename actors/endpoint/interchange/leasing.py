"""Leasing: tasks that wait go to managers that have room for them. Pure.

First what older tasks and actors wait for, then what asks for something, then the rest.
A lease of what may be started again goes off eagerly: forgotten, it is given once more,
and its manager says that it has the task. The last start that a task may have is a
promise, and waits until it is on disk.
"""

from collections.abc import Sequence

from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.delivery import Delivery
from actors.logic.fleet import ManagerEntry
from actors.logic.ledger import Entry
from actors.logic.matching import Matching
from actors.logic.records import TasksLeased
from actors.logic.resources import Need
from actors.logic.turn import Turn
from actors.messages import Lease, Leased, ManagerId, Notice, TaskId

__all__ = ["Leasing"]


class Leasing:
    """The machine; see the module's docstring.

    Args:
        books: of the interchange.
        delivery: of why nothing can be leased.
    """

    def __init__(self, books: Books, delivery: Delivery) -> None:
        self._delivery = delivery
        self._wall_offset = books.settings.wall_offset
        self._ledger = books.ledger
        self._fleet = books.fleet
        self._placement = books.placement
        self._objections = books.objections
        self._roster = books.roster
        self._streams = books.streams
        self._members = books.members
        self._relayed = books.relayed
        self._waits_for_others = False  # tasks that ask go behind some that do not
        self._was_picky = False  # the last time, not all tasks might go anywhere

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
        if self._fleet.is_quiesced or self._fleet.is_ending:
            return
        ledger, roster = self._ledger, self._roster
        is_roomier = False
        # For every task there is: the queues themselves, as to ask them takes a call.
        asking, demanding = ledger.asking.queues, ledger.demanding.queues
        if asking or roster.has_homeless:
            is_roomier = self._fleet.take_roomier()
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
        if self._fleet.bad_state is not None:
            # What was lost with one of the last managers, for one.
            self._delivery.fail_waiting(self._fleet.bad_state.failure, now, turn)

    def _place_plain(self, now: float, turn: Turn, only: ManagerEntry | None) -> None:
        if not self._placement.is_simple:
            for manager, entries in self._placement.deal(now, only):
                for entry in entries:
                    manager.hold(entry)
                self._hand_over(entries, manager, now, turn)
            self._was_picky = True
            if not self._placement.is_simple:
                return
        if self._was_picky:
            # Who had to leave some of them to others may have them now.
            self._was_picky, only = False, None
        backlog = self._ledger.backlog
        for manager, count in self._fleet.shares(backlog, only):
            leases = self._ledger.lease(
                manager.manager_id,
                manager.block_id,
                count,
                now,
                is_only_block=not self._fleet.has_other_block(manager.block_id),
            )
            if not leases:
                continue
            self._hand_over(leases, manager, now, turn)
            if not backlog.count:
                return

    def _place_asking(self, now: float, turn: Turn) -> None:
        """Lease tasks that ask for something."""
        self._ledger.asking.is_news = False
        leases: dict[ManagerId, list[Entry]] = {}

        def tell(entry: Entry, need: Need) -> None:
            self.tell_wait(entry.task.name, need, now, turn)

        suits = self._placement.suits
        matching = Matching(
            self._ledger, self._fleet, tell, lambda m, n: suits(m, n, now)
        )
        for manager, entry in matching.matches():
            self._ledger.lease_one(entry, manager.manager_id, now)
            self._placement.settle(manager, entry)
            manager.hold(entry)
            leases.setdefault(manager.manager_id, []).append(entry)
        self._waits_for_others = matching.waits_for_others
        for manager_id, entries in leases.items():
            self._hand_over(entries, self._fleet.managers[manager_id], now, turn)

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
        at = now + self._wall_offset
        turn.records.append(TasksLeased(manager.manager_id, at, ids))
        if tasks:
            # Forgotten, they are leased again: their managers say that they have them.
            self._members.send_eagerly(manager.peer, Lease(tasks), now, turn)
        if last_starts:
            turn.promise(manager.peer, Lease(last_starts))

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
            self._streams.known(task) if task.streams_from >= 0 else -1,
            needs.amounts if needs else None,
        )

    # What operators hear of those that wait

    def tell_wait(self, name: str, need: Need, now: float, turn: Turn) -> None:
        """Say what something waits for, now and then."""
        why = self._objections.explain_wait(need, now)
        if why:
            self._tell_all(f"{name} waits for {need}: {why}", now, turn)

    def tell_tags(self, now: float, turn: Turn) -> None:
        """Say which tags are waited for that no manager has, now and then."""
        for queues in (self._ledger.demanding, self._ledger.asking):
            for wish, head in queues.by_turn():
                why = wish.tag and self._objections.explain_tag(wish.tag, now)
                if why:
                    text = f"waits for a manager with the tag {wish.tag!r}: {why}"
                    self._tell_all(f"{head.task.name or 'a task'} {text}", now, turn)

    def _tell_all(self, text: str, now: float, turn: Turn) -> None:
        """Tell operators, also those who come later."""
        notice = Notice("info", text)
        turn.events.append(notice)
        self._relayed.note(notice, now)
