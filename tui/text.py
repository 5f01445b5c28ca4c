"""Numbers, times and names as people read them; all plain text."""

import math
import time
from collections.abc import Sequence

from actors.cli.words import amount, first_line, plain

__all__ = [
    "amount",
    "clock",
    "duration",
    "first_line",
    "number",
    "plain",
    "shorten",
    "size",
    "sparkline",
]

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def shorten(text: str, width: int) -> str:
    """Leave out the middle of what is too long: both ends tell names apart."""
    text = plain(text)
    if len(text) <= width:
        return text
    if width < 3:
        return text[: max(0, width)]
    left = width // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"


def number(value: float) -> str:
    """Write a number in at most five characters or so: 0.25, 7.3, 950, 12.4k."""
    if value < 0.005:  # it would be 0.00
        return "0"
    if value < 1:
        return f"{value:.2f}"
    if value < 10:
        return f"{value:.1f}".removesuffix(".0")
    if value < 10_000:
        return f"{value:.0f}"
    if value < 1_000_000:
        return f"{value / 1000:.3g}k"
    return f"{value / 1_000_000:.3g}M"


def size(size_bytes: int) -> str:
    """Write bytes in the unit that leaves two or three digits."""
    if size_bytes < 1 << 20:
        return f"{size_bytes / 2**10:.0f} KiB"
    if size_bytes < 10 << 30:
        return f"{size_bytes / 2**20:.0f} MiB"
    return f"{size_bytes / 2**30:.0f} GiB"


def duration(seconds: float) -> str:
    """Say how long, in the one or two units that matter."""
    if seconds < 0:
        return "0 s"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def clock(at: float, *, millis: bool = False) -> str:
    """Write a moment as the time of day here."""
    if not at:
        return "-"
    text = time.strftime("%H:%M:%S", time.localtime(at))
    return f"{text}.{int(at % 1 * 1000):03d}" if millis else text


def sparkline(
    values: Sequence[float], width: int, height: int = 1, top: float = 0.0
) -> list[str]:
    """Draw the newest values as bars, the newest at the right.

    Args:
        values: oldest first, each >= 0; what is no number counts as 0.
        width: characters, >= 1.
        height: lines, >= 1.
        top: the value of a full bar, at least; else the largest one is.

    Returns:
        Lines of equal width. What is not 0 shows at least an eighth of a line.
    """
    shown = [v if math.isfinite(v) else 0.0 for v in values[-width:]]
    top = max([top, *shown])
    levels = [0] * (width - len(shown))
    for value in shown:
        share = value / top if top else 0.0
        levels.append(max(1 if value > 0 else 0, round(share * height * 8)))
    lines = []
    for row in range(height - 1, -1, -1):
        lines.append(
            "".join(_EIGHTHS[min(8, max(0, level - row * 8))] for level in levels)
        )
    return lines
