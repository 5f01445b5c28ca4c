"""What `endpoint.toml` may say of workers, and of types of them."""

from typing import Annotated, Literal

import msgspec

from actors.config.affinity import AFFINITY_PATTERN
from actors.config.keys import (
    FOLDER_PATTERN,
    MOST,
    MOST_TASKS,
    TAG_PATTERN,
    Section,
    describe,
    describe_bytes,
    describe_count,
    describe_duration,
    describe_period,
)

__all__ = ["WorkerTypeConfig", "WorkersConfig"]


class WorkersConfig(Section, frozen=True, kw_only=True):
    """The processes that run your functions."""

    workers_per_node: Annotated[
        int,
        describe_count("Worker processes of a node; 0: one per core that it may use"),
    ] = 0
    gpus: Annotated[
        int,
        describe_count(
            "GPUs of a node, for tasks and actors that ask for num_gpus; those that "
            "CUDA_VISIBLE_DEVICES names where the manager starts, else from 0 on"
        ),
    ] = 0
    resources: Annotated[
        dict[str, Annotated[float, msgspec.Meta(ge=0, le=MOST)]],
        describe(
            "What else a node has that tasks and actors may ask for by resources: "
            "names and amounts of your own"
        ),
    ] = {}
    init: Annotated[
        str,
        describe(
            "Shell lines before the manager starts, such as the activation of a "
            "virtual environment; not a template"
        ),
    ] = ""
    max_tasks_per_worker: Annotated[
        int,
        describe(
            "Tasks that a worker process runs before another one takes its place; "
            "0: any number",
            ge=0,
            le=MOST_TASKS,
        ),
    ] = 0
    max_worker_growth_bytes: Annotated[
        int,
        describe_bytes(
            "Bytes that a worker process may grow by before another one takes its "
            "place; 0: any number"
        ),
    ] = 0
    memory_limit_bytes: Annotated[
        int,
        describe_bytes(
            "Bytes of memory that a worker process may take, with what it starts; a "
            "task that takes more is ended, and fails with an OutOfMemoryError; 0: any "
            "number"
        ),
    ] = 0
    cpu_affinity: Annotated[
        str,
        describe(
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
        describe(
            "Names of a node's accelerators, one for each worker in turn; it learns "
            "its own by CUDA_VISIBLE_DEVICES and the like"
        ),
    ] = []
    accelerator_count: Annotated[
        int,
        describe_count(
            "The same, where they have no names: how many a node has. Those that the "
            "batch system has chosen, or 0, 1, and so on"
        ),
    ] = 0
    work_dirs: Annotated[
        Literal["none", "task", "worker"],
        describe(
            "Whose folder is a task's current one, made empty and removed after it: "
            '"task", "worker"; "none": no folder is made'
        ),
    ] = "none"
    work_root: Annotated[
        str, describe('Folder in which these are made; "": the one for temporary files')
    ] = ""
    work_dir_limit_bytes: Annotated[
        int,
        describe_bytes(
            "Bytes that a work folder may hold; a task that writes more fails with a "
            "WorkDirLimitError; 0: any number"
        ),
    ] = 0
    tag: Annotated[
        str,
        describe(
            "What tasks may ask for by tag=TAG, to run on managers that have it; nodes "
            'that differ set ACTORS_TAG in init, which goes before; "": none',
            must="be a word of letters, digits, _, -, . and :",
            pattern=TAG_PATTERN,
            max_length=200,
        ),
    ] = ""
    tag_exclusive: Annotated[
        bool, describe("Whether managers take only tasks that ask for their tag")
    ] = False
    idle_timeout: Annotated[
        float,
        describe_duration(
            "Seconds without a task after which a manager ends, and with its last one "
            "the block; 0: never"
        ),
    ] = 0.0
    max_tasks: Annotated[
        int,
        describe(
            "Tasks that a manager runs; then it ends; 0: any number",
            ge=0,
            le=MOST_TASKS,
        ),
    ] = 0
    exit_on_exception: Annotated[
        bool, describe("Whether a manager ends after a task that raised an exception")
    ] = False
    termination_grace: Annotated[
        float,
        describe_duration(
            "Seconds that running tasks have to end in order when their block is "
            "ended: they get SIGTERM (a SystemExit, if they do not handle it), and run "
            "elsewhere again if they raise; 0: they are not told"
        ),
    ] = 0.0


class WorkerTypeConfig(Section, frozen=True, kw_only=True):
    """An environment for tasks that ask for it; without any key: plain workers."""

    venv: Annotated[
        str,
        describe(
            "Folder of a virtual environment, absolute, whose Python runs the workers; "
            'its minor version must be the endpoint\'s. "": none',
            must="be an absolute path",
            pattern=FOLDER_PATTERN,
        ),
    ] = ""
    image: Annotated[
        str,
        describe('Image of a container in which the workers run; "": none'),
    ] = ""
    container_command: Annotated[
        str,
        describe(
            '"podman", "docker", "apptainer", or the words of a command that starts a '
            "container of {image} which sees {folder}, where the manager listens, and "
            "runs the words that are appended. {endpoint_dir} is the endpoint's folder"
        ),
    ] = "podman"
    python: Annotated[
        str,
        describe("The image's interpreter, of the endpoint's minor version"),
    ] = "python3"
    path: Annotated[
        list[str],
        describe(
            "Folders from which the workers import, too, after their own: of your "
            "modules, and of actors if the environment does not have it"
        ),
    ] = []
    environment: Annotated[
        dict[str, str], describe("Environment variables for the workers")
    ] = {}
    start_timeout: Annotated[
        float,
        describe_period(
            "Seconds until the first worker must have started, an image's download "
            "included; then the tasks that ask for it fail"
        ),
    ] = 600.0
