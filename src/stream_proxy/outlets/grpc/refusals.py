"""Why a call ends, as gRPC statuses with the cause and the cure.

The rules for choosing a code are those of "gRPC status codes"; what goes beside it is
``google.rpc.ErrorInfo``, which clients find in the trailer ``grpc-status-details-bin``.
"""

from __future__ import annotations

from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from stream_proxy.wire.alpaca.codes import ErrorCode

DOMAIN = "alpaca-stream-proxy"
_TEXT_CHARACTERS, _VALUE_CHARACTERS = 600, 300

_STATUS_OF = {
    400: Status.INVALID_ARGUMENT,
    402: Status.FAILED_PRECONDITION,
    405: Status.RESOURCE_EXHAUSTED,
    408: Status.FAILED_PRECONDITION,
    409: Status.FAILED_PRECONDITION,
    410: Status.INVALID_ARGUMENT,
    411: Status.FAILED_PRECONDITION,
    412: Status.FAILED_PRECONDITION,
    413: Status.INVALID_ARGUMENT,
}
"""By Alpaca's error code; 402, 408, 409, 411 and 412 are about the proxy, not about its caller.
Any other may pass: `UNAVAILABLE`."""


def refusal(
    status: Status, text: str, reason: str, cure: str = "", retry_seconds: int = 0, **more: str
) -> GRPCError:
    """An end with a reason that programs can read, and a cure for people.

    Texts may hold what a caller sent. They are cut: they travel as HTTP/2 headers, where 40 KB take
    seconds to compress, and callers read no more than 8 KB.
    """
    text = _cut(text, _TEXT_CHARACTERS)
    metadata = {
        key: _cut(value, _VALUE_CHARACTERS)
        for key, value in {**more, "cure": cure}.items()
        if value
    }
    details: list[Message] = [ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)]
    if retry_seconds:
        info = RetryInfo()
        info.retry_delay.seconds = retry_seconds
        details.append(info)
    return GRPCError(status, f"{text}. {cure}" if cure else text, details)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]}…"


def refused_upstream(code: ErrorCode, symbols: str = "") -> GRPCError:
    """Alpaca's own refusal, in words of gRPC."""
    about = f" ({symbols})" if symbols else ""
    return refusal(
        _STATUS_OF.get(code.code, Status.UNAVAILABLE),
        f"Alpaca says: {code.text}{about}",
        f"ALPACA_{code.code}",
        code.cure,
        symbols=symbols,
    )


def invalid_symbol(symbol: str, why: str) -> GRPCError:
    return refusal(
        Status.INVALID_ARGUMENT, f"{symbol!r} {why}", "INVALID_SYMBOL", symbol=symbol[:100]
    )


def position_lost(why: str) -> GRPCError:
    """A place in a feed's messages that can't be gone on from."""
    return refusal(
        Status.OUT_OF_RANGE,
        f"the position can't be honoured: {why}",
        "POSITION_LOST",
        "Call again without resume, and count what is between as missed",
    )


def too_slow() -> GRPCError:
    return refusal(
        Status.RESOURCE_EXHAUSTED,
        "this call read too slowly, and its outbox is full",
        "SLOW_CONSUMER",
        "Read faster or subscribe to less, and call again; order updates go on where you name "
        "the last sequence",
        retry_seconds=1,
    )


def too_many_newcomers() -> GRPCError:
    return refusal(
        Status.UNAVAILABLE,
        "too many callers came at once, and this one would wait for too long",
        "TOO_MANY_NEWCOMERS",
        "Call again in some seconds, each caller after a wait of its own, or raise "
        "STREAM_PROXY_MAX_CONNECTIONS_PER_SECOND",
        retry_seconds=5,
    )


def going_down() -> GRPCError:
    return refusal(
        Status.UNAVAILABLE,
        "the proxy is going down",
        "DRAINING",
        "Call again in a moment",
        retry_seconds=1,
    )
