"""The strategy as a process."""

import time

from actors.endpoint.pulse import Pulse
from actors.endpoint.shell import ActorShell, run_actor
from actors.endpoint.strategy import Strategy, StrategySettings
from actors.endpoint.surroundings import Surroundings, python_version
from actors.inbox import Inbox
from actors.logic.scaling import Bounds
from actors.messages import provider_to_strategy, to_member
from actors.runtime import Dialing, Runtime

__all__ = ["run"]


def run(around: Surroundings, pulse: Pulse, *, is_restart: bool) -> int:
    """Run an endpoint's strategy until it ends; return its exit code."""
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
            strategy.min_start_interval,
        ),
        init_blocks=0 if is_restart else blocks.init_blocks,
        period=strategy.period,
        instance=around.instance,
        token=around.token,
        python=python_version(),
        max_launches_per_minute=strategy.max_launches_per_minute,
        connect_timeout=blocks.connect_timeout,
        drain_timeout=strategy.drain_timeout,
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
    runtime = Runtime(machine, shell, dialing=dialing, sources=[shell.inbox])
    return run_actor(shell, runtime, pulse)
