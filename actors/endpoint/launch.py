"""Start one actor of an endpoint in this process.

    python -m actors.endpoint.launch interchange|strategy|provider DIR
    python -m actors.endpoint.launch manager DIR --block BLOCK --node NODE

`actors run` starts the first three, a block's launch command the fourth. DIR is the
endpoint's folder: everything else is read there.
"""

import argparse
import logging
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.config import expand_launch
from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.manager import Manager, ManagerSettings
from actors.endpoint.provider import Provider, ProviderRecord, ProviderSettings
from actors.endpoint.shells import (
    ActorShell,
    ManagerShell,
    ProviderShell,
    RootWatch,
    make_provider,
)
from actors.endpoint.strategy import Strategy, StrategySettings
from actors.endpoint.surroundings import Surroundings, python_version
from actors.errors import ActorsError
from actors.journal import Journal, JournalConfig
from actors.logic.scaling import Bounds
from actors.messages import (
    BlockId,
    ManagerId,
    from_member,
    provider_to_strategy,
    strategy_to_provider,
    to_member,
)
from actors.pool import Pool
from actors.process import die_with_parent, name_process
from actors.runtime import Dialing, Inbox, Runtime, Serving

__all__ = ["main"]

logger = logging.getLogger(__name__)

# Exit codes: 1 is Python's own for an exception, 2 for a wrong call.
_CONFIG_ERROR = 78  # EX_CONFIG of sysexits.h: restarting would not help

# How often the provider asks the batch system. Local ends are seen at once, besides.
_POLL_PERIOD = 1.0
# A finished block leaves three short records; compact when a few thousand have come.
_COMPACT_BYTES = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one actor until it ends; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m actors.endpoint.launch", description=__doc__
    )
    parser.add_argument(
        "actor", choices=["interchange", "strategy", "provider", "manager"]
    )
    parser.add_argument("folder", type=Path, help="the endpoint's folder")
    parser.add_argument("--block", default="", help="of a manager")
    parser.add_argument("--node", type=int, default=0, help="of a manager")
    parser.add_argument("--parent", type=int, default=0, help="dies with this process")
    parser.add_argument("--restarts", type=int, default=0, help="how often already")
    options = parser.parse_args(arguments)
    name_process(f"actors-{options.actor}")
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if options.parent:
        die_with_parent(options.parent)
    try:
        around = Surroundings.of(options.folder)
        match options.actor:
            case "interchange":
                return _run_interchange(around)
            case "strategy":
                return _run_strategy(around, is_restart=options.restarts > 0)
            case "provider":
                return _run_provider(around)
            case _:
                return _run_manager(around, BlockId(options.block), options.node)
    except ActorsError as error:
        logger.error("%s", error)
        return _CONFIG_ERROR


def _run(shell: ActorShell, runtime: Runtime) -> int:
    shell.finish = runtime.finish
    shell.obey_signals()
    runtime.run()
    return shell.exit_code


def _run_interchange(around: Surroundings) -> int:
    config = around.config
    settings = InterchangeSettings(
        name=config.name,
        epoch=around.instance,
        token=around.token,
        python=python_version(),
        tempo=around.tempo,
        keep_results=config.results.keep,
        max_queued_tasks=config.limits.max_queued_tasks,
        wall_offset=around.wall_offset,
    )
    shell = ActorShell(Inbox())
    serving = Serving(
        around.listening_address,
        "interchange",
        around.listening_security,
        lambda hello: from_member[hello.kind],
        around.tempo,
        around.instance,
        config.transport.max_frame_bytes,
        publishes=True,
    )
    machine = Interchange(settings, time.monotonic())
    return _run(shell, Runtime(machine, shell, serving=serving, sources=[shell.inbox]))


