"""Start one actor of an endpoint in this process.

    python -m actors.endpoint.launch interchange|strategy|provider DIR
    python -m actors.endpoint.launch manager DIR --block BLOCK --node NODE

`actors run` starts the first three, a block's launch command the fourth. DIR is the
endpoint's folder: everything else is read there.
"""

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.endpoint.pulse import Pulse
from actors.endpoint.surroundings import Surroundings
from actors.errors import ActorsError
from actors.log_lines import log_to_stderr
from actors.messages import BlockId
from actors.process import die_with_parent, name_process

__all__ = ["EXIT_CONFIG_ERROR", "main", "preload"]

logger = logging.getLogger(__name__)

# As EX_CONFIG of sysexits.h: restarting would not help. (1 is Python's own code for an
# exception, 2 is for a wrong call.)
EXIT_CONFIG_ERROR = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one actor until it ends; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m actors.endpoint.launch", description=__doc__
    )
    parser.add_argument(
        "actor", choices=["interchange", "strategy", "provider", "manager"]
    )
    parser.add_argument("folder", type=Path, help="the endpoint's folder")
    parser.add_argument("--block", default="", help="of a manager")
    parser.add_argument("--node", type=int, default=0, help="of a manager")
    parser.add_argument("--parent", type=int, default=0, help="dies with this process")
    parser.add_argument("--pulse", type=int, default=-1, help="show life through this")
    parser.add_argument("--restarts", type=int, default=0, help="how often already")
    options = parser.parse_args(arguments)
    if options.parent:
        die_with_parent(options.parent)
    name_process(f"actors-{options.actor}")
    log_to_stderr("text")
    process = preload(options.actor)
    code: int
    try:
        around = Surroundings.of(options.folder)
        style = around.config.log.format
        log_to_stderr(style, actor=options.actor, block=options.block)
        if options.actor == "manager":
            code = process.run(around, BlockId(options.block), options.node)
            if code == process.EXIT_AGAIN:
                # The same process: whoever watches the block does not see its end.
                os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
            return code
        with contextlib.closing(_pulse(options.pulse, around)) as pulse:
            match options.actor:
                case "strategy":
                    code = process.run(around, pulse, is_restart=options.restarts > 0)
                case _:
                    code = process.run(around, pulse)
    except ActorsError as error:
        logger.error("%s", error)
        return 1 if error.may_pass else EXIT_CONFIG_ERROR
    return code


def preload(actor: str) -> Any:
    """Import what an actor needs and no more: an endpoint's first result waits for it.

    Returns:
        Its module, whose `run` it is.
    """
    return importlib.import_module(f"actors.endpoint.{actor}_process")


def _pulse(descriptor: int, around: Surroundings) -> Pulse:
    if descriptor < 0:
        # Started by hand: nobody listens.
        descriptor = os.open(os.devnull, os.O_WRONLY)
    return Pulse(descriptor, around.tempo.period)


if __name__ == "__main__":
    sys.exit(main())
