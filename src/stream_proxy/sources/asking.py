"""One channel of a gap, asked of REST in stretches of time, as often as it takes.

REST may be behind the stream. Whether it is, the youngest stretch shows, so that is asked for
first: when it has what the stream brought right behind the gap, REST knows the others, too. They
follow from the oldest on, each handed out before the next, and the youngest comes last. So memory
holds few of them, what was missed comes in order, and after a failure it goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stream_proxy.model.time import NS_PER_MINUTE, NS_PER_SECOND
from stream_proxy.model.topics import Channel
from stream_proxy.runtime.clock import Clock
from stream_proxy.sources.instant import instant_of
from stream_proxy.sources.market_data_refusals import MarketDataFailed
from stream_proxy.sources.market_data_rest import SYMBOLS_PER_REQUEST, Page
from stream_proxy.sources.received import Numbering, ReceivedKeys, has_key
from stream_proxy.sources.window import Window

MARGIN_NS = 2 * NS_PER_SECOND
"""Clocks differ, and messages take their time: asked for is a little more than was missed."""
_BEHIND_SECONDS = (2.0, 5.0, 15.0)
"""Waits for REST to catch up with the stream."""
_LONGEST_LAG_NS = 15 * NS_PER_SECOND
"""Where nothing shows how far REST is: so long after a gap it is believed to know all of it."""
_AROUND_NS = 3 * NS_PER_SECOND
"""What came so shortly before and behind a gap tells how much was missed, about."""
_MOST_OFF = 4
_CUT = 8
"""A stretch with so many times more than was expected is cut into so many."""
_A_REQUEST = 5_000
"""Stretches are so long that requests are half full at least."""

Item: TypeAlias = tuple[int, Channel, str, dict[str, Any]]
"""Instant, channel, symbol, and what REST has of it."""
Ask: TypeAlias = Callable[[Sequence[str], int, int], AsyncIterator[Page]]
Doubt: TypeAlias = Callable[[str], None]
HandOut: TypeAlias = Callable[[list[Item], Doubt], Awaitable[bool]]
TICKS = frozenset({"trades", "quotes"})
"""Channels on which there may be many, which come as they happen."""


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
class Answer:
    """What an attempt brought.

    Attributes:
        filled: symbols of which all that was missed has been handed out.
        trouble: why there aren't more.
        again: whether a later attempt may bring more.
    """

    filled: set[str] = field(default_factory=set)
    trouble: list[str] = field(default_factory=list)
    again: bool = False


class _TooMany(Exception):
    """More than may be asked for of one gap."""


class Asking:
    """A channel of a gap.

    Args:
        channel: as the stream names it.
        symbols: those that are asked for, now and later.
        bars: whether they are minute bars, which come when their minute ends.
        ticks: whether they may be many, and come as they happen.
        window: when the gap was; it may be found out better meanwhile.
        received: what the stream brought around it.
        ask: asks REST for symbols and an interval.
        hand_out: hands out what was missed of some items, and tells whether some couldn't be told
            from what was received.
    """

    def __init__(
        self,
        channel: Channel,
        symbols: Sequence[str],
        *,
        bars: bool,
        ticks: bool,
        window: Window,
        received: ReceivedKeys,
        ask: Ask,
        hand_out: HandOut,
        limits: BackFillLimits,
        clock: Clock,
    ) -> None:
        self.symbols = symbols
        self._channel: Channel = channel
        self._bars, self._ticks = bars, ticks
        self._window = window
        self._received = received
        self._ask_rest = ask
        self._hand_out = hand_out
        self._limits = limits
        self._clock = clock
        self._most = max(limits.at_once, _A_REQUEST * (len(symbols) // SYMBOLS_PER_REQUEST))
        self._answerable = set(symbols)
        """Those that REST didn't refuse."""
        self._refused: list[str] = []
        """What REST said of symbols that it has nothing of."""
        self._doubtful = set[str]()
        """Those of which it has something that can't be used."""
        self._filled = set[str]()
        self._proven = False
        """REST knows all of the gap."""
        self._was_shown = False
        """What it knew when it didn't was handed out."""
        self._done: tuple[int, int] | None = None
        """The interval that was asked for when that was proven, and handed out."""
        # Of the attempt under way:
        self._answer = Answer()
        self._ended = set[str]()
        self._early = set[str]()
        """Symbols with the bars that show that there are no others to come."""
        self._held: list[Item] = []
        self._messages = 0
        self._unclear = False

    async def attempt(self, *, last: bool) -> Answer:
        """Ask for all that isn't known to be complete, and hand out what was missed.

        If it is cancelled, `give_up` has to be called.

        Args:
            last: there won't be another, so what has come is handed out with holes, too. Otherwise
                it would be out of order.
        """
        answer = self._answer = Answer()
        self._messages, self._unclear, self._ended = 0, False, set()
        self._early = set()
        await self._received.read()
        from_ns, oldest_ns, to_ns = self._interval()
        begin_ns = from_ns
        if self._done is not None and self._done[0] <= from_ns:
            begin_ns = min(max(from_ns, self._done[1]), self._last_begin_ns(from_ns, to_ns))
        stretches = self._cut(begin_ns, to_ns, self._parts(begin_ns, to_ns))
        complete = set[str]()
        try:
            if not self._proven:
                await self._ask_the_youngest(stretches, oldest_ns)
                if not self._proven and self._was_shown:
                    stretches.clear()
            while stretches and self._answerable:
                await self._ask_the_oldest(stretches, oldest_ns, from_ns)
            self._was_shown = True
            complete = set(self._answerable) if self._proven else set()
        except MarketDataFailed as failure:
            answer.trouble.append(str(failure))
            answer.again |= failure.may_pass
            # Of some symbols all may have come. Of the others that proves nothing.
            if not stretches and (self._proven or not self._is_behind(self._held)):
                complete = self._answerable & self._ended
            if failure.may_pass and not last:
                self._held = [one for one in self._held if one[2] in complete]
        except _TooMany as reason:
            answer.trouble.append(str(reason))
        self._unclear |= await self.give_up(last=True)
        if self._unclear:
            answer.trouble.append(
                f"{self._channel}: what came right before was forgotten already, so not all that "
                "was missed could be told from it (STREAM_PROXY_RING_BYTES)"
            )
        else:
            answer.filled = (complete | self._early) - self._doubtful
        answer.trouble += self._refused
        if self._doubtful:
            answer.trouble.append(f"{self._channel}: REST has some that can't be used")
        self._filled |= answer.filled
        return answer

    async def give_up(self, *, last: bool) -> bool:
        """Hand out what is held, and tell whether some of it couldn't be told from the rest.

        If this attempt isn't the last, what is held is asked for again, in its order.
        """
        unclear = bool(self._held) and last and await self._hand_out(self._held, self.doubt)
        # Not before: where that is cut short, the rest can still be handed out.
        self._held = []
        return unclear

    def doubt(self, symbol: str) -> None:
        """REST has something of a symbol that can't be used."""
        self._doubtful |= {symbol} if symbol in self._answerable else set(self.symbols)

    # When

    def _interval(self) -> tuple[int, int, int]:
        """What is asked for: from when on, from when on it may have been missed, and until when."""
        window, received = self._window, self._received
        from_ns, to_ns = window.from_ns - MARGIN_NS, window.to_ns + MARGIN_NS
        # What came shortly before the gap isn't missed, where that is remembered.
        remembered = received.since_ns <= window.began_ns - window.late_ns - MARGIN_NS
        oldest_ns = from_ns if remembered else window.from_ns
        if self._bars:
            # A bar is sent when its minute ends, and bears the time at which that began.
            from_ns -= from_ns % NS_PER_MINUTE + NS_PER_MINUTE
            return from_ns, oldest_ns - NS_PER_MINUTE, window.to_ns - NS_PER_MINUTE
        return from_ns, oldest_ns, to_ns

    def _last_begin_ns(self, from_ns: int, to_ns: int) -> int:
        """When the youngest stretch begins, at the latest: it has to show how far REST is."""
        return max(from_ns, min(self._window.to_ns - MARGIN_NS, to_ns))

    def _parts(self, from_ns: int, to_ns: int) -> int:
        """Into how many stretches an interval is cut: by what came around it."""
        if not self._ticks:
            return 1
        window, received = self._window, self._received
        around = max(
            len(received.between(self._channel, window.from_ns - _AROUND_NS, window.from_ns)),
            len(received.between(self._channel, window.to_ns, window.to_ns + _AROUND_NS)),
        )
        length_ns = self._last_begin_ns(from_ns, to_ns) - from_ns
        return 1 + around * length_ns // (_AROUND_NS * self._most)

    def _cut(self, from_ns: int, to_ns: int, parts: int) -> deque[tuple[int, int]]:
        """An interval in parts, the last of which is long enough to show how far REST is."""
        last_ns = self._last_begin_ns(from_ns, to_ns)
        width_ns = -(-(last_ns - from_ns) // parts)
        begins = list(range(from_ns, last_ns, width_ns)) if width_ns else [from_ns]
        return deque(zip(begins, [*(begin_ns - 1 for begin_ns in begins[1:]), to_ns], strict=True))

    # Asking

    async def _ask_the_youngest(self, stretches: deque[tuple[int, int]], oldest_ns: int) -> None:
        """Ask for it until it shows that REST isn't behind; keep what it has for the end."""
        begin_ns, end_ns = stretches.pop()
        for wait in (*_BEHIND_SECONDS, None):
            before, self._held = self._held, []
            try:
                while (found := await self._ask(begin_ns, end_ns, oldest_ns)) is None:
                    stretches.extend(self._cut(begin_ns, end_ns, _CUT))
                    begin_ns, end_ns = stretches.pop()
            except BaseException:
                # The same again, or less of it.
                self._held = max(before, self._held, key=len)
                raise
            self._held = found
            await self._received.read()
            self._proven = not self._is_behind(found)
            if self._proven:
                break
            if self._bars:
                await self._hand_out_early()
            if wait is None:
                self._answer.trouble.append(f"{self._channel}: REST is behind the stream")
                self._answer.again = True
            else:
                await asyncio.sleep(wait)
        self._messages += len(self._held)

    async def _hand_out_early(self) -> None:
        """Hand out the bars of symbols that have that of the last minute; others are waited for."""
        shown = self._shown_by(self._held) - self._filled
        early = [one for one in self._held if one[2] in shown]
        self._unclear |= await self._hand_out(early, self.doubt)
        self._held = [one for one in self._held if one[2] not in shown]
        self._messages += len(early)
        self._early |= shown
        self._filled |= shown - self._doubtful

    def _shown_by(self, bars: list[Item]) -> set[str]:
        """The symbols that have a bar of the last minute that ended in the gap."""
        last_ns = self._window.to_ns - self._window.to_ns % NS_PER_MINUTE
        return {symbol for at_ns, _, symbol, _ in bars if at_ns + NS_PER_MINUTE >= last_ns}

    async def _ask_the_oldest(
        self, stretches: deque[tuple[int, int]], oldest_ns: int, from_ns: int
    ) -> None:
        """Ask for it, and hand out what was missed."""
        begin_ns, end_ns = stretches.popleft()
        found = await self._ask(begin_ns, end_ns, oldest_ns)
        if found is None:
            stretches.extendleft(reversed(self._cut(begin_ns, end_ns, _CUT)))
            return
        self._messages += len(found)
        self._unclear |= await self._hand_out(found, self.doubt)
        if self._proven and not self._unclear:
            self._done = from_ns, end_ns + 1

    async def _ask(self, begin_ns: int, end_ns: int, oldest_ns: int) -> list[Item] | None:
        """What REST has of a stretch; None if that is far more than was expected.

        Raises:
            MarketDataFailed: it didn't answer to the end; what it had is held.
            _TooMany: likewise.
        """
        found: list[Item] = []
        self._ended = set()
        may_cut = self._ticks and self._last_begin_ns(begin_ns, end_ns) - begin_ns > NS_PER_SECOND
        symbols = [
            one for one in self.symbols if one in self._answerable and one not in self._filled
        ]
        try:
            async for page in self._ask_rest(symbols, begin_ns, end_ns):
                self._take(page, found, oldest_ns)
                if len(found) > _MOST_OFF * self._most and may_cut:
                    return None
        except MarketDataFailed as failure:
            if failure.reason != "symbol":
                self._held = self._held + found
                raise
            # Of all others it has answered.
            self._refused.append(str(failure))
            self._answerable &= self._ended | self._filled
        except BaseException:
            self._held = self._held + found
            raise
        return found

    def _take(self, page: Page, found: list[Item], oldest_ns: int) -> None:
        for symbol, item in page.items:
            at_ns = instant_of(item)
            if at_ns is None or not has_key(self._channel, symbol, item):
                self.doubt(symbol)
            elif at_ns >= oldest_ns:
                found.append((at_ns, self._channel, symbol, item))
        if page.last:
            self._ended.update(page.symbols)
        if self._messages + len(found) > self._limits.messages:
            raise _TooMany(
                f"more than {self._limits.messages} {self._channel} were missed "
                "(STREAM_PROXY_BACK_FILL_MESSAGES)"
            )

    def _is_behind(self, found: list[Item]) -> bool:
        """Whether REST may not know all of the gap yet.

        Ticks that the stream has brought right behind the gap show it, or the bars of the last
        minute that ended in it, of each symbol. Where one is lacking, only time tells.
        """
        window = self._window
        if self._bars:
            ended_none = window.to_ns - window.to_ns % NS_PER_MINUTE < window.from_ns
            if ended_none or self._answerable <= self._shown_by(found) | self._filled:
                return False
        else:
            key_of = Numbering()
            answered = {
                key_of(self._channel, symbol, item, at_ns) for at_ns, _, symbol, item in found
            }
            came = self._received.between(self._channel, window.to_ns, window.to_ns + MARGIN_NS)
            shown = [
                key in answered
                for symbol, key in came
                if not isinstance(symbol, str) or symbol in self._ended
            ]
            if shown:
                return not all(shown)
        return self._clock.monotonic_ns() - window.ended_ns < _LONGEST_LAG_NS
