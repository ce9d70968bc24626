"""Fill a feed's gaps from Alpaca's REST: what was missed is found, put in order, and handed out.

One gap at a time, the newest first, each bounded in time and in messages; much is asked for and
handed out one stretch of time after the other. What comes twice is told by its key: a trade by
symbol, exchange and id, a bar by symbol and minute. REST may be behind the stream, so an answer
counts only if it has what the stream has brought since.
Sources: Alpaca, "Historical Stock Data"; "Real-time Stock Data" (when bars are sent).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from stream_proxy.feed.back_fill import Missed, hand_out
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND, rfc3339
from stream_proxy.model.topics import Channel, SubscriptionSet
from stream_proxy.runtime.clock import Clock
from stream_proxy.sources.instant import instant_of
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.sources.market_data_rest import Page
from stream_proxy.sources.received import ReceivedKeys, key_of
from stream_proxy.sources.window import Window
from stream_proxy.state.gaps import Filling, Gap
from stream_proxy.wire.alpaca.historical import StreamItems
from stream_proxy.wire.alpaca.transcode import NotTranscodable

_MARGIN_NS = 2 * NS_PER_SECOND
"""Clocks differ, and messages take their time: asked for is a little more than was missed."""
_SETTLE_SECONDS = 3.0
"""After a gap: bars of the minute that just ended may still come by themselves."""
_ON_ITS_WAY_SECONDS = 2.0
"""What happened behind a gap comes by itself, and no later than this after REST has it."""
_BEHIND_SECONDS = (2.0, 5.0, 15.0)
"""Waits for REST to catch up with the stream."""
_LONGEST_LAG_NS = 15 * NS_PER_SECOND
"""Where nothing shows how far REST is: so long after a gap it is believed to know all of it."""
_AGAIN_SECONDS = (30.0, 300.0, 960.0)
"""Waits after failures that may pass; the last is longer than the 15 minutes of some plans."""
_AROUND_NS = 3 * NS_PER_SECOND
"""What came so shortly before and behind a gap tells how much was missed, about."""
_PORTION = 500
_SORTED_AT_ONCE = 5000
ASKED = {
    "trades": "trades",
    "quotes": "quotes",
    "bars": "bars",
    "updatedBars": "bars",
    "news": "news",
}
"""Channels that REST can say something about afterwards, and what it is asked."""
_RENEWED = frozenset({"dailyBars", "orderbooks"})
"""Each message of these says everything anew: the next one makes up for those that were missed."""


class History(Protocol):
    """What REST is asked; see `MarketDataRest`."""

    def trades(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]: ...

    def quotes(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]: ...

    def bars(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]: ...

    def news(self, symbols: Sequence[str], from_ns: int, to_ns: int) -> AsyncIterator[Page]: ...

    def now_ns(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class BackFillLimits:
    """How much is asked for.

    Attributes:
        quotes: whether quotes are, which are many.
        messages: of one gap and channel, at the most.
        seconds: how long one gap may take at a time.
        at_once: about so many messages are asked for before they are handed out.
    """

    quotes: bool = False
    messages: int = 2_000_000
    seconds: float = 300.0
    at_once: int = 50_000


@dataclass(slots=True)
class _Found:
    """What one attempt brought."""

    items: list[tuple[int, Channel, str, dict[str, Any]]] = field(default_factory=list)
    """Instant, channel, symbol and REST's item; of what wasn't handed out yet."""
    messages: int = 0
    filled: SubscriptionSet = field(default_factory=SubscriptionSet)
    trouble: list[str] = field(default_factory=list)
    again: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an attempt has brought to its end, so that the next one needn't."""

    symbols: frozenset[str]
    from_ns: int
    to_ns: int


@dataclass(slots=True, eq=False)
class _Due:
    """A gap to be filled, and when (loop time)."""

    gap: Gap
    received: ReceivedKeys
    reading: asyncio.Task[None]
    """Of what came before the gap, and comes in it."""
    began_ns: int
    window: Window
    at: float = float("inf")
    tried: int = 0
    asked: dict[Channel, _Asked] = field(default_factory=dict)

    @property
    def remembers_before(self) -> bool:
        """Whether all is known that came right before the gap."""
        window = self.window
        return self.received.since_ns <= window.began_ns - window.late_ns - _MARGIN_NS


