"""Run blocks as tasks of Azure Batch. Experimental: it never met the real one.

    [transport]
    listen = "wss://0.0.0.0:7443"
    advertise = "endpoint.example.org"

    [blocks]
    provider = "azure_batch"
    max_blocks = 10

    [provider_options]
    account_url = "https://lab.westeurope.batch.azure.com"
    job = "actors"                # az batch job create --id actors --pool-id POOL
    image = "registry.example.org/actors:1"

Needs the extra `azure_batch`, and an account key in the variable AZURE_BATCH_ACCESS_KEY
or what azure-identity finds by itself. A node is a task of a Batch job that is there,
and is not retried when it fails; the job says which pool. The pool is one of Linux; its
machines, or the container, need bash, and what `launch_command` names.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

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

__all__ = ["AzureBatchOptions", "AzureBatchProvider", "read_task", "task_order"]

_KEY_VARIABLE = "AZURE_BATCH_ACCESS_KEY"
# The script travels in it: nobody documents how a task's command line is quoted.
_SCRIPT_VARIABLE = "ACTORS_BLOCK"
_GRACE = 25.0
# UTF-8's longest character.
_TAIL_BYTES = STDERR_TAIL_CHARACTERS * 4
_NOT_FOUND, _CONFLICT = 404, 409
# Somebody has to log in again; it is too much at a time.
_NO_ANSWER = (401, 408, 429)
_SERVER_ERRORS = 500
# Fractions of a second have seven digits, of which Python reads six.
_FRACTION = re.compile(r"(\.\d{6})\d*")


@dataclass(frozen=True, kw_only=True)
class AzureBatchOptions:
    """What `[provider_options]` may hold for Azure Batch; "" and 0: not asked for.

    Args:
        account_url: of the Batch account.
        job: id of a Batch job that is active, in the pool that blocks shall run in.
        image: of a container; "": tasks run on the pool's machines as they are.
        container_options: further words for `docker run`.
        slots_per_node: task slots of a machine that a node takes.
        worker_init: shell lines before the command of every node.
        poll_period: seconds between two questions to Batch.
        command_timeout: seconds after which it is held for not answering.

    Raises:
        ValueError: a value that makes no sense.
    """

    account_url: str = ""
    job: str = ""
    image: str = ""
    container_options: str = ""
    slots_per_node: int = 1
    worker_init: str = ""
    # Chosen: one request per block each time.
    poll_period: float = 10.0
    command_timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("account_url", "job", "image", "container_options"):
            check_word(name, getattr(self, name))
        if not urlsplit(self.account_url).hostname:
            raise ValueError(
                f"account_url {self.account_url!r} must be that of a Batch account, "
                "such as https://lab.westeurope.batch.azure.com"
            )
        if not self.job:
            raise ValueError("job '' must be the id of a job of Azure Batch")
        check_at_least(1, "slots_per_node", self.slots_per_node)
        for name in ("poll_period", "command_timeout"):
            check_positive(name, getattr(self, name))


class AzureBatchProvider(ClusterProvider):
    """Tasks of Azure Batch; see `Provider` for the promises.

    Args:
        options: of `AzureBatchOptions`, by keyword.

    Raises:
        ExtraMissing: the extra `azure_batch` is not installed.
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense.
    """

    def __init__(self, **options: Any) -> None:
        read = read_options(AzureBatchOptions, options)
        super().__init__(_AzureBatch(read), read.poll_period)


class _AzureBatch:
    system = "Azure Batch"
    # Chosen: a task can be got as soon as it was taken; a request may be on its way.
    patience = 10.0

    def __init__(self, options: AzureBatchOptions) -> None:
        self._options = options
        batch = load_extra("azure_batch", "azure.batch")
        self._models = load_extra("azure_batch", "azure.batch.models")
        self._exceptions = load_extra("azure_batch", "azure.core.exceptions")
        self._client = batch.BatchClient(
            options.account_url,
            _credential(options.account_url),
            connection_timeout=options.command_timeout,
            read_timeout=options.command_timeout,
            # A question that is repeated takes as long again.
            retry_total=0,
        )

    def start(self, node: NodeOrder) -> None:
        order = self._models.BatchTaskCreateOptions(task_order(self._options, node))
        try:
            with self._asking():
                self._client.create_task(self._options.job, order)
        except _Refused as refused:
            if refused.code == _CONFLICT and refused.word == "TaskExists":
                # This is the second time that we ask.
                return
            if refused.is_final:
                raise SubmitRejected(str(refused)) from refused
            raise

    def look(self, nodes: Sequence[NodeOrder]) -> Mapping[str, JobStatus]:
        statuses = {}
        for node in nodes:
            try:
                with self._asking():
                    task = self._client.get_task(self._options.job, node.name)
            except _Refused as refused:
                if refused.code != _NOT_FOUND:
                    raise
                continue
            status = read_task(task.as_dict(), node)
            if status.state.is_final:
                status = replace(status, stderr_tail=self._tail(node.name))
            statuses[node.name] = status
        return statuses

    def end(self, names: Sequence[str]) -> None:
        self._ask_each(self._client.terminate_task, names)

    def forget(self, names: Sequence[str]) -> None:
        self._ask_each(self._client.delete_task, names)

    def close(self) -> None:
        self._client.close()

    def _ask_each(self, call: Any, names: Sequence[str]) -> None:
        for name in names:
            try:
                with self._asking():
                    call(self._options.job, name)
            except _Refused as refused:
                # It is gone, or has ended by itself.
                if refused.code not in (_NOT_FOUND, _CONFLICT):
                    raise

    def _tail(self, name: str) -> str:
        """Return the end of what a task wrote, if its machine is still there."""
        job, file = self._options.job, "stderr.txt"
        try:
            with self._asking():
                found = self._client.get_task_file_properties(job, name, file)
                begin = max(0, found.content_length - _TAIL_BYTES)
                if not found.content_length:
                    return ""
                parts = self._client.download_task_file(
                    job, name, file, ocp_range=f"bytes={begin}-"
                )
                data = b"".join(parts)
        except ProviderUnavailable:
            # Nobody's job ends otherwise for it.
            return ""
        return data.decode(errors="replace")[-STDERR_TAIL_CHARACTERS:]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Ask Azure something.

        Raises:
            ProviderUnavailable: no answer, or a refusal.
        """
        try:
            yield
        except self._exceptions.HttpResponseError as error:
            raise _refused(error) from error
        except self._exceptions.AzureError as error:
            raise ProviderUnavailable(
                f"Azure Batch does not answer: {error}"
            ) from error


