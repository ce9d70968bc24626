"""How do I read without any SDK? JSON over a WebSocket, as Alpaca documents it.

    make demo                                  # or: stream-proxy serve, with your keys
    pip install websockets
    python examples/plain_json.py

Messages come several at a time; T says what each one is.
"""

import asyncio
import json

from websockets.asyncio.client import connect


async def main():
    async with connect("ws://127.0.0.1:8099/v2/iex") as stream:
        await stream.recv()  # [{"T":"success","msg":"connected"}]
        await stream.send(json.dumps({"action": "auth", "key": "any", "secret": "any"}))
        await stream.recv()  # [{"T":"success","msg":"authenticated"}]
        await stream.send(json.dumps({"action": "subscribe", "quotes": ["AAPL"], "bars": ["*"]}))
        async for frame in stream:
            for message in json.loads(frame):
                match message["T"]:
                    case "q":
                        print(f"{message['S']}: {message['bp']} bid, {message['ap']} ask")
                    case "b":
                        print(f"{message['S']}: closed the minute at {message['c']}")
                    case "error":
                        raise SystemExit(f"{message['code']} {message['msg']}")


asyncio.run(main())
