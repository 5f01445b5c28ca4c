"""Provider: submits, polls and cancels blocks. Pure; its shell calls `providers`.

    LaunchBlocks ──BlockPlanned (saved)──► SubmitJob ──JobSubmitted (saved)──► polled
                                                                                 │
       strategy, interchange ◄──BlocksReported── changed ◄──────JobsPolled───────┘

A block is planned on disk before its job is submitted, and the job's id is saved after.
So a provider that crashed in between asks the batch system, by the block's name,
whether the job exists before it submits it again: nothing is orphaned, and nothing is
submitted twice. The same holds for a batch system that did not answer: it is asked
again until it does.
"""

import hmac
import math
import random
from typing import Any

import msgspec
from msgspec.structs import replace

from actors.logic.membership import Membership
from actors.logic.turn import (
    Admission,
    Effect,
    Exit,
    FrameMalformed,
    HangUp,
    LinkClosed,
    Quit,
    Turn,
)
from actors.messages import (
    PROTOCOL,
    Block,
    BlockId,
    BlocksReported,
    BlockState,
    CancelBlocks,
    FrameRefused,
    Goodbye,
    Heartbeat,
    Hello,
    LaunchBlocks,
    Notice,
    Relay,
)

__all__ = [
    "BlockEnded",
    "BlockPlanned",
    "CancelJobs",
    "JobEndSeen",
    "JobReport",
    "JobSubmitted",
    "JobsPolled",
    "PollJobs",
    "Provider",
    "ProviderRecord",
    "ProviderSettings",
    "SubmitFailed",
    "SubmitJob",
    "SubmitUnanswered",
]

# Ended blocks that are still reported, newest last; chosen: enough to read why.
ENDED_KEPT = 50
# How long the blocks may take to end when the endpoint stops, and how often to look.
# Chosen: below the supervisor's patience; local blocks take a fraction of a second.
QUIT_PATIENCE = 10.0
# By how much shorter the poll period is meanwhile: 0.05 s for local blocks, and no
# storm on a cluster's controller. Chosen.
QUIT_POLL_SHARE = 20


# Records, saved before what follows from them


class BlockPlanned(msgspec.Struct, frozen=True, tag=True):
    """A job for this block is about to be submitted."""

    block_id: BlockId
    launch_id: str
    worker_type: str = ""  # of all its workers, or PLAIN_TYPE; "": any


class JobSubmitted(msgspec.Struct, frozen=True, tag=True):
    """The batch system took the job. From the shell, and a record."""

    block_id: BlockId
    job_id: str


class BlockEnded(msgspec.Struct, frozen=True, tag=True):
    """The block is over; a restarted provider need not look for it."""

    block_id: BlockId


ProviderRecord = BlockPlanned | JobSubmitted | BlockEnded


# Effects, and how they went


class SubmitJob(Effect, frozen=True):
    """Submit a block's job, or find it if `may_exist`."""

    block_id: BlockId
    may_exist: bool
    worker_type: str = ""


class SubmitFailed(msgspec.Struct, frozen=True):
    """The batch system did not take the job."""

    block_id: BlockId
    reason: str


class SubmitUnanswered(msgspec.Struct, frozen=True):
    """The batch system does not answer; it may have taken the job."""

    block_id: BlockId
    reason: str


class PollJobs(Effect, frozen=True):
    """Ask for the state of these jobs; answered with `JobsPolled`."""

    jobs: dict[BlockId, str]  # {block_id: job_id}


class JobReport(msgspec.Struct, frozen=True):
    """The batch system's word on one job."""

    state: BlockState
    exit_code: int | None = None
    message: str = ""
    stderr_tail: str = ""


class JobsPolled(msgspec.Struct, frozen=True):
    reports: dict[BlockId, JobReport]


class JobEndSeen(msgspec.Struct, frozen=True):
    """Some job has ended: it is time to poll."""


class CancelJobs(Effect, frozen=True):
    """Cancel these jobs."""

    jobs: dict[BlockId, str]  # {block_id: job_id}


class ProviderSettings(msgspec.Struct, frozen=True):
    """What a provider needs to know.

    Args:
        poll_period: seconds between questions to the batch system.
        instance, token, python: for the doors.
        heartbeat_period: seconds between signs of life to the strategy.
    """

    poll_period: float
    heartbeat_period: float
    instance: str
    token: str
    python: str


