"""
Can a web page read a WebSocket? Asked of a real Chromium, without a window.

No rule of the browser's keeps a page from opening a socket to another origin;
only the server can refuse. So the answer is worth something only together with
its control: the same page does read a server that does not look at Origin.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypedDict

PAGE = Path(__file__).with_name("page.html")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

FLAGS = (
    "--headless",
    "--no-sandbox",  # root in a container has no user namespaces
    "--disable-gpu",
    "--disable-dev-shm-usage",
    # Nothing of the browser's own may leave the machine.
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class BrowserMissing(Exception):
    """There is no Chromium on PATH."""


class BrowserSilent(Exception):
    """The page did not report within the time allowed."""


class PageResult(TypedDict):
    """What the page saw, in its own words."""

    origin: str
    opened: bool
    close_code: int | None
    messages: list[dict[str, Any]]


def read_from_page(
    page_origin_port: int,
    target_ws_url: str,
    *,
    subscribe: Mapping[str, Sequence[str]],
    enough: int,
    key: str = "key",
    secret: str = "secret",
    timeout_seconds: float = 30,
) -> PageResult:
    """
    Let a page from `http://127.0.0.1:<page_origin_port>` log in, subscribe and read.

    Args:
        page_origin_port: Where the page comes from, hence its Origin; 0 for any
            free port.
        target_ws_url: The socket that the page opens.
        subscribe: Channels and symbols that it asks for.
        enough: It reports after this many messages, acks counted, or when the
            socket closes or is refused.
        key: What it logs in with.
        secret: Likewise.
        timeout_seconds: For all of it, with the start of the browser.

    Raises:
        BrowserMissing: For the caller to skip, loudly.
        BrowserSilent: The socket stayed open, but too little arrived.

    """
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        raise BrowserMissing(f"none of {', '.join(BROWSERS)} is on PATH")
    task = {
        "url": target_ws_url,
        "key": key,
        "secret": secret,
        "subscribe": {channel: list(symbols) for channel, symbols in subscribe.items()},
        "enough": enough,
    }
    page = PAGE.read_text().replace("TASK", json.dumps(task).replace("<", "\\u003c"))
    results: SimpleQueue[PageResult] = SimpleQueue()
    with (
        _serving(page.encode(), page_origin_port, results) as page_url,
        _browsing(executable, page_url),
    ):
        try:
            return results.get(timeout=timeout_seconds)
        except Empty:
            raise BrowserSilent(f"no report from the page in {timeout_seconds} s") from None


@contextmanager
def _serving(page: bytes, port: int, results: SimpleQueue[PageResult]) -> Iterator[str]:
    """Serve the page on loopback, and take its report."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self._answer(HTTPStatus.OK, page)
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"")

        def do_POST(self) -> None:
            results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(HTTPStatus.OK, b"")

        def _answer(self, status: HTTPStatus, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing; the result speaks."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@contextmanager
def _browsing(executable: str, url: str) -> Iterator[None]:
    """Have the page open in a browser of its own, with an empty profile."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [executable, *FLAGS, f"--user-data-dir={profile}", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            browser.send_signal(signal.SIGTERM)
            try:
                browser.wait(10)
            except subprocess.TimeoutExpired:
                browser.kill()
                browser.wait()
