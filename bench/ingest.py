"""How fast are splitting and routing alone, without any socket?

    python -m bench.ingest [--quick] [--instructions]

In this process, on one core: the split of upstream's frames; a feed's whole middle with nobody
listening; the same with 100 consumers of 20 of 500 symbols, and with one of everything, whose
sockets take the bytes and forget them. Frames come as from socket reads of 64 KiB.
``--instructions`` counts instructions of a message with valgrind, which is slow but says the same
on a busy machine; it is for comparing two versions of the code.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.machine import CONTENDER_CORE, ROOT
from bench.results import ranged, save, spread, table
from bench.traffic import Case, Crowd, Traffic
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.shapes import shape_for
from stream_proxy.runtime.clock import SystemClock
from stream_proxy.wire.alpaca.codec import CODECS

_READ_BYTES = 64 * 1024
_CYCLE = 20_000
_CODECS = ("msgpack", "json")
_FRAME_SIZES = (1, 20, 500)
_AUDIENCES = {
    "route, nobody": (),
    "route, 100 x 20": ((100, 20),),
    "route, 1 x everything": ((1, 0),),
}
"""How many consumers, and how many symbols each; 0 is everything."""
_SPLIT = "split alone"

Work = Callable[[int], int]
"""Handles so many cycles of traffic; gives the messages that were delivered."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Splitting and routing alone.")
    parser.add_argument("--quick", action="store_true", help="fewer frame sizes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instructions", action="store_true", help="count them, with valgrind")
    parser.add_argument("--count", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.count:
        codec, per_frame, stage, cycles = arguments.count
        _some(codec, int(per_frame), stage, int(cycles))
        return
    os.sched_setaffinity(0, {CONTENDER_CORE})
    counts = arguments.instructions and _can_count()
    rows = []
    for codec in _CODECS:
        for per_frame in _FRAME_SIZES[1:2] if arguments.quick else _FRAME_SIZES:
            for stage in (_SPLIT, *_AUDIENCES):
                rows.append(_measure(codec, per_frame, stage, arguments.rounds))
                if counts:
                    rows[-1]["instructions"] = _instructions(codec, per_frame, stage)
    heading = ["stage", "codec", "per frame", "messages/s of one core: median (min - max)", "ns"]
    table([_line(row) for row in rows], [*heading, "instructions"])
    if not counts:
        print("\ninstructions weren't counted: that takes --instructions and valgrind")
    save("ingest", rows)


def _line(row: dict[str, Any]) -> list[str]:
    rate = row["messages_per_cpu_second"]
    instructions = row["instructions"]
    return [
        *(row["stage"], row["codec"], str(row["per_frame"]), ranged(rate)),
        f"{1e9 / rate['median']:.0f}",
        "-" if instructions is None else f"{instructions:,.0f}",
    ]


def _frames(traffic: Traffic) -> list[bytes]:
    """The payloads of a cycle, as the socket gives them."""
    codec, each = CODECS[traffic.case.upstream], traffic.case.per_frame
    items = traffic.items[traffic.case.upstream]
    return [codec.join(items[start : start + each]) for start in range(0, len(items), each)]


def _work(codec_name: str, per_frame: int, stage: str) -> tuple[Work, int]:
    """What is timed, and how many deliveries a cycle must make."""
    crowds = tuple(
        Crowd(consumers, each, codec_name) for consumers, each in _AUDIENCES.get(stage, ())
    )
    traffic = Traffic(Case(stage, crowds, codec_name, per_frame))
    payloads = _frames(traffic)
    reads = max(1, _READ_BYTES // len(payloads[0]))
    batches = [payloads[start : start + reads] for start in range(0, len(payloads), reads)]
    codec = CODECS[codec_name]
    if stage == _SPLIT:
        split = codec.ticks.split

        def split_all(cycles: int) -> int:
            items: Sequence[Any] = ()
            count = 0
            for _ in range(cycles):
                for payload in payloads:
                    items = split(payload)[2]
                    count += len(items)
            return count

        return split_all, len(traffic)

    handler = FeedHandler(FEEDS["sip"], codec, SystemClock())
    outboxes = []
    messages = traffic.tally([1] * len(traffic))
    expected = 0
    for wish in traffic.wishes():
        outbox = Outbox(len, 1 << 40, 1 << 62, lambda: None)
        topics = SubscriptionSet({"quotes": list(wish.symbols)})
        handler.hub.set_topics(outbox, shape_for(codec.name, wish.codec), topics)
        outboxes.append(outbox)
        expected += messages.of(wish.symbols, len(traffic))

    def route_all(cycles: int) -> int:
        before = sum(outbox.messages for outbox in outboxes)
        receive = handler.receive
        for _ in range(cycles):
            for batch in batches:
                receive(batch)
        return sum(outbox.messages for outbox in outboxes) - before

    return route_all, expected


def _measure(codec: str, per_frame: int, stage: str, rounds: int) -> dict[str, Any]:
    work, expected = _work(codec, per_frame, stage)
    work(1)
    rates, cycles = [], 5
    for _ in range(rounds):
        before = time.process_time()
        done = work(cycles)
        spent = time.process_time() - before
        if done != cycles * expected:
            raise RuntimeError(f"{stage}: {done} deliveries instead of {cycles * expected}")
        rates.append(cycles * _CYCLE / spent)
    return {
        "stage": stage,
        "codec": codec,
        "per_frame": per_frame,
        "messages_per_cpu_second": spread(rates),
        "instructions": None,
    }


def _can_count() -> bool:
    return shutil.which("valgrind") is not None


def _some(codec: str, per_frame: int, stage: str, cycles: int) -> None:
    """What valgrind runs: the same start, and more or less of the work."""
    work, _ = _work(codec, per_frame, stage)
    work(cycles)


def _instructions(codec: str, per_frame: int, stage: str) -> float:
    """Instructions of a message: what one cycle more adds to a whole run."""
    once, twice = (_counted(codec, per_frame, stage, cycles) for cycles in (1, 2))
    return (twice - once) / _CYCLE


def _counted(codec: str, per_frame: int, stage: str, cycles: int) -> int:
    arguments = (codec, str(per_frame), stage, str(cycles))
    done = subprocess.run(
        [
            *("valgrind", "--tool=cachegrind", "--cache-sim=no"),
            *("--cachegrind-out-file=/dev/null", sys.executable, "-m", "bench.ingest"),
            *("--count", *arguments),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        timeout=300,
        check=True,
    )
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if found is None:
        raise RuntimeError(f"valgrind didn't say how many instructions: {done.stderr[-400:]}")
    return int(found[1].replace(",", ""))


if __name__ == "__main__":
    main()
