"""An endpoint's configuration: `endpoint.toml`, and where its state lives.

Read `shape` first: every section and key, with defaults and bounds. `loading` turns a
file into an `EndpointConfig` or tells everything that is wrong with it, with the words
of `expectations` for one key and the rules of `contradictions` for several. `listen`
and `launch_command` read the two values that have a grammar of their own,
`provider_names` knows which providers there are.
`commented_file` writes what `loading` reads. `endpoint_paths` names the files of an
endpoint's folder.
"""

from actors.config.commented_file import render_config
from actors.config.container_command import container_words
from actors.config.endpoint_paths import CONFIG_NAME, SOCKET_NAME_BYTES, EndpointPaths
from actors.config.launch_command import bind_launch, expand_launch
from actors.config.listen import (
    Listen,
    certificate_hosts,
    dialled_url,
    parse_listen,
    parse_web_listen,
)
from actors.config.loading import (
    Examination,
    Problem,
    examine_config,
    examine_table,
    load_config,
    parse_config,
)
from actors.config.provider_names import is_experimental, provider_target
from actors.config.shape import (
    BlocksConfig,
    EndpointConfig,
    HeartbeatConfig,
    JournalConfig,
    LimitsConfig,
    LogConfig,
    MetricsConfig,
    PlacementConfig,
    ResultsConfig,
    StrategyConfig,
    TransportConfig,
    json_schema,
)
from actors.config.workers import WorkersConfig, WorkerTypeConfig

__all__ = [
    "CONFIG_NAME",
    "SOCKET_NAME_BYTES",
    "BlocksConfig",
    "EndpointConfig",
    "EndpointPaths",
    "Examination",
    "HeartbeatConfig",
    "JournalConfig",
    "LimitsConfig",
    "Listen",
    "LogConfig",
    "MetricsConfig",
    "PlacementConfig",
    "Problem",
    "ResultsConfig",
    "StrategyConfig",
    "TransportConfig",
    "WorkerTypeConfig",
    "WorkersConfig",
    "bind_launch",
    "certificate_hosts",
    "container_words",
    "dialled_url",
    "examine_config",
    "examine_table",
    "expand_launch",
    "is_experimental",
    "json_schema",
    "load_config",
    "parse_config",
    "parse_listen",
    "parse_web_listen",
    "provider_target",
    "render_config",
]
