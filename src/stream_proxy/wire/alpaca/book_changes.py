"""Order book messages added up: one that does what several do, one after the other.

A message of Alpaca's says which levels changed, size 0 for one that is gone, or with ``r: true``
gives the whole book. Source: Alpaca, "Real-time Crypto Data", order books.
"""

from __future__ import annotations

from typing import Any

from stream_proxy.wire.alpaca.codec import Codec, FrameDamaged

_SIDES = ("b", "a")
_MESSAGE_BYTES, _LEVEL_BYTES = 100, 60


class BookChanges:
    """The changes to one book, in one codec."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._last: dict[str, Any] = {}
        self._whole = False
        self._levels: dict[str, dict[float, Any]] = {side: {} for side in _SIDES}

    @classmethod
    def of(cls, codec: Codec, item: bytes) -> BookChanges | None:
        """Begin with one message; None if it can't be read."""
        made = cls(codec)
        return made if made.add(item) else None

    @property
    def size_bytes(self) -> int:
        """About what they take."""
        return _MESSAGE_BYTES + _LEVEL_BYTES * sum(map(len, self._levels.values()))

    def add(self, item: bytes) -> bool:
        """Take one more; False, and nothing is changed, if it can't be read."""
        try:
            message = self._codec.decode_fields(item)
            sides = {
                side: {level["p"]: level["s"] for level in message.get(side) or ()}
                for side in _SIDES
            }
        except (FrameDamaged, KeyError, TypeError):
            return False
        if message.get("r"):
            self._whole = True
            self._levels = {side: {} for side in _SIDES}
        for side, levels in self._levels.items():
            levels.update(sides[side])
            if self._whole:
                for price in [price for price, size in sides[side].items() if not size]:
                    del levels[price]
        self._last = message
        return True

    def whole(self) -> bytes:
        """One message that does what all of them do."""
        bids = sorted(self._levels["b"].items(), reverse=True)
        asks = sorted(self._levels["a"].items())
        made = {
            **self._last,
            "b": [{"p": price, "s": size} for price, size in bids],
            "a": [{"p": price, "s": size} for price, size in asks],
        }
        if self._whole:
            made["r"] = True
        return self._codec.encode(made)
