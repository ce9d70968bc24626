"""How do I never miss a fill, even while my program is down? Name a cursor, and acknowledge.

    make demo                                  # or: stream-proxy serve, with your keys
    pip install websockets
    python examples/order_updates.py

Stop it, let orders be filled, start it again: it goes on where it was.
"""

import asyncio
import json

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

LOGIN = {"action": "authenticate", "data": {"key_id": "any", "secret_key": "any"}}
LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}


async def main():
    async for stream in connect("ws://127.0.0.1:8099/stream?cursor=example"):  # again and again
        try:
            await stream.send(json.dumps(LOGIN))
            await stream.send(json.dumps(LISTEN))
            async for frame in stream:
                message = json.loads(frame)
                if message.get("stream") == "position":
                    print(f"going on after {message['data']['sequence']}")
                elif message.get("stream") == "trade_updates":
                    data, sequence = message["data"], message["sequence"]
                    order = data["order"]
                    print(f"{sequence}: {data['event']} {order['symbol']} {order['filled_qty']}")
                    # Last: what was not acknowledged comes again, with the same sequence.
                    await stream.send(json.dumps({"action": "ack", "data": {"sequence": sequence}}))
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == 4410:  # not kept any more
                raise SystemExit(closed.rcvd.reason) from None


asyncio.run(main())
