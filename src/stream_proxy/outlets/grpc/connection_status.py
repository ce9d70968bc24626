"""`GetConnectionStatus`: how each feed stands, in the contract's words."""

from __future__ import annotations

from collections.abc import Mapping

from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.orders import OrderFeed
from stream_proxy.feed.upstream_status import UpstreamState, UpstreamStatus
from stream_proxy.wire.grpc import stream_proxy_pb2 as pb
from stream_proxy.wire.grpc.timestamp import timestamp

_STATES = {
    UpstreamState.IDLE: pb.CONNECTION_STATE_DISCONNECTED,
    UpstreamState.CONNECTING: pb.CONNECTION_STATE_CONNECTING,
    UpstreamState.AUTHENTICATING: pb.CONNECTION_STATE_AUTHENTICATING,
    UpstreamState.CONNECTED: pb.CONNECTION_STATE_CONNECTED,
    UpstreamState.RECONNECTING: pb.CONNECTION_STATE_RECONNECTING,
    UpstreamState.SLOT_TAKEN: pb.CONNECTION_STATE_RECONNECTING,
    UpstreamState.REFUSED: pb.CONNECTION_STATE_ERROR,
    UpstreamState.STOPPED: pb.CONNECTION_STATE_DISCONNECTED,
}
_FEED_TYPES = {
    "sip": pb.FEED_TYPE_SIP,
    "iex": pb.FEED_TYPE_IEX,
    "opra": pb.FEED_TYPE_OPRA,
    "indicative": pb.FEED_TYPE_INDICATIVE,
    "delayed_sip": pb.FEED_TYPE_DELAYED_SIP,
    "otc": pb.FEED_TYPE_OTC,
    "boats": pb.FEED_TYPE_BOATS,
    "overnight": pb.FEED_TYPE_OVERNIGHT,
    "test": pb.FEED_TYPE_TEST,
}
_KINDS = {"crypto": pb.FEED_TYPE_CRYPTO, "news": pb.FEED_TYPE_NEWS}


def feed_status(handler: FeedHandler) -> pb.FeedStatus:
    """A market-data feed."""
    feed = handler.feed
    status = _status(
        handler.upstream,
        _FEED_TYPES.get(feed.name, _KINDS.get(feed.kind, pb.FEED_TYPE_UNSPECIFIED)),
    )
    status.name = feed.name
    status.subscription_count = len(handler.demand.wanted())
    status.messages_received = sum(handler.received.values())
    status.epoch, status.sequence = handler.epoch, handler.sequence
    return status


def order_feed_status(feed: OrderFeed) -> pb.FeedStatus:
    """An account's order updates."""
    status = _status(feed.upstream, pb.FEED_TYPE_TRADE_UPDATES)
    status.name = feed.account.name
    status.subscription_count = len(feed.consumers)
    status.messages_received = feed.counts.received
    status.epoch = feed.state.epoch if feed.state is not None else ""
    status.sequence = feed.last_sequence
    return status


def connection_status(
    handlers: Mapping[str, FeedHandler],
    order_feeds: Mapping[str, OrderFeed],
    *,
    version: str,
    started_ns: int,
    now_ns: int,
    consumers: int,
    environment: str,
) -> pb.ConnectionStatus:
    """Everything at this moment."""
    return pb.ConnectionStatus(
        version=version,
        started_at=timestamp(started_ns),
        current_time=timestamp(now_ns),
        feeds=[
            *(feed_status(handler) for handler in handlers.values()),
            *(order_feed_status(feed) for feed in order_feeds.values()),
        ],
        client_count=consumers,
        environment=pb.ENVIRONMENT_LIVE if environment == "live" else pb.ENVIRONMENT_PAPER,
    )


def _status(upstream: UpstreamStatus, kind: pb.FeedType) -> pb.FeedStatus:
    made = pb.FeedStatus(
        feed_type=kind,
        state=_STATES[upstream.state],
        reconnect_attempts=max(upstream.attempts - 1, 0),
    )
    connected = upstream.state is UpstreamState.CONNECTED
    if upstream.connected_ns:
        made.last_connected_at.CopyFrom(timestamp(upstream.connected_ns))
    if upstream.why and not connected and upstream.state is not UpstreamState.IDLE:
        made.error_message = upstream.why
    if upstream.last_message_ns:
        made.last_message_at.CopyFrom(timestamp(upstream.last_message_ns))
    if upstream.since_ns:
        made.state_since.CopyFrom(timestamp(upstream.since_ns))
    return made
