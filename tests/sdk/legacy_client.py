"""
The retired alpaca-trade-api, unmodified, printing what its handlers receive.

Runs in an environment of its own (locks/legacy.txt): it pins packages that the
project cannot hold. It serves stocks, crypto and news; it knows no options.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from alpaca_trade_api import entity_v2
from alpaca_trade_api.stream import Stream
from msgpack import Timestamp

from reporting import MESSAGE_TYPES, Report, StopRequest, arguments
from sdk_log import watch

SUBSCRIBE_METHODS = {
    "stock": {
        "quotes": "subscribe_quotes",
        "bars": "subscribe_bars",
        "updatedBars": "subscribe_updated_bars",
        "dailyBars": "subscribe_daily_bars",
        "statuses": "subscribe_statuses",
        "lulds": "subscribe_lulds",
    },
    "crypto": {
        "trades": "subscribe_crypto_trades",
        "quotes": "subscribe_crypto_quotes",
        "bars": "subscribe_crypto_bars",
        "updatedBars": "subscribe_crypto_updated_bars",
        "dailyBars": "subscribe_crypto_daily_bars",
        "orderbooks": "subscribe_crypto_orderbooks",
    },
    "news": {"news": "subscribe_news"},
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

# Wire name to the SDK's own name, by message type.
NAMES = {
    "t": entity_v2.trade_mapping_v2,
    "q": entity_v2.quote_mapping_v2,
    "b": entity_v2.bar_mapping_v2,
    "u": entity_v2.bar_mapping_v2,
    "d": entity_v2.bar_mapping_v2,
    "s": entity_v2.status_mapping_v2,
    "l": entity_v2.luld_mapping_v2,
    "c": entity_v2.correction_mapping_v2,
    "x": entity_v2.cancel_error_mapping_v2,
    "o": entity_v2.orderbook_mapping_v2,
    "n": {name: name for name in NEWS_FIELDS},
}

Handler = Callable[[Any], Coroutine[Any, Any, None]]


def plain(value: object) -> object:
    """The values in the SDK's messages that JSON has no form for."""
    if isinstance(value, Timestamp):
        return value.to_unix_nano()
    if isinstance(value, entity_v2.BidOrAsk):
        return {"p": value.p, "s": value.s}
    raise TypeError(f"cannot print a {type(value).__name__}")


def _handler(message_type: str, report: Report, *, raw: bool) -> Handler:
    names = list(NAMES[message_type].items())

    async def print_raw(message: dict[str, Any]) -> None:
        report.message(message)

    async def print_entity(entity: Any) -> None:
        # Not getattr: on the SDK's status, LULD, cancel and correction entities
        # every attribute access fails. This is what printing them shows.
        contents = entity._raw
        report.message(
            {"T": message_type} | {wire: contents[name] for wire, name in names if name in contents}
        )

    return print_raw if raw else print_entity


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--raw", action="store_true", help="the SDK's raw_data mode")
    parser.add_argument("--feed", default="iex", help="the last part of the stock path")
    options = parser.parse_args()
    if options.stream not in SUBSCRIBE_METHODS:
        parser.error("the legacy SDK has no option stream")

    report = Report(t_resolution_ns=1, default=plain)
    log = watch("alpaca_trade_api.stream", report)
    stop_request = StopRequest()

    stream = Stream(
        key_id=options.key,
        secret_key=options.secret,
        base_url=options.url,
        data_stream_url=options.url,
        data_feed=options.feed,
        raw_data=options.raw,
    )

    def handler(message_type: str) -> Handler:
        return _handler(message_type, report, raw=options.raw)

    for channel, symbols in options.subscribe.items():
        if (options.stream, channel) == ("stock", "trades"):
            stream.subscribe_trades(
                handler("t"),
                *symbols,
                handler_cancel_errors=handler("x"),
                handler_corrections=handler("c"),
            )
        elif method := SUBSCRIBE_METHODS[options.stream].get(channel):
            getattr(stream, method)(handler(MESSAGE_TYPES[channel]), *symbols)
        else:
            parser.error(f"the legacy SDK has no {channel} on its {options.stream} stream")

    running = threading.Thread(target=stream.run)
    running.start()
    stop_request.wait()
    log.started.wait()
    stream.stop()
    # The SDK looks at its stop flag only between two receives of up to 5 s.
    running.join()
    report.closed()
    return 0


if __name__ == "__main__":
    sys.exit(main())
