"""Why Alpaca's market-data REST gave no answer: what happened, what it means, what to change."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "keys", "plan", "symbol", "question", "no_history", "throttled", "unreachable", "nonsense"
]
"""What stood in the way:

- ``keys``: refused; somebody has to change them.
- ``plan``: these keys may not ask this, or not yet: the 15-minute rule.
- ``symbol``: one that is asked for isn't one.
- ``question``: it can't be answered as it was asked.
- ``no_history``: Alpaca keeps none of this kind.
- ``throttled``: too many requests, for longer than we had patience.
- ``unreachable``: no answer, or errors of the server's own.
- ``nonsense``: an answer that can't be what was asked for, or that has no end.
"""

_MOST_QUOTED = 200


class MarketDataFailed(Exception):
    """Market data could not be fetched; the text is for people and names no secret.

    Args:
        reason: which kind of failure.
        text: what happened, what it means, what to change.
        status: the HTTP status, if there was an answer.
    """

    def __init__(self, reason: Reason, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether the same question may be answered later without anybody changing anything.

        That of the plan's 15 minutes is, after 15 minutes.
        """
        return self.reason in ("plan", "throttled", "unreachable", "nonsense")


def refusal(path: str, status: int, message: str) -> MarketDataFailed:
    """What a status means that won't change by asking again at once."""
    said = f"{path}: HTTP {status}" + (f" ({message[:_MOST_QUOTED]})" if message else "")
    if status == 403 and "subscription" in message:
        return MarketDataFailed(
            "plan",
            f"{said}. The plan of these keys gives data of this feed only once it is 15 minutes "
            "old, or not at all, so what was missed can't be filled now. Take a plan with "
            "real-time data of this feed, or set feed to iex.",
            status,
        )
    if status in (401, 403):
        return MarketDataFailed(
            "keys",
            f"{said}. The key and secret are refused, so what was missed can't be filled. Check "
            "key and secret, and that data_api_url belongs to them.",
            status,
        )
    if 300 <= status < 400 or status == 404:
        return MarketDataFailed(
            "question",
            f"{said}. There is no market data at this address, so what was missed can't be "
            "filled. Check data_api_url: scheme and host, as in https://data.alpaca.markets.",
            status,
        )
    if status in (400, 422) and "symbol" in message:
        return MarketDataFailed(
            "symbol",
            f"{said}. Alpaca has no history of that symbol, so what was missed of it stays "
            "missing; that of others is not concerned. Let no consumer ask for it.",
            status,
        )
    return MarketDataFailed(
        "question",
        f"{said}. The question is refused as it is, so what was missed can't be filled. Please "
        "report this line.",
        status,
    )


def given_up(path: str, why: str, seconds: float, status: int | None) -> MarketDataFailed:
    """What is said after trying for so long."""
    if status == 429:
        return MarketDataFailed(
            "throttled",
            f"{path}: still HTTP 429 after {seconds:.0f} s. Somebody else uses up the account's "
            "requests, so what was missed can't be filled yet. Let other programs ask less, or "
            "take a plan with more requests a minute.",
            status,
        )
    return MarketDataFailed(
        "unreachable",
        f"{path}: {why}, for {seconds:.0f} s. Market data can't be fetched, so what was missed "
        "can't be filled yet. If it lasts, check the network and data_api_url.",
        status,
    )


def nonsense(path: str, what: str) -> MarketDataFailed:
    """An answer came, and it isn't one."""
    return MarketDataFailed(
        "nonsense",
        f"{path}: {what}, so it isn't known what was missed. Check that data_api_url is Alpaca's; "
        "if it is, the next attempt may do.",
    )


def no_history(what: str) -> MarketDataFailed:
    """Nothing to ask for."""
    return MarketDataFailed(
        "no_history", f"Alpaca's REST has no history of {what}, so what was missed stays missing."
    )
