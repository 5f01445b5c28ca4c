"""How a journal is kept."""

import dataclasses
import math
from typing import Literal

from actors.errors import ConfigError

__all__ = ["Durability", "JournalConfig"]

Durability = Literal["sync", "interval", "off"]

# Chosen: a segment replays in well under a second, and rotating, three syncs, is rare.
_SEGMENT_BYTES = 64 << 20
_MIN_SEGMENT_BYTES = 1 << 7


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JournalConfig:
    """How a journal is kept.

    Args:
        durability: "sync": `sync` waits for the disk; "interval": at most once in
            `interval`; "off": never.
        interval: seconds, > 0; with "interval" only.
        segment_bytes: a segment that has reached this size is closed.
    """

    durability: Durability = "sync"
    interval: float = 1.0
    segment_bytes: int = _SEGMENT_BYTES

    def __post_init__(self) -> None:
        if self.durability not in ("sync", "interval", "off"):
            raise ConfigError(
                f"Durability {self.durability!r} is none of sync, interval, off"
            )
        if not 0 < self.interval < math.inf:
            raise ConfigError(f"Interval {self.interval} must be above 0 seconds")
        if self.segment_bytes < _MIN_SEGMENT_BYTES:
            raise ConfigError(
                f"Segment size {self.segment_bytes} must be at least "
                f"{_MIN_SEGMENT_BYTES} bytes"
            )
