"""The census counts what is there, and says so when two censuses disagree."""

import ast
import importlib.util
import types
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "stdlib_census.py"


@pytest.fixture(scope="module")
def census() -> types.ModuleType:
    """Load the example as what it is: a program, and in no package."""
    spec = importlib.util.spec_from_file_location("stdlib_census", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_file_is_counted_measured_and_linked(
    census: types.ModuleType, tmp_path: Path
) -> None:
    source = (
        "import os\n\nclass A:\n    def f(self):\n        x = 1\n        return x\n"
    )
    (tmp_path / "a.py").write_text(source)
    report = census.survey(str(tmp_path), "a.py")
    assert report["problem"] == ""
    assert report["longest_function"] == (3, "A.f")
    assert report["imports"] == ["os"]
    assert report["nodes"]["Assign"] == 1
    assert sum(report["nodes"].values()) == len(list(ast.walk(ast.parse(source))))


@pytest.mark.parametrize(
    "content", [b"def f(:", b"\0", b"# coding: no-such-thing\n", b"'\xff'"]
)
def test_a_file_that_cannot_be_parsed_is_named_and_not_fatal(
    census: types.ModuleType, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad.py").write_bytes(content)
    report = census.survey(str(tmp_path), "bad.py")
    assert report["problem"] in ("SyntaxError", "ValueError")
    assert "bad.py" in census.describe([report])


def test_an_old_escape_sequence_warns_nobody(
    census: types.ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "old.py").write_text("x = '\\d'\n")
    assert census.survey(str(tmp_path), "old.py")["problem"] == ""


@pytest.mark.parametrize(
    ("source", "file", "modules"),
    [
        ("import a.b, c", "m.py", ["a.b", "c"]),
        ("from a.b import c, d", "m.py", ["a.b"]),
        ("from . import c, d", "p/q/m.py", ["p.q.c", "p.q.d"]),
        ("from .n import c", "p/__init__.py", ["p.n"]),
        ("from ..n import c", "p/q/m.py", ["p.n"]),
        ("from ....n import c", "p/m.py", ["n"]),
        ("def f():\n    import late", "m.py", ["late"]),
    ],
)
def test_imports_are_resolved_against_the_files_package(
    census: types.ModuleType, source: str, file: str, modules: list[str]
) -> None:
    assert census.imported_modules(ast.parse(source), file) == modules


@pytest.mark.parametrize(
    ("file", "name"),
    [("os.py", "os"), ("json/__init__.py", "json"), ("json/tool.py", "json.tool")],
)
def test_a_module_is_named_as_it_is_imported(
    census: types.ModuleType, file: str, name: str
) -> None:
    assert census.module_name(file) == name


def test_installed_packages_are_no_part_of_the_library(
    census: types.ModuleType, tmp_path: Path
) -> None:
    for name in ("small.py", "site-packages/x.py", "json/large.py", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x = 1\n" * (10 if "large" in name else 1))
    assert census.library_files(tmp_path) == ["json/large.py", "small.py"]


def test_a_difference_is_found_and_an_order_is_none(
    census: types.ModuleType, tmp_path: Path
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.py").write_text(f"import {name}\n")
    reports = [census.survey(str(tmp_path), f"{name}.py") for name in "abc"]
    assert census.differing_files(reports, reports[::-1]) == []
    other = reports[1] | {"imports": ["z"]}
    assert census.differing_files(reports, [reports[0], other]) == ["b.py", "c.py"]


def test_every_file_of_a_part_of_the_library_is_surveyed_alike_twice(
    census: types.ModuleType,
) -> None:
    library = Path(ast.__file__).parent
    files = [file for file in census.library_files(library) if "json/" in file]
    assert files
    reports = [census.survey(str(library), file) for file in files]
    again = [census.survey(str(library), file) for file in files]
    assert census.differing_files(reports, again) == []
    assert str(len(files)) in census.describe(reports)
