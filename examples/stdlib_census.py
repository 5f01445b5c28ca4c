"""Take a census of Python's standard library: every file is parsed on an endpoint.

    actors run examples/endpoint.toml -- python examples/stdlib_census.py

Counts the nodes of all syntax trees by type, finds the longest functions, and draws the
graph of who imports whom. Then it does the same again in this process alone, compares,
and prints both times. Exit code 1: the results differ.
"""

import argparse
import ast
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

import actors

# Parsing takes some 7 ms a file, so a task takes long enough for its way to a worker
# not to matter, and there are enough tasks for the workers to end together.
FILES_PER_TASK = 8
SHOWN = 5
PROGRESS_STEPS = 10
NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}


class FileReport(TypedDict):
    """What one file holds."""

    file: str  # relative to the library
    problem: str  # why it can't be parsed; "" if it can
    nodes: dict[str, int]  # {type of node: how many}
    longest_function: tuple[int, str]  # lines and qualified name; (0, "") if none
    imports: list[str]  # names of modules, sorted, each once


def library_files(library: Path) -> list[str]:
    """List the library's files, relative to it, the largest first.

    So the files that take longest don't come last, when other workers are done.
    """
    files = [
        path.relative_to(library)
        for path in library.rglob("*.py")
        if NOT_THE_LIBRARY.isdisjoint(path.relative_to(library).parts)
    ]
    files.sort(key=lambda file: (-(library / file).stat().st_size, file))
    return [str(file) for file in files]


def module_name(file: str) -> str:
    """Return the name under which a file is imported: `os.path` of `os/path.py`."""
    parts = list(Path(file).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imported_modules(tree: ast.AST, file: str) -> list[str]:
    """List the modules that a file imports, anywhere in it.

    Args:
        tree: the parsed file.
        file: where relative imports start from.
    """
    package = Path(file).parent.parts
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `.x` is beside this file, `..x` one folder up, and so on.
            upwards = max(len(package) - (node.level - 1), 0)
            parts = list(package[:upwards]) if node.level else []
            if node.module:
                modules.add(".".join([*parts, node.module]))
            else:
                modules.update(".".join([*parts, alias.name]) for alias in node.names)
    return sorted(modules)


def longest_function(tree: ast.AST) -> tuple[int, str]:
    """Return lines and qualified name of the longest function; (0, "") if none."""
    longest = (0, "")
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, within = waiting.pop()
        name = within
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{within}.{node.name}" if within else node.name
            if not isinstance(node, ast.ClassDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                longest = max(longest, (lines, name))
        waiting.extend((child, name) for child in ast.iter_child_nodes(node))
    return longest


def survey(library: str, file: str) -> FileReport:
    """Parse one file; this is what runs on the workers."""
    report = FileReport(
        file=file, problem="", nodes={}, longest_function=(0, ""), imports=[]
    )
    try:
        with warnings.catch_warnings():
            # Old escape sequences in the library's tests are not our concern.
            warnings.simplefilter("ignore")
            tree = ast.parse((Path(library) / file).read_bytes(), file)
    # The library's tests hold files that are wrong on purpose.
    except (SyntaxError, ValueError, RecursionError) as error:
        report["problem"] = type(error).__name__
        return report
    report["nodes"] = dict(Counter(type(node).__name__ for node in ast.walk(tree)))
    report["longest_function"] = longest_function(tree)
    report["imports"] = imported_modules(tree, file)
    return report


def with_progress(reports: Iterable[FileReport], total: int) -> Iterator[FileReport]:
    """Pass reports on, and tell on standard error how far they are."""
    step = max(total // PROGRESS_STEPS, 1)
    for done, report in enumerate(reports, start=1):
        if done % step == 0 or done == total:
            print(f"  {done}/{total} files", file=sys.stderr)
        yield report


def describe(reports: list[FileReport]) -> str:
    """Write the census for people to read."""
    nodes: Counter[str] = Counter()
    importers: Counter[str] = Counter()
    for report in reports:
        nodes.update(report["nodes"])
        importers.update(report["imports"])
    functions = sorted(
        ((*report["longest_function"], report["file"]) for report in reports),
        key=lambda function: (-function[0], function[1:]),
    )
    problems = [report for report in reports if report["problem"]]
    parsed = len(reports) - len(problems)
    importing = sum(1 for report in reports if report["imports"])
    lines = [
        f"{parsed} files, {nodes.total():,} nodes of {len(nodes)} types",
        "Most frequent: " + _ranking(nodes),
        f"Import graph: {importers.total():,} edges from {importing:,} modules",
        "Most imported: " + _ranking(importers),
        "Longest functions, one per file:",
    ]
    lines += [
        f"  {length:5} lines  {name} ({file})"
        for length, name, file in functions[:SHOWN]
        if length
    ]
    lines.append(f"Not parsed: {len(problems)}")
    lines += [f"  {report['file']} ({report['problem']})" for report in problems]
    return "\n".join(lines)


def _ranking(counts: Counter[str]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ranked[:SHOWN])


def differing_files(ours: list[FileReport], theirs: list[FileReport]) -> list[str]:
    """Name the files on which two censuses disagree, or that only one has."""
    left = {report["file"]: report for report in ours}
    right = {report["file"]: report for report in theirs}
    return sorted(
        file for file in left.keys() | right.keys() if left.get(file) != right.get(file)
    )


def main() -> int:
    """Run the census twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--address", help="of the endpoint; without it, ACTORS_ADDRESS tells"
    )
    parser.add_argument(
        "--files", type=int, metavar="N", help="only the N largest files"
    )
    options = parser.parse_args()

    library = Path(os.__file__).parent
    files = library_files(library)[: options.files]
    libraries = [str(library)] * len(files)

    print(f"Parsing {len(files)} files on the endpoint", file=sys.stderr)
    began = time.monotonic()
    with actors.Executor(options.address) as executor:
        results = executor.map(survey, libraries, files, chunksize=FILES_PER_TASK)
        reports = list(with_progress(results, len(files)))
    endpoint_time = time.monotonic() - began

    print("Parsing them again in this process", file=sys.stderr)
    began = time.monotonic()
    serial = list(with_progress(map(survey, libraries, files), len(files)))
    serial_time = time.monotonic() - began

    print(f"{library}, Python {sys.version.split()[0]}")
    print(describe(reports))
    print(
        f"Endpoint {endpoint_time:.2f} s, serial {serial_time:.2f} s: "
        f"{serial_time / endpoint_time:.2f} times as fast"
    )
    different = differing_files(reports, serial)
    if different:
        print(f"The results differ on {', '.join(different)}")
        return 1
    print("The results are the same")
    return 0


if __name__ == "__main__":
    sys.exit(main())
