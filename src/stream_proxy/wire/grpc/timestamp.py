"""Instants as protobuf has them: ``google.protobuf.Timestamp``, nanoseconds intact."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(instant_ns: int) -> Timestamp:
    """Give an instant, nanoseconds since 1970.

    Raises:
        ValueError: it is outside of the years 1 to 9999, the only ones that protobuf allows.
    """
    made = Timestamp()
    made.FromNanoseconds(instant_ns)
    return made
