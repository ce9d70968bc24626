"""Read and write Alpaca's order events: the ``data`` object of a ``trade_updates`` message.

Source: Alpaca, "WebSocket Stream" (trading), "Trade Events (SSE)". Only what we need to file an
event is read; the object itself is kept as it came.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from stream_proxy.model.fills import Fill
from stream_proxy.model.orders import OrderEvent, Origin
from stream_proxy.model.time import parse_rfc3339
from stream_proxy.wire.alpaca.codec import FrameDamaged

STREAM = "trade_updates"
RECONSTRUCTED_KEY = "reconstructed"

_Number = str | int | float | None


class _Order(msgspec.Struct):
    id: str
    status: str | None = None
    filled_qty: _Number = None
    submitted_at: str | None = None
    updated_at: str | None = None


class _Data(msgspec.Struct):
    event: str
    order: _Order
    event_id: str | None = None
    execution_id: str | None = None
    timestamp: str | None = None
    at: str | None = None


class _FillData(_Data):
    qty: _Number = None
    price: _Number = None


class _Message(msgspec.Struct):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


_read_data = msgspec.json.Decoder(_Data).decode
_read_fill = msgspec.json.Decoder(_FillData).decode
_read_message = msgspec.json.Decoder(_Message).decode


def split_message(payload: bytes) -> tuple[str, bytes]:
    """Give the stream that a message names, and its ``data`` as it came.

    Raises:
        FrameDamaged: not a JSON object.
    """
    try:
        message = _read_message(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameDamaged(str(error)) from error
    return message.stream or "", bytes(message.data)


def read_event(data: bytes, origin: Origin) -> OrderEvent:
    """File one event; ``data`` is its JSON object.

    Raises:
        FrameDamaged: it names no event or no order, so there is no telling what it is.
    """
    try:
        data.decode()
        read = _read_data(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameDamaged(str(error)) from error
    order = read.order
    return OrderEvent(
        event=read.event,
        order_id=order.id,
        timestamp_ns=_instant(read.timestamp or read.at or order.updated_at),
        data=data,
        event_id=read.event_id or "",
        execution_id=read.execution_id or "",
        status=order.status or "",
        filled_qty="0" if order.filled_qty is None else str(order.filled_qty),
        submitted_ns=_instant(order.submitted_at),
        origin=origin,
    )


def read_fill(data: bytes) -> Fill | None:
    """What part of its order a fill's event tells; None if it doesn't say."""
    try:
        read = _read_fill(data)
        end, quantity = Decimal(str(read.order.filled_qty)), Decimal(str(read.qty))
        price = Decimal(str(read.price or 0))
    except (msgspec.MsgspecError, InvalidOperation):
        return None
    if not (end.is_finite() and quantity.is_finite() and price.is_finite()):
        return None
    return Fill(end - quantity, end, price, _instant(read.timestamp or read.at))


def message_of(data: bytes, extra: dict[str, Any] | None = None) -> bytes:
    """The message of the stream around an event; ``extra`` are further keys beside ``data``."""
    tail = b""
    if extra:
        tail = b"," + msgspec.json.encode(extra)[1:-1]
    return b'{"stream":"trade_updates","data":' + data + tail + b"}"


def _instant(text: str | None) -> int:
    if not text:
        return 0
    try:
        instant_ns = parse_rfc3339(text)
    except ValueError:
        return 0
    # Go's zero time is the year 1, and 64 bits end in 2262: neither is an instant of ours.
    return instant_ns if 0 <= instant_ns < 1 << 63 else 0
