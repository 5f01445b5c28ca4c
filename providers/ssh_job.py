"""What the ssh provider keeps of a job, on its own side.

    job.json  ending.json  status.json     see `folder`
    key                  by which hosts know the job: its name, and what nobody else has
    node-0.place-1       the host that node 0 is started on, written before it is; "":
                         it never starts. A host that has no room seals the place: 2 ...
    node-0.begun-1       that host said that it runs
    node-0.end           how it ended, so that its host need not be asked again

A start that was not heard may have been done, so the place stays until its host says
that it has not: nothing is started elsewhere before.
"""

import json
import logging
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from providers.base import JobSpec, JobState, JobStatus
from providers.folder import Ending, OrderFolder, explain_exit_code
from providers.ssh_host import NodeReport

__all__ = ["NodeEnd", "Place", "SshJob", "SshJobFolder", "SshNode", "judge"]

logger = logging.getLogger(__name__)

# A name that nobody else has; chosen: short in a listing.
_TOKEN_BYTES = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is started.

    Args:
        attempt: 1 for the first.
        host: "": it never is.
    """

    attempt: int
    host: str


@dataclass(frozen=True, slots=True)
class NodeEnd:
    """How a node ended.

    Args:
        host: where it was; "": it never started.
        exit_code: None: none was told.
        why: as `NodeReport.why`, and `lost`: its host was given up.
        stderr_tail: what it wrote last.
    """

    host: str = ""
    exit_code: int | None = None
    why: str = ""
    stderr_tail: str = ""

    @staticmethod
    def of(host: str, report: NodeReport) -> "NodeEnd":
        """Take a host's word for it."""
        return NodeEnd(host, report.exit_code, report.why, report.stderr_tail)


class SshJobFolder(OrderFolder):
    """The files of one job."""

    def key(self, job_name: str) -> str:
        """Return the job's key; one is made if there is none."""
        self._create("key", f"{job_name}-{secrets.token_hex(_TOKEN_BYTES)}")
        key = self._read("key")
        assert key is not None
        return key

    def place(self, node: int) -> Place | None:
        """Return where a node is started, or was last; None: nowhere yet."""
        found = None
        attempt = 1
        while (host := self._read(f"node-{node}.place-{attempt}")) is not None:
            found = Place(attempt, host)
            attempt += 1
        return found

    def take_place(self, node: int, place: Place) -> Place:
        """Write down where a node is about to be started; return what stands there."""
        name = f"node-{node}.place-{place.attempt}"
        self._create(name, place.host)
        host = self._read(name)
        assert host is not None
        return replace(place, host=host)

    def note_begun(self, node: int, attempt: int) -> None:
        """Write down that a node runs."""
        self._create(f"node-{node}.begun-{attempt}", "")

    def has_begun(self, node: int, attempt: int) -> bool:
        return self._read(f"node-{node}.begun-{attempt}") is not None

    def note_end(self, node: int, end: NodeEnd) -> None:
        """Write down how a node ended."""
        self._create(f"node-{node}.end", json.dumps(asdict(end)))

    def end(self, node: int) -> NodeEnd | None:
        """Return how a node ended; None: not known to have."""
        text = self._read(f"node-{node}.end")
        return None if text is None else NodeEnd(**json.loads(text))


def judge(spec: JobSpec, ends: Sequence[NodeEnd], ending: Ending | None) -> JobStatus:
    """Say how a job ended.

    Args:
        spec: of the job.
        ends: of all of its nodes.
        ending: what we asked for, if anything.
    """
    failed = next((n for n, end in enumerate(ends) if end.exit_code != 0), None)
    code: int | None = 0
    tail = next(filter(None, (end.stderr_tail for end in ends)), "")
    if failed is not None:
        code, tail = ends[failed].exit_code, ends[failed].stderr_tail
    if ending is not None:
        return JobStatus(ending.state, code, ending.message, tail)
    for end in ends:
        match end.why:
            case "walltime":
                message = f"Reached its walltime, {spec.walltime:g} s"
                return JobStatus(JobState.TIMEOUT, code, message, tail)
            case "abandoned":
                message = f"Ended by {end.host}: no provider had asked about it"
                return JobStatus(JobState.CANCELLED, code, message, tail)
            case "ending":
                return JobStatus(JobState.CANCELLED, code, "Cancelled", tail)
    if failed is None:
        return JobStatus(JobState.COMPLETED, 0, "", tail)
    return JobStatus(JobState.FAILED, code, _cause(failed, ends[failed]), tail)


def _cause(node: int, end: NodeEnd) -> str:
    if end.exit_code is not None:
        return f"{explain_exit_code(node, end.exit_code)} on {end.host}"
    match end.why:
        case "rebooted":
            return f"Node {node} ended with its host: {end.host} was rebooted"
        case "lost":
            return (
                f"Node {node} is given up: {end.host} has not answered for so long "
                "that what ran there has ended by itself"
            )
        case _:
            return (
                f"Node {node} ended without an exit code: its processes on {end.host} "
                "were killed, or it could not write there"
            )


class SshNode:
    """What is known of one node.

    Args:
        place: None: it waits for one.
        end: None: it is not known to be over.
    """

    def __init__(self, place: Place | None, end: NodeEnd | None) -> None:
        self.place = place
        self.attempt = place.attempt if place else 0
        self.end = end
        self.is_running = False  # by its host's last word


class SshJob:
    """A job that is not known to be over.

    Raises:
        OSError: its folder cannot be read, or written.
    """

    def __init__(self, folder: SshJobFolder, spec: JobSpec) -> None:
        self.folder = folder
        self.spec = spec
        self.key = folder.key(spec.job_name)
        self.ending = folder.ending()
        self.nodes = [
            SshNode(folder.place(n), folder.end(n)) for n in range(spec.nodes)
        ]
        for number, node in enumerate(self.nodes):
            if node.place is not None and not node.place.host:
                self.settle(number, NodeEnd())

    def node_key(self, number: int) -> str:
        """Return the name by which its host knows a node."""
        return f"{self.key}.{number}.{self.nodes[number].attempt}"

    @property
    def placed(self) -> list[tuple[int, str]]:
        """Number and host of the nodes that are somewhere and not over."""
        return [
            (number, node.place.host)
            for number, node in enumerate(self.nodes)
            if node.place is not None and node.end is None
        ]

    @property
    def waiting(self) -> list[int]:
        """Numbers of the nodes that are nowhere yet."""
        nodes = enumerate(self.nodes)
        return [n for n, node in nodes if node.place is None and node.end is None]

    def settle(self, number: int, end: NodeEnd) -> None:
        """Take note that a node is over."""
        self.nodes[number].end = end
        try:
            self.folder.note_end(number, end)
        except OSError as error:
            # Its host can be asked again.
            logger.warning("%s: cannot note an end: %s", self.folder, error)
