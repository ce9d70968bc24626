"""A load that sends at a rate, takes no notice of who can't follow, and keeps nothing for later.

    python -m bench.flood CASE

What is due when the socket still has enough of before is thrown away and counted, as an exchange's
own feed does; so this process doesn't grow either. ``{"rate": r, "seconds": s}`` on standard input
begins; a rate of 0 sends whatever the socket takes.
"""

from __future__ import annotations

import asyncio
import sys
import time

from picows import ws_create_server

from bench.endpoint import Endpoint
from bench.talk import commands, tell
from bench.traffic import Stream, Traffic, case_from
from stream_proxy.runtime.loop import run

_TICK_SECONDS = 0.005
_WRITE_BYTES = 256 * 1024
_MOST_WRITES = 100
"""In a turn, even if the socket takes everything."""


async def flood(
    endpoint: Endpoint, stream: Stream, rate: float, seconds: float, per_frame: int
) -> tuple[int, int]:
    """Give the messages that were sent, and those that were thrown away."""
    sent = thrown = position = 0
    cycle = stream.cycle
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        due = int(rate * passed) - sent - thrown if rate else per_frame
        for _ in range(_MOST_WRITES):
            if due < per_frame or endpoint.paused:
                break
            end = stream.end_of_chunk(position, _WRITE_BYTES)
            messages = stream.messages_between(position, end)
            endpoint.transport.write(cycle[position:end])
            position = end % len(cycle)
            sent += messages
            due -= messages if rate else 0
        if rate and due >= per_frame:
            thrown += due
        await asyncio.sleep(_TICK_SECONDS)
    return sent, thrown


async def main(case_line: str) -> None:
    case = case_from(case_line)
    stream = Traffic(case).frames()
    connected = asyncio.Event()
    endpoints: list[Endpoint] = []

    def ready(endpoint: Endpoint) -> None:
        endpoints[:] = [endpoint]
        connected.set()

    server = await ws_create_server(lambda request: Endpoint(ready), "127.0.0.1", 0)
    tell(port=server.sockets[0].getsockname()[1])
    async for command in commands():
        await connected.wait()
        sent, thrown = await flood(
            endpoints[0], stream, command["rate"], command["seconds"], case.per_frame
        )
        tell(sent=sent, thrown=thrown)


if __name__ == "__main__":
    run(main(sys.argv[1]))
