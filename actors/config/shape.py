"""What `endpoint.toml` may hold: a frozen struct per section, each key with its rules.

A key's description stands in its type. The commented file that `actors init` writes,
the JSON Schema and the error messages are all made from it, so they cannot drift apart.
What one key alone can get wrong is told by its type; what keys can get wrong together
stands in `actors.config.contradictions`.

This module decides and touches nothing: no file, no clock, no environment.
"""

from typing import Annotated, Any, Literal

import msgspec

from actors.config.affinity import AFFINITY_PATTERN
from actors.config.provider_names import BUILT_IN_PROVIDERS

__all__ = [
    "NAME_PATTERN",
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
    "WorkerTypeConfig",
    "WorkersConfig",
    "json_schema",
]

# Chosen. The bounds below catch a slip of the keyboard, and infinity; no sane endpoint
# meets them.
_LONGEST_PERIOD = 86_400.0  # a day
_LONGEST_DURATION = 10 * 365 * 86_400.0  # ten years
_MOST = 1_000_000  # blocks, nodes, workers
_MOST_TASKS = 1_000_000_000
_PROVIDERS = ", ".join(f'"{name}"' for name in BUILT_IN_PROVIDERS)
_LARGEST_FRAME_BYTES = 2**31 - 1
_MOST_BYTES = 2**50
# A manager's report on a thousand workers fits.
_SMALLEST_FRAME_BYTES = 2**20

# `(?!\n)`: Python's `$` alone would let a line break at the end pass.
_TAG_PATTERN = r"^[A-Za-z0-9_.:-]*$(?!\n)"
_FOLDER_PATTERN = r"^(/[^\0]*)?$(?!\n)"
NAME_PATTERN = r"^[A-Za-z0-9_-]+$(?!\n)"
_PROVIDER_PATTERN = (
    r"^([A-Za-z0-9_-]+"  # which ones there are is told with the contradictions
    r"|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)$(?!\n)"
)


def _says(description: str, must: str = "", **rules: Any) -> msgspec.Meta:
    """Describe a key, and what its value must be if its bounds do not say it."""
    return msgspec.Meta(
        description=description, extra={"must": must} if must else None, **rules
    )


def _period(description: str) -> msgspec.Meta:
    return _says(description, gt=0, le=_LONGEST_PERIOD)


def _duration(description: str) -> msgspec.Meta:
    return _says(description, ge=0, le=_LONGEST_DURATION)


def _count(description: str, least: int = 0) -> msgspec.Meta:
    return _says(description, ge=least, le=_MOST)


