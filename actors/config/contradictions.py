"""What the keys of `endpoint.toml` can get wrong together, or beyond their types."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from actors.config.affinity import parse_list
from actors.config.container_command import find_container_problems
from actors.config.launch_command import find_launch_problems
from actors.config.listen import dialled_url, parse_listen, parse_web_listen
from actors.config.provider_names import known_providers, provider_target
from actors.config.shape import EndpointConfig

__all__ = ["Contradiction", "find_contradictions"]

Key = tuple[str, str]  # section, or family.member, and name

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# No path, variable or command line can hold it.
_NUL = "\0"


class Contradiction(NamedTuple):
    """One thing to be mended.

    Args:
        key: the one to look at first.
        must: what is wrong or would be right: goes on after key and value.
        others: keys that take part; if one of them is wrong in itself, this is moot.
        item: of a table, the key in it.
    """

    key: Key
    must: str
    others: tuple[Key, ...] = ()
    item: str | None = None


def find_contradictions(config: EndpointConfig) -> Iterator[Contradiction]:
    """Go through all rules; each that is broken gives one contradiction or more."""
    yield from _in_transport(config)
    yield from _in_heartbeat(config)
    yield from _in_blocks(config)
    yield from _in_environment(("blocks", "environment"), config.blocks.environment)
    yield from _in_worker_types(config)
    yield from _in_metrics(config)
    yield from _in_workers(config)
    yield from _in_resources(config)


def _in_transport(config: EndpointConfig) -> Iterator[Contradiction]:
    transport = config.transport
    listen = ("transport", "listen")
    if must := _refusal(lambda: parse_listen(transport.listen)):
        yield Contradiction(listen, must)
    elif must := _refusal(lambda: dialled_url(transport)):
        yield Contradiction(("transport", "advertise"), must, (listen,))
    if _NUL in transport.socket_dir:
        yield Contradiction(
            ("transport", "socket_dir"), "must not contain the character NUL"
        )


def _in_heartbeat(config: EndpointConfig) -> Iterator[Contradiction]:
    heartbeat = config.heartbeat
    if heartbeat.threshold < 2 * heartbeat.period:
        yield Contradiction(
            ("heartbeat", "threshold"),
            f"must be at least {2 * heartbeat.period!r}, twice the period "
            f"{heartbeat.period!r}: raise it or lower period",
            (("heartbeat", "period"),),
        )


def _in_blocks(config: EndpointConfig) -> Iterator[Contradiction]:
    blocks = config.blocks
    least, most = ("blocks", "min_blocks"), ("blocks", "max_blocks")
    if blocks.max_blocks < blocks.min_blocks:
        yield Contradiction(
            most,
            f"must be at least min_blocks {blocks.min_blocks}: raise it or lower "
            "min_blocks",
            (least,),
        )
    elif not blocks.min_blocks <= blocks.init_blocks <= blocks.max_blocks:
        yield Contradiction(
            ("blocks", "init_blocks"),
            f"must be from min_blocks {blocks.min_blocks} to max_blocks "
            f"{blocks.max_blocks}",
            (least, most),
        )
    if provider_target(blocks.provider) is None:
        known = ", ".join(f'"{name}"' for name in known_providers())
        yield Contradiction(
            ("blocks", "provider"),
            "is not built in, and no installed package offers it; known are "
            f'{known}, and "module:Class" for one of yours',
        )
    for must in find_launch_problems(blocks.launch_command):
        yield Contradiction(("blocks", "launch_command"), must)
    if _NUL in blocks.launch_command:
        yield Contradiction(
            ("blocks", "launch_command"), "must not contain the character NUL"
        )


def _in_environment(key: Key, environment: dict[str, str]) -> Iterator[Contradiction]:
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name):
            yield Contradiction(
                key,
                "must have a name of letters, digits and _, that begins with no digit",
                item=name,
            )
        if _NUL in value:
            yield Contradiction(key, "must not contain the character NUL", item=name)


def _in_workers(config: EndpointConfig) -> Iterator[Contradiction]:
    workers = config.workers
    for key, value in (("init", workers.init), ("work_root", workers.work_root)):
        if _NUL in value:
            yield Contradiction(("workers", key), "must not contain the character NUL")
    if workers.accelerators and workers.accelerator_count:
        yield Contradiction(
            ("workers", "accelerator_count"),
            "must be left out where accelerators names them",
            (("workers", "accelerators"),),
        )
    if workers.work_dir_limit_bytes and workers.work_dirs == "none":
        yield Contradiction(
            ("workers", "work_dir_limit_bytes"),
            'must be 0 unless work_dirs is "task" or "worker": there is no folder',
            (("workers", "work_dirs"),),
        )
    if workers.cpu_affinity.startswith("list:"):
        count = len(parse_list(workers.cpu_affinity))
        if workers.workers_per_node > count:
            yield Contradiction(
                ("workers", "cpu_affinity"),
                f"must have cores for workers_per_node {workers.workers_per_node} "
                f"workers, not {count}",
                (("workers", "workers_per_node"),),
            )


def _in_worker_types(config: EndpointConfig) -> Iterator[Contradiction]:
    for name, type_ in config.worker_types.items():
        section = f"worker_types.{name}"
        if type_.venv and type_.image:
            yield Contradiction(
                (section, "image"),
                "must be left out where there is a venv: it is the one or the other",
                ((section, "venv"),),
            )
        for must in find_container_problems(type_.container_command):
            yield Contradiction((section, "container_command"), must)
        if _NUL in f"{type_.image}{type_.python}{''.join(type_.path)}":
            yield Contradiction(
                (section, "image"), "and python and path must not contain NUL"
            )
        yield from _in_environment((section, "environment"), type_.environment)


def _in_resources(config: EndpointConfig) -> Iterator[Contradiction]:
    workers = config.workers
    if workers.gpus and (workers.accelerators or workers.accelerator_count):
        yield Contradiction(
            ("workers", "gpus"),
            "must be 0 where each worker has accelerators of its own",
        )
    for name in config.workers.resources:
        other = {"CPU": "workers_per_node", "GPU": "gpus"}.get(name)
        if other is not None:
            yield Contradiction(
                ("workers", "resources"), f"must be said by {other}", item=name
            )


def _in_metrics(config: EndpointConfig) -> Iterator[Contradiction]:
    key, text = ("metrics", "listen"), config.metrics.listen
    if not text:
        return
    if must := _refusal(lambda: parse_web_listen(text)):
        yield Contradiction(key, must)
    elif text.startswith("https:") and not config.transport.listen.startswith("wss:"):
        yield Contradiction(
            key,
            'needs the certificates of an endpoint with [transport] listen = "wss://'
            'HOST:PORT"; without them use "http://127.0.0.1:PORT"',
            (("transport", "listen"),),
        )


def _refusal(read: Callable[[], object]) -> str:
    """Give what a reader has to say against its text; "" if nothing."""
    try:
        read()
    except ValueError as error:
        return str(error)
    return ""
