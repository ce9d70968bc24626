"""The gRPC servers that are compared, each with a load in front and callers behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.contenders import Lane, proxy, started
from bench.machine import CONTENDER_CORE
from bench.talk import Process, python
from bench.traffic import Case, case_text

OURS, PLAIN = "proxy, gRPC", "grpc.aio"


@contextlib.contextmanager
def server(kind: str, source_port: int) -> Iterator[tuple[Process, int]]:
    """One of the two servers, connected to a source of quotes, and its port."""
    with contextlib.ExitStack() as stack:
        url = f"ws://127.0.0.1:{source_port}"
        if kind == OURS:
            contender, _ = stack.enter_context(proxy(url, "msgpack"))
            port = int(contender.logged(r"grpc=\S*?127\.0\.0\.1:(\d+)"))
        else:
            peer = python("bench.peers.grpc_aio_server", f"{url}/v2/sip", core=CONTENDER_CORE)
            contender = stack.enter_context(started(peer))
            port = contender.hear()["port"]
        yield contender, port


@contextlib.contextmanager
def grpc_lane(kind: str, case: Case) -> Iterator[Lane]:
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(started(python("bench.load", case_text(case), "alpaca")))
        contender, port = stack.enter_context(server(kind, load.hear()["port"]))
        callers = python("bench.grpc_sinks", case_text(case), str(port))
        sinks = stack.enter_context(started(callers))
        sinks.hear(150)
        yield Lane(kind, contender, load, sinks, case.per_frame)
