"""Digest a stream of trades and quotes so that any loss, doubling, change or reordering shows.

Per symbol a CRC-32 runs over the lines of its messages in order of arrival; besides, a sum over
all items' bytes can be compared with the simulator's ledger. Runs as a process of its own, so that
a consumer at full speed doesn't share a core's time with the test that watches it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
from websockets.asyncio.client import connect

from stream_proxy.model.time import parse_rfc3339, timestamp_ns
from stream_proxy.wire.alpaca.codec import CODECS


class Digest:
    """Running checks per symbol."""

    def __init__(self) -> None:
        self.messages = 0
        self.bytes_sum = 0
        self.by_symbol: dict[str, int] = {}

    def trade(self, symbol: str, t_ns: int, price: float, size: float) -> None:
        self._line(symbol, f"t{t_ns},{price:.6f},{size:.0f}")

    def quote(
        self, symbol: str, t_ns: int, bid: float, bid_size: float, ask: float, ask_size: float
    ) -> None:
        self._line(symbol, f"q{t_ns},{bid:.6f},{bid_size:.0f},{ask:.6f},{ask_size:.0f}")

    def message(self, m: dict[str, Any], t_ns: int) -> None:
        if m["T"] == "t":
            self.trade(m["S"], t_ns, m["p"], m["s"])
        else:
            self.quote(m["S"], t_ns, m["bp"], m["bs"], m["ap"], m["as"])

    def _line(self, symbol: str, line: str) -> None:
        self.messages += 1
        self.by_symbol[symbol] = crc32(line.encode(), self.by_symbol.get(symbol, 0))

    def as_dict(self) -> dict[str, Any]:
        return {"messages": self.messages, "by_symbol": self.by_symbol, "bytes_sum": self.bytes_sum}


def of_file(path: Path) -> Digest:
    """The digest of a recorded file, read by pyarrow alone."""
    import pyarrow.parquet

    digest = Digest()
    columns = ["ts_ns", "symbol", "kind", "price", "size", "bid", "bid_size", "ask", "ask_size"]
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(50_000, columns=columns):
        rows: Iterable[tuple[Any, ...]] = zip(
            *(batch.column(name).to_pylist() for name in columns), strict=True
        )
        for ts_ns, symbol, kind, price, size, bid, bid_size, ask, ask_size in rows:
            if kind == "t":
                digest.trade(symbol, ts_ns, price, size)
            else:
                digest.quote(symbol, ts_ns, bid or 0, bid_size or 0, ask or 0, ask_size or 0)
    return digest


def of_lines(lines: Iterable[str], rows: int) -> Digest:
    """The digest of what an SDK client printed."""
    digest = Digest()
    decode = msgspec.json.Decoder().decode
    for line in lines:
        message = decode(line)
        if "T" in message:
            digest.message(message, message["t"])
            if digest.messages >= rows:
                break
    return digest


async def of_stream(url: str, codec_name: str, rows: int) -> Digest:
    """The digest of a subscription to all trades and quotes, until so many rows came."""
    codec = CODECS[codec_name]
    digest = Digest()
    headers = {"Content-Type": f"application/{codec_name}"}
    async with connect(url, additional_headers=headers, compression=None, proxy=None) as socket:
        await socket.recv()
        for request in (
            {"action": "auth", "key": "any", "secret": "any"},
            {"action": "subscribe", "trades": ["*"], "quotes": ["*"]},
        ):
            await socket.send(
                codec.encode(request) if codec.binary else codec.encode(request).decode()
            )
            await socket.recv()
        print(json.dumps({"event": "subscribed"}), flush=True)
        while digest.messages < rows:
            frame = await socket.recv(decode=False)
            payload = bytes(frame)
            items = codec.ticks.items(payload)
            for item in items:
                digest.bytes_sum += crc32(item)
                message = codec.decode_fields(item)
                t = message["t"]
                digest.message(message, timestamp_ns(t) if codec.binary else parse_rfc3339(t))
    return digest


def main() -> None:
    """``python -m harness.digest URL CODEC ROWS``: one JSON line when subscribed, one at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("codec")
    parser.add_argument("rows", type=int)
    arguments = parser.parse_args()
    digest = asyncio.run(of_stream(arguments.url, arguments.codec, arguments.rows))
    json.dump(digest.as_dict(), sys.stdout)


if __name__ == "__main__":
    main()
