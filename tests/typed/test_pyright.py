"""Pyright agrees with mypy about what must type-check, and what must not.

The files say so themselves: each line that must not has a comment, and one too many is
an error, too.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


def test_pyright_finds_what_is_wrong_and_nothing_else() -> None:
    pyright = shutil.which("pyright", path=Path(sys.executable).parent)
    assert pyright is not None, "it comes with the extra [dev]"
    files = sorted(map(str, HERE.glob("must*.py")))
    checked = subprocess.run(
        [pyright, "--pythonpath", sys.executable, *files],
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
