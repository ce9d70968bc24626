"""What a stock trade's conditions do to the bars it falls into.

The table is Alpaca's ("Market Data FAQ": how are bars aggregated). Each row gives, for the open
and close, the high and low, and the volume of a bar, whether such a trade counts:

``G`` it does, ``R`` it does not, ``Y`` only as the first trade of the bar.

Of several conditions on one trade the strictest wins, field by field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache


class OpenClose(IntEnum):
    """When a trade sets open and close, from lenient to strict."""

    ALWAYS = 0
    FIRST = 1
    NEVER = 2


@dataclass(frozen=True, slots=True)
class BarEffect:
    """Which fields of a bar a trade may change; ``volume`` covers the trade count too."""

    open_close: OpenClose
    high_low: bool
    volume: bool


@dataclass(frozen=True, slots=True)
class BarEffects:
    """A trade's effect on its minute bar and on its daily bar."""

    minute: BarEffect
    daily: BarEffect


_OPEN_CLOSE = {"G": OpenClose.ALWAYS, "Y": OpenClose.FIRST, "R": OpenClose.NEVER}

# code, tapes, rule for minute bars, rule for daily bars; a rule is open/close, high/low, volume.
_TABLE = (
    (" ", "AB", "GGG", "GGG"),  # regular
    ("@", "CO", "GGG", "GGG"),  # regular
    ("A", "C", "GGG", "GGG"),  # acquisition
    ("B", "AB", "RRG", "RRG"),  # average price
    ("B", "C", "GGG", "GGG"),  # bunched
    ("C", "ABCO", "RRG", "RRG"),  # cash sale
    ("D", "C", "GGG", "GGG"),  # distribution
    ("E", "AB", "GGG", "GGG"),  # automatic execution
    ("F", "ABC", "GGG", "GGG"),  # intermarket sweep
    ("G", "C", "RRG", "YGG"),  # bunched sold
    ("H", "ABC", "RRG", "RRG"),  # price variation
    ("I", "ABCO", "RRG", "RRG"),  # odd lot
    ("K", "ABC", "GGG", "GGG"),  # rule 127 / 155
    ("L", "ABC", "GGG", "GGG"),  # sold last
    ("M", "ABC", "RRR", "RRR"),  # market centre official close
    ("N", "ABCO", "RRG", "RRG"),  # next day
    ("O", "ABC", "GGG", "GGG"),  # market centre opening trade
    ("P", "ABCO", "RRG", "YGG"),  # prior reference price
    ("Q", "ABC", "RRR", "RRR"),  # market centre official open
    ("R", "ABCO", "RRG", "RRG"),  # seller
    ("T", "ABCO", "GGG", "RRG"),  # extended hours, form T
    ("U", "ABCO", "RRG", "RRG"),  # extended hours, out of sequence
    ("V", "ABC", "RRG", "RRG"),  # contingent
    ("W", "CO", "RRG", "RRG"),  # average price
    ("X", "ABC", "GGG", "GGG"),  # cross
    ("Y", "C", "GGG", "GGG"),  # yellow flag
    ("Z", "ABC", "RRG", "YGG"),  # sold out of sequence
    ("4", "ABC", "RRG", "YGG"),  # derivatively priced
    ("5", "ABC", "GGG", "GGG"),  # market centre reopening
    ("6", "ABC", "GGG", "GGG"),  # market centre closing
    ("7", "ABC", "RRG", "RRG"),  # qualified contingent
    ("9", "ABC", "RRR", "GGR"),  # corrected consolidated close
)

_RULES = {(code, tape): (minute, daily) for code, tapes, minute, daily in _TABLE for tape in tapes}

# Conditions the table does not list restrict nothing.
_UNRESTRICTED = ("GGG", "GGG")


def known_conditions(tape: str) -> tuple[str, ...]:
    """The codes that the table lists for a tape, in its order."""
    return tuple(code for code, tapes, _, _ in _TABLE if tape in tapes)


def bar_effects(conditions: Iterable[str], tape: str) -> BarEffects:
    """Look up what a trade with these conditions on this tape (A, B, C or O) does to bars."""
    return _effects(tuple(conditions), tape)


@lru_cache(maxsize=4096)
def _effects(conditions: tuple[str, ...], tape: str) -> BarEffects:
    rules = [_RULES.get((code, tape), _UNRESTRICTED) for code in conditions] or [_UNRESTRICTED]
    return BarEffects(
        minute=_strictest([minute for minute, _ in rules]),
        daily=_strictest([daily for _, daily in rules]),
    )


def _strictest(rules: list[str]) -> BarEffect:
    return BarEffect(
        open_close=max(_OPEN_CLOSE[rule[0]] for rule in rules),
        high_low=all(rule[1] == "G" for rule in rules),
        volume=all(rule[2] == "G" for rule in rules),
    )
