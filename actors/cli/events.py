"""`actors events`: what happens at an endpoint, as it happens."""

import queue
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from actors.api.addressing import Entrance, find_entrance
from actors.api.observer import (
    Changed,
    ConnectionState,
    Heard,
    Observation,
    Told,
    Unanswered,
)
from actors.api.operator import ask
from actors.cli.asking import address_argument, credentials_option, timeout_option
from actors.cli.event_memory import EventMemory
from actors.cli.event_text import describe
from actors.cli.pipes import is_reader_gone, quiet_end
from actors.cli.words import plain
from actors.endpoint.pictures import Relayed
from actors.errors import AdmissionRefused
from actors.log_lines import utc_text
from actors.messages import (
    AnyEvent,
    LoadReported,
    TaskEnded,
    event_kind,
)

__all__ = ["events"]

# How often it is looked whether anybody reads; chosen: soon for a person.
_POLL_PERIOD = 0.25
# {kind: what it is}
_KINDS = {str(shape.__struct_config__.tag): shape for shape in AnyEvent.__args__}
# What comes every second, and of a busy endpoint twenty times: only if asked for.
_FREQUENT = frozenset({event_kind(LoadReported(0, 0, 0, []))})

News = Changed | Told | Unanswered | Heard


@click.command()
@address_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens now.")
@click.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    type=click.Choice(sorted(_KINDS)),
    help="Only of this kind, such as block_changed. May be repeated.",
)
@credentials_option
@timeout_option("How long to wait for the first answer.")
@click.option("--json", "is_json", is_flag=True, help="Print an object per line.")
def events(
    address: str | None,
    *,
    follow: bool,
    kinds: tuple[str, ...],
    credentials: Path | None,
    timeout: float,
    is_json: bool,
) -> None:
    """Show what happened at an endpoint, or what happens.

    It remembers the last hundred decisions on blocks and restarts. With --follow
    whatever happens from then on comes too: members that join, leave or are refused,
    blocks, tasks that failed, decisions, restarts, notices; and reports on the load, if
    they are asked for by --kind load_reported. An endpoint that goes is waited for; who
    comes back to another one in its place is told so. Ctrl-C ends it with exit code
    130.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 1 if the endpoint did not answer.

    \b
    With --json each line is an object:
        time     in UTC
        event    its kind; other keys as the kind has them
        epoch, seq, source
                 of what was heard now: the interchange's start, a number that
                 grows by one with each event, who told it
    and, as events may be missed, beside those of the endpoint there are
        missed   "count": so many events were not heard
        connection
                 "state": connected, lost or refused, and "reason"

    \b
    Examples:
        actors events lab
        actors events lab --follow --kind task_ended
        actors events lab --follow --json | jq 'select(.event == "block_changed")'
    """  # noqa: D301 (click wants the character backspace)
    entrance = find_entrance(address, "operator", credentials=credentials, listens=True)
    out = _Out(kinds, is_json=is_json)
    with quiet_end():
        answer = ask(entrance, "status", timeout=timeout)
        memory = EventMemory()
        out.remembered(memory.fresh(answer))
        if follow:
            _follow(entrance, out, memory)


class _Out:
    """Writes events."""

    def __init__(self, kinds: Collection[str], *, is_json: bool) -> None:
        self._kinds = kinds or _KINDS.keys() - _FREQUENT
        self._is_json = is_json

    def event(self, at: float, event: AnyEvent, more: dict[str, Any]) -> None:
        """Write an event, if it is wanted."""
        kind = event_kind(event)
        if kind not in self._kinds:
            return
        if self._is_json:
            fields: dict[str, Any] = msgspec.to_builtins(event)
            if isinstance(event, TaskEnded):
                fields["state"] = event.state.label
            self._object(at, more | fields)
        else:
            self._line(at, kind.replace("_", " "), describe(event))

    def remembered(self, told: Iterable[Relayed]) -> None:
        """Write what the endpoint remembers."""
        for old in told:
            self.event(time.time() - old.age, old.event, {})

    def own(self, name: str, words: str, more: dict[str, Any]) -> None:
        """Write what the endpoint itself cannot tell."""
        if self._is_json:
            self._object(time.time(), {"event": name, **more})
        else:
            self._line(time.time(), name, words)

    def _object(self, at: float, fields: dict[str, Any]) -> None:
        click.echo(msgspec.json.encode({"time": utc_text(at), **fields}))

    def _line(self, at: float, name: str, words: str) -> None:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        click.echo(plain(f"{moment}  {name:<15}  {words}").rstrip())


class _Listener:
    """Hands over what is heard from the observer's thread to ours."""

    def __init__(self) -> None:
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()

    def take(self, news: News) -> None:
        self.news.put(news)


def _follow(entrance: Entrance, out: _Out, memory: EventMemory) -> None:
    listener = _Listener()
    observation = Observation(entrance, listener)
    observation.start()
    try:
        told = ConnectionState.CONNECTING
        while not is_reader_gone(0):
            try:
                news = listener.news.get(timeout=_POLL_PERIOD)
            except queue.Empty:
                continue
            match news:
                case Heard(event, missed):
                    if memory.hears_another_start(event):
                        # The first ones were published before we could hear them.
                        missed = event.seq - 1
                    if missed:
                        text = f"{missed} events were not heard"
                        out.own("missed", text, {"count": missed})
                        observation.order("status")
                    if memory.hear(event):
                        more = {"epoch": event.epoch, "seq": event.seq}
                        out.event(event.at, event.body, more | {"source": event.source})
                case Told(_, answer):
                    out.remembered(memory.fresh(answer))
                case Changed(state, reason) if state is not told:
                    told = state
                    more = {"state": state.value, "reason": reason}
                    out.own("connection", f"{state.value} {reason}", more)
                    if state is ConnectionState.CONNECTED:
                        # What happened just before, nobody was there to hear.
                        observation.order("status")
                    if state is ConnectionState.REFUSED:
                        raise AdmissionRefused(f"{entrance.name} refuses us: {reason}")
    finally:
        observation.close()
