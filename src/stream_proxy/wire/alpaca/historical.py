"""From an item of Alpaca's REST to the item that its stream would have sent.

REST leaves out ``T`` and ``S`` and has its own order of keys; values are the same. The order of a
stream is that of ``model/messages.py``. What a stream doesn't know is kept behind what it knows,
such as ``u``, which REST gives to trades that were taken back. Source: Alpaca, "Historical Stock
Data", "Historical Option Data", "Historical Crypto Data", "News", and the streams' pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.msgpack import Ext

from stream_proxy.model import messages
from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import parse_rfc3339, to_timestamp
from stream_proxy.wire.alpaca.codec import Codec
from stream_proxy.wire.alpaca.transcode import NotTranscodable

_FORMS: dict[tuple[str, str], type[msgspec.Struct]] = {
    ("stocks", "trades"): messages.Trade,
    ("stocks", "quotes"): messages.Quote,
    ("options", "trades"): messages.OptionTrade,
    ("options", "quotes"): messages.OptionQuote,
    ("crypto", "trades"): messages.CryptoTrade,
    ("crypto", "quotes"): messages.CryptoQuote,
    ("news", "news"): messages.News,
}
_BARS: dict[str, type[msgspec.Struct]] = {
    "bars": messages.Bar,
    "updatedBars": messages.UpdatedBar,
    "dailyBars": messages.DailyBar,
}
_ONLY_IN_REST = frozenset({"images"})
_VOLUME = "v"


class StreamItems:
    """Writes REST items of one feed and channel as its stream's items, in one codec.

    Args:
        channel: trades, quotes, bars, updatedBars, dailyBars or news; the three kinds of bars are
            all made of the bars that REST has.
        backfilled: add ``"backfilled": true``, for consumers that asked to be told.

    Raises:
        ValueError: REST has nothing that such a stream sends.
    """

    __slots__ = ("_backfilled", "_binary", "_encode", "_floats", "_keys", "_tag", "_times")

    def __init__(self, feed: Feed, channel: str, codec: Codec, *, backfilled: bool = False) -> None:
        form = _BARS.get(channel) or _FORMS.get((feed.kind, channel))
        if form is None or (channel in _BARS and feed.kind == "news"):
            raise ValueError(f"REST has no {channel} of {feed.name}")
        fields = msgspec.structs.fields(form)
        whole = () if feed.kind == "crypto" else (_VOLUME,)
        self._tag = form.__struct_config__.tag
        self._keys = [field.encode_name for field in fields]
        self._times = [field.encode_name for field in fields if field.type is Ext]
        self._floats = [
            field.encode_name
            for field in fields
            if field.type is float and field.encode_name not in whole
        ]
        self._binary = codec.binary
        self._encode = codec.encode
        self._backfilled = backfilled

    def write(self, symbol: str, item: Mapping[str, Any]) -> bytes:
        """One item; the symbol of news is in the item itself.

        Raises:
            NotTranscodable: it has no time, or something that the codec has no form for.
        """
        fields: dict[str, Any] = {"T": self._tag}
        for key in self._keys:
            if key == "S":
                fields["S"] = symbol
            elif key in item:
                fields[key] = item[key]
        fields |= {
            key: value
            for key, value in item.items()
            if key not in fields and key not in _ONLY_IN_REST
        }
        try:
            times = {key: parse_rfc3339(fields[key]) for key in self._times}
            if self._binary:
                self._to_binary(fields, times)
            if self._backfilled:
                fields["backfilled"] = True
            return self._encode(fields)
        except (msgspec.MsgspecError, KeyError, ValueError, OverflowError, TypeError) as error:
            raise NotTranscodable(f"not an item of this stream: {error}") from error

    def _to_binary(self, fields: dict[str, Any], times: dict[str, int]) -> None:
        fields |= {key: to_timestamp(time_ns) for key, time_ns in times.items()}
        # JSON writes 126 where msgpack has the double 126.0.
        for key in self._floats:
            if fields.get(key).__class__ is int:
                fields[key] = float(fields[key])