class BackFill:
    """Fills the gaps of one feed.

    Args:
        rest: asked for what was missed.
    """

    def __init__(
        self, handler: FeedHandler, rest: History, clock: Clock, limits: BackFillLimits
    ) -> None:
        self._handler = handler
        self._rest = rest
        self._clock = clock
        self._limits = limits
        self._due: list[_Due] = []
        self._newest: _Due | None = None
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("stream_proxy.back_fill").bind(feed=handler.feed.name)

    def gap_changed(self, gap: Gap) -> None:
        """A gap opened or ended: those that ended are filled as soon as may be."""
        due = self._newest
        if due is None or gap.number > due.gap.number:
            due = self._newest = self._open(gap)
            self._due.append(due)
            self._wake.set()
        if due.gap is not gap or due.tried or gap.filling is not Filling.NOT or gap.trouble:
            return
        if gap.to_ns is None:
            # It may have begun earlier than was known at first.
            earlier_ns = 0 if gap.began_ns is None else due.began_ns - gap.began_ns
            if earlier_ns > 0:
                due.began_ns -= earlier_ns
                due.window.widen(earlier_ns)
                due.reading.cancel()
                due.received, due.reading = self._read(due.window)
        else:
            # Again, where a gap of damaged messages grows.
            due.window.end(self._clock.monotonic_ns())
            if due.at == float("inf"):
                due.at = asyncio.get_running_loop().time() + _SETTLE_SECONDS
                self._wake.set()

    def _open(self, gap: Gap) -> _Due:
        opened_ns = self._clock.monotonic_ns()
        began_ns = opened_ns if gap.began_ns is None else gap.began_ns
        window = Window(
            self._handler,
            self._clock.now_ns(),
            opened_ns,
            opened_ns - began_ns,
            clipped=gap.whole_feed,
        )
        return _Due(gap, *self._read(window), began_ns, window)

    def _read(self, window: Window) -> tuple[ReceivedKeys, asyncio.Task[None]]:
        """Read what came before a gap, at once, and what comes: the ring may forget it."""
        channels = [channel for channel in self._handler.feed.channels if self._may_ask(channel)]
        received = ReceivedKeys(self._handler, window.began_ns - window.late_ns, channels)
        following = received.follow(self._limits.messages)
        return received, asyncio.get_running_loop().create_task(following)

    async def run(self) -> None:
        """Fill what is due, until cancelled."""
        try:
            while True:
                await self._fill_safely(await self._next())
        finally:
            for due in self._due:
                due.reading.cancel()

    async def _fill_safely(self, due: _Due) -> None:
        try:
            await self._fill(due)
        except Exception:
            # A bug of ours must not keep the other gaps from being filled.
            self._log.exception("back_fill.internal_error", gap=due.gap.number)
            self._settle(due.gap, Filling.NOT, "an internal error of the proxy, see the log")

    async def _next(self) -> _Due:
        """The newest gap that is due."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            ready = [one for one in self._due if one.at <= now]
            if ready:
                chosen = max(ready, key=lambda one: one.gap.number)
                self._due.remove(chosen)
                return chosen
            self._wake.clear()
            wait = min((one.at for one in self._due), default=float("inf")) - now
            try:
                async with asyncio.timeout(None if wait == float("inf") else wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _fill(self, due: _Due) -> None:
        gap, found = due.gap, _Found()
        assert gap.to_ns is not None
        gap.filling = Filling.UNDER_WAY
        due.reading.cancel()
        received = due.received
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._ask(due, found)
        except TimeoutError:
            found.trouble.append(f"it took longer than {self._limits.seconds:g} s")
            found.again = True
        # Up to here what came live counts; an attempt that ended early hasn't looked at it.
        await received.read()
        received.settled = True
        gap.filled = gap.filled | found.filled
        whole = not gap.missing
        filling = Filling.WHOLE if whole else Filling.PARTLY if gap.filled else Filling.NOT
        self._settle(gap, filling, "" if whole else "; ".join(dict.fromkeys(found.trouble)))
        if found.again and not whole and due.tried < len(_AGAIN_SECONDS):
            due.at = asyncio.get_running_loop().time() + _AGAIN_SECONDS[due.tried]
            due.tried += 1
            self._due.append(due)

    def _may_ask(self, channel: Channel) -> bool:
        return channel in ASKED and (channel != "quotes" or self._limits.quotes)

    def _settle(self, gap: Gap, filling: Filling, trouble: str) -> None:
        gap.filling, gap.trouble = filling, trouble
        gap.last_news_sequence = self._handler.sequence
        self._handler.on_gap(gap)
        assert gap.to_ns is not None
        self._log.info(
            "feed.back_filled",
            gap=gap.number,
            since=rfc3339(gap.from_ns),
            until=rfc3339(gap.to_ns),
            state=filling.value,
            messages=gap.messages,
            missing_topics=len(gap.missing),
            trouble=trouble or None,
        )

    # Asking

    async def _ask(self, due: _Due, found: _Found) -> None:
        """Ask for every channel of a gap that can be asked for."""
        gap = due.gap
        await self._ask_the_time(due, found)
        for channel in gap.missing.channels():
            if channel in _RENEWED and (channel != "orderbooks" or gap.whole_feed):
                topics = {channel: gap.topics.symbols(channel)}
                found.filled = found.filled | SubscriptionSet(topics)
            elif channel not in ASKED:
                found.trouble.append(f"{channel} can't be asked for afterwards")
            elif not self._may_ask(channel):
                found.trouble.append(
                    "quotes are not asked for (STREAM_PROXY_BACK_FILL_QUOTES=on does)"
                )
            elif due.window.sure:
                await self._ask_channel(due, channel, found)

    async def _ask_the_time(self, due: _Due, found: _Found) -> None:
        """Where nothing has come yet that tells what time it is at the exchange, an answer may."""
        for channel in due.gap.missing.channels():
            symbols = [one for one in due.gap.missing.symbols(channel) if one != "*"]
            if self._rest.now_ns() is None and symbols and self._may_ask(channel):
                with contextlib.suppress(MarketDataFailed):
                    ask = getattr(self._rest, ASKED[channel])
                    async for _ in ask(symbols[:1], due.window.from_ns, due.window.to_ns):
                        break
        window, clock = due.window, self._clock
        window.look(clock.monotonic_ns(), clock.now_ns(), self._rest.now_ns())
        if not window.sure:
            found.trouble.append("nothing has told yet what time it is at the exchange")
            found.again = True

    async def _ask_channel(self, due: _Due, channel: Channel, found: _Found) -> None:
        gap, received = due.gap, due.received
        named = [symbol for symbol in gap.missing.symbols(channel) if symbol != "*"]
        symbols = named
        if "*" in gap.missing.symbols(channel) and channel != "news":
            await received.read()
            seen = received.symbols(channel) | set(self._handler.last_values.symbols(channel))
            symbols = sorted(seen.union(named))
            found.trouble.append(
                f"of all {channel}, those of the {len(symbols)} symbols that were seen before "
                "could be asked for"
            )
        elif channel == "news":
            symbols = list(gap.missing.symbols(channel))
        if not symbols:
            return
        for wait in (*_BEHIND_SECONDS, None):
            part = _Found()
            try:
                await self._ask_symbols(due, channel, symbols, part)
            except MarketDataFailed as failure:
                found.trouble.append(str(failure))
                found.again |= failure.may_pass
                if not self._is_behind(due, channel, part):
                    found.filled = found.filled | part.filled
                return
            finally:
                # At once; whether that was all is another question.
                await self._deliver(due, part)
            if part.trouble or not self._is_behind(due, channel, part):
                break
            # Further than is believed, maybe.
            due.asked.pop(channel, None)
            if wait is None:
                found.trouble.append(f"{channel}: REST is behind the stream")
                found.again = True
                part.filled = SubscriptionSet()
                break
            await asyncio.sleep(wait)
        found.filled = found.filled | part.filled
        found.trouble += part.trouble

    async def _ask_symbols(
        self, due: _Due, channel: Channel, symbols: Sequence[str], part: _Found
    ) -> None:
        window = due.window
        ask = getattr(self._rest, ASKED[channel])
        from_ns, to_ns = window.from_ns - _MARGIN_NS, window.to_ns + _MARGIN_NS
        # What came shortly before the gap isn't missed, where that is remembered.
        oldest_ns = surely_ns = from_ns if due.remembers_before else window.from_ns
        if ASKED[channel] == "bars":
            # A bar is sent when its minute ends, and bears the time at which that began.
            from_ns -= from_ns % NS_PER_MINUTE + NS_PER_MINUTE
            to_ns = window.to_ns - NS_PER_MINUTE
            oldest_ns = surely_ns = oldest_ns - NS_PER_MINUTE
        elif due.gap.whole_feed:
            surely_ns = max(oldest_ns, window.at(due.received.since_ns))
        complete, unclear = frozenset(symbols), False
        begins_ns = self._not_asked_from(due, channel, complete, from_ns, to_ns)
        for begin_ns, end_ns in self._stretches(due, channel, begins_ns, to_ns):
            ended = set[str]()
            pages: AsyncIterator[Page] = ask(symbols, begin_ns, end_ns)
            async for page in pages:
                unclear |= _take(page, channel, part, oldest_ns, surely_ns)
                if page.last:
                    ended.update(page.symbols)
                    if end_ns == to_ns:
                        filled = SubscriptionSet({channel: complete.intersection(page.symbols)})
                        part.filled = part.filled | filled
                if part.messages > self._limits.messages:
                    part.trouble.append(
                        f"more than {self._limits.messages} {channel} were missed "
                        "(STREAM_PROXY_BACK_FILL_MESSAGES)"
                    )
                    return
            if end_ns < to_ns:
                await self._deliver(due, part)
                part.items.clear()
                complete &= ended
                if not (unclear or part.trouble):
                    due.asked[channel] = _Asked(complete, from_ns, end_ns)
        if unclear:
            part.filled = SubscriptionSet()
            part.trouble.append(
                f"{channel}: what came right before was forgotten already, so not all that was "
                "missed could be told from it (STREAM_PROXY_RING_BYTES)"
            )

    def _not_asked_from(
        self, due: _Due, channel: Channel, symbols: frozenset[str], from_ns: int, to_ns: int
    ) -> int:
        """From when on, within an interval, these symbols weren't asked for yet, with success."""
        asked = due.asked.get(channel)
        if asked is None or not symbols <= asked.symbols or from_ns < asked.from_ns:
            return from_ns
        return min(max(from_ns, asked.to_ns + 1), to_ns)

    def _stretches(
        self, due: _Due, channel: Channel, from_ns: int, to_ns: int
    ) -> list[tuple[int, int]]:
        """An interval in parts of about as many messages as may be held at once.

        All but the last are so old that REST is believed to know them: only the last shows whether
        it is behind.
        """
        window, received = due.window, due.received
        known_ns = min(to_ns, window.at(self._clock.monotonic_ns()) - _LONGEST_LAG_NS)
        if ASKED[channel] not in ("trades", "quotes") or known_ns <= from_ns:
            return [(from_ns, to_ns)]
        around = max(
            len(received.between(channel, window.from_ns - _AROUND_NS, window.from_ns)),
            len(received.between(channel, window.to_ns, window.to_ns + _AROUND_NS)),
        )
        parts = 1 + around * (known_ns - from_ns) // (_AROUND_NS * self._limits.at_once)
        begins = list(range(from_ns, known_ns, -(-(known_ns - from_ns) // parts)))
        return list(zip(begins, [*(begin_ns - 1 for begin_ns in begins[1:]), to_ns], strict=True))

    def _is_behind(self, due: _Due, channel: Channel, part: _Found) -> bool:
        """Whether REST may not know all of the gap yet.

        Ticks that the stream has brought right behind the gap show it, or the bar of the last
        minute that ended in it. Where there is nothing of the kind, only time tells.
        """
        window = due.window
        if ASKED[channel] == "bars":
            last_ns = window.to_ns - window.to_ns % NS_PER_MINUTE
            if last_ns < window.from_ns or any(
                at_ns + NS_PER_MINUTE >= last_ns for at_ns, *_ in part.items
            ):
                return False
        else:
            asked = set(part.filled.symbols(channel))
            answered = {key_of(channel, symbol, item) for _, _, symbol, item in part.items}
            came = due.received.between(channel, window.to_ns, window.to_ns + _MARGIN_NS)
            shown = [
                key in answered
                for symbol, key in came
                if not isinstance(symbol, str) or symbol in asked
            ]
            if shown:
                return not all(shown)
        return self._clock.monotonic_ns() - window.ended_ns < _LONGEST_LAG_NS

    # Handing out

    async def _deliver(self, due: _Due, part: _Found) -> None:
        """Hand out what an answer has that was missed."""
        new = await self._unknown(part, due.received)
        if any(at_ns > due.window.to_ns for at_ns, *_ in new):
            await asyncio.sleep(_ON_ITS_WAY_SECONDS)
            new = await self._unknown(part, due.received)
        await self._hand_out(new, due.received)
        due.gap.messages += len(new)
        self._handler.gaps.back_filled += len(new)

    async def _unknown(
        self, found: _Found, received: ReceivedKeys
    ) -> list[tuple[int, Channel, str, dict[str, Any]]]:
        """What was missed indeed, in the order in which it happened."""
        await received.read()
        new: dict[object, tuple[int, Channel, str, dict[str, Any]]] = {}
        for number, one in enumerate(found.items):
            if number % _SORTED_AT_ONCE == 0:
                await asyncio.sleep(0)
            _, channel, symbol, item = one
            key = key_of(channel, symbol, item)
            if key not in received.keys(channel):
                new.setdefault((channel, key), one)
        return sorted(new.values(), key=lambda one: one[0])

    async def _hand_out(
        self, new: list[tuple[int, Channel, str, dict[str, Any]]], received: ReceivedKeys
    ) -> None:
        handler = self._handler
        writers: dict[Channel, tuple[StreamItems, StreamItems]] = {}
        for start in range(0, len(new), _PORTION):
            # What has come in the meantime isn't said twice.
            await received.read()
            missed = []
            for _, channel, symbol, item in new[start : start + _PORTION]:
                if channel not in writers:
                    writers[channel] = (
                        StreamItems(handler.feed, channel, handler.codec),
                        StreamItems(handler.feed, channel, handler.codec, backfilled=True),
                    )
                if key_of(channel, symbol, item) in received.keys(channel):
                    continue
                plain, marked = writers[channel]
                try:
                    made = plain.write(symbol, item), marked.write(symbol, item)
                except NotTranscodable:
                    continue
                about = item.get("symbols", []) if channel == "news" else symbol
                missed.append(Missed(_LETTERS[channel], about, *made))
                received.add(channel, symbol, item)
                # Gaps that touch are tried again long after the ring has forgotten this.
                for other in self._due:
                    other.received.add(channel, symbol, item)
            if missed:
                hand_out(handler, missed, self._clock.now_ns())
            await asyncio.sleep(0)


def _take(page: Page, channel: Channel, part: _Found, oldest_ns: int, surely_ns: int) -> bool:
    """Keep what a page has that was missed; return whether that wasn't clear of anything."""
    unclear = False
    for symbol, item in page.items:
        at_ns = instant_of(item)
        if at_ns is None:
            part.trouble.append(f"{channel}: REST has one without a time")
        elif at_ns >= surely_ns:
            part.items.append((at_ns, channel, symbol, item))
            part.messages += 1
        elif at_ns >= oldest_ns:
            unclear = True
    return unclear


_LETTERS = {"trades": "t", "quotes": "q", "bars": "b", "updatedBars": "u", "news": "n"}
