"""Many gRPC consumers in one process, each on a connection of its own, that check what they get.

    python -m harness.grpc_sinks ADDRESS CALLS_JSON

CALLS_JSON is a list of [method, symbols]. Prints one JSON line when all calls have begun; then,
for each line on stdin, a JSON list with a report of each call; ends with stdin. A report has the
number of messages, a CRC-32 per symbol (`harness.digest`), whether the sequences only grew, and,
of a call for all symbols, each of them. `tests/sdk/js/grpc_sinks.mjs` is the same for grpc-js.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc

from harness.digest import Digest
from harness.raw_grpc import SERVICE
from stream_proxy.runtime.loop import run
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


class Sink:
    """One call."""

    def __init__(self, method: str, symbols: list[str]) -> None:
        self._method = method
        self._symbols = symbols
        self._digest = Digest()
        self._messages = 0
        self._last = 0
        self._rising = True
        self._sequences: list[int] = []
        self.ended = ""

    async def begin(self, address: str) -> asyncio.Task[None]:
        channel = grpc.aio.insecure_channel(address, options=OWN_CONNECTION)
        request = getattr(pb, f"{self._method}Request")(symbols=self._symbols, feed="sip")
        response = getattr(pb, f"{self._method}Response")
        method = channel.unary_stream(
            f"{SERVICE}/{self._method}", response_deserializer=response.FromString
        )
        call = method(request.SerializeToString())
        await call.initial_metadata()
        return asyncio.create_task(self._read(call))

    async def _read(self, call: Any) -> None:
        try:
            async for response in call:
                self._take(response)
        except grpc.aio.AioRpcError as error:
            self.ended = f"{error.code().name}: {error.details()}"

    def _take(self, response: Any) -> None:
        self._messages += 1
        self._rising &= response.sequence > self._last
        self._last = response.sequence
        if not self._symbols:
            self._sequences.append(response.sequence)
        if self._method == "StreamTrades":
            trade = response.trade
            at = trade.timestamp.seconds * 1_000_000_000 + trade.timestamp.nanos
            self._digest.trade(trade.symbol, at, trade.price, trade.size)
        elif self._method == "StreamQuotes":
            quote = response.quote
            at = quote.timestamp.seconds * 1_000_000_000 + quote.timestamp.nanos
            bid, ask = (quote.bid_price, quote.bid_size), (quote.ask_price, quote.ask_size)
            self._digest.quote(quote.symbol, at, *bid, *ask)

    def report(self) -> dict[str, Any]:
        return {
            "messages": self._messages,
            "by_symbol": self._digest.by_symbol,
            "rising": self._rising,
            "sequences": self._sequences,
            "ended": self.ended,
        }


async def main(address: str, calls: list[tuple[str, list[str]]]) -> None:
    sinks = [Sink(method, symbols) for method, symbols in calls]
    tasks = await asyncio.gather(*(sink.begin(address) for sink in sinks))
    print(json.dumps({"event": "subscribed"}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps([sink.report() for sink in sinks]), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    run(main(sys.argv[1], json.loads(sys.argv[2])))
