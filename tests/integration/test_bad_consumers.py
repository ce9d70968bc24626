"""Consumers that misbehave: each gets Alpaca's answer, and nobody else notices."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket as sockets
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from harness.consumers import TestConsumer, consumer
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.outlets.limits import OutletCounts
from stream_proxy.wire.alpaca.codec import MSGPACK

FEED = "iex"
ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    412: "option messages are only available in MsgPack format",
    413: "star subscription is not allowed for option quotes",
}
HELD: dict[str, list[str]] = {"trades": ["AAPL", "MSFT"], "quotes": ["AAPL", "MSFT"]}


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "200", "--symbols", "5") as process:
        yield process


@dataclass
class Scene:
    """A proxy with one healthy consumer, and room for bad ones."""

    app: App
    healthy: TestConsumer

    def url(self, path: str = f"/v2/{FEED}") -> str:
        return self.app.addresses()[0] + path

    @property
    def counts(self) -> OutletCounts:
        return self.app.outlet.counts

    def consumer(
        self, codec: str = "json", path: str = f"/v2/{FEED}", **options: Any
    ) -> contextlib.AbstractAsyncContextManager[TestConsumer]:
        return consumer(self.url(path), codec, **options)


@contextlib.asynccontextmanager
async def proxied(
    alpaca: SimulatorProcess, headers: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Scene]:
    """At the end the healthy consumer must have, byte for byte, all that upstream sent."""
    first = len((await alpaca.ledger())["connections"]) + 1
    async with running_app(alpaca.streams, **settings) as app:
        url = app.addresses()[0] + f"/v2/{FEED}"
        async with consumer(url, "msgpack", authenticate=not headers, headers=headers) as healthy:
            await healthy.subscribe(**HELD)
            await eventually(lambda: healthy.messages, 20, "data")
            yield Scene(app, healthy)
            before = healthy.messages
            await eventually(lambda: healthy.messages > before, 20, "data goes on")
            await alpaca.order("/hold")
            try:
                (record,) = [
                    r
                    for r in (await alpaca.ledger())["connections"]
                    if r["feed"] == FEED and r["number"] >= first
                ]
                await eventually(lambda: healthy.messages >= record["messages"], 20, "all of it")
                sent = {
                    (k, name): n for k, by in record["counts"].items() for name, n in by.items()
                }
                assert healthy.counts == sent
                assert healthy.messages == record["messages"]
                assert healthy.checksum % (1 << 64) == record["checksum"]
            finally:
                await alpaca.order("/start")
            assert healthy.closed is None
            assert not [c for c in healthy.controls if c["T"] == "error"]


@pytest.fixture
async def scene(alpaca: SimulatorProcess) -> AsyncIterator[Scene]:
    async with proxied(alpaca) as made:
        yield made


def error(code: int) -> dict[str, Any]:
    return {"T": "error", "code": code, "msg": ERRORS[code]}


async def answer(client: TestConsumer, payload: Any) -> dict[str, Any]:
    before = len(client.controls)
    await client.socket.send(payload)
    await eventually(lambda: len(client.controls) > before, 10, f"an answer to {payload!r:.80}")
    return client.controls[before]


async def ended(client: TestConsumer, code: int) -> None:
    await eventually(lambda: client.closed is not None, 20, "the end")
    assert client.closed is not None and client.closed.rcvd is not None
    assert client.closed.rcvd.code == code


# Messages

JSON_NONSENSE: list[str | bytes] = [
    "",
    " ",
    "hello",
    "[]",
    "5",
    "null",
    "{}",
    "{",
    '{"action":null}',
    '{"action":"dance"}',
    '{"action":["subscribe"]}',
    '{"ACTION":"subscribe"}',
    '{"action":"subscribe","trades":"AAPL"}',
    '{"action":"subscribe","trades":{"AAPL":1}}',
    '{"action":"subscribe","trades":[1]}',
    '{"action":"subscribe","trades":[null]}',
    '{"action":"subscribe","trades":[["AAPL"]]}',
    '{"action":"subscribe","trades":[""]}',
    '{"action":"subscribe","trades":true}',
    '{"action":"subscribe","trades":["Ä"]}',
    '{"action":"subscribe","trades":["A\\u0000B"]}',
    '{"action":"subscribe","trades":["A\\"B"]}',
    '{"action":"subscribe","trades":["\\ud800"]}',
    '{"action":"subscribe","trades":["' + "A" * 65 + '"]}',
    '{"action":"subscribe","trades":["AAPL"]}{"action":"subscribe","quotes":["AAPL"]}',
    '{"action":"subscribe","trades":["AAPL"]}\n{"action":"subscribe","quotes":["AAPL"]}',
    '{"action":' + "[" * 5000 + "]" * 5000 + "}",
    '{"a":' * 5000 + "1" + "}" * 5000,
    '[{"action":"subscribe","trades":["AAPL"]}]',
    b"\xff\xfe\x00",
    os.urandom(64),
    MSGPACK.encode({"action": "subscribe", "trades": ["AAPL"]}),
]
MSGPACK_NONSENSE: list[str | bytes] = [
    b"",
    b"\xc1",
    b"\x90",
    b"\x80",
    b"\xc0",
    b"\x81",
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x91" * 5000 + b"\x90",
    b"\x81\xa6action" + b"\x91" * 5000 + b"\x90",
    b"\x81\x91\x90\x01",
    MSGPACK.encode({"action": 5}),
    MSGPACK.encode({5: "subscribe"}),
    MSGPACK.encode({"action": "subscribe", "trades": [b"AAPL"]}),
    MSGPACK.encode({"action": "subscribe", "trades": "AAPL"}),
    MSGPACK.encode({"action": "subscribe", "trades": ["AAPL"]}) * 2,
    '{"action":"subscribe","trades":["AAPL"]}',
    "hello",
]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_nonsense_is_400(scene: Scene, codec: str) -> None:
    """Each is answered with 400 and counted; the set is unchanged and the connection stays."""
    async with scene.consumer(codec) as bad:
        before = await bad.subscribe(quotes=["MSFT"])
        nonsense = JSON_NONSENSE if codec == "json" else MSGPACK_NONSENSE
        for payload in nonsense:
            assert await answer(bad, payload) == error(400), payload[:80]
        assert await bad.subscribe() == before
        assert scene.counts.bad_requests == len(nonsense)
        assert len(scene.app.outlet.consumers()) == 2


@pytest.mark.parametrize(
    "symbol", ["aapl", "AAPL MSFT", "../../etc", "AAPL'", "%2A", "**", "A*"], ids=repr
)
async def test_symbols_that_upstream_refuses_are_400(scene: Scene, symbol: str) -> None:
    """Upstream's error reaches who asked, and leaves his set and everybody else's alone."""
    async with scene.consumer() as bad:
        await bad.subscribe(quotes=["AAPL"])
        assert await bad.subscribe(quotes=[symbol, "MSFT"]) == error(400)
        ack = await bad.subscribe()
        assert ack["quotes"] == ["AAPL"]


async def test_authentication_out_of_turn(scene: Scene) -> None:
    """Subscribing first is 401, a second auth 403; neither ends anything."""
    async with scene.consumer(authenticate=False) as bad:
        await bad.control("success")
        for action in ("subscribe", "unsubscribe"):
            assert await bad.ask(action, trades=["AAPL"]) == error(401)
        for payload in ('{"action":"auth"}', '{"action":"auth","key":5,"secret":null}'):
            assert await answer(bad, payload) == error(400)
        auth = '{"action":"auth","key":"k","secret":"s"}'
        assert await answer(bad, auth) == {"T": "success", "msg": "authenticated"}
        assert await answer(bad, auth) == error(403)
        assert (await bad.subscribe(trades=["AAPL"]))["trades"] == ["AAPL"]
        assert scene.counts.bad_requests == 5


@pytest.mark.parametrize(
    ("path", "codec", "channels", "code"),
    [
        ("/v2/iex", "json", {"orderbooks": ["AAPL"]}, 410),
        ("/v2/iex", "json", {"trades": ["AAPL"], "dance": ["AAPL"]}, 410),
        ("/v1beta1/news", "json", {"trades": ["AAPL"]}, 410),
        ("/v1beta1/indicative", "msgpack", {"bars": ["*"]}, 410),
        ("/v1beta1/indicative", "msgpack", {"quotes": ["*"]}, 413),
        ("/v1beta3/crypto/us", "json", {"statuses": ["BTC/USD"]}, 410),
    ],
)
async def test_what_a_feed_does_not_carry(
    scene: Scene, path: str, codec: str, channels: dict[str, list[str]], code: int
) -> None:
    """Alpaca's own code, the whole request refused, the connection kept."""
    async with scene.consumer(codec, path) as bad:
        assert await bad.subscribe(**channels) == error(code)
        ack = await bad.subscribe()
        assert not any(symbols for channel, symbols in ack.items() if channel != "T")
        assert scene.counts.bad_requests == 1


