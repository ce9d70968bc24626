"""
The Go SDK's trade updates, replayed: a GET of server-sent events on the trading host.

Retold from alpaca-trade-api-go: APCA headers and a query of since, until, since_id and until_id;
any status but 200 is an error with the body; lines that don't begin with `data: ` are passed
over, the others must be whole JSON objects.

Exits with 1 and a sentence on stderr where the real SDK would fail.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
from urllib.parse import urlsplit

from reporting import Report, StopRequest

PREFIX = b"data: "


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--url", "--key", "--secret"):
        parser.add_argument(name, required=True)
    parser.add_argument("--query", default="")
    options = parser.parse_args()
    report = Report(t_resolution_ns=1)
    parts = urlsplit(options.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    headers = {
        "APCA-API-KEY-ID": options.key,
        "APCA-API-SECRET-KEY": options.secret,
        "User-Agent": "APCA-GO/3.9.0",
    }
    connection.request("GET", f"{parts.path}/v2/events/trades{options.query}", headers=headers)
    answer = connection.getresponse()
    if answer.status != 200:
        sys.stderr.write(f"the Go SDK would fail here: {answer.status} {answer.read()!r}\n")
        report.closed()
        return 1
    report.event("listening", streams=["trade_updates"])

    def read() -> None:
        for line in answer:
            if line.startswith(PREFIX):
                report.event("update", update=json.loads(line[len(PREFIX) :]))
        report.event("ended")

    threading.Thread(target=read, daemon=True).start()
    StopRequest().wait()
    report.closed()
    return 0


if __name__ == "__main__":
    sys.exit(main())
