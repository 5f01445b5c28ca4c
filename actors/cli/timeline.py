"""`actors timeline`: what ran where and when, as a file for Perfetto."""

import os
import queue
import time
from contextlib import suppress
from pathlib import Path

import click

from actors.api.addressing import find_entrance
from actors.api.observer import (
    Changed,
    ConnectionState,
    Heard,
    Observation,
    Told,
    Unanswered,
)
from actors.cli.asking import address_argument, credentials_option, timeout_option
from actors.cli.pipes import quiet_end
from actors.cli.words import amount
from actors.errors import AddressError, AdmissionRefused
from actors.monitor.timeline import Timeline

__all__ = ["timeline"]

# The interchange gives no more at a time.
_TASKS_ASKED = 2000
_POLL_PERIOD = 0.25
_STANDARD_OUTPUT = "-"


@click.command()
@click.argument("out", metavar="OUT")
@address_argument
@click.option(
    "-f", "--follow", is_flag=True, help="Record until Ctrl-C, and write OUT then."
)
@click.option(
    "--for",
    "duration",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Record for so long.",
)
@credentials_option
@timeout_option("How long to wait for the first answer.")
def timeline(
    out: str,
    address: str | None,
    *,
    follow: bool,
    duration: float,
    credentials: Path | None,
    timeout: float,
) -> None:
    """Write what ran where and when to a file for Perfetto.

    For ui.perfetto.dev or chrome://tracing: a lane for each worker with the tasks that
    it ran, what waited for how long, how many tasks and blocks there were, decisions
    and restarts. OUT is JSON; "-" is standard output.

    An endpoint remembers the last few hundred tasks that ended: those that failed, and
    of many short ones a sample. With --follow or --for it is asked again and again,
    and more is seen.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if OUT was written.

    \b
    Examples:
        actors timeline lab.json lab
        actors timeline lab.json lab --for 60
        actors timeline - lab | gzip > lab.json.gz
    """  # noqa: D301 (click wants the character backspace)
    entrance = find_entrance(address, "operator", credentials=credentials, listens=True)
    if entrance.obstacle:
        raise AddressError(f"Nobody answers at {entrance.name}; {entrance.obstacle}")
    recorder = _Recorder(entrance.name)
    observation = Observation(entrance, recorder)
    _look(observation)
    observation.start()
    with quiet_end():
        try:
            recorder.await_all(timeout)
            if follow or duration:
                # Ctrl-C ends the recording; what was recorded is what was wanted.
                with suppress(KeyboardInterrupt):
                    recorder.go_on(float("inf") if follow else duration)
                # Asked anew at once, for what ended since the last picture; an
                # endpoint that is gone meanwhile has told what it could.
                _look(observation)
                with suppress(AddressError):
                    recorder.await_all(timeout)
        finally:
            observation.close()
        _write(out, recorder.timeline.render(time.time()))
    if out != _STANDARD_OUTPUT:
        count = amount(recorder.timeline.tasks, "task")
        click.echo(f"{out} has {count}: open it in ui.perfetto.dev", err=True)


def _look(observation: Observation) -> None:
    observation.look("status")
    observation.look("tasks", [""], _TASKS_ASKED)


class _Recorder:
    """Hands on to a timeline, in our thread, what comes in the observer's."""

    def __init__(self, name: str) -> None:
        self.timeline = Timeline()
        self._name = name
        self._news: queue.SimpleQueue[Changed | Told | Unanswered | Heard] = (
            queue.SimpleQueue()
        )
        self._told: set[str] = set()  # verbs that were answered
        self._reason = ""

    def take(self, news: Changed | Told | Unanswered | Heard) -> None:
        self._news.put(news)

    def await_all(self, timeout: float) -> None:
        """Wait until everything was answered once more."""
        self._told.clear()
        deadline = time.monotonic() + timeout
        while not self._told >= {"status", "tasks"}:
            left = deadline - time.monotonic()
            if left <= 0:
                why = f": {self._reason}" if self._reason else ""
                raise AddressError(
                    f"No answer from {self._name} within {round(timeout, 1):g} s{why}"
                )
            self._read(left)

    def go_on(self, duration: float) -> None:
        """Record for so many seconds."""
        until = time.monotonic() + duration
        while (left := until - time.monotonic()) > 0:
            self._read(left)

    def _read(self, timeout: float) -> None:
        try:
            news = self._news.get(timeout=min(_POLL_PERIOD, timeout))
        except queue.Empty:
            return
        match news:
            case Told(command, _):
                self._told.add(command.verb)
            case Changed(ConnectionState.REFUSED, reason):
                raise AdmissionRefused(f"{self._name} refuses us: {reason}")
            case Changed(_, reason):
                self._reason = reason
        self.timeline.take(news, time.time())


def _write(out: str, content: bytes) -> None:
    if out == _STANDARD_OUTPUT:
        click.echo(content, nl=False)
        return
    path = Path(out)
    beside: Path | None = None
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device is nothing to be replaced.
            path.write_bytes(content)
            return
        # Beside it first: a file of that name is either whole or as it was.
        path = path.resolve()
        beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        if beside is not None:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
        raise click.ClickException(
            f"Cannot write {out}: {error.strerror}; give another OUT"
        ) from error
