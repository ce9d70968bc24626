"""``stream-proxy tail``: look at topics as they come, from a proxy or from Alpaca itself."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from stream_proxy.cli.subscriber import (
    StreamFailed,
    Subscriber,
    credentials_for,
    open_stream,
    stream_address,
)
from stream_proxy.cli.tail_view import TailTable, line
from stream_proxy.config.load import load
from stream_proxy.model.feeds import Feed
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.runtime.loop import run, stop_on_signals
from stream_proxy.wire.alpaca.requests import Credentials

_OPTION = re.compile(r"[A-Z]+\d?\d{6}[CP]\d{8}")


def tail(
    topics: Annotated[
        list[str],
        typer.Argument(
            metavar="TOPIC...",
            help="channel:SYMBOL[,SYMBOL], such as quotes:AAPL,MSFT trades:* bars:SPY; "
            "a bare SYMBOL means its trades and quotes.",
        ),
    ],
    url: Annotated[
        str, typer.Option(help="A proxy, or wss://stream.data.alpaca.markets.")
    ] = "ws://127.0.0.1:8099",
    feed: Annotated[
        str | None,
        typer.Option(help="Which feed; if absent it follows from the symbols: iex for stocks."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One message a line, as JSON, nanoseconds kept.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many messages.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="End after so many seconds.")
    ] = None,
) -> None:
    """Show topics as they come, from any proxy or from Alpaca itself.

    Keys are read like those of `serve`: ALPACA_KEY and ALPACA_SECRET. A proxy without access
    tokens takes any.
    """
    where, named = stream_address(url, feed or guessed_feed(topics))
    wanted = parse_topics(topics, named)
    credentials = credentials_for(where, load(os.environ).settings)
    failure = run(_Tail(where, named, wanted, json, count, duration).show(credentials))
    if failure is not None:
        typer.echo(f"error: {failure}", err=True)
        raise typer.Exit(1)


def guessed_feed(topics: list[str]) -> str:
    """The feed that the topics look like; IEX's stocks, which every account has, otherwise."""
    symbols = [symbol for topic in topics for symbol in topic.rpartition(":")[2].split(",")]
    if any(topic.startswith("news:") for topic in topics):
        return "news"
    if any("/" in symbol for symbol in symbols):
        return "crypto-us"
    if any(_OPTION.fullmatch(symbol) for symbol in symbols):
        return "indicative"
    return "test" if symbols == ["FAKEPACA"] else "iex"


def parse_topics(texts: list[str], feed: Feed) -> SubscriptionSet:
    """Read ``channel:SYMBOL[,SYMBOL]``, or a bare symbol.

    Raises:
        StreamFailed: a channel that the feed doesn't have, or no symbol.
    """
    wanted: list[tuple[str, str]] = []
    for text in texts:
        channel, separator, names = text.rpartition(":")
        symbols = [name.strip() for name in names.split(",") if name.strip()]
        if not symbols:
            raise StreamFailed(f"{text!r} names no symbol. Write {channel}:AAPL or {channel}:*")
        channels = [channel] if separator else _usual_channels(feed)
        for name in channels:
            if name not in feed.channels:
                close = difflib.get_close_matches(name, feed.channels, n=1)
                hint = f"Did you mean {close[0]}? " if close else ""
                raise StreamFailed(
                    f"The feed {feed.name} has no channel {name!r}. {hint}"
                    f"It has {', '.join(feed.channels)}."
                )
            wanted += [(name, symbol) for symbol in symbols]
    return SubscriptionSet.of(wanted)


def _usual_channels(feed: Feed) -> list[str]:
    return [channel for channel in ("trades", "quotes", "news") if channel in feed.channels]


class _Tail:
    """One look at a stream."""

    def __init__(
        self,
        url: str,
        feed: Feed,
        topics: SubscriptionSet,
        json: bool,
        count: int | None,
        duration: float | None,
    ) -> None:
        self._url = url
        self._feed = feed
        self._topics = topics
        self._json = json
        self._left = count
        self._duration = duration
        self._console = Console()
        self._table = TailTable(feed, url)

    async def show(self, credentials: Credentials) -> str | None:
        """Read until something ends it; give the sentence if that is a failure."""
        stop = asyncio.Event()
        stop_on_signals(stop)
        reading = asyncio.create_task(self._read(credentials))
        stopping = asyncio.create_task(stop.wait())
        live = None
        if self._console.is_terminal and not self._json:
            live = Live(self._table, console=self._console, refresh_per_second=4)
            live.start()
        try:
            await asyncio.wait(
                {reading, stopping}, timeout=self._duration, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            if live is not None:
                live.stop()
            timed_out = not reading.done() and not stop.is_set()
            stopping.cancel()
            reading.cancel()
            (ended,) = await asyncio.gather(reading, return_exceptions=True)
        if timed_out and self._table.messages == 0:
            self._say_that_nothing_came()
        if isinstance(ended, StreamFailed):
            return str(ended)
        if isinstance(ended, Exception):
            raise ended
        return None

    async def _read(self, credentials: Credentials) -> None:
        subscriber = await open_stream(self._url, self._feed, credentials)
        try:
            await subscriber.subscribe(self._topics)
            await self._print_all(subscriber)
        except BrokenPipeError:
            # The reader of our output has had enough: `tail … | head`. Python's own flush at
            # exit must not complain about it either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            await subscriber.close()

    async def _print_all(self, subscriber: Subscriber) -> None:
        async for batch in subscriber.batches():
            for message in batch[: self._left]:
                if self._json:
                    sys.stdout.write(message.json.decode() + "\n")
                elif not self._console.is_terminal:
                    sys.stdout.write(line(self._feed, message.fields) + "\n")
                self._table.note(message.fields)
            if self._json or not self._console.is_terminal:
                sys.stdout.flush()
            if self._left is not None:
                self._left -= len(batch)
                if self._left <= 0:
                    return

    def _say_that_nothing_came(self) -> None:
        typer.echo(
            f"No message came in {self._duration:g} s: the market may be closed, or nothing "
            "happened to these symbols. `stream-proxy tail FAKEPACA` always has something, "
            "`stream-proxy doctor` finds out more.",
            err=True,
        )
