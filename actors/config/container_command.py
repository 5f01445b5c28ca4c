"""`[worker_types.NAME] container_command`: what starts a container with workers in it.

    "podman" ──known by name──► words ──container_words──► words of this container
                     "run ... {image}"                     "run ... localhost/sim:1"

The container must see `{folder}` under the same path: the manager listens in there, and
a process in the container comes to it. Everything else is up to the words.
"""

import difflib
import re
import shlex

__all__ = ["ENGINES", "container_words", "find_container_problems"]

# What a container needs of its engine: no entry point before our words, the folder, the
# endpoint's folder and the host's network for tasks that call others of the endpoint.
_RUN = (
    "run --rm --network=host --entrypoint= "
    "--volume {folder}:{folder} --volume {endpoint_dir}:{endpoint_dir} {image}"
)
ENGINES = {
    "podman": f"podman {_RUN}",
    "docker": f"docker {_RUN}",
    "apptainer": "apptainer exec --bind {folder} --bind {endpoint_dir} {image}",
}
_FIELDS = ("image", "folder", "endpoint_dir")
_FIELD = re.compile(r"\{(\w*)\}")


def container_words(
    command: str, *, image: str, folder: str, endpoint_dir: str
) -> list[str]:
    """Fill a command in; what the container shall run is to be appended.

    Args:
        command: a name of `ENGINES`, or words without problems.
        image: as the engine calls it.
        folder: where the manager listens.
        endpoint_dir: of the endpoint.
    """
    values = {"image": image, "folder": folder, "endpoint_dir": endpoint_dir}
    return [
        _FIELD.sub(lambda match: values[match[1]], word)
        for word in shlex.split(ENGINES.get(command, command))
    ]


def find_container_problems(command: str) -> list[str]:
    """Tell what is wrong with a command, each as the end of a sentence."""
    if command in ENGINES:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        return [f"must be the words of a command: {error}"]
    if len(words) < 2:
        close = difflib.get_close_matches(command, ENGINES, n=1)
        known = ", ".join(f'"{name}"' for name in ENGINES)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        return [f"must be one of {known}, or a command with {{image}}{hint}"]
    problems = []
    fields = _FIELD.findall(command)
    for unknown in sorted(set(fields) - set(_FIELDS)):
        known = ", ".join(f"{{{name}}}" for name in _FIELDS)
        problems.append(f"has the unknown field {{{unknown}}}; known are {known}")
    if "image" not in fields and not problems:
        problems.append("must contain {image}, which it starts a container of")
    return problems
