"""Order updates over HTTP: replay, live, both ends of a range, refusals; health and readiness."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.order_ledger import KEY, addresses, buy, happened, settled
from harness.proxies import QUICK, running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.config.schema import Settings
from stream_proxy.errors import AddressInUse
from stream_proxy.model.time import rfc3339
from stream_proxy.state.journal import JournalError

EVENTS = "/v2/events/trades"


@pytest.fixture
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator() as running:
        yield running


@contextlib.asynccontextmanager
async def proxied(alpaca: SimulatorProcess, state_dir: Path, **settings: Any) -> AsyncIterator[App]:
    settings = addresses(alpaca) | {"orders": "on", "state_dir": state_dir} | settings
    async with running_app(alpaca.streams, **settings) as app:
        await eventually(lambda: all(f.ready for f in app.desk.feeds.values()), 15, "ready")
        yield app


def client(app: App) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=app.http_address, timeout=20, trust_env=False)


class Events:
    """A reader of the event stream that notes every line; ``async with`` it."""

    def __init__(self, app: App, query: str = "", path: str = EVENTS, **headers: str) -> None:
        self._client = client(app)
        self._address = path + query
        self._headers = headers
        self._task: asyncio.Task[None] | None = None
        self.status = 0
        self.type = ""
        self.data: list[dict[str, Any]] = []
        self.comments: list[str] = []
        self.ended = False

    async def __aenter__(self) -> Events:
        self._task = asyncio.create_task(self._read())
        await eventually(lambda: self.comments or self.ended, 15, "an answer")
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.aclose()

    async def _read(self) -> None:
        try:
            async with self._client.stream("GET", self._address, headers=self._headers) as answer:
                self.status = answer.status_code
                self.type = answer.headers["Content-Type"]
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        self.data.append(json.loads(line[6:]))
                    elif line.startswith(":"):
                        self.comments.append(line)
                    else:
                        assert line == ""
        finally:
            self.ended = True

    @property
    def ids(self) -> list[str]:
        return [data["event_id"] for data in self.data]


async def bought(app: App, alpaca: SimulatorProcess, orders: int) -> list[str]:
    """Buy until so many orders are filled; give the ids of all events, which are journalled."""
    have = sum(event["event"] == "fill" for event in happened(alpaca))
    for _ in range(orders - have):
        await buy(alpaca)
    ids = await settled(alpaca, orders)
    feed = app.desk.feeds["paper"]
    await eventually(lambda: feed.last_sequence == len(ids), 10, "journalled")
    return ids


async def test_live_and_replayed_without_a_seam(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Without a beginning only what happens from now on; with one all of it, then live."""
    async with proxied(alpaca, tmp_path) as app, Events(app) as early:
        ids = await bought(app, alpaca, 2)
        await eventually(lambda: early.ids == ids)
        assert (early.status, early.type) == (200, "text/event-stream; charset=utf-8")
        async with Events(app) as late, Events(app, "?since=oldest") as whole:
            middle = f"?since_id={ids[2]}"
            async with Events(app, middle, f"/paper{EVENTS}") as rest:
                await eventually(lambda: whole.ids == ids and rest.ids == ids[3:])
                more = await bought(app, alpaca, 4)
                await eventually(lambda: late.ids == more[len(ids) :])
                await eventually(lambda: whole.ids == more and rest.ids == more[3:])
        # The very objects of the stream, nothing added.
        assert early.data[0].keys() >= {"event", "event_id", "order", "timestamp"}
        assert "sequence" not in early.data[0]
        await eventually(lambda: len(app.events.streams) == 1, 10, "those that left are forgotten")
        assert len(app.desk.feeds["paper"].consumers) == 1


