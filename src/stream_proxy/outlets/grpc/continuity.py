"""One call's continuity: where it goes on, and which gaps it is told of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from grpclib.const import Status

from stream_proxy.outlets.continuity import affected, lacking, read_position
from stream_proxy.outlets.grpc.back_fill import GrpcForm
from stream_proxy.outlets.grpc.refusals import position_lost, refusal
from stream_proxy.state.gaps import Filling, Gap
from stream_proxy.state.ring import Stretch
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

if TYPE_CHECKING:
    from stream_proxy.outlets.grpc.market_data import MarketDataCall


class CallContinuity:
    """What a market-data call does about completeness.

    Args:
        resume: the position that the caller wants to go on behind; empty for what comes next.
    """

    def __init__(self, call: MarketDataCall, form: GrpcForm, resume: str) -> None:
        self._call = call
        self._form = form
        self._resume = resume
        self._after: int | None = None

    def prepare(self) -> None:
        """Make ready to resume.

        Raises:
            GRPCError: the position can't be read, or not be honoured.
        """
        if not self._resume:
            return
        handler = self._call.handler
        position = read_position(self._resume)
        if position is None:
            raise refusal(
                Status.INVALID_ARGUMENT,
                f"resume={self._resume[:60]!r} is no position",
                "NO_POSITION",
                "Write <epoch>:<sequence>, as responses have them",
            )
        epoch, sequence = position
        if epoch != handler.epoch:
            raise position_lost("it is of another epoch: the proxy was restarted since")
        if sequence > handler.sequence:
            raise position_lost(f"it is in the future: the last message is {handler.sequence}")
        later = asyncio.get_running_loop().call_soon
        if not handler.resume(self._call.consumer, sequence, self._offer, self, later):
            raise position_lost(f"messages are kept from {handler.ring.first} on")
        self._after = sequence

    def begin(self) -> None:
        """Say where the stream begins, and which gaps are behind that."""
        handler, after = self._call.handler, self._after
        self._call.notice(
            pb.NOTICE_KIND_POSITION,
            "it begins here" if after is None else "it goes on here",
            epoch=handler.epoch,
            sequence=handler.sequence if after is None else after,
        )
        for gap in handler.gaps.recent():
            if gap.to_ns is None or (after is not None and gap.last_news_sequence >= after):
                self.tell(gap)
        if after is not None:
            self._tell_unrecorded(after)

    def _tell_unrecorded(self, after: int) -> None:
        """What the ring lacks, since nobody held these topics while the caller was away.

        Who doesn't ask to be told can't go on over it.
        """
        call, why = self._call, "nobody had asked Alpaca for it meanwhile"
        for since_ns, until_ns, topics in call.handler.unrecorded(call.consumer.topics, after):
            if not call.notices:
                call.end(position_lost(f"{why}; with notices, the call would go on and say so"))
                return
            call.notice(
                pb.NOTICE_KIND_GAP,
                f"messages are missing: {why}",
                since_ns=since_ns,
                until_ns=until_ns,
                epoch=call.handler.epoch,
                sequence=after,
                symbols=[symbol for _, symbol in topics][:_SYMBOLS_NAMED],
            )

    # While it resumes

    def _offer(self, items: Sequence[Any], sequences: Sequence[int], stretch: Stretch) -> bool:
        """Take a part of what was missed; whether there is room for more."""
        call = self._call
        shape = self._form.marked if stretch.back_filled else self._form.shape
        made = shape.transcode(items, sequences, stretch.received_ns)
        messages = [message for message in made if message is not None]
        if messages:
            frames = shape.frames(messages)
            meter = call.outbox.meter = call.handler.hub.meter(self._form.shape)
            meter.flow.aside(self._form.shape.classify(frames))
            call.outbox.offer(frames, len(messages))
        return not call.outbox.paused

    def lost(self, after: int, until: int) -> None:
        """It came forward more slowly than the past is forgotten: to go on would hide that."""
        self._call.end(position_lost(f"messages {after + 1} to {until} are forgotten meanwhile"))

    def live(self) -> None:
        """It has caught up."""
        handler = self._call.handler
        self._call.notice(
            pb.NOTICE_KIND_POSITION,
            "it is live from here on",
            epoch=handler.epoch,
            sequence=handler.sequence,
        )
        self._call.send_books()

    # Gaps

    def tell(self, gap: Gap) -> None:
        """Tell a gap if it concerns what the caller asked for."""
        topics, handler = self._call.consumer.topics, self._call.handler
        missed = affected(topics, gap.topics)
        if not missed:
            return
        symbols = [symbol for _, symbol in missed]
        # REST tells nothing of corrections and cancels, which come with the trades.
        fillable = self._form.letters is None or self._form.letters.isdisjoint(_CORRECTING)
        filled = fillable and gap.to_ns is not None and not lacking(missed, gap)
        kind, text = _news_of(gap, filled=filled)
        self._call.notice(
            kind,
            text,
            since_ns=gap.from_ns,
            until_ns=gap.to_ns or 0,
            epoch=handler.epoch,
            sequence=handler.sequence,
            gap=gap.number,
            symbols=["*"] if len(missed) == len(topics) else symbols[:_SYMBOLS_NAMED],
            filled=filled,
        )


def _news_of(gap: Gap, *, filled: bool) -> tuple[pb.NoticeKind, str]:
    """What there is to say of a gap, in whatever state a caller meets it."""
    if gap.to_ns is None:
        return pb.NOTICE_KIND_GAP, f"messages may be missing: {gap.why}"
    if gap.filling is Filling.UNDER_WAY:
        return pb.NOTICE_KIND_RESUMED, "what was missed is being asked for"
    if gap.filling is Filling.NOT and not gap.trouble:
        return pb.NOTICE_KIND_RESUMED, "the feed flows again"
    text = "all that was missed was found" if filled else gap.trouble or _NOT_FILLABLE
    return pb.NOTICE_KIND_BACK_FILLED, text


_SYMBOLS_NAMED = 500
_CORRECTING = frozenset({"c", "x"})
_NOT_FILLABLE = "this can't be asked for afterwards"