class _BlockEntry(msgspec.Struct, frozen=True):
    block_id: BlockId
    launch_id: str
    state: BlockState = BlockState.PENDING
    job_id: str = ""
    report: JobReport = JobReport(BlockState.PENDING)
    # What it is called when it has ended because we cancelled it, and why; None: we
    # have not.
    verdict: BlockState | None = None
    reason: str = ""
    worker_type: str = ""

    def block(self) -> Block:
        return Block(
            self.block_id,
            self.state,
            self.job_id,
            self.report.exit_code,
            self.report.message,
            self.report.stderr_tail,
            self.launch_id,
            self.worker_type,
        )


class Provider:
    """The machine; see the module's docstring."""

    def __init__(
        self, settings: ProviderSettings, chance: random.Random, now: float
    ) -> None:
        self.settings = settings
        self.interchange = Membership(
            "interchange", self._hello, chance, entered=self._tell_interchange
        )
        self.blocks: dict[BlockId, _BlockEntry] = {}
        self._launch_ids: list[str] = []
        self._ended: list[BlockId] = []  # as far as they are kept, in order
        # Launched by us, and no interchange has heard of them yet.
        self._unheard: set[BlockId] = set()
        self._planned = 0  # the highest number of a block
        self._newest: BlockPlanned | None = None
        self._strategy = ""  # its peer name, while it is connected
        self._poll_at = now
        self._beat_at = now
        self._is_polling = False
        self._blamed: set[str] = set()  # peers that sent what is no message
        # {block_id: when to ask whether its job was taken}
        self._to_recover: dict[BlockId, float] = {}
        self._quit_reason = ""
        self._quit_by = math.inf

    def replay(self, record: ProviderRecord) -> None:
        """Rebuild the state from one saved record; before anything else."""
        match record:
            case BlockPlanned(block_id, launch_id, worker_type):
                self._plan(block_id, launch_id, worker_type)
                self._to_recover[block_id] = -math.inf
            case JobSubmitted(block_id, job_id):
                entry = self.blocks[block_id]
                self.blocks[block_id] = replace(
                    entry, job_id=job_id, state=BlockState.UNKNOWN
                )
                del self._to_recover[block_id]
            case BlockEnded(block_id):
                self.blocks.pop(block_id, None)
                self._to_recover.pop(block_id, None)

    def snapshot(self) -> list[ProviderRecord]:
        """Give records that rebuild the present state, for compaction."""
        records: list[ProviderRecord] = []
        if self._newest is not None and self._newest.block_id not in self.blocks:
            # Its number must not be given out again.
            records += [self._newest, BlockEnded(self._newest.block_id)]
        for entry in self.blocks.values():
            planned = BlockPlanned(entry.block_id, entry.launch_id, entry.worker_type)
            records.append(planned)
            if entry.job_id:
                records.append(JobSubmitted(entry.block_id, entry.job_id))
            if not entry.state.is_active:
                records.append(BlockEnded(entry.block_id))
        return records

    # The loop's calls

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Let the strategy in, and nobody else."""
        turn = Turn()
        if hello.protocol != PROTOCOL:
            return Admission("", f"protocol {hello.protocol} is not {PROTOCOL}"), turn
        is_ours = hmac.compare_digest(
            hello.token.encode(), self.settings.token.encode()
        )
        if hello.kind != "strategy" or not is_ours:
            return Admission("", "only this endpoint's strategy may enter"), turn
        self._strategy = "strategy"
        turn.sends.append((self._strategy, self._report()))
        return Admission(self._strategy), turn

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take an order, the batch system's word, or the loop's."""
        turn = Turn()
        if self.interchange.take(message, sender, now, turn):
            return turn
        match message:
            case LaunchBlocks():
                self._launch(message, now, turn)
            case CancelBlocks(block_ids, reason, is_missing):
                verdict = BlockState.MISSING if is_missing else BlockState.SCALED_IN
                self._cancel(block_ids, verdict, reason, now, turn)
            case JobSubmitted():
                self._submitted(message, now, turn)
            case SubmitFailed(block_id, reason):
                failed = JobReport(BlockState.FAILED, None, reason)
                self._update({block_id: failed}, now, turn)
                self._tell_failure(block_id, reason, now, turn)
            case SubmitUnanswered(block_id, reason):
                silent = JobReport(BlockState.UNKNOWN, None, reason)
                self._update({block_id: silent}, now, turn)
                self._to_recover[block_id] = now + self.settings.poll_period
            case JobsPolled(reports):
                self._is_polling = False
                self._update(reports, now, turn)
            case Goodbye() if sender == self._strategy:
                turn.effects.append(HangUp(sender))
                self._strategy = ""
            case LinkClosed(peer) if peer == self._strategy:
                self._strategy = ""
            case FrameMalformed(peer, reason):
                self._blame(peer, reason, now, turn)
            case JobEndSeen():
                self._poll_at = now
            case Quit(reason):
                self._quit(reason, now, turn)
        return turn

    def tick(self, now: float) -> Turn:
        """Poll, recover, beat."""
        turn = Turn()
        self.interchange.tick(now, turn)
        for block_id in [b for b, at in self._to_recover.items() if at <= now]:
            del self._to_recover[block_id]
            worker_type = self.blocks[block_id].worker_type
            turn.effects.append(SubmitJob(block_id, True, worker_type))
        if self._beat_at <= now:
            self._beat_at = now + self.settings.heartbeat_period
            if self._strategy:
                turn.sends.append((self._strategy, Heartbeat()))
        if self._poll_at <= now:
            self._poll(now, turn)
        if self._quit_by <= now or (self._quit_by < math.inf and not self._active()):
            self.interchange.send(Goodbye(self._quit_reason), now, turn)
            turn.effects.append(Exit(0, self._quit_reason))
            self._quit_by = math.inf
        return turn

    @property
    def wake_at(self) -> float:
        return min(
            self.interchange.wake_at,
            self._poll_at,
            self._beat_at,
            self._quit_by,
            min(self._to_recover.values(), default=math.inf),
        )

    # Blocks

    def _quit(self, reason: str, now: float, turn: Turn) -> None:
        """End all blocks, and then ourselves: the endpoint stops."""
        self._quit_reason = reason
        self._quit_by = now + QUIT_PATIENCE
        period = self.settings.poll_period / QUIT_POLL_SHARE
        self.settings = replace(self.settings, poll_period=period)
        self._cancel(self._active(), BlockState.SCALED_IN, reason, now, turn)
        self._poll_at = now

    def _active(self) -> list[BlockId]:
        return [e.block_id for e in self.blocks.values() if e.state.is_active]

    def _hello(self) -> Hello:
        settings = self.settings
        return Hello(
            "provider",
            "provider",
            settings.instance,
            PROTOCOL,
            settings.python,
            settings.token,
        )

    def _plan(self, block_id: BlockId, launch_id: str, worker_type: str) -> None:
        self.blocks[block_id] = _BlockEntry(
            block_id, launch_id, worker_type=worker_type
        )
        number = int(block_id.rpartition("-")[2])
        if number > self._planned:
            self._planned = number
            self._newest = BlockPlanned(block_id, launch_id, worker_type)
        if launch_id not in self._launch_ids:
            self._launch_ids.append(launch_id)

    def _launch(self, order: LaunchBlocks, now: float, turn: Turn) -> None:
        if order.launch_id not in self._launch_ids:
            self._launch_ids.append(order.launch_id)
            for _ in range(order.count):
                block_id = BlockId(f"block-{self._planned + 1}")
                planned = BlockPlanned(block_id, order.launch_id, order.worker_type)
                self._plan(block_id, order.launch_id, order.worker_type)
                self._unheard.add(block_id)
                turn.records.append(planned)
                turn.effects.append(SubmitJob(block_id, False, order.worker_type))
            turn.must_sync = True
        self._tell(now, turn)

    def _submitted(self, message: JobSubmitted, now: float, turn: Turn) -> None:
        entry = self.blocks.get(message.block_id)
        if entry is None or not entry.state.is_active:
            # Too late: its block was given up.
            turn.effects.append(CancelJobs({message.block_id: message.job_id}))
            return
        turn.records.append(message)
        turn.must_sync = True
        entry = replace(entry, job_id=message.job_id)
        self.blocks[message.block_id] = entry
        if entry.verdict is not None:
            turn.effects.append(CancelJobs({entry.block_id: entry.job_id}))
        self._poll_at = now
        self._tell(now, turn)

    def _cancel(
        self,
        block_ids: list[BlockId],
        verdict: BlockState,
        reason: str,
        now: float,
        turn: Turn,
    ) -> None:
        jobs = {}
        for block_id in block_ids:
            entry = self.blocks.get(block_id)
            if entry is None or not entry.state.is_active:
                continue
            if entry.verdict is None:
                self.blocks[block_id] = replace(entry, verdict=verdict, reason=reason)
            if entry.job_id:
                jobs[block_id] = entry.job_id
        if jobs:
            turn.effects.append(CancelJobs(jobs))
            self._poll_at = now

    def _poll(self, now: float, turn: Turn) -> None:
        self._poll_at = now + self.settings.poll_period
        jobs = {
            entry.block_id: entry.job_id
            for entry in self.blocks.values()
            if entry.job_id and entry.state.is_active
        }
        if jobs and not self._is_polling:
            self._is_polling = True
            turn.effects.append(PollJobs(jobs))

    def _update(
        self, reports: dict[BlockId, JobReport], now: float, turn: Turn
    ) -> None:
        changed = False
        for block_id, told in reports.items():
            entry = self.blocks.get(block_id)
            if entry is None or not entry.state.is_active:
                continue
            report, state = told, told.state
            if entry.verdict is not None and not state.is_active:
                state = entry.verdict
                if state is BlockState.MISSING:
                    # What the batch system says of it is that we cancelled it.
                    report = replace(told, message=entry.reason)
            if state is entry.state and report == entry.report:
                continue
            changed = True
            self.blocks[block_id] = replace(entry, state=state, report=report)
            if not state.is_active:
                turn.records.append(BlockEnded(block_id))
                self._ended.append(block_id)
        if changed:
            self._forget_oldest()
            self._tell(now, turn)

    def _forget_oldest(self) -> None:
        # Not in the order of their launches: one that was launched long ago may have
        # ended just now, and nobody has heard of it yet.
        for block_id in self._ended[:-ENDED_KEPT]:
            del self.blocks[block_id]
            self._unheard.discard(block_id)
        self._ended = self._ended[-ENDED_KEPT:]
        used = {entry.launch_id for entry in self.blocks.values()}
        recent = set(self._launch_ids[-ENDED_KEPT:])
        self._launch_ids = [i for i in self._launch_ids if i in used or i in recent]

    def _report(self) -> BlocksReported:
        blocks = [entry.block() for entry in self.blocks.values()]
        return BlocksReported(blocks, list(self._launch_ids))

    def _tell(self, now: float, turn: Turn) -> None:
        self._tell_interchange(now, turn)
        if self._strategy:
            turn.sends.append((self._strategy, self._report()))

    def _tell_interchange(self, now: float, turn: Turn) -> None:
        if not self.interchange.is_in:
            return
        report = self._report()
        if any(
            b.block_id in self._unheard and not b.state.is_active for b in report.blocks
        ):
            # It cannot judge blocks of which it hears the end only, as these may have
            # worked for an interchange that crashed. These have not.
            blocks = [
                msgspec.structs.replace(b, state=BlockState.PENDING)
                if b.block_id in self._unheard
                else b
                for b in report.blocks
            ]
            as_launched = BlocksReported(blocks, report.launch_ids)
            self.interchange.send(as_launched, now, turn)
        self._unheard.clear()
        self.interchange.send(report, now, turn)

    def _blame(self, peer: str, reason: str, now: float, turn: Turn) -> None:
        """Tell of a peer that sends nonsense, once: the interchange counts for us."""
        if peer not in self._blamed:
            self._blamed.add(peer)
            refused = FrameRefused(f"provider's {peer}", reason)
            self.interchange.send(Relay([refused]), now, turn)

    def _tell_failure(
        self, block_id: BlockId, reason: str, now: float, turn: Turn
    ) -> None:
        notice = Notice("error", f"{block_id} could not be submitted: {reason}")
        self.interchange.send(Relay([notice]), now, turn)

    def check(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        for block_id, entry in self.blocks.items():
            assert block_id == entry.block_id
            assert entry.launch_id in self._launch_ids
        ended = {e.block_id for e in self.blocks.values() if not e.state.is_active}
        assert set(self._ended) == ended
