"""What a simulated Alpaca is like: one record, set once at start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Rules and markets of one simulator.

    ``rate`` is messages per second and endpoint; 0 means as fast as the readers take them, and
    makes the markets wait for slow readers instead of cutting them off.
    ``accounts`` are accepted key pairs; empty accepts any. ``denied_feeds`` answer 409.
    ``slot_seconds`` is how long an unclean end keeps the connection slot.
    ``replay`` is a file of recorded ticks, served on the stock feeds, or on the options or crypto
    feeds according to ``replay_kind``; ``replay_speed`` 1 is real time, 0 as fast as possible.
    With ``replay_now`` its ticks happen in the present, at ``rate``, and make bars; behind its
    last row the file begins again.
    ``hold`` keeps the markets still until the control API starts them.

    ``history_minutes`` of what was sent are kept for the market-data REST, ``history_bytes`` of
    each endpoint at most; 0 keeps nothing. With it a market runs on when its last client leaves,
    unless it goes as fast as clients take it; then nothing is kept. ``past_minutes`` is how long a
    generated market has existed when somebody first asks for it. ``data_rate_limit`` is calls
    of that REST per minute and key (Alpaca: 200), 0 no limit.

    The trading side: ``trading_refusal`` is how a second stream of an account is refused: with
    HTTP 429 at the ``upgrade``, or ``in_stream``. ``trading_text_frames`` sends JSON in text
    frames instead of binary ones. ``trading_rate_limit`` is REST calls per minute and key
    (Alpaca: 200), 0 no limit. ``trading_events`` serves ``GET /v2/events/trades``, which not every
    account has. ``trading_hours`` lets stocks and options trade in market hours only.
    ``trading_chatter`` places so many random orders per second in every account.
    ``trading_partial_share`` of the fills are cut in two.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    control_port: int = 8766
    seed: int = 1
    rate: float = 100.0
    symbols: int = 50
    accounts: dict[str, str] = field(default_factory=dict)
    denied_feeds: frozenset[str] = frozenset()
    symbol_limit: int = 0
    connections_per_key: int = 1
    slot_seconds: float = 90.0
    authentication_seconds: float = 10.0
    slow_client_bytes: int = 64 << 20
    array_messages: int = 20
    replay: Path | None = None
    replay_kind: str = "stocks"
    replay_speed: float = 0.0
    replay_now: bool = False
    hold: bool = False
    recorded_items: int = 0
    history_minutes: float = 0.0
    history_bytes: int = 128 << 20
    past_minutes: float = 0.0
    data_rate_limit: int = 0
    trading_refusal: Literal["upgrade", "in_stream"] = "upgrade"
    trading_text_frames: bool = False
    trading_rate_limit: int = 0
    trading_events: bool = True
    trading_hours: bool = False
    trading_chatter: float = 0.0
    trading_partial_share: float = 0.0
    trading_step_seconds: float = 0.02
    trading_heartbeat_seconds: float = 15.0
    tls_certificate: Path | None = None
    tls_key: Path | None = None
