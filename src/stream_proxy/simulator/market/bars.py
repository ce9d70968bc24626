"""One bar in the making, by Alpaca's aggregation rules (``model/conditions.py``)."""

from __future__ import annotations

from stream_proxy.model.conditions import BarEffect, OpenClose
from stream_proxy.model.messages import Bar
from stream_proxy.model.time import to_timestamp

_VWAP_DECIMALS = 6


class BarBuilder:
    """Collects the trades of one symbol and one interval.

    Prices are 0 until a trade that may set them has come. ``volume`` is an ``int`` as long as
    sizes are: stock volumes must not become floats on the wire.
    """

    __slots__ = (
        "_notional",
        "_notional_volume",
        "close",
        "count",
        "high",
        "low",
        "open",
        "volume",
    )

    def __init__(self) -> None:
        self.open = self.high = self.low = self.close = 0.0
        self.volume: float = 0
        self.count = 0
        # The vwap leaves out trades that count for volume but not for high and low.
        self._notional = 0.0
        self._notional_volume: float = 0

    def add(self, price: float, size: float, effect: BarEffect) -> None:
        """Count one trade, as far as its conditions let it count."""
        when = effect.open_close
        if when is OpenClose.ALWAYS:
            if not self.open:
                self.open = price
            self.close = price
        elif when is OpenClose.FIRST:
            self.open = self.open or price
            self.close = self.close or price
        if effect.high_low:
            self.see(price)
            if effect.volume:
                self._notional += price * size
                self._notional_volume += size
        if effect.volume:
            self.volume += size
            self.count += 1

    def see(self, price: float) -> None:
        """Widen high and low to a price."""
        self.high = max(self.high, price)
        self.low = min(self.low, price) if self.low else price

    @property
    def vwap(self) -> float:
        """The volume-weighted average price; 0 without volume."""
        if not self._notional_volume:
            return 0.0
        return round(self._notional / self._notional_volume, _VWAP_DECIMALS)

    @property
    def is_complete(self) -> bool:
        """Whether Alpaca would send this bar: prices and volume are all there."""
        # Open and close, high and low become known in pairs.
        return bool(self.open and self.high and self.volume)

    def message(self, kind: type[Bar], symbol: str, start_ns: int) -> Bar:
        """The bar as ``Bar``, ``UpdatedBar`` or ``DailyBar``, stamped with its left edge."""
        return kind(
            symbol,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            to_timestamp(start_ns),
            self.count,
            self.vwap,
        )
