"""The folder of a job of a batch system: what is written when, and by whom.

    job.json  ending.json  status.json     by the provider; see `folder`
    node.sh                                 runs one node; see `batch_script`
    attempt-1.json     a submission is about to be made: the name it has over there
    attempt-1.sh       what is submitted
    attempt-1.number   the batch system's number of the job, as it was told to us
    attempt-1.claim    that number, written by the job itself when it starts; or
                       "sealed": nothing of this attempt ever runs
    run-1/             what ran: one each time that the batch system started the job
        node-0.stdout  node-0.stderr
        node-0.exit    the exit code of node 0's command
        node-0.warned  seconds after its start at which it was asked to end
    batch.out          what the batch system itself, and batch.sh, had to say
    batch.err

A submission whose answer was not heard may have been taken. Whoever comes next asks the
batch system by the attempt's name, which nobody else ever had. If there is no such job,
it seals the claim before it tries again: claims are made with link(2), so either the
job was faster, and its number stands there, or it will find the seal and leave.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from providers.folder import OrderFolder, read_tail

__all__ = ["Attempt", "BatchFolder", "Run"]

_SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One submission.

    Args:
        index: 1 for the first.
        name: that the batch system knows it by; nobody else's.
    """

    index: int
    name: str


class Run(NamedTuple):
    """What the last run of a job left.

    Args:
        exit_codes: per node; None: not told.
        warned_after: seconds after its start at which a node was first asked to end;
            None: none was.
    """

    exit_codes: list[int | None]
    warned_after: int | None

    @property
    def is_complete(self) -> bool:
        """Whether every node told its exit code."""
        return None not in self.exit_codes

    @property
    def failed_node(self) -> int | None:
        """The first node that told an exit code other than 0."""
        codes = enumerate(self.exit_codes)
        return next((node for node, code in codes if code), None)


class BatchFolder(OrderFolder):
    """The files of one job."""

    # Attempts

    def newest(self) -> Attempt | None:
        """Return the last submission that was made or may have been; None: none."""
        found = None
        index = 1
        while (text := self._read(f"attempt-{index}.json")) is not None:
            found = Attempt(index, json.loads(text)["name"])
            index += 1
        return found

    def open_attempt(self, name: str) -> Attempt:
        """Write down that a submission is about to be made.

        Raises:
            OSError: it cannot be written.
        """
        newest = self.newest()
        index = newest.index + 1 if newest else 1
        while not self._create(f"attempt-{index}.json", json.dumps({"name": name})):
            index += 1
        return Attempt(index, name)

    def write_scripts(self, attempt: Attempt, batch: str, node: str) -> Path:
        """Write what is to be submitted; return its path."""
        self._create("node.sh", node)
        name = f"attempt-{attempt.index}.sh"
        self._create(name, batch)
        return self.path / name

    def note_number(self, attempt: Attempt, number: str) -> None:
        """Write down the batch system's number of the job."""
        self._create(f"attempt-{attempt.index}.number", f"{number}\n")

    def number(self, attempt: Attempt) -> str | None:
        """Return the job's number, as told to us or by the job; None: neither."""
        told = self._read(f"attempt-{attempt.index}.number")
        if told is not None:
            return told.strip()
        claim = self._claim(attempt)
        return None if claim == _SEALED else claim

    def seal(self, attempt: Attempt) -> bool:
        """See to it that nothing of an attempt runs; false if it has begun."""
        self._create(f"attempt-{attempt.index}.claim", f"{_SEALED}\n")
        # Not what link(2) said: NFS can make it and say that it was there.
        return self.is_sealed(attempt)

    def is_sealed(self, attempt: Attempt) -> bool:
        return self._claim(attempt) == _SEALED

    def has_started(self) -> bool:
        """Whether the job was ever started by the batch system."""
        newest = self.newest()
        return newest is not None and self._claim(newest) not in (None, _SEALED)

    def _claim(self, attempt: Attempt) -> str | None:
        text = self._read(f"attempt-{attempt.index}.claim")
        return None if text is None else text.strip()

    # Runs

    def last_run(self, nodes: int) -> Run:
        """Read what the last run left; nothing if there was none."""
        folder = self._last_run_folder()
        codes = [_read_int(folder / f"node-{n}.exit") for n in range(nodes)]
        warned = [_read_int(folder / f"node-{n}.warned") for n in range(nodes)]
        return Run(codes, min((w for w in warned if w is not None), default=None))

    def stderr_tail(self, nodes: Sequence[int]) -> str:
        """Return the end of standard error of the first of these nodes that has any.

        If none has: what the batch system said about the job.
        """
        folder = self._last_run_folder()
        paths = [folder / f"node-{node}.stderr" for node in nodes]
        tails = map(read_tail, [*paths, self.path / "batch.err"])
        return next(filter(str.strip, tails), "")

    def _last_run_folder(self) -> Path:
        last = 0
        while (self.path / f"run-{last + 1}").exists():
            last += 1
        return self.path / f"run-{last}"


def _read_int(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdecimal() else None
