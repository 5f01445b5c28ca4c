"""What runs the workers of a type: a table `[worker_types.NAME]` becomes a pool."""

import errno
import os
import sys
from pathlib import Path

from actors.address import WITHIN_VARIABLE
from actors.config import WorkerTypeConfig, container_words
from actors.environment import FOLDER_FIELD, Environment, HousedForkServer
from actors.forkserver import ForkServer
from actors.pool import Pool
from actors.store.links import Links

__all__ = ["environment_of", "find_python", "open_pool"]


def open_pool(
    name: str,
    type_: WorkerTypeConfig,
    endpoint_dir: Path,
    logs: Path,
    program: str,
    links: Links,
) -> Pool:
    """Make the pool of a type; what starts its workers begins with the first of them.

    Args:
        name: of the type.
        type_: its table.
        endpoint_dir: of the endpoint, for tasks that call others of it.
        logs: folder of the workers' logs.
        program: what they run.
        links: where large payloads are; containers do not see it.

    Raises:
        FileNotFoundError: the virtual environment is not there.
    """
    environment = environment_of(type_, endpoint_dir)

    def make_server(log: int) -> ForkServer:
        return HousedForkServer(environment, log, program)

    return Pool(
        logs,
        program=program,
        make_server=make_server,
        server_name=f"forkserver-{name}",
        links=links if environment.is_here else None,
    )


def environment_of(type_: WorkerTypeConfig, endpoint_dir: Path) -> Environment:
    """Say how the workers of a type are started.

    Raises:
        FileNotFoundError: the virtual environment is not there.
    """
    variables = {**type_.environment, WITHIN_VARIABLE: str(endpoint_dir)}
    if type_.image:
        words = container_words(
            type_.container_command,
            image=type_.image,
            folder=FOLDER_FIELD,
            endpoint_dir=str(endpoint_dir),
        )
        return Environment([*words, type_.python], type_.path, variables, is_here=False)
    return Environment([find_python(type_)], type_.path, variables)


def find_python(type_: WorkerTypeConfig) -> str:
    """Return the interpreter of a type that has no image.

    Raises:
        FileNotFoundError: it is not there.
    """
    if not type_.venv:
        return sys.executable
    python = os.path.join(type_.venv, "bin", "python")
    if not os.path.isdir(type_.venv):
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {type_.venv} (venv)")
    if not os.access(python, os.X_OK):
        raise FileNotFoundError(
            errno.ENOENT,
            f"venv {type_.venv} has no bin/python that can be run: make it anew by "
            f"python{sys.version_info.major}.{sys.version_info.minor} -m venv",
        )
    return python
