"""Manager: drives the worker processes of one node. Pure.

    Lease ─► queues ─dealer─► a worker's backlog ─TasksRan─► outbox ─Ack─► gone
               ▲                     │
               └───── recalled, or unstarted when its worker died

Outcomes stay in the outbox until the interchange acknowledges them, whatever happens to
the link; meanwhile the workers go on.
"""

import math
import random
from collections.abc import Collection
from typing import Any

from actors.endpoint.hosts import Host, Hosts
from actors.endpoint.manager.crew import Crew, KnownWorker
from actors.endpoint.manager.dealer import Dealer
from actors.endpoint.manager.endings import Endings, key_of
from actors.endpoint.manager.farewell import EXIT_AGAIN, EXIT_BARRED, Farewell
from actors.endpoint.manager.holdings import Holdings
from actors.endpoint.manager.long_waits import LongWaits
from actors.endpoint.manager.outcomes import (
    Outcomes,
    took_too_long,
)
from actors.endpoint.manager.printing import Printing
from actors.endpoint.manager.queues import Queues
from actors.endpoint.manager.reports import Reports
from actors.endpoint.manager.settings import ManagerSettings
from actors.endpoint.manager.voice import Voice
from actors.endpoint.manager.worker_care import (
    WorkerCare,
    WorkersMeasured,
)
from actors.endpoint.manager.worker_types import WorkerTypes
from actors.endpoint.outflow import Outflow
from actors.errors import BrokenInvariant
from actors.logic.membership import Membership
from actors.logic.resources import CPU, Capacity
from actors.logic.turn import Admission, Quit, Turn
from actors.logic.workers import (
    TasksRan,
    TasksRecalled,
    WorkerDied,
    WorkerSaid,
    WorkerStarted,
    WorkerWrote,
)
from actors.messages import (
    PROTOCOL,
    AckEnded,
    AckFinished,
    ActorExits,
    ActorsStarted,
    Adopted,
    Began,
    Calls,
    CancelTasks,
    Deadlocked,
    Drain,
    EndActors,
    Failure,
    FailureKind,
    Finished,
    HandBack,
    Hello,
    Holding,
    ItemsTaken,
    ItemsYielded,
    Lease,
    LeaseCalls,
    Leased,
    LeasedCall,
    Outcome,
    Ran,
    RestartManager,
    StartActors,
    Stop,
    TaskId,
    TaskWaits,
    WaitsLong,
    WatchOutput,
    WorkerId,
    Yielded,
)

__all__ = ["Manager"]

DOOR = "interchange"


