"""When something happened, whatever says it: the stream in either codec, or REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.msgpack import Ext

from stream_proxy.model.time import parse_rfc3339, timestamp_ns


def instant_of(fields: Mapping[str, Any]) -> int | None:
    """When something happened, by the exchange's clock; None where that can't be read.

    An article is sent anew, and found by REST, when it is updated.
    """
    value = fields.get("t", fields.get("updated_at"))
    try:
        return timestamp_ns(value) if isinstance(value, Ext) else parse_rfc3339(str(value))
    except ValueError:
        return None
