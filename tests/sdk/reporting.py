"""
What every client in this folder prints, and how it is told to stop.

Standard library only: the legacy SDK's environment has nothing else of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

STREAMS = ("stock", "option", "crypto", "news")

# Alpaca's channel names, with the letter its messages carry in `T`.
MESSAGE_TYPES = {
    "trades": "t",
    "quotes": "q",
    "bars": "b",
    "updatedBars": "u",
    "dailyBars": "d",
    "statuses": "s",
    "lulds": "l",
    "imbalances": "i",
    "corrections": "c",
    "cancelErrors": "x",
    "orderbooks": "o",
    "news": "n",
}


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that all clients share, so that a test can drive them alike."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--stream", choices=STREAMS, default="stock")
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument(
        "--subscribe",
        type=_subscriptions,
        required=True,
        help='a JSON object such as {"trades": ["AAPL"], "quotes": ["*"]}',
    )
    return parser


def _subscriptions(text: str) -> dict[str, list[str]]:
    channels: dict[str, list[str]] = json.loads(text)
    if unknown := channels.keys() - MESSAGE_TYPES.keys():
        raise argparse.ArgumentTypeError(f"no such channel: {', '.join(sorted(unknown))}")
    return channels


class StopRequest:
    """
    SIGTERM or the end of stdin, whichever comes first.

    It has a `fileno()`, so a client may put it into its select or its event
    loop; a client whose SDK runs in another thread may just `wait()`.
    """

    def __init__(self) -> None:
        self._readable, self._writable = socket.socketpair()
        signal.signal(signal.SIGTERM, lambda signum, frame: self.set())
        threading.Thread(target=self._watch_stdin, daemon=True).start()

    def _watch_stdin(self) -> None:
        # os.read, because a daemon thread caught inside sys.stdin's lock makes
        # the interpreter abort on its way out.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        self.set()

    def set(self) -> None:
        self._writable.send(b"\0")

    def fileno(self) -> int:
        return self._readable.fileno()

    def wait(self) -> None:
        self._readable.recv(1)


class Report:
    """
    JSON lines on stdout, written by a thread of their own.

    The writer takes whatever has gathered since it last wrote: single lines
    leave at once, floods in large chunks, and the client is never held up by
    a reader that is behind.
    """

    def __init__(
        self, *, t_resolution_ns: int, default: Callable[[Any], object] | None = None
    ) -> None:
        self._messages = 0
        self._t_resolution_ns = t_resolution_ns
        self._encode = json.JSONEncoder(separators=(",", ":"), default=default).encode
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def subscribed(self) -> None:
        """The server acknowledged a subscription; says how fine the SDK's clock is."""
        self.event("subscribed", t_resolution_ns=self._t_resolution_ns)

    def message(self, fields: dict[str, Any]) -> None:
        self._messages += 1
        self._lines.put(self._encode(fields))

    def error(self, code: int | None, msg: str) -> None:
        """An error frame; `code` is None where the SDK keeps it to itself."""
        self.event("error", code=code, msg=msg)

    def event(self, name: str, **facts: object) -> None:
        self._lines.put(self._encode({"event": name, **facts}))

    def closed(self) -> None:
        """The last line. Returns when everything has been written."""
        self.event("closed", messages=self._messages)
        self._lines.put(None)
        self._writer.join()

    def _write(self) -> None:
        stdout = sys.stdout.fileno()
        finished = False
        while not finished:
            gathered = [self._lines.get()]
            try:
                while gathered[-1] is not None:
                    gathered.append(self._lines.get_nowait())
            except Empty:
                pass
            finished = gathered[-1] is None
            chunk = "".join(f"{line}\n" for line in gathered if line is not None).encode()
            while chunk:
                chunk = chunk[os.write(stdout, chunk) :]
