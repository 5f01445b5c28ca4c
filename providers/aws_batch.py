"""Run blocks as jobs of AWS Batch.

    [transport]
    listen = "wss://0.0.0.0:7443"
    advertise = "endpoint.example.org"

    [blocks]
    provider = "aws_batch"
    max_blocks = 10
    walltime = 3600.0

    [provider_options]
    job_queue = "queue"
    job_definition = "actors"
    vcpus = 4
    memory_mib = 8192

Needs the extra `aws_batch`, and credentials where boto3 looks for them, that may
submit, list, describe and terminate jobs, and read logs. A node is a job of its own;
its container needs bash, and what `launch_command` names. The job definition says which
image that is, and what is mounted; a command of its own is replaced.

Batch takes a job twice if it is asked twice. So a submission whose answer was not heard
is looked for by its name, which nobody else ever had, and repeated only when it has not
appeared within `patience` seconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from providers.base import (
    STDERR_TAIL_CHARACTERS,
    JobState,
    JobStatus,
    ProviderUnavailable,
    SubmitRejected,
)
from providers.cluster import ClusterProvider, NodeOrder
from providers.container_script import container_end, container_words, hard_limit
from providers.extras import load_extra
from providers.options import check_at_least, check_positive, check_word, read_options

__all__ = ["AwsBatchOptions", "AwsBatchProvider", "read_job", "submit_request"]

# As AWS's documentation has them; STARTING: its image is pulled.
_WAITING = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING")
# What `describe_jobs` takes at a time.
_MOST_JOBS = 100
# The least that AWS takes.
_LEAST_LIMIT = 60
# AWS's agent kills a container 30 s after SIGTERM.
_GRACE = 25.0
# Lines of a log that are surely as long as the tail; chosen.
_LOG_LINES = 200
_SERVER_ERRORS = 500
_REASON = "Cancelled by its endpoint"
# What is not the request's fault; by `ClientError`'s code.
_NO_ANSWER = (
    *("ServerException", "InternalFailure", "InternalServerError"),
    *("RequestTimeout", "RequestTimeoutException", "ServiceUnavailable"),
    *("Throttling", "ThrottlingException", "TooManyRequestsException"),
    # Somebody has to log in again, or to set the clock; the job is as good as before.
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired"),
    *("SignatureDoesNotMatch", "UnrecognizedClientException"),
)


@dataclass(frozen=True, kw_only=True)
class AwsBatchOptions:
    """What `[provider_options]` may hold for AWS Batch; "" and 0: not asked for.

    Args:
        job_queue: name or ARN.
        job_definition: name, `name:revision` or ARN of one with a single container.
        vcpus, memory_mib, gpus: of every node, instead of the definition's.
        share_identifier: for queues with fair shares.
        region, profile: as boto3 takes them; "": as its configuration has them.
        log_group: of the containers' output, for the tail of it in errors; "": none.
        worker_init: shell lines before the command of every node.
        poll_period: seconds between two questions to Batch.
        command_timeout: seconds after which it is held for not answering.
        patience: seconds within which a job that was taken can be found by its name.

    Raises:
        ValueError: a value that makes no sense.
    """

    job_queue: str = ""
    job_definition: str = ""
    vcpus: float = 0.0
    memory_mib: int = 0
    gpus: int = 0
    share_identifier: str = ""
    region: str = ""
    profile: str = ""
    log_group: str = "/aws/batch/job"
    worker_init: str = ""
    # Chosen: Batch itself looks about as often for something to start.
    poll_period: float = 10.0
    command_timeout: float = 30.0
    patience: float = 30.0

    def __post_init__(self) -> None:
        for name in ("job_queue", "job_definition"):
            if not getattr(self, name):
                raise ValueError(f"{name} '' must name one of AWS Batch")
        for name in (
            *("job_queue", "job_definition", "share_identifier", "region"),
            *("profile", "log_group"),
        ):
            check_word(name, getattr(self, name))
        for name in ("vcpus", "memory_mib", "gpus"):
            check_at_least(0, name, getattr(self, name))
        for name in ("poll_period", "command_timeout", "patience"):
            check_positive(name, getattr(self, name))


class AwsBatchProvider(ClusterProvider):
    """Jobs of AWS Batch; see `Provider` for the promises.

    Args:
        options: of `AwsBatchOptions`, by keyword.

    Raises:
        ExtraMissing: the extra `aws_batch` is not installed.
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense, or no region is configured.
    """

    def __init__(self, **options: Any) -> None:
        read = read_options(AwsBatchOptions, options)
        super().__init__(_AwsBatch(read), read.poll_period)


class _AwsBatch:
    system = "AWS Batch"

    def __init__(self, options: AwsBatchOptions) -> None:
        self.patience = options.patience
        self._options = options
        boto3 = load_extra("aws_batch", "boto3")
        self._botocore = load_extra("aws_batch", "botocore.exceptions")
        config = load_extra("aws_batch", "botocore.config").Config(
            connect_timeout=options.command_timeout,
            read_timeout=options.command_timeout,
            # A submission that is repeated is a second job.
            retries={"total_max_attempts": 1},
        )
        try:
            session = boto3.Session(
                region_name=options.region or None,
                profile_name=options.profile or None,
            )
            self._batch = session.client("batch", config=config)
            self._logs = session.client("logs", config=config)
        except self._botocore.BotoCoreError as error:
            raise ValueError(f"boto3 cannot be used: {error}") from error
        self._ids: dict[str, str] = {}  # {name: Batch's id of the job}

    def start(self, node: NodeOrder) -> None:
        request = submit_request(self._options, node)
        try:
            answer = self._call(self._batch.submit_job, **request)
        except ProviderUnavailable as error:
            if self._is_refusal(error.__cause__):
                raise SubmitRejected(str(error.__cause__)) from error.__cause__
            raise
        self._ids[node.name] = answer["jobId"]

    def look(self, nodes: Sequence[NodeOrder]) -> Mapping[str, JobStatus]:
        by_id = {i: node for node in nodes if (i := self._find(node.name))}
        statuses = {}
        for jobs in _parts(list(by_id)):
            for job in self._call(self._batch.describe_jobs, jobs=jobs)["jobs"]:
                node = by_id[job["jobId"]]
                statuses[node.name] = self._read(job, node)
        return statuses

    def end(self, names: Sequence[str]) -> None:
        for name in names:
            if (job_id := self._find(name)) is not None:
                # One that waits is cancelled by it, one that has ended left alone.
                self._call(self._batch.terminate_job, jobId=job_id, reason=_REASON)

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            self._ids.pop(name, None)

    def close(self) -> None:
        self._batch.close()
        self._logs.close()

    def _find(self, name: str) -> str | None:
        """Return Batch's id of a job; None: there is none of this name."""
        if name not in self._ids:
            for summary in self._list(name):
                self._ids[name] = summary["jobId"]
        return self._ids.get(name)

    def _list(self, name: str) -> list[dict[str, Any]]:
        """Return the summaries of the jobs of a name: one or none."""
        wanted = [{"name": "JOB_NAME", "values": [name]}]
        queue = self._options.job_queue
        answer = self._call(self._batch.list_jobs, jobQueue=queue, filters=wanted)
        summaries: list[dict[str, Any]] = answer["jobSummaryList"]
        return summaries

    def _read(self, job: dict[str, Any], node: NodeOrder) -> JobStatus:
        if job["status"] == "FAILED" and "exitCode" not in job.get("container", {}):
            # Servers that speak AWS's language, such as moto's, tell it here alone.
            for summary in self._list(node.name):
                told = summary.get("container", {})
                job = {**job, "container": {**job.get("container", {}), **told}}
        status = read_job(job, node)
        if status.state.is_final:
            status = replace(status, stderr_tail=self._tail(job))
        return status

    def _tail(self, job: Mapping[str, Any]) -> str:
        """Return the end of what a container wrote, if we may read it."""
        stream = job.get("container", {}).get("logStreamName")
        group = self._options.log_group
        if not stream or not group:
            return ""
        try:
            answer = self._logs.get_log_events(
                logGroupName=group,
                logStreamName=stream,
                limit=_LOG_LINES,
                startFromHead=False,
            )
        except (self._botocore.BotoCoreError, self._botocore.ClientError):
            # Nobody's job ends otherwise for it.
            return ""
        lines = [f"{event['message']}\n" for event in answer["events"]]
        return "".join(lines)[-STDERR_TAIL_CHARACTERS:]

    def _call(self, call: Any, **request: Any) -> Any:
        """Ask AWS something.

        Raises:
            ProviderUnavailable: no answer, or none of use.
        """
        try:
            return call(**request)
        except self._botocore.BotoCoreError as error:
            raise ProviderUnavailable(f"AWS Batch does not answer: {error}") from error
        except self._botocore.ClientError as error:
            raise ProviderUnavailable(str(error)) from error

    def _is_refusal(self, error: BaseException | None) -> bool:
        """Whether AWS would say the same to the same request at any time."""
        if isinstance(error, self._botocore.ParamValidationError):
            return True
        if not isinstance(error, self._botocore.ClientError):
            return False
        answer: dict[str, dict[str, Any]] = getattr(error, "response", {})
        code = answer.get("Error", {}).get("Code", "")
        http_status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code not in _NO_ANSWER and http_status < _SERVER_ERRORS


