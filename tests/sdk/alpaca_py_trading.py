"""
alpaca-py's own trading stream, unmodified, printing what its handler receives.

Each update is printed from the SDK's model: what the SDK can't read, it doesn't print. With
`--raw` the SDK hands its messages over as they came.
"""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Any

from alpaca.trading.stream import TradingStream

from reporting import Report, StopRequest


class ReportingStream(TradingStream):
    """Tells when the server has been asked to listen; the SDK ignores the answer."""

    report: Report

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        if msg.get("stream") == "listening":
            self.report.event("listening", streams=msg["data"]["streams"])
        await super()._dispatch(msg)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--url", "--key", "--secret"):
        parser.add_argument(name, required=True)
    parser.add_argument("--raw", action="store_true")
    options = parser.parse_args()
    report = Report(t_resolution_ns=1000)
    stream = ReportingStream(
        options.key, options.secret, raw_data=options.raw, url_override=options.url
    )
    stream.report = report

    async def update(made: Any) -> None:
        fields = made["data"] if options.raw else made.model_dump(mode="json")
        report.event("update", update=fields)

    stream.subscribe_trade_updates(update)
    runner = threading.Thread(target=stream.run, daemon=True)
    runner.start()
    StopRequest().wait()
    stream.stop()
    runner.join(10)
    report.closed()
    return 0


if __name__ == "__main__":
    sys.exit(main())
