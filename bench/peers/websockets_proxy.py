"""The proxy that most people would write: the ``websockets`` library, one page of code.

    python -m bench.peers.websockets_proxy UPSTREAM_URL CODEC

One client upstream; each message is decoded to find its symbol, and broadcast to whoever asked for
it. Done with care all the same: uvloop, no compression, one encoding per message and codec.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve

Wanted = dict[str, set[ServerConnection]]

ENCODE: dict[str, Callable[[Any], str | bytes]] = {
    "json": lambda message: json.dumps(message, separators=(",", ":")),
    "msgpack": msgpack.packb,
}
DECODE: dict[str, Callable[[Any], Any]] = {"json": json.loads, "msgpack": msgpack.unpackb}
wanted: dict[str, Wanted] = {codec: defaultdict(set) for codec in ENCODE}


def text_times(message: dict[str, Any]) -> dict[str, Any]:
    """JSON has no timestamps."""
    time = message["t"]
    seconds = time.to_datetime().strftime("%Y-%m-%dT%H:%M:%S")
    return {**message, "t": f"{seconds}.{time.nanoseconds:09d}".rstrip("0") + "Z"}


async def client(socket: ServerConnection) -> None:
    assert socket.request is not None
    codec = "msgpack" if "msgpack" in socket.request.headers.get("Content-Type", "") else "json"
    encode, decode = ENCODE[codec], DECODE[codec]
    await socket.send(encode([{"T": "success", "msg": "connected"}]))
    mine: set[str] = set()
    try:
        async for frame in socket:
            request = decode(frame)
            if request["action"] == "auth":
                await socket.send(encode([{"T": "success", "msg": "authenticated"}]))
                continue
            for symbol in request["quotes"]:
                mine.add(symbol)
                wanted[codec][symbol].add(socket)
            await socket.send(encode([{"T": "subscription", "quotes": sorted(mine)}]))
    finally:
        for symbol in mine:
            wanted[codec][symbol].discard(socket)


async def upstream(url: str, codec: str) -> None:
    headers = {"Content-Type": f"application/{codec}"}
    async with connect(url, additional_headers=headers, compression=None, proxy=None) as socket:
        await socket.recv()
        for request in (
            {"action": "auth", "key": "key", "secret": "secret"},
            {"action": "subscribe", "trades": ["*"], "quotes": ["*"]},
        ):
            await socket.send(ENCODE[codec](request))
            await socket.recv()
        async for frame in socket:
            for message in DECODE[codec](frame):
                for other, clients in wanted.items():
                    if matching := clients[message["S"]] | clients["*"]:
                        same = other == codec
                        item = message if same or other == "msgpack" else text_times(message)
                        broadcast(matching, ENCODE[other]([item]))


async def main(url: str, codec: str) -> None:
    async with serve(client, "127.0.0.1", 0, compression=None) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await upstream(url, codec)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
