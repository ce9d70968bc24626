"""How do I read quotes over gRPC? Make stubs from the contract, and iterate.

    make demo                                  # or: stream-proxy serve, with your keys
    pip install grpcio-tools
    python -m grpc_tools.protoc -I protos --python_out=examples/grpc \
        --grpc_python_out=examples/grpc cream/v1/stream_proxy.proto
    python examples/grpc/quotes.py
"""

import os

import grpc
from cream.v1.stream_proxy_pb2 import StreamQuotesRequest
from cream.v1.stream_proxy_pb2_grpc import StreamProxyServiceStub

with grpc.insecure_channel(os.environ.get("STREAM_PROXY", "localhost:50052")) as channel:
    proxy = StreamProxyServiceStub(channel)
    for response in proxy.StreamQuotes(StreamQuotesRequest(symbols=["AAPL", "MSFT"])):
        quote = response.quote
        print(quote.symbol, quote.bid_price, quote.ask_price, quote.timestamp.ToJsonString())
