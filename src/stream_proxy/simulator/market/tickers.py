"""Names, prices and tapes for simulated stocks.

Well-known tickers come first, with prices of their order of magnitude; the rest is made up.
The list is the same for everybody: the first hundred of a thousand are the first hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random
from string import ascii_uppercase

MAX_TICKERS = 11_000

# symbol, price in USD, tape (A: NYSE, B: NYSE Arca and regional, C: Nasdaq)
_KNOWN = (
    ("AAPL", 229.0, "C"),
    ("MSFT", 428.0, "C"),
    ("NVDA", 141.0, "C"),
    ("AMZN", 203.0, "C"),
    ("GOOGL", 172.0, "C"),
    ("META", 563.0, "C"),
    ("TSLA", 342.0, "C"),
    ("SPY", 592.0, "B"),
    ("QQQ", 505.0, "C"),
    ("AMD", 139.0, "C"),
    ("IWM", 233.0, "B"),
    ("AVGO", 166.0, "C"),
    ("JPM", 245.0, "A"),
    ("BAC", 46.6, "A"),
    ("F", 11.1, "A"),
    ("INTC", 24.4, "C"),
    ("PLTR", 62.1, "C"),
    ("NFLX", 883.0, "C"),
    ("DIS", 115.0, "A"),
    ("KO", 63.8, "A"),
    ("XOM", 121.0, "A"),
    ("WMT", 88.4, "A"),
    ("BRK.B", 470.0, "A"),
    ("V", 309.0, "A"),
    ("MA", 521.0, "A"),
    ("COST", 939.0, "C"),
    ("PFE", 25.2, "A"),
    ("T", 22.8, "A"),
    ("VZ", 42.6, "A"),
    ("CSCO", 58.1, "C"),
    ("ORCL", 192.0, "A"),
    ("CRM", 340.0, "A"),
    ("ADBE", 512.0, "C"),
    ("BA", 146.0, "A"),
    ("GE", 178.0, "A"),
    ("GM", 55.3, "A"),
    ("UBER", 71.4, "A"),
    ("C", 69.2, "A"),
    ("WFC", 74.9, "A"),
    ("GS", 597.0, "A"),
    ("MU", 102.0, "C"),
    ("QCOM", 156.0, "C"),
    ("SOFI", 14.9, "C"),
    ("NIO", 4.72, "A"),
    ("RIVN", 10.3, "C"),
    ("COIN", 304.0, "C"),
    ("MARA", 24.5, "C"),
    ("GME", 28.4, "A"),
    ("AMC", 4.66, "A"),
    ("SNAP", 11.2, "A"),
    ("IBM", 223.0, "A"),
    ("AIG", 75.8, "A"),
    ("DIA", 443.0, "B"),
    ("GLD", 249.0, "B"),
    ("SLV", 28.5, "B"),
    ("TLT", 90.1, "C"),
    ("XLF", 50.4, "B"),
    ("XLE", 95.6, "B"),
    ("EEM", 43.5, "B"),
    ("HYG", 79.2, "B"),
    ("SQQQ", 30.6, "C"),
    ("TQQQ", 77.9, "C"),
    ("SOXL", 28.3, "B"),
    ("VXX", 45.9, "B"),
    ("VOO", 544.0, "B"),
    ("PEP", 158.0, "C"),
    ("MRK", 97.9, "A"),
    ("LLY", 749.0, "A"),
    ("UNH", 597.0, "A"),
    ("CVX", 160.0, "A"),
)

KNOWN_TICKERS = len(_KNOWN)
"""How many of the first tickers are real ones."""

_NAME_LENGTHS = (3, 3, 3, 4, 4, 4, 4, 4, 5, 2)
_MADE_UP_TAPES = "CCCCCAAABB"


@dataclass(frozen=True, slots=True)
class Ticker:
    """A symbol, a plausible price in USD and the tape it is reported on."""

    symbol: str
    price: float
    tape: str


_BY_SYMBOL = {symbol: Ticker(symbol, price, tape) for symbol, price, tape in _KNOWN}


def ticker(symbol: str) -> Ticker:
    """Price and tape of any symbol: known, or made up once and for all from its name."""
    known = _BY_SYMBOL.get(symbol)
    if known is not None:
        return known
    rng = Random(symbol)
    # One in thirty is a penny stock; the others lie between 2 and about 400 USD.
    price = rng.uniform(0.1, 0.9) if rng.random() < 1 / 30 else 2 * 200 ** rng.random()
    return Ticker(symbol, price, rng.choice(_MADE_UP_TAPES))


def tape_of(symbol: str) -> str:
    """The tape a real symbol is reported on where that is known, else C."""
    known = _BY_SYMBOL.get(symbol)
    return known.tape if known else "C"


@cache
def tickers(count: int) -> tuple[str, ...]:
    """The first ``count`` symbols.

    Raises:
        ValueError: more than ``MAX_TICKERS`` were asked for, or less than one.
    """
    if not 1 <= count <= MAX_TICKERS:
        raise ValueError(f"between 1 and {MAX_TICKERS} symbols, not {count}")
    rng = Random("tickers")
    names = dict.fromkeys(_BY_SYMBOL)
    while len(names) < count:
        length = _NAME_LENGTHS[int(rng.random() * len(_NAME_LENGTHS))]
        names["".join(rng.choices(ascii_uppercase, k=length))] = None
    return tuple(names)[:count]
