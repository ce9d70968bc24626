"""
The C# SDK's conversation, replayed on a raw connection: .NET cannot run here.

Retold from alpaca-trade-api-csharp: no headers beyond .NET's own, so no
Content-Type; every message in a binary frame, also JSON; subscribe messages of
at most 100 symbols, sent without waiting for one another; an unsolicited pong,
as .NET sends every 30 s. Options speak msgpack all the same.

Exits with 1 and a sentence on stderr where the real SDK would fail.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import msgpack
from websockets.frames import Frame, Opcode

from raw_connection import RawConnection, ReplayError, Stopped
from reporting import Report, StopRequest, arguments
from wire_time import TIME_FIELDS, nanoseconds

# The SDK would wait for ever; a test must not.
PATIENCE_SECONDS = 10

SYMBOLS_PER_MESSAGE = 100

# A DateTime counts in steps of 100 ns.
TICK_NS = 100

HANDSHAKE = [
    "Host: {host}",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: {key}",
]

IMPLICIT_CHANNELS = ("corrections", "cancelErrors")

# Fields that the SDK's classes mark as required, by message type.
_BAR = ("S", "t", "o", "h", "l", "c", "v")
REQUIRED = {
    "t": ("S", "t", "p", "s"),
    "q": ("S", "t", "bx", "bp", "bs", "ax", "ap", "as"),
    "b": _BAR,
    "u": _BAR,
    "d": _BAR,
    "s": ("S", "t"),
    "l": ("S", "t"),
    "c": ("S", "t"),
    "x": ("S", "t"),
    "o": ("S", "t"),
    "n": ("id", "headline", "created_at", "updated_at"),
}
REQUIRED_IN_CRYPTO_QUOTES = ("S", "t", "bp", "bs", "ap", "as")

TERMINAL_AT_LOGIN = {402: "Unauthorized", 404: "Unauthorized", 406: "TooManyConnections"}


class CSharpClient:
    """The SDK reacts to each message by its type; there is no sequence to keep."""

    def __init__(self, options: Any, report: Report, stop_request: StopRequest) -> None:
        self._options = options
        self._report = report
        self._msgpack = options.stream == "option"
        self._unacknowledged = 0
        self._authorized = False
        self.connection = RawConnection(options.url, HANDSHAKE, stop_request, PATIENCE_SECONDS)

    def listen(self) -> None:
        while True:
            waiting = not self._authorized or self._unacknowledged
            payload = self.connection.receive(PATIENCE_SECONDS if waiting else None)
            for message in self._decode(payload):
                self._handle(message)

    def _decode(self, payload: str | bytes) -> list[dict[str, Any]]:
        try:
            if isinstance(payload, bytes) and self._msgpack:
                messages = msgpack.unpackb(payload, timestamp=0)
            else:
                messages = json.loads(payload)
        except ValueError as error:
            raise ReplayError(f"unreadable message: {error}") from error
        if not isinstance(messages, list):
            raise ReplayError("the message is not an array")
        return messages

    def _handle(self, message: dict[str, Any]) -> None:
        match message:
            case {"T": "success", "msg": "connected"}:
                self._authenticate()
            case {"T": "success", "msg": "authenticated"} | {"T": "error", "code": 403}:
                self._authorized = True
                self._subscribe()
            case {"T": "error", "code": 401}:
                self._report.error(401, message["msg"])
                self._authenticate()
            case {"T": "error", "code": code} if code in TERMINAL_AT_LOGIN:
                self._report.error(code, message["msg"])
                raise ReplayError(f"connecting ends with {TERMINAL_AT_LOGIN[code]}")
            case {"T": "error"}:
                self._report.error(message["code"], message["msg"])
            case {"T": "subscription"}:
                self._unacknowledged -= 1
                if self._unacknowledged <= 0:
                    self._report.subscribed()
            case {"T": kind} if kind in REQUIRED:
                self._report.message(self._checked(message))
            case _:
                raise ReplayError(f"unexpected message: {message}")

    def _checked(self, message: dict[str, Any]) -> dict[str, Any]:
        required = REQUIRED[message["T"]]
        if message["T"] == "q" and self._options.stream == "crypto":
            required = REQUIRED_IN_CRYPTO_QUOTES
        if missing := [name for name in required if message.get(name) is None]:
            raise ReplayError(f"required property {missing[0]} not found in {message}")
        for name in TIME_FIELDS:
            if name in message:
                value = message[name]
                exact = nanoseconds(value) if isinstance(value, str) else value.to_unix_nano()
                message[name] = exact // TICK_NS * TICK_NS
        return message

    def _authenticate(self) -> None:
        credentials = {"key": self._options.key, "secret": self._options.secret}
        self._send([{"action": "auth", **credentials}])

    def _subscribe(self) -> None:
        messages = list(self._subscribe_messages())
        self._unacknowledged = len(messages)
        self._send(messages)
        self.connection.send_bytes(Frame(Opcode.PONG, b"").serialize(mask=True))

    def _subscribe_messages(self) -> Iterator[dict[str, Any]]:
        wanted = [
            (channel, symbol)
            for channel, symbols in self._options.subscribe.items()
            if channel not in IMPLICIT_CHANNELS
            for symbol in symbols
        ]
        for start in range(0, len(wanted), SYMBOLS_PER_MESSAGE):
            message: dict[str, Any] = {"action": "subscribe"}
            for channel, symbol in wanted[start : start + SYMBOLS_PER_MESSAGE]:
                message.setdefault(channel, []).append(symbol)
            yield message

    def _send(self, messages: list[dict[str, Any]]) -> None:
        """Send each message in a frame of its own, but all in one breath."""
        encode = msgpack.packb if self._msgpack else _compact_json
        self.connection.send_bytes(
            b"".join(Frame(Opcode.BINARY, encode(m)).serialize(mask=True) for m in messages)
        )


def _compact_json(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def main() -> int:
    options = arguments(__doc__ or "").parse_args()
    report = Report(t_resolution_ns=TICK_NS)
    stop_request = StopRequest()
    try:
        client = CSharpClient(options, report, stop_request)
        try:
            client.listen()
        except Stopped:
            client.connection.close()
    except (ReplayError, OSError) as error:
        report.event("failed", msg=str(error))
        report.closed()
        sys.stderr.write(f"the C# SDK would fail here: {error}\n")
        return 1
    except Stopped:
        pass
    report.closed()
    return 0


if __name__ == "__main__":
    sys.exit(main())
