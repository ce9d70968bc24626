"""What do cost and memory grow with?

    python -m bench.growth [--quick]

Cost of a delivery with the number of consumers, cost of a message with the number of symbols, both
in CPU time of the proxy; what it takes to subscribe to 10,000 symbols and to leave them; memory of
a consumer that only listens and of a symbol; and how long 1,000 consumers take to come back when
all were cut at once.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Iterator
from typing import Any

from bench.contenders import proxy, proxy_lane, started
from bench.machine import resident_bytes, wait_until_settled
from bench.results import plain, save, spread, table, verdict
from bench.talk import Process, python
from bench.traffic import Case, Crowd, case_text, tickers

_MOST_MESSAGES = 500_000
_CONSUMERS = (10, 100, 1_000, 5_000)
_SYMBOLS = (10, 1_000, 11_000)
_MANY_SYMBOLS = 10_000
_IDLE = 2_000
_RETURNING = 1_000
_QUIET = "QUIET"
"""A symbol without messages."""

_COST_GROWTH = 1.3
_IDLE_BYTES = 20_000

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="What cost and memory grow with.")
    parser.add_argument("--quick", action="store_true", help="leave out the largest")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rounds, seconds = arguments.rounds, 0.2 if arguments.quick else 0.5
    crowds = _CONSUMERS[: 3 if arguments.quick else None]
    markets = _SYMBOLS[: 2 if arguments.quick else None]
    rows = [_cost_of_a_delivery(consumers, rounds, seconds) for consumers in crowds]
    rows += [_cost_of_a_message(symbols, rounds, seconds) for symbols in markets]
    # Each on a proxy of its own: what one leaves free would hold part of the next one's.
    with _stage() as (contender, _, visitors):
        rows += _memory_of_consumers(contender, visitors)
        rows += _return_of_consumers(contender, visitors, rounds)
    with _stage() as (contender, load, visitors):
        rows += _many_symbols(contender, load, visitors, rounds, arguments.quick)
    table(list(map(_line, rows)), ["what", "unit", "median", "min", "max", "remark"])
    print()
    save("growth", rows, _verdicts(rows))


def _row(what: str, unit: str, values: list[float], remark: str = "") -> Row:
    return {"what": what, "unit": unit, "value": spread(values), "remark": remark}


def _line(row: Row) -> list[str]:
    value = row["value"]
    numbers = (plain(value[name]) for name in ("median", "min", "max"))
    return [row["what"], row["unit"], *numbers, row["remark"]]


# Cost


def _cost_of_a_delivery(consumers: int, rounds: int, seconds: float) -> Row:
    case = Case(f"{consumers} x 20 of 500", (Crowd(consumers, 20),))
    with proxy_lane(case) as lane:
        messages = lane.warm_up(seconds, _MOST_MESSAGES)
        outcomes = [lane.round(messages) for _ in range(rounds)]
    per_write = statistics.median(o.deliveries / o.frames for o in outcomes)
    return _row(
        f"a delivery, {consumers} consumers x 20 of 500 symbols",
        "ns",
        [o.cpu_seconds / o.deliveries * 1e9 for o in outcomes],
        f"{per_write:.0f} per write",
    )


def _cost_of_a_message(symbols: int, rounds: int, seconds: float) -> Row:
    """Ten consumers ask for a fifth of the symbols each, by name: two deliveries a message."""
    case = Case(f"{symbols} symbols", (Crowd(10, symbols // 5),), symbols=symbols)
    with proxy_lane(case) as lane:
        messages = lane.warm_up(seconds, _MOST_MESSAGES)
        outcomes = [lane.round(messages) for _ in range(rounds)]
    return _row(
        f"a message, {symbols} symbols, 10 consumers x a fifth",
        "ns",
        [o.cpu_seconds / o.messages * 1e9 for o in outcomes],
        f"{outcomes[0].deliveries / outcomes[0].messages:.2f} deliveries each",
    )


# The control plane and memory, on one proxy


@contextlib.contextmanager
def _stage() -> Iterator[tuple[Process, Process, Process]]:
    """A proxy, its load, and visitors; the proxy lets go of a symbol as soon as nobody wants it."""
    case = case_text(Case("control plane", (), symbols=_MANY_SYMBOLS))
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(started(python("bench.load", case, "alpaca")))
        url = f"ws://127.0.0.1:{load.hear()['port']}"
        contender, port = stack.enter_context(
            proxy(
                url,
                "msgpack",
                STREAM_PROXY_LINGER_SECONDS="0",
                STREAM_PROXY_MAX_MESSAGES_PER_SECOND="100000",
                STREAM_PROXY_CONSUMER_ACKNOWLEDGEMENT_SECONDS="60",
            )
        )
        visitors = stack.enter_context(started(python("bench.visitors", str(port))))
        visitors.hear()
        visitors.ask(join=20, symbols=[_QUIET])  # what is allocated once doesn't count
        visitors.ask(leave=True)
        wait_until_settled(contender.pid)
        yield contender, load, visitors


def _memory_of_consumers(contender: Process, visitors: Process) -> list[Row]:
    before = resident_bytes(contender.pid)
    visitors.ask(join=_IDLE, symbols=[_QUIET], patience=150)
    wait_until_settled(contender.pid)
    each = (resident_bytes(contender.pid) - before) / _IDLE
    visitors.ask(leave=True)
    wait_until_settled(contender.pid)
    return [_row("memory of an idle consumer", "bytes", [each], f"{_IDLE} consumers")]


def _return_of_consumers(contender: Process, visitors: Process, rounds: int) -> list[Row]:
    visitors.ask(join=_RETURNING, symbols=[_QUIET], patience=150)
    wait_until_settled(contender.pid)
    walls, cpus = [], []
    for _ in range(rounds):
        before = contender.cpu_seconds()
        walls.append(visitors.ask(rejoin=True, patience=150)["seconds"])
        cpus.append((contender.cpu_seconds() - before) / _RETURNING * 1e6)
        wait_until_settled(contender.pid)
    visitors.ask(leave=True)
    wait_until_settled(contender.pid)
    what = f"return of {_RETURNING} consumers at once"
    return [_row(what, "s", walls), _row("CPU of a consumer's return", "µs", cpus)]


def _many_symbols(
    contender: Process, load: Process, visitors: Process, rounds: int, quick: bool
) -> list[Row]:
    """Subscribe and unsubscribe them in one message, and in as many as the C# SDK sends."""
    symbols = tickers(_MANY_SYMBOLS)
    rows = []
    visitors.ask(join=1, symbols=[_QUIET])
    wait_until_settled(contender.pid)
    empty = resident_bytes(contender.pid)
    memory = 0.0
    for pieces in (1,) if quick else (1, 100):
        seconds: dict[str, list[float]] = {"subscribe": [], "unsubscribe": []}
        cpus: dict[str, list[float]] = {"subscribe": [], "unsubscribe": []}
        for _ in range(rounds):
            for action, walls in seconds.items():
                before = contender.cpu_seconds()
                answer = visitors.ask(action=action, symbols=symbols, pieces=pieces, patience=120)
                walls.append(answer["seconds"])
                wait_until_settled(contender.pid)
                cpus[action].append(contender.cpu_seconds() - before)
                if not memory:
                    load.ask(send=2 * _MANY_SYMBOLS)
                    wait_until_settled(contender.pid)
                    memory = (resident_bytes(contender.pid) - empty) / _MANY_SYMBOLS
        for action, walls in seconds.items():
            what = f"{action} {_MANY_SYMBOLS} symbols in {pieces} message{'s'[: pieces > 1]}"
            cpu = statistics.median(cpus[action])
            rows.append(_row(what, "s", walls, f"{cpu:.3f} s of CPU, upstream's part included"))
    remark = "subscribed, with a last value"
    return [*rows, _row("memory of a symbol", "bytes", [memory], remark)]


def _verdicts(rows: list[Row]) -> list[dict[str, Any]]:
    value = {row["what"]: row["value"]["median"] for row in rows}
    verdicts = []
    costs = [value[name] for name in value if name.startswith("a delivery")]
    if len(costs) == len(_CONSUMERS):
        what = f"cost per delivery, {_CONSUMERS[-1]} consumers / {_CONSUMERS[0]} consumers"
        verdicts.append(verdict(what, costs[-1] / costs[0], _COST_GROWTH, at_most=True))
    what = "memory of an idle WebSocket consumer"
    idle = value["memory of an idle consumer"]
    verdicts.append(verdict(what, idle, _IDLE_BYTES, at_most=True))
    return verdicts


if __name__ == "__main__":
    main()
