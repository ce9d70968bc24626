"""How recorded data names things, in Alpaca's terms: conditions, venues and pairs."""

from __future__ import annotations

import re
from functools import cache

NO_VENUE = " "

_OCC = re.compile(r"[A-Z0-9]{1,6}\d{6}[CP]\d{8}")
_PAIR_SEPARATORS = "/-"
# Exchanges that write pairs as one word: where the quote currency begins must be guessed.
_QUOTE_CURRENCIES = (
    "USDT",
    "USDC",
    "BUSD",
    "TUSD",
    "USD",
    "EUR",
    "GBP",
    "TRY",
    "BTC",
    "ETH",
    "BNB",
)
_SHORTEST_JOINED_PAIR = 6
_SHORTEST_COIN = 2
_SHORTEST_QUOTE = 3

_EXCHANGE_LETTERS = frozenset("ZIMULWXBDJPQSVAENTYCHK")

# ISO market codes of the exchanges on the consolidated tapes.
_STOCK_VENUES = {
    "XASE": "A",
    "XBOS": "B",
    "XCIS": "C",
    "XADF": "D",
    "FINR": "D",
    "EDGA": "J",
    "EDGX": "K",
    "XISE": "I",
    "XCHI": "M",
    "XNYS": "N",
    "ARCX": "P",
    "XNAS": "Q",
    "LTSE": "L",
    "IEXG": "V",
    "MEMX": "U",
    "EPRL": "H",
    "XPHL": "X",
    "BATY": "Y",
    "XPSX": "X",
    "BATS": "Z",
    "XCBO": "W",
}
# The same for OPRA's participants.
_OPTION_VENUES = {
    "AMXO": "A",
    "XBOX": "B",
    "XCBO": "C",
    "EMLD": "D",
    "EDGO": "E",
    "GMNI": "H",
    "XISX": "I",
    "MCRY": "J",
    "XMIO": "M",
    "ARCO": "N",
    "MPRL": "P",
    "XNDQ": "Q",
    "MXOP": "U",
    "C2OX": "W",
    "XPHO": "X",
    "XBXO": "T",
    "BATO": "Z",
}

# QuantConnect's trade condition flags and the letters that the tapes print for them. Flags
# without a letter (regular, trade-through exempt) say nothing that the letters would.
_FLAGS = (
    (0x2, "C"),
    (0x4, "N"),
    (0x8, "R"),
    (0x10, "Y"),
    (0x20, "F"),
    (0x40, "O"),
    (0x80, "6"),
    (0x100, "5"),
    (0x200, "4"),
    (0x1000, "1"),
    (0x10000, "A"),
    (0x20000, "B"),
    (0x40000, "V"),
    (0x80000, "D"),
    (0x200000, "X"),
    (0x400000, "H"),
    (0x800000, "K"),
    (0x1000000, "M"),
    (0x2000000, "P"),
    (0x4000000, "Q"),
)
_FORM_T, _SOLD, _EXTENDED, _OUT_OF_SEQUENCE, _AVERAGE = 0x400, 0x800, 0x2000, 0x4000, 0x100000


def is_option(symbol: str) -> bool:
    """Whether a symbol is an OCC contract name without padding."""
    return _OCC.fullmatch(symbol) is not None


def pair_readings(symbol: str) -> tuple[str, ...]:
    """All ways to read a symbol as a crypto pair ``BASE/QUOTE``; none if it can't be one.

    ``SKL-USD`` has one, ``BTCUSDT`` has one, ``ETHBUSD`` two, ``BRK-B`` and ``AAPL`` none.
    """
    for separator in _PAIR_SEPARATORS:
        if separator in symbol:
            base, _, quote = symbol.partition(separator)
            is_pair = len(base) >= _SHORTEST_COIN and len(quote) >= _SHORTEST_QUOTE
            return (f"{base}/{quote}",) if is_pair else ()
    # No stock ticker is as long as two currencies.
    if len(symbol) < _SHORTEST_JOINED_PAIR or not symbol.isalnum():
        return ()
    return tuple(
        f"{symbol.removesuffix(quote)}/{quote}"
        for quote in _QUOTE_CURRENCIES
        if symbol.endswith(quote) and len(symbol) - len(quote) >= _SHORTEST_COIN
    )


@cache
def stock_venue(name: str | None) -> str:
    """The tape's letter of an exchange given as letter or market code; blank if unknown."""
    return _venue(name, _STOCK_VENUES)


@cache
def option_venue(name: str | None) -> str:
    """OPRA's letter of an exchange given as letter or market code; blank if unknown."""
    return _venue(name, _OPTION_VENUES)


def _venue(name: str | None, codes: dict[str, str]) -> str:
    if not name:
        return NO_VENUE
    return name if name in _EXCHANGE_LETTERS else codes.get(name, NO_VENUE)


@cache
def trade_conditions(flags: str, tape: str) -> list[str]:
    """The condition letters for the vendor's flags, given as hexadecimal text.

    The list is shared by all trades with the same flags.

    Raises:
        ValueError: the text is no hexadecimal number.
    """
    bits = int(flags, 16) if flags else 0
    letters = ["@" if tape in "CO" else " "]
    letters += [letter for flag, letter in _FLAGS if bits & flag]
    extended = bits & (_EXTENDED | _FORM_T)
    if bits & _OUT_OF_SEQUENCE:
        letters.append("U" if extended else "Z")
    elif extended:
        letters.append("T")
    if bits & _SOLD and not bits & _OUT_OF_SEQUENCE:
        letters.append("L")
    if bits & _AVERAGE:
        letters.append("W" if tape in "CO" else "B")
    return letters
