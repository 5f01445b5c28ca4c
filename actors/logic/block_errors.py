"""When block after block fails: what is to be believed of them, and for how long.

    pending ──► running ──manager joins──► joined ──finishes a task──► has worked
       │           │                          │
       └───────────┴── ended: MISSING         └── ended FAILED: a failure

A block that ended without a manager ever joining from it is MISSING, whatever the batch
system says: it was of no use, and what it wrote says why. When the last `WINDOW` blocks
launched have all failed, the endpoint is in a *bad state*: whoever waits is told what
the batch system says, instead of waiting for ever.

As in Parsl's `windowed_error_handler`, an early success does not count for ever. Other
than there, a block that has worked is no failure: those that the batch system ends
after hours of work would add up. Nor are blocks of which this interchange knows the end
only: it cannot tell whether they were of use.
"""

from collections.abc import Iterable

import msgspec

from actors.messages import Block, BlockId, BlockState, Failure, FailureKind

__all__ = ["WINDOW", "BadState", "BlockErrors", "describe_end"]

# As in Parsl: the last so many blocks launched must have failed.
WINDOW = 3
# Of the texts of all failed blocks together; as much as Parsl keeps of one. Each task
# that waits gets them.
_DETAIL_CHARACTERS = 2048
# Ends that a block has not chosen, and that nobody has asked for.
_ENDS = frozenset({BlockState.COMPLETED, BlockState.FAILED, BlockState.TIMEOUT})


class BadState(msgspec.Struct, frozen=True, array_like=True):
    """Why no task can run.

    Args:
        text: one line: what happened, and what to do.
        detail: what the batch system says of each block, the newest first.
    """

    text: str
    detail: str

    @property
    def failure(self) -> Failure:
        """What tasks fail with meanwhile."""
        return Failure(FailureKind.BLOCK_FAILED, self.text, self.detail)


class BlockErrors:
    """What is remembered of the blocks."""

    def __init__(self) -> None:
        self._seen: set[BlockId] = set()  # while they were active
        self._joined: set[BlockId] = set()
        self._worked: set[BlockId] = set()
        self._forgiven: set[BlockId] = set()

    def note_joined(self, block_id: BlockId) -> None:
        """Note that a manager has joined from a block."""
        self._joined.add(block_id)

    def note_worked(self, block_id: BlockId) -> None:
        """Note that a block has finished a task."""
        self._worked.add(block_id)

    def judge(self, block: Block, known: Block | None, *, is_retired: bool) -> Block:
        """Say what is to be believed of a block.

        Args:
            block: as the provider reports it.
            known: what was believed before; None: it is new.
            is_retired: it ends because we want it to.
        """
        if known is not None and not known.state.is_active:
            # Final states stick.
            return known
        if block.state.is_active:
            self._seen.add(block.block_id)
            return block
        if (
            block.state not in _ENDS
            or block.block_id in self._joined
            or block.block_id not in self._seen
            or is_retired
        ):
            return block
        message = f"ended ({block.state}) before a manager of it had connected"
        if block.message:
            message += f": {block.message}"
        return msgspec.structs.replace(block, state=BlockState.MISSING, message=message)

    def is_failure(self, block: Block) -> bool:
        """Tell whether a block counts as failed."""
        return (
            block.state in (BlockState.FAILED, BlockState.MISSING)
            and block.block_id in self._seen
            and block.block_id not in self._worked
            and block.block_id not in self._forgiven
        )

    def find_bad_state(self, blocks: Iterable[Block]) -> BadState | None:
        """Say whether all that was launched last has failed.

        Args:
            blocks: all that are known, in the order of their launches.
        """
        newest = list(blocks)[-WINDOW:]
        if len(newest) < WINDOW or not all(map(self.is_failure, newest)):
            return None
        names = ", ".join(block.block_id for block in newest)
        text = (
            f"the last {WINDOW} blocks failed ({names}), so nothing can run: "
            f"{_summary(newest[-1])}; mend that, then `actors resume`"
        )
        # One text for those that say the same.
        details = {_how(block): describe_end(block) for block in newest}
        detail = "\n".join(reversed(details.values()))
        return BadState(text, detail[:_DETAIL_CHARACTERS])

    def forgive(self, blocks: Iterable[BlockId]) -> None:
        """Count these blocks no more: an operator has mended what made them fail."""
        self._forgiven.update(blocks)

    def keep(self, block_ids: set[BlockId]) -> None:
        """Forget all other blocks."""
        self._seen &= block_ids
        self._joined &= block_ids
        self._worked &= block_ids
        self._forgiven &= block_ids


def describe_end(block: Block) -> str:
    """Tell how a block ended: its state, exit code, reason, and last words."""
    lines = [f"block {block.block_id} ended: {block.state}"]
    if block.exit_code is not None:
        lines.append(f"exit code {block.exit_code}")
    if block.message:
        lines.append(block.message)
    if block.stderr_tail:
        lines.append(block.stderr_tail)
    return "\n".join(lines)


def _how(block: Block) -> tuple[object, ...]:
    return block.state, block.exit_code, block.message, block.stderr_tail


def _summary(block: Block) -> str:
    """Say in a line why a block failed."""
    lines = [*block.message.splitlines(), *block.stderr_tail.splitlines()[-1:]]
    code = "" if block.exit_code is None else f"exit code {block.exit_code}"
    return ", ".join(filter(None, [code, *lines])) or str(block.state)
