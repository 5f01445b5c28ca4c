"""What the commands have in common that ask a running endpoint something.

All take an ADDRESS, which may come from ACTORS_ADDRESS, and the same options; all
answer in the same two ways. With --json standard output gets one object, whatever
happens: its "ok" says whether it was done, and "text" what was done or why not.
"""

import functools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from actors.api.addressing import ADDRESS_VARIABLE, Entrance, find_entrance
from actors.api.operator import DEFAULT_TIMEOUT, ask
from actors.config import CONFIG_NAME
from actors.errors import ActorsError
from actors.messages import Verb

__all__ = [
    "Asking",
    "Seconds",
    "address_argument",
    "asking",
    "credentials_option",
    "echo_json",
    "split_address",
    "timeout_option",
]

_Decorator = Callable[[Callable[..., None]], Callable[..., None]]


@dataclass(frozen=True)
class Asking:
    """How a user wants to ask, and to be answered.

    Args:
        credentials: for an address that is no folder; see `find_entrance`.
        timeout: seconds.
        is_json: whether a program reads the answer.
    """

    credentials: Path | None
    timeout: float
    is_json: bool

    def entrance(self, address: str | None) -> Entrance:
        """Find the endpoint; see `find_entrance`."""
        return find_entrance(address, "operator", credentials=self.credentials)

    def steer(
        self,
        address: str | None,
        verb: Verb,
        names: Sequence[str] = (),
        number: int = 0,
    ) -> NoReturn:
        """Have an endpoint do something, say how it went, and exit."""
        entrance = self.entrance(address)
        answer = ask(entrance, verb, names=names, number=number, timeout=self.timeout)
        self.tell(answer.text, is_done=answer.is_done)

    def tell(self, text: str, *, is_done: bool) -> NoReturn:
        """Say how it went, and exit: 0 if it is done, 1 if not."""
        if self.is_json:
            echo_json({"ok": is_done, "text": text})
        elif is_done:
            click.echo(text)
        else:
            raise click.ClickException(text)
        click.get_current_context().exit(0 if is_done else 1)


address_argument = click.argument("address", metavar="[ADDRESS]", required=False)
credentials_option = click.option(
    "--credentials",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="For an ADDRESS that is no folder: a folder with the endpoint's token and, "
    "for wss, its credentials/.",
)


class Seconds(click.FloatRange):
    """A time to wait: above 0, and a number; with NaN all comparisons are false."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return seconds


def timeout_option(text: str, *, default: float = DEFAULT_TIMEOUT) -> _Decorator:
    """Give a command --timeout: seconds, as a float above 0."""
    return click.option(
        "--timeout",
        metavar="SECONDS",
        type=Seconds(),
        default=f"{default:g}",
        show_default=True,
        help=text,
    )


def asking(
    *, timeout: float = DEFAULT_TIMEOUT, timeout_help: str = "How long to wait."
) -> _Decorator:
    """Give a command the common options; it gets them as the keyword `how`.

    Args:
        timeout: the default of --timeout.
        timeout_help: what it is the limit of.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @credentials_option
        @timeout_option(timeout_help, default=timeout)
        @click.option("--json", "is_json", is_flag=True, help="Answer in JSON.")
        @functools.wraps(command)
        def wrapped(
            *args: object,
            credentials: Path | None,
            timeout: float,
            is_json: bool,
            **more: object,
        ) -> None:
            how = Asking(credentials, timeout, is_json)
            try:
                command(*args, how=how, **more)
            except ActorsError as error:
                if not is_json:
                    raise
                how.tell(str(error), is_done=False)

        return wrapped

    return decorate


def split_address(
    words: Sequence[str], what: str = ""
) -> tuple[str | None, Sequence[str]]:
    """Tell the ADDRESS from what follows it.

    The first word is the address if it looks like one (a url, a path with a slash, a
    folder with an endpoint.toml), or if there is none in ACTORS_ADDRESS.

    Args:
        words: of the command line.
        what: must follow, for the message: "NAME..."; empty: nothing need.

    Returns:
        The address, None if it stands in the environment; and the other words.

    Raises:
        click.UsageError: nothing follows.
    """
    address: str | None = None
    rest = words
    if words and (_is_address(words[0]) or not os.environ.get(ADDRESS_VARIABLE)):
        address, rest = words[0], words[1:]
    if what and not rest:
        hint = ""
        if words and not _is_address(words[0]):
            hint = f"; {ADDRESS_VARIABLE} is not set, so {words[0]} is the ADDRESS"
        raise click.UsageError(f"Missing argument {what}{hint}")
    return address, rest


def _is_address(word: str) -> bool:
    # os.path: a word too long to be a file's name is none, and no error.
    is_folder = os.path.exists(os.path.join(word, CONFIG_NAME))
    return "/" in word or word == CONFIG_NAME or is_folder


def echo_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
