"""
alpaca-py's own TradingClient, unmodified, as a program that is told what to call.

Each line of stdin is `{"call": method, "arguments": [...], "request": class, "fields": {...}}`;
the request object, if there is one, is the last argument. Each line of stdout is
`{"result": ...}` or `{"error": ..., "status": ...}`.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from alpaca.common.exceptions import APIError
from alpaca.trading import requests
from alpaca.trading.client import TradingClient
from pydantic import BaseModel


def plain(value: Any) -> Any:
    """What the SDK made of the answer, as plain data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--url", "--key", "--secret"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    client = TradingClient(options.key, options.secret, url_override=options.url)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            arguments = list(order.get("arguments", ()))
            if "request" in order:
                fields = order["fields"]
                if "legs" in fields:
                    # The SDK wants its own objects here, and takes no plain ones.
                    fields["legs"] = [requests.OptionLegRequest(**leg) for leg in fields["legs"]]
                arguments.append(getattr(requests, order["request"])(**fields))
            answer = {"result": plain(getattr(client, order["call"])(*arguments))}
        except APIError as error:
            answer = {"error": json.loads(str(error)), "status": error.status_code}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
