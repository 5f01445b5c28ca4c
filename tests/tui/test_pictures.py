"""Promise: every screen shows every state of an endpoint as it did, at two sizes.

The pictures are text: what changes shows in a diff. `python -m tests.tui.test_pictures`
draws them anew; look at them before you keep them.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.drawing import SIZES, draw_all
from tests.tui.views import STATES

PICTURES = Path(__file__).parent / "pictures"


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day are the same wherever tests run."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def draw(state: str, size: tuple[int, int]) -> str:
    parts = []
    for pane, lines in draw_all(STATES[state](), size).items():
        parts += [f"==== {pane}", *lines]
    return "\n".join(parts) + "\n"


def path_of(state: str, size: tuple[int, int]) -> Path:
    return PICTURES / f"{state}-{size[0]}x{size[1]}.txt"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", STATES)
def test_the_screens_look_as_they_did(state: str, size: tuple[int, int]) -> None:
    assert draw(state, size) == path_of(state, size).read_text()


@pytest.mark.parametrize("state", STATES)
def test_no_line_is_wider_than_the_screen(state: str) -> None:
    for width, height in ((80, 24), (60, 16), (200, 60)):
        for lines in draw_all(STATES[state](), (width, height)).values():
            assert len(lines) == height - 1
            assert max(map(len, lines)) <= width


def test_names_cannot_move_the_cursor() -> None:
    drawn = draw_all(STATES["failing"](), (80, 24))
    assert "it broke  [31m!" in "\n".join(drawn["logs"])
    for lines in drawn.values():
        assert all(line.isprintable() for line in lines)


if __name__ == "__main__":
    time.tzset()
    for each in STATES:
        for one in SIZES:
            path_of(each, one).write_text(draw(each, one))
