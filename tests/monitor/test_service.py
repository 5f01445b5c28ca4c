"""Promise: an endpoint tells programs how it is, and never waits for them."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families

from actors.api.addressing import find_entrance
from actors.api.observer import Changed, ConnectionState, Told
from actors.certificates import make_certificates
from actors.messages import Answer, Command
from actors.monitor.service import Monitor
from tests.cli.commands import actors
from tests.endpoints import RunningEndpoint, no_leftovers
from tests.support import eventually, free_port

__all__ = ["no_leftovers"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leftovers")]
# Prometheus' own judge of names and formats; CONTRIBUTING tells where to get it.
PROMTOOL = os.environ.get("ACTORS_TEST_PROMTOOL") or shutil.which("promtool")


class Monitored:
    """A running endpoint that serves metrics."""

    def __init__(self) -> None:
        self.port = free_port()
        self.endpoint = RunningEndpoint(
            metrics={"listen": f"http://127.0.0.1:{self.port}"}
        )

    def get(self, path: str, accept: str = "*/*") -> tuple[int, str]:
        """Return status and body; 0 if nobody listens."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def value(self, name: str) -> float:
        """Return the value of a series as it is written; -1 if it is not."""
        found = re.search(
            rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1], re.MULTILINE
        )
        return float(found[1]) if found else -1.0

    @property
    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200


@pytest.fixture(scope="module")
def monitored() -> Iterator[Monitored]:
    made = Monitored()
    with made.endpoint:
        eventually(lambda: made.is_ready, 30, "readiness")
        yield made


def test_metrics_are_those_of_the_endpoint(monitored: Monitored) -> None:
    with monitored.endpoint.executor() as executor:
        assert sum(executor.map(abs, range(10))) == 45
        key = 'actors_tasks_ended_total{state="success"}'
        eventually(lambda: monitored.value(key) == 10, 20, "ten tasks")
    assert monitored.value('actors_workers{state="idle"}') == 2
    assert monitored.value("actors_journal_size_bytes") > 0
    assert monitored.value('actors_service_cpu_seconds_total{service="monitor"}') > 0
    names = {
        f.name for f in text_string_to_metric_families(monitored.get("/metrics")[1])
    }
    assert {"actors_tasks", "actors_sampled_task_wait_seconds"} <= names


def test_open_metrics_are_given_to_who_asks_for_them(monitored: Monitored) -> None:
    text = monitored.get("/metrics", "application/openmetrics-text")[1]
    assert text.endswith("# EOF\n")
    families = open_metrics(text)  # type: ignore[no-untyped-call]
    assert "actors_up" in {family.name for family in families}


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: see CONTRIBUTING")
def test_promtool_has_nothing_to_say(monitored: Monitored) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=monitored.get("/metrics")[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_other_paths_and_methods_are_refused_with_what_there_is(
    monitored: Monitored,
) -> None:
    assert monitored.get("/")[1].split() == ["/metrics", "/healthz", "/readyz"]
    status, text = monitored.get("/../etc/passwd")
    assert (status, "/metrics" in text) == (404, True)
    url = f"http://127.0.0.1:{monitored.port}/metrics"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, b"x", timeout=10)
    assert refused.value.code == 405
    refused.value.close()


def test_who_connects_and_says_nothing_keeps_nobody_waiting(
    monitored: Monitored,
) -> None:
    with socket.create_connection(("127.0.0.1", monitored.port)) as silent:
        silent.sendall(b"GET /met")
        assert monitored.get("/healthz") == (200, '{"ok": true}\n')


def test_the_command_prints_the_same(monitored: Monitored) -> None:
    result = actors("metrics", monitored.endpoint.folder)
    assert result.exit_code == 0
    names = {f.name for f in text_string_to_metric_families(result.stdout)}
    assert "actors_tasks" in names
    assert result.stdout.count("actors_up 1.0") == 1


