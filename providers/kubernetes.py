"""Run blocks as Jobs of Kubernetes.

    [transport]
    listen = "wss://0.0.0.0:7443"
    advertise = "endpoint.example.org"

    [blocks]
    provider = "kubernetes"
    max_blocks = 10

    [provider_options]
    namespace = "science"
    image = "registry.example.org/actors:1"
    cpus_per_node = 4
    memory_per_node = "8Gi"

Needs the extra `kubernetes`, and an account that may create, list and delete Jobs, and
list Pods and read their logs, in its namespace. A node is a Job of one Pod, which is
not retried when it fails; one that somebody deletes, to drain its host, Kubernetes
starts again, as the same block. The container needs bash, and what `launch_command`
names; volumes, tolerations and all else come from a Pod that `pod_template` names,
whose first container is ours.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
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

__all__ = ["KubernetesOptions", "KubernetesProvider", "job_manifest", "read_node"]

_MANAGED = {"app.kubernetes.io/managed-by": "actors"}
_SELECTOR = "app.kubernetes.io/managed-by=actors"
# The Job controller's own label of its Pods.
_JOB_LABEL = "job-name"
# Lines of a log that are surely as long as the tail; chosen.
_LOG_LINES = 200
# Kubernetes itself removes what an endpoint that never came back has left; chosen.
_KEPT_SECONDS = 7 * 24 * 3600
# Of the container's script, which has to come before that of the Pod.
_GRACE_MARGIN = 5
_NOT_FOUND, _CONFLICT = 404, 409
# Somebody has to log in again; it is too much at a time.
_NO_ANSWER = (401, 408, 429)
_SERVER_ERRORS = 500


@dataclass(frozen=True, kw_only=True)
class KubernetesOptions:
    """What `[provider_options]` may hold for Kubernetes; "" and 0: not asked for.

    Args:
        namespace: where Jobs are made.
        image: of the container; "": that of the template.
        image_pull_policy: Always, IfNotPresent or Never; "": as Kubernetes has it.
        cpus_per_node: requested for, and allowed to, every Pod.
        memory_per_node: likewise, such as `8Gi`.
        gpus_per_node: of the resource `gpu_resource`.
        gpu_resource: what GPUs are called over there.
        service_account: of the Pods.
        pod_template: path of a Pod in YAML or JSON.
        kube_config, context: as kubectl's; "": as its configuration has them, or, in a
            Pod, that Pod's own account.
        worker_init: shell lines before the command of every node.
        kill_after: seconds between the SIGTERM and the SIGKILL of a job that was
            cancelled or reached its walltime; >= 0.
        poll_period: seconds between two questions to Kubernetes.
        command_timeout: seconds after which it is held for not answering.

    Raises:
        ValueError: a value that makes no sense.
    """

    namespace: str = "default"
    image: str = ""
    image_pull_policy: str = ""
    cpus_per_node: float = 0.0
    memory_per_node: str = ""
    gpus_per_node: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    service_account: str = ""
    pod_template: str = ""
    kube_config: str = ""
    context: str = ""
    worker_init: str = ""
    kill_after: float = 25.0
    # Chosen: two requests each time, whatever the number of blocks.
    poll_period: float = 5.0
    command_timeout: float = 20.0

    def __post_init__(self) -> None:
        for name in (
            *("namespace", "image", "memory_per_node", "gpu_resource"),
            *("service_account", "pod_template", "kube_config", "context"),
        ):
            check_word(name, getattr(self, name))
        if not self.namespace:
            raise ValueError("namespace '' must name one of Kubernetes")
        if not self.image and not self.pod_template:
            raise ValueError("image '' must be that of a container, or in pod_template")
        if self.image_pull_policy not in ("", "Always", "IfNotPresent", "Never"):
            raise ValueError(
                f"image_pull_policy {self.image_pull_policy!r} must be Always, "
                "IfNotPresent or Never"
            )
        for name in ("cpus_per_node", "gpus_per_node", "kill_after"):
            check_at_least(0, name, getattr(self, name))
        for name in ("poll_period", "command_timeout"):
            check_positive(name, getattr(self, name))


class KubernetesProvider(ClusterProvider):
    """Jobs of Kubernetes; see `Provider` for the promises.

    Args:
        options: of `KubernetesOptions`, by keyword.

    Raises:
        ExtraMissing: the extra `kubernetes` is not installed.
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense, no cluster is configured, or the
            template cannot be read.
    """

    def __init__(self, **options: Any) -> None:
        read = read_options(KubernetesOptions, options)
        super().__init__(_Kubernetes(read), read.poll_period)


class _Kubernetes:
    system = "Kubernetes"
    # Chosen: what it has taken is listed at once; a request may be on its way.
    patience = 2.0

    def __init__(self, options: KubernetesOptions) -> None:
        self._options = options
        kubernetes = load_extra("kubernetes", "kubernetes")
        self._exceptions = load_extra("kubernetes", "kubernetes.client.exceptions")
        self._transport = load_extra("kubernetes", "urllib3.exceptions")
        self._template = _read_template(options.pod_template)
        configuration = kubernetes.client.Configuration()
        # One that is repeated takes as long again.
        configuration.retries = False
        try:
            kubernetes.config.load_config(
                config_file=options.kube_config or None,
                context=options.context or None,
                client_configuration=configuration,
            )
        except (kubernetes.config.ConfigException, OSError) as error:
            raise ValueError(f"kube_config cannot be used: {error}") from error
        self._client = kubernetes.client.ApiClient(configuration)
        self._jobs = kubernetes.client.BatchV1Api(self._client)
        self._pods = kubernetes.client.CoreV1Api(self._client)
        self._space = options.namespace

    def start(self, node: NodeOrder) -> None:
        manifest = job_manifest(self._options, node, self._template)
        try:
            self._call(self._jobs.create_namespaced_job, self._space, manifest)
        except _Refused as refused:
            if refused.code == _CONFLICT:
                # It is there: this is the second time that we ask.
                return
            if refused.is_final:
                raise SubmitRejected(str(refused)) from refused
            raise

    def look(self, nodes: Sequence[NodeOrder]) -> Mapping[str, JobStatus]:
        if not nodes:
            return {}
        jobs = self._list(self._jobs.list_namespaced_job)
        pods = self._list(self._pods.list_namespaced_pod)
        by_name = {job["metadata"]["name"]: job for job in jobs}
        statuses = {}
        for node in nodes:
            job = by_name.get(node.name)
            if job is None:
                continue
            own = [p for p in pods if _labels(p).get(_JOB_LABEL) == node.name]
            pod = newest_pod(own)
            status = read_node(job, pod, node)
            if status.state.is_final and pod is not None:
                status = replace(status, stderr_tail=self._tail(pod))
            statuses[node.name] = status
        return statuses

    def end(self, names: Sequence[str]) -> None:
        # Its Pods first: the Job is there until they are gone.
        self._delete(names, "Foreground")

    def forget(self, names: Sequence[str]) -> None:
        self._delete(names, "Background")

    def close(self) -> None:
        self._client.close()

    def _delete(self, names: Iterable[str], policy: str) -> None:
        for name in names:
            try:
                self._call(
                    self._jobs.delete_namespaced_job,
                    name,
                    self._space,
                    propagation_policy=policy,
                )
            except _Refused as refused:
                if refused.code != _NOT_FOUND:
                    raise

    def _list(self, call: Any) -> list[dict[str, Any]]:
        answer = self._call(call, self._space, label_selector=_SELECTOR)
        items: list[dict[str, Any]] = json.loads(answer)["items"]
        return items

    def _tail(self, pod: Mapping[str, Any]) -> str:
        """Return the end of what a container wrote, if we may read it."""
        try:
            text = self._call(
                self._pods.read_namespaced_pod_log,
                pod["metadata"]["name"],
                self._space,
                container=pod["spec"]["containers"][0]["name"],
                tail_lines=_LOG_LINES,
            )
        except ProviderUnavailable:
            # Nobody's job ends otherwise for it.
            return ""
        return text.decode(errors="replace")[-STDERR_TAIL_CHARACTERS:]

    def _call(self, call: Any, *words: Any, **more: Any) -> bytes:
        """Ask Kubernetes something; return its answer as it came.

        Raises:
            ProviderUnavailable: no answer, or a refusal.
        """
        timeout = self._options.command_timeout
        try:
            response = call(
                *words, **more, _preload_content=False, _request_timeout=timeout
            )
        except self._exceptions.ApiException as error:
            raise _Refused(error.status or 0, _explain(error)) from error
        except (self._transport.HTTPError, OSError) as error:
            raise ProviderUnavailable(f"Kubernetes does not answer: {error}") from error
        data: bytes = response.data
        return data


class _Refused(ProviderUnavailable):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"Kubernetes (HTTP {code}): {reason}")
        self.code = code

    @property
    def is_final(self) -> bool:
        """Whether it would say the same to the same request at any time."""
        return self.code not in _NO_ANSWER and 0 < self.code < _SERVER_ERRORS


def job_manifest(
    options: KubernetesOptions, node: NodeOrder, template: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the Job of a node.

    Args:
        options: of the provider.
        node: that it runs.
        template: a Pod, or parts of one; left as it is.
    """
    given = template.get("spec", {})
    ours, *others = given.get("containers") or [{}]
    environment = node.spec.environment
    container = {
        "name": "block",
        **ours,
        "command": [
            _literal(word)
            for word in container_words(node, options.worker_init, options.kill_after)
        ],
        "env": [
            *(v for v in ours.get("env", []) if v["name"] not in environment),
            *({"name": n, "value": _literal(text)} for n, text in environment.items()),
        ],
    }
    container.pop("args", None)
    if options.image:
        container["image"] = options.image
    if options.image_pull_policy:
        container["imagePullPolicy"] = options.image_pull_policy
    if demand := _demand(options):
        resources = ours.get("resources", {})
        container["resources"] = {
            kind: {**resources.get(kind, {}), **demand}
            for kind in ("requests", "limits")
        }
    pod = {
        **given,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": int(options.kill_after) + _GRACE_MARGIN,
        "containers": [container, *others],
    }
    if (limit := hard_limit(node, options.kill_after)) is not None:
        pod["activeDeadlineSeconds"] = limit
    if options.service_account:
        pod["serviceAccountName"] = options.service_account
    metadata = template.get("metadata", {})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": node.name, "labels": _MANAGED},
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {
                "metadata": {
                    "labels": {**metadata.get("labels", {}), **_MANAGED},
                    "annotations": metadata.get("annotations", {}),
                },
                "spec": pod,
            },
        },
    }


