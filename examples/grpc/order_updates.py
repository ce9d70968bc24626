"""How does an execution engine never miss a fill? Name a cursor, and acknowledge.

    make demo                                  # or: stream-proxy serve, with your keys
    pip install grpcio-tools
    python -m grpc_tools.protoc -I protos --python_out=examples/grpc \
        --grpc_python_out=examples/grpc cream/v1/stream_proxy.proto
    python examples/grpc/order_updates.py

Stop it, let orders be filled, start it again: it goes on where it was.
"""

import os
import time

import grpc
from cream.v1.stream_proxy_pb2 import AcknowledgeOrderUpdatesRequest, StreamOrderUpdatesRequest
from cream.v1.stream_proxy_pb2_grpc import StreamProxyServiceStub

COME_BACK = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
"""The proxy restarts, or cut us because we read too slowly: nothing is lost."""

with grpc.insecure_channel(os.environ.get("STREAM_PROXY", "localhost:50052")) as channel:
    proxy = StreamProxyServiceStub(channel)
    while True:
        try:
            for response in proxy.StreamOrderUpdates(StreamOrderUpdatesRequest(cursor="engine")):
                update, order = response.update, response.update.order
                print(f"{response.sequence}: {update.event_name} {order.symbol} {order.filled_qty}")
                # Last: what was not acknowledged comes again, with the same sequence.
                proxy.AcknowledgeOrderUpdates(
                    AcknowledgeOrderUpdatesRequest(
                        cursor="engine", sequence=response.sequence, epoch=response.epoch
                    )
                )
        except grpc.RpcError as error:
            if error.code() not in COME_BACK:
                raise SystemExit(error.details()) from None
            time.sleep(1)
