"""Consumers that ask for everything and read nothing.

    python -m bench.stalled PORT COUNT

Says ``{"ready": true}`` once all have subscribed; they stay until this process ends.
"""

from __future__ import annotations

import socket
import sys

import msgspec

from bench.talk import tell

_MASK = b"\0\0\0\0"
"""Leaves the payload as it is."""


def stall(port: int, policy: str = "disconnect", receive_bytes: int = 4096) -> socket.socket:
    """Subscribe to everything, read the acknowledgement, and then nothing more.

    Raises:
        OSError: it was cut before it had begun.
    """
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.connect(("127.0.0.1", port))
    client.sendall(
        b"GET /v2/sip?slow=%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Type: application/msgpack\r\n"
        b"APCA-API-KEY-ID: any\r\nAPCA-API-SECRET-KEY: any\r\n\r\n" % (policy.encode(), port)
    )
    request = msgspec.msgpack.encode({"action": "subscribe", "quotes": ["*"]})
    client.sendall(bytes((0x82, 0x80 | len(request))) + _MASK + request)
    heard = b""
    while b"subscription" not in heard:
        data = client.recv(4096)
        if not data:
            raise ConnectionResetError("cut before it was let in")
        heard += data
    return client


def main() -> None:
    clients = [stall(int(sys.argv[1])) for _ in range(int(sys.argv[2]))]
    tell(ready=True)
    sys.stdin.readline()
    del clients


if __name__ == "__main__":
    main()