def _run_strategy(around: Surroundings, *, is_restart: bool) -> int:
    config = around.config
    blocks, strategy = config.blocks, config.strategy
    status = around.read_status()
    workers_per_node = status.workers_per_node if status else 1
    settings = StrategySettings(
        kind=strategy.kind,
        bounds=Bounds(
            blocks.min_blocks,
            blocks.max_blocks,
            workers_per_node * blocks.nodes_per_block,
            strategy.parallelism,
            strategy.max_idletime,
        ),
        init_blocks=0 if is_restart else blocks.init_blocks,
        period=strategy.period,
        instance=around.instance,
        token=around.token,
        python=python_version(),
    )
    shell = ActorShell(Inbox())
    machine = Strategy(settings, around.chance(), time.monotonic())
    dialing = {
        "interchange": around.dialing(to_member["strategy"], listens=True),
        "provider": Dialing(
            around.local_address,
            "provider",
            None,
            provider_to_strategy,
            config.transport.max_frame_bytes,
        ),
    }
    return _run(shell, Runtime(machine, shell, dialing=dialing, sources=[shell.inbox]))


class _Records:
    """The provider's records, in a journal that stays short."""

    def __init__(self, journal: Journal[ProviderRecord], machine: Provider) -> None:
        self._journal = journal
        self._machine = machine

    def write(self, records: Sequence[Any], *, must_sync: bool) -> None:
        self._journal.append(records)
        if must_sync:
            self._journal.sync(time.monotonic())
        if self._journal.log_bytes > _COMPACT_BYTES:
            self._journal.compact(self._machine.snapshot())


def _run_provider(around: Surroundings) -> int:
    config = around.config
    settings = ProviderSettings(
        poll_period=_POLL_PERIOD,
        heartbeat_period=config.heartbeat.period,
        instance=around.instance,
        token=around.token,
        python=python_version(),
    )
    machine = Provider(settings, around.chance(), time.monotonic())
    decoder = msgspec.msgpack.Decoder(ProviderRecord)
    with Journal(
        around.paths.journals / "provider",
        encode=msgspec.msgpack.Encoder().encode,
        decode=decoder.decode,
        config=JournalConfig(durability=config.journal.durability),
    ) as journal:
        for record in journal.replay():
            machine.replay(record)
        template = expand_launch(config, around.paths, sys.executable)
        provider = make_provider(config)
        shell = ProviderShell(Inbox(), provider, config, template, around.paths.blocks)
        serving = Serving(
            around.local_address,
            "provider",
            None,
            lambda _hello: strategy_to_provider,
            around.tempo,
            around.instance,
            config.transport.max_frame_bytes,
        )
        runtime = Runtime(
            machine,
            shell,
            serving=serving,
            dialing={"interchange": around.dialing(to_member["provider"])},
            sources=[shell.inbox, shell.ends],
            recorder=_Records(journal, machine),
        )
        try:
            return _run(shell, runtime)
        finally:
            shell.close()


def _run_manager(around: Surroundings, block_id: BlockId, node: int) -> int:
    status = around.read_status()
    workers = around.config.workers.workers_per_node or len(os.sched_getaffinity(0))
    manager_id = ManagerId(f"{block_id}.{node}")
    settings = ManagerSettings(
        manager_id=manager_id,
        block_id=block_id,
        slots=workers,
        instance=around.instance,
        token=around.token,
        python=python_version(),
        host=around.host,
        pid=os.getpid(),
        heartbeat_period=around.config.heartbeat.period,
        wall_offset=around.wall_offset,
    )
    with Pool(around.paths.blocks / block_id / "workers") as pool:
        shell = ManagerShell(Inbox(), pool)
        machine = Manager(settings, random.Random(manager_id), time.monotonic())
        runtime = Runtime(
            machine,
            shell,
            dialing={"interchange": around.dialing(to_member["manager"])},
            sources=[shell.inbox, pool],
        )
        if status is not None and status.is_here:
            runtime.add_source(RootWatch(status.root, lambda: _end_at_once(pool)))
        return _run(shell, runtime)


def _end_at_once(pool: Pool) -> None:
    """End with all workers: the endpoint is gone, nobody wants their work."""
    logger.error("the endpoint's root process is gone")
    pool.close()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
