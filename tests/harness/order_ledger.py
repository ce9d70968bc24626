"""Orders placed at the simulator behind a proxy, and what its ledger says of them."""

from __future__ import annotations

from typing import Any

from harness.simulated import SimulatorProcess
from harness.waiting import eventually

KEY = "PKTESTKEY"
"""The paper account of `harness.proxies.QUICK`."""


def addresses(alpaca: SimulatorProcess) -> dict[str, str]:
    """The settings that send a proxy's order side to the simulator."""
    return {
        "paper_stream_url": f"{alpaca.streams}/paper/stream",
        "live_stream_url": f"{alpaca.streams}/live/stream",
        "paper_api_url": f"{alpaca.control}/paper",
        "live_api_url": f"{alpaca.control}/live",
    }


async def buy(alpaca: SimulatorProcess, account: str = KEY, **order: Any) -> None:
    """Place a market order, as if from elsewhere."""
    order = {
        "symbol": "AAPL",
        "qty": 1,
        "side": "buy",
        "type": "market",
        "time_in_force": "day",
    } | order
    await alpaca.order("/trading/orders", account=account, order=order)


def page(alpaca: SimulatorProcess, account: str = KEY, kind: str = "paper") -> dict[str, Any]:
    """The account's page of the ledger."""
    found: dict[str, Any] = alpaca.get(f"/trading/ledger?account={account}&kind={kind}")
    return found


def happened(
    alpaca: SimulatorProcess, account: str = KEY, kind: str = "paper"
) -> list[dict[str, Any]]:
    """Every event of the account, in order."""
    events: list[dict[str, Any]] = page(alpaca, account, kind)["events"]
    return events


async def settled(
    alpaca: SimulatorProcess, orders: int, account: str = KEY, kind: str = "paper"
) -> list[str]:
    """Wait until so many orders are filled; give the ids of all events."""
    await eventually(
        lambda: sum(e["event"] == "fill" for e in happened(alpaca, account, kind)) >= orders,
        10,
        "filled",
    )
    return [event["event_id"] for event in happened(alpaca, account, kind)]
