"""A plain JSON client, as a consumer without any SDK would write it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from reporting import Report, StopRequest, arguments
from wire_time import TIME_FIELDS, nanoseconds


async def listen(connection: ClientConnection, options: Any, report: Report) -> None:
    """Log in, subscribe, and print until the connection ends."""
    async for frame in connection:
        if not isinstance(frame, str):
            raise TypeError("JSON must arrive in text frames")
        for message in msgspec.json.decode(frame):
            match message["T"]:
                case "success" if message["msg"] == "connected":
                    login = {"action": "auth", "key": options.key, "secret": options.secret}
                    await connection.send(msgspec.json.encode(login), text=True)
                case "success":
                    wanted = {"action": "subscribe", **options.subscribe}
                    await connection.send(msgspec.json.encode(wanted), text=True)
                case "subscription":
                    report.subscribed()
                case "error":
                    report.error(message["code"], message["msg"])
                case _:
                    for name in TIME_FIELDS:
                        if name in message:
                            message[name] = nanoseconds(message[name])
                    report.message(message)


async def run(options: Any) -> int:
    report = Report(t_resolution_ns=1)
    stop_request = StopRequest()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_reader(stop_request.fileno(), stopping.set)
    async with connect(options.url, max_size=None) as connection:
        listening = asyncio.create_task(listen(connection, options, report))
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({listening, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await connection.close()
        try:
            await listening
        except ConnectionClosed as closed:
            report.event("disconnected", msg=str(closed))
    if not stopping.is_set():
        report.event("disconnected", close_code=connection.close_code)
    report.closed()
    return 0 if stopping.is_set() else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(run(arguments(__doc__ or "").parse_args())))
