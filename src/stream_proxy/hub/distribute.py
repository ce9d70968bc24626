"""HOT PATH. The two innermost loops of fan-out: who gets each message, and giving it to them.

Kept small and plain so that mypyc can compile them (``docs/performance.md``).
"""

from __future__ import annotations

from typing import Any, TypeAlias

Targets: TypeAlias = list[list[Any]]
"""The lists that a message is appended to."""


def look_up(
    tables: dict[str, tuple[dict[str, Targets], Targets]], types: list[str], symbols: list[str]
) -> list[Targets]:
    """Give the targets of each message.

    Args:
        tables: for every type that occurs, the targets by symbol, and those of all other symbols.
    """
    found: list[Targets] = []
    for index in range(len(symbols)):
        table, everyone = tables[types[index]]
        found.append(table.get(symbols[index], everyone))
    return found


def tally(
    types: list[str],
    symbols: list[str],
    targets: list[list[Any]],
    known: dict[str, dict[str, int]],
) -> dict[str, int]:
    """Count deliveries by type: each message times the members of its targets.

    Args:
        known: for every type that occurs, the members by symbol, as far as they were counted
            since anybody came or went; filled in here.
    """
    found: dict[str, int] = {}
    for index in range(len(symbols)):
        kind = types[index]
        symbol = symbols[index]
        members = known[kind].get(symbol, -1)
        if members < 0:
            members = 0
            for target in targets[index]:
                members += len(target.members)
            known[kind][symbol] = members
        if members:
            found[kind] = found.get(kind, 0) + members
    return found


def distribute(targets: list[Targets], items: list[Any]) -> None:
    """Append each item to all of its targets."""
    for index in range(len(items)):
        item = items[index]
        for target in targets[index]:
            target.append(item)
