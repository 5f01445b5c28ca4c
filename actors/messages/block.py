"""Strategy, provider and interchange: blocks."""

import enum

from actors.messages.basis import BlockId, Message, Struct

__all__ = [
    "Block",
    "BlockState",
    "BlocksHeld",
    "BlocksReported",
    "CancelBlocks",
    "LaunchBlocks",
    "RetireBlocks",
    "ScaleTo",
]


class BlockState(enum.StrEnum):
    """What the batch system says of a block, and what we know beyond."""

    UNKNOWN = "unknown"  # the batch system does not answer: not gone
    PENDING = "pending"
    RUNNING = "running"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"  # reached its walltime: no failure
    HELD = "held"
    MISSING = "missing"  # ended without its managers ever connecting
    SCALED_IN = "scaled_in"

    @property
    def is_active(self) -> bool:
        return self in (
            BlockState.UNKNOWN,
            BlockState.PENDING,
            BlockState.RUNNING,
            BlockState.HELD,
        )


class Block(Struct, frozen=True, array_like=True, gc=False):
    """One job of the provider."""

    block_id: BlockId
    state: BlockState
    job_id: str = ""  # the batch system's own
    exit_code: int | None = None
    message: str = ""  # why it ended, as the batch system says
    stderr_tail: str = ""
    launch_id: str = ""  # the order that it belongs to
    worker_type: str = ""  # of all its workers, or PLAIN_TYPE; "": any


class BlocksReported(Message, frozen=True, array_like=True, tag=True, gc=False):
    """All active blocks, and those that ended since the provider started."""

    blocks: list[Block]
    launch_ids: list[str] = []  # orders carried out or refused since the start


class LaunchBlocks(Message, frozen=True, array_like=True, tag=True, gc=False):
    launch_id: str  # the same order twice launches once
    count: int
    reason: str
    worker_type: str = ""  # of all workers of the blocks, or PLAIN_TYPE; "": any


class CancelBlocks(Message, frozen=True, array_like=True, tag=True, gc=False):
    block_ids: list[BlockId]
    reason: str
    # No manager connects from them: they end as missing, with the reason.
    is_missing: bool = False


class RetireBlocks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask to hold and drain blocks; done only for those idle at that very moment.

    `if_busy` drains busy ones too.
    """

    block_ids: list[BlockId]
    reason: str
    if_busy: bool = False


class BlocksHeld(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `RetireBlocks`, or unasked: these take no task any more.

    Their managers drain and end by themselves; who has none may be cancelled at once.
    """

    block_ids: list[BlockId]
    draining: list[BlockId] = []  # those of them that have managers
    busy: list[BlockId] = []  # those of them whose managers have tasks
    is_unasked: bool = False  # an operator's wish, or their time ends soon


class ScaleTo(Message, frozen=True, array_like=True, tag=True, gc=False):
    """An operator's wish: so many blocks, now."""

    blocks: int
