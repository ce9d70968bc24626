"""Fill a feed's gaps from Alpaca's REST: what was missed is found, put in order, and handed out.

One gap at a time, the newest first, each bounded in time and in messages. What comes twice is told
by its key: a trade by symbol, exchange, id and day, a bar by symbol and minute. REST may be behind
the stream, so an answer counts only if it has what the stream has brought since (see `Asking`).
Sources: Alpaca, "Historical Stock Data"; "Real-time Stock Data" (when bars are sent).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.time import NS_PER_SECOND, rfc3339
from stream_proxy.model.topics import Channel, SubscriptionSet
from stream_proxy.runtime.clock import Clock
from stream_proxy.sources.asking import TICKS, Asking, BackFillLimits
from stream_proxy.sources.delivery import LATE_NS, Delivery
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.sources.market_data_rest import Page
from stream_proxy.sources.received import ReceivedKeys
from stream_proxy.sources.window import Window
from stream_proxy.state.gaps import Filling, Gap

_SETTLE_SECONDS = 3.0
"""After a gap: bars of the minute that just ended may still come by themselves."""
_TIME_SECONDS = 10
"""So long an answer is waited for that only tells the time."""
_NEAR_NS = 120 * NS_PER_SECOND
_TO_ITSELF_SECONDS = 20.0
"""So long an attempt isn't disturbed; then a newer gap comes first, and it goes on where it was.
Without, a connection that comes and goes would keep an old gap from ever being filled."""
_AGAIN_SECONDS = (30.0, 300.0, 960.0)
"""Waits after failures that may pass; the last is longer than the 15 minutes of some plans."""
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


@dataclass(slots=True)
class _Found:
    """What one attempt brought."""

    filled: SubscriptionSet = field(default_factory=SubscriptionSet)
    trouble: list[str] = field(default_factory=list)
    again: bool = False


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
    spent_seconds: float = 0.0
    """Of the attempt that gave way."""
    asked: dict[Channel, Asking] = field(default_factory=dict)

    def is_near(self, at_ns: int) -> bool:
        """Whether what happened then may be of the gap's time."""
        return self.window.from_ns - _NEAR_NS < at_ns < self.window.to_ns + _NEAR_NS

    @property
    def is_last(self) -> bool:
        """Whether it won't be tried again."""
        return self.tried == len(_AGAIN_SECONDS)

    def close(self) -> None:
        """Nothing more is asked for."""
        self.reading.cancel()
        self.received.forget()
        self.asked.clear()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What is being filled now, from when until when at the latest (loop time)."""

    due: _Due
    began: float
    ends: float
    timeout: asyncio.Timeout

    def hurry(self, others: Sequence[_Due]) -> None:
        """End in time for a newer gap."""
        newer = (one.at for one in others if one.gap.number > self.due.gap.number)
        gives_way = max(self.began + _TO_ITSELF_SECONDS, min(newer, default=float("inf")))
        if not self.timeout.expired():
            self.timeout.reschedule(min(self.ends, gives_way))


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
        self._under_way: _Attempt | None = None
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("stream_proxy.back_fill").bind(feed=handler.feed.name)

    def gap_changed(self, gap: Gap) -> None:
        """A gap opened or ended: those that ended are filled as soon as may be."""
        due = self._newest
        if due is None or gap.number > due.gap.number:
            self._make_room()
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
            due.received.until_ns = due.window.ended_ns + LATE_NS
            if due.at == float("inf"):
                due.at = asyncio.get_running_loop().time() + _SETTLE_SECONDS
                self._wake.set()
                if self._under_way is not None:
                    self._under_way.hurry(self._due)

    def _make_room(self) -> None:
        """Try the oldest no more while all together remember too much of what was received."""
        waiting = sorted((one for one in self._due if one.tried), key=lambda one: one.gap.number)
        keys = sum(len(one.received) for one in self._due)
        for one in waiting:
            if keys <= self._limits.messages:
                break
            keys -= len(one.received)
            self._due.remove(one)
            one.close()
            if one.gap.filling is Filling.UNDER_WAY:
                # It gave way, and nobody has been told how that ended.
                filling = Filling.PARTLY if one.gap.filled else Filling.NOT
                self._settle(one.gap, filling, "too many gaps waited to be filled")
            self._log.warning(
                "back_fill.given_up",
                gap=one.gap.number,
                meaning="it won't be tried again: what was received around so many gaps takes too "
                "much memory",
                cure="raise STREAM_PROXY_BACK_FILL_MESSAGES",
            )

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
        began_ns = window.began_ns - window.late_ns
        received = ReceivedKeys(self._handler, self._clock, began_ns, channels)
        following = received.follow(self._limits.messages)
        return received, asyncio.get_running_loop().create_task(following)

    async def run(self) -> None:
        """Fill what is due, until cancelled."""
        try:
            while True:
                await self._fill_safely(await self._next())
        finally:
            for due in self._due:
                due.close()

    async def _fill_safely(self, due: _Due) -> None:
        try:
            await self._fill(due)
        except Exception:
            # A bug of ours must not keep the other gaps from being filled.
            self._log.exception("back_fill.internal_error", gap=due.gap.number)
            self._settle(due.gap, Filling.NOT, "an internal error of the proxy, see the log")
        finally:
            if due not in self._due:
                due.close()

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
        goes_on_at = await self._attempt(due, found)
        gap.filled = gap.filled | found.filled
        if goes_on_at is not None and gap.missing:
            due.at = goes_on_at
            self._due.append(due)
            return
        due.spent_seconds = 0.0
        whole = not gap.missing
        filling = Filling.WHOLE if whole else Filling.PARTLY if gap.filled else Filling.NOT
        self._settle(gap, filling, "" if whole else "; ".join(dict.fromkeys(found.trouble)))
        if found.again and not whole and not due.is_last:
            due.at = asyncio.get_running_loop().time() + _AGAIN_SECONDS[due.tried]
            due.tried += 1
            self._due.append(due)

    async def _attempt(self, due: _Due, found: _Found) -> float | None:
        """Ask as long as may be; when to go on (loop time), if a newer gap comes first."""
        began = asyncio.get_running_loop().time()
        ends = began + self._limits.seconds - due.spent_seconds
        try:
            async with asyncio.timeout(None) as timeout:
                self._under_way = _Attempt(due, began, ends, timeout)
                self._under_way.hurry(self._due)
                await self._ask(due, found)
        except TimeoutError:
            # Not the present: timers may fire a moment early, and then the newer one isn't due.
            at = timeout.when()
            gives_way = at is not None and at < ends
            for asking in due.asked.values():
                await asking.give_up(last=due.is_last and not gives_way)
            if at is not None and gives_way:
                due.spent_seconds += at - began
                return at
            found.trouble.append(f"it took longer than {self._limits.seconds:g} s")
            found.again = True
        finally:
            self._under_way = None
        return None

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
        channels: list[Channel] = [*gap.missing.channels()]
        # Of bars of quiet symbols only time makes sure. But they are few, and should not wait once
        # more behind what took all of ours.
        channels.sort(key=lambda channel: (channel in TICKS) is bool(due.tried))
        for channel in channels:
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
            # Nothing but news can be asked for by ``*``.
            symbols = [
                one for one in due.gap.missing.symbols(channel) if one != "*" or channel == "news"
            ]
            if self._rest.now_ns() is None and symbols and self._may_ask(channel):
                ask = getattr(self._rest, ASKED[channel])
                # Another channel may answer sooner.
                with contextlib.suppress(MarketDataFailed, TimeoutError):
                    async with asyncio.timeout(_TIME_SECONDS):
                        async for _ in ask(symbols[:1], due.window.from_ns, due.window.to_ns):
                            break
        window, clock = due.window, self._clock
        window.look(clock.monotonic_ns(), clock.now_ns(), self._rest.now_ns())
        if not window.sure:
            found.trouble.append("nothing has told yet what time it is at the exchange")
            found.again = True

    async def _ask_channel(self, due: _Due, channel: Channel, found: _Found) -> None:
        asking = due.asked.get(channel)
        if asking is None:
            asking = due.asked[channel] = await self._asking(due, channel)
        if "*" in due.gap.missing.symbols(channel) and channel != "news":
            found.trouble.append(
                f"of all {channel}, those of the {len(asking.symbols)} symbols that were seen "
                "before could be asked for"
            )
        if asking.symbols:
            answer = await asking.attempt(last=due.is_last)
            found.filled = found.filled | SubscriptionSet({channel: answer.filled})
            found.trouble += answer.trouble
            found.again |= answer.again

    async def _asking(self, due: _Due, channel: Channel) -> Asking:
        symbols = set(due.gap.missing.symbols(channel))
        if "*" in symbols and channel != "news":
            await due.received.read()
            seen = due.received.symbols(channel) | set(self._handler.last_values.symbols(channel))
            symbols = (symbols | seen) - {"*"}
        what = ASKED[channel]
        delivery = Delivery(
            self._handler, self._clock, due.gap, due.window, due.received, self._near
        )
        return Asking(
            channel,
            sorted(symbols),
            bars=what == "bars",
            ticks=what in TICKS,
            window=due.window,
            received=due.received,
            ask=getattr(self._rest, what),
            hand_out=delivery.hand_out,
            limits=self._limits,
            clock=self._clock,
        )

    def _near(self, at_ns: int) -> Iterator[ReceivedKeys]:
        return (due.received for due in self._due if due.is_near(at_ns))
