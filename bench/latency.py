"""What does the proxy add to a message's way?

    python -m bench.latency [--quick]

The load sends on a timetable, whoever reads (open loop), to the proxy and to one consumer that is
connected straight to it; 50 more consumers, of 20 of 500 symbols each, are behind the proxy. Every
message carries the time at which it left, or should have left; consumers note when it came, by the
same clock, in the same process. The difference between the two kinds is what the proxy adds.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from typing import Any

from bench.contenders import proxy, started
from bench.results import save, spread, table, verdict
from bench.talk import Process, python
from bench.traffic import Case, Crowd, case_text

_CASE = Case("50 x 20 of 500", (Crowd(50, 20),))
_RATES = (1_000, 10_000, 50_000, 100_000)
_QUICK_RATES = (1_000, 10_000)
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_ASKED = {"p50": 2.5, "p99": 4.0}
_ASKED_AT = 10_000
STRAIGHT, BEHIND = "straight", "proxy"
Round = tuple[dict[str, list[int]], int]


def main() -> None:
    parser = argparse.ArgumentParser(description="Delay that the proxy adds.")
    parser.add_argument("--quick", action="store_true", help="two rates, half the time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="length of a round")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (1.0 if arguments.quick else 2.0)
    rates = _QUICK_RATES if arguments.quick else _RATES
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(started(python("bench.paced", case_text(_CASE))))
        source_port = load.hear()["port"]
        contender, port = stack.enter_context(proxy(f"ws://127.0.0.1:{source_port}", "msgpack"))
        ports = (str(port), str(source_port))
        watchers = stack.enter_context(started(python("bench.watchers", case_text(_CASE), *ports)))
        watchers.hear(60)
        round_of(load, watchers, 1_000, 1.0)
        rows = [
            _at_rate(rate, contender, load, watchers, arguments.rounds, seconds) for rate in rates
        ]
    table([line(row) for pair in rows for row in pair], heading())
    print()
    save("latency", [row for pair in rows for row in pair], _verdicts(rows))


def round_of(load: Process, watchers: Process, rate: int, seconds: float) -> Round:
    """All delays of one round, sorted, and how many messages the load itself sent late."""
    messages = int(rate * seconds)
    watchers.say(expect=messages)
    for _ in range(2):
        watchers.hear()
    late = load.ask(rate=rate, seconds=seconds)["late"]
    for _ in range(2):
        watchers.hear()  # one kind has all of its messages
    watchers.say(report=True)
    delays = {kind: sorted(watchers.hear()["delays_ns"]) for kind in (BEHIND, STRAIGHT)}
    return delays, late


def _at_rate(
    rate: int, contender: Process, load: Process, watchers: Process, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """The rows of one rate."""
    processes = {"contender": contender, "load": load, "sinks": watchers}
    before = {name: process.cpu_seconds() for name, process in processes.items()}
    found = [round_of(load, watchers, rate, seconds) for _ in range(rounds)]
    shares = {
        name: (process.cpu_seconds() - before[name]) / (rounds * seconds)
        for name, process in processes.items()
    }
    return rows_of(rate, found, seconds, shares)


def rows_of(
    rate: int, found: Sequence[Round], seconds: float, shares: dict[str, float]
) -> list[dict[str, Any]]:
    """What rounds gave, as two rows: straight, and behind the contender."""
    late = sum(number for _, number in found) / (rate * seconds * len(found))
    rows: list[dict[str, Any]] = []
    for kind in (STRAIGHT, BEHIND):
        pooled = sorted(delay for delays, _ in found for delay in delays[kind])
        rows.append(
            {
                "messages_per_second": rate,
                "kind": kind,
                "samples": len(pooled),
                "delay_us": _percentiles(pooled),
                "p50_of_rounds_us": spread([_at(delays[kind], 0.5) for delays, _ in found]),
                "p99_of_rounds_us": spread([_at(delays[kind], 0.99) for delays, _ in found]),
                "sent_late": late,
                "cpu_share": shares,
            }
        )
    return rows


def _percentiles(delays: Sequence[int]) -> dict[str, float]:
    return {name: _at(delays, share) for name, share in _SHARES.items()}


def _at(delays: Sequence[int], share: float) -> float:
    """A percentile of sorted nanoseconds, in microseconds."""
    return delays[min(len(delays) - 1, int(share * len(delays)))] / 1e3


def heading() -> list[str]:
    return ["messages/s", "", *(f"{name} µs" for name in _SHARES), "samples", "late", "CPU"]


def line(row: dict[str, Any]) -> list[str]:
    shares = row["cpu_share"]
    return [
        str(row["messages_per_second"]),
        row["kind"],
        *(f"{value:.0f}" for value in row["delay_us"].values()),
        str(row["samples"]),
        f"{row['sent_late']:.1%}",
        " ".join(f"{name} {share:.0%}" for name, share in shares.items()),
    ]


def _verdicts(rows: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Added delay over the straight connection's own, at the rate that was asked about.

    Both from the medians of the rounds, which one disturbed round does not move.
    """
    verdicts = []
    for straight, behind in rows:
        if straight["messages_per_second"] == _ASKED_AT:
            for name, asked in _ASKED.items():
                own = straight[f"{name}_of_rounds_us"]["median"]
                added = behind[f"{name}_of_rounds_us"]["median"] - own
                what = f"added delay / straight connection at {_ASKED_AT} messages/s, {name}"
                verdicts.append(verdict(what, added / own, asked, at_most=True))
    return verdicts


if __name__ == "__main__":
    main()
