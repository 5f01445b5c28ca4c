"""What `actors check` and `actors doctor` find of `[worker_types.NAME]` on this host.

Nodes may have what this host has not, and the other way round; with blocks of this very
host, what is missing here is missing.
"""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from actors.config import EndpointConfig, WorkerTypeConfig, container_words
from actors.endpoint.housing import find_python
from actors.process import python_version

__all__ = ["find_lacks", "find_versions"]

# How long an interpreter may take to say its version; chosen: from a slow shared disk.
_PATIENCE = 20.0
_ASK = "import sys; print('%d.%d' % sys.version_info[:2])"


def find_lacks(config: EndpointConfig) -> Iterator[tuple[str, str]]:
    """Look for what types name; nothing is run.

    Yields:
        (type, what of it this host does not have).
    """
    for name, type_ in config.worker_types.items():
        if type_.image:
            words = container_words(
                type_.container_command, image="", folder="", endpoint_dir=""
            )
            if shutil.which(words[0]) is None:
                yield name, f"container_command: {shlex.quote(words[0])} is not in PATH"
            continue
        try:
            find_python(type_)
        except FileNotFoundError as error:
            yield name, str(error.strerror)
        for folder in type_.path:
            if not Path(folder).exists():
                yield name, f"there is no {folder} (path)"


def find_versions(config: EndpointConfig) -> Iterator[tuple[str, str]]:
    """Run the interpreters of virtual environments that are there.

    Yields:
        (type, what is wrong with its interpreter; "": nothing).
    """
    for name, type_ in config.worker_types.items():
        if type_.venv and (Path(type_.venv) / "bin" / "python").exists():
            yield name, _fault_of(type_)


def _fault_of(type_: WorkerTypeConfig) -> str:
    python = find_python(type_)
    try:
        answer = subprocess.run(
            [python, "-c", _ASK],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"{python} does not run: {error}"
    ours = python_version()
    if answer != ours:
        return f"{python} is Python {answer}, and this endpoint's is {ours}"
    return ""
