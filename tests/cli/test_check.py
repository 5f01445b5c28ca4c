"""`actors check` tells what is wrong with a configuration, and what should be known."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import actors

EXPERIMENTAL = "provider {} is experimental: not tested against a real system"


def write(folder: Path, text: str) -> Path:
    (folder / "endpoint.toml").write_text(text)
    return folder


@pytest.mark.parametrize("provider", ["pbs", "htcondor", "azure_batch"])
def test_a_provider_that_met_no_real_system_is_called_experimental(
    provider: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, f'blocks.provider = "{provider}"')
    result = actors("check", folder)
    assert result.exit_code == 0
    assert f"  note       {EXPERIMENTAL.format(provider)}\n" in result.stdout
    answer = json.loads(actors("check", folder, "--json").stdout)
    assert answer["notes"] == [EXPERIMENTAL.format(provider)]
    assert answer["ok"]


@pytest.mark.parametrize(
    "provider",
    ["local", "slurm", "gridengine", "ssh", "dask", "ray", "aws_batch", "kubernetes"],
)
def test_there_is_nothing_to_note_about_the_others(
    provider: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, f'blocks.provider = "{provider}"')
    assert "\n  note " not in actors("check", folder).stdout
    assert json.loads(actors("check", folder, "--json").stdout)["notes"] == []


def test_a_wrong_configuration_has_problems_and_no_notes(tmp_path: Path) -> None:
    folder = write(tmp_path, 'blocks.provider = "nobodys"')
    result = actors("check", folder, "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["notes"] == []
    assert [problem["value"] for problem in answer["problems"]] == ['"nobodys"']


def test_what_a_worker_type_names_and_is_not_here_is_noted(tmp_path: Path) -> None:
    text = f"""
        [worker_types.gone]
        venv = "{tmp_path}/gone"
        [worker_types.box]
        image = "i"
        container_command = "no-such-engine run {{image}}"
        [worker_types.fine]
        path = ["{tmp_path}", "{tmp_path}/nowhere"]
    """
    answer = json.loads(actors("check", write(tmp_path, text), "--json").stdout)
    assert answer["ok"]
    assert answer["notes"] == [
        f"worker type gone, on this host: there is no folder {tmp_path}/gone (venv)",
        (
            "worker type box, on this host: container_command: no-such-engine is not "
            "in PATH"
        ),
        f"worker type fine, on this host: there is no {tmp_path}/nowhere (path)",
    ]
