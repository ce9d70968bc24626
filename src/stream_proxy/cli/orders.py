"""``stream-proxy orders``: look at order updates as they come, and at those of the past."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from stream_proxy.cli.order_subscriber import (
    OrdersEnded,
    OrderUpdate,
    Position,
    Warned,
    order_updates,
)
from stream_proxy.cli.orders_view import OrdersTable, line, row_of
from stream_proxy.cli.subscriber import credentials_for
from stream_proxy.config.load import load
from stream_proxy.runtime.loop import run, stop_on_signals
from stream_proxy.wire.alpaca.requests import Credentials

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 5.0


def orders(
    account: Annotated[
        str | None, typer.Option(help="paper, live, or a name of the proxy's accounts.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Begin in the past: a sequence, an event id, an RFC 3339 time, or `oldest`."
        ),
    ] = None,
    url: Annotated[str, typer.Option(help="The proxy.")] = "ws://127.0.0.1:8099",
    json: Annotated[
        bool, typer.Option("--json", help="One update a line, as JSON, with its sequence.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many updates.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="End after so many seconds.")
    ] = None,
) -> None:
    """Show order updates of a running proxy as they come; none is missed over reconnects."""
    credentials = credentials_for(url, load(os.environ).settings)
    failure = run(_Orders(url, account, since, json, count, duration).show(credentials))
    if failure is not None:
        typer.echo(f"error: {failure}", err=True)
        raise typer.Exit(1)


class _Orders:
    """One look at an account's updates."""

    def __init__(
        self,
        url: str,
        account: str | None,
        since: str | None,
        json: bool,
        count: int | None,
        duration: float | None,
    ) -> None:
        self._url = url
        self._account = account
        self._since = since
        self._json = json
        self._left = count
        self._duration = duration
        self._epoch = ""
        self._joined = False
        self._console = Console()
        self._live: Live | None = None
        self._table = OrdersTable(url)

    async def show(self, credentials: Credentials) -> str | None:
        """Read until something ends it; give the sentence if that is a failure."""
        stop = asyncio.Event()
        stop_on_signals(stop)
        reading = asyncio.create_task(self._read(credentials))
        stopping = asyncio.create_task(stop.wait())
        if self._console.is_terminal and not self._json:
            self._live = Live(
                get_renderable=self._rendered, console=self._console, refresh_per_second=4
            )
            self._live.start()
        try:
            await asyncio.wait(
                {reading, stopping}, timeout=self._duration, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            if self._live is not None:
                self._live.stop()
            stopping.cancel()
            reading.cancel()
            (ended,) = await asyncio.gather(reading, return_exceptions=True)
        if isinstance(ended, OrdersEnded):
            return str(ended)
        if isinstance(ended, Exception):
            raise ended
        return None

    def _rendered(self) -> Table:
        return self._table.table(self._console.height)

    async def _read(self, credentials: Credentials) -> None:
        """Come back whenever the connection ends, with the last position."""
        wait = _FIRST_WAIT_SECONDS
        while True:
            self._joined = False
            try:
                await self._read_once(credentials)
            except BrokenPipeError:
                # The reader of our output has had enough: `orders … | head`. Python's own flush
                # at exit must not complain about it either.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return
            except OrdersEnded as ended:
                if ended.final or not self._epoch:
                    raise  # at the first try the user wants to know, not to wait
                if self._joined:
                    wait = _FIRST_WAIT_SECONDS
                self._say(f"{str(ended).rstrip('.')}; trying again")
            else:
                return
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    async def _read_once(self, credentials: Credentials) -> None:
        updates = order_updates(self._url, self._account, self._since, credentials)
        try:
            async for item in updates:
                match item:
                    case Position():
                        self._joined, self._epoch = True, item.epoch
                        self._since = f"{item.epoch}:{item.sequence}"
                        self._table.remark = f"connected, at {item.sequence} of {item.account}"
                    case Warned(text):
                        self._say(text)
                    case OrderUpdate():
                        self._print(item)
                        if self._left is not None:
                            self._left -= 1
                            if self._left <= 0:
                                return
        finally:
            await updates.aclose()

    def _print(self, update: OrderUpdate) -> None:
        row = row_of(update.fields)
        self._since = f"{self._epoch}:{row.sequence}"
        self._table.note(row)
        if self._json:
            # Line breaks can stand only between the tokens of JSON.
            text = update.payload.decode(errors="replace").replace("\n", " ").replace("\r", " ")
            sys.stdout.write(text + "\n")
        elif self._live is None:
            sys.stdout.write(line(row) + "\n")
        else:
            self._table.remark = f"connected, at {row.sequence} of {row.account}"
            return
        sys.stdout.flush()

    def _say(self, text: str) -> None:
        """In the table's title, or beside the data where there is no table."""
        self._table.remark = text
        if self._live is None:
            typer.echo(f"note: {text}", err=True)
