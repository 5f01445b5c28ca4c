"""A whole endpoint in one process: real machines, fake clock, network and jobs.

A run submits tasks, troubles everybody at random, and then waits until all is at rest.
Then every task must have exactly one outcome at its client, none may have begun more
often than its retries allow, and nothing may be left over anywhere.
"""

import itertools
import math
import pickle
import random
import zlib
from collections import Counter
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from actors.api.session import Session, SessionSettings
from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.manager import Manager, ManagerSettings
from actors.endpoint.provider import Provider, ProviderSettings
from actors.endpoint.strategy import Strategy, StrategySettings
from actors.logic.actor_life import Died
from actors.logic.liveness import Tempo
from actors.logic.placement import PlacementRules
from actors.logic.scaling import Bounds, StrategyKind
from actors.messages import (
    PLAIN_TYPE,
    PROTOCOL,
    Amount,
    BlockId,
    BlockState,
    ClientId,
    Command,
    FailureKind,
    Hello,
    ManagerId,
    Needs,
    Outcome,
    Published,
    Refused,
    Task,
    TaskId,
    TaskState,
    Verb,
    Welcome,
    from_member,
    provider_to_strategy,
    strategy_to_provider,
    to_member,
)
from tests.fake_disk import FakeDisk
from tests.simulation.batch import FAILING, ITEMS, Job, ManagerNode, ProviderNode
from tests.simulation.center import InterchangeNode
from tests.simulation.client import ClientNode
from tests.simulation.memory import Memory
from tests.simulation.network import Heart, Node, Wire

__all__ = ["World"]

TEMPO = Tempo(period=2.0, threshold=8.0, reconnect_grace=1.5)
# Longer than any client is away, when one cut follows the other, and shorter than the
# wait for rest.
KEEP_RESULTS = 60.0
# How long a block may run without managers.
CONNECT_TIMEOUT = 6.0
# As in the runtime, how long an admitted member may take to dial its link.
DIAL_TIMEOUT = 10.0
# The interchange crashes so much less often than others at each chance to do so.
INTERCHANGE_ROUNDS = 5
# How long the troubles last, and how long everything may take to come to rest.
TROUBLE, PATIENCE = 20.0, 2000.0
# How often an operator tries to reach an interchange that is down.
OPERATOR_PERIOD = 1.0
# What may happen to somebody.
KINDS = (
    "link",
    "outage",
    "cut",
    "suspend",
    "worker",
    "crash",
    "job",
    "operator",
)
INFRASTRUCTURE = (FailureKind.WORKER_DIED, FailureKind.MANAGER_LOST)
# What tasks may ask for, and how long blocks live then.
WORKER_TYPE = "sim"
WALLTIME = 30.0
# Why a call of an actor has no result.
UNANSWERED = (FailureKind.ACTOR_DIED, FailureKind.ACTOR_UNAVAILABLE)