async def test_json_on_options_is_412(scene: Scene) -> None:
    """Said at once, and closed; without the header an option path speaks msgpack."""
    async with scene.consumer("json", "/v1beta1/indicative", authenticate=False) as bad:
        assert await bad.control("error") == error(412)
        await ended(bad, 1008)
    async with connect(scene.url("/v1beta1/indicative"), proxy=None) as socket:
        greeting = await socket.recv()
        assert isinstance(greeting, bytes)
        assert MSGPACK.decode(greeting) == [{"T": "success", "msg": "connected"}]


@pytest.mark.parametrize("empty", [None, [], {}, "", 0], ids=repr)
async def test_empty_lists_are_no_request(scene: Scene, empty: Any) -> None:
    """As the Go SDK sends them: known and foreign channels without symbols mean nothing."""
    async with scene.consumer() as client:
        ack = await client.subscribe(trades=["AAPL"], quotes=empty, orderbooks=empty, news=empty)
        assert (ack["trades"], ack["quotes"]) == (["AAPL"], [])
        assert await client.ask("unsubscribe", trades=empty, dance=empty) == ack


async def test_fragments_and_coalesced_frames(scene: Scene) -> None:
    """A message in pieces is one message; several frames in one TCP segment are several."""
    async with scene.consumer() as client:
        ack = await answer(client, ['{"action":"subs', 'cribe","trades"', ':["AAPL"]}', ""])
        assert ack["trades"] == ["AAPL"]
        frames = b"".join(
            masked(json.dumps({"action": "subscribe", "quotes": [symbol]}).encode())
            for symbol in ("AAPL", "MSFT")
        )
        client.socket.transport.write(frames)
        await eventually(lambda: client.controls[-1].get("quotes") == ["AAPL", "MSFT"], 10, "both")
        assert [c.get("quotes") for c in client.controls[-2:]] == [["AAPL"], ["AAPL", "MSFT"]]


