"""The faults that the simulator can be told to commit.

A fault happens to the connections that are open (``NOW``), or lies in wait for the next ones
(``ARMED``), as often as ``times`` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

NowKind = Literal["drop", "reset", "close", "mute", "stall", "garbage", "error", "half_message"]
TradingNowKind = Literal["duplicate", "fill_in_gap", "unauthorized"]
ArmedKind = Literal[
    "refuse_upgrade",
    "refuse_auth",
    "delay_acks",
    "no_acks",
    "no_greeting",
    "end_at_auth",
    "end_at_subscribe",
    "flap",
]
TradingArmedKind = Literal[
    "duplicate_event",
    "lose_event",
    "swap_events",
    "rest_status",
    "rest_lag",
    "rest_delay",
    "repeat_page",
    "empty_page",
    "no_event_stream",
]
MarketDataArmedKind = Literal[
    "data_status",
    "data_delay",
    "data_lag",
    "data_recent",
    "data_repeat_page",
    "data_truncated",
]
TRADING_NOW: tuple[str, ...] = get_args(TradingNowKind)
TRADING_ARMED: tuple[str, ...] = get_args(TradingArmedKind)
NOW: tuple[str, ...] = get_args(NowKind)
ARMED: tuple[str, ...] = get_args(ArmedKind)
AnyArmedKind: TypeAlias = ArmedKind | TradingArmedKind | MarketDataArmedKind

EXPLANATIONS: dict[str, str] = {
    "drop": "end the TCP connection without a close frame",
    "reset": "end it with a TCP reset",
    "close": "close with `code` (default 1001)",
    "mute": "for `seconds`, send no data but answer pings",
    "stall": "for `seconds`, neither read nor write, the socket open",
    "garbage": "send `payload_hex` as it is (default: bytes that are neither JSON nor msgpack)",
    "error": "send error `code`, and close if Alpaca would",
    "half_message": "send half of a frame, then end the TCP connection",
    "refuse_upgrade": "answer the handshake with HTTP `code`",
    "refuse_auth": "answer auth with error `code`",
    "delay_acks": "answer subscribes `seconds` late",
    "no_acks": "never answer subscribes",
    "no_greeting": "accept, and say nothing",
    "end_at_auth": "end the TCP connection when auth comes",
    "end_at_subscribe": "end the TCP connection when a subscribe comes",
    "flap": "greet, authenticate, then close",
    "duplicate": "trading: send the last event once more",
    "fill_in_gap": "trading: drop the stream and fill every open order before it can come back",
    "unauthorized": "trading: say unauthorized on the stream, then close",
    "duplicate_event": "trading: send the next event twice",
    "lose_event": "trading: never send the next event on the stream",
    "swap_events": "trading: send the next event after the one that follows it",
    "rest_status": "trading: answer the next REST call with HTTP `code`, Retry-After `seconds`",
    "rest_lag": "trading: until cleared, REST shows orders and fills `seconds` late",
    "rest_delay": "trading: answer the next REST call `seconds` late",
    "repeat_page": "trading: answer the next page of activities with the first page again",
    "empty_page": "trading: answer the next list of orders or activities with an empty page",
    "no_event_stream": "trading: until cleared, GET /v2/events/trades is 404",
    "data_status": "market-data REST: answer the next call with HTTP `code`, Retry-After `seconds`",
    "data_delay": "market-data REST: answer the next call `seconds` late",
    "data_lag": "market-data REST: until cleared, show what was sent `seconds` ago",
    "data_recent": "market-data REST: until cleared, answer 403 for the last `seconds` (900)",
    "data_repeat_page": "market-data REST: give the next page's own token as the one to follow",
    "data_truncated": "market-data REST: send half of the next answer",
}


@dataclass(slots=True)
class Fault:
    """One fault; what ``code`` and ``seconds`` mean depends on the kind.

    ``hold_slot`` makes the ended connection count as half dead: its slot stays taken. ``feed`` is
    a feed's name or the beginning of one before a dash: ``trading`` is ``trading-paper`` and
    ``trading-live``. ``account`` narrows a fault of the trading side to one key.
    """

    kind: str
    feed: str | None = None
    code: int = 0
    seconds: float = 0.0
    payload_hex: str = ""
    times: int = 1
    hold_slot: bool = False
    account: str | None = None

    def concerns(self, feed: str, account: str | None = None) -> bool:
        of_feed = self.feed is None or self.feed == feed or feed.startswith(f"{self.feed}-")
        return of_feed and self.account in (None, account)


class ArmedFaults:
    """The faults that lie in wait."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, fault: Fault) -> None:
        self._armed.append(fault)

    def clear(self) -> None:
        self._armed.clear()

    def strike(self, kind: AnyArmedKind, feed: str, account: str | None = None) -> Fault | None:
        """The fault of this kind that hits now, if one waits; it is used up after its times."""
        fault = self.lying(kind, feed, account)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self._armed.remove(fault)
        return fault

    def lying(self, kind: AnyArmedKind, feed: str, account: str | None = None) -> Fault | None:
        """The fault of this kind that is in force here, without using it up."""
        for fault in self._armed:
            if fault.kind == kind and fault.concerns(feed, account):
                return fault
        return None

    def waiting(self) -> list[Fault]:
        return list(self._armed)
