"""Is gRPC as good as WebSocket here, and how much better than a plain gRPC server?

    python -m bench.grpc [--quick] [--only TEXT]

Contenders: this proxy's gRPC outlet; its WebSocket outlet on the same work; and a plain server on
``grpc.aio`` that writes one object at a time (`bench.peers.grpc_aio_server`). First deliveries per
CPU-second, as in `bench.fanout`: every delivery is counted, and one caller's messages are compared
with what was sent. Then delay, as in `bench.latency`: open loop, against the plain server.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from bench.contenders import Lane, Outcome, proxy_lane, started
from bench.fanout import ALL, TWENTY, report, row_of
from bench.grpc_lanes import OURS, PLAIN, grpc_lane, server
from bench.latency import BEHIND, Round, heading, line, round_of, rows_of
from bench.results import save, table, verdict
from bench.talk import Process, python
from bench.traffic import Case, Crowd, case_text

_KEPT_MESSAGES = 200_000
"""Most messages of a round: those of one caller are taken apart by a slow, separate decoder."""

_CASES = (
    Case("1 x everything", (Crowd(1, ALL),)),
    Case("20 x everything", (Crowd(20, ALL),)),
    Case("100 x everything", (Crowd(100, ALL),)),
    Case("20 x 20 of 500", (Crowd(20, TWENTY),)),
    Case("100 x 20 of 500", (Crowd(100, TWENTY),)),
)
_LANES: tuple[Callable[[Case], AbstractContextManager[Lane]], ...] = (
    partial(grpc_lane, OURS),
    proxy_lane,
    partial(grpc_lane, PLAIN),
)
_ASKED = {PLAIN: 30.0, "proxy": 0.5}

_DELAY_CASE = Case("20 x 20 of 500", (Crowd(20, TWENTY),))
_RATES = (1_000, 10_000)
_ASKED_OF_DELAY = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description="gRPC against WebSocket and a plain server.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", default="", help="cases whose name contains this; delay always")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="CPU seconds of a round")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    seconds = arguments.seconds or (0.2 if arguments.quick else 0.4)
    rows: list[dict[str, Any]] = []
    for case in _CASES:
        if arguments.only in case.name:
            rows += _compare(case, rounds, seconds)
    delays = _delays(3 * rounds, 2 * seconds)
    save("grpc", [*rows, *delays], [*_verdicts(rows), *_verdicts_of_delay(delays)])


def _compare(case: Case, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Run all contenders on one case, in turns."""
    with contextlib.ExitStack() as stack:
        lanes = [stack.enter_context(lane(case)) for lane in _LANES]
        sizes = [lane.warm_up(seconds, _KEPT_MESSAGES) for lane in lanes]
        outcomes: list[list[Outcome]] = [[] for _ in lanes]
        for _ in range(rounds):
            for lane, size, results in zip(lanes, sizes, outcomes, strict=True):
                results.append(lane.round(size))
    rows = [row_of(case, lane, of) for lane, of in zip(lanes, outcomes, strict=True)]
    report(case, rows)
    return rows


def _delays(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """How long messages take through each of the two gRPC servers, in turns, and straight."""
    rows = []
    with contextlib.ExitStack() as stack:
        ways = {kind: _way(stack, kind) for kind in (OURS, PLAIN)}
        for way in ways.values():
            round_of(way["load"], way["sinks"], 1_000, 1.0)
        for rate in _RATES:
            before = {kind: _cpu_seconds(way) for kind, way in ways.items()}
            found: dict[str, list[Round]] = {kind: [] for kind in ways}
            for _ in range(rounds):
                for kind, way in ways.items():
                    found[kind].append(round_of(way["load"], way["sinks"], rate, seconds))
            for kind, way in ways.items():
                shares = {
                    name: (cpu - before[kind][name]) / (rounds * seconds)
                    for name, cpu in _cpu_seconds(way).items()
                }
                for row in rows_of(rate, found[kind], seconds, shares):
                    named = kind if row["kind"] == BEHIND else f"straight, beside {kind}"
                    rows.append({**row, "kind": named})
    table([line(row) for row in rows], heading())
    print()
    return rows


def _way(stack: contextlib.ExitStack, kind: str) -> dict[str, Process]:
    """A server with a load that keeps to a timetable, and callers with clocks."""
    case = case_text(_DELAY_CASE)
    load = stack.enter_context(started(python("bench.paced", case)))
    source_port = load.hear()["port"]
    contender, port = stack.enter_context(server(kind, source_port))
    watching = python("bench.grpc_watchers", case, str(port), str(source_port))
    sinks = stack.enter_context(started(watching))
    sinks.hear(60)
    return {"contender": contender, "load": load, "sinks": sinks}


def _cpu_seconds(way: dict[str, Process]) -> dict[str, float]:
    return {name: process.cpu_seconds() for name, process in way.items()}


def _verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        verdict(
            f"gRPC deliveries per CPU-second / {_NAMES[row['contender']]}, {row['case']}",
            row["proxy_divided_by_this"],
            _ASKED[row["contender"]],
        )
        for row in rows
        if row["contender"] in _ASKED
    ]


_NAMES = {PLAIN: "plain grpc.aio server", "proxy": "WebSocket outlet"}


def _verdicts_of_delay(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each server adds to the way straight from the source, median of the rounds."""
    verdicts = []
    for rate in _RATES:
        of = {row["kind"]: row for row in rows if row["messages_per_second"] == rate}
        for name in ("p50", "p99"):
            ours, plain = (
                of[kind][f"{name}_of_rounds_us"]["median"]
                - of[f"straight, beside {kind}"][f"{name}_of_rounds_us"]["median"]
                for kind in (OURS, PLAIN)
            )
            what = f"added delay / plain grpc.aio server's at {rate} messages/s, {name}"
            verdicts.append(verdict(what, ours / plain, _ASKED_OF_DELAY, at_most=True))
    return verdicts


if __name__ == "__main__":
    main()
