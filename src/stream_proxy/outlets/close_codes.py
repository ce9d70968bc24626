"""Close codes for clients of market data that asked for continuity: they tell whether to come back.

Others get 1008 after Alpaca's own error, which is what official SDKs know how to take. 4400 to
4499 mean: come back; 4500 to 4599: not before something has changed.
"""

from __future__ import annotations

from stream_proxy.outlets.orders import CLOSE_SLOW
from stream_proxy.wire.alpaca.codes import INVALID_SYNTAX, SLOW_CLIENT, ErrorCode, Verdict

CLOSE_COME_BACK = 4400
CLOSE_FLOODED = 4429
CLOSE_STAY_AWAY = 4500


def close_code_for(error: ErrorCode) -> int:
    """What a client gets behind this error, if the error ends its connection."""
    if error is SLOW_CLIENT:
        return CLOSE_SLOW
    if error is INVALID_SYNTAX:
        # One bad request is answered; only a flood of them ends a connection.
        return CLOSE_FLOODED
    return CLOSE_STAY_AWAY if error.verdict is Verdict.GIVE_UP else CLOSE_COME_BACK
