"""Order updates as the contract's messages: from an event's JSON, nothing left out.

An event is on its way to somebody who trades on it, so there is always a message: what can't be
read stays empty, and a word that the contract has no value for is given as it is. Quantities and
prices stay text. Source: Alpaca, "WebSocket Streaming" (trading).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.timestamp_pb2 import Timestamp

from stream_proxy.model.orders import OrderEvent, OrderRecord, Origin
from stream_proxy.model.time import parse_rfc3339
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.timestamp import timestamp

_Values: TypeAlias = Mapping[str, Any]

_read = msgspec.json.Decoder(dict[str, Any]).decode


def order_updates_response(record: OrderRecord, source: str) -> pb.StreamOrderUpdatesResponse:
    """An event with its place in the account's journal."""
    origin = record.event.origin
    return pb.StreamOrderUpdatesResponse(
        update=order_update(record.event),
        sequence=record.sequence,
        epoch=record.epoch,
        received_at=timestamp(record.received_ns),
        source=source,
        back_filled=origin is not Origin.STREAM,
        account=record.account,
        reconstructed=origin is Origin.RECONSTRUCTED,
    )


def order_update(event: OrderEvent) -> pb.OrderUpdate:
    """An event; where its JSON can't be read, what the journal knows of it."""
    try:
        values = _read(event.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        values = {}
    order = values.get("order")
    details = _details(order if isinstance(order, dict) else {})
    details.id = details.id or event.order_id
    details.status = details.status or event.status
    details.filled_qty = details.filled_qty or event.filled_qty
    # What comes from the journal has its name in its text alone.
    name = event.event or _text(values, "event") or ""
    return pb.OrderUpdate(
        event=_value(pb.OrderEvent, "ORDER_EVENT", name),
        event_name=name,
        event_id=event.event_id,
        timestamp=timestamp(event.timestamp_ns) if event.timestamp_ns else None,
        at=_time(values, "at"),
        order=details,
        execution_id=_text(values, "execution_id"),
        price=_text(values, "price"),
        qty=_text(values, "qty"),
        position_qty=_text(values, "position_qty"),
        position_qtys=_texts(values, "position_qtys"),
        leg_executions=[
            pb.LegExecution(
                execution_id=_text(leg, "execution_id"),
                order_id=_text(leg, "order_id"),
                symbol=_text(leg, "symbol"),
                qty=_text(leg, "qty"),
                price=_text(leg, "price"),
                timestamp=_time(leg, "timestamp"),
            )
            for leg in _objects(values, "legs")
        ],
    )


def _details(order: _Values) -> pb.OrderDetails:
    asset_class = _text(order, "asset_class") or ""
    # An empty class is Alpaca's word for a simple order.
    order_class = _text(order, "order_class")
    order_type = _text(order, "type") or _text(order, "order_type") or ""
    side = _text(order, "side") or ""
    time_in_force = _text(order, "time_in_force") or ""
    legs = _objects(order, "legs")
    return pb.OrderDetails(
        id=_text(order, "id"),
        client_order_id=_text(order, "client_order_id"),
        symbol=_text(order, "symbol"),
        asset_class=_value(pb.AssetClass, "ASSET_CLASS", asset_class),
        asset_class_name=asset_class,
        order_class=_value(
            pb.OrderClass, "ORDER_CLASS", "simple" if order_class == "" else order_class
        ),
        order_class_name=order_class,
        order_type=_value(pb.OrderType, "ORDER_TYPE", order_type),
        order_type_name=order_type,
        side=_value(pb.OrderSide, "ORDER_SIDE", side),
        side_name=side,
        time_in_force=_value(pb.TimeInForce, "TIME_IN_FORCE", time_in_force),
        time_in_force_name=time_in_force,
        qty=_text(order, "qty"),
        filled_qty=_text(order, "filled_qty"),
        filled_avg_price=_text(order, "filled_avg_price"),
        limit_price=_text(order, "limit_price"),
        stop_price=_text(order, "stop_price"),
        status=_text(order, "status"),
        extended_hours=order.get("extended_hours") is True,
        created_at=_time(order, "created_at"),
        updated_at=_time(order, "updated_at"),
        submitted_at=_time(order, "submitted_at"),
        filled_at=_time(order, "filled_at"),
        canceled_at=_time(order, "canceled_at"),
        expired_at=_time(order, "expired_at"),
        failed_at=_time(order, "failed_at"),
        legs=[_leg(leg) for leg in legs],
        commission=_text(order, "commission"),
        asset_id=_text(order, "asset_id"),
        notional=_text(order, "notional"),
        position_intent=_text(order, "position_intent"),
        trail_percent=_text(order, "trail_percent"),
        trail_price=_text(order, "trail_price"),
        hwm=_text(order, "hwm"),
        ratio_qty=_text(order, "ratio_qty"),
        replaced_by=_text(order, "replaced_by"),
        replaces=_text(order, "replaces"),
        replaced_at=_time(order, "replaced_at"),
        cancel_requested_at=_time(order, "cancel_requested_at"),
        expires_at=_time(order, "expires_at"),
        # A leg has none itself, and who says otherwise shall not exhaust the stack.
        leg_details=[_details({**leg, "legs": None}) for leg in legs],
    )


def _leg(leg: _Values) -> pb.OrderUpdateLeg:
    return pb.OrderUpdateLeg(
        id=_text(leg, "id"),
        symbol=_text(leg, "symbol"),
        side=_value(pb.OrderSide, "ORDER_SIDE", _text(leg, "side")),
        qty=_text(leg, "qty"),
        filled_qty=_text(leg, "filled_qty"),
        filled_avg_price=_text(leg, "filled_avg_price"),
        ratio_qty=_text(leg, "ratio_qty"),
        status=_text(leg, "status"),
    )


def _value(enum: EnumTypeWrapper, prefix: str, word: str | None) -> Any:
    """The enum's value for Alpaca's word, or unspecified."""
    try:
        return enum.Value(f"{prefix}_{(word or 'unspecified').upper()}")
    except ValueError:
        return 0


def _text(values: _Values, key: str) -> str | None:
    """Text as it is, a number in plain digits; None for anything else."""
    value = values.get(key)
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return format(Decimal(repr(value)), "f")


def _texts(values: _Values, key: str) -> dict[str, str]:
    value = values.get(key)
    if not isinstance(value, dict):
        return {}
    return {name: _text(value, name) or "" for name in value}


def _objects(values: _Values, key: str) -> list[dict[str, Any]]:
    value = values.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _time(values: _Values, key: str) -> Timestamp | None:
    try:
        return timestamp(parse_rfc3339(values[key]))
    except (KeyError, TypeError, ValueError):
        return None
