"""A provider on top of a cluster that is reached by a client library.

    submit ──► attempt-1.name ──► start node after node, each by a name of its own
    status ──► look at all nodes at once ──► note those that are there, or have ended

`ClusterProvider` keeps the three promises of `base` for any of them; how one cluster is
asked stands in its `Cluster`: see `dask`, `ray`, `aws_batch`, `kubernetes` and
`azure_batch`. Nodes need no shared folder. `cluster_job` tells what is kept where.

What a node is called over there is written down before the cluster is asked for it, and
is unique for ever. So who comes after a killed provider, or a lost answer, looks for
that name, and starts the node only if it does not appear within the cluster's patience.
A job is taken once its name is there, whether or not it could be started: `status` goes
on trying.

A job's id is its name at the cluster, a colon, and the job's folder.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from providers.base import (
    JobSpec,
    JobState,
    JobStatus,
    ProviderError,
    ProviderUnavailable,
    SubmitRejected,
)
from providers.cluster_job import (
    ClusterFolder,
    ClusterJob,
    ClusterNode,
    judge,
)
from providers.folder import Ending
from providers.open_jobs import OpenJobs
from providers.processes import seconds_since

__all__ = ["Cluster", "ClusterProvider", "NodeOrder"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodeOrder:
    """One node of a job, to be started.

    Args:
        name: lower-case letters, digits and hyphens; nobody else's.
        number: among the nodes of its job.
        spec: of the job.
    """

    name: str
    number: int
    spec: JobSpec

    @property
    def command(self) -> str:
        """What it runs: a shell line."""
        return self.spec.commands[self.number]


class Cluster(Protocol):
    """How one cluster is asked. Every method may raise ProviderUnavailable.

    Calls come one at a time, from any thread.
    """

    # What people call it, in messages.
    system: str
    # Seconds within which what was started can be seen by its name, by whoever asks;
    # and in which a request of a predecessor that was killed has arrived.
    patience: float

    def start(self, node: NodeOrder) -> None:
        """Start a node that is not there.

        Raises:
            SubmitRejected: certainly not taken.
            ProviderUnavailable: perhaps taken.
        """
        ...

    def look(self, nodes: Sequence[NodeOrder]) -> Mapping[str, JobStatus]:
        """Tell how nodes are.

        A final state is only told when no process of the node is left. The message of
        a failure need not name its exit code.

        Returns:
            By name. UNKNOWN: nobody can tell now; missing: the cluster has no such.
        """
        ...

    def end(self, names: Sequence[str]) -> None:
        """Ask nodes to end, again and again; leave alone those that are not there."""
        ...

    def forget(self, names: Sequence[str]) -> None:
        """Free what the cluster keeps of nodes that have ended."""
        ...

    def close(self) -> None:
        """Free what this instance holds; nodes go on."""
        ...


class ClusterProvider:
    """Jobs of a cluster; see `Provider` for the promises.

    Args:
        cluster: how to ask it.
        poll_period: seconds between two looks.
        clock: tells monotonic time.
    """

    def __init__(
        self,
        cluster: Cluster,
        poll_period: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.poll_period = poll_period
        self._cluster = cluster
        self._clock = clock
        self._jobs = OpenJobs(_folder_of, _open_job)
        # Calls may come from several threads; a cluster is no quicker for being asked
        # twice at a time, and two must not start the same node.
        self._lock = threading.Lock()

    def submit(self, spec: JobSpec) -> str:
        """Start the nodes of a job, or queue them."""
        with self._lock:
            folder = ClusterFolder(spec.folder.absolute())
            try:
                ordered = folder.order(spec)
                attempt = folder.newest()
                is_new = attempt is None
                attempt = attempt or folder.open_attempt(spec.job_name)
                job = ClusterJob(folder, ordered, attempt)
            except (OSError, ValueError, ProviderError) as error:
                raise SubmitRejected(
                    f"Cannot write job {spec.job_name} to {spec.folder}: {error}"
                ) from error
            if is_new:
                self._jobs[job.job_id] = job
                self._start(job, job.nodes)
            return job.job_id

    def status(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Look at all nodes at once, and start those that are not there yet."""
        with self._lock:
            return self._status(job_ids)

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Write down that jobs have to end, then ask the cluster to end them."""
        with self._lock:
            statuses = self._status(job_ids, may_start=False)
            asked = []
            for _, job in self._jobs.to_cancel(job_ids, statuses):
                now = seconds_since(0)
                job.ask_to_end(Ending(JobState.CANCELLED, "Cancelled", now))
                asked += [node.name for node in job.open_nodes]
            if asked:
                self._cluster.end(asked)

    def recover(self, spec: JobSpec) -> str | None:
        """Find a job by its folder: what the cluster was asked for is taken."""
        folder = ClusterFolder(spec.folder.absolute())
        try:
            attempt = folder.newest()
        except OSError as error:
            raise ProviderUnavailable(f"Cannot use {folder}: {error}") from error
        return None if attempt is None else f"{attempt.name}:{folder.path}"

    def fileno(self) -> None:
        """Return None: a cluster is polled."""

    def close(self) -> None:
        """Forget all jobs; they go on."""
        with self._lock:
            self._jobs.clear()
            self._cluster.close()

    # Starting

    def _start(self, job: ClusterJob, nodes: Iterable[ClusterNode]) -> None:
        """Start nodes of a job.

        Raises:
            SubmitRejected: refused, and nothing of the job was taken before.
            ProviderUnavailable: no answer.
        """
        for node in nodes:
            # If its answer is lost it may come any time from now on.
            node.missing_since = None
            try:
                self._cluster.start(_order(job, node))
            except SubmitRejected as error:
                if not any(other.is_there for other in job.nodes):
                    self._refuse(job, error)
                message = f"Node {node.number} was refused: {error}"
                job.ask_to_end(Ending(JobState.FAILED, message, seconds_since(0)))
                self._cluster.end([other.name for other in job.open_nodes])
                return
            job.note_there(node)

    def _refuse(self, job: ClusterJob, error: SubmitRejected) -> None:
        del self._jobs[job.job_id]
        try:
            job.folder.note_refused(job.attempt)
        except OSError as problem:
            # Asked again, it is looked for in vain first.
            logger.warning("%s: cannot note a refusal: %s", job.folder, problem)
        raise error

    # Looking

    def _status(
        self, job_ids: Sequence[str], may_start: bool = True
    ) -> dict[str, JobStatus]:
        jobs, statuses = self._jobs.split(job_ids)
        if jobs:
            try:
                statuses |= self._ask(jobs, may_start)
            except ProviderUnavailable as error:
                silent = JobStatus(JobState.UNKNOWN, message=str(error))
                statuses = dict.fromkeys(jobs, silent) | statuses
        return statuses

    def _ask(
        self, jobs: Mapping[str, ClusterJob], may_start: bool
    ) -> dict[str, JobStatus]:
        """Look at the nodes of jobs, and do with each what has to be done."""
        open_nodes = [(job, node) for job in jobs.values() for node in job.open_nodes]
        # A predecessor, or we, may have been asked to end it without being heard.
        ending = [node.name for job, node in open_nodes if job.ending is not None]
        if ending:
            self._cluster.end(ending)
        seen = self._cluster.look([_order(job, node) for job, node in open_nodes])
        absent: dict[str, list[ClusterNode]] = {}
        for job, node in open_nodes:
            self._note(job, node, seen.get(node.name))
            if node.end is None and self._is_to_be_started(job, node):
                absent.setdefault(job.job_id, []).append(node)
        over = [node.name for _, node in open_nodes if node.end and node.seen]
        if over:
            self._cluster.forget(over)
        for job_id, nodes in absent.items() if may_start else ():
            try:
                self._start(jobs[job_id], nodes)
            except SubmitRejected as error:
                refused = JobStatus(JobState.FAILED, message=str(error))
                for node in jobs[job_id].open_nodes:
                    jobs[job_id].settle(node, refused)
        return {job_id: self._conclude(job_id, job) for job_id, job in jobs.items()}

    def _note(self, job: ClusterJob, node: ClusterNode, seen: JobStatus | None) -> None:
        """Take the cluster's word on a node."""
        node.seen = seen
        if seen is not None:
            node.missing_since = None
            job.note_there(node)
            if seen.state.is_final:
                job.settle(node, seen)
            return
        if node.missing_since is None:
            node.missing_since = self._clock()
        if not self._is_overdue(node):
            return
        if job.ending is not None:
            job.settle(node, JobStatus(JobState.CANCELLED))
        elif node.is_there:
            system = self._cluster.system
            message = (
                f"{system} does not know {node.name} any more: its worker was lost, "
                f"{system} was restarted, or somebody removed it"
            )
            job.settle(node, JobStatus(JobState.FAILED, message=message))

    def _is_overdue(self, node: ClusterNode) -> bool:
        since = node.missing_since
        patience = self._cluster.patience
        return since is not None and self._clock() - since >= patience

    def _is_to_be_started(self, job: ClusterJob, node: ClusterNode) -> bool:
        """Whether a start that was perhaps asked for has certainly not been heard."""
        return job.ending is None and not node.is_there and self._is_overdue(node)

    def _conclude(self, job_id: str, job: ClusterJob) -> JobStatus:
        """Say how a job is; write it down if it is over."""
        ends = [node.end for node in job.nodes if node.end is not None]
        if len(ends) < len(job.nodes):
            return _on_its_way(job)
        status = judge(ends, job.ending)
        job.folder.conclude(status)
        self._jobs.pop(job_id, None)
        return status


