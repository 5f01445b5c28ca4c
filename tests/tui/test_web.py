"""Promise: the dashboard in a browser is its owner's alone, and ends with its page."""

import http.cookiejar
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.commands import actors
from tests.support import eventually, free_port

pytestmark = pytest.mark.slow
# Ctrl-C is not ignored, whoever runs the tests.
AS_FROM_A_TERMINAL = """
import signal
from actors.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


OF_ONE_PAGE = """
import sys
from actors.config import parse_web_listen
from tui.web import WebServer
_, _, folder, _, url = sys.argv
server = WebServer([folder], parse_web_listen(url), most_pages=1)
server.run(lambda: print("Open", server.url, flush=True))
"""


class Web:
    """`actors web`, of an endpoint that need not run."""

    def __init__(
        self, folder: Path, *options: str, script: str = AS_FROM_A_TERMINAL
    ) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-c", script, "web", str(folder)]
        self.process = subprocess.Popen(
            [*command, "--listen", self.base, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().removeprefix("Open ").strip()

    def dashboards(self) -> list[psutil.Process]:
        """Find the processes behind its open pages."""
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(f"{self.base}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    @property
    def cookie(self) -> str:
        """What a browser shows after it came with the token."""
        return f"actors-web-token={self.url.partition('=')[2]}"

    def knock(self, **headers: str) -> tuple[int, socket.socket]:
        """Ask for a websocket, as a browser does; return status and connection."""
        lines = {
            "Host": f"127.0.0.1:{self.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            **headers,
        }
        asked = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        link = socket.create_connection(("127.0.0.1", self.port), 60)
        link.sendall(f"GET /ws?width=80&height=24 HTTP/1.1\r\n{asked}\r\n".encode())
        return int(link.recv(4096).split()[1]), link


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an endpoint that was never started."""
    folder = tmp_path_factory.mktemp("web") / "lab"
    assert actors("init", folder).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def shared(lab: Path) -> Iterator[Web]:
    made = Web(lab)
    yield made
    made.end()


@pytest.fixture
def own(lab: Path) -> Iterator[Web]:
    made = Web(lab)
    yield made
    made.end()


def test_the_token_opens_the_page_and_becomes_a_cookie(shared: Web) -> None:
    assert re.fullmatch(rf"{shared.base}/\?token=[\w-]{{40,}}", shared.url)
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with opener.open(shared.url, timeout=60) as answer:
        assert 'content="0; url=/"' in answer.read().decode()
        assert "HttpOnly" in answer.headers["Set-Cookie"]
        assert "SameSite=Strict" in answer.headers["Set-Cookie"]
    with opener.open(f"{shared.base}/", timeout=60) as answer:
        page = answer.read().decode()
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY"
    assert f"ws://127.0.0.1:{shared.port}/ws" in page
    assert "token" not in page


def test_without_the_token_nothing_is_told(shared: Web) -> None:
    for path in ("/", "/ws", "/static/js/textual.js", "/?token=", "/?token=x%C3%A4"):
        status, text = shared.get(path)
        assert (status, text.startswith("Refused: ")) == (403, True), path
    assert shared.get("/", Cookie="actors-web-token=x")[0] == 403
    status, link = shared.knock()
    link.close()
    assert status == 403


def test_a_name_that_points_here_by_accident_is_refused(shared: Web) -> None:
    """A page of evil.example may have its name resolved to 127.0.0.1."""
    for host in (f"evil.example:{shared.port}", "127.0.0.1.evil.example", "[::1"):
        assert shared.get("/", Cookie=shared.cookie, Host=host)[0] == 403
    for host in ("localhost:9999", f"127.0.0.1:{shared.port}", "[::1]:80"):
        assert shared.get("/", Cookie=shared.cookie, Host=host)[0] == 200


def test_a_page_knows_us_by_the_name_that_its_browser_used(shared: Web) -> None:
    """It may have come through `ssh -L 9999:127.0.0.1:PORT`."""
    page = shared.get("/", Cookie=shared.cookie, Host="localhost:9999")[1]
    assert "ws://localhost:9999/ws" in page


def test_another_sites_page_gets_no_websocket(shared: Web) -> None:
    headers = {"Cookie": shared.cookie, "Origin": "http://evil.example"}
    status, link = shared.knock(**headers)
    link.close()
    assert status == 403


def test_a_dashboard_ends_with_its_page(own: Web) -> None:
    origin = f"http://127.0.0.1:{own.port}"
    status, link = own.knock(Cookie=own.cookie, Origin=origin)
    assert status == 101
    eventually(lambda: link.recv(65536), 20, "the first picture")
    (dashboard,) = own.dashboards()
    assert "tui" in dashboard.cmdline()
    link.close()
    eventually(lambda: not dashboard.is_running(), 20, "the dashboard's end")


def test_no_more_pages_than_are_good_for_the_endpoint(lab: Path) -> None:
    web = Web(lab, script=OF_ONE_PAGE)
    try:
        status, link = web.knock(Cookie=web.cookie)
        with link:
            refused, other = web.knock(Cookie=web.cookie)
            other.close()
            assert (status, refused) == (101, 503)
        # Who closes one may open another.
        eventually(lambda: not web.dashboards(), 20, "the dashboard's end")
        status, link = web.knock(Cookie=web.cookie)
        link.close()
        assert status == 101
    finally:
        web.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_it(own: Web, number: signal.Signals) -> None:
    _, link = own.knock(Cookie=own.cookie)
    with link:
        eventually(lambda: link.recv(65536), 20, "the first picture")
        (dashboard,) = own.dashboards()
        own.process.send_signal(number)
        _, err = own.process.communicate(timeout=60)
    code = -number if number == signal.SIGKILL else 130
    assert (own.process.returncode, err) == (code, "")
    eventually(lambda: not dashboard.is_running(), 10, "the dashboard's end")


def test_without_a_token_whoever_reaches_it_comes_in_but_other_sites(lab: Path) -> None:
    web = Web(lab, "--no-token")
    try:
        assert web.url == f"http://127.0.0.1:{web.port}"
        assert web.get("/")[0] == 200
        status, link = web.knock(Origin="http://evil.example")
        link.close()
        assert status == 403
    finally:
        web.end()


def test_behind_a_proxy_pages_know_its_name(lab: Path) -> None:
    web = Web(lab, "--public-url", "https://lab.example/")
    try:
        assert web.url.startswith("https://lab.example/?token=")
        status, page = web.get("/", Cookie=web.cookie, Host="lab.example")
        assert status == 200
        assert "wss://lab.example/ws" in page
        headers = {"Host": "lab.example", "Origin": "https://lab.example"}
        status, link = web.knock(Cookie=web.cookie, **headers)
        link.close()
        assert status == 101
    finally:
        web.end()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--listen", "http://0.0.0.0:80"], "must stay on a loopback host"),
        (["--listen", "here"], 'must be "http://127.0.0.1:PORT"'),
        (["--listen", "https://127.0.0.1:80"], "Cannot read the certificates"),
        (["--listen", "https://h:80", "--no-token"], "would let everybody in"),
    ],
)
def test_what_is_not_safe_is_refused(lab: Path, options: list[str], why: str) -> None:
    result = actors("web", lab, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert why in result.stderr


def test_a_port_that_is_taken_is_said_so(shared: Web, lab: Path) -> None:
    command = [sys.executable, "-m", "actors", "web", str(lab), "--listen", shared.base]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    why = f"Cannot listen on {shared.base}: {os.strerror(98)}; choose another port"
    assert why in done.stderr
