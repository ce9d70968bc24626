"""What `demo` shows: a live view for terminals, a status line for everything else, a summary."""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, JustifyMethod, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream_proxy.app import App
from stream_proxy.cli.demo_orders import OrderSample, order_lines, order_status, order_table
from stream_proxy.cli.tail_view import channel_of, describe
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.feeds import Feed
from stream_proxy.outlets.orders import OrderDialog

_QUOTES_SHOWN = 8


def alpaca_py_lines(address: str) -> str:
    """Four lines that make alpaca-py read from the proxy; they run when pasted.

    The blank line is for Python's prompt, where it ends the handler.
    """
    return (
        "from alpaca.data.live import StockDataStream\n"
        "async def handler(quote): print(quote)\n"
        "\n"
        f'stream = StockDataStream("any", "any", url_override="{address}/v2/iex")\n'
        'stream.subscribe_quotes(handler, "AAPL"); stream.run()\n'
    )


class WarningsSeen(io.StringIO):
    """Takes the log while a live view owns the terminal, and keeps its last lines."""

    def __init__(self, kept: int = 4) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=kept)

    def write(self, text: str) -> int:
        self.lines.extend(line for line in text.splitlines() if line.strip())
        return len(text)


@dataclass(slots=True)
class Sample:
    """One of the demo's own consumers, and what it got."""

    name: str
    feed: Feed
    codec: str
    topics: str
    messages: int = 0
    local_port: int = 0
    last: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, fields: dict[str, Any]) -> None:
        self.messages += 1
        self.last[f"{channel_of(self.feed, fields)}:{fields.get('S', '')}"] = fields