def masked(payload: bytes, opcode: int = 0x81) -> bytes:
    """A client's frame with a mask of zeros."""
    assert len(payload) < 126
    return bytes((opcode, 0x80 | len(payload))) + bytes(4) + payload


# Too much


async def test_too_large_a_message_ends_the_connection(scene: Scene) -> None:
    """Ten megabytes are refused with 1009, unread."""
    async with scene.consumer() as bad:
        await bad.subscribe(trades=["AAPL"])
        with contextlib.suppress(Exception):  # the end may come in the middle of sending
            await bad.socket.send("x" * 10_000_000)
        await ended(bad, 1009)


async def test_a_million_symbols_are_too_many(alpaca: SimulatorProcess) -> None:
    """More topics than a consumer may have are 405, before upstream hears of it."""
    async with (
        proxied(alpaca, max_message_bytes=32 << 20) as scene,
        scene.consumer() as bad,
    ):
        symbols = [f"A{n}" for n in range(1_000_000)]
        assert await bad.subscribe(trades=symbols) == error(405)
        assert (await bad.subscribe(trades=["AAPL"]))["trades"] == ["AAPL"]
        assert scene.counts.bad_requests == 1


async def test_a_flood_ends_the_connection(scene: Scene) -> None:
    """After a generous burst the flood is 400 and the end."""
    async with scene.consumer() as bad:
        with contextlib.suppress(Exception):  # the end may come in the middle of sending
            for _ in range(1000):
                await bad.socket.send('{"action":"subscribe","trades":["AAPL"]}')
        await ended(bad, 1008)
        assert bad.controls[-1] == error(400)
        assert scene.counts.rate_limited == 1
        acks = [c for c in bad.controls if c["T"] == "subscription"]
        assert len(acks) >= 150


