"""
The C# SDK's trading stream, replayed on a raw connection: .NET cannot run here.

Retold from alpaca-trade-api-csharp: no headers beyond .NET's own; every message in a binary
frame; `authenticate` on opening, `listen` as soon as it is authorized, without being asked; every
message must be an object with `stream` and `data`; an order without its required fields is fatal.

Exits with 1 and a sentence on stderr where the real SDK would fail.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from websockets.frames import Frame, Opcode

from raw_connection import RawConnection, ReplayError, Stopped
from reporting import Report, StopRequest

# The SDK would wait for ever; a test must not.
PATIENCE_SECONDS = 10

HANDSHAKE = [
    "Host: {host}",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: {key}",
]

# Fields that the SDK's classes mark as required.
REQUIRED_IN_UPDATES = ("event", "order")
REQUIRED_IN_ORDERS = ("id", "symbol", "asset_class", "filled_qty", "type", "side", "status")
REQUIRED_IN_ORDERS += ("time_in_force",)


class CSharpTradingClient:
    """Reacts to each message by the stream it names."""

    def __init__(self, options: Any, report: Report, stop_request: StopRequest) -> None:
        self._options = options
        self._report = report
        self._listening = False
        self.connection = RawConnection(options.url, HANDSHAKE, stop_request, PATIENCE_SECONDS)

    def listen(self) -> None:
        data = {"key_id": self._options.key, "secret_key": self._options.secret}
        self._send({"action": "authenticate", "data": data})
        while True:
            self._handle(self.connection.receive(None if self._listening else PATIENCE_SECONDS))

    def _handle(self, payload: str | bytes) -> None:
        message = json.loads(payload)
        if not isinstance(message, dict) or not {"stream", "data"} <= message.keys():
            raise ReplayError(f"a message without stream and data: {payload[:80]!r}")
        data = message["data"]
        match message["stream"]:
            case "authorization":
                self._authorized(data["status"])
            case "listening":
                self._listening = True
                self._report.event("listening", streams=data["streams"])
            case "trade_updates":
                self._report.event("update", update=self._checked(data))
            case stream:
                raise ReplayError(f"unexpected stream {stream}")

    def _authorized(self, status: str) -> None:
        if status != "authorized":
            raise ReplayError(f"connecting ends with {status}")
        self._send({"action": "listen", "data": {"streams": ["trade_updates"]}})
        # .NET sends a pong by itself every 30 s.
        self.connection.send_bytes(Frame(Opcode.PONG, b"").serialize(mask=True))

    def _checked(self, data: dict[str, Any]) -> dict[str, Any]:
        if missing := [name for name in REQUIRED_IN_UPDATES if data.get(name) is None]:
            raise ReplayError(f"required property {missing[0]} not found")
        order = data["order"]
        # An order of several legs has neither symbol nor side of its own.
        if order.get("order_class") != "mleg" and (
            missing := [name for name in REQUIRED_IN_ORDERS if order.get(name) is None]
        ):
            raise ReplayError(f"required property order.{missing[0]} not found")
        return data

    def _send(self, message: dict[str, Any]) -> None:
        payload = json.dumps(message, separators=(",", ":")).encode()
        self.connection.send_bytes(Frame(Opcode.BINARY, payload).serialize(mask=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--url", "--key", "--secret"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    report = Report(t_resolution_ns=100)
    stop_request = StopRequest()
    try:
        client = CSharpTradingClient(options, report, stop_request)
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
