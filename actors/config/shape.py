"""What `endpoint.toml` may hold: a frozen struct per section, each key with its rules.

A key's description stands in its type. The commented file that `actors init` writes,
the JSON Schema and the error messages are all made from it, so they cannot drift apart.
What one key alone can get wrong is told by its type; what keys can get wrong together
stands in `actors.config.contradictions`.

This module decides and touches nothing: no file, no clock, no environment.
"""

from typing import Annotated, Any, Literal

import msgspec

from actors.config.keys import (
    LARGEST_FRAME_BYTES,
    LONGEST_DURATION,
    MOST_BYTES,
    MOST_TASKS,
    NAME_PATTERN,
    PROVIDER_PATTERN,
    SMALLEST_FRAME_BYTES,
    Section,
    describe,
    describe_count,
    describe_duration,
    describe_period,
)
from actors.config.provider_names import BUILT_IN_PROVIDERS
from actors.config.workers import WorkersConfig, WorkerTypeConfig

__all__ = [
    "BlocksConfig",
    "EndpointConfig",
    "HeartbeatConfig",
    "JournalConfig",
    "LimitsConfig",
    "LogConfig",
    "MetricsConfig",
    "PlacementConfig",
    "ResultsConfig",
    "StrategyConfig",
    "TransportConfig",
    "json_schema",
]


_PROVIDERS = ", ".join(f'"{name}"' for name in BUILT_IN_PROVIDERS)


class TransportConfig(Section, frozen=True, kw_only=True):
    """How members reach the endpoint."""

    listen: Annotated[
        str,
        describe(
            'Where members come in: "ipc" (this host only), "wss://HOST:PORT" (mutual '
            'TLS), or "ws://127.0.0.1:PORT" (not encrypted, loopback only)'
        ),
    ] = "ipc"
    advertise: Annotated[
        str,
        describe(
            "HOST or HOST:PORT that members dial when it is not what wss listens on, "
            'as with 0.0.0.0; "": the same'
        ),
    ] = ""
    socket_dir: Annotated[
        str,
        describe(
            "Folder of the sockets, relative to this file; must belong to you alone; "
            '"": run, or a folder under /tmp if that path is too long for a socket'
        ),
    ] = ""
    max_frame_bytes: Annotated[
        int,
        describe(
            "Bytes that one frame on a link may have, and so about one task or result",
            ge=SMALLEST_FRAME_BYTES,
            le=LARGEST_FRAME_BYTES,
        ),
    ] = 2**28


class HeartbeatConfig(Section, frozen=True, kw_only=True):
    """When a silent member is held for lost."""

    period: Annotated[
        float, describe_period("Seconds between two signs of life of a member")
    ] = 30.0
    threshold: Annotated[
        float,
        describe_period(
            "Seconds of silence after which a member is lost; at least 2 * period, "
            "so that one late heartbeat costs nothing"
        ),
    ] = 120.0
    reconnect_grace: Annotated[
        float,
        describe_duration("Seconds that a member whose link closed has to come back"),
    ] = 5.0


class BlocksConfig(Section, frozen=True, kw_only=True):
    """The jobs that hold the workers: who runs them, and how many there may be."""

    provider: Annotated[
        str,
        describe(
            f"Who runs the blocks: {_PROVIDERS}, the name of a provider that an "
            'installed package offers, or "module:Class" of one of your own',
            must='be the name of a provider, or "module:Class"',
            pattern=PROVIDER_PATTERN,
        ),
    ] = "local"
    nodes_per_block: Annotated[
        int, describe_count("Nodes of one block; a manager runs on each", least=1)
    ] = 1
    init_blocks: Annotated[
        int, describe_count("Blocks at the start, from min_blocks to max_blocks")
    ] = 1
    min_blocks: Annotated[int, describe_count("Blocks that are always there")] = 0
    max_blocks: Annotated[
        int, describe_count("Blocks that there may be at most, however much waits")
    ] = 1
    walltime: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=LONGEST_DURATION)] | None,
        describe(
            "Seconds after which the batch system ends a block; absent: its own limit",
            examples=[3600.0],
        ),
    ] = None
    connect_timeout: Annotated[
        float,
        describe_period(
            "Seconds that a block may run without any manager of it being connected; "
            "then it is cancelled, and counts as failed"
        ),
    ] = 600.0
    launch_command: Annotated[
        str,
        describe(
            "Shell command that starts the manager of one node. Filled in at the start "
            "of the endpoint: {python}, {endpoint_dir}, {name}; at the launch of a "
            "block: {{block_id}}, {{node}}. Values come quoted for the shell; ${NAME} "
            "is left to it"
        ),
    ] = (
        "{python} -m actors.endpoint.launch manager {endpoint_dir} "
        "--block {{block_id}} --node {{node}}"
    )
    environment: Annotated[
        dict[str, str],
        describe(
            "Environment variables for managers and workers, beyond those of the block"
        ),
    ] = {}


