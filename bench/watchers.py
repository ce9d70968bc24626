"""Consumers that note when each frame came: some behind the proxy, one straight at the source.

    python -m bench.watchers CASE PROXY_PORT SOURCE_PORT

All are in one process, so both kinds wait for the same core and are read by the same clock. Frames
are only kept as they come; what is in them is looked at after the round.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from picows import WSFrame, WSTransport

from bench.machine import raise_open_files
from bench.paced import stamp_of
from bench.sinks import Room, Sink, WebSocketSink
from bench.talk import commands, tell
from bench.traffic import Case, Crowd, Tally, Traffic, Wish, case_from
from stream_proxy.runtime.loop import run


class Watch(WebSocketSink):
    """A consumer with a clock."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.arrivals: list[int] = []

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.arrivals.append(time.monotonic_ns())
        super().on_ws_frame(transport, frame)

    def expect(self, messages: int) -> None:
        super().expect(messages)
        self.keeps = True
        self.arrivals.clear()

    def delays_ns(self) -> list[int]:
        """Of each message, the time from its stamp to its arrival."""
        return [
            arrived - stamp_of(bytes(item))
            for arrived, payload in zip(self.arrivals, self.kept, strict=True)
            for item in self._codec.ticks.items(payload)
        ]


class WatchRoom(Room):
    """Consumers of one kind; stamps differ from run to run, so only the counts are checked."""

    sinks: Sequence[Any]

    def __init__(self, case: Case, kind: Callable[[Room, Wish, Tally, int], Sink] = Watch) -> None:
        super().__init__(Traffic(case), kind)

    def report(self) -> None:
        for sink in self.sinks:
            if sink.seen != sink.expected:
                tell(error=f"consumer {sink.number} saw {sink.seen} instead of {sink.expected}")
        tell(delays_ns=[delay for sink in self.sinks for delay in sink.delays_ns()])


async def main(case_line: str, proxy_port: int, source_port: int) -> None:
    raise_open_files()
    case = case_from(case_line)
    behind = WatchRoom(case)
    await behind.fill(proxy_port)
    await watch(behind, straight_room(case), source_port)


def straight_room(case: Case) -> WatchRoom:
    """One consumer of WebSocket, at the source."""
    return WatchRoom(msgspec.structs.replace(case, crowds=(Crowd(1, 20),)))


async def watch(behind: WatchRoom, straight: WatchRoom, source_port: int) -> None:
    """Do what the process that started this one says, the room behind being filled."""
    await straight.fill(source_port)
    tell(ready=True)
    gc.freeze()
    async for command in commands():
        for room in (behind, straight):
            if "expect" in command:
                room.expect(command["expect"])
            else:
                room.report()


if __name__ == "__main__":
    run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
