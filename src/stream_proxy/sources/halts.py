"""Which symbols don't trade because trading in them was stopped.

Learned from the status messages and price bands that pass by, if anybody subscribed to them.
Sources: Alpaca, "Real-time Stock Data" (status codes: tapes A and B by the CTA plan, C and O by the
UTP plan); UTP Data Feed Services Specification, "LULD Price Band Indicator".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HALTING = frozenset({"2", "H", "P"})
_RESUMING = frozenset({"3", "T"})
"""``Q`` lets quotes begin; trading waits for ``T``."""
_BANDS_SUSPENDED, _BANDS_REOPENED = "D", "E"
_LATE_PRINT_NS = 5_000_000_000
"""Trades from before a halt are reported for so long after it."""
HALT_TYPES = ("s", "l")
"""The wire types that may tell of a halt."""


@dataclass(slots=True)
class Halt:
    """A stop of trading.

    Attributes:
        since_ns: when we heard of it, wall clock.
        why: the exchange's words.
        doubtful: the connection was away since, so that its end may have been missed.
    """

    since_ns: int
    why: str
    doubtful: bool = False


class Halts:
    """The halted symbols of one feed."""

    def __init__(self) -> None:
        self.symbols: dict[str, Halt] = {}

    def tell(self, message: Mapping[str, Any], now_ns: int) -> None:
        """Take a status (``s``) or a price band (``l``); others say nothing of halts."""
        symbol = message.get("S")
        if not isinstance(symbol, str):
            return
        if message.get("T") == "s":
            code = message.get("sc")
            why = str(message.get("rm") or message.get("sm") or "trading halt")[:100]
            halting, resuming = code in _HALTING, code in _RESUMING
        else:
            code = message.get("i")
            why = "price bands suspended"
            halting, resuming = code == _BANDS_SUSPENDED, code == _BANDS_REOPENED
        if halting:
            known = self.symbols.get(symbol)
            self.symbols[symbol] = Halt(known.since_ns if known else now_ns, why)
        elif resuming:
            self.symbols.pop(symbol, None)

    def heard(self, channel: str, symbol: str, now_ns: int) -> None:
        """A halted symbol spoke: trades, or anything after an interruption, end its halt."""
        halt = self.symbols[symbol]
        trades = channel == "trades" and now_ns - halt.since_ns > _LATE_PRINT_NS
        if halt.doubtful or trades:
            del self.symbols[symbol]

    def interrupted(self) -> None:
        """What is said while we are away isn't heard."""
        for halt in self.symbols.values():
            halt.doubtful = True
