"""`[blocks] launch_command`, a template filled in twice.

    launch_command ──expand_launch──► template of this endpoint ──bind_launch──► command
    "{python} ... --block {{block_id}}"   "/usr/bin/python3 ... --block {block_id}"

At the start of the endpoint `{python}`, `{endpoint_dir}` and `{name}` are known, at the
launch of a block `{{block_id}}` and `{{node}}`. Values are quoted for the shell. Only a
word in braces is a field: `${HOME}`, `{ list; }`, `{a,b}` and `awk '{print $1}'` reach
the shell as they are.
"""

import difflib
import re
import shlex

from actors.config.endpoint_paths import EndpointPaths
from actors.config.shape import EndpointConfig
from actors.messages import BlockId

__all__ = ["bind_launch", "expand_launch", "find_launch_problems"]

# As `actors.endpoint.lifetime` reads it.
_BEGUN = "export ACTORS_BLOCK_BEGAN=$(date +%s)\n"
_START_FIELDS = ("python", "endpoint_dir", "name")
_LAUNCH_FIELDS = ("block_id", "node")
# The looks behind and ahead leave `${NAME}` and three braces in a row alone.
_FIELD = re.compile(
    r"(?<![${])(\{\{(?P<at_launch>[A-Za-z_]\w*)\}\}|\{(?P<at_start>[A-Za-z_]\w*)\})(?!\})"
)


def expand_launch(config: EndpointConfig, paths: EndpointPaths, python: str) -> str:
    """Fill in what is known at the start of the endpoint; `[workers] init` goes before.

    Args:
        config: checked.
        paths: of the endpoint.
        python: path of the interpreter that managers run on.

    Returns:
        A template for `bind_launch` and nothing else.
    """
    values = {"python": python, "endpoint_dir": str(paths.folder), "name": config.name}
    command = config.blocks.launch_command
    parts = []
    end = 0
    for match in _FIELD.finditer(command):
        parts.append(_literal(command[end : match.start()]))
        if name := match["at_start"]:
            parts.append(_literal(shlex.quote(values[name])))
        else:
            parts.append("{" + match["at_launch"] + "}")
        end = match.end()
    parts.append(_literal(command[end:]))
    init = config.workers.init
    if not init:
        return "".join(parts)
    # What it does takes time of the block's life, before the manager can count.
    begun = _BEGUN if config.blocks.walltime is not None else ""
    return begun + _literal(init.rstrip("\n")) + "\n" + "".join(parts)


def bind_launch(template: str, block_id: BlockId, node: int) -> str:
    """Fill in what is known at the launch of a block.

    Args:
        template: from `expand_launch`.
        block_id: of the block.
        node: number of the node in its block, 0 first.

    Returns:
        Text for a shell: one command, after the lines of `[workers] init`.
    """
    return template.format(block_id=shlex.quote(block_id), node=node)


def find_launch_problems(command: str) -> list[str]:
    """Tell what is wrong with a launch command, each as the end of a sentence."""
    problems = []
    seen = set()
    for match in _FIELD.finditer(command):
        at_start, at_launch = match["at_start"], match["at_launch"]
        seen.add(at_launch)
        if at_start in _LAUNCH_FIELDS:
            problems.append(
                f"must have {{{{{at_start}}}}} instead of {{{at_start}}}: it is known "
                "only when a block is launched"
            )
        elif at_launch in _START_FIELDS:
            problems.append(
                f"must have {{{at_launch}}} instead of {{{{{at_launch}}}}}: it is "
                "known when the endpoint starts"
            )
        elif at_start not in (None, *_START_FIELDS) or at_launch not in (
            None,
            *_LAUNCH_FIELDS,
        ):
            problems.append(f"has the unknown field {match[0]}; {_advice(match)}")
    if "block_id" not in seen and not problems:
        problems.append(
            "must contain {{block_id}}, by which the manager tells whose node it is"
        )
    try:
        shlex.split(command)
    except ValueError as error:
        problems.append(f"must be a shell command, but has {_uncapitalized(error)}")
    return problems


def _advice(match: re.Match[str]) -> str:
    known = {name: f"{{{name}}}" for name in _START_FIELDS}
    known |= {name: f"{{{{{name}}}}}" for name in _LAUNCH_FIELDS}
    unknown = match["at_start"] or match["at_launch"]
    close = difflib.get_close_matches(unknown, known, n=1)
    if close:
        return f"did you mean {known[close[0]]}?"
    return f"known are {', '.join(known.values())}; the shell's own is ${{{unknown}}}"


def _literal(text: str) -> str:
    """Protect text from str.format, which `bind_launch` uses."""
    return text.replace("{", "{{").replace("}", "}}")


def _uncapitalized(error: ValueError) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]
