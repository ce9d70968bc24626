"""``GET /v2/events/trades``: trade updates as server-sent events, with replay.

Lines ``data: {...}`` carry the data object of a trade update, comments are heartbeats. Source:
Alpaca, "Subscribe to Trade Events (SSE)"; that both ends of a range belong to it is our reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from stream_proxy.simulator.trading.account import Account, Event
from stream_proxy.simulator.trading.desk import TradingDesk, feed_name
from stream_proxy.simulator.trading.identifiers import is_ulid, ulid_milliseconds
from stream_proxy.simulator.trading.refusals import Refusal, invalid, not_found
from stream_proxy.simulator.trading.rest import Call, Reception, Refused

_COMMENT = b": heartbeat\n\n"


@dataclass(frozen=True, slots=True)
class Range:
    """Which events are asked for; the ends belong to it."""

    since_ns: int | None = None
    until_ns: int | None = None
    since_id: str | None = None
    until_id: str | None = None

    @property
    def replays(self) -> bool:
        return self.since_ns is not None or self.since_id is not None

    def before(self, event: Event) -> bool:
        """Whether the event came before the range."""
        return (self.since_ns is not None and event.at_ns < self.since_ns) or (
            self.since_id is not None and event.id < self.since_id
        )

    def after(self, event: Event) -> bool:
        return (self.until_ns is not None and event.at_ns > self.until_ns) or (
            self.until_id is not None and event.id > self.until_id
        )

    def over(self, now_ns: int) -> bool:
        """Whether nothing more can come."""
        if self.until_ns is not None:
            return now_ns > self.until_ns
        if self.until_id is not None:
            return now_ns // 1_000_000 > ulid_milliseconds(self.until_id)
        return False

    def seconds_left(self, now_ns: int) -> float:
        end_ns = self.until_ns
        if self.until_id is not None:
            end_ns = (ulid_milliseconds(self.until_id) + 1) * 1_000_000
        return float("inf") if end_ns is None else max(0.0, (end_ns - now_ns) / 1e9) + 0.001


def read_range(call: Call) -> Range:
    """Read the query.

    Raises:
        Refusal: times and ids are mixed, or one is malformed.
    """
    since, until = call.instant("since"), call.instant("until")
    ids = [call.query.get(name) or None for name in ("since_id", "until_id")]
    if any(ids) and (since is not None or until is not None):
        raise invalid("since and until can't be mixed with since_id and until_id")
    for name in filter(None, ids):
        if not is_ulid(name):
            raise invalid("since_id and until_id must be event ids: ULIDs")
    return Range(since, until, *ids)


async def serve_event_stream(reception: Reception, request: Request, kind: str | None) -> Response:
    """Answer one call with a stream, or with a refusal."""
    desk, account, headers = reception.desk, None, dict[str, str]()
    try:
        account = reception.admit(request, kind)
        headers = await reception.pass_faults(account)
        feed = feed_name(account.kind)
        if not desk.options.trading_events or desk.faults.lying(
            "no_event_stream", feed, account.key
        ):
            raise not_found("endpoint not found")
        now_ns = desk.clock.now_ns()
        wanted = read_range(Call(desk, account, {}, request.query_params, {}, now_ns, None))
    except (Refusal, Refused) as error:
        refusal = error.refusal if isinstance(error, Refused) else error
        headers = error.headers if isinstance(error, Refused) else headers
        if account is not None:
            desk.ledger.called(account, "GET /v2/events/trades", refusal.status)
        content = msgspec.json.encode(refusal.body())
        return Response(content, refusal.status, headers, "application/json")
    desk.ledger.called(account, "GET /v2/events/trades", 200)
    start = 0 if wanted.replays else len(account.events)
    return StreamingResponse(
        _lines(desk, account, wanted, start),
        headers={**headers, "Cache-Control": "no-store"},
        media_type="text/event-stream",
    )


async def _lines(
    desk: TradingDesk, account: Account, wanted: Range, start: int
) -> AsyncIterator[bytes]:
    # At once, so that the client sees the headers.
    yield _COMMENT
    place = start
    while not desk.stopped:
        while place < len(account.events):
            event = account.events[place]
            place += 1
            if wanted.before(event):
                continue
            if wanted.after(event):
                return
            yield b"data: " + msgspec.json.encode(event.data) + b"\n\n"
        now_ns = desk.clock.now_ns()
        if wanted.over(now_ns):
            return
        patience = min(desk.options.trading_heartbeat_seconds, wanted.seconds_left(now_ns))
        if not await desk.news(patience):
            yield _COMMENT
