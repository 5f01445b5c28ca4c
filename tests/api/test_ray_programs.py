"""A Ray program that keeps to the README's list runs with `import actors as ray`.

The programs in tests/ray_programs are written for Ray; what they print there lies
beside them. ACTORS_TEST_RAY names a Python that has Ray, to look whether that is so.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endpoints import RunningEndpoint

pytestmark = pytest.mark.slow

PROGRAMS = sorted((Path(__file__).parents[1] / "ray_programs").glob("*.py"))


# What others print may stand before it on the same line, in colours.
_OWN_LINE = re.compile(r"(?:^|\x1b\[0m)(> .*)$", re.MULTILINE)


def said(python: str, program: Path, *options: str) -> str:
    """Return what a program printed; others print there, too."""
    done = subprocess.run(
        [python, *options, str(program)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return "".join(f"{line}\n" for line in _OWN_LINE.findall(done.stdout))


def for_us(program: Path) -> str:
    """Return a program with our imports."""
    text = re.sub(
        r"^import ray$", "import actors as ray", program.read_text(), flags=re.MULTILINE
    )
    text = re.sub(r"^from ray\.", "from actors.", text, flags=re.MULTILINE)
    assert "import ray" not in text
    return text


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_written_for_ray_prints_what_it_prints_on_ray(
    program: Path, tmp_path: Path
) -> None:
    text = for_us(program)
    ours = tmp_path / program.name
    ours.write_text(text)
    expected = program.with_suffix(".out").read_text()
    assert said(sys.executable, ours, "-W", "error") == expected


@pytest.fixture(scope="module")
def endpoint() -> Iterator[RunningEndpoint]:
    """As much as the programs ask for."""
    has = {"workers_per_node": 4, "gpus": 2, "resources": {"slot": 1.0}}
    with RunningEndpoint(workers=has) as running:
        yield running


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_it_prints_the_same_on_an_endpoint(
    program: Path, endpoint: RunningEndpoint, tmp_path: Path
) -> None:
    def address(found: re.Match[str]) -> str:
        namespace = ", namespace='mine'" if "namespace" in found[0] else ""
        return f"ray.init({str(endpoint.folder)!r}{namespace})"

    text = re.sub(r"ray\.init\([^)]*\)", address, for_us(program))
    ours = tmp_path / program.name
    ours.write_text(text)
    # There are as many processors as the endpoint has.
    there = program.with_suffix(".endpoint.out")
    expected = there if there.exists() else program.with_suffix(".out")
    assert said(sys.executable, ours, "-W", "error") == expected.read_text()


@pytest.mark.skipif("ACTORS_TEST_RAY" not in os.environ, reason="no ACTORS_TEST_RAY")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_what_it_should_print_is_what_ray_prints(program: Path) -> None:
    expected = program.with_suffix(".out").read_text()
    assert said(os.environ["ACTORS_TEST_RAY"], program) == expected
