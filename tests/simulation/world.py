"""A whole endpoint in one process: real machines, fake clock, network and jobs.

Everything that happens is an event on one heap, and every choice comes from one seeded
random source, so a seed is a complete description of a run. The network loses
connections (and what is under way on them), delays, and reorders across links; within
a link messages keep their order, as nng's do. Frames are encoded and decoded on the way
as between real processes. Actors crash between two messages, and between saving a
turn's records and sending its messages.
"""

import heapq
import itertools
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from actors.api.session import CancelNow, Resolve, Session, SessionSettings, SubmitNow
from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.manager import (
    Manager,
    ManagerSettings,
    MeasureWorkers,
    WorkersMeasured,
)
from actors.endpoint.provider import (
    CancelJobs,
    JobReport,
    JobsPolled,
    JobSubmitted,
    PollJobs,
    Provider,
    ProviderSettings,
    SubmitJob,
)
from actors.endpoint.strategy import Strategy, StrategySettings
from actors.logic.liveness import Tempo
from actors.logic.scaling import Bounds
from actors.logic.turn import (
    Answered,
    Exit,
    HangUp,
    Knock,
    LinkClosed,
    Machine,
    Turn,
)
from actors.logic.workers import (
    AssignTasks,
    KillWorker,
    RecallTasks,
    StartWorker,
    TasksRan,
    TasksRecalled,
    WorkerDied,
    WorkerStarted,
)
from actors.messages import (
    BlockId,
    BlockState,
    ClientId,
    Decoder,
    Hello,
    ManagerId,
    Message,
    Outcome,
    Published,
    Ran,
    Refused,
    Run,
    Task,
    TaskId,
    TaskState,
    Welcome,
    WorkerId,
    encode_frame,
    from_member,
    provider_to_strategy,
    strategy_to_provider,
    to_member,
)

TEMPO = Tempo(period=2.0, threshold=8.0, reconnect_grace=1.5)


