"""Alpaca's error codes: what each says, what it means for a retry, and what cures it.

Texts are Alpaca's own, letter for letter, because SDKs match on them.
Source: Alpaca, "WebSocket Stream", section "Errors"; 408 from older documentation, 411 from the
Go SDK.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What an upstream error means for us."""

    IGNORE = "ignore"
    """The request failed, the connection is fine."""
    RETRY = "retry"
    """Reconnect with back-off."""
    WAIT_FOR_SLOT = "wait_for_slot"
    """Somebody holds the one connection: wait out Alpaca's 90 seconds, then try again."""
    GIVE_UP = "give_up"
    """Trying again can't help until the configuration changes."""


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One error of the protocol.

    ``closes`` says whether Alpaca ends the connection after sending it.
    """

    code: int
    text: str
    verdict: Verdict
    closes: bool
    cure: str


_ROWS = (
    ErrorCode(
        400,
        "invalid syntax",
        Verdict.IGNORE,
        False,
        "Check the message and the form of the symbols.",
    ),
    ErrorCode(401, "not authenticated", Verdict.RETRY, False, "Send auth before subscribing."),
    ErrorCode(
        402,
        "auth failed",
        Verdict.GIVE_UP,
        True,
        "Set ALPACA_KEY and ALPACA_SECRET to a valid key pair; paper keys work for market data.",
    ),
    ErrorCode(
        403, "already authenticated", Verdict.IGNORE, False, "Send auth once per connection."
    ),
    ErrorCode(
        404, "auth timeout", Verdict.RETRY, True, "Send auth within ten seconds of connecting."
    ),
    ErrorCode(
        405,
        "symbol limit exceeded",
        Verdict.IGNORE,
        False,
        "Subscribe to fewer symbols or upgrade the Alpaca plan.",
    ),
    ErrorCode(
        406,
        "connection limit exceeded",
        Verdict.WAIT_FOR_SLOT,
        False,
        "Stop the other program that is connected with this key. After an unclean end "
        "Alpaca keeps the slot for about 90 seconds.",
    ),
    ErrorCode(407, "slow client", Verdict.RETRY, True, "Read faster, or subscribe to less."),
    ErrorCode(
        408,
        "v2 not enabled",
        Verdict.GIVE_UP,
        True,
        "Ask Alpaca to enable the data API for this account.",
    ),
    ErrorCode(
        409,
        "insufficient subscription",
        Verdict.GIVE_UP,
        True,
        "This feed is not in the account's data plan: use iex instead of sip, indicative "
        "instead of opra, or upgrade the plan.",
    ),
    ErrorCode(
        410,
        "invalid subscribe action for this feed",
        Verdict.IGNORE,
        False,
        "This feed doesn't carry that channel.",
    ),
    ErrorCode(
        411,
        "insufficient scope",
        Verdict.GIVE_UP,
        True,
        "The token lacks the market-data scope: issue one that has it.",
    ),
    ErrorCode(
        412,
        "option messages are only available in MsgPack format",
        Verdict.GIVE_UP,
        True,
        "Connect with the header Content-Type: application/msgpack.",
    ),
    ErrorCode(
        413,
        "star subscription is not allowed for option quotes",
        Verdict.IGNORE,
        False,
        "Name the option contracts.",
    ),
    ErrorCode(
        500,
        "internal error",
        Verdict.RETRY,
        True,
        "Alpaca has a problem; the connection will be made again.",
    ),
)

ERROR_CODES: dict[int, ErrorCode] = {row.code: row for row in _ROWS}

INVALID_SYNTAX = ERROR_CODES[400]
NOT_AUTHENTICATED = ERROR_CODES[401]
AUTH_FAILED = ERROR_CODES[402]
ALREADY_AUTHENTICATED = ERROR_CODES[403]
AUTH_TIMEOUT = ERROR_CODES[404]
SYMBOL_LIMIT = ERROR_CODES[405]
CONNECTION_LIMIT = ERROR_CODES[406]
SLOW_CLIENT = ERROR_CODES[407]
INSUFFICIENT_SUBSCRIPTION = ERROR_CODES[409]
INVALID_ACTION = ERROR_CODES[410]
MSGPACK_ONLY = ERROR_CODES[412]
NO_OPTION_QUOTE_STAR = ERROR_CODES[413]
INTERNAL_ERROR = ERROR_CODES[500]


def known_or_internal(code: int, text: str) -> ErrorCode:
    """The table's row, or a row made from what upstream said; unknown codes mean a retry."""
    row = ERROR_CODES.get(code)
    if row is not None:
        return row
    return ErrorCode(
        code,
        text,
        Verdict.RETRY,
        False,
        "Alpaca sent a code this version doesn't know; see its documentation.",
    )
