"""What a cluster's provider keeps of a job, on its own side.

job.json  ending.json  status.json     see `folder`
attempt-1.name           what the cluster knows the job by, which nobody else ever
                         has; written before the cluster is asked for anything
attempt-1.refused        the cluster refused it: nothing of it runs
attempt-1.node-0.there   the cluster has taken node 0
attempt-1.node-0.end     how node 0 ended, so that it can be forgotten over there
"""

import json
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict

from providers.base import JobSpec, JobState, JobStatus
from providers.batch_folder import Attempt
from providers.folder import Ending, OrderFolder, explain_exit_code

__all__ = ["ClusterFolder", "ClusterJob", "ClusterNode", "judge"]

logger = logging.getLogger(__name__)

# A name that nobody else has; chosen: short in a listing.
_TOKEN_BYTES = 5
# What every system takes, Kubernetes being the strictest: 63 characters, of which the
# token and a node's number want some.
_NAME_CHARACTERS = 40
_NO_NAME_CHARACTER = re.compile(r"[^a-z0-9]+")


class ClusterFolder(OrderFolder):
    """The files of one job."""

    def newest(self) -> Attempt | None:
        """Return the submission that counts; None: none, or it was refused."""
        found = None
        index = 1
        while (name := self._read(f"attempt-{index}.name")) is not None:
            found = Attempt(index, name)
            index += 1
        if found and self._read(f"attempt-{found.index}.refused") is not None:
            return None
        return found

    def open_attempt(self, job_name: str) -> Attempt:
        """Write down that the cluster is about to be asked.

        Raises:
            OSError: it cannot be written.
        """
        readable = _NO_NAME_CHARACTER.sub("-", job_name.lower())
        readable = readable[-_NAME_CHARACTERS:].strip("-") or "block"
        name = f"{readable}-{secrets.token_hex(_TOKEN_BYTES)}"
        index = 1
        while not self._create(f"attempt-{index}.name", name):
            index += 1
        return Attempt(index, name)

    def note_refused(self, attempt: Attempt) -> None:
        """Write down that nothing of an attempt runs, or will."""
        self._create(f"attempt-{attempt.index}.refused", "")

    def note_there(self, attempt: Attempt, node: int) -> None:
        """Write down that the cluster has taken a node."""
        self._create(f"attempt-{attempt.index}.node-{node}.there", "")

    def is_there(self, attempt: Attempt, node: int) -> bool:
        return self._read(f"attempt-{attempt.index}.node-{node}.there") is not None

    def note_end(self, attempt: Attempt, node: int, end: JobStatus) -> None:
        """Write down how a node ended."""
        name = f"attempt-{attempt.index}.node-{node}.end"
        self._create(name, json.dumps(asdict(end)))

    def end(self, attempt: Attempt, node: int) -> JobStatus | None:
        """Return how a node ended; None: not known to have."""
        text = self._read(f"attempt-{attempt.index}.node-{node}.end")
        if text is None:
            return None
        fields = json.loads(text)
        return JobStatus(**fields | {"state": JobState(fields["state"])})


class ClusterNode:
    """What is known of one node.

    Args:
        number: among the nodes of its job.
        name: that the cluster knows it by.
        is_there: whether the cluster has taken it.
        end: None: it is not known to be over.
    """

    def __init__(
        self, number: int, name: str, is_there: bool, end: JobStatus | None
    ) -> None:
        self.number = number
        self.name = name
        self.is_there = is_there
        self.end = end
        self.seen: JobStatus | None = None  # by the cluster's last word
        # When the cluster first said, since we last asked to start it, that it does not
        # know it.
        self.missing_since: float | None = None


class ClusterJob:
    """A job that is not known to be over.

    Raises:
        OSError: its folder cannot be read.
    """

    def __init__(self, folder: ClusterFolder, spec: JobSpec, attempt: Attempt) -> None:
        self.folder = folder
        self.spec = spec
        self.attempt = attempt
        self.ending = folder.ending()
        self.nodes = [
            ClusterNode(
                *(n, f"{attempt.name}-{n}"),
                *(folder.is_there(attempt, n), folder.end(attempt, n)),
            )
            for n in range(spec.nodes)
        ]

    @property
    def job_id(self) -> str:
        return f"{self.attempt.name}:{self.folder.path}"

    @property
    def open_nodes(self) -> list[ClusterNode]:
        """Those that are not known to be over."""
        return [node for node in self.nodes if node.end is None]

    def ask_to_end(self, ending: Ending) -> None:
        """Write down that the job has to end, unless it has to already."""
        if self.ending is not None:
            return
        self.ending = ending
        try:
            self.folder.ask_to_end(ending)
        except OSError as error:
            # A full disk must not keep a job alive; a successor would not know.
            logger.warning("%s: cannot note its end: %s", self.folder, error)

    def note_there(self, node: ClusterNode) -> None:
        """Take note that the cluster has a node."""
        if not node.is_there:
            node.is_there = True
            try:
                self.folder.note_there(self.attempt, node.number)
            except OSError as error:
                logger.warning("%s: cannot note a node: %s", self.folder, error)

    def settle(self, node: ClusterNode, end: JobStatus) -> None:
        """Take note that a node is over."""
        node.end = end
        try:
            self.folder.note_end(self.attempt, node.number, end)
        except OSError as error:
            # The cluster can be asked again.
            logger.warning("%s: cannot note an end: %s", self.folder, error)


def judge(ends: Sequence[JobStatus], ending: Ending | None) -> JobStatus:
    """Say how a job ended.

    Args:
        ends: of all of its nodes, in their order.
        ending: what we asked for, if anything.
    """
    failed = next((n for n, end in enumerate(ends) if end.exit_code != 0), None)
    code = 0 if failed is None else ends[failed].exit_code
    tail = next(filter(None, (end.stderr_tail for end in ends)), "")
    if failed is not None:
        tail = ends[failed].stderr_tail
    if ending is not None:
        return JobStatus(ending.state, code, ending.message, tail)
    for state in (JobState.TIMEOUT, JobState.CANCELLED):
        for end in ends:
            if end.state is state:
                return JobStatus(state, code, end.message, tail)
    for number, end in enumerate(ends):
        if end.state is JobState.FAILED:
            return JobStatus(
                *(JobState.FAILED, end.exit_code),
                *(_cause(number, end), end.stderr_tail),
            )
    return JobStatus(JobState.COMPLETED, 0, "", tail)


def _cause(number: int, end: JobStatus) -> str:
    if end.exit_code is None:
        return f"Node {number}: {end.message}"
    said = explain_exit_code(number, end.exit_code)
    return f"{said}; {end.message}" if end.message else said
