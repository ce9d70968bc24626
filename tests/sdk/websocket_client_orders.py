"""
Order updates with the `websocket-client` library, by Alpaca's own trading protocol.

Callbacks in a thread, as its manual shows, with its own pings.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from typing import Any

import websocket

from reporting import Report, StopRequest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--url", "--key", "--secret"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    report = Report(t_resolution_ns=1)

    def on_open(app: websocket.WebSocketApp) -> None:
        data = {"key_id": options.key, "secret_key": options.secret}
        app.send(json.dumps({"action": "authenticate", "data": data}))

    def on_message(app: websocket.WebSocketApp, payload: str | bytes) -> None:
        message: dict[str, Any] = json.loads(payload)
        match message["stream"]:
            case "authorization":
                if message["data"]["status"] != "authorized":
                    report.error(None, message["data"]["status"])
                listen = {"action": "listen", "data": {"streams": ["trade_updates"]}}
                app.send(json.dumps(listen))
            case "listening":
                report.event("listening", streams=message["data"]["streams"])
            case "trade_updates":
                report.event("update", update=message["data"])

    def on_error(app: websocket.WebSocketApp, error: Exception) -> None:
        report.error(None, str(error))

    app = websocket.WebSocketApp(
        options.url, on_open=on_open, on_message=on_message, on_error=on_error
    )
    runner = threading.Thread(
        target=lambda: app.run_forever(ping_interval=5, ping_timeout=4),
        daemon=True,
    )
    runner.start()
    StopRequest().wait()
    app.close()
    runner.join(10)
    report.closed()
    return 0


if __name__ == "__main__":
    sys.exit(main())
