"""The command `actors`: a group whose commands stand in modules of their own.

A command's module is imported when the command is called, so `actors run` does not pay
for the cryptography of `actors init`. To add a command, write it as a `click.command`
in a module here and name it in `_COMMANDS`.

Exit codes: 0, done; 1, refused or failed, with the reason on standard error; 2, called
in a way that the command does not know. Output to be parsed goes to standard output.
"""

import importlib
from typing import Any

import click

from actors.errors import ActorsError

__all__ = ["LazyGroup", "main"]

# {command: where it is defined}, in the order of `actors --help`
_COMMANDS = {
    "init": "actors.cli.setup:init",
    "check": "actors.cli.check:check",
    "doctor": "actors.cli.doctor:doctor",
    "schema": "actors.cli.check:schema",
    "run": "actors.cli.run:run",
    "status": "actors.cli.status:status",
    "logs": "actors.cli.logs:logs",
    "events": "actors.cli.events:events",
    "metrics": "actors.cli.metrics:metrics",
    "timeline": "actors.cli.timeline:timeline",
    "top": "tui.top_command:top",
    "tui": "tui.command:tui",
    "web": "tui.web_command:web",
    "stop": "actors.cli.stop:stop",
    "hold": "actors.cli.steer:hold",
    "quiesce": "actors.cli.steer:quiesce",
    "resume": "actors.cli.steer:resume",
    "drain": "actors.cli.steer:drain",
    "scale": "actors.cli.steer:scale",
    "cancel": "actors.cli.steer:cancel",
    "restart": "actors.cli.steer:restart",
    "strategy": "actors.cli.strategy:strategy",
    "journal": "actors.cli.journal:journal",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for.

    As in "Lazily Loading Subcommands" of click's documentation.

    Args:
        lazy_commands: {name: "module:attribute"}, in the order of the help.
    """

    def __init__(
        self, *args: Any, lazy_commands: dict[str, str], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy_commands = lazy_commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._lazy_commands, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._lazy_commands.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, attribute = place.split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{place} is no command"
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours is a message and exit code 1.

        So is what the operating system refuses where no command has better words: a
        full disk behind standard output, a path that is too long.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends without a word
        except (ActorsError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=LazyGroup,
    lazy_commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="actors", message="actors %(version)s")
def main() -> None:
    """Run Python functions on an endpoint: a service with workers here or on a cluster.

    \b
    Begin with
        actors init lab                  write lab/endpoint.toml
        actors check lab/endpoint.toml   see that it is right
        actors doctor lab                see that it can work here
        actors run lab                   run it
        actors status lab                see what it is doing
        actors tui lab                   watch and steer it
    """  # noqa: D301 (click wants the character backspace)