def submit_request(options: AwsBatchOptions, node: NodeOrder) -> dict[str, Any]:
    """Write what `submit_job` is asked for."""
    overrides: dict[str, Any] = {
        "command": container_words(node, options.worker_init, _GRACE),
        "environment": [
            {"name": name, "value": value}
            for name, value in node.spec.environment.items()
        ],
    }
    demands = {
        "VCPU": options.vcpus,
        "MEMORY": options.memory_mib,
        "GPU": options.gpus,
    }
    if any(demands.values()):
        overrides["resourceRequirements"] = [
            {"type": kind, "value": f"{amount:g}"}
            for kind, amount in demands.items()
            if amount
        ]
    request: dict[str, Any] = {
        "jobName": node.name,
        "jobQueue": options.job_queue,
        "jobDefinition": options.job_definition,
        "containerOverrides": overrides,
    }
    limit = hard_limit(node, _GRACE)
    if limit is not None:
        request["timeout"] = {"attemptDurationSeconds": max(limit, _LEAST_LIMIT)}
    if options.share_identifier:
        request["shareIdentifier"] = options.share_identifier
    return request


def read_job(job: Mapping[str, Any], node: NodeOrder) -> JobStatus:
    """Read what `describe_jobs` says of a job."""
    reason = job.get("statusReason", "")
    state = job["status"]
    if state in _WAITING:
        return JobStatus(JobState.PENDING, message=reason)
    if state == "RUNNING":
        return JobStatus(JobState.RUNNING)
    container = job.get("container", {})
    code = container.get("exitCode")
    if state == "SUCCEEDED":
        return JobStatus(JobState.COMPLETED, 0)
    if job.get("isTerminated") or job.get("isCancelled"):
        return JobStatus(JobState.CANCELLED, code, reason or "Somebody ended it")
    duration = None
    if "startedAt" in job and "stoppedAt" in job:
        # Milliseconds.
        duration = (job["stoppedAt"] - job["startedAt"]) / 1000
    if "attempt duration exceeded timeout" in reason:
        return JobStatus(JobState.TIMEOUT, code, reason)
    parts = [reason, container.get("reason", "")]
    if reason == "Essential container in task exited":
        # Always said; the exit code says more.
        parts = parts[1:]
    if code is None and not any(parts):
        parts = ["AWS Batch tells no reason"]
    return container_end(node, code, duration, "; ".join(filter(None, parts)))


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(ids), _MOST_JOBS):
        yield ids[begin : begin + _MOST_JOBS]
