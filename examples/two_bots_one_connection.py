"""Can two bots share one Alpaca connection? Yes: that is what the proxy is for.

    make demo                                  # or: stream-proxy serve, with your keys
    pip install websockets
    python examples/two_bots_one_connection.py

Directly at Alpaca the second bot would be refused with error 406, connection limit exceeded.
"""

import asyncio
import json

from websockets.asyncio.client import connect


async def bot(name, symbols):
    """Count what comes for these symbols, and say so every hundred messages."""
    async with connect("ws://127.0.0.1:8099/v2/iex") as stream:
        await stream.send(json.dumps({"action": "auth", "key": name, "secret": "any"}))
        await stream.send(json.dumps({"action": "subscribe", "quotes": symbols}))
        count = 0
        async for frame in stream:
            for message in json.loads(frame):
                if message["T"] == "error":
                    raise SystemExit(f"{name}: {message['code']} {message['msg']}")
                count += message["T"] == "q"
                if message["T"] == "q" and count % 100 == 0:
                    print(f"{name}: {count} quotes, the last of {message['S']}", flush=True)


async def main():
    await asyncio.gather(bot("momentum", ["AAPL", "MSFT"]), bot("pairs", ["SPY", "QQQ", "AAPL"]))


asyncio.run(main())
