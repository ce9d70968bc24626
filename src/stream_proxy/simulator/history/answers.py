"""Answers from the record: pages of trades, quotes, bars and news, and what came last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from msgspec.msgpack import Ext

from stream_proxy.model.conditions import BarEffect, OpenClose
from stream_proxy.model.messages import Bar
from stream_proxy.model.time import NS_PER_MINUTE, rfc3339, timestamp_ns
from stream_proxy.model.topics import WILDCARD
from stream_proxy.simulator.history.questions import Position, Question
from stream_proxy.simulator.history.record import Column, History
from stream_proxy.simulator.market.bars import BarBuilder
from stream_proxy.simulator.market.days import day_of
from stream_proxy.wire.alpaca.codec import MSGPACK

KINDS = {"trades": "t", "quotes": "q", "bars": "b", "news": "n"}
Fields: TypeAlias = dict[str, Any]
_BEGINNING_NS, _END_NS = -(1 << 62), 1 << 62
_UNRESTRICTED = BarEffect(OpenClose.ALWAYS, high_low=True, volume=True)
_DAY_MINUTES = 24 * 60
_ITEMS_A_TURN = 1000
"""Between so many the streams go on."""
_Item = TypeVar("_Item")


def rest_item(item: bytes) -> Fields:
    """An item of the stream as REST has it: without type and symbol, the time first and as text."""
    fields = MSGPACK.decode_fields(item)
    del fields["T"]
    fields.pop("S", None)
    if "t" in fields:
        fields = {"t": fields.pop("t"), **fields}
    return {
        key: rfc3339(timestamp_ns(value)) if isinstance(value, Ext) else value
        for key, value in fields.items()
    }


class Answers:
    """What one endpoint's record says, as it was known at an instant.

    Args:
        history: the record.
        shown_ns: what was sent later isn't known yet.
        has_bars: bars were sent; else they are made of the trades, as those of options are.
    """

    def __init__(self, history: History, shown_ns: int, *, has_bars: bool) -> None:
        self._history = history
        self._shown_ns = shown_ns
        self._has_bars = has_bars

    async def page(
        self, channel: str, asked: Question, bar_minutes: int = 1
    ) -> tuple[dict[str, list[Fields]], str | None]:
        """Items by symbol, and the token of the next page if there is one."""
        found: dict[str, list[Fields]] = {}
        room = asked.limit
        last: Position | None = None
        for symbol in asked.symbols:
            after = asked.after
            if after is not None and symbol < after.symbol:
                continue
            here = after if after is not None and symbol == after.symbol else None
            marks = await self._taken_back(symbol) if channel == "trades" else {}
            for position, item in _counted(
                symbol, await self._items(channel, symbol, asked, here, bar_minutes)
            ):
                if here is not None and not _is_behind(position, here, asked.ascending):
                    continue
                if not room:
                    assert last is not None
                    return found, last.token
                fields = rest_item(item) if isinstance(item, bytes) else item
                mark = marks and marks.get((fields["x"], fields["i"]))
                found.setdefault(symbol, []).append(fields | {"u": mark} if mark else fields)
                last = position
                room -= 1
                if room % _ITEMS_A_TURN == 0:
                    await asyncio.sleep(0)
        return found, None

    async def latest(self, channel: str, symbols: Iterable[str]) -> dict[str, Fields]:
        """The last item of each symbol that has one."""
        found: dict[str, Fields] = {}
        for symbol in symbols:
            column = await self._history.column(KINDS[channel], symbol)
            item = column.last(self._shown_ns)
            if item is not None:
                found[symbol] = rest_item(item)
            elif channel == "bars" and not self._has_bars:
                bars = [bar for _, bar in await self._bars_of_trades(symbol, 1)]
                found |= {symbol: bars[-1]} if bars else {}
        return found

    async def snapshots(self, symbols: Iterable[str]) -> dict[str, Fields]:
        """Everything that is known of each symbol; the day before is not kept."""
        wanted = list(symbols)
        parts = {
            "latestTrade": await self.latest("trades", wanted),
            "latestQuote": await self.latest("quotes", wanted),
            "minuteBar": await self.latest("bars", wanted),
            "dailyBar": await self._daily_bars(wanted),
        }
        return {
            symbol: {name: found[symbol] for name, found in parts.items() if symbol in found}
            for symbol in wanted
            if any(symbol in found for found in parts.values())
        }

    async def news(self, asked: Question, *, with_content: bool) -> tuple[list[Fields], str | None]:
        """Articles as they are now, by the time of their last update, and the next page's token."""
        column = await self._history.column(KINDS["news"], WILDCARD)
        newest: dict[int, tuple[int, Fields]] = {}
        for time_ns, item in column.between(_BEGINNING_NS, _END_NS, self._shown_ns):
            fields = rest_item(item)
            newest[fields["id"]] = time_ns, fields
        articles = sorted(newest.values(), key=lambda article: (article[0], article[1]["id"]))
        wanted = [
            (time_ns, fields | {"images": []})
            for time_ns, fields in articles
            if asked.from_ns <= time_ns <= asked.to_ns
            and (not asked.symbols or not set(asked.symbols).isdisjoint(fields["symbols"]))
        ]
        found: list[Fields] = []
        last: Position | None = None
        ordered = wanted if asked.ascending else wanted[::-1]
        for position, fields in _counted(WILDCARD, ordered):
            if asked.after and not _is_behind(position, asked.after, asked.ascending):
                continue
            if len(found) == asked.limit:
                assert last is not None
                return found, last.token
            found.append(fields if with_content else fields | {"content": ""})
            last = position
        return found, None

    # The items of one symbol

    async def _items(
        self,
        channel: str,
        symbol: str,
        asked: Question,
        here: Position | None,
        bar_minutes: int,
    ) -> list[tuple[int, bytes | Fields]]:
        """Times and items in the order asked for, from where the page before ended."""
        from_ns, to_ns = asked.from_ns, asked.to_ns
        if here is not None and asked.ascending:
            from_ns = max(from_ns, here.time_ns)
        elif here is not None:
            to_ns = min(to_ns, here.time_ns)
        found: list[tuple[int, bytes | Fields]]
        if channel == "bars":
            bars = await self._bars(symbol, bar_minutes)
            found = [(time_ns, bar) for time_ns, bar in bars if from_ns <= time_ns <= to_ns]
        else:
            column = await self._history.column(KINDS[channel], symbol)
            found = list(column.between(from_ns, to_ns, self._shown_ns))
        return found if asked.ascending else found[::-1]

    async def _taken_back(self, symbol: str) -> dict[tuple[str, int], str]:
        """What became of trades, by exchange and id; a corrected print isn't listed for itself."""
        marks: dict[tuple[str, int], str] = {}
        for kind, id_key, mark in (("x", "i", "canceled"), ("c", "oi", "incorrect")):
            column = await self._history.column(kind, symbol)
            for fields in _decoded(column, self._shown_ns):
                marks[fields["x"], fields[id_key]] = mark
        return marks

    async def _bars(self, symbol: str, minutes: int) -> list[tuple[int, Fields]]:
        if not self._has_bars:
            return await self._bars_of_trades(symbol, minutes)
        column = await self._history.column(KINDS["bars"], symbol)
        # An updated bar follows the bar that it replaces.
        by_minute = dict(column.between(_BEGINNING_NS, _END_NS, self._shown_ns))
        bars = [(time_ns, rest_item(item)) for time_ns, item in by_minute.items()]
        return bars if minutes == 1 else list(_longer(bars, minutes))

    async def _bars_of_trades(self, symbol: str, minutes: int) -> list[tuple[int, Fields]]:
        column = await self._history.column(KINDS["trades"], symbol)
        builders: dict[int, BarBuilder] = {}
        for time_ns, item in column.between(_BEGINNING_NS, _END_NS, self._shown_ns):
            builder = builders.setdefault(_left_edge(time_ns, minutes), BarBuilder())
            fields = MSGPACK.decode_fields(item)
            builder.add(fields["p"], fields["s"], _UNRESTRICTED)
        return [
            (edge_ns, rest_item(MSGPACK.encode(builder.message(Bar, symbol, edge_ns))))
            for edge_ns, builder in builders.items()
        ]

    async def _daily_bars(self, symbols: Iterable[str]) -> dict[str, Fields]:
        found: dict[str, Fields] = {}
        for symbol in symbols:
            item = (await self._history.column("d", symbol)).last(self._shown_ns)
            if item is not None:
                found[symbol] = rest_item(item)
        return found


