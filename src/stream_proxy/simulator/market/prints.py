"""The kinds of stock trades that occur, and how often.

A kind is a combination of conditions as the tape prints it, for instance ``["@", "F", "I"]``:
regular on Nasdaq's tape, an intermarket sweep, an odd lot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from stream_proxy.model.conditions import BarEffects, bar_effects, known_conditions

ROUND_LOT = 100
TABLE_SIZE = 256

# After so many turns the tables have shown all rare conditions, and repeat.
TURNS = 8

# Sweeps are common, all else is rare.
_SWEEPS_IN_TEN = 3
_RARE_IN_TABLE = 6
# Odd lots and extended hours are added where they belong, the base letter is always there.
_NOT_RARE = frozenset(" @FITU")


@dataclass(frozen=True, slots=True)
class PrintKind:
    """Conditions of a trade and what they mean for bars.

    ``conditions`` is shared by all trades of the kind. ``at_market`` says that such a trade
    happens at the best bid or offer; the others may be priced elsewhere.
    """

    conditions: list[str]
    effects: BarEffects
    at_market: bool


@dataclass(frozen=True, slots=True)
class PrintTables:
    """For one tape and session: tables to draw a kind from, by lot and by rarity.

    ``round_lots`` and ``odd_lots`` have ``TABLE_SIZE`` entries; an even draw gives the right mix.
    """

    round_lots: tuple[PrintKind, ...]
    odd_lots: tuple[PrintKind, ...]


@cache
def print_tables(tape: str, regular_hours: bool, turn: int) -> PrintTables:
    """The tables of a tape for regular or extended hours.

    ``turn``, below ``TURNS``, shifts which rare conditions are in the table, so that different
    symbols together show all of them.
    """
    base = [" " if tape in "AB" else "@"]
    session = [] if regular_hours else ["T"]
    rare = [code for code in known_conditions(tape) if code not in _NOT_RARE]
    if not regular_hours:
        rare.append("U")
    chosen = [rare[(turn * _RARE_IN_TABLE + i) % len(rare)] for i in range(_RARE_IN_TABLE)]

    def table(lot: list[str]) -> tuple[PrintKind, ...]:
        usual = _kind([*base, *session, *lot], tape)
        sweep = _kind([*base, "F", *session, *lot], tape)
        kinds = [_kind([*base, *session, code, *lot], tape) for code in chosen]
        common = TABLE_SIZE - len(kinds)
        sweeps = common * _SWEEPS_IN_TEN // 10
        return (usual,) * (common - sweeps) + (sweep,) * sweeps + tuple(kinds)

    return PrintTables(table([]), table(["I"]))


def _kind(conditions: list[str], tape: str) -> PrintKind:
    plain = [code for code in conditions if code != "I"]
    return PrintKind(
        conditions, bar_effects(conditions, tape), bar_effects(plain, tape).minute.high_low
    )
