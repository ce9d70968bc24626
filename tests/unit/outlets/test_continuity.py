"""What a client is told of a gap."""

from __future__ import annotations

import pytest

from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.outlets.continuity import gap_message
from stream_proxy.state.gaps import Filling, Gap

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
