"""Reader: the two threads behind the screen.

    observer's thread ──news──► queue ──► reader's thread ──View──► whoever shows it
    log files, processes of this host ───────┘

The first never waits; the second makes a view when there is news, but not more often
than is worth looking at, and now and then even if there is none: clocks go on.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import psutil

from actors.api.addressing import Entrance, new_instance
from actors.api.observer import (
    Changed,
    ConnectionState,
    Heard,
    Observation,
    Told,
    Unanswered,
)
from actors.api.service_processes import find_services
from actors.cli.log_files import LogReader
from actors.config import EndpointPaths
from actors.errors import ActorsError
from actors.messages import Command, Verb
from tui.chronicle import Chronicle
from tui.view import ServiceProcess, View

__all__ = ["TASKS_ASKED", "TASKS_GLANCE", "Outcome", "Reader"]

logger = logging.getLogger(__name__)

# Seconds between two views: at least, when there is news; and at most. Chosen.
_LEAST_PERIOD = 0.25
_PERIOD = 1.0
# Lines of each log to begin with.
_FIRST_LINES = 500
# Tasks to ask for: of the screen that lists them, and for the latency alone.
TASKS_ASKED = 1000
TASKS_GLANCE = 90
# News taken before the next view, however many come. Chosen: tenths of a second.
_MOST_NEWS = 10_000
News = Changed | Told | Unanswered | Heard
# How an order went: whether it was done, what there is to say, and the answer's body.
Outcome = Callable[[bool, str, bytes], None]


class Reader:
    """Reads an endpoint and hands out views; see the module's docstring.

    Args:
        entrance: of the endpoint, for kind "operator", with its events.
        show: gets each view, in the reader's thread; it must not block.
    """

    def __init__(self, entrance: Entrance, show: Callable[[View], None]) -> None:
        self._entrance = entrance
        self._show = show
        self._news: queue.SimpleQueue[News | None] = queue.SimpleQueue()
        self._outcomes: dict[str, Outcome] = {}  # {id of an order: who waits for it}
        self._observation = Observation(entrance, self)
        paths = _paths(entrance)
        self._logs = LogReader(paths.logs, paths.blocks, ()) if paths else None
        self._chronicle = Chronicle(
            entrance.name, time.time(), has_logs=self._logs is not None
        )
        self._processes: dict[int, psutil.Process] = {}
        self._trouble = ""  # what went wrong here last
        self._is_away = True
        self._thread = threading.Thread(
            target=self._run, name="actors-reader", daemon=True
        )

    def start(self) -> None:
        """Begin; once."""
        self._observation.look("status")
        self.look_at_tasks("", (), TASKS_GLANCE)
        self._observation.start()
        self._thread.start()

    def close(self) -> None:
        """Leave in order; after `start`, once."""
        self._observation.close()
        self._news.put(None)
        self._thread.join()

    def look_at_tasks(self, text: str, states: Sequence[str], count: int) -> None:
        """Have other tasks in the views from now on.

        Args:
            text: that ids or names contain; "": any.
            states: labels; empty: all.
            count: at most so many.
        """
        self._observation.look("tasks", [text, *states], count)

    def order(
        self, verb: Verb, names: Sequence[str], number: int, outcome: Outcome
    ) -> None:
        """Have something done.

        Args:
            verb: what.
            names: of blocks, managers or tasks, as the verb wants them.
            number: of blocks, for "scale".
            outcome: is told how it went, in the reader's thread.
        """
        request_id = new_instance()
        # First: the answer may come before the order returns.
        self._outcomes[request_id] = outcome
        self._observation.order(verb, names, number, request_id=request_id)

    def take(self, news: News) -> None:
        """Take what the observer tells, in its thread."""
        self._news.put(news)

    # The reader's thread

    def _run(self) -> None:
        if self._logs is not None:
            self._chronicle.read(self._logs.last_lines(_FIRST_LINES, whole=True))
        shown_at = 0.0
        while True:
            timeout = shown_at + _PERIOD - time.monotonic()
            if not self._take_news(timeout):
                return
            rest = shown_at + _LEAST_PERIOD - time.monotonic()
            if rest > 0 and not self._take_news(rest):
                return
            shown_at = time.monotonic()
            if self._logs is not None:
                self._chronicle.read(self._logs.new_lines())
            reason = self._obstacle() if self._is_away else ""
            services = () if self._is_away else tuple(self._services())
            view = self._chronicle.view(time.time(), services, reason, self._trouble)
            self._show(view)

    def _take_news(self, timeout: float) -> bool:
        """Wait for news and take all there is, within reason; false: it is over."""
        try:
            news = self._news.get(timeout=max(0.001, timeout))
            for _ in range(_MOST_NEWS):
                if news is None:
                    return False
                self._take_safely(news)
                news = self._news.get_nowait()
        except queue.Empty:
            return True
        self._news.put(news)
        return True

    def _take_safely(self, news: News) -> None:
        """Take news; what comes of those that make no sense is shown."""
        try:
            self._take(news)
        except Exception as error:
            logger.exception("news that make no sense")
            self._trouble = f"{type(error).__name__}: {error}"

    def _take(self, news: News) -> None:
        match news:
            case Told(command, answer) if command.request_id:
                self._answer(command, answer.text, answer.body, is_done=answer.is_done)
            case Unanswered(command, reason):
                text = f"{reason}: look whether it was done"
                self._answer(command, text, b"", is_done=False)
            case _:
                if isinstance(news, Changed):
                    self._is_away = news.state is not ConnectionState.CONNECTED
                self._chronicle.take(news, time.time())

    def _answer(
        self, command: Command, text: str, body: bytes, *, is_done: bool
    ) -> None:
        outcome = self._outcomes.pop(command.request_id, None)
        if outcome is not None:
            outcome(is_done, text, body)

    def _obstacle(self) -> str:
        try:
            return self._entrance.obstacle
        except (ActorsError, OSError, ValueError) as error:
            return str(error)

    def _services(self) -> Iterator[ServiceProcess]:
        """Look at the endpoint's processes, if they are on this host."""
        try:
            for actor, process in find_services(self._entrance):
                yield self._service(actor, process)
        except psutil.Error:
            # It goes just now; the connection tells that.
            return

    def _service(self, actor: str, found: psutil.Process) -> ServiceProcess:
        # The same object each time: it knows how much was used before.
        process = self._processes.setdefault(found.pid, found)
        if process != found:
            self._processes[found.pid] = process = found
        cpu = process.cpu_percent(None) / 100
        return ServiceProcess(actor, process.pid, process.memory_info().rss, cpu)


def _paths(entrance: Entrance) -> EndpointPaths | None:
    """Find the endpoint's folder, if the address is one."""
    if "://" in entrance.name:
        return None
    return EndpointPaths.of(entrance.name)