class Manager:
    """The machine; see the module's docstring."""

    def __init__(
        self, settings: ManagerSettings, chance: random.Random, now: float
    ) -> None:
        self.settings = settings
        self.membership = Membership(
            DOOR,
            self._hello,
            chance,
            entered=self._rejoin,
            left=self._left,
            barred=self._barred,
        )
        there = {each.name: each.amount for each in settings.resources}
        self.capacity = Capacity(there | {CPU: settings.slots})
        self.outbox: dict[TaskId, Outcome] = {}
        self.outflow = Outflow()
        self.queues = Queues(self.capacity)
        self.crew = Crew(settings, self.queues, self.capacity, chance, now)
        self.hosts = Hosts(settings.manager_id, self.capacity, settings.gpu_names)
        self.types = WorkerTypes(settings, self.crew, self.queues)
        self.care = WorkerCare(settings, self.crew, now)
        self.reports = Reports(settings, self.crew, self.hosts, self.care)
        self._outcomes = Outcomes(settings, self.outflow)
        self._endings = Endings(self.crew, self._outcomes)
        self._waits = LongWaits(self.crew, self.hosts)
        self.printing = Printing(self.crew, self.hosts)
        self.dealer = Dealer(
            settings,
            self.queues,
            self.crew,
            self.capacity,
            types=self.types,
            care=self.care,
            endings=self._endings,
            outflow=self.outflow,
        )
        self._voice = Voice(
            self.membership,
            self.outbox,
            reports=self.reports,
            dealer=self.dealer,
            measures=settings.care.measures,
        )
        self._holdings = Holdings(
            self.queues,
            self.crew,
            hosts=self.hosts,
            outbox=self.outbox,
            endings=self._endings,
            outflow=self.outflow,
        )
        self._farewell = Farewell(
            self._voice,
            self.membership,
            queues=self.queues,
            crew=self.crew,
            hosts=self.hosts,
            outbox=self.outbox,
            care=self.care,
            termination_grace=settings.care.termination_grace,
            now=now,
        )
        self._now = now  # of the last tick, for what is said at the door

    # The loop's calls

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Refuse everybody: a manager has no door."""
        return Admission("", "a manager admits nobody"), Turn()

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take a message from the interchange, the pool or the loop."""
        turn = Turn()
        if self.membership.take(message, sender, now, turn):
            return turn
        match message:
            case Lease(tasks):
                self._lease(tasks, now, turn)
            case StartActors(actors):
                self.hosts.start(actors, turn.effects)
                self._voice.report(now, turn)
            case LeaseCalls(calls):
                strays = self.hosts.call(calls, self.outflow, turn.effects)
                self._voice.give_back(strays, now, turn)
            case EndActors(actors, is_killed):
                self.hosts.end(actors, turn.effects, is_killed=is_killed)
            case AckEnded(actors):
                self.hosts.acknowledged(actors)
            case AckFinished(task_ids, attempt):
                outbox, streams = self.outbox, bool(self.outflow)
                for task_id in task_ids:
                    kept = outbox.pop(task_id, None)
                    if kept is None:
                        continue
                    if kept.attempt != attempt:
                        outbox[task_id] = kept
                    elif streams:
                        self.outflow.end(task_id, attempt)
            case ItemsTaken(marks):
                self.outflow.taken(marks, turn.effects)
            case CancelTasks():
                self._cancel(message, now, turn)
            case HandBack(task_ids):
                self._give_up(set(task_ids), now, turn)
            case Adopted(leases, actors):
                attempts = {lease.task_id: lease.attempt for lease in leases}
                self.outflow.keep_only(attempts, turn.effects)
                self._holdings.keep_only(attempts, turn)
                self.hosts.adopted(actors, attempts, self.outflow, turn.effects)
                # An actor that died between our knock and the answer has left calls.
                here = {holding.task_id for holding in self._holdings.held()}
                gone = [lease for lease in leases if lease.task_id not in here]
                self._voice.give_back(gone, now, turn)
            case Drain():
                self._farewell.drain_as_told(now, turn)
            case Stop(reason):
                self._farewell.stop(reason, now, turn)
            case RestartManager(reason):
                self._farewell.quit(reason, EXIT_AGAIN, now, turn)
            case Quit(reason):
                self._farewell.quit(reason, 0, now, turn)
            case TasksRan(worker_id, results):
                worker = self.crew.workers.get(worker_id)
                if worker is None:
                    host = self.hosts.by_worker[worker_id]
                    self._actor_ran(host, results, now, turn)
                else:
                    self._ran(worker, results, now, turn)
            case TasksRecalled(worker_id, seqs):
                self._recalled(self.crew.workers[worker_id], seqs, now, turn)
            case WorkerSaid(worker_id, TaskWaits(is_waiting)):
                worker = self.crew.workers.get(worker_id)
                if worker is not None and is_waiting:
                    self.crew.waits(worker, now, turn.effects)
                    self._voice.report(now, turn)
                    self._assign(now, turn)
                elif worker is not None and self.crew.waits_no_more(worker, now):
                    self.reports.hurry(now)
            case WorkerSaid(worker_id, WaitsLong() as said):
                self._voice.wait(self._waits.take(worker_id, said), now, turn)
            case Deadlocked():
                self._waits.deadlocked(message, turn.effects)
            case WorkerSaid(worker_id, Calls(seq, client_id)):
                known = self.printing.caller(worker_id, seq, client_id)
                if known is not None:
                    self.membership.send(known, now, turn)
            case WorkerSaid(worker_id, Yielded() as said):
                self._yielded(worker_id, said, now, turn)
            case WorkerSaid(worker_id, Began(seq)):
                self.hosts.began(self.hosts.by_worker[worker_id], seq, now)
            case WorkerSaid(worker_id, ActorExits()):
                self.hosts.exits(self.hosts.by_worker[worker_id], turn.effects)
            case WorkerWrote():
                for printed in self.printing.wrote(message, now):
                    self.membership.send(printed, now, turn)
            case WatchOutput(is_wanted, is_shared):
                self.printing.watch(
                    now, turn.effects, is_wanted=is_wanted, is_shared=is_shared
                )
            case WorkerStarted(worker_id, pid) if worker_id in self.hosts.by_worker:
                self.hosts.by_worker[worker_id].pid = pid
                self.reports.hurry(now)
            case WorkerStarted():
                self.crew.started(message, turn.effects)
                self.care.started(turn.effects)
                self.reports.hurry(now)
                self._assign(now, turn)
            case WorkerDied(worker_id) if worker_id in self.hosts.by_worker:
                self._actor_died(message, now, turn)
            case WorkerDied():
                self._worker_died(message, now, turn)
            case WorkersMeasured(usage, own):
                self.care.own_usage = own
                if usage.keys() - self.care.usage.keys():
                    self.reports.hurry(now)
                self.care.measured(usage, now, turn.effects)
        if self._farewell.quit_by < math.inf:
            self._farewell.quit_if_ready(now, turn)
        return turn

    def tick(self, now: float) -> Turn:
        """Let the parts do what time brings, report, and care for the membership."""
        turn = Turn()
        self._now = now
        self.membership.tick(now, turn)
        self.crew.tick(now, turn.effects)
        if self.types.wake_at <= now:
            if self.types.tick(now, turn.effects):
                self._assign(now, turn)
            self.types.release(now, turn.effects)
        self._endings.tick(now, turn.effects)
        if self.hosts.wake_at <= now:
            self.hosts.tick(now, turn.effects)
        if self.membership.is_in and self.reports.due_at <= now:
            self._voice.report(now, turn)
        self.care.tick(now, turn.effects)
        self.printing.tick(now, turn.effects)
        self._farewell.tick(now, turn)
        if self._farewell.quit_by < math.inf:
            self._farewell.quit_if_ready(now, turn)
        return turn

    @property
    def wake_at(self) -> float:
        is_in = self.membership.is_in
        return min(
            self.membership.wake_at,
            self.crew.wake_at,
            self.types.wake_at,
            self.care.wake_at,
            self._endings.wake_at,
            self.hosts.wake_at,
            self.printing.wake_at,
            self._farewell.quit_by,
            self.reports.due_at if is_in else self._farewell.abandoned_at,
        )

    # Membership

    def _hello(self) -> Hello:
        settings = self.settings
        return Hello(
            "manager",
            settings.manager_id,
            settings.instance,
            PROTOCOL,
            settings.python,
            settings.token,
            settings.pid,
            settings.host,
            settings.block_id,
            settings.slots,
            self._holdings.held(),
            self.hosts.incarnations(),
            resources=list(settings.resources),
            time_left=None
            if settings.ends_at is None
            else settings.ends_at - self._now,
            worker_type=settings.worker_type,
            tag=settings.tag,
            is_exclusive=settings.is_exclusive,
        )

    def _left(self, _: str, now: float, __: Turn) -> None:
        self._farewell.alone(now)

    def _barred(self, reason: str, turn: Turn) -> None:
        self._farewell.exit(EXIT_BARRED, reason, turn)

    def _rejoin(self, now: float, turn: Turn) -> None:
        # Whoever lets us in says so if it is wanted.
        self.printing.watch(now, turn.effects, is_wanted=False)
        # Before what is said of its calls.
        for ended in self.hosts.ended.values():
            self.membership.send(ended, now, turn)
        alive = self.hosts.alive()
        if alive:
            self.membership.send(ActorsStarted(alive), now, turn)
        for wait in self._waits.told():
            self.membership.send(wait, now, turn)
        if self.outflow and (items := list(self.outflow.untaken())):
            self.membership.send(ItemsYielded(items), now, turn)
        if self.outbox:
            finished = Finished(list(self.outbox.values()))
            self.membership.send(finished, now, turn)
        for worker in self.crew.workers.values():
            worker.reported = None
        self._voice.report(now, turn)

    # Leases

    def _lease(self, tasks: list[Leased], now: float, turn: Turn) -> None:
        if self._voice.is_draining:
            held = [Holding(t.task_id, t.attempt) for t in tasks]
            self._voice.give_back(held, now, turn)
            return
        self.care.busy_at = now
        queues = self.queues
        is_typed = False
        for task in tasks:  # `any` takes three times as long
            if task.worker_type:
                is_typed = True
                break
        if is_typed:
            tasks = self._of_known_types(tasks, now, turn)
        if self._endings:
            tasks = self._without_namesakes(tasks, now, turn)
        # All of them ask for something, or none.
        asks = bool(tasks) and tasks[0].amounts is not None
        if asks:
            queues.asking.extend(tasks)
        elif is_typed:
            for task in tasks:
                queues.of_type(task.worker_type).append(task)
        else:
            queues.plain.extend(tasks)
        self._assign(now, turn)
        if asks:
            self._tell_places(now, turn)

    def _of_known_types(
        self, tasks: list[Leased], now: float, turn: Turn
    ) -> list[Leased]:
        """Let tasks fail whose type there is not, and return the rest."""
        unknown = self.types.unknown(tasks)
        if not unknown:
            return tasks
        for task, failure in unknown:
            self._voice.finish([self._outcomes.refused(task, failure, now)], now, turn)
        strays = {key_of(task) for task, _ in unknown}
        return [task for task in tasks if key_of(task) not in strays]

    def _without_namesakes(
        self, tasks: list[Leased], now: float, turn: Turn
    ) -> list[Leased]:
        """Hand back what has the same name as a lease that is just being ended.

        An interchange that lost what it had not yet synced may count attempts anew.
        """
        ending = [task for task in tasks if self._endings.is_unwanted(task)]
        self._voice.give_back(
            [Holding(t.task_id, t.attempt) for t in ending], now, turn
        )
        return [task for task in tasks if not self._endings.is_unwanted(task)]

    def _assign(self, now: float, turn: Turn) -> None:
        self.dealer.assign(now, turn.effects)

    def _tell_places(self, now: float, turn: Turn) -> None:
        """Say how many tasks that ask for nothing may run, if that has changed."""
        if self.crew.places != self.reports.places:
            self._voice.report(now, turn)

    def _cancel(self, order: CancelTasks, now: float, turn: Turn) -> None:
        wanted = set(order.task_ids)
        ended = self.queues.take(lambda task: task.task_id in wanted)
        self._voice.finish([self._outcomes.cancelled(t, now) for t in ended], now, turn)
        self._endings.cancel(order, wanted, now, turn.effects)
        if self.hosts.by_worker:
            grace = -1.0 if order.grace is None else order.grace
            self.hosts.cancel(wanted, now, grace, turn.effects)

    def _give_up(self, wanted: Collection[TaskId], now: float, turn: Turn) -> None:
        """Hand back which of some tasks have not begun; others may begin."""
        queued = self.queues.take(lambda task: task.task_id in wanted)
        held = [Holding(t.task_id, t.attempt) for t in queued]
        self._voice.give_back(held, now, turn)
        self._endings.ask_for(wanted, turn.effects)
        self._assign(now, turn)

    # Workers

    def _ran(
        self, worker: KnownWorker, results: list[Ran], now: float, turn: Turn
    ) -> None:
        outcomes: list[Outcome] = []
        backlog, of_run = worker.backlog, self._outcomes.of_run
        limit = self._voice.payload_limit
        is_ending = bool(self._endings) or worker.why_terminated is not None
        busy = 0.0
        for ran in results:
            if not backlog or backlog[0][0] != ran.seq:
                raise BrokenInvariant(
                    f"{worker.worker_id} answered {ran.seq}, not the head of "
                    f"{[seq for seq, _ in backlog]}"
                )
            task = backlog.popleft()[1]
            busy += ran.ended_at - ran.began_at
            outcome = of_run(task, ran, worker.worker_id, limit)
            if is_ending:
                said = self._endings.of_run(task, ran, outcome, worker, now)
                if said is None:
                    continue
                outcome = said
            outcomes.append(outcome)
        worker.ran += len(results)
        self.care.busy_at = now
        worker.head_since = now if backlog else math.inf
        worker.idle_since = now
        has_asked = worker.need is not None
        if has_asked:
            self.crew.let_go(worker, now)
        self.dealer.observed(busy, len(results))
        self._voice.finish(outcomes, now, turn)
        self._endings.end_head(worker, now, turn.effects)
        if not (backlog or worker.is_open):
            self.crew.stop_if_retired(worker, turn.effects)
        if self.care.limits_itself:
            self._farewell.leave(self.care.why_leave(results), now, turn)
        self._assign(now, turn)
        if has_asked:
            self._tell_places(now, turn)

    def _recalled(
        self, worker: KnownWorker, seqs: list[int], now: float, turn: Turn
    ) -> None:
        worker.is_recalled = False
        tasks = worker.give_up(seqs)
        if not worker.backlog:
            worker.head_since = math.inf
            self.crew.stop_if_retired(worker, turn.effects)
        self._requeue(tasks, now, turn)
        self._endings.end_head(worker, now, turn.effects)
        behind = [task for _, task in worker.backlog][1:]
        ends = self._endings
        if any(ends.is_unwanted(task) or ends.is_asked_for(task) for task in behind):
            # They were assigned after the recall that this answers.
            self.crew.recall(worker, turn.effects)
        self._pass_on(now, turn)

    def _requeue(self, tasks: list[Leased], now: float, turn: Turn) -> None:
        """Put unstarted tasks back, except those that nobody wants (here) any more."""
        if self.care.counts:
            self.care.given -= len(tasks)
        cancelled = [t for t in tasks if self._endings.is_cancelled(t)]
        wanted = [t for t in tasks if not self._endings.is_unwanted(t)]
        elsewhere = [t for t in wanted if self._endings.is_asked_for(t)]
        self.queues.put_back([t for t in wanted if not self._endings.is_asked_for(t)])
        for task in tasks:
            self._endings.forget(task)
            if task.streams_from >= 0:
                # It begins anew when it is given to a worker again.
                self.outflow.end(task.task_id, task.attempt)
        self._voice.finish(
            [self._outcomes.cancelled(t, now) for t in cancelled], now, turn
        )
        held = [Holding(t.task_id, t.attempt) for t in elsewhere]
        self._voice.give_back(held, now, turn)

    def _pass_on(self, now: float, turn: Turn) -> None:
        """Let others have what has been put back."""
        if self._voice.is_draining:
            self._farewell.hand_back(now, turn)
        else:
            self._assign(now, turn)

    def _worker_died(self, death: WorkerDied, now: float, turn: Turn) -> None:
        self._voice.wait(self._waits.end(death.worker_id), now, turn)
        worker = self.crew.died(death, now)
        self.printing.died(death.worker_id)
        self.care.busy_at = now
        # Its next report tells what has become free.
        self.care.died(death.worker_id, turn.effects)
        self.reports.hurry(now)
        # What had begun may have had effects; what had not is as good as new.
        tasks = [task for _, task in worker.backlog]
        count = sum(seq <= death.begun_seq for seq, _ in worker.backlog)
        if not count and tasks and worker.is_killed:
            # Killed for the sake of its head just before the head began.
            count = int(self._endings.is_unwanted(tasks[0]))
        outcomes = [
            self._endings.of_death(task, death, worker, now) for task in tasks[:count]
        ]
        self._requeue(tasks[count:], now, turn)
        self._voice.finish([each for each in outcomes if each is not None], now, turn)
        if worker.worker_type:
            failure = self.types.died(worker, death, now)
            if failure is not None:
                self._refuse_type(worker.worker_type, failure, now, turn)
        self.crew.replace(worker, now)
        if self.care.limits_itself:
            self._farewell.leave(self.care.why_leave([]), now, turn)
        self._pass_on(now, turn)

    def _refuse_type(self, name: str, failure: Failure, now: float, turn: Turn) -> None:
        """Let all tasks fail whose type cannot be had."""
        refused = self.queues.take(lambda task: task.worker_type == name)
        outcomes = [self._outcomes.refused(task, failure, now) for task in refused]
        self._voice.finish(outcomes, now, turn)

    # Generators

    def _yielded(
        self, worker_id: WorkerId, said: Yielded, now: float, turn: Turn
    ) -> None:
        worker = self.crew.workers.get(worker_id)
        task: Leased | LeasedCall | None
        if worker is None:
            task = self.hosts.by_worker[worker_id].calls.get(said.seq)
        else:
            task = worker.head
        if task is not None:
            limit = self._voice.payload_limit
            item = self.outflow.yielded(task, said, limit, turn.effects)
            if item is not None:
                self.membership.send(ItemsYielded([item]), now, turn)

    # Actors

    def _actor_ran(
        self, host: Host, results: list[Ran], now: float, turn: Turn
    ) -> None:
        ended, is_constructed = self.hosts.ran(host, results, turn.effects)
        if is_constructed:
            self.membership.send(ActorsStarted([host.of]), now, turn)
        said, limit = self._outcomes, self._voice.payload_limit
        outcomes: list[Outcome] = []
        for call, ran, is_cancelled, is_late in ended:
            if is_cancelled:
                outcomes.append(said.cancelled(call, now))
                continue
            outcome = said.of_run(call, ran, host.worker_id, limit)
            outcomes.append(said.as_late(call, outcome) if is_late else outcome)
        self._voice.finish(outcomes, now, turn)

    def _actor_died(self, death: WorkerDied, now: float, turn: Turn) -> None:
        self._voice.wait(self._waits.end(death.worker_id), now, turn)
        host = self.hosts.by_worker[death.worker_id]
        calls = self.hosts.died(death, self._voice.payload_limit)
        self.printing.died(death.worker_id)
        self.membership.send(
            self.hosts.ended[host.of.actor_id, host.of.number], now, turn
        )
        failure = Failure(FailureKind.WORKER_DIED, calls.message, death.stderr_tail)
        ended = [(call, failure) for call in calls.begun]
        ended += [(call, took_too_long(call)) for call in calls.timed_out]
        self._voice.finish(
            [self._outcomes.of_dead_actor(*each, now) for each in ended], now, turn
        )
        for call in calls.unbegun:
            self.outflow.end(call.task_id, call.attempt)
        held = [Holding(call.task_id, call.attempt) for call in calls.unbegun]
        self._voice.give_back(held, now, turn)
        if host.need.amounts:
            self._voice.report(now, turn)
            self._assign(now, turn)

    def check(self) -> None:
        """Raise AssertionError if a task is in two places, or in a wrong one."""
        self.hosts.check()
        self.queues.check()
        self.crew.check()
        workers = self.crew.workers.values()
        places = [key_of(task) for task in self.queues]
        places += [key_of(task) for worker in workers for _, task in worker.backlog]
        assert len(places) == len(set(places)), "a task is in two places"
        self._endings.check(set(places))
        there = Capacity(self.capacity.total())
        for need, _ in self.queues.claims.values():
            there.take(need)
        for host in self.hosts.by_worker.values():
            there.take(host.need)
        for worker in workers:
            if worker.need is not None:
                is_waiting, need = worker.is_waiting, worker.need
                there.take(need.besides_processors if is_waiting else need)
        assert there.is_as_free_as(self.capacity), "something is taken by nobody"
