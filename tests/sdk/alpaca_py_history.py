"""
alpaca-py's own clients of historical data, unmodified, as a program that is told what to call.

Each line of stdin is `{"client": kind, "call": method, "request": class, "fields": {...}}`, with the
kind stock, crypto, option or news. Each line of stdout is `{"result": ...}`, what the SDK's models
made of the answer, or `{"error": ..., "status": ...}`.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from alpaca.common.exceptions import APIError
from alpaca.data import requests
from alpaca.data.historical import (
    CryptoHistoricalDataClient,
    NewsClient,
    OptionHistoricalDataClient,
    StockHistoricalDataClient,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from pydantic import BaseModel

CLIENTS = {
    "stock": StockHistoricalDataClient,
    "crypto": CryptoHistoricalDataClient,
    "option": OptionHistoricalDataClient,
    "news": NewsClient,
}


def plain(value: Any) -> Any:
    """What the SDK made of the answer, as plain data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--url", "--key", "--secret"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    clients = {
        kind: make(options.key, options.secret, url_override=options.url)
        for kind, make in CLIENTS.items()
    }
    for line in sys.stdin:
        order = json.loads(line)
        fields = order["fields"]
        if "timeframe" in fields:
            amount, unit = fields["timeframe"]
            fields["timeframe"] = TimeFrame(amount, TimeFrameUnit(unit))
        request = getattr(requests, order["request"])(**fields)
        try:
            answer = {"result": plain(getattr(clients[order["client"]], order["call"])(request))}
        except APIError as error:
            answer = {"error": str(error), "status": error.status_code}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
