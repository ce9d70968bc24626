"""Metrics of consumers: how many there are, what waits for them, and what was refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from stream_proxy.control.metrics.family import PREFIX, Family, Labels, Numbers
from stream_proxy.control.metrics.measured import Clients, Measured
from stream_proxy.outlets.limits import OutletCounts

Sample = tuple[Labels, float]


def _by_protocol(value: Callable[[Clients], float]) -> Callable[[Measured], Iterable[Sample]]:
    def read(measured: Measured) -> Iterator[Sample]:
        for clients in measured.clients:
            yield (clients.protocol,), value(clients)

    return read


def _counted(value: Callable[[OutletCounts], int]) -> Callable[[Measured], Iterable[Sample]]:
    return _by_protocol(lambda clients: value(clients.counts))


def _number(clients: Clients) -> int:
    return sum(1 for _ in clients.outboxes())


def _number_of(protocol: str) -> Callable[[Measured], Iterable[Sample]]:
    def read(measured: Measured) -> Iterator[Sample]:
        yield (
            (),
            sum(_number(clients) for clients in measured.clients if clients.protocol == protocol),
        )

    return read


def _waiting_bytes(clients: Clients) -> int:
    return sum(outbox.queued_bytes for _, outbox in clients.outboxes())


def _most_waiting_bytes(clients: Clients) -> int:
    return max((outbox.queued_bytes for _, outbox in clients.outboxes()), default=0)


def _counter(name: str, meaning: str, value: Callable[[OutletCounts], int]) -> Family:
    return Numbers(f"{PREFIX}{name}", "counter", ("protocol",), meaning, _counted(value))


FAMILIES: tuple[Family, ...] = (
    Numbers(
        f"{PREFIX}consumers",
        "gauge",
        ("protocol",),
        "Consumers that are served now.",
        _by_protocol(_number),
    ),
    Numbers(
        f"{PREFIX}websocket_connections",
        "gauge",
        (),
        "Those of them on WebSocket, under the name that other programs gave it.",
        _number_of("websocket"),
    ),
    Numbers(
        f"{PREFIX}grpc_clients",
        "gauge",
        (),
        "Those of them on gRPC, under the name that other programs gave it.",
        _number_of("grpc"),
    ),
    Numbers(
        f"{PREFIX}outbox_bytes",
        "gauge",
        ("protocol",),
        "Bytes that wait for slow consumers, together.",
        _by_protocol(_waiting_bytes),
    ),
    Numbers(
        f"{PREFIX}outbox_bytes_max",
        "gauge",
        ("protocol",),
        "Bytes that wait for the slowest of them; the setting `outbox_bytes` is the most.",
        _by_protocol(_most_waiting_bytes),
    ),
    _counter(
        "consumers_accepted_total",
        "Handshakes, event streams and calls that were accepted.",
        lambda counts: counts.accepted,
    ),
    _counter(
        "consumers_rejected_total",
        "Handshakes, event streams, calls and connections that were refused: a wrong Host, Origin "
        "or path, a request that can't be served, or too many of them.",
        lambda counts: counts.rejected,
    ),
    _counter(
        "slow_consumers_total",
        "Consumers that were cut because too much waited for them, or for too long.",
        lambda counts: counts.slow_consumers,
    ),
    _counter(
        "authentication_failures_total",
        "Credentials that are none of the access tokens; `sse` stands for all of HTTP.",
        lambda counts: counts.authentications_failed,
    ),
    _counter(
        "authentication_timeouts_total",
        "Consumers that said nothing of who they are in time.",
        lambda counts: counts.authentication_timeouts,
    ),
    _counter(
        "bad_requests_total",
        "Requests of consumers that were answered with an error.",
        lambda counts: counts.bad_requests,
    ),
    _counter(
        "rate_limited_total",
        "Consumers that sent too much and were cut.",
        lambda counts: counts.rate_limited,
    ),
    _counter(
        "unconfirmed_acknowledgements_total",
        "Subscriptions that were acknowledged before Alpaca did, since it was away.",
        lambda counts: counts.unconfirmed_acknowledgements,
    ),
)