@pytest.mark.slow
async def test_pings_without_reading_the_answers(scene: Scene) -> None:
    """Answers are buffered within bounds; then the connection is cut."""
    peer = await raw_connection(scene)
    ping = masked(b"p" * 125, 0x89) * 500
    loop = asyncio.get_running_loop()
    connections = scene.app.outlet.connections
    assert len(connections) == 2

    async def flood() -> None:
        for _ in range(2000):
            await loop.sock_sendall(peer, ping)

    task = asyncio.create_task(flood())
    await eventually(lambda: len(connections) == 1, 60, "it is cut")
    with contextlib.suppress(OSError):
        await task
    peer.close()


async def raw_connection(scene: Scene, *, whole: bool = True, buffer: int = 4096) -> sockets.socket:
    """A TCP connection with a WebSocket handshake on it, or with half of one."""
    host, port = scene.app.addresses()[0].removeprefix("ws://").split(":")
    loop = asyncio.get_running_loop()
    peer = sockets.socket()
    peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, buffer)
    peer.setblocking(False)
    await loop.sock_connect(peer, (host, int(port)))
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET /v2/{FEED} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    await loop.sock_sendall(peer, request if whole else request[:60])
    if whole:
        assert b"101" in await loop.sock_recv(peer, 1000)
    return peer


# Nothing, or half of it


async def test_silence_is_404(alpaca: SimulatorProcess) -> None:
    """Who doesn't authenticate in time is told, counted and closed."""
    async with proxied(alpaca, consumer_authentication_seconds=0.5) as scene:
        async with scene.consumer(authenticate=False) as bad:
            assert await bad.control("error") == error(404)
            await ended(bad, 1008)
        assert scene.counts.authentication_timeouts == 1


@pytest.mark.parametrize("whole", [False, True], ids=["half a handshake", "nothing after it"])
async def test_a_socket_that_stays_silent_is_cut(alpaca: SimulatorProcess, whole: bool) -> None:
    """Half a handshake, or silence after it, holds a place only for so long."""
    async with proxied(
        alpaca, consumer_handshake_seconds=0.5, consumer_authentication_seconds=0.5
    ) as scene:
        peer = await raw_connection(scene, whole=whole)
        await eventually(lambda: len(scene.app.outlet.connections) == 2, 10, "it is there")
        await eventually(lambda: len(scene.app.outlet.connections) == 1, 30, "it is cut")
        peer.close()


@pytest.mark.parametrize("how", ["reset", "end", "half a frame"])
async def test_a_consumer_that_vanishes(scene: Scene, how: str) -> None:
    """Without a close frame, in any way: forgotten, and its topics with it."""
    async with scene.consumer() as bad:
        await bad.subscribe(trades=["NOBODY"])  # no such stock: upstream sends nothing for it
        transport = bad.socket.transport
        if how == "half a frame":
            transport.write(masked(b"x" * 100)[:50])
            transport.close()
        elif how == "end":
            transport.close()
        else:
            transport.get_extra_info("socket").setsockopt(
                sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0)
            )
            transport.abort()
        handler = scene.app.handlers[FEED]
        await eventually(lambda: len(handler.consumers) == 1, 20, "forgotten")
        await eventually(
            lambda: set(handler.demand.confirmed().symbols("trades")) == {"AAPL", "MSFT"},
            20,
            "unsubscribed",
        )


# Credentials

