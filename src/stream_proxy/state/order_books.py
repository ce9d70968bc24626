"""The full order book of each crypto symbol, so that a late consumer starts with a whole one.

Alpaca sends the whole book (``r: true``) only after subscribing, then only the levels that
changed. Updates are kept as they come and folded together when somebody asks, or when enough have
gathered: most books are never asked for.
Source: Alpaca, "Real-time Crypto Data", order books; size 0 removes a level.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from stream_proxy.model.topics import WILDCARD
from stream_proxy.wire.alpaca.codec import Codec, FrameDamaged

_FOLD_AFTER = 256


class OrderBooks:
    """Books by symbol, for one feed and its codec."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._updates: dict[str, list[bytes]] = {}

    def remember(self, symbol: str, item: Any) -> None:
        """Take an order book message."""
        updates = self._updates.setdefault(symbol, [])
        updates.append(bytes(item))
        if len(updates) >= _FOLD_AFTER:
            whole = self.snapshot(symbol)
            self._updates[symbol] = [] if whole is None else [whole]

    def snapshot(self, symbol: str) -> bytes | None:
        """The whole book as one message with ``r: true``; None when its beginning wasn't seen."""
        book: dict[str, dict[float, Any]] | None = None
        last: dict[str, Any] = {}
        for item in self._updates.get(symbol, ()):
            try:
                message = self._codec.decode_fields(item)
                if message.get("r"):
                    book = {"b": {}, "a": {}}
                if book is None:
                    continue
                for side in ("b", "a"):
                    for level in message.get(side) or ():
                        if level["s"]:
                            book[side][level["p"]] = level["s"]
                        else:
                            book[side].pop(level["p"], None)
                last = message
            except (FrameDamaged, KeyError, TypeError):
                return None  # a book with an unreadable update can't be vouched for
        if book is None:
            return None
        bids, asks = sorted(book["b"].items(), reverse=True), sorted(book["a"].items())
        whole = {
            "T": "o",
            "S": symbol,
            "t": last["t"],
            "b": [{"p": price, "s": size} for price, size in bids],
            "a": [{"p": price, "s": size} for price, size in asks],
            "r": True,
        }
        return self._codec.encode(whole)

    def symbols(self) -> list[str]:
        return list(self._updates)

    def keep(self, symbols: Collection[str]) -> None:
        """Forget the books that upstream doesn't send any more."""
        if WILDCARD not in symbols:
            self._updates = {name: u for name, u in self._updates.items() if name in symbols}

    def forget(self) -> None:
        """After an interruption the books are unknown until upstream sends them whole."""
        self._updates.clear()