def _decoded(column: Column, shown_ns: int) -> Iterator[Mapping[str, Any]]:
    for _, item in column.between(_BEGINNING_NS, _END_NS, shown_ns):
        yield MSGPACK.decode_fields(item)


def _counted(symbol: str, items: Iterable[tuple[int, _Item]]) -> Iterator[tuple[Position, _Item]]:
    """Each item with its place: its time, and which of that time it is."""
    previous_ns, taken = _BEGINNING_NS, 0
    for time_ns, fields in items:
        taken = taken + 1 if time_ns == previous_ns else 1
        previous_ns = time_ns
        yield Position(symbol, time_ns, taken), fields


def _is_behind(position: Position, mark: Position, ascending: bool) -> bool:
    if position.time_ns == mark.time_ns:
        return position.taken > mark.taken
    return (position.time_ns > mark.time_ns) == ascending


def _left_edge(time_ns: int, minutes: int) -> int:
    if minutes == _DAY_MINUTES:
        return day_of(time_ns).start_ns
    return time_ns - time_ns % (minutes * NS_PER_MINUTE)


def _longer(bars: Iterable[tuple[int, Fields]], minutes: int) -> Iterator[tuple[int, Fields]]:
    """Bars of several minutes, made of minute bars in time order."""
    edge_ns, together = _BEGINNING_NS, dict[str, Any]()
    for time_ns, bar in bars:
        left_ns = _left_edge(time_ns, minutes)
        if left_ns != edge_ns:
            if together:
                yield edge_ns, together
            edge_ns, together = left_ns, bar | {"t": rfc3339(left_ns)}
            continue
        volume = together["v"] + bar["v"]
        notional = together["vw"] * together["v"] + bar["vw"] * bar["v"]
        together |= {
            "h": max(together["h"], bar["h"]),
            "l": min(together["l"], bar["l"]),
            "c": bar["c"],
            "v": volume,
            "n": together["n"] + bar["n"],
            "vw": round(notional / volume, 6) if volume else 0.0,
        }
    if together:
        yield edge_ns, together
