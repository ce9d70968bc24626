"""
Order updates as a small program reads them: connect, authenticate, receive for ever.

The `websockets` library with its default settings, the plain dialect of the order paths, no
end of its own: what is copied from a README into a first bot. It prints what it gets.
"""

import asyncio
import json
import os

import websockets


async def stream_trading_updates():
    url = f"ws://localhost:{os.environ['PROXY_PORT']}{os.environ['ORDER_PATH']}"

    async with websockets.connect(url) as ws:
        await ws.send(json.dumps({"action": "auth", "key": "any", "secret": "any"}))
        auth_response = await ws.recv()
        print(f"Auth: {auth_response}")

        while True:
            message = await ws.recv()
            data = json.loads(message)
            print(f"Update: {data}")


asyncio.run(stream_trading_updates())