def test_a_service_that_is_gone_is_said_so_and_a_killed_monitor_comes_back(
    monitored: Monitored,
) -> None:
    endpoint = monitored.endpoint
    interchange = endpoint.pid("interchange")
    os.kill(interchange, signal.SIGSTOP)
    (monitor,) = [
        p.pid for p in endpoint.processes() if "actors.monitor" in p.cmdline()
    ]
    os.kill(monitor, signal.SIGKILL)
    eventually(lambda: monitored.get("/healthz")[0] == 200, 20, "another monitor")
    status, text = monitored.get("/readyz")
    assert status == 503
    assert json.loads(text)["reasons"][0].startswith("the interchange is not connected")
    assert monitored.value("actors_up") == 0
    os.kill(interchange, signal.SIGCONT)
    eventually(lambda: monitored.is_ready, 20, "readiness")
    key = 'actors_restarts_total{service="monitor"}'
    eventually(lambda: monitored.value(key) == 1, 20, "the restart to be told")


def test_an_endpoint_whose_port_is_taken_does_without(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with RunningEndpoint(metrics={"listen": url}) as endpoint:
            why = f"Cannot listen on {url}: Address already in use"
            eventually(lambda: why in endpoint.log("monitor"), 20, "the reason")
            eventually(lambda: why in endpoint.log("run"), 20, "the reason")
            with endpoint.executor() as executor:
                assert executor.submit(abs, -1).result(30) == 1

            def notices() -> str:
                return actors("events", endpoint.folder, "--kind", "notice").stdout

            given_up = "monitor is given up, everything else goes on"
            eventually(lambda: given_up in notices(), 30, "the notice")
        result = actors("metrics", endpoint_folder(tmp_path), "--listen", url)
        assert result.exit_code == 1
        assert why in result.stderr


def endpoint_folder(tmp_path: Path) -> Path:
    """Of an endpoint that was never started."""
    assert actors("init", tmp_path / "lab").exit_code == 0
    return tmp_path / "lab"


def test_an_answer_that_makes_no_sense_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = Monitor(find_entrance(endpoint_folder(tmp_path), "operator"))
    monitor.take(Changed(ConnectionState.CONNECTED, ""))
    monitor.take(Told(Command("1", "status"), Answer("1", True, "", b"{}")))
    assert monitor.obstacles() == ["the interchange has not answered yet"]
    assert "of another version makes no sense" in caplog.text


def test_an_endpoint_that_does_not_run_has_no_metrics(tmp_path: Path) -> None:
    result = actors("metrics", endpoint_folder(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "it was never started" in result.stderr


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("127.0.0.1:80", 'must be "http://127.0.0.1:PORT" or "https://HOST:PORT"'),
        ("http://0.0.0.0:9464", "must stay on a loopback host"),
        ("https://127.0.0.1:9464", "Cannot read the certificates"),
    ],
)
def test_a_port_for_everybody_needs_certificates(
    tmp_path: Path, url: str, why: str
) -> None:
    result = actors("metrics", endpoint_folder(tmp_path), "--listen", url)
    assert result.exit_code == 1
    assert why in result.stderr


def test_over_https_only_those_with_a_certificate_come_in(tmp_path: Path) -> None:
    folder = endpoint_folder(tmp_path)
    make_certificates(folder / "credentials", ["localhost"])
    url = f"https://localhost:{free_port()}"
    words = [sys.executable, "-m", "actors", "metrics", str(folder), "--listen", url]
    with (
        subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stderr is not None
        assert process.stderr.readline() == (
            f"Metrics are at {url}/metrics; Ctrl-C stops it\n"
        )
        context = ssl.create_default_context(cafile=str(folder / "credentials/ca.pem"))
        with pytest.raises(OSError, match="(?i)certificate|reset|eof|ssl"):
            urllib.request.urlopen(f"{url}/healthz", timeout=10, context=context)
        context.load_cert_chain(folder / "credentials/client.pem")
        with urllib.request.urlopen(
            f"{url}/healthz", timeout=10, context=context
        ) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
