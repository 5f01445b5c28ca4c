"""A provider is ours, an installed package's, or named by its class."""

from pathlib import Path

import pytest

from actors.config import parse_config
from actors.config.provider_names import known_providers, provider_target
from actors.errors import ConfigError

OURS = [
    "local",
    "slurm",
    "gridengine",
    "ssh",
    "dask",
    "ray",
    "aws_batch",
    "kubernetes",
    "pbs",
    "htcondor",
    "azure_batch",
]


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that offers a provider, and one with a name of ours."""
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "[actors.providers]\nour-cluster = theirs.cluster:Outer.Inner\n"
        "local = theirs.cluster:Local\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", OURS)
def test_ours_are_classes_of_this_package(name: str) -> None:
    target = provider_target(name)
    assert target is not None
    assert target.startswith(f"providers.{name}:")
    assert parse_config(f'blocks.provider = "{name}"').blocks.provider == name


def test_a_class_is_its_own_name() -> None:
    assert provider_target("my.module:Class") == "my.module:Class"


def test_an_installed_package_offers_its_own(offered: None) -> None:
    assert provider_target("our-cluster") == "theirs.cluster:Outer.Inner"
    assert parse_config('blocks.provider = "our-cluster"').blocks.provider
    assert known_providers() == [*OURS, "our-cluster"]


def test_an_installed_package_cannot_replace_ours(offered: None) -> None:
    assert provider_target("local") == "providers.local:LocalProvider"


def test_what_nobody_offers_is_refused(offered: None) -> None:
    assert provider_target("nobodys") is None
    with pytest.raises(ConfigError, match='known are .*"our-cluster"'):
        parse_config('blocks.provider = "nobodys"')
