"""HOT PATH. The latest trade and quote of each symbol, as they came.

A batch goes into the dictionary in one call. An item of a small batch is kept as it is; one of a
large batch is copied unless it is ``bytes``, because a raw item keeps its whole batch in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from itertools import compress
from typing import Any

_SMALL_BATCH_BYTES = 4096
_REMEMBERED = {"trades": "t", "quotes": "q"}


class LastValues:
    """Last known trade and quote by symbol, in upstream's codec."""

    def __init__(self) -> None:
        self._by_type: dict[str, dict[str, Any]] = {"t": {}, "q": {}}

    def remember(
        self,
        kinds: AbstractSet[str],
        types: Sequence[str],
        symbols: Sequence[str],
        items: Sequence[Any],
        batch_bytes: int,
    ) -> None:
        """Keep the newest of each symbol of this batch; ``kinds`` are the types that occur."""
        for kind, values in self._by_type.items():
            if kind in kinds:
                newest = zip(symbols, items, strict=True)
                if len(kinds) > 1:
                    newest = compress(newest, map(kind.__eq__, types))  # type: ignore[assignment]
                if batch_bytes > _SMALL_BATCH_BYTES and type(items[0]) is not bytes:
                    last = dict(newest)
                    newest = zip(last, map(bytes, last.values()), strict=True)
                values.update(newest)

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
        return sum(map(len, self._by_type.values()))
