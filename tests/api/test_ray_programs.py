"""A Ray program that keeps to the README's list runs with `import actors as ray`.

The programs in tests/ray_programs are written for Ray; what they print there lies
beside them. ACTORS_TEST_RAY names a Python that has Ray, to look whether that is so.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_written_for_ray_prints_what_it_prints_on_ray(
    program: Path, tmp_path: Path
) -> None:
    text = re.sub(
        r"^import ray$", "import actors as ray", program.read_text(), flags=re.MULTILINE
    )
    text = re.sub(r"^from ray\.", "from actors.", text, flags=re.MULTILINE)
    assert "import ray" not in text
    ours = tmp_path / program.name
    ours.write_text(text)
    expected = program.with_suffix(".out").read_text()
    assert said(sys.executable, ours, "-W", "error") == expected


@pytest.mark.skipif("ACTORS_TEST_RAY" not in os.environ, reason="no ACTORS_TEST_RAY")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_what_it_should_print_is_what_ray_prints(program: Path) -> None:
    expected = program.with_suffix(".out").read_text()
    assert said(os.environ["ACTORS_TEST_RAY"], program) == expected