def _order(job: ClusterJob, node: ClusterNode) -> NodeOrder:
    return NodeOrder(node.name, node.number, job.spec)


def _folder_of(job_id: str) -> ClusterFolder | None:
    _, colon, path = job_id.partition(":")
    return ClusterFolder(Path(path)) if colon else None


def _open_job(_job_id: str, folder: ClusterFolder, spec: JobSpec) -> ClusterJob:
    attempt = folder.newest()
    if attempt is None:
        raise FileNotFoundError(f"{folder} has no submission that counts")
    return ClusterJob(folder, spec, attempt)


def _on_its_way(job: ClusterJob) -> JobStatus:
    seen = [node.seen for node in job.open_nodes if node.seen is not None]
    states = {status.state for status in seen}
    message = next((status.message for status in seen if status.message), "")
    if job.ending is not None:
        message = f"Ending: {job.ending.message}"
    if JobState.RUNNING in states:
        return JobStatus(JobState.RUNNING, message=message)
    if JobState.UNKNOWN in states or any(
        node.is_there and node.seen is None and node.missing_since is not None
        for node in job.open_nodes
    ):
        return JobStatus(JobState.UNKNOWN, message=message)
    if len(job.open_nodes) < len(job.nodes):
        # The rest still has to run.
        return JobStatus(JobState.RUNNING, message=message)
    state = JobState.HELD if states == {JobState.HELD} else JobState.PENDING
    return JobStatus(state, message=message)
