"""What do consumers that read nothing cost those that read?

    python -m bench.isolation [--quick]

Two proxies, each with a load of its own and a thousand consumers of 20 of 500 symbols, open loop.
Behind one of them there are also consumers that asked for everything and read nothing; by the
time of the first round their sockets are full, and what is sent to them waits in the proxy.
Rounds alternate between the two, and after half of the pairs the two change places. Compared is
the p99 of the delay of those who read, from the sender's write to their read. A round has 300
messages, and the machine's own pauses of 5 to 90 ms decide the p99 of most; they only add, so the
quiet quarter of all rounds is compared: its slowest with, and its slowest without. The same with
nobody stalled on either side shows what such a comparison is worth.
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass
from typing import Any

import httpx

from bench.contenders import proxy, started
from bench.latency import BEHIND, round_of
from bench.results import save, spread, table, verdict
from bench.talk import Broken, Process, python
from bench.traffic import Case, Crowd, case_text

_CASE = Case("1000 x 20 of 500", (Crowd(1000, 20),))
_RATE = 300
"""Each message is forty writes: at 1,000 a second these alone are three quarters of a core, and the
p99 tells of queues rather than of what is added."""
_ROUND_SECONDS = 1.0
_STALLED = {0: None, 1: 1.05, 100: 1.2}
"""How many read nothing, and how many times the delay without them is allowed."""
_QUIET_SHARE = 0.25
_SHARE = 0.99
_FILL_RATE, _FILL_ROUNDS = 4_000, 12
"""3.6 MB: a socket of the loopback takes 2.6 MB that nobody reads."""
_OUTBOX_BYTES = 64 << 20
"""Nobody is cut: that would end what is measured."""


@dataclass(frozen=True)
class Side:
    """A proxy with its load and its readers."""

    port: int
    status_url: str
    load: Process
    watchers: Process

    def delays_ns(self) -> list[int]:
        """Of one round."""
        delays, _ = round_of(self.load, self.watchers, _RATE, _ROUND_SECONDS)
        return delays[BEHIND]

    def fill(self, stalled: int) -> None:
        """Send until the sockets of those who read nothing are full.

        Raises:
            Broken: in the proxy nothing waits for some of them.
        """
        for _ in range(_FILL_ROUNDS):
            round_of(self.load, self.watchers, _FILL_RATE, _ROUND_SECONDS)
        answer = httpx.get(self.status_url, trust_env=False)
        consumers = answer.raise_for_status().json()["consumers"]["listed"]
        waiting = sum(one["outbox_bytes"] > 100_000 for one in consumers)
        if waiting != stalled:
            raise Broken(f"something waits for {waiting} consumers, not for {stalled}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether stalled consumers slow others down.")
    parser.add_argument("--quick", action="store_true", help="fewer pairs of rounds")
    parser.add_argument("--pairs", type=int)
    arguments = parser.parse_args()
    pairs = arguments.pairs or (6 if arguments.quick else 30)
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(_side()) for _ in range(2)]
        for side in sides:
            side.delays_ns()
        rows = [_with(count, sides, pairs) for count in _STALLED]
    table([_line(row) for row in rows], ["stalled", "p99 without, µs", "with, µs", "ratio"])
    print()
    verdicts = [
        verdict(
            f"p99 of 1,000 consumers with {row['stalled']} stalled / without",
            row["ratio"],
            bound,
            at_most=True,
        )
        for row in rows
        if (bound := _STALLED[row["stalled"]]) is not None
    ]
    save("isolation", rows, verdicts)


@contextlib.contextmanager
def _side() -> Any:
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(started(python("bench.paced", case_text(_CASE))))
        source_port = load.hear()["port"]
        settings = {"STREAM_PROXY_OUTBOX_BYTES": str(_OUTBOX_BYTES)}
        process, port = stack.enter_context(
            proxy(f"ws://127.0.0.1:{source_port}", "msgpack", **settings)
        )
        ports = (str(port), str(source_port))
        watchers = stack.enter_context(started(python("bench.watchers", case_text(_CASE), *ports)))
        watchers.hear(120)
        status_url = process.logged(r"http=(http://127\.0\.0\.1:\d+)") + "/status?consumers=2000"
        yield Side(port, status_url, load, watchers)


def _with(stalled: int, sides: list[Side], pairs: int) -> dict[str, Any]:
    """Pairs of rounds: without and with so many that read nothing, on either side in turn."""
    without: list[list[int]] = []
    with_them: list[list[int]] = []
    for one, other in (sides, reversed(sides)):
        with started(python("bench.stalled", str(other.port), str(stalled))) as crowd:
            crowd.hear(60)
            if stalled:
                other.fill(stalled)
            for number in range(pairs // 2):
                turns = [(one, without), (other, with_them)]
                for side, found in turns if number % 2 else reversed(turns):
                    found.append(side.delays_ns())
    before, after = _p99_us(without), _p99_us(with_them)
    return {
        "stalled": stalled,
        "p99_without_us": before,
        "p99_with_us": after,
        "ratio": after["quiet"] / before["quiet"],
    }


def _p99_us(rounds: list[list[int]]) -> dict[str, float]:
    found = sorted(sorted(delays)[int(_SHARE * len(delays))] / 1e3 for delays in rounds)
    return spread(found) | {"quiet": found[int(_QUIET_SHARE * len(found))]}


def _line(row: dict[str, Any]) -> list[str]:
    return [
        str(row["stalled"]),
        *(
            f"{row[name]['quiet']:.0f} (median {row[name]['median']:.0f}, "
            f"{row[name]['min']:.0f} - {row[name]['max']:.0f})"
            for name in ("p99_without_us", "p99_with_us")
        ),
        f"{row['ratio']:.2f}",
    ]


if __name__ == "__main__":
    main()
