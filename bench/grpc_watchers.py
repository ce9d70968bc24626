"""Callers that note when their bytes came, and one consumer of WebSocket straight at the source.

    python -m bench.grpc_watchers CASE GRPC_PORT SOURCE_PORT

As `bench.watchers`: one process, one clock, and a look at the messages only after the round.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from itertools import accumulate
from typing import Any

from bench.grpc_sinks import GrpcSink, responses
from bench.machine import raise_open_files
from bench.traffic import case_from
from bench.watchers import WatchRoom, straight_room, watch
from stream_proxy.runtime.loop import run


class GrpcWatch(GrpcSink):
    """A caller with a clock."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._now_ns = 0
        self.arrivals: list[int] = []
        """Of each piece that was kept."""

    def buffer_updated(self, count: int) -> None:
        self._now_ns = time.monotonic_ns()
        super().buffer_updated(count)

    def _data(self, start: int, end: int) -> None:
        super()._data(start, end)
        self.arrivals.append(self._now_ns)

    def expect(self, messages: int) -> None:
        super().expect(messages)
        self.keeps = True
        self.arrivals.clear()

    def delays_ns(self) -> list[int]:
        """Of each message, the time from its stamp to its last byte."""
        ends = list(accumulate(map(len, self.kept)))
        delays = []
        for end, response in responses(b"".join(self.kept)):
            stamp = response.quote.timestamp
            left_ns = stamp.seconds * 1_000_000_000 + stamp.nanos
            delays.append(self.arrivals[bisect_left(ends, end)] - left_ns)
        return delays


async def main(case_line: str, grpc_port: int, source_port: int) -> None:
    raise_open_files()
    case = case_from(case_line)
    behind = WatchRoom(case, GrpcWatch)
    await behind.fill(grpc_port)
    await watch(behind, straight_room(case), source_port)


if __name__ == "__main__":
    run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
