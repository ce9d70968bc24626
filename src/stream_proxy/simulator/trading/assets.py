"""What can be traded: stocks, crypto pairs and option contracts, by symbol or by asset id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from stream_proxy.simulator.market.crypto import PAIR_PRICES
from stream_proxy.simulator.market.options import contract_symbols
from stream_proxy.simulator.market.tickers import KNOWN_TICKERS, ticker, tickers
from stream_proxy.simulator.trading.identifiers import named_uuid

INACTIVE = "DELISTED"
"""A stock that is known but not tradable: orders are refused with 422."""

REJECTED = "REJECTME"
"""A stock whose orders are accepted by REST and then rejected on the stream."""

CONTRACT_SIZE = Decimal(100)

_EXCHANGES = {"A": "NYSE", "B": "ARCA", "C": "NASDAQ"}
_OCC = re.compile(r"([A-Z]+[0-9]?)(\d{2})(\d{2})(\d{2})([CP])(\d{8})")
_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Contract:
    """An option contract, as its OCC name says it."""

    symbol: str
    underlying: str
    expiry: date
    is_call: bool
    strike: Decimal


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that has a price.

    ``kind`` is Alpaca's asset class. ``multiplier`` is how many units of the price one unit of
    quantity costs: 100 for option contracts.
    """

    symbol: str
    kind: str
    exchange: str
    tradable: bool = True

    @property
    def id(self) -> str:
        return named_uuid("asset", self.symbol)

    @property
    def multiplier(self) -> Decimal:
        return CONTRACT_SIZE if self.kind == "us_option" else _ONE

    @property
    def fractionable(self) -> bool:
        return self.kind != "us_option"

    def as_dict(self) -> dict[str, Any]:
        stock = self.kind == "us_equity"
        fields: dict[str, Any] = {
            "id": self.id,
            "class": self.kind,
            "exchange": self.exchange,
            "symbol": self.symbol,
            "name": f"{self.symbol} {'Common Stock' if stock else ''}".strip(),
            "status": "active" if self.tradable else "inactive",
            "tradable": self.tradable,
            "marginable": stock,
            "maintenance_margin_requirement": 30 if stock else 100,
            "shortable": stock,
            "easy_to_borrow": stock,
            "fractionable": self.fractionable,
            "attributes": [],
        }
        if self.kind == "crypto":
            fields |= {
                "min_order_size": "0.0001",
                "min_trade_increment": "0.000000001",
                "price_increment": "0.000000001",
            }
        return fields


def contract_of(symbol: str) -> Contract | None:
    """Read an OCC name without padding, ``AAPL261218C00200000``; None if it isn't one."""
    match = _OCC.fullmatch(symbol)
    if match is None:
        return None
    root, year, month, day, kind, strike = match.groups()
    try:
        expiry = date(2000 + int(year), int(month), int(day))
    except ValueError:
        return None
    return Contract(symbol, root, expiry, kind == "C", Decimal(strike) / 1000)


class Assets:
    """All that can be traded.

    Args:
        stocks: how many stocks there are, the known tickers at least.
    """

    def __init__(self, stocks: int = KNOWN_TICKERS) -> None:
        self._listed: dict[str, Asset] = {}
        for symbol in tickers(max(stocks, KNOWN_TICKERS)):
            exchange = _EXCHANGES[ticker(symbol).tape]
            self._listed[symbol] = Asset(symbol, "us_equity", exchange)
        for symbol in PAIR_PRICES:
            self._listed[symbol] = Asset(symbol, "crypto", "CRYPTO")
        self._listed[REJECTED] = Asset(REJECTED, "us_equity", "NASDAQ")
        self._listed[INACTIVE] = Asset(INACTIVE, "us_equity", "NASDAQ", tradable=False)
        # The form without a slash is the older one; orders may still use it.
        self._pairs = {symbol.replace("/", ""): symbol for symbol in PAIR_PRICES}
        self._by_id = {asset.id: asset for asset in self._listed.values()}
        self._contracts: dict[str, Asset] = {}

    def find(self, name: str) -> Asset | None:
        """An asset by symbol, OCC name or asset id."""
        name = self._pairs.get(name, name)
        found = self._listed.get(name) or self._by_id.get(name) or self._contracts.get(name)
        if found is not None:
            return found
        contract = contract_of(name)
        if contract is None or contract.underlying not in self._listed:
            return None
        asset = self._contracts[name] = Asset(name, "us_option", "")
        self._by_id[asset.id] = asset
        return asset

    def listed(self) -> Iterator[Asset]:
        """All stocks and pairs; option contracts have a list of their own."""
        return iter(self._listed.values())

    def contracts(self, underlyings: list[str], today: date) -> Iterator[Contract]:
        """The option contracts listed on these stocks."""
        for underlying in underlyings:
            asset = self._listed.get(underlying)
            if asset is None or asset.kind != "us_equity" or not asset.tradable:
                continue
            for symbol in contract_symbols(underlying, today):
                contract = contract_of(symbol)
                if contract is not None:
                    yield contract


def contract_dict(contract: Contract, today: date) -> dict[str, Any]:
    """A contract in the shape of ``GET /v2/options/contracts``."""
    kind = "call" if contract.is_call else "put"
    strike = f"{contract.strike:f}"
    yesterday = (today - timedelta(days=1)).isoformat()
    return {
        "id": named_uuid("asset", contract.symbol),
        "symbol": contract.symbol,
        "name": f"{contract.underlying} {contract.expiry:%b %d %Y} {strike} {kind.title()}",
        "status": "active",
        "tradable": True,
        "expiration_date": contract.expiry.isoformat(),
        "root_symbol": contract.underlying,
        "underlying_symbol": contract.underlying,
        "underlying_asset_id": named_uuid("asset", contract.underlying),
        "type": kind,
        "style": "american",
        "strike_price": strike,
        "multiplier": "100",
        "size": "100",
        "open_interest": "1000",
        "open_interest_date": yesterday,
        "close_price": None,
        "close_price_date": None,
        "ppind": True,
    }
