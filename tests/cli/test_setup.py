"""Promise: `init`, `check` and `schema` do what their help says, and nothing else.

Files that are there are never overwritten; standard output is for results, standard
error for what is wrong; the exit code tells one from the other.
"""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from actors.cli import main
from actors.config import EndpointConfig, EndpointPaths, json_schema, load_config


def actors(*arguments: object) -> Result:
    """Call the command as from a shell."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# init


def test_init_writes_a_right_configuration_and_a_token(tmp_path: Path) -> None:
    folder = tmp_path / "my lab"
    result = actors("init", folder)
    assert (result.exit_code, result.stderr) == (0, "")
    assert load_config(folder) == EndpointConfig(name="my-lab")
    assert EndpointPaths(folder).read_token()
    assert sorted(path.name for path in folder.iterdir()) == ["endpoint.toml", "token"]
    for path in folder.iterdir():
        assert f"wrote {path}" in result.stdout
    assert f"actors run '{folder}/endpoint.toml'" in result.stdout


@pytest.mark.parametrize(
    ("folder", "name"),
    [("a.b", "a-b"), ("-", "endpoint"), ("üß", "endpoint"), ("n" * 100, "n" * 64)],
)
def test_init_makes_a_name_of_any_folders_name(
    tmp_path: Path, folder: str, name: str
) -> None:
    assert actors("init", tmp_path / folder).exit_code == 0
    assert load_config(tmp_path / folder).name == name


def test_init_for_other_hosts_makes_certificates_for_the_names_dialled(
    tmp_path: Path,
) -> None:
    result = actors(
        *("init", tmp_path / "lab", "--name", "far"),
        *("--listen", "wss://0.0.0.0:5555", "--advertise", "node1.example.org"),
    )
    assert result.exit_code == 0, result.stderr
    config = load_config(tmp_path / "lab")
    assert config.name == "far"
    assert config.transport.listen == "wss://0.0.0.0:5555"
    assert config.transport.advertise == "node1.example.org"
    paths = EndpointPaths(tmp_path / "lab")
    for path in (paths.ca_pem, paths.server_pem, paths.client_pem):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert str(path) in result.stdout
    server = x509.load_pem_x509_certificate(paths.server_pem.read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert "node1.example.org" in names.value.get_values_for_type(x509.DNSName)


def test_init_leaves_an_endpoint_that_is_there_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "endpoint.toml").write_text("mine")
    result = actors("init", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "endpoint.toml exists already: edit it" in result.stderr
    assert (tmp_path / "endpoint.toml").read_text() == "mine"
    assert not (tmp_path / "token").exists()


def test_init_leaves_certificates_that_are_there_as_they_are(tmp_path: Path) -> None:
    wss = ("--listen", "wss://node1:5555")
    assert actors("init", tmp_path, *wss).exit_code == 0
    paths = EndpointPaths(tmp_path)
    before = paths.ca_pem.read_bytes()
    paths.config.unlink()
    result = actors("init", tmp_path, *wss)
    assert result.exit_code == 1
    assert "holds certificates already: move it away" in result.stderr
    assert paths.ca_pem.read_bytes() == before


def test_init_keeps_a_token_that_is_there(tmp_path: Path) -> None:
    token = EndpointPaths(tmp_path).make_token()
    result = actors("init", tmp_path)
    assert result.exit_code == 0
    assert EndpointPaths(tmp_path).read_token() == token
    assert str(tmp_path / "token") not in result.stdout


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--listen", "tcp://a:1"], '--listen "tcp://a:1" must be "ipc", "wss://'),
        (["--listen", "ws://node1:1"], "must stay on a loopback host"),
        (["--listen", "wss://0.0.0.0:1"], '--advertise "" must name the host'),
        (["--name", "a b"], '--name "a b" must consist of letters'),
        (["--name", ""], '--name "" must consist of letters'),
    ],
)
def test_init_refuses_a_wrong_option_before_it_writes_anything(
    tmp_path: Path, options: list[str], problem: str
) -> None:
    result = actors("init", tmp_path / "lab", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert not (tmp_path / "lab").exists()


def test_init_wants_a_folder_and_no_file(tmp_path: Path) -> None:
    result = actors("init", tmp_path / "endpoint.toml")
    assert result.exit_code == 2
    assert f"try `actors init {tmp_path}`" in result.stderr.replace("\n", " ")


def test_init_says_where_it_may_not_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = actors("init", tmp_path / "file" / "lab")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Cannot write" in result.stderr
    assert "Not a directory" in result.stderr


# check


def test_check_sums_up_a_right_configuration(tmp_path: Path) -> None:
    actors("init", tmp_path / "lab")
    for given in (tmp_path / "lab", tmp_path / "lab" / "endpoint.toml"):
        result = actors("check", given)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "endpoint.toml is right: endpoint lab\n" in result.stdout
        assert "one per core" in result.stdout


def test_check_starts_and_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "endpoint.toml").write_text("")
    actors("check", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["endpoint.toml"]


def test_check_tells_all_problems_on_standard_error(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.toml"
    file.write_text("[blocks]\nmax_blocks = -1\nmin_block = 2\n")
    result = actors("check", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"[blocks] max_blocks -1 must be a whole number from 0 to 1000000 ({file})",
        (f"[blocks] min_block 2 is not a known key; did you mean min_blocks? ({file})"),
        "2 problems",
    ]


def test_check_answers_programs_in_json(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.toml"
    file.write_text("provider_options.since = 2020-01-01")
    result = actors("check", file, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert (answer["ok"], answer["file"]) == (True, str(file))
    assert answer["config"]["heartbeat"]["period"] == 30.0
    assert answer["config"]["provider_options"] == {"since": "2020-01-01"}

    file.write_text("name = 1")
    result = actors("check", file, "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    assert json.loads(result.stdout) == {
        "ok": False,
        "file": str(file),
        "config": None,
        "problems": [
            {
                "key": "name",
                "value": "1",
                "text": "must be a string, not a whole number; write it in quotes",
            }
        ],
        "notes": [],
    }


def test_check_of_nothing_says_how_to_begin(tmp_path: Path) -> None:
    result = actors("check", tmp_path / "lab")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"`actors init {tmp_path / 'lab'}` writes one" in result.stderr


# schema and the group


def test_schema_prints_the_json_schema() -> None:
    result = actors("schema")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == json_schema()


@pytest.mark.parametrize("command", ["", "init", "check", "schema"])
def test_every_help_text_has_an_example(command: str) -> None:
    result = actors(*filter(None, [command]), "--help")
    assert result.exit_code == 0
    assert f"    actors {command}" in result.stdout


def test_a_command_that_does_not_exist_is_a_usage_error() -> None:
    result = actors("chekc")
    assert result.exit_code == 2
    assert "No such command" in result.stderr


def test_the_version_is_that_of_the_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands before the distribution that is installed, or not, where tests run.
    (tmp_path / "actors-9.8.7.dist-info").mkdir()
    (tmp_path / "actors-9.8.7.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: actors\nVersion: 9.8.7\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert actors("--version").stdout == "actors 9.8.7\n"


def test_a_command_imports_nothing_that_others_need() -> None:
    code = (
        "import sys; from actors.cli import main; main(['schema'], "
        "standalone_mode=False); sys.exit(bool({'cryptography', 'pynng'} & "
        "set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.DEVNULL,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    "command", [["init"], ["check"], ["doctor"], ["run"], ["journal", "inspect"]]
)
def test_an_empty_path_is_not_the_current_folder(command: list[str]) -> None:
    """As an unset variable makes it."""
    result = actors(*command, "")
    assert result.exit_code == 2
    assert "It is empty; the current folder is '.'" in result.output
