"""Consumers that read, but only so much, and come back when they are cut.

    python -m bench.trickle PORT CROWD...

A crowd is ``POLICY:CONSUMERS:BYTES_PER_SECOND``, of everything; 0 bytes is one that reads nothing,
and so hears nothing of being cut: it leaves after half a minute, and comes back.
Says ``{"ready": n}``; asked ``{"report": true}`` it says what each crowd has read and how often it
was cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass

from bench.machine import raise_open_files
from bench.stalled import stall
from bench.talk import commands, tell
from stream_proxy.runtime.loop import run

_TURN_SECONDS = 0.05
_AWAY_SECONDS = 1.0
_DEAF_SECONDS = 30.0
_RECEIVE_BYTES = 64 * 1024


@dataclass
class CrowdOf:
    """Consumers of one kind."""

    policy: str
    consumers: int
    bytes_per_second: int
    read_bytes: int = 0
    cut: int = 0


async def _live(crowd: CrowdOf, port: int, came: asyncio.Semaphore) -> None:
    loop = asyncio.get_running_loop()
    first = True
    while True:
        with contextlib.suppress(OSError):
            receive_bytes = _RECEIVE_BYTES if crowd.bytes_per_second else 4096
            client = await asyncio.to_thread(stall, port, crowd.policy, receive_bytes)
            client.setblocking(False)
            if first:
                came.release()
                first = False
            with client:
                if not crowd.bytes_per_second:
                    await asyncio.sleep(_DEAF_SECONDS)
                quota = int(crowd.bytes_per_second * _TURN_SECONDS)
                while quota and (data := await loop.sock_recv(client, quota)):
                    crowd.read_bytes += len(data)
                    await asyncio.sleep(_TURN_SECONDS * len(data) / quota)
        crowd.cut += 1
        await asyncio.sleep(_AWAY_SECONDS)


async def main(port: int, texts: list[str]) -> None:
    raise_open_files()
    crowds = []
    came = asyncio.Semaphore(0)
    tasks = []
    for text in texts:
        policy, consumers, rate = text.split(":")
        crowd = CrowdOf(policy, int(consumers), int(rate))
        crowds.append(crowd)
        tasks += [asyncio.create_task(_live(crowd, port, came)) for _ in range(crowd.consumers)]
    for _ in tasks:
        await came.acquire()
    tell(ready=len(tasks))
    async for _ in commands():
        tell(crowds=[vars(crowd) for crowd in crowds])


if __name__ == "__main__":
    run(main(int(sys.argv[1]), sys.argv[2:]))
