"""Run blocks as actors on a Ray cluster that is there already.

    [blocks]
    provider = "ray"
    max_blocks = 4

    [provider_options]
    cpus_per_node = 4
    resources = { fast_disk = 1 }

Needs the extra `ray`, in the version of the cluster, and an endpoint that runs on one
of the cluster's hosts; `ray start --address=... --num-cpus=0` makes one. A node is a
detached actor (`keeper`) of the namespace `actors-blocks`, named as the block's job;
its command is a child process of the actor, and dies with it. Its output is the
actor's, which Ray keeps in its session's folder. Nodes of one block are spread over the
cluster's, and start each when there is room for it. Of a cluster that wants tokens, the
endpoint must have RAY_AUTH_MODE=token and the token in its environment, too.

Ray's client ends its own process when the cluster has been away for too long, and many
of its calls wait for ever. So it lives in a child process, which is replaced when it
does not answer: see `ray_agent`.
"""

import json
import logging
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from providers.base import JobState, JobStatus, ProviderUnavailable
from providers.cluster import ClusterProvider, NodeOrder
from providers.extras import require_extra
from providers.keeper_options import KeeperOptions, keeper_arguments, read_answer
from providers.options import check_at_least, check_positive, check_word, read_options

__all__ = ["RayOptions", "RayProvider"]

logger = logging.getLogger(__name__)

_READ_BYTES = 65536


@dataclass(frozen=True, kw_only=True)
class RayOptions(KeeperOptions):
    """What `[provider_options]` may hold for Ray, beside `resources`.

    Args:
        address: of the cluster's head, such as `host:6379`; `auto`: the cluster of
            this host.
        cpus_per_node, gpus_per_node: that Ray counts for every node.
        retry_period: seconds until a cluster that did not answer is asked again.

    See `KeeperOptions` for the others.
    """

    address: str = "auto"
    cpus_per_node: float = 1.0
    gpus_per_node: float = 0.0
    # Chosen: it takes a new client, and two seconds of processor time.
    retry_period: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_word("address", self.address)
        if not self.address or self.address == "local":
            raise ValueError(
                f"address {self.address!r} must be that of a cluster's head, or 'auto'"
            )
        check_positive("retry_period", self.retry_period)
        for name in ("cpus_per_node", "gpus_per_node"):
            check_at_least(0, name, getattr(self, name))


class RayProvider(ClusterProvider):
    """Jobs as actors of a Ray cluster; see `Provider` for the promises.

    Args:
        resources: custom ones, that Ray counts for every node.
        options: of `RayOptions`, by keyword.

    Raises:
        ExtraMissing: the extra `ray` is not installed.
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense.
    """

    def __init__(
        self, *, resources: Mapping[str, float] | None = None, **options: Any
    ) -> None:
        read = read_options(RayOptions, options)
        require_extra("ray", "ray")
        super().__init__(_Ray(read, dict(resources or {})), read.poll_period)


class _Ray:
    system = "Ray"
    # Chosen: the head has what it was told; its answer may have been lost.
    patience = 1.0

    def __init__(self, options: RayOptions, resources: dict[str, float]) -> None:
        self._options = options
        self._demand = {
            "num_cpus": options.cpus_per_node,
            "num_gpus": options.gpus_per_node,
            "resources": resources,
        }
        self._agent: subprocess.Popen[bytes] | None = None
        self._retry_at = 0.0
        self._problem = ""  # of the last agent

    def start(self, node: NodeOrder) -> None:
        arguments = keeper_arguments(node, self._options)
        self._ask("start", name=node.name, arguments=arguments, demand=self._demand)

    def look(self, nodes: Sequence[NodeOrder]) -> Mapping[str, JobStatus]:
        answer = self._ask("look", names=[node.name for node in nodes])
        return {name: _read(told) for name, told in answer.items()}

    def end(self, names: Sequence[str]) -> None:
        self._ask("end", names=list(names))

    def forget(self, names: Sequence[str]) -> None:
        self._ask("forget", names=list(names))

    def close(self) -> None:
        agent, self._agent = self._agent, None
        if agent is not None:
            with agent:
                # It may have ended by itself.
                agent.kill()

    def _ask(self, order: str, **what: Any) -> Any:
        """Let the agent do something; return its answer.

        Raises:
            ProviderUnavailable: no agent, no cluster, or no answer in time.
        """
        if self._agent is None and time.monotonic() < self._retry_at:
            raise ProviderUnavailable(self._problem)
        try:
            answer = self._talk(json.dumps({"order": order, **what}))
        except (OSError, TimeoutError) as error:
            self._fail(str(error) or type(error).__name__)
        if "problem" in answer:
            self._fail(answer["problem"])
        return answer["answer"]

    def _fail(self, problem: str) -> None:
        self.close()
        self._problem = f"Ray's cluster {self._options.address}: {problem}"
        self._retry_at = time.monotonic() + self._options.retry_period
        raise ProviderUnavailable(self._problem)

    def _talk(self, line: str) -> dict[str, Any]:
        if self._agent is None:
            words = ("-P", "-m", "providers.ray_agent", self._options.address)
            self._agent = subprocess.Popen(
                [sys.executable, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # What Ray has to say goes with us, not with a Ctrl-C in a terminal.
                start_new_session=True,
                bufsize=0,
            )
        agent = self._agent
        assert agent.stdin is not None
        assert agent.stdout is not None
        agent.stdin.write(f"{line}\n".encode())
        timeout = self._options.command_timeout
        deadline = time.monotonic() + timeout
        told = b""
        while not told.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([agent.stdout], [], [], left)[0]:
                raise TimeoutError(f"no answer within {timeout:g} s")
            data = agent.stdout.read(_READ_BYTES)
            if not data:
                raise ConnectionError("its client ended; see the log")
            told += data
        answer: dict[str, Any] = json.loads(told)
        return answer


def _read(told: Sequence[Any]) -> JobStatus:
    """Read what the agent says of a node."""
    match told:
        case ["pending"]:
            return JobStatus(JobState.PENDING, message="Ray has not started it yet")
        case ["silent"]:
            return JobStatus(JobState.UNKNOWN, message="No answer from its actor")
        case ["lost", problem]:
            return JobStatus(JobState.FAILED, message=f"Ray lost it: {problem}")
        case [state, code, why, tail]:
            return read_answer((state, code, why, tail))
    raise AssertionError(f"the agent is of this version: {told}")
