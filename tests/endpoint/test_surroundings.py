"""What stands in the endpoint's folder reaches the processes that read it."""

import os
import subprocess
import sys

import pytest

from actors.endpoint.surroundings import boot_id

_SAY_WHERE = """
from actors.endpoint.surroundings import boot_id
print(boot_id())
"""


@pytest.mark.slow
def test_another_process_of_this_host_is_in_the_same_place() -> None:
    assert _said_by([]) == boot_id()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes such namespaces")
def test_who_does_not_see_this_hosts_processes_is_in_another_place() -> None:
    """As in a container, where the root's pid names nobody, or somebody else."""
    assert _said_by(["unshare", "--pid", "--fork"]) != boot_id()


def _said_by(prefix: list[str]) -> str:
    words = [*prefix, sys.executable, "-c", _SAY_WHERE]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()