class Heart:
    """The clock and the heap of what is to happen."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, delay: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), event))

    def step(self) -> bool:
        if not self._events:
            return False
        at, _, event = heapq.heappop(self._events)
        self.now = max(self.now, at)
        event()
        return True


class Node:
    """One actor: its machine, its links, its life."""

    def __init__(self, world: "World", name: str, machine: Machine) -> None:
        self.world = world
        self.name = name
        self.machine = machine
        self.is_alive = True
        self.links: dict[str, Wire] = {}  # {peer as this machine calls it: link}
        self._knocks: dict[str, int] = {}  # {door: number of the newest knock}
        self._ticks_at = float("inf")

    def tell(self, message: Any, sender: str = "") -> None:
        if self.is_alive:
            turn = self.machine.handle(message, sender, self.world.now)
            self.carry_out(turn)

    def carry_out(self, turn: Turn) -> None:
        self.machine.check()
        self.save(turn.records)
        if self.world.crashes_now(self):
            return
        for peer, message in turn.sends:
            if peer in self.links:
                self.links[peer].send(self, message)
        for event in turn.events:
            self.world.publish(self, event)
        for effect in turn.effects:
            self.do(effect)
        self.schedule()

    def save(self, records: list[Any]) -> None:
        pass

    def do(self, effect: Any) -> None:
        match effect:
            case Knock(door, hello):
                number = self._knocks[door] = self._knocks.get(door, 0) + 1
                self.world.knock(self, door, hello, number)
            case HangUp(peer):
                link = self.links.pop(peer, None)
                if link is not None:
                    link.close(by=self)
            case _:
                raise AssertionError(f"{self.name} cannot do {effect!r}")

    def answered(self, door: str, number: int, answer: Welcome | Refused) -> None:
        if self.is_alive and self._knocks[door] == number:
            self.tell(Answered(door, answer))

    def schedule(self) -> None:
        at = self.machine.wake_at
        if at < self._ticks_at and at != float("inf"):
            self._ticks_at = at
            # Never at the very same moment: time passes between two turns.
            self.world.heart.after(max(at - self.world.now, 1e-6), self._tick)

    def _tick(self) -> None:
        if self.is_alive and self._ticks_at <= self.world.now:
            self._ticks_at = float("inf")
            if self.machine.wake_at <= self.world.now:
                self.carry_out(self.machine.tick(self.world.now))
            else:
                self.schedule()
        elif self.is_alive:
            self.world.heart.after(self._ticks_at - self.world.now, self._tick)

    def crash(self) -> None:
        self.is_alive = False
        for link in list(self.links.values()):
            link.close(by=self)
        self.links.clear()


class Wire:
    """One pair of sockets: ordered both ways, until it breaks."""

    def __init__(
        self, world: "World", ends: dict[Node, tuple[str, Decoder[Any]]]
    ) -> None:
        self.world = world
        self._ends = ends  # {end: (peer as it calls the other, what it may receive)}
        self._arrivals: dict[Node, float] = defaultdict(float)
        self.is_open = True

    def send(self, sender: Node, message: Message) -> None:
        if not self.is_open:
            return
        (receiver,) = [end for end in self._ends if end is not sender]
        frame = encode_frame([message])
        at = self.world.now + self.world.delay()
        at = self._arrivals[receiver] = max(at, self._arrivals[receiver] + 1e-9)
        self.world.heart.after(
            at - self.world.now, lambda: self._arrive(receiver, frame)
        )

    def _arrive(self, receiver: Node, frame: bytes) -> None:
        if not self.is_open:
            return
        peer, decoder = self._ends[receiver]
        for message in decoder.decode(frame):
            receiver.tell(message, peer)

    def close(self, by: Node | None = None) -> None:
        """Break it; each end but the one that closed it learns so, in its time."""
        if not self.is_open:
            return
        self.is_open = False
        for end, (peer, _) in self._ends.items():
            if end is not by:
                self.world.heart.after(
                    self.world.delay(), lambda end=end, peer=peer: self._tell(end, peer)
                )

    def _tell(self, end: Node, peer: str) -> None:
        if end.links.get(peer) is self:
            del end.links[peer]
            end.tell(LinkClosed(peer))


@dataclass
class FakeWorker:
    """A process that runs tasks one after another."""

    worker_id: WorkerId
    backlog: deque[Run] = field(default_factory=deque)
    begun_seq: int = 0
    is_busy: bool = False
    is_alive: bool = True


class ManagerNode(Node):
    """A manager with its workers."""

    machine: Manager

    def __init__(self, world: "World", name: str, machine: Manager, job: "Job") -> None:
        super().__init__(world, name, machine)
        self.job = job
        self.workers: dict[WorkerId, FakeWorker] = {}

    def do(self, effect: Any) -> None:
        heart, chance = self.world.heart, self.world.chance
        match effect:
            case StartWorker(worker_id):
                worker = self.workers[worker_id] = FakeWorker(worker_id)
                heart.after(chance.uniform(0, 0.1), lambda: self._started(worker))
            case AssignTasks(worker_id, runs):
                worker = self.workers[worker_id]
                worker.backlog.extend(runs)
                self._run_next(worker)
            case RecallTasks(worker_id):
                worker = self.workers[worker_id]
                heart.after(self.world.delay() / 10, lambda: self._recall(worker))
            case KillWorker(worker_id):
                worker = self.workers[worker_id]
                heart.after(self.world.delay() / 10, lambda: self.kill(worker))
            case MeasureWorkers():
                self.tell(WorkersMeasured({}))
            case Exit(code, reason):
                self.world.note(f"{self.name} exits {code}: {reason}")
                self.is_alive = False
                # What was sent before the exit still arrives.
                heart.after(2.0, self.crash)
                self.job.node_ended(code)
            case _:
                super().do(effect)

    def _started(self, worker: FakeWorker) -> None:
        if worker.is_alive:
            self.tell(WorkerStarted(worker.worker_id, 1))

    def _run_next(self, worker: FakeWorker) -> None:
        if worker.is_busy or not worker.backlog or not worker.is_alive:
            return
        run = worker.backlog.popleft()
        worker.is_busy = True
        worker.begun_seq = run.seq
        self.world.executions[run.arguments] += 1
        began = self.world.now
        duration = self.world.chance.choice((0.0001, 0.001, 0.2, 3.0))
        self.world.heart.after(duration, lambda: self._ran(worker, run, began))

    def _ran(self, worker: FakeWorker, run: Run, began: float) -> None:
        if not worker.is_alive or not self.is_alive:
            return
        worker.is_busy = False
        ran = Ran(run.seq, True, run.arguments, began, self.world.now)
        self.tell(TasksRan(worker.worker_id, [ran]))
        self._run_next(worker)

    def _recall(self, worker: FakeWorker) -> None:
        if worker.is_alive:
            seqs = [run.seq for run in worker.backlog]
            worker.backlog.clear()
            self.tell(TasksRecalled(worker.worker_id, seqs))

    def kill(self, worker: FakeWorker) -> None:
        if worker.is_alive and self.is_alive:
            worker.is_alive = False
            del self.workers[worker.worker_id]
            death = WorkerDied(
                worker.worker_id, None, 9, 0, 0.0, worker.begun_seq, "killed"
            )
            self.tell(death)

    def crash(self) -> None:
        for worker in self.workers.values():
            worker.is_alive = False
        if self.is_alive:
            self.job.node_ended(137)
        super().crash()


class ProviderNode(Node):
    """The provider; its journal and its jobs outlive it."""

    machine: Provider

    def save(self, records: list[Any]) -> None:
        self.world.provider_journal.extend(records)

    def do(self, effect: Any) -> None:
        world = self.world
        match effect:
            case SubmitJob(block_id, may_exist):
                world.heart.after(
                    world.delay(), lambda: self._submit(block_id, may_exist)
                )
            case PollJobs(jobs):
                reports = {b: world.jobs[b].report() for b in jobs}
                world.heart.after(world.delay(), lambda: self.tell(JobsPolled(reports)))
            case CancelJobs(jobs):
                for block_id in jobs:
                    world.jobs[block_id].cancel()
            case _:
                super().do(effect)

    def _submit(self, block_id: BlockId, may_exist: bool) -> None:
        if not self.is_alive:
            return
        if block_id not in self.world.jobs:
            self.world.jobs[block_id] = Job(self.world, block_id)
        else:
            assert may_exist, f"{block_id} was submitted twice"
        if self.world.crashes_now(self):
            return
        self.tell(JobSubmitted(block_id, f"job-{block_id}"))


class Job:
    """A job of the batch system: a manager per node."""

    def __init__(self, world: "World", block_id: BlockId) -> None:
        self.world = world
        self.block_id = block_id
        self.state = BlockState.PENDING
        self.exit_codes: list[int] = []
        self.managers: list[ManagerNode] = []
        world.heart.after(world.chance.uniform(0.01, 1.0), self._start)

    def _start(self) -> None:
        if self.state is BlockState.PENDING:
            self.state = BlockState.RUNNING
            for node in range(self.world.nodes_per_block):
                self.managers.append(self.world.add_manager(self, node))

    def node_ended(self, code: int) -> None:
        self.exit_codes.append(code)
        if len(self.exit_codes) == self.world.nodes_per_block:
            if self.state is BlockState.RUNNING:
                good = not any(self.exit_codes)
                self.state = BlockState.COMPLETED if good else BlockState.FAILED

    def cancel(self) -> None:
        if self.state.is_active:
            self.state = BlockState.CANCELLED
            for manager in self.managers:
                if manager.is_alive:
                    manager.crash()

    def report(self) -> JobReport:
        code = max(self.exit_codes, default=None)
        return JobReport(self.state, code if not self.state.is_active else None)


class ClientNode(Node):
    """A client that counts how often each of its tasks was resolved."""

    machine: Session

    def __init__(self, world: "World", name: str, machine: Session) -> None:
        super().__init__(world, name, machine)
        self.resolved: dict[TaskId, list[Outcome]] = defaultdict(list)
        self.submitted: dict[TaskId, Task] = {}
        self.cancelled: set[TaskId] = set()

    def submit(self, count: int) -> None:
        tasks = []
        for _ in range(count):
            task_id = TaskId(f"{self.name}-{len(self.submitted)}")
            retries = self.world.chance.choice((0, 1, 3, 100))
            priority = self.world.chance.choice((0, 0, 0, 5))
            task = Task(
                task_id, b"f", task_id.encode(), self.world.now, retries, priority
            )
            self.submitted[task_id] = task
            tasks.append(task)
        self.tell(SubmitNow(tasks))

    def cancel_some(self) -> None:
        open_ids = [t for t in self.submitted if t not in self.resolved]
        if open_ids:
            some = self.world.chance.sample(open_ids, min(3, len(open_ids)))
            self.cancelled.update(some)
            self.tell(CancelNow(some, self.world.chance.random() < 0.7))

    def do(self, effect: Any) -> None:
        if isinstance(effect, Resolve):
            for outcome in effect.outcomes:
                self.resolved[outcome.task_id].append(outcome)
        elif isinstance(effect, (Knock, HangUp)):
            super().do(effect)

    @property
    def is_done(self) -> bool:
        return self.submitted.keys() == self.resolved.keys()


class World:
    """One run.

    Args:
        seed: of every choice.
        faults: whether connections break and actors crash.
    """

    def __init__(self, seed: int, *, faults: bool = True) -> None:
        self.chance = random.Random(seed)
        self.heart = Heart()
        self.faults = faults
        self.nodes_per_block = self.chance.choice((1, 1, 2))
        self.slots = self.chance.choice((1, 2, 4))
        self.executions: Counter[bytes] = Counter()
        self.jobs: dict[BlockId, Job] = {}
        self.provider_journal: list[Any] = []
        self.story: list[str] = []
        self._crash_rate = self.chance.choice((0.0, 0.001, 0.01)) if faults else 0.0
        self._incarnations = itertools.count()
        self._published = 0
        max_blocks = self.chance.choice((1, 2, 3))
        self._kind: Literal["none", "simple"]
        self._kind = self.chance.choice(("simple", "simple", "none"))
        # Strategy none replaces lost blocks up to min_blocks only.
        self._bounds = Bounds(
            1 if self._kind == "none" else self.chance.choice((0, 1)),
            max_blocks,
            self.slots * self.nodes_per_block,
            self.chance.choice((0.0, 0.5, 1.0)),
            self.chance.choice((1.0, 5.0)),
        )
        settings = InterchangeSettings(
            "sim", "epoch", "t", "3.11", TEMPO, keep_results=1e9, wall_offset=0.5
        )
        self.interchange = Node(self, "interchange", Interchange(settings, self.now))
        self.managers: list[ManagerNode] = []
        self.clients = [self._add_client(n) for n in range(self.chance.choice((1, 2)))]
        self.provider = self._make_provider()
        self.strategy = self._make_strategy()
        for node in (self.interchange, self.provider, self.strategy, *self.clients):
            node.schedule()

    @property
    def now(self) -> float:
        return self.heart.now

    def note(self, text: str) -> None:
        self.story.append(f"{self.now:.3f} {text}")

    def delay(self) -> float:
        """How long a message is under way; sometimes much longer than usual."""
        if self.chance.random() < 0.02:
            return self.chance.uniform(0.1, 1.0)
        return self.chance.uniform(0.0001, 0.01)

    def crashes_now(self, node: Node) -> bool:
        """Decide whether a node dies right here, after saving, before sending."""
        may = node is not self.interchange and not isinstance(node, ClientNode)
        if may and node.is_alive and self.chance.random() < self._crash_rate:
            self.crash(node)
        return not node.is_alive

    def crash(self, node: Node) -> None:
        self.note(f"{node.name} crashes")
        node.crash()
        if node is self.provider:
            self.heart.after(0.3, self._restart_provider)
        elif node is self.strategy:
            self.heart.after(0.3, self._restart_strategy)

    # Who there is

    def _add_client(self, number: int) -> ClientNode:
        settings = SessionSettings(
            ClientId(f"c{number}"), f"i{number}", "t", "3.11", "host", 1
        )
        session = Session(settings, self.chance, self.now)
        return ClientNode(self, f"c{number}", session)

    def add_manager(self, job: Job, number: int) -> ManagerNode:
        name = f"{job.block_id}.{number}"
        settings = ManagerSettings(
            ManagerId(name),
            job.block_id,
            self.slots,
            f"i{next(self._incarnations)}",
            "t",
            "3.11",
            "host",
            1,
            TEMPO.period,
            0.5,
        )
        manager = Manager(settings, self.chance, self.now)
        node = ManagerNode(self, f"manager {name}", manager, job)
        self.managers.append(node)
        node.schedule()
        return node

    def _make_provider(self) -> ProviderNode:
        settings = ProviderSettings(
            0.5, TEMPO.period, f"i{next(self._incarnations)}", "t", "3.11"
        )
        machine = Provider(settings, self.chance, self.now)
        for record in self.provider_journal:
            machine.replay(record)
        return ProviderNode(self, "provider", machine)

    def _restart_provider(self) -> None:
        self.provider = self._make_provider()
        self.provider.schedule()

    def _make_strategy(self, *, is_restart: bool = False) -> Node:
        wants = self._kind == "none" and not is_restart
        init = self._bounds.max_blocks if wants else 0
        settings = StrategySettings(
            self._kind,
            self._bounds,
            init,
            1.0,
            f"i{next(self._incarnations)}",
            "t",
            "3.11",
        )
        return Node(self, "strategy", Strategy(settings, self.chance, self.now))

    def _restart_strategy(self) -> None:
        self.strategy = self._make_strategy(is_restart=True)
        self.strategy.schedule()

    # How they meet

    def knock(self, node: Node, door: str, hello: Hello, number: int) -> None:
        self.heart.after(self.delay(), lambda: self._open(node, door, hello, number))

    def _open(self, node: Node, door: str, hello: Hello, number: int) -> None:
        host = self.interchange if door == "interchange" else self.provider
        if not host.is_alive or not node.is_alive:
            return
        admission, turn = host.machine.admit(hello, self.now)
        answer: Welcome | Refused
        if not admission.peer:
            answer = Refused(admission.reason, admission.is_final)
            host.carry_out(turn)
        else:
            if host is self.interchange:
                there, here = from_member[hello.kind], to_member[hello.kind]
            else:
                there, here = strategy_to_provider, provider_to_strategy
            old = host.links.pop(admission.peer, None)
            if old is not None:
                old.close(by=host)
            wire = Wire(self, {host: (admission.peer, there), node: (door, here)})
            host.links[admission.peer] = wire
            answer = Welcome("", "epoch", TEMPO.period, TEMPO.threshold, 1 << 20)
            lost = self.faults and self.chance.random() < 0.02
            self.heart.after(
                0.0 if lost else self.delay() / 1000,
                lambda: None if lost else self._enter(node, door, wire, number, answer),
            )
            host.carry_out(turn)
            return
        self.heart.after(self.delay(), lambda: node.answered(door, number, answer))

    def _enter(
        self, node: Node, door: str, wire: Wire, number: int, answer: Welcome
    ) -> None:
        if not node.is_alive:
            wire.close(by=node)
        elif node._knocks[door] == number and wire.is_open:
            node.links[door] = wire
            node.answered(door, number, answer)
        else:
            wire.close(by=node)

    def publish(self, node: Node, event: Any) -> None:
        self._published += 1
        if node is self.interchange and self.chance.random() > 0.05:
            published = Published("epoch", self._published, self.now, node.name, event)
            self.heart.after(
                self.delay(), lambda: self.strategy.tell(published, "events")
            )

    # What happens to them

    def disturb(self) -> None:
        """Break something, at random."""
        chance = self.chance
        nodes: list[Node] = [self.strategy, self.provider, *self.clients]
        nodes += [m for m in self.managers if m.is_alive]
        match chance.choice(("link", "link", "worker", "crash", "none", "none")):
            case "link":
                node = chance.choice(nodes)
                for link in list(node.links.values()):
                    self.note(f"a link of {node.name} breaks")
                    link.close()
            case "worker":
                for manager in self.managers:
                    if manager.is_alive and manager.workers and chance.random() < 0.5:
                        worker = chance.choice(list(manager.workers.values()))
                        self.note(f"worker {worker.worker_id} crashes")
                        manager.kill(worker)
            case "crash":
                node = chance.choice(nodes)
                if node.is_alive and not isinstance(node, ClientNode):
                    self.crash(node)

    def run(self) -> None:
        """Submit, disturb, then let it come to rest and check what clients got."""
        chance = self.chance
        for client in self.clients:
            for _ in range(chance.randint(1, 4)):
                count = chance.choice((1, 3, 20))
                self.heart.after(
                    chance.uniform(0, 10),
                    lambda client=client, count=count: client.submit(count),
                )
            for _ in range(chance.choice((0, 0, 2))):
                self.heart.after(chance.uniform(1, 15), client.cancel_some)
        trouble_until = self.now + 20
        if self.faults:
            for _ in range(chance.choice((0, 2, 10))):
                self.heart.after(chance.uniform(0, 20), self.disturb)
        deadline = self.now + 2000
        while self.now < deadline:
            assert self.heart.step(), "nothing will ever happen again"
            if self.now > trouble_until:
                self._crash_rate = 0.0
                if all(client.is_done for client in self.clients):
                    break
        self.check()

    def check(self) -> None:
        """Every task has one outcome at its client, and a plausible one."""
        for client in self.clients:
            missing = client.submitted.keys() - client.resolved.keys()
            assert not missing, f"without a result: {sorted(missing)}"
            assert client.resolved.keys() <= client.submitted.keys()
            for task_id, outcomes in client.resolved.items():
                assert len(outcomes) == 1, f"{task_id} has {len(outcomes)} results"
                self._check_outcome(client, client.submitted[task_id], outcomes[0])

    def _check_outcome(self, client: ClientNode, task: Task, outcome: Outcome) -> None:
        executions = self.executions[task.arguments]
        if task.retries == 0:
            assert executions <= 1, f"{task.task_id} ran {executions} times"
        assert executions <= task.retries + 1, f"{task.task_id} ran {executions} times"
        match outcome.state:
            case TaskState.SUCCESS:
                assert outcome.payload == task.arguments
                assert executions >= 1
            case TaskState.CANCELLED:
                assert task.task_id in client.cancelled, task.task_id
            case TaskState.FAILED:
                assert self.faults, outcome
                assert outcome.failure is not None
        moments = [(step.attempt, step.state) for step in outcome.steps]
        attempts = [attempt for attempt, _ in moments]
        assert attempts == sorted(attempts), f"history out of order: {outcome.steps}"
