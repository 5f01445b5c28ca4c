"""The dashboard in a browser: textual-serve, behind a token.

    browser ──GET /?token=...──► cookie ──GET /──► page ──websocket──► python -m tui

Each open page has a dashboard, and so a process, of its own. Who shows the token may do
whatever the endpoint's token allows; so:

- the token is another one with each start, and moves from the address into a cookie
  that scripts cannot read and other sites' pages do not send;
- a request must name a host that we serve, or another site's name that was made to
  point here (DNS rebinding) would do;
- a websocket must come from our own page;
- the page loads nothing from elsewhere.
"""

import asyncio
import contextlib
import copy
import hmac
import logging
import os
import secrets
import shlex
import signal
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import psutil
from aiohttp import web
from textual_serve.server import Server

from actors.config import Listen
from actors.errors import AddressError

__all__ = ["WebServer"]

_COOKIE = "actors-web-token"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Dashboards at a time. Chosen: each is a process of some 60 MB, and the endpoint pays
# for each that looks at it.
MOST_PAGES = 16
# Seconds that open pages have to close when the server ends. Chosen.
_CLOSING = 2.0
# Seconds between two looks whether they have.
_LOOK_PERIOD = 0.05
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; frame-ancestors 'none'; form-action 'none'; "
        "base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Not a redirect: a browser that comes from another site's link would follow that
# without the cookie.
_ENTER = (
    '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>actors</title>'
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _asked_to_stop() -> None:
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()


async def _see_children_off() -> None:
    """Wait until dashboards that were asked to end have; those that dawdle are killed.

    asyncio notes the end of a process only while its loop runs, and complains later.
    """
    deadline = time.monotonic() + _CLOSING
    while children := psutil.Process().children():
        if time.monotonic() > deadline:
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        await asyncio.sleep(_LOOK_PERIOD)
    await asyncio.sleep(_LOOK_PERIOD)


class WebServer(Server):
    """Serves dashboards of one endpoint.

    Args:
        words: of the dashboard's command line, after `python -m tui`.
        listen: where.
        security: for https.
        has_token: whether only those with the token come in.
        public_url: as browsers know us behind a proxy; "": by where we listen.
        most_pages: dashboards that may be open at a time.
    """

    def __init__(
        self,
        words: Sequence[str],
        listen: Listen,
        *,
        security: ssl.SSLContext | None = None,
        has_token: bool = True,
        public_url: str = "",
        most_pages: int = MOST_PAGES,
    ) -> None:
        # Without `exec` a shell would stand between us, and outlive its dashboard.
        # And with -P none of the user's files is taken for ours.
        command = [sys.executable, "-P", "-m", "tui"]
        command += ["--parent", str(os.getpid()), *words]
        super().__init__(
            f"exec {shlex.join(command)}",
            host=listen.host.strip("[]"),
            port=listen.port,
            title="actors",
            public_url=public_url or listen.url,
        )
        self._listen = listen
        self._security = security
        self._is_behind_proxy = bool(public_url)
        self._token = secrets.token_urlsafe(32) if has_token else ""
        self._pages = 0
        self._most_pages = most_pages

    @property
    def url(self) -> str:
        """What a person opens."""
        token = f"/?token={self._token}" if self._token else ""
        return f"{self.public_url.rstrip('/')}{token}"

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM; in the main thread.

        Args:
            ready: called once the port is open.

        Raises:
            AddressError: the port is taken, or the host is not ours.
        """
        logging.getLogger("aiohttp").setLevel(logging.ERROR)
        try:
            asyncio.run(self._serve(ready))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise AddressError(
                f"Cannot listen on {self._listen.url}: {reason}; choose another port, "
                "or end who has it"
            ) from error

    async def _serve(self, ready: Callable[[], None]) -> None:
        runner = web.AppRunner(
            await self._make_app(), access_log=None, shutdown_timeout=_CLOSING
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.host, self.port, ssl_context=self._security)
            await site.start()
            ready()
            await _asked_to_stop()
        finally:
            await runner.cleanup()
            await _see_children_off()

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._guard)
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: the command does."""

    # Who may come in

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        reason = self._objection(request)
        if reason:
            return self._refuse(reason)
        if self._token and request.path == "/" and "token" in request.query:
            return self._enter(request)
        if self._token and not self._is_token(request.cookies.get(_COOKIE, "")):
            return self._refuse("open the address that `actors web` printed")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _objection(self, request: web.Request) -> str:
        public = urlsplit(self.public_url)
        names = {*_LOOPBACK, self._listen.host.strip("[]"), public.hostname}
        try:
            if urlsplit(f"//{request.host}").hostname not in names:
                return "this name is not ours: open what `actors web` printed"
            origin = request.headers.get("Origin")
            hosts = (request.host, public.netloc)
            if origin and urlsplit(origin).netloc not in hosts:
                return "pages of other sites may not come here"
        except ValueError as error:
            return str(error)
        return ""

    def _enter(self, request: web.Request) -> web.Response:
        if not self._is_token(request.query["token"]):
            return self._refuse("this token is old: `actors web` makes one each time")
        response = web.Response(text=_ENTER, content_type="text/html", headers=_HEADERS)
        response.set_cookie(
            _COOKIE,
            self._token,
            httponly=True,
            samesite="Strict",
            secure=self.public_url.startswith("https:"),
        )
        return response

    def _is_token(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), self._token.encode())

    @staticmethod
    def _refuse(reason: str) -> web.Response:
        return web.Response(text=f"Refused: {reason}\n", status=403, headers=_HEADERS)

    # Pages

    async def handle_index(self, request: web.Request) -> web.StreamResponse:
        """Give the page, with addresses as this browser knows us."""
        server = self
        if not self._is_behind_proxy:
            # It may be another port of another host, as over `ssh -L`.
            server = copy.copy(self)
            server.public_url = f"{request.scheme}://{request.host}"
        response: web.StreamResponse = await Server.handle_index(server, request)
        return response

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a dashboard for as long as its page is open."""
        if self._pages >= self._most_pages:
            raise web.HTTPServiceUnavailable(
                text=f"{self._most_pages} dashboards are open: close one\n"
            )
        self._pages += 1
        try:
            return await super().handle_websocket(request)
        finally:
            self._pages -= 1
