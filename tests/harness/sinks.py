"""Many consumers in one process, as light as they can be: they count messages and nothing else.

    python -m harness.sinks URL CONSUMERS SYMBOLS_EACH SYMBOLS_JSON

Prints one JSON line when all are subscribed; then, for each line on stdin, a JSON list of how many
messages each consumer has; ends with stdin. Counting reads each array's length, not its items.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from stream_proxy.runtime.loop import run


def symbols_of(number: int, each: int, symbols: Sequence[str]) -> list[str]:
    """The symbols of one consumer: a window that slides over all of them."""
    start = number * 7
    return [symbols[(start + i * 11) % len(symbols)] for i in range(each)]


class Sink(WSListener):
    """Authenticates, subscribes, counts."""

    def __init__(self, symbols: list[str]) -> None:
        super().__init__()
        self.messages = 0
        self.subscribed = asyncio.Event()
        self._symbols = symbols

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.BINARY:
            if frame.msg_type == WSMsgType.PING:
                transport.send_pong(frame.get_payload_as_bytes())
            return
        payload = frame.get_payload_as_memoryview()
        if not self.subscribed.is_set():
            self._control(transport, bytes(payload))
        elif payload[0] & 0xF0 == 0x90:
            self.messages += payload[0] & 0x0F
        else:
            width = 2 if payload[0] == 0xDC else 4
            self.messages += int.from_bytes(payload[1 : 1 + width], "big")

    def _control(self, transport: WSTransport, payload: bytes) -> None:
        message = msgspec.msgpack.decode(payload)[0]
        if message.get("msg") == "connected":
            self._say(transport, {"action": "auth", "key": "any", "secret": "any"})
        elif message.get("msg") == "authenticated":
            self._say(
                transport,
                {
                    "action": "subscribe",
                    "trades": self._symbols,
                    "quotes": self._symbols,
                },
            )
        elif message["T"] == "subscription":
            self.subscribed.set()

    @staticmethod
    def _say(transport: WSTransport, message: dict[str, object]) -> None:
        transport.send(WSMsgType.BINARY, msgspec.msgpack.encode(message))


async def main(url: str, consumers: int, each: int, symbols: list[str]) -> None:
    sinks = []
    for number in range(consumers):
        sink = Sink(symbols_of(number, each, symbols))
        await ws_connect(
            lambda sink=sink: sink, url, extra_headers={"Content-Type": "application/msgpack"}
        )
        sinks.append(sink)
    await asyncio.gather(*(sink.subscribed.wait() for sink in sinks))
    print(json.dumps({"event": "subscribed"}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps([sink.messages for sink in sinks]), flush=True)


if __name__ == "__main__":
    run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])))