class World:
    """One run.

    Args:
        seed: of every choice.
        faults: whether connections break and actors crash.
        kind: of the strategy; None: one that the seed chooses.
        barren: share of the blocks from which no manager ever connects.
        has_actors: whether clients make actors and call them.
        has_groups: whether they make supervisors, too.
        asks: whether tasks ask for processors and GPUs.
        has_needs: whether tasks ask for workers of a type and for time, and blocks end.
        restarts: whether operators restart managers and actors.
        has_output: whether tasks print, and the first two clients want to see it.
        has_large: whether all payloads are large, and lie in shared memory.
        max_unread_bytes: see `InterchangeSettings`.
    """

    def __init__(
        self,
        seed: int,
        *,
        faults: bool = True,
        kind: StrategyKind | None = None,
        barren: float = 0.0,
        has_actors: bool = False,
        has_groups: bool = False,
        asks: bool = False,
        has_needs: bool = False,
        restarts: bool = False,
        has_output: bool = False,
        has_large: bool = False,
        max_unread_bytes: int = 1 << 30,
    ) -> None:
        self.has_large = has_large
        self.memory = Memory()
        # Apart, too: when somebody sweeps.
        self._sweeps = random.Random(seed)
        self._has_output = has_output
        self.has_actors = has_actors
        self.has_groups = has_groups
        self._restarts = restarts
        # Apart, too: what tasks ask for, if they do.
        self._wishes = random.Random(seed) if asks else None
        self.needs_chance = random.Random(seed) if has_needs else None
        self.walltime: float | None = None
        self._barren = barren
        # Apart from the others, so that a seed's story differs by these blocks only.
        self._barren_chance = random.Random(seed)
        self.chance = chance = random.Random(seed)
        self.heart = Heart()
        self.faults = faults
        self.nodes_per_block = chance.choice((1, 1, 2))
        self.slots = chance.choice((1, 2, 4))
        self.executions: Counter[bytes] = Counter()
        self.jobs: dict[BlockId, Job] = {}
        self.provider_journal: list[Any] = []
        self.story: list[str] = []
        self.fingerprint = 0
        self._crash_rate = chance.choice((0.0, 0.0, 0.001, 0.01)) if faults else 0.0
        self._break_rate = chance.choice((0.0, 0.003, 0.03)) if faults else 0.0
        self._trouble = chance.choice((0.0, 0.3, 1.0)) if faults else 0.0
        self._slowness = chance.choice((1.0, 1.0, 20.0))
        # As in swarm testing: a run that knows few kinds of trouble meets more of each.
        self._kinds = chance.sample(KINDS, chance.randint(1, len(KINDS)))
        self._victims = chance.choice(("anybody", "anybody", "managers"))
        self._trouble_until = self.now + TROUBLE
        self._event_loss = chance.choice((0.05, 0.5)) if faults else 0.0
        self._incarnations = itertools.count()
        self._published = 0
        self._commands = 0
        self._extra_blocks = 0  # an operator may have so many more
        # Drawn in any case: a seed's story shall differ by the kind only.
        drawn: StrategyKind = chance.choice(("simple", "simple", "none"))
        self.kind = kind or drawn
        # Strategy none replaces lost blocks up to min_blocks only.
        self.bounds = Bounds(
            1 if self.kind == "none" else chance.choice((0, 1)),
            chance.choice((1, 2, 3)),
            self.slots * self.nodes_per_block,
            chance.choice((0.0, 0.5, 1.0)),
            chance.choice((1.0, 5.0)),
            min_start_interval=3.0,
        )
        settings = InterchangeSettings(
            "sim",
            "epoch",
            "t",
            "3.11",
            TEMPO,
            keep_results=KEEP_RESULTS,
            max_unread_bytes=max_unread_bytes,
            wall_offset=0.5,
            node={"CPU": self.slots, "GPU": 2.0 if asks else 0.0},
            placement=self._make_rules(),
        )
        self._settings = settings
        self.disk = FakeDisk()
        self.forgotten = 0  # times that records were lost on which nothing stood
        # Deaths of its machine, beside those of its process.
        self._loses_power = chance.random() < 0.5
        self.interchange = self._make_interchange()
        self.managers: list[ManagerNode] = []
        self.clients = [self._add_client(n) for n in range(chance.choice((1, 2, 3)))]
        self.provider = self._make_provider()
        self.strategy = self._make_strategy(is_restart=False)
        for node in (self.interchange, self.provider, self.strategy, *self.clients):
            node.schedule()

    def _make_rules(self) -> PlacementRules:
        chance = self.needs_chance
        if chance is None:
            return PlacementRules()
        self.walltime = chance.choice((None, WALLTIME, WALLTIME))
        return PlacementRules(
            chance.choice(("fill_first", "random", "deadline")),
            # Strategy none starts no block for the sake of a type.
            self.kind != "none" and chance.random() < 0.5,
            frozenset({WORKER_TYPE}),
            self.walltime or math.inf,
            2.0,
        )

    def _draw_place(self) -> Needs | None:
        chance = self.needs_chance
        if chance is None or chance.random() < 0.3:
            return None
        worker_type = WORKER_TYPE if chance.random() < 0.5 else ""
        # Nothing of the first block's start-up time is left to the longest ones.
        walltime = chance.choice((0.0, 9.0, WALLTIME - 5.0, 10 * WALLTIME))
        return Needs(worker_type, walltime if self.walltime else 0.0)

    @property
    def now(self) -> float:
        return self.heart.now

    @property
    def center(self) -> Interchange:
        """The interchange's machine."""
        return self.interchange.machine

    def note(self, text: str) -> None:
        self.story.append(f"{self.now:.3f} {text}")

    def delay(self) -> float:
        """How long a message is under way; sometimes much longer than usual."""
        if self.chance.random() < 0.02:
            return self.chance.uniform(0.1, 1.0)
        return self.chance.uniform(0.0001, 0.01) * self._slowness

    def is_barren(self) -> bool:
        """Decide whether a job that starts now runs without its managers."""
        return self._barren > 0 and self._barren_chance.random() < self._barren

    def has_trouble(self, chance: float) -> bool:
        """Tell whether something goes wrong that does so with this chance."""
        if self.now >= self._trouble_until or not self._trouble:
            return False
        return self.chance.random() < chance * self._trouble

    def breaks_now(self) -> bool:
        """Decide whether a link breaks, and loses what was just sent."""
        return (
            self._break_rate > 0
            and self.now < self._trouble_until
            and self.chance.random() < self._break_rate
        )

    def crashes_now(self, node: Node) -> bool:
        """Decide whether a node dies right here."""
        if node.is_alive and self._dies(node):
            self.crash(node)
        return not node.is_alive

    def dies_in_write(self, node: Node) -> bool:
        """Decide whether a node dies while it writes what it is about to write."""
        return self._dies(node)

    def _dies(self, node: Node) -> bool:
        rate = 0.0 if isinstance(node, ClientNode) else self._crash_rate
        if node is self.interchange:
            # It has far more to do than the others.
            rate /= INTERCHANGE_ROUNDS
        return (
            rate > 0 and self.now < self._trouble_until and self.chance.random() < rate
        )

    def crash(self, node: Node) -> None:
        self.note(f"{node.name} crashes")
        node.crash()
        if self.has_large:
            # Before, while or after others link what it has left.
            delay = self._sweeps.choice((0.0, 0.001, 0.01, 0.5))
            self.heart.after(delay, self.memory.sweep)
        if node is self.provider:
            self.heart.after(0.3, self._restart_provider)
        elif node is self.strategy:
            self.heart.after(0.3, self._restart_strategy)
        elif node is self.interchange:
            self.forgotten += self.interchange.has_unsaved
            seconds = self.chance.choice((0.3, 3.0))
            self.heart.after(seconds, self._restart_interchange)

    # Who there is

    def _add_client(self, number: int) -> ClientNode:
        settings = SessionSettings(
            ClientId(f"c{number}"),
            f"i{number}",
            "t",
            "3.11",
            "host",
            1,
            wants_output=self._has_output and number < 2,
        )
        session = Session(settings, self.chance, self.now)
        is_guest = self.faults and number > 0 and self.chance.random() < 0.5
        return ClientNode(self, f"c{number}", session, is_guest=is_guest)

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
            resources=(Amount("GPU", 2),) if self._wishes else (),
            start_timeouts={WORKER_TYPE: 30.0},
            ends_at=job.ends_at,
            worker_type=job.worker_type,
        )
        manager = Manager(settings, self.chance, self.now)
        node = ManagerNode(self, f"manager {name}", manager, job)
        self.managers.append(node)
        node.schedule()
        return node

    def draw_needs(self) -> Needs | None:
        """Choose what a task asks for."""
        amounts, place = self._draw_amounts(), self._draw_place()
        if amounts is None:
            return place
        return msgspec.structs.replace(place or Needs(), amounts=amounts)

    def _draw_amounts(self) -> tuple[Amount, ...] | None:
        chance = self._wishes
        if chance is None or chance.random() < 0.5:
            return None
        cpus = chance.choice((0.0, 0.5, 1.0, float(self.slots)))
        gpus = chance.choice((0.0, 0.0, 0.4, 1.0, 2.0))
        return Amount("CPU", cpus), Amount("GPU", gpus)

    def job_submitted(self, job: Job) -> None:
        """Count the blocks: only an operator may have more than `max_blocks`."""
        retired = self.center.fleet.retired
        active = [
            other.block_id
            for other in [*self.jobs.values(), job]
            if other.state.is_active and other.block_id not in retired
        ]
        limit = self.bounds.max_blocks + self._extra_blocks
        assert len(active) <= limit, f"too many blocks: {active}"

    def task_begins(self, arguments: bytes, worker_type: str, job: Job) -> None:
        """See to it that a task begins only where it suits."""
        if self.needs_chance is None:
            return
        task_id = TaskId(arguments.removeprefix(FAILING).decode())
        name, _, _ = task_id.rpartition("-")
        (client,) = (c for c in self.clients if c.name == name)
        needs = client.submitted[task_id].needs or Needs()
        assert worker_type == needs.worker_type, task_id
        is_hard = self._settings.placement.is_hard
        assert not is_hard or job.worker_type in ("", worker_type or PLAIN_TYPE)
        # Processors of a node are given to it while plain tasks still have them.
        may_be_late = self.faults or needs.amounts is not None
        if job.ends_at is not None and not may_be_late:
            assert self.now + needs.walltime <= job.ends_at, task_id

    def _make_provider(self) -> ProviderNode:
        settings = ProviderSettings(
            0.5, TEMPO.period, f"i{next(self._incarnations)}", "t", "3.11"
        )
        machine = Provider(settings, self.chance, self.now)
        for record in self.provider_journal:
            machine.replay(record)
        return ProviderNode(self, "provider", machine)

    def _restart_provider(self) -> None:
        if self.chance.random() < 0.3:
            # It was compacted before it died.
            machine = self._make_provider().machine
            self.provider_journal = list(machine.snapshot())
        self.provider = self._make_provider()
        self.provider.schedule()

    def _make_interchange(self) -> InterchangeNode:
        machine = Interchange(self._settings, self.now)
        return InterchangeNode(self, "interchange", machine, self.disk)

    def _restart_interchange(self) -> None:
        if self._loses_power and self.chance.random() < 0.5:
            self.note("the interchange's host has lost power")
            self.forgotten += 1
            self.disk.restart(self.chance)
        else:
            self.disk.restart()
        epoch = f"epoch {next(self._incarnations)}"
        self._settings = replace(self._settings, epoch=epoch)
        self._published = 0
        self.interchange = self._make_interchange()
        self.interchange.schedule()

    def _make_strategy(self, *, is_restart: bool) -> Node:
        wants = self.kind == "none" and not is_restart
        settings = StrategySettings(
            self.kind,
            self.bounds,
            self.bounds.max_blocks if wants else 0,
            1.0,
            f"i{next(self._incarnations)}",
            "t",
            "3.11",
            connect_timeout=CONNECT_TIMEOUT,
        )
        return Node(self, "strategy", Strategy(settings, self.chance, self.now))

    def _restart_strategy(self) -> None:
        self.strategy = self._make_strategy(is_restart=True)
        self.strategy.schedule()

    # How they meet

    def knock(self, node: Node, door: str, hello: Hello, number: int) -> None:
        host = self.interchange if door == "interchange" else self.provider
        self.heart.after(
            self.delay(),
            lambda: host.happens(lambda: self._open(host, node, door, hello, number)),
        )

    def _open(
        self, host: Node, node: Node, door: str, hello: Hello, number: int
    ) -> None:
        if not host.is_alive or not node.is_alive or self._is_cut(host, node):
            return
        # As the runtime does: what was decided for an old link goes out on that one.
        host.complete()
        if not host.is_alive:
            return
        host.settle()
        admission = host.answer(hello)
        answer: Welcome | Refused
        wire = None
        if not admission.peer:
            answer = Refused(admission.reason, admission.is_final)
        else:
            answer = Welcome(
                "", self._settings.epoch, TEMPO.period, TEMPO.threshold, 1 << 20
            )
            wire = self._listen(host, node, door, hello, admission.peer)
        delay = self.delay()

        def arrive() -> None:
            # A lost answer: the door is asked again, and the link is never dialed.
            if not self._is_cut(host, node) and not self.has_trouble(0.05):
                node.happens(lambda: node.answered(door, number, answer, wire))

        self.heart.after(delay, arrive)

    def _listen(
        self, host: Node, node: Node, door: str, hello: Hello, peer: str
    ) -> Wire:
        if host is self.interchange:
            there, here = from_member[hello.kind], to_member[hello.kind]
        else:
            there, here = strategy_to_provider, provider_to_strategy
        old = host.links.pop(peer, None)
        if old is not None:
            old.close(by=host)
        wire = Wire(self, {host: (peer, there), node: (door, here)})
        host.links[peer] = wire
        self.heart.after(DIAL_TIMEOUT, lambda: wire.give_up_undialed(host))
        return wire

    def _is_cut(self, *nodes: Node) -> bool:
        return any(self.now < node.cut_until for node in nodes)

    def publish(self, node: Node, event: Any) -> None:
        self._published += 1
        is_lost = self.now < self._trouble_until and (
            self._event_loss and self.chance.random() < self._event_loss
        )
        if node is self.interchange and not is_lost and not self._is_cut(self.strategy):
            epoch = self._settings.epoch
            published = Published(epoch, self._published, self.now, node.name, event)
            self.heart.after(
                self.delay(), lambda: self.strategy.tell(published, "events")
            )

    # What happens to them

    def disturb(self) -> None:
        """Break something, at random."""
        chance = self.chance
        nodes: list[Node] = []
        nodes += [m for m in self.managers if m.is_alive] * 2
        if self._victims == "anybody" or not nodes:
            nodes += [self.strategy, self.provider, self.interchange, *self.clients]
        node = chance.choice(nodes)
        seconds = chance.choice((0.1, 1.0, 4.0, 12.0)) * chance.random()
        match chance.choice(self._kinds):
            case "link":
                self.note(f"the links of {node.name} break")
                self._break(node)
            case "outage":
                self.note(f"{node.name} is known to be cut off for {seconds:.1f} s")
                self._break(node)
                node.cut_until = self.now + seconds
            case "cut":
                self.note(f"{node.name} is silently cut off for {seconds:.1f} s")
                node.cut_until = self.now + seconds
            case "suspend":
                node = chance.choice((node, self.interchange))
                self.note(f"{node.name} is suspended for {seconds:.1f} s")
                node.suspend(seconds)
            case "worker":
                for manager in self.managers:
                    if manager.is_alive and manager.workers and chance.random() < 0.5:
                        worker_id = chance.choice(list(manager.workers))
                        self.note(f"worker {worker_id} crashes")
                        manager.kill(worker_id)
            case "crash" if not isinstance(node, ClientNode):
                if node.is_alive:
                    self.crash(node)
            case "job" if self.jobs:
                job = chance.choice(list(self.jobs.values()))
                self.note(f"{job.block_id} is ended by the batch system")
                job.end(chance.choice((BlockState.FAILED, BlockState.TIMEOUT)))
            case "operator":
                self._meddle()

    @staticmethod
    def _break(node: Node) -> None:
        for link in list(node.links.values()):
            link.close()

    def _meddle(self) -> None:
        """Be an operator who types whatever comes to mind."""
        chance = self.chance
        fleet = self.center.fleet
        names: list[str] = [*fleet.managers, *self.center.blocks.known]
        if self._restarts and chance.random() < 0.7:
            restarted = [*fleet.managers, *self.center.roster.actors]
            if restarted:
                self.command("restart", [chance.choice(restarted)])
            return
        verbs = ("hold", "resume", "quiesce", "drain", "scale", "cancel", "status")
        match chance.choice(verbs):
            case "quiesce" as verb:
                self.command(verb)
            case "drain" if self.has_actors:
                # It would wait for actors to end, and their calls perhaps for its end.
                self.command("status")
            case "hold" | "resume" | "drain" as verb if names:
                self.command(verb, [chance.choice(names)])
            case "scale":
                self._extra_blocks = 3
                self.command("scale", number=chance.choice((0, 1, 2, 3)))
            case "cancel":
                entries = list(self.center.ledger.entries)
                if entries:
                    task_id = chance.choice(entries)
                    for client in self.clients:
                        client.cancelled.add(task_id)
                    self.command("cancel", [task_id])
            case _:
                self.command("status")

    def command(
        self,
        verb: Verb,
        names: list[str] | None = None,
        number: int = 0,
    ) -> None:
        """Let an operator come in and ask for something."""
        self._commands += 1
        name = f"op{self._commands}"
        self.note(f"{name}: {verb} {names or ''} {number or ''}")
        hello = Hello("operator", name, name, PROTOCOL, "3.11", "t")
        command = Command(name, verb, names or [], number)
        self.interchange.happens(lambda: self.interchange.answer(hello))
        self.interchange.tell(command, f"operator:{name}")

    def _end_of_trouble(self) -> None:
        """See to it that nothing stays held, once the interchange listens."""
        if self.interchange.is_alive:
            # It may have commands of before the end to hear first.
            self.interchange.happens(lambda: self.heart.after(0.0, self._resume_all))
        else:
            # What is held stays held when it dies; an operator, too, tries again.
            self.heart.after(OPERATOR_PERIOD, self._end_of_trouble)

    def _resume_all(self) -> None:
        fleet = self.center.fleet
        if fleet.is_quiesced or fleet.bad_state:
            self.command("resume")
        held = list(fleet.held)
        for name in held:
            # One that is gone meanwhile is not known any more: nothing is lost.
            self.command("resume", [name])

    def run(self) -> None:
        """Submit, disturb, then let it come to rest and check what clients got."""
        chance, heart = self.chance, self.heart
        for client in self.clients:
            for _ in range(chance.randint(1, 4)):
                count = chance.choice((1, 3, 20))
                heart.after(chance.uniform(0, 10), partial(client.submit, count))
            for _ in range(chance.choice((0, 0, 2))):
                heart.after(chance.uniform(1, 15), client.cancel_some)
            if client.is_guest:
                heart.after(chance.uniform(10.5, 19), client.depart)
            if self.has_actors:
                heart.after(TROUBLE + 1, client.wind_up)
        if self.faults:
            for _ in range(chance.choice((0, 2, 6, 20))):
                heart.after(chance.uniform(0, TROUBLE), self.disturb)
            heart.after(TROUBLE, self._end_of_trouble)
        deadline = self.now + PATIENCE
        look_at = self._trouble_until
        while self.now < deadline:
            assert heart.step(), "nothing will ever happen again"
            if self.now > look_at:
                look_at = self.now + 0.25
                if not self.leftovers():
                    break
        self.check()

    # What must be so

    def leftovers(self) -> list[str]:
        """Name what is not at rest; empty: nothing is left to do."""
        if self.now <= self._trouble_until:
            return ["the troubles"]
        left = [f"{c.name} waits" for c in self.clients if not c.is_done]
        if left:
            return left
        center = self.center
        left += [f"{task_id} is unfinished" for task_id in center.ledger.entries]
        for known in center.clients.values():
            if known.unacknowledged or known.unfinished:
                left.append(f"the interchange keeps results of {known.client_id}")
        for client in self.clients:
            if client.is_alive and client.machine.unfinished and not client.is_guest:
                left.append(f"{client.name} keeps tasks")
            if client.is_guest and client.machine.settings.client_id in center.clients:
                left.append(f"{client.name} is not forgotten")
        left += [f"actor {actor_id} is known" for actor_id in center.roster.actors]
        left += [f"group {each} is known" for each in center.roster.groups.known]
        left += [f"items of {task_id} are kept" for task_id in center.streams.streams]
        for member in center.fleet.managers.values():
            if member.is_busy:
                left.append(f"{member.manager_id} keeps leases")
        for node in self.managers:
            manager = node.machine
            if node.is_alive and (
                manager.queues
                or manager.outbox
                or manager.crew.is_busy
                or manager.hosts.incarnations()
                or manager.outflow
            ):
                left.append(f"{node.name} keeps tasks")
        active = [job.block_id for job in self.jobs.values() if job.state.is_active]
        if self.kind != "none" and len(active) > self.bounds.min_blocks:
            left.append(f"idle blocks: {active}")
        return left

    def check(self) -> None:
        """Every task has one outcome at its client, and a plausible one."""
        assert not (left := self.leftovers()), left
        for client in self.clients:
            missing = client.submitted.keys() - client.resolved.keys()
            assert client.is_guest or not missing, f"no result: {sorted(missing)}"
            assert client.resolved.keys() <= client.submitted.keys()
            for task_id, outcomes in client.resolved.items():
                assert len(outcomes) == 1, f"{task_id} has {len(outcomes)} results"
                self._check_outcome(client, client.submitted[task_id], outcomes[0])
        for client in self.clients:
            for task in client.submitted.values():
                executions = self.executions[task.arguments]
                # Every start but the last one was lost, and each lost one is counted.
                # (A machine that loses its power may forget a start, as may who dies
                # with records that wait; never one that must be the last.)
                if task.actor is not None and task.actor.verb == "create":
                    continue  # it is constructed once per incarnation
                if not self.forgotten or task.retries == 0:
                    assert executions <= task.retries + 1, (task.task_id, executions)
        orphans = [
            job.block_id
            for job in self.jobs.values()
            if job.state.is_active and job.block_id not in self.provider.machine.blocks
        ]
        assert not orphans, f"nobody knows of these jobs: {orphans}"

    def _check_outcome(self, client: ClientNode, task: Task, outcome: Outcome) -> None:
        executions = self.executions[task.arguments]
        verb = task.actor.verb if task.actor else ""
        match outcome.state:
            case TaskState.SUCCESS if verb == "watch":
                assert isinstance(pickle.loads(outcome.payload), Died)
            case TaskState.SUCCESS if verb not in ("", "call"):
                pickle.loads(outcome.payload)
            case TaskState.SUCCESS:
                result = b"%d" % ITEMS if task.streams_from >= 0 else task.arguments
                assert outcome.payload == result
                assert executions >= 1
                assert not task.arguments.startswith(FAILING)
            case TaskState.CANCELLED:
                assert task.task_id in client.cancelled, task.task_id
            case TaskState.FAILED:
                assert outcome.failure is not None
                if outcome.failure.kind is FailureKind.EXCEPTION:
                    assert task.arguments.startswith(FAILING)
                elif outcome.failure.kind is FailureKind.BLOCK_FAILED:
                    assert self.faults or self._barren, outcome
                    assert outcome.failure.detail.startswith("block block-"), outcome
                elif outcome.failure.kind is FailureKind.TIMED_OUT:
                    assert task.timeout is not None, outcome
                    assert executions >= 1
                elif verb:
                    assert outcome.failure.kind in UNANSWERED, outcome
                elif outcome.failure.kind is FailureKind.REFUSED:
                    assert task.needs is not None, outcome
                    assert task.needs.walltime > 10.0, outcome
                    assert "fits in no block" in outcome.failure.message
                    # Each earlier attempt was lost with a block that had time enough.
                    assert executions < outcome.attempt
                else:
                    assert self.faults or self.walltime, outcome
                    assert outcome.failure.kind in INFRASTRUCTURE, outcome
                    budget = f"start {task.retries + 1} of {task.retries + 1}"
                    assert budget in outcome.failure.message, outcome.failure
        if outcome.steps:
            attempts = [step.attempt for step in outcome.steps]
            assert attempts == sorted(attempts), f"out of order: {outcome.steps}"
            assert outcome.steps[-1].state is outcome.state
            finals = [step for step in outcome.steps if step.state.is_final]
            lost = [s for s in finals[:-1] if s.state is not TaskState.FAILED]
            assert not lost, f"final states in between: {outcome.steps}"

    def digest(self) -> int:
        """Sum up the story: two runs of one seed have the same."""
        return zlib.crc32("\n".join(self.story).encode(), self.fingerprint)
