"""A gRPC client: grpcio with stubs that protoc made, and nothing of ours.

Prints JSON lines: ``{"begun": method}``, ``{"method": …, "response": …}`` in the JSON form of
protobuf, and ``{"method": …, "status": …, "details": …}`` when a call ends by itself. The end of
stdin ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="host:port")
    parser.add_argument("--stubs", required=True, help="the folder that protoc wrote to")
    parser.add_argument("--calls", type=json.loads, required=True, help="requests by method")
    parser.add_argument("--aio", action="store_true", help="on asyncio, instead of threads")
    options = parser.parse_args()
    sys.path.insert(0, options.stubs)
    if options.aio:
        asyncio.run(on_asyncio(options.address, options.calls))
    else:
        in_threads(options.address, options.calls)


def say(**line: Any) -> None:
    # In one write: calls are threads.
    os.write(1, json.dumps(line).encode() + b"\n")


def response(method: str, message: Any) -> None:
    say(method=method, response=MessageToDict(message))


def end(method: str, error: Any) -> None:
    say(method=method, status=error.code().name, details=error.details())


def request(method: str, fields: dict[str, Any]) -> Any:
    from cream.v1 import stream_proxy_pb2

    return getattr(stream_proxy_pb2, f"{method}Request")(**fields)


def stub(channel: Any) -> Any:
    from cream.v1 import stream_proxy_pb2_grpc

    return stream_proxy_pb2_grpc.StreamProxyServiceStub(channel)


def in_threads(address: str, calls: dict[str, Any]) -> None:
    with grpc.insecure_channel(address) as channel:
        service = stub(channel)

        def call(method: str, fields: dict[str, Any]) -> None:
            stream = getattr(service, method)(request(method, fields))
            try:
                stream.initial_metadata()
                say(begun=method)
                for message in stream:
                    response(method, message)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.CANCELLED:
                    end(method, error)

        response("GetConnectionStatus", service.GetConnectionStatus(request(*STATUS)))
        for method, fields in calls.items():
            threading.Thread(target=call, args=(method, fields), daemon=True).start()
        sys.stdin.read()


async def on_asyncio(address: str, calls: dict[str, Any]) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        service = stub(channel)

        async def call(method: str, fields: dict[str, Any]) -> None:
            stream = getattr(service, method)(request(method, fields))
            try:
                await stream.initial_metadata()
                say(begun=method)
                async for message in stream:
                    response(method, message)
            except grpc.aio.AioRpcError as error:
                end(method, error)

        response("GetConnectionStatus", await service.GetConnectionStatus(request(*STATUS)))
        tasks = [asyncio.create_task(call(*item)) for item in calls.items()]
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


STATUS = "GetConnectionStatus", {}

if __name__ == "__main__":
    main()
