"""The jobs of a provider that are not known to be over; the others' folders tell."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from providers.base import JobSpec, JobState, JobStatus, ProviderUnavailable
from providers.folder import OrderFolder

__all__ = ["OpenJobs"]

_Folder = TypeVar("_Folder", bound=OrderFolder)
_Job = TypeVar("_Job")


class OpenJobs(dict[str, _Job], Generic[_Folder, _Job]):
    """Jobs by id, read from their folders when they are first asked about.

    Args:
        folder_of: gives the folder that an id names; None: it names none.
        open_job: makes a job that has not ended from its id, folder and order.
    """

    def __init__(
        self,
        folder_of: Callable[[str], _Folder | None],
        open_job: Callable[[str, _Folder, JobSpec], _Job],
    ) -> None:
        super().__init__()
        self._folder_of = folder_of
        self._open_job = open_job

    def find(self, job_id: str) -> _Job | JobStatus:
        """Return a job that is not known to be over, or how it ended.

        Raises:
            OSError: its folder cannot be read.
        """
        if (job := self.get(job_id)) is not None:
            return job
        folder = self._folder_of(job_id)
        spec = folder.spec() if folder is not None else None
        if folder is None or spec is None:
            return JobStatus(
                JobState.FAILED,
                message=f"No job {job_id}: never submitted, or its folder was removed",
            )
        if (status := folder.status()) is not None:
            return status
        job = self[job_id] = self._open_job(job_id, folder, spec)
        return job

    def split(
        self, job_ids: Iterable[str]
    ) -> tuple[dict[str, _Job], dict[str, JobStatus]]:
        """Tell those that must be asked about from those whose status is known."""
        jobs: dict[str, _Job] = {}
        statuses: dict[str, JobStatus] = {}
        for job_id in job_ids:
            try:
                found = self.find(job_id)
            except OSError as error:
                # A file system that hangs or has gone says nothing about the job.
                found = JobStatus(JobState.UNKNOWN, message=f"{job_id}: {error}")
            if isinstance(found, JobStatus):
                statuses[job_id] = found
            else:
                jobs[job_id] = found
        return jobs, statuses

    def to_cancel(
        self, job_ids: Iterable[str], statuses: Mapping[str, JobStatus]
    ) -> Iterator[tuple[str, _Job]]:
        """Give those that have not ended by themselves: these keep their own states.

        Args:
            job_ids: of those to be cancelled.
            statuses: of these, as they are now.

        Raises:
            ProviderUnavailable: a folder cannot be read.
        """
        for job_id in job_ids:
            if statuses[job_id].state.is_final:
                continue
            job = self.get(job_id)
            if job is None:
                raise ProviderUnavailable(statuses[job_id].message)
            yield job_id, job
