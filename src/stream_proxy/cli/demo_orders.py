"""The order side of `demo`: a consumer of order updates, and what is shown of it."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from stream_proxy.app import App
from stream_proxy.errors import StreamProxyError

ACCOUNT = "paper"
KEY = "demo"
ORDERS_PER_SECOND = 0.7
"""Now and then, so that each can be followed by eye."""
_SHOWN = 6


class OrderStreamEnded(StreamProxyError):
    """The demo's own consumer of order updates was cut off."""


@dataclass(slots=True)
class OrderSample:
    """One consumer of the account's order updates, and what it got."""

    name: str = "order monitor"
    updates: int = 0
    last_sequence: int = 0
    local_port: int = 0
    last: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_SHOWN))

    def note(self, message: dict[str, Any]) -> None:
        self.updates += 1
        self.last_sequence = message["sequence"]
        self.last.append(message)


async def consume_orders(sample: OrderSample, address: str) -> None:
    """Be a consumer by Alpaca's protocol, with sequences, over a real socket.

    Raises:
        OrderStreamEnded: the connection was lost.
    """
    try:
        async with connect(
            f"{address}/stream?since=oldest", compression=None, proxy=None
        ) as socket:
            sample.local_port = socket.local_address[1]
            credentials = {"key_id": "any", "secret_key": "any"}
            await socket.send(json.dumps({"action": "authenticate", "data": credentials}))
            listen = {"action": "listen", "data": {"streams": ["trade_updates"]}}
            await socket.send(json.dumps(listen))
            async for payload in socket:
                message = json.loads(payload)
                if message.get("stream") == "trade_updates":
                    sample.note(message)
    except (OSError, InvalidHandshake, ConnectionClosed) as error:
        raise OrderStreamEnded(f"order updates ended: {error}") from None
    raise OrderStreamEnded("order updates ended: the proxy closed the connection")


def journalled(app: App) -> int:
    """Events of the account that are in the journal."""
    feed = app.desk.feeds.get(ACCOUNT)
    return feed.last_sequence if feed is not None else 0


def order_status(app: App) -> str:
    """The account's upstream and what it brought, in a few words."""
    feed = app.desk.feeds.get(ACCOUNT)
    state = feed.upstream.state.value if feed is not None else "idle"
    return f"orders: {ACCOUNT} {state}, {journalled(app):,} updates"


def order_table(app: App, sample: OrderSample) -> Table:
    """The last updates, newest below."""
    title = f"Order updates ({order_status(app)}; journalled before anybody sees them)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("sequence", "time", "event", "order", "filled", "at", "status"):
        right = column in ("sequence", "filled", "at")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for message in list(sample.last):
        table.add_row(*_row(message))
    return table


def _row(message: dict[str, Any]) -> list[Text]:
    data = message["data"]
    order = data["order"]
    legs = order.get("legs") or ()
    what = order.get("symbol") or f"{len(legs)} legs"
    size = order.get("qty") or f"{order.get('notional')} USD of"
    cells = [
        f"{message['sequence']:,}",
        str(data.get("timestamp") or "")[11:23],
        str(data.get("event")),
        f"{order.get('side') or ''} {size} {what} {order.get('type') or ''}".strip(),
        str(order.get("filled_qty") or "0"),
        str(data.get("price") or ""),
        str(order.get("status")),
    ]
    return [Text(cell) for cell in cells]


def order_lines(app: App, sample: OrderSample, ledger: dict[str, Any] | None) -> list[str]:
    """Lines of the summary."""
    lines = [
        f"  order updates in         {journalled(app):,}",
        f"    {sample.name:<22} {sample.updates:,} updates  (account {ACCOUNT}, json, /stream)",
    ]
    if ledger is not None:
        with contextlib.suppress(KeyError):
            page = ledger["accounts"][ACCOUNT][KEY]
            opened, events = page["opened"], len(page["events"])
            lines.append(
                f"  orders at the simulator  {events:,} updates, {opened} connection of the account"
            )
    return lines
