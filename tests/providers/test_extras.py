"""A provider whose client library is missing says what to install."""

import subprocess
import sys
from typing import Any

import pytest

from actors.config import parse_config
from actors.endpoint.provider_process import make_provider
from actors.errors import ConfigError

_PROGRAM = """
import sys
sys.modules["{module}"] = None  # as if it were not installed
from providers.extras import ExtraMissing
import providers.{name}
try:
    providers.{name}.{provider}(**{options})
except ExtraMissing as error:
    print(error)
"""

PROVIDERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "aws_batch": (
        "boto3",
        "AwsBatchProvider",
        {"job_queue": "queue", "job_definition": "definition"},
    ),
    "kubernetes": ("kubernetes", "KubernetesProvider", {"image": "ours:1"}),
    "azure_batch": (
        "azure.batch",
        "AzureBatchProvider",
        {"account_url": "https://lab.batch.azure.com", "job": "actors"},
    ),
    "ray": ("ray", "RayProvider", {}),
    "dask": ("distributed", "DaskProvider", {"address": "tcp://host:8786"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROVIDERS)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(name: str) -> None:
    module, provider, options = PROVIDERS[name]
    program = _PROGRAM.format(
        module=module, name=name, provider=provider, options=options
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.endswith(f"get it by: pip install 'actors[{name}]'\n")
    assert done.stdout.startswith(f"{module} is not installed")


def test_an_endpoint_says_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    text = 'blocks.provider = "dask"\nprovider_options.address = "tcp://h:1"'
    with pytest.raises(ConfigError, match="pip install 'actors\\[dask\\]'"):
        make_provider(parse_config(text))
