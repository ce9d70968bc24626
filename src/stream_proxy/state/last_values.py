"""HOT PATH. The latest trade and quote of each symbol, as they came.

One dictionary store per message. An item of a small frame is kept as it is; one of a large frame
is copied, because a raw item keeps its whole frame in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

_SMALL_FRAME_BYTES = 4096
_REMEMBERED = {"trades": "t", "quotes": "q"}


class Head(Protocol):
    T: str
    S: str


class LastValues:
    """Last known trade and quote by symbol, in upstream's codec."""

    def __init__(self) -> None:
        self._trades: dict[str, Any] = {}
        self._quotes: dict[str, Any] = {}
        self._by_type = {"t": self._trades, "q": self._quotes}

    def remember(self, heads: Sequence[Head], items: Sequence[Any], frame_bytes: int) -> None:
        """Keep the newest of each symbol of this frame."""
        trades, quotes = self._trades, self._quotes
        if frame_bytes <= _SMALL_FRAME_BYTES:
            for head, item in zip(heads, items, strict=True):
                kind = head.T
                if kind == "q":
                    quotes[head.S] = item
                elif kind == "t":
                    trades[head.S] = item
        else:
            for kind, values in self._by_type.items():
                newest = {h.S: i for h, i in zip(heads, items, strict=True) if kind == h.T}
                for symbol, item in newest.items():
                    values[symbol] = bytes(item)

    def get(self, channel: str, symbol: str) -> Any | None:
        """The last item of a topic, or None where none is known or kept."""
        values = self._by_type.get(_REMEMBERED.get(channel, ""))
        return None if values is None else values.get(symbol)

    def keep(self, channel: str, symbols: Collection[str]) -> None:
        """Forget the values of this channel that upstream doesn't renew any more."""
        values = self._by_type[_REMEMBERED[channel]]
        if "*" not in symbols:
            for symbol in values.keys() - set(symbols):
                del values[symbol]

    def symbols(self, channel: str) -> list[str]:
        """The symbols with a last value on this channel."""
        return list(self._by_type.get(_REMEMBERED.get(channel, ""), ()))

    def __len__(self) -> int:
        return len(self._trades) + len(self._quotes)
