"""What do consumers that read nothing cost those that read?

    python -m bench.isolation [--quick]

A thousand consumers of 20 of 500 symbols each, open loop. In turns: all of them read; one more
reads nothing; a hundred more read nothing, of everything. The delay of those who read, from the
sender's write to their read, is compared with that of the round before, in which nobody stalled.
"""

from __future__ import annotations

import argparse
import contextlib
from statistics import median
from typing import Any

from bench.contenders import proxy, started
from bench.latency import BEHIND, round_of
from bench.results import save, spread, table, verdict
from bench.talk import Process, python
from bench.traffic import Case, Crowd, case_text

_CASE = Case("1000 x 20 of 500", (Crowd(1000, 20),))
_RATE = 1_000
_STALLED = {1: 1.05, 100: 1.2}
"""How many read nothing, and how many times the delay without them is allowed."""
_SHARE = 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether stalled consumers slow others down.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int)
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 9)
    seconds = 1.0 if arguments.quick else 2.0
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(started(python("bench.paced", case_text(_CASE))))
        source_port = load.hear()["port"]
        settings = {"STREAM_PROXY_OUTBOX_BYTES": str(8 << 20)}
        _, port = stack.enter_context(proxy(f"ws://127.0.0.1:{source_port}", "msgpack", **settings))
        ports = (str(port), str(source_port))
        watchers = stack.enter_context(started(python("bench.watchers", case_text(_CASE), *ports)))
        watchers.hear(120)
        round_of(load, watchers, _RATE, 1.0)
        rows = [_with(count, port, load, watchers, rounds, seconds) for count in _STALLED]
    table([_line(row) for row in rows], ["stalled", "p99 without, µs", "with, µs", "ratio"])
    print()
    verdicts = [
        verdict(
            f"p99 of 1,000 consumers with {row['stalled']} stalled / without",
            row["ratio"]["median"],
            _STALLED[row["stalled"]],
            at_most=True,
        )
        for row in rows
    ]
    save("isolation", rows, verdicts)


def _with(
    stalled: int, port: int, load: Process, watchers: Process, rounds: int, seconds: float
) -> dict[str, Any]:
    """Rounds in pairs: without and with so many that read nothing."""
    without, with_them = [], []
    for _ in range(rounds):
        without.append(_p99(load, watchers, seconds))
        with started(python("bench.stalled", str(port), str(stalled))) as crowd:
            crowd.hear(60)
            with_them.append(_p99(load, watchers, seconds))
    ratios = [after / before for before, after in zip(without, with_them, strict=True)]
    return {
        "stalled": stalled,
        "p99_without_us": spread(without),
        "p99_with_us": spread(with_them),
        "ratio": spread(ratios) | {"median": median(ratios)},
    }


def _p99(load: Process, watchers: Process, seconds: float) -> float:
    delays, _ = round_of(load, watchers, _RATE, seconds)
    found = delays[BEHIND]
    return found[int(_SHARE * len(found))] / 1e3


def _line(row: dict[str, Any]) -> list[str]:
    return [
        str(row["stalled"]),
        *(
            f"{row[name]['median']:.2f} ({row[name]['min']:.2f} - {row[name]['max']:.2f})"
            for name in ("p99_without_us", "p99_with_us", "ratio")
        ),
    ]


if __name__ == "__main__":
    main()
