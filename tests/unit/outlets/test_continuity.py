"""What a client is told of a gap, over WebSocket and gRPC."""

from __future__ import annotations

import pytest

from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.continuity import gap_message
from stream_proxy.outlets.grpc.continuity import _news_of
from stream_proxy.state.gaps import Filling, Gap
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb

BOTH = SubscriptionSet({"trades": ["AAPL"], "bars": ["AAPL"]})
FOLLOWERS = ["corrections", "cancelErrors"]


@pytest.mark.parametrize(
    ("feed", "held", "unknown"),
    [("sip", "trades", FOLLOWERS), ("sip", "bars", None), ("crypto-us", "trades", None)],
)
def test_what_comes_with_trades_cannot_be_filled(
    feed: str, held: str, unknown: list[str] | None
) -> None:
    """Stock trades are corrected and taken back on channels that REST doesn't have."""
    gap = Gap(1, 0, 1, "lost", BOTH, filling=Filling.WHOLE, filled=BOTH)
    told = gap_message(gap, SubscriptionSet({held: ["AAPL"]}), FEEDS[feed])
    assert told["filled"] and told.get("unknown") == unknown


@pytest.mark.parametrize(
    ("to_ns", "filling", "kind", "text"),
    [
        (None, Filling.NOT, pb.NOTICE_KIND_GAP, "messages may be missing: lost"),
        (1, Filling.NOT, pb.NOTICE_KIND_RESUMED, "the feed flows again"),
        (1, Filling.UNDER_WAY, pb.NOTICE_KIND_RESUMED, "what was missed is being asked for"),
        (1, Filling.WHOLE, pb.NOTICE_KIND_BACK_FILLED, "all that was missed was found"),
        (1, Filling.PARTLY, pb.NOTICE_KIND_BACK_FILLED, "this can't be asked for afterwards"),
    ],
)
def test_a_grpc_caller_is_told_how_far_it_is(
    to_ns: int | None, filling: Filling, kind: pb.NoticeKind, text: str
) -> None:
    gap = Gap(1, 0, to_ns, "lost", BOTH, filling=filling)
    assert _news_of(gap, filled=filling is Filling.WHOLE) == (kind, text)
