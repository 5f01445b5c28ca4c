"""`actors stop`: end an endpoint, and see that it is gone."""

import select
import signal
import time
from collections.abc import Iterator

import click

from actors.api.addressing import Entrance
from actors.api.operator import DEFAULT_TIMEOUT, ask, ask_to_stop
from actors.cli.asking import Asking, address_argument, asking
from actors.endpoint.surroundings import RunStatus
from actors.errors import ActorsError, AddressError
from actors.process import ProcessWatch

__all__ = ["stop"]

# Chosen: actors get 15 s each to end in order before they are killed.
_TIMEOUT = 60.0
# How often a person who waits is told so.
_PROGRESS_PERIOD = 5.0
# Two signals that come together count as one: they are sent this far apart, until the
# process is gone.
_SIGNAL_PERIOD = 0.3


@click.command()
@address_argument
@click.option(
    "--now",
    "in_a_hurry",
    is_flag=True,
    help="Kill instead of asking: for an endpoint of this host.",
)
@asking(timeout=_TIMEOUT, timeout_help="How long to wait for its end.")
def stop(address: str | None, *, in_a_hurry: bool, how: Asking) -> None:
    """Stop an endpoint, with all its blocks, and wait until it is gone.

    Its interchange is asked; if that does not answer, and the endpoint runs on this
    host, its root process gets SIGTERM. Tasks that have not ended are there again at
    its next start; those that ran then begin anew, or fail if their retries are used
    up: `actors quiesce` it first, and wait, to let them finish. With --now nobody is
    waited for, as with a second Ctrl-C.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says.

    \b
    Exit codes:
        0  it ran, and is gone
        1  it did not run, it said no, or it was not gone after --timeout

    \b
    Examples:
        actors stop lab
        actors stop lab --now
    """  # noqa: D301 (click wants the character backspace)
    entrance = how.entrance(address)
    status = entrance.run_status
    if entrance.obstacle:
        raise AddressError(f"Nothing to stop at {entrance.name}; {entrance.obstacle}")
    deadline = time.monotonic() + how.timeout
    if status is not None and status.is_here:
        _stop_here(entrance, status, deadline, how, in_a_hurry=in_a_hurry)
    elif in_a_hurry:
        where = f"{status.host}, pid {status.root_pid}" if status else "its host"
        how.tell(f"--now works on the endpoint's host only: {where}", is_done=False)
    else:
        _stop_there(entrance, how)


def _stop_here(
    entrance: Entrance,
    status: RunStatus,
    deadline: float,
    how: Asking,
    *,
    in_a_hurry: bool,
) -> None:
    """Stop an endpoint whose root process can be seen from here."""
    # Opened before anybody is asked: it tells of this process and of no later one.
    watch = ProcessWatch(status.root)
    try:
        if in_a_hurry:
            _say(f"{status.name} (pid {status.root_pid}) is being killed")
            is_gone = _signal_until_gone(status, watch, deadline)
        else:
            _ask_or_signal(entrance, status, deadline)
            is_gone = _await_end(status, watch, deadline)
    finally:
        watch.close()
    if is_gone:
        how.tell(f"{status.name} stopped", is_done=True)
    how.tell(
        f"{status.name} (pid {status.root_pid}) still runs after {how.timeout:g} s: "
        + (
            f"`kill -KILL {status.root_pid}` ends it and all its processes"
            if in_a_hurry
            else f"`actors stop {entrance.name} --now` waits for nobody"
        ),
        is_done=False,
    )


def _ask_or_signal(entrance: Entrance, status: RunStatus, deadline: float) -> None:
    # Whoever does not answer in half of the time gets the other half to obey.
    patience = min(DEFAULT_TIMEOUT, (deadline - time.monotonic()) / 2)
    try:
        answer = ask(entrance, "stop", timeout=patience)
    except ActorsError as error:
        why = str(error)
    else:
        if answer.is_done:
            _say(f"{status.name} (pid {status.root_pid}) was asked to stop")
            return
        why = answer.text
    if status.root.send_signal(signal.SIGTERM):
        _say(f"{why}\n{status.name} (pid {status.root_pid}) got SIGTERM instead")


def _signal_until_gone(status: RunStatus, watch: ProcessWatch, deadline: float) -> bool:
    while time.monotonic() < deadline:
        status.root.send_signal(signal.SIGTERM)
        if _is_readable(watch, _SIGNAL_PERIOD):
            return True
    return watch.is_dead()


def _await_end(status: RunStatus, watch: ProcessWatch, deadline: float) -> bool:
    began = time.monotonic()
    for wait in _waits(deadline):
        if _is_readable(watch, wait):
            return True
        _say(f"{status.name} still runs after {time.monotonic() - began:.0f} s")
    return watch.is_dead()


def _waits(deadline: float) -> Iterator[float]:
    while (left := deadline - time.monotonic()) > 0:
        yield min(left, _PROGRESS_PERIOD)


def _is_readable(watch: ProcessWatch, timeout: float) -> bool:
    return bool(select.select([watch], [], [], timeout)[0])


def _stop_there(entrance: Entrance, how: Asking) -> None:
    """Stop an endpoint of another host: only its interchange can be seen."""
    answer, is_gone = ask_to_stop(entrance, how.timeout)
    if not answer.is_done:
        how.tell(answer.text, is_done=False)
    if is_gone:
        how.tell(f"{entrance.name} stopped", is_done=True)
    how.tell(
        f"{entrance.name} was asked to stop and still answers after {how.timeout:g} s: "
        "on its host, `actors stop --now` waits for nobody",
        is_done=False,
    )


def _say(text: str) -> None:
    click.echo(text, err=True)
