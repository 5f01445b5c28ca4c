"""What a manager needs to know of itself."""

from collections.abc import Mapping

import msgspec

from actors.logic.care import CareSettings
from actors.messages import Amount, BlockId, ManagerId

__all__ = ["ManagerSettings"]


class ManagerSettings(msgspec.Struct, frozen=True):
    """See each argument.

    Args:
        manager_id: unique in the endpoint: block and node.
        block_id: the block that it runs in.
        slots: worker processes, at least 1.
        instance: random per process.
        token: to show at the door.
        python: "3.11".
        host: its node's name.
        pid: its own.
        heartbeat_period: seconds between reports.
        wall_offset: seconds since 1970 = now + wall_offset.
        start_timeouts: {type of worker, besides plain ones: seconds that the first one
            of them has to start}.
        care: of the workers, and of the manager itself.
        resources: what its node has besides processors.
        gpu_names: what CUDA_VISIBLE_DEVICES calls the GPUs; missing ones have numbers.
        ends_at: monotonic seconds of the block's end; None: nobody knows.
        worker_type: the only one of the block's workers, or PLAIN_TYPE; "": any.
        tag: that tasks may ask for; "": none.
        is_exclusive: it takes those that do, only.
    """

    manager_id: ManagerId
    block_id: BlockId
    slots: int
    instance: str
    token: str
    python: str
    host: str
    pid: int
    heartbeat_period: float = 30.0
    wall_offset: float = 0.0
    start_timeouts: Mapping[str, float] = msgspec.field(default_factory=dict)
    care: CareSettings = CareSettings()
    resources: tuple[Amount, ...] = ()
    gpu_names: tuple[str, ...] = ()
    ends_at: float | None = None
    worker_type: str = ""
    tag: str = ""
    is_exclusive: bool = False