def _bytes(description: str) -> msgspec.Meta:
    return _says(description, ge=0, le=_MOST_BYTES)


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Be the base of every table of `endpoint.toml`."""


class TransportConfig(_Section, frozen=True, kw_only=True):
    """How members reach the endpoint."""

    listen: Annotated[
        str,
        _says(
            'Where members come in: "ipc" (this host only), "wss://HOST:PORT" (mutual '
            'TLS), or "ws://127.0.0.1:PORT" (not encrypted, loopback only)'
        ),
    ] = "ipc"
    advertise: Annotated[
        str,
        _says(
            "HOST or HOST:PORT that members dial when it is not what wss listens on, "
            'as with 0.0.0.0; "": the same'
        ),
    ] = ""
    socket_dir: Annotated[
        str,
        _says(
            "Folder of the sockets, relative to this file; must belong to you alone; "
            '"": run, or a folder under /tmp if that path is too long for a socket'
        ),
    ] = ""
    max_frame_bytes: Annotated[
        int,
        _says(
            "Bytes that one frame on a link may have, and so about one task or result",
            ge=_SMALLEST_FRAME_BYTES,
            le=_LARGEST_FRAME_BYTES,
        ),
    ] = 2**26


class HeartbeatConfig(_Section, frozen=True, kw_only=True):
    """When a silent member is held for lost."""

    period: Annotated[
        float, _period("Seconds between two signs of life of a member")
    ] = 30.0
    threshold: Annotated[
        float,
        _period(
            "Seconds of silence after which a member is lost; at least 2 * period, "
            "so that one late heartbeat costs nothing"
        ),
    ] = 120.0
    reconnect_grace: Annotated[
        float,
        _duration("Seconds that a member whose link closed has to come back"),
    ] = 5.0


class BlocksConfig(_Section, frozen=True, kw_only=True):
    """The jobs that hold the workers: who runs them, and how many there may be."""

    provider: Annotated[
        str,
        _says(
            f"Who runs the blocks: {_PROVIDERS}, the name of a provider that an "
            'installed package offers, or "module:Class" of one of your own',
            must='be the name of a provider, or "module:Class"',
            pattern=_PROVIDER_PATTERN,
        ),
    ] = "local"
    nodes_per_block: Annotated[
        int, _count("Nodes of one block; a manager runs on each", least=1)
    ] = 1
    init_blocks: Annotated[
        int, _count("Blocks at the start, from min_blocks to max_blocks")
    ] = 1
    min_blocks: Annotated[int, _count("Blocks that are always there")] = 0
    max_blocks: Annotated[
        int, _count("Blocks that there may be at most, however much waits")
    ] = 1
    walltime: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=_LONGEST_DURATION)] | None,
        _says(
            "Seconds after which the batch system ends a block; absent: its own limit",
            examples=[3600.0],
        ),
    ] = None
    connect_timeout: Annotated[
        float,
        _period(
            "Seconds that a block may run without any manager of it being connected; "
            "then it is cancelled, and counts as failed"
        ),
    ] = 600.0
    launch_command: Annotated[
        str,
        _says(
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
        _says(
            "Environment variables for managers and workers, beyond those of the block"
        ),
    ] = {}


class WorkersConfig(_Section, frozen=True, kw_only=True):
    """The processes that run your functions."""

    workers_per_node: Annotated[
        int, _count("Worker processes of a node; 0: one per core that it may use")
    ] = 0
    gpus: Annotated[
        int,
        _count(
            "GPUs of a node, for tasks and actors that ask for num_gpus; those that "
            "CUDA_VISIBLE_DEVICES names where the manager starts, else from 0 on"
        ),
    ] = 0
    resources: Annotated[
        dict[str, Annotated[float, msgspec.Meta(ge=0, le=_MOST)]],
        _says(
            "What else a node has that tasks and actors may ask for by resources: "
            "names and amounts of your own"
        ),
    ] = {}
    init: Annotated[
        str,
        _says(
            "Shell lines before the manager starts, such as the activation of a "
            "virtual environment; not a template"
        ),
    ] = ""
    max_tasks_per_worker: Annotated[
        int,
        _says(
            "Tasks that a worker process runs before another one takes its place; "
            "0: any number",
            ge=0,
            le=_MOST_TASKS,
        ),
    ] = 0
    max_worker_growth_bytes: Annotated[
        int,
        _bytes(
            "Bytes that a worker process may grow by before another one takes its "
            "place; 0: any number"
        ),
    ] = 0
    memory_limit_bytes: Annotated[
        int,
        _bytes(
            "Bytes of memory that a worker process may take, with what it starts; a "
            "task that takes more is ended, and fails with an OutOfMemoryError; 0: any "
            "number"
        ),
    ] = 0
    cpu_affinity: Annotated[
        str,
        _says(
            'Which cores a worker has for itself: "none", "block" (neighbours), '
            '"block-reverse", "alternating" (every nth), or "list:0-1:2,3", the cores '
            "of each worker",
            must='be "none", "block", "block-reverse", "alternating", or a list such '
            'as "list:0-1:2,3"',
            pattern=AFFINITY_PATTERN,
        ),
    ] = "none"
    accelerators: Annotated[
        list[str],
        _says(
            "Names of a node's accelerators, one for each worker in turn; it learns "
            "its own by CUDA_VISIBLE_DEVICES and the like"
        ),
    ] = []
    accelerator_count: Annotated[
        int,
        _count(
            "The same, where they have no names: how many a node has. Those that the "
            "batch system has chosen, or 0, 1, and so on"
        ),
    ] = 0
    work_dirs: Annotated[
        Literal["none", "task", "worker"],
        _says(
            "Whose folder is a task's current one, made empty and removed after it: "
            '"task", "worker"; "none": no folder is made'
        ),
    ] = "none"
    work_root: Annotated[
        str, _says('Folder in which these are made; "": the one for temporary files')
    ] = ""
    work_dir_limit_bytes: Annotated[
        int,
        _bytes(
            "Bytes that a work folder may hold; a task that writes more fails with a "
            "WorkDirLimitError; 0: any number"
        ),
    ] = 0
    tag: Annotated[
        str,
        _says(
            "What tasks may ask for by tag=TAG, to run on managers that have it; nodes "
            'that differ set ACTORS_TAG in init, which goes before; "": none',
            must="be a word of letters, digits, _, -, . and :",
            pattern=_TAG_PATTERN,
            max_length=200,
        ),
    ] = ""
    tag_exclusive: Annotated[
        bool, _says("Whether managers take only tasks that ask for their tag")
    ] = False
    idle_timeout: Annotated[
        float,
        _duration(
            "Seconds without a task after which a manager ends, and with its last one "
            "the block; 0: never"
        ),
    ] = 0.0
    max_tasks: Annotated[
        int,
        _says(
            "Tasks that a manager runs; then it ends; 0: any number",
            ge=0,
            le=_MOST_TASKS,
        ),
    ] = 0
    exit_on_exception: Annotated[
        bool, _says("Whether a manager ends after a task that raised an exception")
    ] = False
    termination_grace: Annotated[
        float,
        _duration(
            "Seconds that running tasks have to end in order when their block is "
            "ended: they get SIGTERM (a SystemExit, if they do not handle it), and run "
            "elsewhere again if they raise; 0: they are not told"
        ),
    ] = 0.0


class WorkerTypeConfig(_Section, frozen=True, kw_only=True):
    """An environment for tasks that ask for it; without any key: plain workers."""

    venv: Annotated[
        str,
        _says(
            "Folder of a virtual environment, absolute, whose Python runs the workers; "
            'its minor version must be the endpoint\'s. "": none',
            must="be an absolute path",
            pattern=_FOLDER_PATTERN,
        ),
    ] = ""
    image: Annotated[
        str,
        _says('Image of a container in which the workers run; "": none'),
    ] = ""
    container_command: Annotated[
        str,
        _says(
            '"podman", "docker", "apptainer", or the words of a command that starts a '
            "container of {image} which sees {folder}, where the manager listens, and "
            "runs the words that are appended. {endpoint_dir} is the endpoint's folder"
        ),
    ] = "podman"
    python: Annotated[
        str,
        _says("The image's interpreter, of the endpoint's minor version"),
    ] = "python3"
    path: Annotated[
        list[str],
        _says(
            "Folders from which the workers import, too, after their own: of your "
            "modules, and of actors if the environment does not have it"
        ),
    ] = []
    environment: Annotated[
        dict[str, str], _says("Environment variables for the workers")
    ] = {}
    start_timeout: Annotated[
        float,
        _period(
            "Seconds until the first worker must have started, an image's download "
            "included; then the tasks that ask for it fail"
        ),
    ] = 600.0


class StrategyConfig(_Section, frozen=True, kw_only=True):
    """When blocks are started and ended."""

    kind: Annotated[
        Literal["none", "simple", "auto", "staged"],
        _says(
            '"none" keeps min_blocks; "simple" follows the tasks between min_blocks '
            'and max_blocks, and ends blocks when there are none; "auto" also ends '
            'idle blocks while others work; "staged" starts one block at a time while '
            "tasks wait, and ends idle ones"
        ),
    ] = "simple"
    period: Annotated[float, _period("Seconds between two looks at the load")] = 5.0
    parallelism: Annotated[
        float,
        _says(
            "Worker processes wanted per task: 1 is one for each, 0 one block for all",
            ge=0,
            le=1,
        ),
    ] = 1.0
    max_idletime: Annotated[
        float,
        _duration("Seconds without a task before blocks above min_blocks are ended"),
    ] = 120.0
    min_start_interval: Annotated[
        float, _duration('Seconds between two starts of blocks, of "staged" only')
    ] = 60.0
    max_launches_per_minute: Annotated[
        int,
        _count(
            "Blocks that are started in any minute; operators may start more", least=1
        ),
    ] = 60
    drain_timeout: Annotated[
        float,
        _duration(
            "Seconds that an idle block which is no longer wanted has to end by "
            "itself; then it is cancelled"
        ),
    ] = 30.0


class PlacementConfig(_Section, frozen=True, kw_only=True):
    """Which manager gets a task. Tasks go by priority, then in order of coming."""

    selector: Annotated[
        Literal["fill_first", "random", "deadline"],
        _says(
            '"fill_first": the busiest that has room, so that idle blocks can end; '
            '"random": any; "deadline": the one whose block ends first, of those in '
            "which the task fits"
        ),
    ] = "fill_first"
    scheduler_mode: Annotated[
        Literal["soft", "hard"],
        _says(
            'With worker types: "soft": slots are shared out among types as the queue '
            'asks; "hard": all workers of a block are of one type for good, and blocks '
            "are started and ended by type"
        ),
    ] = "soft"
    end_margin: Annotated[
        float,
        _duration(
            "Seconds before its end from which on a block gets no tasks and drains; "
            "at most a tenth of [blocks] walltime. A task with a walltime is placed "
            "where it ends before that"
        ),
    ] = 10.0


class ResultsConfig(_Section, frozen=True, kw_only=True):
    """What happens to results whose client is away."""

    keep: Annotated[
        float, _duration("Seconds that results wait for a client to come back")
    ] = 86_400.0


class LimitsConfig(_Section, frozen=True, kw_only=True):
    """What the endpoint takes at most."""

    max_queued_tasks: Annotated[
        int,
        _says(
            "Unfinished tasks that the endpoint holds; more are refused",
            ge=1,
            le=_MOST_TASKS,
        ),
    ] = 1_000_000
    max_unread_bytes: Annotated[
        int,
        _says(
            "Bytes of results in memory that one client may leave unread; until it "
            "reads, its other tasks wait, and new ones stay with it",
            ge=_SMALLEST_FRAME_BYTES,
            le=_MOST_BYTES,
        ),
    ] = 2**30


class JournalConfig(_Section, frozen=True, kw_only=True):
    """What a crash of the machine may cost."""

    durability: Annotated[
        Literal["sync", "interval", "off"],
        _says(
            '"sync": what is accepted is on disk; "interval": synced now and then; '
            '"off": not synced at all'
        ),
    ] = "sync"
    interval: Annotated[
        float,
        _period(
            'Seconds between two syncs with durability "interval": what a loss of '
            "power may cost"
        ),
    ] = 1.0


class LogConfig(_Section, frozen=True, kw_only=True):
    """What the endpoint's own processes write of their work."""

    format: Annotated[
        Literal["text", "json"],
        _says(
            '"text": lines for people; "json": an object per line. What tasks print is '
            "left as it is"
        ),
    ] = "text"


class MetricsConfig(_Section, frozen=True, kw_only=True):
    """What other programs may see of the endpoint: /metrics, /healthz, /readyz."""

    listen: Annotated[
        str,
        _says(
            'Where: "http://127.0.0.1:PORT" (this host only), or "https://HOST:PORT" '
            "(who scrapes shows client.pem, as members do, so transport must listen on "
            'wss); "": nowhere'
        ),
    ] = ""


class EndpointConfig(_Section, frozen=True, kw_only=True):
    """A whole `endpoint.toml`; without any key it is a working endpoint."""

    name: Annotated[
        str,
        _says(
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
        _says(
            "Environments that tasks may ask for by worker_type=NAME, each a table "
            "[worker_types.NAME]; a task that asks for none gets a plain worker"
        ),
    ] = {}
    # Any: its shape is the provider's own; nobody here looks inside.
    provider_options: Annotated[
        dict[str, Any],
        _says(
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
