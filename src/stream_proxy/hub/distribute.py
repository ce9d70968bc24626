"""HOT PATH. The two innermost loops of fan-out: who gets each message, and giving it to them.

Kept small and plain so that mypyc can compile them (``docs/performance.md``).
"""

from __future__ import annotations

from typing import Any, TypeAlias

from mypy_extensions import i64

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
    kind: str,
    mixed: bool,
    types: list[str],
    symbols: list[str],
    targets: list[list[Any]],
    known: dict[str, int],
) -> int:
    """Count the deliveries of one type: each of its messages times the members of its targets.

    Args:
        mixed: whether there are other types in the batch.
        known: the members by symbol, as far as they were counted since anybody came or went;
            filled in here.
    """
    deliveries: i64 = 0
    for index in range(len(symbols)):
        if mixed and types[index] != kind:
            continue
        symbol = symbols[index]
        found = known.get(symbol)
        if found is None:
            found = 0
            for target in targets[index]:
                found += len(target.members)
            known[symbol] = found
        members: i64 = found
        deliveries += members
    return int(deliveries)


def distribute(targets: list[Targets], items: list[Any]) -> None:
    """Append each item to all of its targets."""
    for index in range(len(items)):
        item = items[index]
        for target in targets[index]:
            target.append(item)