class StrategyConfig(Section, frozen=True, kw_only=True):
    """When blocks are started and ended."""

    kind: Annotated[
        Literal["none", "simple", "auto", "staged"],
        describe(
            '"none" keeps min_blocks; "simple" follows the tasks between min_blocks '
            'and max_blocks, and ends blocks when there are none; "auto" also ends '
            'idle blocks while others work; "staged" starts one block at a time while '
            "tasks wait, and ends idle ones"
        ),
    ] = "simple"
    period: Annotated[
        float, describe_period("Seconds between two looks at the load")
    ] = 5.0
    parallelism: Annotated[
        float,
        describe(
            "Worker processes wanted per task: 1 is one for each, 0 one block for all",
            ge=0,
            le=1,
        ),
    ] = 1.0
    max_idletime: Annotated[
        float,
        describe_duration(
            "Seconds without a task before blocks above min_blocks are ended"
        ),
    ] = 120.0
    min_start_interval: Annotated[
        float,
        describe_duration('Seconds between two starts of blocks, of "staged" only'),
    ] = 60.0
    max_launches_per_minute: Annotated[
        int,
        describe_count(
            "Blocks that are started in any minute; operators may start more", least=1
        ),
    ] = 60
    drain_timeout: Annotated[
        float,
        describe_duration(
            "Seconds that an idle block which is no longer wanted has to end by "
            "itself; then it is cancelled"
        ),
    ] = 30.0


class PlacementConfig(Section, frozen=True, kw_only=True):
    """Which manager gets a task. Tasks go by priority, then in order of coming."""

    selector: Annotated[
        Literal["fill_first", "random", "deadline"],
        describe(
            '"fill_first": the busiest that has room, so that idle blocks can end; '
            '"random": any; "deadline": the one whose block ends first, of those in '
            "which the task fits"
        ),
    ] = "fill_first"
    scheduler_mode: Annotated[
        Literal["soft", "hard"],
        describe(
            'With worker types: "soft": slots are shared out among types as the queue '
            'asks; "hard": all workers of a block are of one type for good, and blocks '
            "are started and ended by type"
        ),
    ] = "soft"
    end_margin: Annotated[
        float,
        describe_duration(
            "Seconds before its end from which on a block gets no tasks and drains; "
            "at most a tenth of [blocks] walltime. A task with a walltime is placed "
            "where it ends before that"
        ),
    ] = 10.0


class ResultsConfig(Section, frozen=True, kw_only=True):
    """What happens to results whose client is away."""

    keep: Annotated[
        float, describe_duration("Seconds that results wait for a client to come back")
    ] = 86_400.0


class LimitsConfig(Section, frozen=True, kw_only=True):
    """What the endpoint takes at most."""

    max_queued_tasks: Annotated[
        int,
        describe(
            "Unfinished tasks that the endpoint holds; more are refused",
            ge=1,
            le=MOST_TASKS,
        ),
    ] = 1_000_000
    max_unread_bytes: Annotated[
        int,
        describe(
            "Bytes of results in memory that one client may leave unread; until it "
            "reads, its other tasks wait, and new ones stay with it",
            ge=SMALLEST_FRAME_BYTES,
            le=MOST_BYTES,
        ),
    ] = 2**30


class JournalConfig(Section, frozen=True, kw_only=True):
    """What a crash of the machine may cost."""

    durability: Annotated[
        Literal["sync", "interval", "off"],
        describe(
            '"sync": what is accepted is on disk; "interval": synced now and then; '
            '"off": not synced at all'
        ),
    ] = "sync"
    interval: Annotated[
        float,
        describe_period(
            'Seconds between two syncs with durability "interval": what a loss of '
            "power may cost"
        ),
    ] = 1.0


class LogConfig(Section, frozen=True, kw_only=True):
    """What the endpoint's own processes write of their work."""

    format: Annotated[
        Literal["text", "json"],
        describe(
            '"text": lines for people; "json": an object per line. What tasks print is '
            "left as it is"
        ),
    ] = "text"


class MetricsConfig(Section, frozen=True, kw_only=True):
    """What other programs may see of the endpoint: /metrics, /healthz, /readyz."""

    listen: Annotated[
        str,
        describe(
            'Where: "http://127.0.0.1:PORT" (this host only), or "https://HOST:PORT" '
            "(who scrapes shows client.pem, as members do, so transport must listen on "
            'wss); "": nowhere'
        ),
    ] = ""


class EndpointConfig(Section, frozen=True, kw_only=True):
    """A whole `endpoint.toml`; without any key it is a working endpoint."""

    name: Annotated[
        str,
        describe(
            "What people call this endpoint: letters, digits, _ and -",
            must="consist of letters, digits, _ and - only",
            pattern=NAME_PATTERN,
            max_length=64,
        ),
    ] = "endpoint"
    transport: TransportConfig = TransportConfig()
    heartbeat: HeartbeatConfig = HeartbeatConfig()
    blocks: BlocksConfig = BlocksConfig()
    workers: WorkersConfig = WorkersConfig()
    strategy: StrategyConfig = StrategyConfig()
    placement: PlacementConfig = PlacementConfig()
    results: ResultsConfig = ResultsConfig()
    limits: LimitsConfig = LimitsConfig()
    journal: JournalConfig = JournalConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    worker_types: Annotated[
        dict[str, WorkerTypeConfig],
        describe(
            "Environments that tasks may ask for by worker_type=NAME, each a table "
            "[worker_types.NAME]; a task that asks for none gets a plain worker"
        ),
    ] = {}
    # Any: its shape is the provider's own; nobody here looks inside.
    provider_options: Annotated[
        dict[str, Any],
        describe(
            "Keys of the provider, checked by the provider when it starts. "
            "`python -m pydoc providers.slurm` lists those of slurm, and so on"
        ),
    ] = {}


def json_schema() -> dict[str, Any]:
    """Describe `endpoint.toml` as a JSON Schema, for editors and other programs.

    What keys can get wrong only together is not in it: `actors check` knows more.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(EndpointConfig),
    }
