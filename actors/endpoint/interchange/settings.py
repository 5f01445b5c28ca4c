"""What an interchange needs to know of its endpoint."""

from collections.abc import Mapping

import msgspec

from actors.logic.liveness import Tempo
from actors.logic.placement import PlacementRules

__all__ = ["InterchangeSettings"]


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