TOKEN = {"name": "bots", "key": "bots-key", "secret": "a-secret-of-sixteen-and-more"}
RIGHT = {"APCA-API-KEY-ID": TOKEN["key"], "APCA-API-SECRET-KEY": TOKEN["secret"]}
GOOD_HEADERS = [
    RIGHT,
    {"Authorization": f"Bearer {TOKEN['secret']}"},
    {
        "Authorization": "Basic "
        + base64.b64encode(f"{TOKEN['key']}:{TOKEN['secret']}".encode()).decode()
    },
]
BAD_HEADERS = [
    RIGHT | {"APCA-API-SECRET-KEY": "wrong"},
    RIGHT | {"APCA-API-KEY-ID": "wrong"},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Basic " + base64.b64encode(b"bots-key:wrong").decode()},
]


@pytest.mark.parametrize("headers", GOOD_HEADERS, ids=["key and secret", "bearer", "basic"])
async def test_header_credentials(alpaca: SimulatorProcess, headers: dict[str, str]) -> None:
    """Right ones authenticate unasked; a message auth after that is one too many."""
    async with (
        proxied(alpaca, RIGHT, access_tokens=[TOKEN]) as scene,
        scene.consumer(authenticate=False, headers=headers) as client,
    ):
        await eventually(lambda: len(client.controls) == 2, 10, "authenticated")
        assert [c["msg"] for c in client.controls] == ["connected", "authenticated"]
        auth = {"action": "auth", "key": TOKEN["key"], "secret": TOKEN["secret"]}
        assert await answer(client, json.dumps(auth)) == error(403)
        assert (await client.subscribe(trades=["AAPL"]))["trades"] == ["AAPL"]


async def test_wrong_credentials_are_402(alpaca: SimulatorProcess) -> None:
    """In a header or in a message: told, counted, closed."""
    async with proxied(alpaca, RIGHT, access_tokens=[TOKEN]) as scene:
        for headers in BAD_HEADERS:
            async with scene.consumer(authenticate=False, headers=headers) as bad:
                assert await bad.control("error") == error(402)
                await ended(bad, 1008)
        pairs = [
            (TOKEN["key"], "wrong"),
            ("wrong", TOKEN["secret"]),
            ("", ""),
            ("oauth", "wrong"),
            ("ключ", "секрет"),
            ("a" * 10_000, "b" * 10_000),
        ]
        for key, secret in pairs:
            async with scene.consumer(authenticate=False) as bad:
                await bad.say(action="auth", key=key, secret=secret)
                assert await bad.control("error") == error(402)
                await ended(bad, 1008)
        assert scene.counts.authentications_failed == len(BAD_HEADERS) + len(pairs)
        for key in (TOKEN["key"], "oauth", "access_token"):
            async with scene.consumer(authenticate=False) as good:
                await good.control("success")
                reply = await answer(
                    good, json.dumps({"action": "auth", "key": key, "secret": TOKEN["secret"]})
                )
                assert reply["msg"] == "authenticated"


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Type", "application/msgpack"), ("Content-Type", "application/json")],
        [("APCA-API-KEY-ID", "a"), ("APCA-API-KEY-ID", "b"), ("APCA-API-SECRET-KEY", "c")],
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
        [("Authorization", "Basic %%%")],
        [("Authorization", "Basic /////w==")],
    ],
    ids=str,
)
async def test_ambiguous_headers_are_as_none(scene: Scene, headers: list[tuple[str, str]]) -> None:
    """A header that came twice or can't be read is not guessed at: JSON, and no credentials."""
    async with connect(scene.url(), additional_headers=headers, proxy=None) as socket:
        assert json.loads(await socket.recv()) == [{"T": "success", "msg": "connected"}]
        await socket.send('{"action":"auth","key":"k","secret":"s"}')
        assert json.loads(await socket.recv()) == [{"T": "success", "msg": "authenticated"}]


# Paths


@pytest.mark.parametrize("path", ["/v2/nothing", "/v1/iex", "/v2/iex/x", "/%2e%2e/iex"])
async def test_unknown_paths_are_404(scene: Scene, path: str) -> None:
    """With a sentence that says what there is; counted."""
    with pytest.raises(InvalidStatus) as refusal:
        async with scene.consumer(path=path):
            pass
    assert refusal.value.response.status_code == 404
    assert b"/v2/iex" in refusal.value.response.body
    assert scene.counts.rejected == 1


