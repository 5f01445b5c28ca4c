"""The monitor as a child of an endpoint's root process: `python -m actors.monitor`."""

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from actors.api.addressing import find_entrance
from actors.config import parse_web_listen
from actors.endpoint.launch import EXIT_CONFIG_ERROR
from actors.endpoint.surroundings import Surroundings
from actors.errors import ActorsError, AddressError
from actors.log_lines import log_to_stderr
from actors.monitor.service import Monitor, server_security
from actors.process import die_with_parent, name_process

logger = logging.getLogger("actors.monitor")


def main() -> int:
    """Watch an endpoint until SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m actors.monitor")
    parser.add_argument("folder", type=Path, help="the endpoint's folder")
    parser.add_argument("--parent", type=int, default=0, help="dies with this process")
    options = parser.parse_args()
    if options.parent:
        die_with_parent(options.parent)
    name_process("actors-monitor")
    log_to_stderr("text")
    try:
        return _run(options.folder)
    except AddressError as error:
        # The port may be free in a moment.
        logger.error("%s", error)
        return 1
    except ActorsError as error:
        logger.error("%s", error)
        return EXIT_CONFIG_ERROR


def _run(folder: Path) -> int:
    around = Surroundings.of(folder)
    log_to_stderr(around.config.log.format, actor="monitor")
    listen = parse_web_listen(around.config.metrics.listen)
    security = server_security(around.paths) if listen.scheme == "https" else None
    monitor = Monitor(find_entrance(folder, "operator", listens=True))
    with monitor.serve(listen, security) as server:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _leave)
        monitor.start()
        logger.info("is up on %s", listen.url)
        try:
            server.serve_forever()
        except SystemExit:
            logger.info("ends: the endpoint stops")
        monitor.close()
    return 0


def _leave(*_: Any) -> None:
    raise SystemExit


if __name__ == "__main__":
    sys.exit(main())
