"""How many deliveries does a second of CPU buy, and how many does it buy others?

    python -m bench.fanout [--quick] [--only TEXT] [--ticks FILE]

Contenders: this proxy; nats-server behind a bridge that costs nothing; a plain proxy on the
``websockets`` library; and the floor, which only writes frames that were made before. All serve
the same consumers with the same messages, in turns, on a core of their own. The figure is
deliveries per CPU-second of the contender (user and system), so it doesn't matter how fast the
load and the sinks on the other core are; their CPU share is printed all the same.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from pathlib import Path
from typing import Any

from bench.contenders import Lane, Outcome, floor_lane, nats_lane, proxy_lane, websockets_lane
from bench.machine import ROOT
from bench.results import ranged, save, short, spread, table, verdict
from bench.traffic import Case, Crowd

_TICKS = ROOT.parent / "shared" / "data" / "us_equity_ticks_20131007.parquet"
_KEPT_MESSAGES = 500_000
"""Most messages of a round: what the checked consumer keeps is about 110 bytes each."""

TWENTY, ALL = 20, 0
CASES = (
    Case("1 x everything", (Crowd(1, ALL),)),
    Case("100 x 20 of 500", (Crowd(100, TWENTY),)),
    Case("100 x everything", (Crowd(100, ALL),)),
    Case("1000 x 20 of 500", (Crowd(1000, TWENTY),)),
    Case("1000 x everything", (Crowd(1000, ALL),)),
    Case("100 json + 100 msgpack x 20", (Crowd(100, TWENTY, "json"), Crowd(100, TWENTY))),
    Case("100 x 20, frames of 1", (Crowd(100, TWENTY),), per_frame=1),
    Case("100 x everything, frames of 1", (Crowd(100, ALL),), per_frame=1),
    Case("100 x 20, all json", (Crowd(100, TWENTY, "json"),), upstream="json"),
    Case("100 x everything, all json", (Crowd(100, ALL, "json"),), upstream="json"),
)
_QUICK = ("1 x everything", "100 x 20 of 500", "100 x everything")

ASKED = {
    ("nats-server", "1 x everything"): 0.8,
    ("nats-server", "100 x 20 of 500"): 1.5,
    ("nats-server", "100 x everything"): 4.0,
    ("nats-server", "1000 x 20 of 500"): 5.0,
    ("floor", "100 x everything"): 0.6,
}
ASKED_OF_WEBSOCKETS = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Deliveries per CPU-second, against others.")
    parser.add_argument("--quick", action="store_true", help="three cases in a minute")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--ticks", type=Path, default=_TICKS, help="a recorded day of ticks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="CPU seconds of a round")
    arguments = parser.parse_args()
    cases = [case for case in CASES if not arguments.quick or case.name in _QUICK]
    if arguments.ticks.exists() and not arguments.quick:
        crowds = (Crowd(80, 1), Crowd(20, ALL))
        name = "recorded day, 80 x 1 of 4 + 20 x everything"
        cases.append(Case(name, crowds, recording=str(arguments.ticks)))
    seconds = arguments.seconds or (0.2 if arguments.quick else 0.5)
    rows: list[dict[str, Any]] = []
    for case in cases:
        if arguments.only in case.name:
            rows += _compare(case, arguments.rounds, seconds)
    verdicts = _verdicts(rows)
    save("fanout", rows, verdicts)


def _compare(case: Case, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Run all contenders on one case, in turns."""
    with contextlib.ExitStack() as stack:
        lanes = [
            stack.enter_context(lane(case)) for lane in (proxy_lane, nats_lane, websockets_lane)
        ]
        sizes = [lane.warm_up(seconds, _KEPT_MESSAGES) for lane in lanes]
        batch = _batch(case, lanes[0].round(sizes[0]))
        lanes.append(stack.enter_context(floor_lane(case, batch)))
        sizes.append(lanes[-1].warm_up(seconds, 4 * _KEPT_MESSAGES))
        outcomes: list[list[Outcome]] = [[] for _ in lanes]
        for _ in range(rounds):
            for lane, size, results in zip(lanes, sizes, outcomes, strict=True):
                results.append(lane.round(size))
    rows = [row_of(case, lane, of) for lane, of in zip(lanes, outcomes, strict=True)]
    report(case, rows)
    return rows


def _batch(case: Case, outcome: Outcome) -> int:
    """How many upstream messages the proxy wrote at a time: the floor does the same."""
    consumers = sum(crowd.consumers for crowd in case.crowds)
    return max(1, round(outcome.messages * consumers / outcome.frames))


def row_of(case: Case, lane: Lane, outcomes: list[Outcome]) -> dict[str, Any]:
    """What the rounds of a contender gave."""

    def typical(values: list[float]) -> float:
        return statistics.median(values)

    return {
        "case": case.name,
        "contender": lane.name,
        "upstream_codec": case.upstream,
        "messages_per_round": outcomes[0].messages,
        "deliveries_per_cpu_second": spread([o.per_cpu_second for o in outcomes]),
        "deliveries_per_second": spread([o.per_second for o in outcomes]),
        "deliveries_per_write": typical([o.deliveries / o.frames for o in outcomes]),
        "cpu_share": {
            "contender": typical([o.cpu_seconds / o.wall_seconds for o in outcomes]),
            "load": typical([o.load_cpu_seconds / o.wall_seconds for o in outcomes]),
            "sinks": typical([o.sinks_cpu_seconds / o.wall_seconds for o in outcomes]),
        },
    }


def report(case: Case, rows: list[dict[str, Any]]) -> None:
    """Print a case's rows, and put into each how the first compares with it."""
    ours = rows[0]["deliveries_per_cpu_second"]["median"]
    lines = []
    for row in rows:
        row["proxy_divided_by_this"] = ours / row["deliveries_per_cpu_second"]["median"]
        share = row["cpu_share"]
        load = "-" if row["contender"] == "floor" else f"{share['load']:.0%}"
        lines.append(
            [
                case.name,
                row["contender"],
                ranged(row["deliveries_per_cpu_second"]),
                f"{row['proxy_divided_by_this']:.2f}",
                short(row["deliveries_per_second"]["median"]),
                short(row["messages_per_round"]),
                f"{row['deliveries_per_write']:.1f}",
                f"{share['contender']:.0%} {load} {share['sinks']:.0%}",
            ]
        )
    table(
        lines,
        [
            *("case", "contender", "deliveries/CPU-s: median (min - max)", "proxy / this"),
            *("deliveries/s", "messages", "per frame or read", "CPU: it, load, sinks"),
        ],
    )
    print()


def _verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    verdicts = []
    for row in rows:
        contender, case = row["contender"], row["case"]
        asked = ASKED_OF_WEBSOCKETS if contender == "websockets" else ASKED.get((contender, case))
        if asked is not None:
            what = f"deliveries per CPU-second / {contender}, {case}"
            verdicts.append(verdict(what, row["proxy_divided_by_this"], asked))
    return verdicts


if __name__ == "__main__":
    main()