async def test_every_range_of_ids_and_times(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Each ends by itself with 200, once the record is known to be complete up to its end."""
    async with proxied(alpaca, tmp_path) as app, client(app) as http:
        ids = await bought(app, alpaca, 3)
        times = {event["event_id"]: event["at"] for event in happened(alpaca)}

        async def got(query: str) -> list[str]:
            answer = await http.get(EVENTS + query)
            assert answer.status_code == 200, answer.text
            lines = answer.text.splitlines()
            return [json.loads(x[6:])["event_id"] for x in lines if x.startswith("data: ")]

        async def both(first: int, last: int) -> None:
            begin, end = ids[first], ids[last]
            assert await got(f"?since_id={begin}&until_id={end}") == ids[first + 1 : last + 1]
            within = [one for one in ids if times[begin] <= times[one] <= times[end]]
            # Times are given to the microsecond at least; what shares one belongs to it.
            assert await got(f"?since={times[begin]}&until={times[end]}") == within

        pairs = [(a, b) for a in range(len(ids)) for b in range(a, len(ids))]
        await asyncio.gather(*(both(a, b) for a, b in pairs))
        # An id of nobody: its time decides. This one is the least of the first event's instant.
        unknown = ids[0][:10] + "0" * 16
        assert await got(f"?since_id={unknown}&until_id={ids[-1]}") == ids


async def test_an_end_waits_until_the_record_is_complete(
    alpaca: SimulatorProcess, tmp_path: Path
) -> None:
    """An answer that ends says "this is all", so it doesn't while a gap is open."""
    async with proxied(alpaca, tmp_path, backoff_initial_seconds=0.2) as app:
        feed = app.desk.feeds["paper"]
        await bought(app, alpaca, 1)
        await alpaca.fault("refuse_upgrade", feed="trading", code=503, times=10_000)
        await alpaca.fault("rest_status", feed="trading", code=503, times=10_000)
        await alpaca.fault("drop", feed="trading")
        await eventually(lambda: not feed.ready, 10, "the gap is noticed")
        await buy(alpaca)
        ids = await settled(alpaca, 2)
        until = happened(alpaca)[-1]["at"]
        now_ns = app._clock.now_ns
        async with Events(app, f"?since=oldest&until={until}") as stream:
            end_ns = now_ns() + 1_500_000_000
            await eventually(lambda: now_ns() > end_ns)
            assert not stream.ended and len(stream.ids) == 3
            assert "may be late" in stream.comments[0]
            await clear_faults(alpaca)
            await eventually(lambda: stream.ended, 30, "the end")
            assert stream.ids == ids


async def clear_faults(alpaca: SimulatorProcess) -> None:
    async with httpx.AsyncClient(base_url=alpaca.control, trust_env=False) as http:
        (await http.delete("/faults")).raise_for_status()


REFUSED_RANGES = [
    ("?since=2026-01-01T00:00:00Z&since_id=01ARZ3NDEKTSV4RRFFQ69G5FAV", 422, "don't mix"),
    ("?since=2026-01-01T00:00:00Z&until_id=01ARZ3NDEKTSV4RRFFQ69G5FAV", 422, "don't mix"),
    ("?until=2026-01-01T00:00:00Z", 422, "needs a beginning"),
    ("?until_id=01ARZ3NDEKTSV4RRFFQ69G5FAV", 422, "needs a beginning"),
    ("?since=yesterday", 422, "since is no RFC 3339 time"),
    ("?since=oldest&until=tomorrow", 422, "until is no RFC 3339 time"),
    ("?since_id=7", 422, "since_id is no event id"),
    ("?since_id=01ARZ3NDEKTSV4RRFFQ69G5FAU", 422, "since_id is no event id"),
    ("?since=2001-01-01T00:00:00Z", 410, "the record begins at"),
    ("?since_id=01ARZ3NDEKTSV4RRFFQ69G5FAV", 410, "the record begins at"),
]


async def test_ranges_that_can_t_be_had(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Alpaca's shape of an error, and what is wrong; never an empty answer instead."""
    async with proxied(alpaca, tmp_path) as app, client(app) as http:
        for query, status, says in REFUSED_RANGES:
            answer = await http.get(EVENTS + query)
            assert answer.status_code == status, query
            assert answer.json()["code"] // 100_000 == status, query
            assert says in answer.json()["message"], query
        unreadable = [status for _, status, _ in REFUSED_RANGES].count(422)
        counts = app.events.counts
        assert (counts.bad_requests, counts.rejected) == (
            unreadable,
            len(REFUSED_RANGES) - unreadable,
        )
        assert not app.events.streams and not app.desk.feeds["paper"].consumers


async def test_who_may_come_in(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Host, Origin, tokens in each form of Alpaca's headers, accounts that aren't there."""
    token = {"name": "bots", "key": "bots", "secret": "sixteen-characters"}
    settings = {"access_tokens": [token], "allowed_origins": ["https://mine.example"]}
    good = {"APCA-API-KEY-ID": "bots", "APCA-API-SECRET-KEY": "sixteen-characters"}
    async with proxied(alpaca, tmp_path, **settings) as app, client(app) as http:

        async def status(path: str = EVENTS, **headers: str) -> tuple[int, str]:
            answer = await http.get(path, headers=headers)
            return answer.status_code, answer.json()["message"]

        assert (await status())[0] == 401
        assert (await status(**{**good, "APCA-API-SECRET-KEY": "wrong-wrong-wrong-wrong"}))[
            0
        ] == 401
        assert (await status(Host="rebound.example", **good))[0] == 421
        assert (await status(Origin="https://evil.example", **good))[0] == 403
        assert (await status("/healthz", Origin="https://evil.example"))[0] == 403
        mine = await http.get("/healthz", headers={"Origin": "https://mine.example"})
        assert mine.headers["Access-Control-Allow-Origin"] == "https://mine.example"
        assert "Access-Control-Allow-Origin" not in (await http.get("/healthz")).headers
        code, text = await status(f"/live{EVENTS}", **good)
        assert code == 404 and "ALPACA_LIVE_API_KEY" in text
        code, text = await status(f"/nobody{EVENTS}", **good)
        assert code == 404 and "there are: paper" in text
        refused = 5  # by Host, by Origin (two), without keys, without such an account
        assert app.events.counts.rejected == refused
        assert app.events.counts.authentications_failed == 1, "who shows nothing tries nothing"
        bearer = {"Authorization": "Bearer sixteen-characters"}
        for headers in (good, bearer, good | {"Origin": "https://mine.example"}):
            async with Events(app, "", **headers) as stream:
                assert stream.status == 200
        async with httpx.AsyncClient(auth=("bots", "sixteen-characters"), trust_env=False) as http2:
            ranged = f"{app.http_address}{EVENTS}?since=oldest&until=2026-01-01T00:00:00Z"
            assert (await http2.get(ranged)).status_code == 200
    assert app.events.counts.accepted == 4


async def test_too_many_at_once(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    async with (
        proxied(alpaca, tmp_path, max_connections=1) as app,
        Events(app) as first,
        client(app) as http,
    ):
        answer = await http.get(EVENTS)
        assert (first.status, answer.status_code) == (200, 503)
        assert "MAX_CONNECTIONS" in answer.json()["message"]


async def test_a_reader_that_stops_is_cut_and_loses_nothing(
    alpaca: SimulatorProcess, tmp_path: Path
) -> None:
    """What waits for it is bounded; it comes back with its last id."""
    settings = {"outbox_bytes": 1 << 20}
    async with proxied(alpaca, tmp_path, **settings) as app, Events(app) as healthy:
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = app.http_address.removeprefix("http://").split(":")
        reader.connect((host, int(port)))
        reader.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        await eventually(lambda: len(app.events.streams) == 2)
        await alpaca.order("/trading/chatter", account=KEY, rate=400, seed=2)
        await eventually(lambda: app.events.counts.slow_consumers == 1, 60, "it is cut")
        await alpaca.order("/trading/chatter", account=KEY, rate=0)
        assert len(app.events.streams) == 1
        taken = await asyncio.to_thread(read_to_the_end, reader)
        assert taken.count(b"data: ") < len(happened(alpaca))
        # Orders that rest may still be filled, so the ledger can grow while this looks.
        ids = [event["event_id"] for event in happened(alpaca)]
        await eventually(lambda: len(healthy.ids) >= len(ids), 20, "all to the other")
        assert healthy.ids[: len(ids)] == ids
        half = len(ids) // 2
        async with Events(app, f"?since_id={ids[half]}") as back:
            rest = ids[half + 1 :]
            await eventually(lambda: len(back.ids) >= len(rest), 20, "the rest")
            assert back.ids[: len(rest)] == rest


def read_to_the_end(reader: socket.socket) -> bytes:
    """What the kernel still had of a connection that was cut."""
    taken = b""
    reader.settimeout(20)
    with reader, contextlib.suppress(ConnectionResetError):
        while data := reader.recv(1 << 20):
            taken += data
    return taken


async def test_heartbeats(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    async with (
        proxied(alpaca, tmp_path, consumer_ping_seconds=0.05) as app,
        Events(app) as stream,
    ):
        await eventually(lambda: len(stream.comments) > 3)
        assert set(stream.comments) == {": heartbeat"}


async def test_stopping_ends_a_stream_with_a_word(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    async with proxied(alpaca, tmp_path) as app:
        stream = await Events(app).__aenter__()
    await eventually(lambda: stream.ended)
    assert "going down" in stream.comments[-1]
    await stream.__aexit__()


async def test_health_and_readiness(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Red over a gap with the account's name and since when, green once it is reconciled."""
    async with proxied(alpaca, tmp_path, backoff_initial_seconds=0.2) as app, client(app) as http:
        assert (await http.get("/healthz")).json()["alive"] is True
        ids = await bought(app, alpaca, 1)
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        paper = answer.json()["accounts"]["paper"]
        assert (paper["state"], paper["ready"]) == ("connected", True)
        assert paper["last_sequence"] == len(ids) and paper["epoch"]
        assert paper["reconciled_until"].endswith("Z")
        await alpaca.fault("refuse_upgrade", feed="trading", code=503, times=10_000)
        await alpaca.fault("drop", feed="trading")
        await eventually(lambda: not app.desk.feeds["paper"].ready)
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        (sentence,) = answer.json()["waiting_for"]
        assert "account paper is" in sentence and " since 20" in sentence
        assert (await http.get("/healthz")).status_code == 200
        await clear_faults(alpaca)
        await eventually(lambda: app.desk.feeds["paper"].ready, 20, "ready again")
        assert (await http.get("/readyz")).status_code == 200


async def test_a_journal_that_fails_is_named(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """Since the moment it failed, not since somebody asked."""
    async with proxied(alpaca, tmp_path) as app, client(app) as http, Events(app) as stream:
        before_ns = app._clock.now_ns()
        app.desk._journal_trouble(JournalError("the disk is full: make room"))
        after_ns = app._clock.now_ns()
        answer = await http.get("/readyz")
        report = answer.json()
        assert answer.status_code == 503
        assert "the disk is full" in report["waiting_for"][0]
        assert report["journal"]["works"] is False
        assert rfc3339(before_ns) <= report["journal"]["since"] <= rfc3339(after_ns)
        assert report["accounts"]["paper"]["ready"] is False
        app.desk._journal_trouble(None)
        assert (await http.get("/readyz")).json()["journal"] == {
            "works": True,
            "why": "",
            "since": None,
        }
        assert not stream.ended


async def test_a_taken_port_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        app = App(Settings.model_validate(QUICK | {"http_port": port, "state_dir": tmp_path}))
        with pytest.raises(AddressInUse, match=rf"127.0.0.1:{port}.*STREAM_PROXY_HTTP_PORT"):
            await app.start()
        await app.stop()


async def test_an_account_that_nobody_asked_for(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """It holds nobody up; asked about by name, it isn't ready, and the stream connects it."""
    async with proxied(alpaca, tmp_path, orders="auto") as app, client(app) as http:
        assert (await http.get("/readyz")).json()["accounts"]["paper"]["state"] == "idle"
        assert (await http.get("/readyz")).status_code == 200
        answer = await http.get("/readyz?account=paper")
        assert answer.status_code == 503 and "nobody asked" in answer.json()["waiting_for"][0]
        assert (await http.get("/readyz?account=other")).status_code == 404
        async with Events(app):
            await eventually(lambda: app.desk.feeds["paper"].ready, 15, "ready")
            assert (await http.get("/readyz?account=paper")).status_code == 200
