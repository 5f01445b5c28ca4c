"""A line chart as SVG text: axes with round numbers, a line per series, a legend.

Light and dark pages alike, as it uses colours in between and no background.
"""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

__all__ = ["line_chart"]

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
TICKS = 5
# Colours that people with the common colour blindnesses tell apart, as chosen by
# Okabe and Ito.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK = "#808080"


def line_chart(
    title: str, x_label: str, y_label: str, series: Mapping[str, Points]
) -> str:
    """Draw series of points, joined by lines.

    Args:
        title: above it all.
        x_label: below, with the unit.
        y_label: beside, with the unit.
        series: {name: (x, y) by rising x}; both axes begin at 0 and nothing is below.

    Returns:
        An SVG document.
    """
    points = [point for line in series.values() for point in line]
    x_step, x_most = _round_axis(max((x for x, _ in points), default=1.0))
    y_step, y_most = _round_axis(max((y for _, y in points), default=1.0))

    def across(x: float) -> float:
        return round(LEFT + x / x_most * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        return round(HEIGHT - BOTTOM - y / y_most * (HEIGHT - TOP - BOTTOM), 1)

    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'font-family="sans-serif" font-size="13" fill="{INK}">'
        ),
        f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>',
        (
            f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">'
            f"{escape(x_label)}</text>"
        ),
        (
            f'<text transform="translate(16 {middle}) rotate(-90)" '
            f'text-anchor="middle">{escape(y_label)}</text>'
        ),
    ]
    for number in range(round(y_most / y_step) + 1):
        y = number * y_step
        parts.append(
            f'<path d="M{LEFT} {down(y)}H{WIDTH - RIGHT}" stroke="{INK}" '
            f'stroke-opacity="0.3"/><text x="{LEFT - 6}" y="{down(y) + 4}" '
            f'text-anchor="end">{y:,.6g}</text>'
        )
    for number in range(round(x_most / x_step) + 1):
        x = number * x_step
        parts.append(
            f'<text x="{across(x)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{x:,.10g}</text>"
        )
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{across(x)},{down(y)}" for x, y in line)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" '
            f'stroke-width="2"/><text x="{LEFT + 10}" y="{TOP + 14 + 18 * number}" '
            f'fill="{colour}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _round_axis(most: float) -> tuple[float, float]:
    """Choose a round step, and the end of an axis that `most` fits on."""
    rough = max(most, 1e-9) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1.0, 2.0, 5.0, 10.0) if power * f >= rough)
    return step, step * math.ceil(most / step - 1e-9)