class DemoView:
    """Reads the running proxy's own numbers."""

    def __init__(
        self,
        app: App,
        samples: list[Sample],
        orders: OrderSample,
        address: str,
        warnings: WarningsSeen,
    ) -> None:
        self._app = app
        self._samples = samples
        self._orders = orders
        self._address = address
        self._warnings = warnings
        self._delivered: dict[str, int] = {}
        self._history = deque([(time.monotonic(), 0, 0)], maxlen=20)

    # Numbers

    def messages_in(self) -> int:
        return sum(handler.hub.messages for handler in self._app.handlers.values())

    def deliveries_out(self) -> int:
        """All that consumers were sent; those that left count with what was seen of them."""
        for connection in self._app.outlet.consumers():
            self._delivered[connection.peer] = connection.outbox.messages
        return sum(self._delivered.values())

    def gaps(self) -> int:
        return sum(handler.gaps.count for handler in self._app.handlers.values())

    def _rates(self) -> tuple[float, float]:
        """Messages per second in and out, over the last few looks."""
        now = time.monotonic()
        self._history.append((now, self.messages_in(), self.deliveries_out()))
        then, came, went = self._history[0]
        span = now - then
        if span <= 0:
            return 0.0, 0.0
        _, all_came, all_went = self._history[-1]
        return (all_came - came) / span, (all_went - went) / span

    # Shown

    def status_line(self) -> str:
        """One line for logs and pipes."""
        states = ", ".join(
            f"{name} {handler.upstream.state.value}" for name, handler in self._app.handlers.items()
        )
        rate_in, rate_out = self._rates()
        consumers = len(self._app.outlet.consumers())
        return (
            f"upstream: {states or 'nobody asked yet'}; in {rate_in:,.0f}/s, "
            f"out {rate_out:,.0f}/s; {consumers} consumers; {self.gaps()} gaps; "
            f"{order_status(self._app)}"
        )

    def order_lines(self, ledger: dict[str, Any] | None) -> list[str]:
        """What the summary says of order updates."""
        return order_lines(self._app, self._orders, ledger)

    def __rich__(self) -> RenderableType:
        rate_in, rate_out = self._rates()
        header = Text.assemble(
            ("Alpaca Stream Proxy ", "bold"),
            (f"{self._address}   ", "cyan"),
            f"in {rate_in:,.0f}/s   out {rate_out:,.0f}/s   gaps {self.gaps()}   ",
            ("Ctrl-C ends", "dim"),
        )
        orders = order_table(self._app, self._orders)
        parts: list[RenderableType] = [
            *(header, self._feeds(), self._consumers(), orders, self._quotes())
        ]
        if self._warnings.lines:
            parts.append(Panel(Text("\n".join(self._warnings.lines)), title="warnings"))
        return Group(*parts)

    def _feeds(self) -> Table:
        table = Table(
            title="Upstream: one connection per stream", title_justify="left", box=SIMPLE_HEAD
        )
        for column in ("feed", "state", "since", "why", "messages", "topics"):
            table.add_column(
                column, justify="right" if column in ("messages", "topics") else "left"
            )
        for name, handler in self._app.handlers.items():
            status = handler.upstream
            good = status.state is UpstreamState.CONNECTED
            table.add_row(
                name,
                Text(status.state.value, style="green" if good else "yellow"),
                time.strftime("%H:%M:%S", time.localtime(status.since_ns / 1e9)),
                Text(status.why),
                f"{handler.hub.messages:,}",
                f"{len(handler.demand.wanted()):,}",
            )
        return table

    def _consumers(self) -> Table:
        names = {sample.local_port: sample.name for sample in self._samples}
        table = _table("Consumers: as many as you like")
        for column in ("consumer", "protocol", "codec", "feed", "topics", "messages", "queued"):
            numeric = column in ("messages", "queued")
            # Only the topics wrap on a narrow terminal.
            justify: JustifyMethod = "right" if numeric else "left"
            table.add_column(column, justify=justify, no_wrap=column != "topics")
        for connection in self._app.outlet.consumers():
            consumer, feed = connection.consumer, connection.feed
            if consumer is None:
                continue
            port = connection.peer.rpartition(":")[2]
            table.add_row(
                Text(names.get(int(port) if port.isdigit() else 0, f"yours ({connection.peer})")),
                "WebSocket",
                connection.codec.name,
                feed.name,
                Text(_shortened(consumer.topics)),
                f"{connection.outbox.messages:,}",
                f"{connection.outbox.statistics().queued_bytes:,} B",
            )
        for dialog in self._app.outlet.order_consumers():
            table.add_row(*self._order_consumer(dialog))
        return table

    def _order_consumer(self, dialog: OrderDialog) -> list[Text]:
        consumer, feed = dialog.consumer, dialog.feed
        assert consumer is not None and feed is not None
        outbox = consumer.outbox
        mine = consumer.name.rpartition(":")[2] == str(self._orders.local_port)
        cells = [
            self._orders.name if mine else f"yours ({consumer.name})",
            "WebSocket",
            "json",
            f"orders {feed.account.name}",
            "trade_updates",
            f"{outbox.messages:,}",
            f"{outbox.statistics().queued_bytes:,} B",
        ]
        return [Text(cell) for cell in cells]

    def _quotes(self) -> Table:
        table = _table("Last values")
        table.add_column("topic", no_wrap=True)
        table.add_column("value", no_wrap=True)
        shown = {
            topic: fields
            for sample in self._samples
            if "*" not in sample.topics
            for topic, fields in sample.last.items()
        }
        for topic, fields in sorted(shown.items())[:_QUOTES_SHOWN]:
            table.add_row(Text(topic), Text(describe(fields)))
        return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD)


def _shortened(topics: Iterable[tuple[str, str]], most: int = 4) -> str:
    texts = [f"{channel}:{symbol}" for channel, symbol in topics]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return " ".join(texts[:most]) + more


def summary(
    seconds: float,
    view: DemoView,
    samples: list[Sample],
    ledger: dict[str, Any] | None,
    trading: dict[str, Any] | None,
) -> str:
    """What flowed, in lines that people and programs can read."""
    lines = [
        "",
        f"Summary of {seconds:.1f} s",
        f"  messages in              {view.messages_in():,}",
        f"  deliveries out           {view.deliveries_out():,}",
    ]
    lines += [
        f"    {sample.name:<22} {sample.messages:,} messages  "
        f"({sample.feed.name}, {sample.codec}, {sample.topics})"
        for sample in samples
    ]
    if ledger is None:
        lines.append("  connections to Alpaca    unknown: the simulator didn't answer")
    else:
        made: dict[str, int] = {}
        for connection in ledger["connections"]:
            made[connection["feed"]] = made.get(connection["feed"], 0) + 1
        shown = ", ".join(f"{feed} {count}" for feed, count in made.items())
        lines.append(f"  connections to Alpaca    {shown or 'none'}  (simulated)")
        sent = sum(connection["messages"] for connection in ledger["connections"])
        lines.append(f"  sent by the simulator    {sent:,}")
    lines.append(f"  gaps                     {view.gaps()}")
    lines += view.order_lines(trading)
    return "\n".join(lines)
