"""The faults that the simulator can be told to commit.

A fault happens to the connections that are open (``NOW``), or lies in wait for the next ones
(``ARMED``), as often as ``times`` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

NowKind = Literal["drop", "reset", "close", "mute", "stall", "garbage", "error", "half_message"]
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
NOW: tuple[str, ...] = get_args(NowKind)
ARMED: tuple[str, ...] = get_args(ArmedKind)

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
}


@dataclass(slots=True)
class Fault:
    """One fault; what ``code`` and ``seconds`` mean depends on the kind.

    ``hold_slot`` makes the ended connection count as half dead: its slot stays taken.
    """

    kind: str
    feed: str | None = None
    code: int = 0
    seconds: float = 0.0
    payload_hex: str = ""
    times: int = 1
    hold_slot: bool = False

    def concerns(self, feed: str) -> bool:
        return self.feed is None or self.feed == feed


class ArmedFaults:
    """The faults that lie in wait."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, fault: Fault) -> None:
        self._armed.append(fault)

    def clear(self) -> None:
        self._armed.clear()

    def strike(self, kind: ArmedKind, feed: str) -> Fault | None:
        """The fault of this kind that hits now, if one waits; it is used up after its times."""
        for fault in self._armed:
            if fault.kind == kind and fault.concerns(feed):
                fault.times -= 1
                if fault.times <= 0:
                    self._armed.remove(fault)
                return fault
        return None

    def waiting(self) -> list[Fault]:
        return list(self._armed)
