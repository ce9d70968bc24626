"""A bearer token in place of a key pair, as programs have it that trade for somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.order_client import OrderClient
from harness.order_ledger import addresses, buy, happened, page, settled
from harness.proxies import running_app
from harness.simulated import simulator
from harness.waiting import eventually

OWNER, TOKEN = "PKOWNER", "a-token-of-the-owner"


@pytest.mark.parametrize("has_events", [True, False], ids=["event record", "orders and fills"])
async def test_an_account_with_a_bearer_token(tmp_path: Path, has_events: bool) -> None:
    """Its stream is authenticated with the token, and so is the REST that fills a gap."""
    with simulator(f"--account={OWNER}:{TOKEN}", "--slot-seconds=0.2") as alpaca:
        if not has_events:
            await alpaca.fault("no_event_stream", feed="trading")
        settings = addresses(alpaca) | {"orders": "on", "state_dir": tmp_path}
        credentials = {"key": "oauth", "secret": TOKEN}
        async with (
            running_app(alpaca.streams, **(settings | credentials)) as app,
            OrderClient(app.addresses()[0] + "/stream") as client,
        ):
            feed = app.desk.feeds["paper"]
            await eventually(lambda: feed.ready, 15, "ready")
            await buy(alpaca, OWNER)
            await settled(alpaca, 1, OWNER)
            await eventually(lambda: len(client.updates) == len(happened(alpaca, OWNER)))
            await alpaca.fault("refuse_upgrade", feed="trading", code=503, times=1)
            await alpaca.fault("drop", feed="trading")
            await buy(alpaca, OWNER)
            await settled(alpaca, 2, OWNER)
            fills = [e["order_id"] for e in happened(alpaca, OWNER) if e["event"] == "fill"]

            def heard() -> list[str]:
                told = [update["data"] for update in client.updates]
                return [data["order"]["id"] for data in told if data["event"] == "fill"]

            await eventually(lambda: heard() == fills, 15, "the fill of the gap")
            await eventually(lambda: feed.ready, 15, "ready again")
        seen = page(alpaca, OWNER)
        assert seen["peak_open"] == 1
        refused = alpaca.get("/trading/ledger")["refused_calls"]
        assert seen["rest_calls_total"] > 0 and not refused


async def test_a_token_that_alpaca_refuses(tmp_path: Path) -> None:
    """It is said what is wrong, and the token isn't."""
    with simulator(f"--account={OWNER}:{TOKEN}") as alpaca:
        settings = addresses(alpaca) | {"orders": "on", "state_dir": tmp_path}
        credentials = {"key": "oauth", "secret": "a-token-of-nobody"}
        async with running_app(alpaca.streams, **(settings | credentials)) as app:
            feed = app.desk.feeds["paper"]
            await eventually(lambda: "unauthorized" in feed.upstream.why, 10, "it is refused")
            assert "a-token-of-nobody" not in repr(feed.upstream)
            assert not feed.ready
