"""Writes the README's performance section from kept results, so that no figure is typed by hand.

    python -m bench.readme                write it again from docs/figures
    python -m bench.readme --keep         first take over the newest results of bench/results
    python -m bench.readme --keep grpc    only those of one benchmark

Kept are whole runs with their machine and command, not the best line of each.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from typing import Any

from bench.grpc_lanes import OURS, PLAIN
from bench.machine import ROOT
from bench.results import short

README = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures"
_RESULTS = ROOT / "bench" / "results"
_QUESTIONS = ("fanout", "latency", "grpc", "orders", "growth", "isolation", "overload")
_SHARES = ("p50", "p99")
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the README's performance section.")
    parser.add_argument(
        "--keep", nargs="*", choices=_QUESTIONS, help="take over bench/results first"
    )
    keep = parser.parse_args().keep
    if keep is not None:
        FIGURES.mkdir(exist_ok=True)
        for question in keep or _QUESTIONS:
            shutil.copy(_RESULTS / f"{question}.json", FIGURES / f"{question}.json")
    README.write_text(with_section(README.read_text(), section()))


def with_section(text: str, made: str) -> str:
    """The text with what is between the two marks replaced."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{made}{_END}{after}"


def section() -> str:
    """The performance section, from the kept results."""
    results = {name: json.loads((FIGURES / f"{name}.json").read_text()) for name in _QUESTIONS}
    parts = [
        _fanout(results["fanout"]["rows"]),
        _latency(results["latency"]["rows"]),
        _grpc(results["grpc"]["rows"]),
        _orders(results["orders"]["rows"]),
        _growth(results["growth"]["rows"]),
        _isolation(results["isolation"]["rows"]),
        _overload(results["overload"]["rows"]),
        _missed([v for result in results.values() for v in result["verdicts"]]),
        _machine(results),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _fanout(rows: Sequence[dict[str, Any]]) -> str:
    cases: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        cases.setdefault(row["case"], {})[row["contender"]] = row
    lines = [
        "Deliveries per second of CPU, and how many times that is what others do with the same",
        "work in the same run (median of 5 rounds, in turns, one core each):",
        "",
        "| consumers x symbols | this proxy | ÷ nats-server | ÷ `websockets` proxy | ÷ floor |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, of in cases.items():
        cells = [
            short(of["proxy"]["deliveries_per_cpu_second"]["median"]),
            *(_ratio(of[other]) for other in ("nats-server", "websockets", "floor")),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "The floor is a program that writes frames made beforehand to the same sockets.",
        "nats-server gets its messages ready-made; a real bridge would have to be paid too. It is",
        "ahead where upstream sends each message alone, or where JSON has to be made of msgpack.",
        "The proxy on `websockets` sends a frame a message, as such programs do: joining them is",
        "where most of that factor comes from.",
        "",
    ]
    return "\n".join(lines)


def _ratio(row: dict[str, Any]) -> str:
    ratio = row["proxy_divided_by_this"]
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2f}"


def _latency(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "Delay from the sender's write to the consumer's read in µs, 50 consumers x 20 of 500",
        "symbols, open loop, against a consumer connected straight to the sender:",
        "",
        "| messages/s | straight: p50 | p99 | p99.9 | through the proxy: p50 | p99 | p99.9 |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    by_rate: dict[int, dict[str, Any]] = {}
    for row in rows:
        by_rate.setdefault(row["messages_per_second"], {})[row["kind"]] = row["delay_us"]
    for rate, of in by_rate.items():
        cells = [
            f"{of[kind][share]:,.0f}"
            for kind in ("straight", "proxy")
            for share in ("p50", "p99", "p99.9")
        ]
        lines.append(f"| {rate:,} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _grpc(rows: Sequence[dict[str, Any]]) -> str:
    cases: dict[str, dict[str, dict[str, Any]]] = {}
    delays: dict[int, dict[str, dict[str, float]]] = {}
    for row in rows:
        if "case" in row:
            cases.setdefault(row["case"], {})[row["contender"]] = row
        else:
            delays.setdefault(row["messages_per_second"], {})[row["kind"]] = row["delay_us"]
    lines = [
        "gRPC, one item a response: deliveries per second of CPU, and how many times that is what",
        "a plain `grpc.aio` server and our own WebSocket outlet do with the same work:",
        "",
        "| consumers x symbols | gRPC | ÷ plain `grpc.aio` | ÷ our WebSocket |",
        "|---|--:|--:|--:|",
    ]
    for name, of in cases.items():
        ours = short(of[OURS]["deliveries_per_cpu_second"]["median"])
        ratios = " | ".join(_ratio(of[other]) for other in (PLAIN, "proxy"))
        lines.append(f"| {name} | {ours} | {ratios} |")
    lines += [
        "",
        "Delay of gRPC in µs, 20 consumers x 20 of 500 symbols, open loop, in turns:",
        "",
        "| messages/s | this proxy: p50 | p99 | plain `grpc.aio`: p50 | p99 |",
        "|--:|--:|--:|--:|--:|",
    ]
    for rate, kinds in delays.items():
        cells = [f"{kinds[kind][share]:,.0f}" for kind in (OURS, PLAIN) for share in ("p50", "p99")]
        lines.append(f"| {rate:,} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _orders(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "Delay of an order update in µs, from its sender to a consumer, with the journal and",
        "without it:",
        "",
        "| updates/s | with: p50 | p99 | without: p50 | p99 |",
        "|--:|--:|--:|--:|--:|",
    ]
    rates: dict[int, dict[str, dict[str, float]]] = {}
    for row in rows:
        if "delay_us" in row:  # the last row is about the disk alone
            rates.setdefault(row["events_per_second"], {})[row["journal"]] = row["delay_us"]
    for rate, of in rates.items():
        cells = [f"{of[kind][share]:,.0f}" for kind in ("with", "without") for share in _SHARES]
        lines.append(f"| {rate:,} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _growth(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| cost | |", "|---|--:|"]
    for row in rows:
        value = row["value"]["median"]
        number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        lines.append(f"| {row['what']} | {number} {row['unit']} |")
    return "\n".join([*lines, ""])


def _isolation(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "p99 of the delay of 1,000 consumers, in µs, with others that asked for everything and",
        "read nothing, whose sockets are full (300 messages/s, rounds in turns, their quiet",
        "quarter; the first line is the comparison's own error):",
        "",
        "| read nothing | without them | with them | ÷ |",
        "|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [f"{row[name]['quiet']:,.0f}" for name in ("p99_without_us", "p99_with_us")]
        lines.append(f"| {row['stalled']} | {' | '.join(cells)} | {row['ratio']:.2f} |")
    return "\n".join([*lines, ""])


def _overload(rows: Sequence[dict[str, Any]]) -> str:
    (row,) = rows
    slow = sum(crowd["consumers"] for crowd in row["crowds"])
    carried = row["carried_per_second"] / row["sustainable_per_second"]
    times = row["offered_per_second"] / row["sustainable_per_second"]
    most = [row[f"{half}_half_most_bytes"] / 1e6 for half in ("first", "second")]
    return (
        f"{row['seconds'] / 60:.0f} minutes of {times:.1f} times the rate that can be carried, "
        f"{slow} of the consumers slow or deaf:\n"
        f"memory at most {most[0]:.0f} MB in the first half, {most[1]:.0f} MB in the second; "
        f"{carried:.0%} of that rate was still carried.\n"
    )


def _missed(verdicts: Sequence[dict[str, Any]]) -> str:
    missed = [v for v in verdicts if not v["met"]]
    if not missed:
        return ""
    lines = ["What was asked for and missed in this run:", ""]
    lines += [f"- {v['what']}: {v['value']:.2f} instead of {v['bound']:g}" for v in missed]
    return "\n".join([*lines, ""])


def _machine(results: dict[str, dict[str, Any]]) -> str:
    machine = results["fanout"]["machine"]
    commits = " and ".join(sorted({r["machine"]["commit"] for r in results.values()}))
    versions = {
        k: v for result in results.values() for k, v in result["machine"]["packages"].items()
    }
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    commands = ", ".join(f"`{result['machine']['command']}`" for result in results.values())
    return (
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, Python "
        f"{machine['python']}, {packages}; {machine['when'][:10]}, commit {commits}.\n"
        f"Measured by {commands}; `make bench` runs them all on your machine. How the figures came "
        "about, and what did not help: [docs/performance.md](docs/performance.md).\n"
    )


if __name__ == "__main__":
    main()