def _literal(text: str) -> str:
    """Keep Kubernetes from reading `$(NAME)` and `$$` in it."""
    return text.replace("$", "$$")


def _demand(options: KubernetesOptions) -> dict[str, str]:
    demand = {
        "cpu": f"{options.cpus_per_node:g}" if options.cpus_per_node else "",
        "memory": options.memory_per_node,
        options.gpu_resource: str(options.gpus_per_node or ""),
    }
    return {name: amount for name, amount in demand.items() if amount}


def newest_pod(pods: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the Pod that counts, of those that a Job had; None: it had none."""
    # An older one may still be going: it was evicted.
    return max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)


def read_node(
    job: Mapping[str, Any], pod: Mapping[str, Any] | None, node: NodeOrder
) -> JobStatus:
    """Read how a node is from its Job, and from the Pod that counts."""
    if pod is None:
        return _read_job(job)
    status = pod.get("status", {})
    match status.get("phase"):
        case "Succeeded":
            return JobStatus(JobState.COMPLETED, 0)
        case "Failed" if "deletionTimestamp" in job["metadata"]:
            code = _terminated(status).get("exitCode")
            return JobStatus(JobState.CANCELLED, code, "Somebody deleted it")
        case "Failed":
            return _read_failure(status, node)
        case "Running" if _is_unseen(pod):
            message = "Kubernetes does not hear from its host"
            return JobStatus(JobState.UNKNOWN, message=message)
        case "Running":
            return JobStatus(JobState.RUNNING)
        case "Unknown":
            return JobStatus(JobState.UNKNOWN, message=status.get("message", ""))
    return JobStatus(JobState.PENDING, message=_why_waiting(status))


def _read_job(job: Mapping[str, Any]) -> JobStatus:
    if job["spec"].get("suspend"):
        return JobStatus(JobState.HELD, message="The Job is suspended")
    for condition in job.get("status", {}).get("conditions") or []:
        if condition["type"] == "Failed" and condition["status"] == "True":
            message = condition.get("message") or condition.get("reason", "")
            return JobStatus(JobState.FAILED, None, message or "The Job failed")
        if condition["type"] == "Complete" and condition["status"] == "True":
            return JobStatus(JobState.COMPLETED, 0)
    return JobStatus(JobState.PENDING, message="It has no Pod yet")


def _terminated(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how the container of a Pod ended; empty: nobody knows."""
    for container in status.get("containerStatuses") or []:
        ended: Mapping[str, Any] = container.get("state", {}).get("terminated")
        if ended:
            return ended
    return {}


def _read_failure(status: Mapping[str, Any], node: NodeOrder) -> JobStatus:
    """Read why a Pod failed."""
    reason, said = status.get("reason", ""), status.get("message", "")
    ended = _terminated(status)
    code = ended.get("exitCode")
    if reason == "DeadlineExceeded":
        return JobStatus(JobState.TIMEOUT, code, said or reason)
    duration = None
    if ended.get("startedAt") and ended.get("finishedAt"):
        duration = _moment(ended["finishedAt"]) - _moment(ended["startedAt"])
    parts = [reason, said, ended.get("reason", ""), ended.get("message", "")]
    # Said of any exit code.
    message = "; ".join(part for part in parts if part and part != "Error")
    if code is None and not message:
        message = "Kubernetes tells no reason"
    return container_end(node, code, duration, message)


def _is_unseen(pod: Mapping[str, Any]) -> bool:
    """Whether a running Pod's host has stopped to report."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    containers = pod["status"].get("containerStatuses") or []
    says_running = any("running" in c.get("state", {}) for c in containers)
    conditions = pod["status"].get("conditions") or []
    ready = next((c for c in conditions if c["type"] == "Ready"), {"status": "True"})
    # Without a probe of its own, what runs is ready: as long as its host says so.
    has_probe = any("readinessProbe" in c for c in pod["spec"].get("containers", []))
    return says_running and ready["status"] != "True" and not has_probe


def _why_waiting(status: Mapping[str, Any]) -> str:
    for container in status.get("containerStatuses") or []:
        waiting = container.get("state", {}).get("waiting", {})
        parts = [waiting.get("reason", ""), waiting.get("message", "")]
        if any(parts):
            return ": ".join(filter(None, parts))
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            message: str = condition.get("message", "")
            return message
    return ""


def _read_template(path: str) -> dict[str, Any]:
    """Read a Pod from a file.

    Raises:
        ValueError: it cannot be read, or is none.
    """
    if not path:
        return {}
    yaml = load_extra("kubernetes", "yaml")
    try:
        read = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"pod_template {path!r} cannot be read: {error}") from error
    if not isinstance(read, dict) or not isinstance(read.get("spec"), dict):
        raise ValueError(f"pod_template {path!r} must be a Pod, with a spec")
    return read


def _labels(item: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = item["metadata"].get("labels", {})
    return labels


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _explain(error: Any) -> str:
    """Return what Kubernetes says of a refusal, on one line."""
    try:
        said = str(json.loads(error.body)["message"])
    except (ValueError, TypeError, KeyError):
        said = str(error.reason)
    return " ".join(said.split())
