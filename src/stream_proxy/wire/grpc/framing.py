"""A gRPC message on the wire, and the fields that every response carries beside its item.

Fields of a protobuf message may come in any order, so an item is made once and these fields are
put behind it: ``grpc_message(item, sequence_field(…) + …)`` is a whole response.
Sources: "gRPC over HTTP2" (Length-Prefixed-Message), "Protocol Buffers: Encoding".
"""

from __future__ import annotations

import struct

from stream_proxy.wire.grpc.stream_proxy_pb2 import StreamQuotesResponse
from stream_proxy.wire.grpc.timestamp import timestamp

_prefix = struct.Struct(">BI").pack
_UNCOMPRESSED = 0


def grpc_message(body: bytes, suffix: bytes = b"") -> bytes:
    """One length-prefixed message: its serialized fields, and more of its fields."""
    return _prefix(_UNCOMPRESSED, len(body) + len(suffix)) + body + suffix


# The fields have the same numbers in every response, so one of them can write them for all.


def feed_fields(epoch: str, source: str, *, back_filled: bool = False) -> bytes:
    """What is the same for all items of a feed in an epoch."""
    fields = StreamQuotesResponse(epoch=epoch, source=source, back_filled=back_filled)
    return fields.SerializeToString()


def received_field(received_ns: int) -> bytes:
    """When items came in, nanoseconds since 1970."""
    return StreamQuotesResponse(received_at=timestamp(received_ns)).SerializeToString()


def sequence_field(sequence: int) -> bytes:
    """The place of an item in its feed."""
    return StreamQuotesResponse(sequence=sequence).SerializeToString()
