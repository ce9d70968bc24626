"""A load that keeps to a timetable: open loop, whoever reads and however slowly.

    python -m bench.paced CASE

Takes any number of clients of Alpaca's protocol, and sends each the messages of its own symbols:
the proxy is one of them, a consumer connected straight to here another. ``{"rate": r, "seconds":
s}`` on standard input sends r messages a second, evenly spaced; what is due leaves in one frame
for each client. Each message carries, as its ``t``, when it left by the machine's monotonic clock.
When this process is late itself by more than its timer's grain, it stamps the time at which the
message should have left: a queue in front of the sender is part of the delay (coordinated
omission), an alarm clock that is 60 microseconds slow is not.
"""

from __future__ import annotations

import asyncio
import gc
import struct
import sys
import time

from picows import ws_create_server

from bench.endpoint import Endpoint
from bench.talk import commands, tell
from bench.traffic import EVERYTHING, Traffic, case_from
from stream_proxy.runtime.loop import run
from stream_proxy.wire.alpaca.codec import MSGPACK
from stream_proxy.wire.websocket import frame

TIMESTAMP = b"\xd7\xff"
"""How msgpack begins a timestamp of eight bytes: 30 bits of nanoseconds, 34 of seconds."""
_GRAIN_NS = 1_000_000
_eight = struct.Struct(">Q")


class Templates:
    """Messages without their time, which comes last in a quote."""

    def __init__(self, traffic: Traffic) -> None:
        items = traffic.items["msgpack"]
        assert all(item[-10:-8] == TIMESTAMP for item in items)
        self.symbols = traffic.symbols
        self.before = [item[:-8] for item in items]


def stamp(ns: int) -> bytes:
    return _eight.pack(ns % 1_000_000_000 << 34 | ns // 1_000_000_000)


def stamp_of(item: bytes) -> int:
    """When a message left, or should have left."""
    packed: int = _eight.unpack_from(item, len(item) - 8)[0]
    return (packed & 0x3_FFFF_FFFF) * 1_000_000_000 + (packed >> 34)


async def send(templates: Templates, endpoints: list[Endpoint], rate: int, seconds: float) -> int:
    """Send on time; give the number of messages that left late by more than the grain."""
    wishes = [(endpoint, frozenset(endpoint.symbols("quotes"))) for endpoint in endpoints]
    symbols, before = templates.symbols, templates.before
    length, total, sent, late = len(symbols), int(rate * seconds), 0, 0
    start_ns = time.monotonic_ns() + 50_000_000
    while sent < total:
        now_ns = time.monotonic_ns()
        due = min(total, (now_ns - start_ns) * rate // 1_000_000_000 + 1)
        if due <= sent:
            wake_ns = start_ns + (sent * 1_000_000_000) // rate
            # The loop's own timers are too coarse; pings are answered between two messages.
            await asyncio.sleep(0)
            time.sleep(max(0, wake_ns - time.monotonic_ns()) / 1e9)  # noqa: ASYNC251
            continue
        batch = []
        for number in range(sent, due):
            scheduled_ns = start_ns + number * 1_000_000_000 // rate
            is_late = now_ns - scheduled_ns > _GRAIN_NS
            late += is_late
            at = number % length
            left = stamp(scheduled_ns if is_late else now_ns)
            batch.append((symbols[at], before[at] + left))
        sent = due
        wishes.reverse()  # nobody is always first
        for endpoint, wanted in wishes:
            items = [item for symbol, item in batch if symbol in wanted or EVERYTHING in wanted]
            if items:
                endpoint.transport.write(frame(MSGPACK.join(items), True))
        await asyncio.sleep(0)  # uvloop writes at the end of a turn of its loop
    return late


async def main(case: str) -> None:
    templates = Templates(Traffic(case_from(case)))
    endpoints: dict[Endpoint, None] = {}
    server = await ws_create_server(
        lambda request: Endpoint(lambda endpoint: endpoints.update({endpoint: None})),
        "127.0.0.1",
        0,
        use_aiofastnet=False,
    )
    tell(port=server.sockets[0].getsockname()[1])
    gc.freeze()
    async for command in commands():
        late = await send(templates, list(endpoints), command["rate"], command["seconds"])
        tell(late=late)


if __name__ == "__main__":
    run(main(sys.argv[1]))
