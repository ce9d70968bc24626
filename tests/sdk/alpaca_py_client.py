"""
alpaca-py's own data streams, unmodified, printing what their handlers receive.

The wire names of the fields come from the SDK's own tables, read backwards.
Fields that the SDK leaves at None are not printed: the server didn't send them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from alpaca.data import mappings
from alpaca.data.live import (
    CryptoDataStream,
    NewsDataStream,
    OptionDataStream,
    StockDataStream,
)
from alpaca.data.models.orderbooks import OrderbookQuote
from msgpack import Timestamp

from reporting import MESSAGE_TYPES, Report, StopRequest, arguments
from sdk_log import watch

STREAM_CLASSES = {
    "stock": StockDataStream,
    "option": OptionDataStream,
    "crypto": CryptoDataStream,
    "news": NewsDataStream,
}

SUBSCRIBE_METHODS = {
    "trades": "subscribe_trades",
    "quotes": "subscribe_quotes",
    "bars": "subscribe_bars",
    "updatedBars": "subscribe_updated_bars",
    "dailyBars": "subscribe_daily_bars",
    "statuses": "subscribe_trading_statuses",
    "orderbooks": "subscribe_orderbooks",
    "news": "subscribe_news",
}

NEWS_FIELDS = (
    "id",
    "headline",
    "summary",
    "author",
    "created_at",
    "updated_at",
    "url",
    "content",
    "symbols",
    "source",
)

# Wire name to attribute of the SDK's model, by message type.
ATTRIBUTES = {
    "t": mappings.TRADE_MAPPING,
    "q": mappings.QUOTE_MAPPING,
    "b": mappings.BAR_MAPPING,
    "u": mappings.BAR_MAPPING,
    "d": mappings.BAR_MAPPING,
    "s": mappings.TRADING_STATUS_MAPPING,
    "c": mappings.TRADE_CORRECTION_MAPPING,
    "x": mappings.TRADE_CANCEL_MAPPING,
    # The SDK invents `reset=False` where the wire has no `r`; see `_handler`.
    "o": mappings.ORDERBOOK_MAPPING,
    "n": {name: name for name in NEWS_FIELDS},
}

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Handler = Callable[[Any], Coroutine[Any, Any, None]]


def plain(value: object) -> object:
    """The values in the SDK's messages that JSON has no form for."""
    if isinstance(value, Timestamp):
        return value.to_unix_nano()
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1) * 1000
    if isinstance(value, OrderbookQuote):
        return {"p": value.price, "s": value.size}
    raise TypeError(f"cannot print a {type(value).__name__}")


def _handler(message_type: str, report: Report, *, raw: bool) -> Handler:
    attributes = list(ATTRIBUTES[message_type].items())

    async def print_raw(message: dict[str, Any]) -> None:
        report.message(message)

    async def print_model(model: Any) -> None:
        fields = {"T": message_type}
        if message_type != "n":
            fields["S"] = model.symbol
        for wire_name, attribute in attributes:
            value = getattr(model, attribute)
            if value is not None and not (attribute == "reset" and value is False):
                fields[wire_name] = value
        report.message(fields)

    return print_raw if raw else print_model


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--raw", action="store_true", help="the SDK's raw_data mode: nanoseconds")
    options = parser.parse_args()

    # msgpack's to_datetime() drops what lies below the microsecond.
    report = Report(t_resolution_ns=1 if options.raw else 1000, default=plain)
    log = watch("alpaca.data.live.websocket", report)
    stop_request = StopRequest()

    stream = STREAM_CLASSES[options.stream](
        options.key, options.secret, raw_data=options.raw, url_override=options.url
    )
    for channel, symbols in options.subscribe.items():
        subscribe = getattr(stream, SUBSCRIBE_METHODS.get(channel, ""), None)
        if subscribe is None:
            parser.error(f"alpaca-py has no {channel} on its {options.stream} stream")
        subscribe(_handler(MESSAGE_TYPES[channel], report, raw=options.raw), *symbols)
    if options.stream == "stock":
        stream.register_trade_corrections(_handler("c", report, raw=options.raw))
        stream.register_trade_cancels(_handler("x", report, raw=options.raw))

    def run() -> None:
        stream.run()
        # Also reached when the SDK gives up by itself, as on code 409.
        stop_request.set()

    running = threading.Thread(target=run)
    running.start()
    stop_request.wait()
    gave_up = not running.is_alive()
    if not gave_up:
        log.started.wait()
        stream.stop()
        # The SDK looks at its stop flag only between two receives of up to 5 s.
        running.join()
    report.closed()
    return 1 if gave_up else 0


if __name__ == "__main__":
    sys.exit(main())
