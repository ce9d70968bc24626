"""One client's continuity: where it begins, what it resumes, which gaps it is told of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.outlets.continuity import (
    Asked,
    PositionedShape,
    affected,
    forgotten_message,
    gap_message,
    read_position,
    start_of,
)
from stream_proxy.state.gaps import Gap
from stream_proxy.state.ring import Stretch

if TYPE_CHECKING:
    from stream_proxy.outlets.market_data import MarketDataDialog


class Continuity:
    """What a market-data dialog does beside Alpaca's protocol, if its client asked for that."""

    def __init__(
        self, dialog: MarketDataDialog, query: Mapping[str, Sequence[str]], header: str | None
    ) -> None:
        self._dialog = dialog
        self._asked = Asked(query, header)
        self._shape: PositionedShape | None = None
        self._resume = self._asked.resume
        self._after: int | None = None
        self._why_not = ""
        self._began = False

    @property
    def asked(self) -> bool:
        """Whether it asked to be told."""
        return self._asked.continuity

    def shape(self, handler: FeedHandler) -> PositionedShape | None:
        """How its frames are made; None if it asked for nothing."""
        if not self._asked.continuity:
            return None
        shapes = self._dialog.outlet.positioned
        key = handler, self._dialog.codec.name
        if key not in shapes:
            shapes[key] = PositionedShape(handler.codec, self._dialog.codec, handler.epoch)
        self._shape = shapes[key]
        return self._shape

    # Where it begins

    def before_subscribing(self) -> None:
        """The first subscribe resumes, if a position was named."""
        if not self._resume:
            return
        text, self._resume = self._resume, ""
        self._why_not = self._prepare(text)

    def _prepare(self, text: str) -> str:
        """Make ready to resume; why that can't be, or nothing."""
        handler, consumer = self._dialog.handler, self._dialog.consumer
        assert handler is not None and consumer is not None
        position = read_position(text)
        if position is None:
            return "the position isn't <epoch>:<sequence>"
        epoch, sequence = position
        if epoch != handler.epoch:
            return "it is of another epoch: the proxy was restarted since, or it is another proxy"
        if sequence > handler.sequence:
            return f"it is in the future: the last message is {handler.sequence}"
        later = asyncio.get_running_loop().call_soon
        if not handler.resume(consumer, sequence, self._offer, self, later):
            return (
                f"messages are kept from {handler.ring.first} on; raise STREAM_PROXY_RING_SECONDS "
                "and STREAM_PROXY_RING_BYTES to be able to be away for longer"
            )
        self._after = sequence
        return ""

    def begin(self) -> bool:
        """Say where its messages begin; whether it needs last values, since it can't resume."""
        handler, dialog = self._dialog.handler, self._dialog
        if self._shape is None or handler is None:
            return False
        if self._after is not None and not self._began:
            dialog.say(start_of(handler.epoch, self._after, resumed=True, live=False))
        elif dialog.consumer is not None and dialog.consumer.replay is None:
            dialog.say(start_of(handler.epoch, handler.sequence, why_not=self._why_not))
        if self._why_not:
            dialog.say(self._forgotten(read_position(self._asked.resume), self._why_not))
        needs_last = bool(self._why_not)
        self._why_not = ""
        self._tell_recent(handler)
        self._tell_unrecorded(handler)
        self._began = True
        return needs_last

    def _forgotten(self, position: tuple[str, int] | None, why: str) -> dict[str, Any]:
        handler = self._dialog.handler
        assert handler is not None
        since_ns = None
        if position is not None and position[0] == handler.epoch:
            since_ns = handler.ring.time_at_or_before(position[1])
        return forgotten_message(since_ns, handler.now_ns(), why)

    def _tell_recent(self, handler: FeedHandler) -> None:
        """Gaps that are behind its beginning: while it was away, and one that is open."""
        after = self._after if not self._began else None
        for gap in handler.gaps.recent():
            is_open = gap.to_ns is None
            if is_open or (after is not None and gap.last_news_sequence >= after):
                self.tell(gap)

    def _tell_unrecorded(self, handler: FeedHandler) -> None:
        """What the ring lacks of its topics, since nobody held them while it was away."""
        consumer = self._dialog.consumer
        if self._after is None or self._began or consumer is None:
            return
        why = "nobody had asked Alpaca for it meanwhile"
        for since_ns, until_ns, topics in handler.unrecorded(consumer.topics, self._after):
            self._dialog.say(forgotten_message(since_ns, until_ns, why, topics))

    # While it resumes

    def _offer(self, items: Sequence[Any], sequences: Sequence[int], stretch: Stretch) -> bool:
        """Take a part of what it missed; whether there is room for more."""
        shape, handler, outbox = self._shape, self._dialog.handler, self._dialog.outbox
        assert shape is not None and handler is not None
        made = [item for item in shape.translated(items) if item is not None]
        if made:
            frames = shape.frames_until(made, sequences[-1])
            meter = outbox.meter = handler.hub.meter(shape)
            meter.flow.aside(shape.classify(frames))
            outbox.offer(frames, len(made))
        return not outbox.paused

    def lost(self, after: int, until: int) -> None:
        """It came forward more slowly than the past is forgotten."""
        handler = self._dialog.handler
        assert handler is not None
        why = f"messages {after + 1} to {until} are forgotten: it reads too slowly to resume"
        self._dialog.say(self._forgotten((handler.epoch, after), why))

    def live(self) -> None:
        """It has caught up."""
        handler = self._dialog.handler
        assert handler is not None
        self._dialog.say(start_of(handler.epoch, handler.sequence))
        self._dialog.caught_up()

    # Gaps

    def tell(self, gap: Gap) -> None:
        """Tell a gap if it concerns what the client holds."""
        consumer, handler = self._dialog.consumer, self._dialog.handler
        if self._shape is None or consumer is None or handler is None:
            return
        if affected(consumer.topics, gap.topics):
            self._dialog.say(gap_message(gap, consumer.topics, handler.feed))
