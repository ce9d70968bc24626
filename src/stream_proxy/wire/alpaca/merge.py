"""HOT PATH. Make one frame of all that a socket read brought, for consumers who want it whole.

Alpaca sends many small frames; writing each on its own costs more in calls than in bytes. Only the
arrays' brackets are looked at, so each frame must be known to be sound.
"""

from __future__ import annotations

from collections.abc import Sequence

from stream_proxy.wire.alpaca.codec import Codec, FrameDamaged, array_header


def merge(codec: Codec, payloads: Sequence[bytes]) -> bytes:
    """Give one array with the items of all these sound arrays, in order.

    Raises:
        FrameDamaged: one of them begins or ends in a way that this doesn't know.
    """
    if len(payloads) == 1:
        return payloads[0]
    return _merge_msgpack(payloads) if codec.binary else _merge_json(payloads)


def _merge_msgpack(payloads: Sequence[bytes]) -> bytes:
    bodies = [b""]
    count = 0
    for payload in payloads:
        first = payload[0] if payload else 0
        if 0x90 <= first <= 0x9F:
            count += first & 0x0F
            bodies.append(payload[1:])
        elif first == 0xDC and len(payload) > 2:
            count += payload[1] << 8 | payload[2]
            bodies.append(payload[3:])
        else:
            raise FrameDamaged("not an array of fewer than 65,536 items")
    bodies[0] = array_header(count)
    return b"".join(bodies)


def _merge_json(payloads: Sequence[bytes]) -> bytes:
    bodies = []
    for payload in payloads:
        if payload[:1] != b"[" or payload[-1:] != b"]":
            raise FrameDamaged("not an array without white space around it")
        if len(payload) > 2:
            bodies.append(payload[1:-1])
    return b"[" + b",".join(bodies) + b"]"
