"""What `actors run --progress` draws: how far a command's tasks are, as a bar."""

import io
import threading
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from actors.api.addressing import find_entrance
from actors.api.observer import Changed, Heard, Observation, Told, Unanswered
from actors.api.progress import bar_columns
from actors.cli.bottom_line import BottomLine
from actors.endpoint.pictures import Snapshot

__all__ = ["RunProgress", "Tally"]

_ENDS = ("success", "failed", "cancelled")
_status = msgspec.json.Decoder(Snapshot)


class Tally:
    """Counts over the restarts of an interchange, which counts anew. Pure."""

    def __init__(self) -> None:
        self._epoch = ""
        self._before = (0, 0)  # ended and failed, under earlier interchanges
        self._now = (0, 0)

    def take(self, status: Snapshot) -> tuple[int, int, int]:
        """Take a picture; return how many tasks ended, failed, and there are."""
        if status.epoch != self._epoch:
            before, now = self._before, self._now
            self._before = (before[0] + now[0], before[1] + now[1])
            self._epoch = status.epoch
        self._now = (status.finished, status.tasks.get("failed", 0))
        ended, failed = (a + b for a, b in zip(self._before, self._now, strict=True))
        under_way = sum(n for state, n in status.tasks.items() if state not in _ENDS)
        return ended, failed, ended + under_way


class RunProgress:
    """Looks at an endpoint, and keeps the terminal's last line.

    Args:
        file: endpoint.toml, or its folder.
        line: where to draw.
    """

    def __init__(self, file: Path, line: BottomLine) -> None:
        self._line = line
        self._tally = Tally()
        self._console = Console(file=io.StringIO(), force_terminal=True)
        self._progress = Progress(*bar_columns(), console=self._console)
        self._task = self._progress.add_task("tasks", total=None, note="")
        self._lock = threading.Lock()
        self._is_over = False
        entrance = find_entrance(file, "operator", listens=True)
        self._observation = Observation(entrance, self)

    def start(self) -> None:
        """Begin; once."""
        self._observation.look("status")
        self._observation.start()

    def close(self) -> None:
        """Give the line back; after `start`, once."""
        with self._lock:
            self._is_over = True
            self._line.release()
        self._observation.close()

    def take(self, news: Changed | Told | Unanswered | Heard) -> None:
        """Draw what was told."""
        if not isinstance(news, Told):
            return
        ended, failed, total = self._tally.take(_status.decode(news.answer.body))
        self._progress.update(
            self._task,
            completed=ended,
            total=total or None,
            note=f"{failed} failed" if failed else "",
        )
        with self._lock:
            if not self._is_over:
                self._line.draw(self._draw(self._line.columns))

    def _draw(self, columns: int) -> str:
        self._console.width = columns
        with self._console.capture() as capture:
            self._console.print(self._progress.get_renderable(), end="")
        return capture.get().partition("\n")[0]
