"""Does memory stay flat while three times as much comes as can be carried?

    python -m bench.overload [--minutes 10] [--quick]

A hundred consumers read all they get; beside them there are slow ones of every policy, which read a
tenth of what they should, and some that read nothing; who is cut comes back a second later. First
it is measured what the proxy carries to all of these when upstream sends as fast as it is read: the
sustainable rate. Then three times that is offered for ten minutes; what the proxy doesn't read in
time is thrown away at the source. The proxy's memory is looked at every second.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

from bench.contenders import proxy, started
from bench.machine import resident_bytes
from bench.results import plain, save, table, verdict
from bench.talk import Process, python
from bench.traffic import Case, Crowd, case_text

_CASE = Case("100 x 20 of 500", (Crowd(100, 20),))
_TIMES = 3.0
_PROBE_SECONDS = 5.0
_SETTINGS = {
    "STREAM_PROXY_OUTBOX_BYTES": str(4 << 20),
    "STREAM_PROXY_OUTBOX_AGE_SECONDS": "20",
    "STREAM_PROXY_RING_BYTES": str(32 << 20),
}
"""Bounds that are reached within seconds, so that only what has none goes on growing."""
_SLOW_BYTES_PER_SECOND = 1_000_000
_POLICIES = {"disconnect": 5, "conflate": 5, "sample=100": 5, "bars": 5}
_SETTLED_SHARE = 0.1
_GROWTH = 1.02
_CARRIED = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory at three times the sustainable rate.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true", help="half a minute")
    arguments = parser.parse_args()
    seconds = 30.0 if arguments.quick else arguments.minutes * 60
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(started(python("bench.flood", case_text(_CASE))))
        url = f"ws://127.0.0.1:{load.hear()['port']}"
        contender, port = stack.enter_context(proxy(url, "msgpack", **_SETTINGS))
        readers = stack.enter_context(
            started(python("bench.sinks", case_text(_CASE), "alpaca", str(port)))
        )
        readers.hear(120)
        slow = [f"{policy}:{n}:{_SLOW_BYTES_PER_SECOND}" for policy, n in _POLICIES.items()]
        crowd = stack.enter_context(
            started(python("bench.trickle", str(port), *slow, "disconnect:5:0"))
        )
        crowd.hear(60)
        probe = load.ask(rate=0, seconds=_PROBE_SECONDS, patience=60)
        sustainable = probe["sent"] / _PROBE_SECONDS
        before = contender.cpu_seconds()
        load.say(rate=_TIMES * sustainable, seconds=seconds)
        resident = _watch(contender, seconds)
        flood = load.hear(60)
        cpu_share = (contender.cpu_seconds() - before) / seconds
        crowds = crowd.ask(report=True)["crowds"]
        readers.ask(missing=True)  # says so if anybody who read was cut
    row = _row(resident, seconds) | {
        "sustainable_per_second": sustainable,
        "offered_per_second": (flood["sent"] + flood["thrown"]) / seconds,
        "carried_per_second": flood["sent"] / seconds,
        "cpu_share": cpu_share,
        "crowds": crowds,
    }
    table(
        [[name, plain(value)] for name, value in row.items() if isinstance(value, float)],
        ["", "value"],
    )
    table(
        [
            [c["policy"], str(c["consumers"]), plain(c["read_bytes"] / 1e6), str(c["cut"])]
            for c in crowds
        ],
        ["slow consumers", "", "MB read", "cut"],
    )
    print()
    verdicts = [
        verdict("carried / sustainable", row["carried_per_second"] / sustainable, _CARRIED),
        verdict(
            "most memory in the second half / in the first",
            row["second_half_most_bytes"] / row["first_half_most_bytes"],
            _GROWTH,
            at_most=True,
        ),
    ]
    save("overload", [row | {"resident_bytes": resident}], verdicts)


def _watch(contender: Process, seconds: float) -> list[int]:
    """Resident memory, once a second."""
    started_at = time.monotonic()
    found = []
    while time.monotonic() - started_at < seconds:
        time.sleep(1.0)
        found.append(resident_bytes(contender.pid))
    return found


def _row(resident: list[int], seconds: float) -> dict[str, Any]:
    settled = resident[int(_SETTLED_SHARE * len(resident)) :]
    half = len(settled) // 2
    return {
        "seconds": seconds,
        "first_half_most_bytes": float(max(settled[:half])),
        "second_half_most_bytes": float(max(settled[half:])),
        "at_the_end_bytes": float(resident[-1]),
    }


if __name__ == "__main__":
    main()
