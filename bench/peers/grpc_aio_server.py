"""The gRPC server that most people would write: ``grpc.aio``, one object a write.

    python -m bench.peers.grpc_aio_server UPSTREAM_URL

One client upstream; each message is decoded, made an object of the contract once, and put into the
queue of each call that asked for its symbol; a call writes what is in its queue, one by one. Done
with care all the same: uvloop, one object for all who get it, the same fields as the proxy's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import grpc
import msgpack  # type: ignore[import-untyped]
import uvloop
from google.protobuf.timestamp_pb2 import Timestamp
from websockets.asyncio.client import connect

from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

EPOCH = "0123456789ab"
Queue = asyncio.Queue[pb.StreamQuotesResponse]
wanted: dict[str, set[Queue]] = defaultdict(set)


def response(message: dict[str, Any], sequence: int, received_at: Timestamp) -> Any:
    time = message["t"]
    return pb.StreamQuotesResponse(
        quote=pb.StockQuote(
            symbol=message["S"],
            timestamp=Timestamp(seconds=time.seconds, nanos=time.nanoseconds),
            bid_exchange=message["bx"],
            bid_price=message["bp"],
            bid_size=message["bs"],
            ask_exchange=message["ax"],
            ask_price=message["ap"],
            ask_size=message["as"],
            conditions=message["c"],
            tape=message["z"],
        ),
        sequence=sequence,
        epoch=EPOCH,
        received_at=received_at,
        source="alpaca",
    )


async def stream_quotes(
    request: pb.StreamQuotesRequest, context: grpc.aio.ServicerContext[Any, Any]
) -> AsyncIterator[pb.StreamQuotesResponse]:
    queue: Queue = asyncio.Queue()
    for symbol in request.symbols or ["*"]:
        wanted[symbol].add(queue)
    await context.send_initial_metadata((("epoch", EPOCH),))
    while True:
        yield await queue.get()


async def upstream(url: str) -> None:
    headers = {"Content-Type": "application/msgpack"}
    async with connect(url, additional_headers=headers, compression=None, proxy=None) as socket:
        await socket.recv()
        for request in (
            {"action": "auth", "key": "key", "secret": "secret"},
            {"action": "subscribe", "quotes": ["*"]},
        ):
            await socket.send(msgpack.packb(request))
            await socket.recv()
        sequence = 0
        async for frame in socket:
            received_at = Timestamp()
            received_at.FromNanoseconds(time.time_ns())
            for message in msgpack.unpackb(frame):
                sequence += 1
                if queues := wanted[message["S"]] | wanted["*"]:
                    made = response(message, sequence, received_at)
                    for queue in queues:
                        queue.put_nowait(made)


async def main(url: str) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_stream_rpc_method_handler(
        stream_quotes,
        request_deserializer=pb.StreamQuotesRequest.FromString,
        response_serializer=pb.StreamQuotesResponse.SerializeToString,
    )
    service = "cream.v1.StreamProxyService"
    methods = grpc.method_handlers_generic_handler(service, {"StreamQuotes": handler})
    server.add_generic_rpc_handlers((methods,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"port": port}), flush=True)
    await upstream(url)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
