"""Promise: an endpoint runs wherever, and however, somebody starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import actors
from tests.support import eventually

pytestmark = pytest.mark.slow

_REPOSITORY = Path(__file__).parents[2]
# As pip installs `actors`: the folder that it is called in is not imported from.
_SCRIPT = """
from actors.cli import main
main(prog_name="actors")
"""
_TASK = """
import sys, actors
with actors.Executor() as executor, open(sys.argv[1], "w") as file:
    file.write(str(executor.submit(pow, 2, 5).result(60)))
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    assert actors("init", tmp_path / "lab").exit_code == 0
    return tmp_path / "lab"


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "run.py").write_text(_SCRIPT)
    return [sys.executable, str(tmp_path / "bin" / "run.py")]


def environment() -> dict[str, str]:
    path = [str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def test_what_lies_where_it_was_started_is_not_taken_for_its_own(
    lab: Path, script: list[str]
) -> None:
    """A project may have a package `providers`: a restarted service took it."""
    project = lab.parent / "project"
    (project / "providers").mkdir(parents=True)
    (project / "providers" / "__init__.py").write_text("raise ImportError('not ours')")
    log = lab / "logs" / "provider.log"

    def starts() -> int:
        return log.read_text().count("is up") if log.exists() else 0

    with subprocess.Popen(
        [*script, "run", "--quiet", str(lab)], cwd=project, env=environment()
    ) as process:
        try:
            eventually(lambda: starts() >= 1, 60, "the provider")
            eventually(
                lambda: actors("restart", lab, "provider").exit_code == 0,
                60,
                "an order to restart",
            )
            eventually(lambda: starts() >= 2, 60, "a successor")
            assert "not ours" not in log.read_text()
        finally:
            process.terminate()
        assert process.wait(30) == 0


def test_it_needs_no_standard_descriptors(lab: Path) -> None:
    """As of a daemon; its sockets had their numbers, and no service came up."""
    out = lab.parent / "out"
    words = [sys.executable, "-m", "actors", "run", str(lab), "--"]
    words += [sys.executable, "-c", _TASK, str(out)]
    closing = 'exec "$@" 0<&- 1>&- 2>&-'
    subprocess.run(
        ["bash", "-c", closing, "bash", *words],
        env=environment(),
        timeout=120,
        check=True,
    )
    assert out.read_text() == "32"