async def test_feeds_that_are_not_served_are_409(alpaca: SimulatorProcess) -> None:
    """With a list of feeds in the settings all others are outside the plan, and not connected."""
    async with proxied(alpaca, feeds=[FEED, "test"]) as scene:
        async with scene.consumer(path="/v2/sip", authenticate=False) as bad:
            await bad.say(action="auth", key="k", secret="s")
            assert await bad.control("error") == error(409)
            await ended(bad, 1008)
        assert set(scene.app.handlers) == {FEED, "test"}


# What a good consumer may rely on


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_sets_grow_and_shrink_as_documented(scene: Scene, codec: str) -> None:
    """Own complete sets, order of asking, idempotence, followers of trades, and a literal star."""
    async with scene.consumer(codec) as client:
        ack = await client.subscribe(trades=["MSFT", "AAPL"])
        assert list(ack) == [
            "T",
            "trades",
            "quotes",
            "bars",
            "updatedBars",
            "dailyBars",
            "statuses",
            "lulds",
            "corrections",
            "cancelErrors",
        ]
        assert ack["trades"] == ack["corrections"] == ack["cancelErrors"] == ["MSFT", "AAPL"]
        assert ack["quotes"] == []
        assert await client.subscribe(trades=["AAPL"]) == ack
        assert await client.ask("unsubscribe", quotes=["AAPL"], bars=["*"]) == ack
        ack = await client.subscribe(quotes=["AAPL"], bars=["*"])
        assert (ack["quotes"], ack["bars"]) == (["AAPL"], ["*"])
        assert await client.ask("unsubscribe", bars=["AAPL"]) == ack
        ack = await client.ask("unsubscribe", bars=["*"], trades=["MSFT"])
        assert (ack["trades"], ack["quotes"], ack["bars"]) == (["AAPL"], ["AAPL"], [])
        ack = await client.ask("unsubscribe", trades=["AAPL"], quotes=["AAPL"])
        assert not any(ack[channel] for channel in list(ack)[1:])


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_the_acknowledgement_comes_before_data(scene: Scene, codec: str) -> None:
    """Also for topics that flow already: the Go SDK reads exactly one message there."""

    def encoded(message: dict[str, Any]) -> str | bytes:
        return MSGPACK.encode(message) if codec == "msgpack" else json.dumps(message)

    def kinds(frame: str | bytes) -> list[str]:
        decoded = MSGPACK.decode(frame) if isinstance(frame, bytes) else json.loads(frame)
        return [message["T"] for message in decoded]

    headers = {"Content-Type": f"application/{codec}"}
    async with connect(
        scene.url("/v2/iex?snapshot=1"), additional_headers=headers, proxy=None
    ) as socket:
        await socket.send(encoded({"action": "auth", "key": "k", "secret": "s"}))
        await socket.send(encoded({"action": "subscribe", **HELD}))
        seen = [kinds(await socket.recv()) for _ in range(4)]
        assert seen[:3] == [["success"], ["success"], ["subscription"]]
        assert set(seen[3]) <= {"t", "q"}


async def test_snapshot_gives_the_last_values_at_once(
    alpaca: SimulatorProcess, scene: Scene
) -> None:
    """``?snapshot=1``: the last trade and quote of each symbol, even if nothing moves any more."""
    # Not all four: a stock may be halted for a while.
    await eventually(lambda: len(scene.healthy.counts) >= 2, 20, "some values")
    await alpaca.order("/hold")
    try:
        async with (
            scene.consumer(path="/v2/iex?snapshot=1") as curious,
            scene.consumer(path="/v2/iex") as plain,
        ):
            await plain.subscribe(**HELD)
            await curious.subscribe(**HELD)
            known = {topic for topic in scene.healthy.counts if topic[0] in "tq"}
            await eventually(lambda: curious.messages >= len(known), 10, "the snapshot")
            await curious.subscribe()
            await plain.subscribe()
            assert curious.counts == dict.fromkeys(known, 1)
            assert plain.messages == 0
    finally:
        await alpaca.order("/start")
