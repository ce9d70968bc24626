"""What `tail` shows: messages in words, and a live table of topics."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from msgspec.msgpack import Ext
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from stream_proxy.model.feeds import Feed
from stream_proxy.model.time import rfc3339, timestamp_ns

_RATE_SECONDS = 5.0
"""The span over which a rate is measured."""


def describe(fields: dict[str, Any]) -> str:
    """The values of one message that people look for, on one line."""
    get = fields.get
    match get("T"):
        case "t":
            return f"{get('p')} × {get('s')}"  # noqa: RUF001 (a multiplication sign is meant)
        case "q":
            return f"{get('bp')} × {get('bs')}  |  {get('ap')} × {get('as')}"  # noqa: RUF001
        case "b" | "u" | "d":
            return (
                f"open {get('o')}  high {get('h')}  low {get('l')}  close {get('c')}  "
                f"volume {get('v')}"
            )
        case "o":
            bids, asks = get("b") or [], get("a") or []
            whole = "whole book" if get("r") else "changes"
            return f"{whole}: {len(bids)} bids, {len(asks)} asks"
        case "s":
            return f"{get('sm')} ({get('sc')}) {get('rm')}"
        case "l":
            return f"band {get('d')} to {get('u')}"
        case "n":
            return str(get("headline", ""))
        case _:
            shown = {key: value for key, value in fields.items() if key not in ("T", "S", "t")}
            return ", ".join(f"{key}={_plain(value)}" for key, value in shown.items())[:120]


def symbol_of(fields: dict[str, Any]) -> str:
    """The symbol, or the first few where there are several (news)."""
    symbol = fields.get("S")
    return str(symbol) if symbol else ",".join(map(str, fields.get("symbols") or []))[:40]


def channel_of(feed: Feed, fields: dict[str, Any]) -> str:
    """How the topic of a message is called; types of later protocol versions by their letter."""
    return feed.types.get(str(fields.get("T")), f"type {fields.get('T')}")


def line(feed: Feed, fields: dict[str, Any]) -> str:
    """One message for a terminal without a table."""
    instant = _plain(fields.get("t", fields.get("created_at", "")))
    return f"{instant}  {channel_of(feed, fields)}:{symbol_of(fields)}  {describe(fields)}"


def _plain(value: object) -> str:
    if isinstance(value, Ext):
        try:
            return rfc3339(timestamp_ns(value))
        except ValueError:
            return "?"
    return str(value)


@dataclass(slots=True)
class _Topic:
    last: str = ""
    seen_at: float = 0.0
    count: int = 0
    history: deque[tuple[float, int]] = field(default_factory=deque)


class TailTable:
    """The last message of each topic, its rate and its age."""

    def __init__(self, feed: Feed, where: str) -> None:
        self._feed = feed
        self._where = where
        self._topics: dict[str, _Topic] = {}
        self.messages = 0

    def note(self, fields: dict[str, Any]) -> None:
        """Remember one message."""
        name = f"{channel_of(self._feed, fields)}:{symbol_of(fields)}"
        topic = self._topics.setdefault(name, _Topic())
        topic.last, topic.seen_at = describe(fields), time.monotonic()
        topic.count += 1
        self.messages += 1

    def __rich__(self) -> Table:
        now = time.monotonic()
        table = Table(
            title=f"{self._where}  {self.messages:,} messages",
            title_justify="left",
            box=SIMPLE_HEAD,
        )
        table.add_column("topic", no_wrap=True)
        table.add_column("last", no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column("per second", justify="right")
        table.add_column("age", justify="right")
        for name, topic in sorted(self._topics.items()):
            table.add_row(
                Text(name), Text(topic.last), f"{_rate(topic, now):.1f}", _age(now - topic.seen_at)
            )
        return table


def _rate(topic: _Topic, now: float) -> float:
    """Messages per second over the last few seconds."""
    topic.history.append((now, topic.count))
    while len(topic.history) > 2 and now - topic.history[0][0] > _RATE_SECONDS:
        topic.history.popleft()
    (then, count), span = topic.history[0], now - topic.history[0][0]
    return (topic.count - count) / span if span > 0 and then < now else 0.0


def _age(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