class _Refused(ProviderUnavailable):
    def __init__(self, code: int, word: str, reason: str) -> None:
        super().__init__(f"Azure Batch (HTTP {code}): {reason}")
        self.code = code
        self.word = word

    @property
    def is_final(self) -> bool:
        """Whether it would say the same to the same request at any time."""
        return self.code not in _NO_ANSWER and 0 < self.code < _SERVER_ERRORS


def _refused(error: Any) -> _Refused:
    model = getattr(error, "model", None)
    word = getattr(model, "code", None) or getattr(error.error, "code", "") or ""
    lines = (line.strip() for line in str(error).splitlines())
    return _Refused(error.status_code or 0, word, "; ".join(filter(None, lines)))


def _credential(url: str) -> Any:
    key = os.environ.get(_KEY_VARIABLE)
    if not key:
        return load_extra("azure_batch", "azure.identity").DefaultAzureCredential()
    # The account's name is the first part of its host's.
    account = (urlsplit(url).hostname or "").partition(".")[0]
    credentials = load_extra("azure_batch", "azure.core.credentials")
    return credentials.AzureNamedKeyCredential(account, key)


def task_order(options: AzureBatchOptions, node: NodeOrder) -> dict[str, Any]:
    """Write the task of a node, as Batch's REST interface has it."""
    _, _, script, _, *arguments = container_words(node, options.worker_init, _GRACE)
    constraints: dict[str, Any] = {"maxTaskRetryCount": 0}
    if (limit := hard_limit(node, _GRACE)) is not None:
        constraints["maxWallClockTime"] = f"PT{limit}S"
    environment = {
        **node.spec.environment,
        _SCRIPT_VARIABLE: f"set -- {shlex.join(arguments)}\n{script}",
    }
    order: dict[str, Any] = {
        "id": node.name,
        "commandLine": f"/bin/bash -c 'eval \"${_SCRIPT_VARIABLE}\"'",
        "environmentSettings": [
            {"name": name, "value": value} for name, value in environment.items()
        ],
        "constraints": constraints,
        "requiredSlots": options.slots_per_node,
    }
    if options.image:
        order["containerSettings"] = {
            "imageName": options.image,
            "containerRunOptions": options.container_options,
        }
    return order


def read_task(task: Mapping[str, Any], node: NodeOrder) -> JobStatus:
    """Read how a node is from its task, as Batch's REST interface has it."""
    match task["state"]:
        case "active" | "preparing":
            return JobStatus(JobState.PENDING)
        case "running":
            return JobStatus(JobState.RUNNING)
        case "completed":
            return _read_end(task.get("executionInfo", {}), node)
    message = f"Azure Batch calls its state {task['state']}"
    return JobStatus(JobState.UNKNOWN, message=message)


def _read_end(info: Mapping[str, Any], node: NodeOrder) -> JobStatus:
    code = info.get("exitCode")
    failure = info.get("failureInfo") or {}
    said = failure.get("message", "")
    word = failure.get("code", "")
    if word == "TaskEnded":
        return JobStatus(JobState.CANCELLED, code, said or "Somebody ended it")
    duration = None
    if "startTime" in info and "endTime" in info:
        duration = _moment(info["endTime"]) - _moment(info["startTime"])
    # That the exit code was not 0 is said by the exit code.
    message = "" if word == "FailureExitCode" else ": ".join(filter(None, (word, said)))
    if code is None and not message:
        message = "Azure Batch tells no reason"
    return container_end(node, code, duration, message)


def _moment(text: str) -> float:
    return datetime.fromisoformat(_FRACTION.sub(r"\1", text)).timestamp()
