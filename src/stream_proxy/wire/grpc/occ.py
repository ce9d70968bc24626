"""OCC names of option contracts, as Alpaca writes them: without padding, ``AAPL261218C00200000``.

The root comes first, then six digits of the expiry, C or P, and eight digits of the strike. It may
end with a digit, after a split or merger: ``AAPL1``. The rest has a fixed length, so the root is
what is before the last 15 letters. Source: OCC, "Options Symbology Initiative".
"""

from __future__ import annotations

import re

_OCC = re.compile(r"([A-Z]{1,5}[0-9]?|[A-Z]{6})[0-9]{6}[CP][0-9]{8}")


def occ_root(symbol: str) -> str:
    """The root of a contract's name; empty if it is none."""
    match = _OCC.fullmatch(symbol)
    return match[1] if match else ""


def matches_underlying(symbol: str, underlying: str) -> bool:
    """Whether a contract is one of an underlying's, as far as its name says.

    The contracts of a stock have its name as their root, without the dot: ``BRKB…`` belong to
    ``BRK.B``. Adjusted ones belong to it too, since they are settled in what has become of its
    shares: ``AAPL1…`` is one of ``AAPL``'s. Asked for by the root itself, ``AAPL1``, only they
    match. Indices have several roots, which no rule joins: ``SPXW…`` is not one of ``SPX``'s.
    """
    root = occ_root(symbol)
    wanted = underlying.upper().replace(".", "")
    return bool(root) and wanted in (root, root.rstrip("0123456789"))
