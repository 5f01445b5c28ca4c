"""How tests call `actors`: in this process, as from a shell."""

from click.testing import CliRunner, Result

from actors.cli import main

__all__ = ["actors"]


def actors(*arguments: object, address: object = "") -> Result:
    """Call the command.

    Args:
        arguments: of the command line.
        address: what stands in ACTORS_ADDRESS; "": nothing.
    """
    environment = {"ACTORS_ADDRESS": str(address) or None}
    words = [str(argument) for argument in arguments]
    return CliRunner(env=environment).invoke(main, words)
