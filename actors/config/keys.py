"""Keys of `endpoint.toml`: how they are described, and what bounds they have."""

from typing import Any

import msgspec

__all__ = [
    "FOLDER_PATTERN",
    "LARGEST_FRAME_BYTES",
    "LONGEST_DURATION",
    "MOST",
    "MOST_BYTES",
    "MOST_TASKS",
    "NAME_PATTERN",
    "PROVIDER_PATTERN",
    "SMALLEST_FRAME_BYTES",
    "TAG_PATTERN",
    "Section",
    "describe",
    "describe_bytes",
    "describe_count",
    "describe_duration",
    "describe_period",
]

# Chosen. The bounds below catch a slip of the keyboard, and infinity; no sane endpoint
# meets them.
_SHORTEST_PERIOD = 0.01  # far below it would keep a processor busy
_LONGEST_PERIOD = 86_400.0  # a day
LONGEST_DURATION = 10 * 365 * 86_400.0  # ten years
MOST = 1_000_000  # blocks, nodes, workers
MOST_TASKS = 1_000_000_000
LARGEST_FRAME_BYTES = 2**31 - 1
MOST_BYTES = 2**50
# A manager's report on a thousand workers fits.
SMALLEST_FRAME_BYTES = 2**20

# `(?!\n)`: Python's `$` alone would let a line break at the end pass.
TAG_PATTERN = r"^[A-Za-z0-9_.:-]*$(?!\n)"
FOLDER_PATTERN = r"^(/[^\0]*)?$(?!\n)"
NAME_PATTERN = r"^[A-Za-z0-9_-]+$(?!\n)"
PROVIDER_PATTERN = (
    r"^([A-Za-z0-9_-]+"  # which ones there are is told with the contradictions
    r"|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)$(?!\n)"
)


def describe(description: str, must: str = "", **rules: Any) -> msgspec.Meta:
    """Describe a key, and what its value must be if its bounds do not say it."""
    return msgspec.Meta(
        description=description, extra={"must": must} if must else None, **rules
    )


def describe_period(description: str) -> msgspec.Meta:
    """Describe a key of so many seconds, more than none."""
    return describe(description, ge=_SHORTEST_PERIOD, le=_LONGEST_PERIOD)


def describe_duration(description: str) -> msgspec.Meta:
    """Describe a key of so many seconds, perhaps none."""
    return describe(description, ge=0, le=LONGEST_DURATION)


def describe_count(description: str, least: int = 0) -> msgspec.Meta:
    """Describe a key of so many of something."""
    return describe(description, ge=least, le=MOST)


def describe_bytes(description: str) -> msgspec.Meta:
    """Describe a key of so many bytes."""
    return describe(description, ge=0, le=MOST_BYTES)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Be the base of every table of `endpoint.toml`."""
