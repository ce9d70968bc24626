"""The simulator against what is known of Alpaca's protocol: exact texts, and who survives what."""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from msgspec.msgpack import Ext
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from harness.consumers import TestConsumer, consumer
from harness.waiting import eventually
from stream_proxy.model.feeds import FEEDS, feed_paths
from stream_proxy.simulator.options import SimulatorOptions
from stream_proxy.simulator.server import Simulator
from stream_proxy.wire.alpaca.codec import MSGPACK

OPTIONS = SimulatorOptions(port=0, rate=300, symbols=20, slot_seconds=0.7)
ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    412: "option messages are only available in MsgPack format",
    413: "star subscription is not allowed for option quotes",
}
"""From Alpaca's documentation, not from our table."""


class Bench:
    """A simulator in this process."""

    def __init__(self, simulator: Simulator, port: int) -> None:
        self.simulator = simulator
        self.port = port

    def url(self, path: str = "/v2/iex") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def consumer(
        self, path: str = "/v2/iex", codec: str = "json", **options: Any
    ) -> contextlib.AbstractAsyncContextManager[TestConsumer]:
        return consumer(self.url(path), codec, **options)


@contextlib.asynccontextmanager
async def bench(**options: Any) -> AsyncIterator[Bench]:
    simulator = Simulator(replace(OPTIONS, **options))
    port = await simulator.start()
    try:
        yield Bench(simulator, port)
    finally:
        await simulator.stop()


@pytest.fixture
async def alpaca() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


def error(code: int) -> dict[str, Any]:
    return {"T": "error", "code": code, "msg": ERRORS[code]}


async def answer(client: TestConsumer, payload: Any) -> dict[str, Any]:
    """What the next control message says to this payload."""
    before = len(client.controls)
    await client.socket.send(payload)
    await eventually(lambda: len(client.controls) > before, 10, f"an answer to {payload!r:.80}")
    return client.controls[before]


async def authenticate(client: TestConsumer, key: str = "any") -> dict[str, Any]:
    before = len(client.controls)
    await client.say(action="auth", key=key, secret="any")
    await eventually(lambda: len(client.controls) > before, 10, "an answer to auth")
    return client.controls[before]


async def closed(client: TestConsumer, code: int) -> None:
    await eventually(lambda: client.closed is not None, 10, "the end")
    assert client.closed is not None and client.closed.rcvd is not None
    assert client.closed.rcvd.code == code


# Paths and handshake


@pytest.mark.parametrize("path", [*feed_paths("iex"), "/v2/sip/", "/v2/sip?x=1"])
async def test_every_path_greets(alpaca: Bench, path: str) -> None:
    """Documented paths, those of SDKs, and the aliases of their environment variables."""
    feed = feed_paths("iex").get(path)
    codec = "msgpack" if feed is not None and feed.msgpack_only else "json"
    async with alpaca.consumer(path, codec) as client:
        assert client.controls == [
            {"T": "success", "msg": "connected"},
            {"T": "success", "msg": "authenticated"},
        ]


@pytest.mark.parametrize("path", ["/v2/nothing", "/v1/sip", "/v2", "/v2/sip/trades", "/streams"])
async def test_other_paths_are_404(alpaca: Bench, path: str) -> None:
    """There is nothing behind other paths."""
    with pytest.raises(InvalidStatus) as refusal:
        async with alpaca.consumer(path):
            pass
    assert refusal.value.response.status_code == 404


async def test_auth_may_come_before_the_greeting_is_read(alpaca: Bench) -> None:
    """The JavaScript SDK sends auth on open; the greeting is still first."""
    async with connect(alpaca.url(), proxy=None) as socket:
        await socket.send('{"action":"auth","key":"k","secret":"s"}')
        assert json.loads(await socket.recv()) == [{"T": "success", "msg": "connected"}]
        assert json.loads(await socket.recv()) == [{"T": "success", "msg": "authenticated"}]


@pytest.mark.parametrize(
    "headers",
    [
        {"APCA-API-KEY-ID": "any", "APCA-API-SECRET-KEY": "other"},
        {"Authorization": "Bearer other"},
        {"Authorization": "Basic " + b64encode(b"any:other").decode()},
    ],
    ids=["keys", "bearer", "basic"],
)
async def test_header_authentication(headers: dict[str, str]) -> None:
    """Keys in the handshake: "authenticated" comes unasked, and a message auth is one too many."""
    async with (
        bench(accounts={"any": "other"}) as alpaca,
        alpaca.consumer(authenticate=False, headers=headers) as client,
    ):
        await eventually(lambda: len(client.controls) == 2, 10, "authenticated")
        assert [c["msg"] for c in client.controls] == ["connected", "authenticated"]
        assert await authenticate(client) == error(403)
        assert (await client.subscribe(trades=["AAPL"]))["trades"] == ["AAPL"]


async def test_accounts_and_plans() -> None:
    """Wrong keys are 402, a feed outside the plan is 409, both at auth, and both end it."""
    async with (
        bench(accounts={"any": "other"}, denied_feeds=frozenset({"sip"})) as alpaca,
        alpaca.consumer(authenticate=False) as client,
    ):
        assert await authenticate(client) in (error(402), {"T": "success", "msg": "connected"})
        assert await client.control("error") == error(402)
        await closed(client, 1008)
    async with bench(denied_feeds=frozenset({"sip"})) as alpaca:
        async with alpaca.consumer("/v2/sip", authenticate=False) as client:
            await authenticate(client)
            assert await client.control("error") == error(409)
            await closed(client, 1008)
        async with alpaca.consumer("/v2/iex") as client:
            assert client.closed is None


async def test_silence_is_404() -> None:
    """Who doesn't authenticate in time is told, and closed."""
    async with (
        bench(authentication_seconds=0.3) as alpaca,
        alpaca.consumer(authenticate=False) as client,
    ):
        assert await client.control("error") == error(404)
        await closed(client, 1008)


# What a client survives


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "hello",
        "[]",
        "5",
        "{}",
        '{"action":"dance"}',
        '{"action":5}',
        '{"action":"auth"}',
        '{"action":"auth","key":1,"secret":2}',
        '{"action":"subscribe","trades":["AAPL"]}{"action":"subscribe","quotes":["AAPL"]}',
        '{"action":"subscribe","trades":"AAPL"}',
        '{"action":"subscribe","trades":[1]}',
        '{"action":"subscribe","trades":["aapl"]}',
        '{"action":"subscribe","trades":["AAPL "]}',
        '{"action":"subscribe","trades":["AAPL","not ok"]}',
        '{"action":"subscribe","trades":[""]}',
        MSGPACK.encode({"action": "subscribe", "trades": ["AAPL"]}),
    ],
    ids=repr,
)
async def test_400_is_survived(alpaca: Bench, payload: str | bytes) -> None:
    """Malformed messages are answered, change nothing, and cost nothing."""
    async with alpaca.consumer() as client:
        before = await client.subscribe(quotes=["MSFT"])
        assert await answer(client, payload) == error(400)
        assert await client.subscribe() == before


async def test_json_on_a_msgpack_connection_is_400(alpaca: Bench) -> None:
    """The codec is the handshake's, whatever the frame; the answer is in that codec."""
    async with alpaca.consumer(codec="msgpack") as client:
        assert await answer(client, '{"action":"subscribe","trades":["AAPL"]}') == error(400)
        assert (await client.subscribe(trades=["AAPL"]))["trades"] == ["AAPL"]


async def test_json_in_a_binary_frame_is_fine(alpaca: Bench) -> None:
    """The C# SDK sends it so."""
    async with alpaca.consumer() as client:
        ack = await answer(client, b'{"action":"subscribe","trades":["AAPL"]}')
        assert ack["trades"] == ["AAPL"]


async def test_fragmented_messages_are_fine(alpaca: Bench) -> None:
    """The Python SDKs send every subscribe in fragments with an empty last one."""
    async with alpaca.consumer() as client:
        ack = await answer(client, ['{"action":"subscribe",', '"trades":["AAPL"]}'])
        assert ack["trades"] == ["AAPL"]


async def test_401_and_403_are_survived(alpaca: Bench) -> None:
    """Subscribing too early and authenticating twice are answered, and that is all."""
    async with alpaca.consumer(authenticate=False) as client:
        await client.control("success")
        for action in ("subscribe", "unsubscribe"):
            assert await client.ask(action, trades=["AAPL"]) == error(401)
        assert await authenticate(client) == {"T": "success", "msg": "authenticated"}
        assert await authenticate(client) == error(403)
        assert (await client.subscribe(trades=["AAPL"]))["trades"] == ["AAPL"]


@pytest.mark.parametrize(
    ("path", "codec", "channels", "code"),
    [
        ("/v2/iex", "json", {"orderbooks": ["AAPL"]}, 410),
        ("/v2/iex", "json", {"trades": ["AAPL"], "news": ["AAPL"]}, 410),
        ("/v1beta1/news", "json", {"trades": ["AAPL"]}, 410),
        ("/v1beta1/indicative", "msgpack", {"bars": ["AAPL240419C00150000"]}, 410),
        ("/v1beta1/indicative", "msgpack", {"quotes": ["*"]}, 413),
        ("/v1beta3/crypto/us", "json", {"statuses": ["BTC/USD"]}, 410),
        ("/v1beta3/crypto/us", "json", {"trades": ["AAPL"]}, 400),
    ],
)
async def test_refused_channels(
    alpaca: Bench, path: str, codec: str, channels: dict[str, list[str]], code: int
) -> None:
    """What a feed doesn't carry is refused as a whole; the connection stays."""
    async with alpaca.consumer(path, codec) as client:
        assert await client.subscribe(**channels) == error(code)
        ack = await client.subscribe()
        assert not any(symbols for channel, symbols in ack.items() if channel != "T")


@pytest.mark.parametrize("empty", [None, []], ids=str)
async def test_empty_lists_of_foreign_channels_are_nothing(alpaca: Bench, empty: Any) -> None:
    """The Go SDK names every channel it knows."""
    async with alpaca.consumer() as client:
        ack = await client.subscribe(trades=["AAPL"], orderbooks=empty, news=empty, pricing=empty)
        assert ack["trades"] == ["AAPL"]


async def test_json_on_options_is_412(alpaca: Bench) -> None:
    """Only if the header says so: without one an option stream speaks msgpack."""
    async with alpaca.consumer("/v1beta1/indicative", "json", authenticate=False) as client:
        assert await client.control("error") == error(412)
    async with connect(alpaca.url("/v1beta1/indicative"), proxy=None) as socket:
        greeting = await socket.recv()
        assert isinstance(greeting, bytes)
        assert MSGPACK.decode(greeting) == [{"T": "success", "msg": "connected"}]


# The one slot


async def test_406_and_another_try_on_the_same_socket(alpaca: Bench) -> None:
    """The second connection is refused at auth, stays open, and is let in when the first left."""
    async with alpaca.consumer(authenticate=False) as second:
        await second.control("success")
        async with alpaca.consumer():
            assert await authenticate(second) == error(406)
            assert await authenticate(second) == error(406)
            assert await authenticate(second, "another-key") == {
                "T": "success",
                "msg": "authenticated",
            }
            async with alpaca.consumer("/v2/sip") as elsewhere:
                assert elsewhere.closed is None
        async with alpaca.consumer(authenticate=False) as third:
            await third.control("success")
            assert await authenticate(third) == {"T": "success", "msg": "authenticated"}


async def test_an_unclean_end_keeps_the_slot(alpaca: Bench) -> None:
    """Without a close frame the slot stays taken for its time; the same socket gets in after it."""
    async with alpaca.consumer() as first, alpaca.consumer(authenticate=False) as second:
        await second.control("success")
        first.socket.transport.abort()
        record = alpaca.simulator.ledger.connections[0]
        await eventually(lambda: record.closed_ns, 10, "the end is noticed")
        assert record.ended == "unclean"
        answers = [await authenticate(second)]
        while answers[-1] == error(406):
            answers.append(await authenticate(second))
        assert answers[0] == error(406)
        assert answers[-1] == {"T": "success", "msg": "authenticated"}
        record = alpaca.simulator.ledger.connections[1]
        waited = (record.authenticated_ns - alpaca.simulator.ledger.connections[0].closed_ns) / 1e9
        assert waited >= OPTIONS.slot_seconds * 0.99


# Subscriptions

STOCK_KEYS = [
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
CRYPTO_KEYS = ["T", "trades", "quotes", "orderbooks", "bars", "updatedBars", "dailyBars"]
KEYS = {
    "stocks": STOCK_KEYS,
    "crypto": CRYPTO_KEYS,
    "options": ["T", "trades", "quotes"],
    "news": ["T", "news"],
}


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        (name, codec)
        for name, feed in FEEDS.items()
        for codec in ("json", "msgpack")
        if name != "crypto-global" and not (feed.msgpack_only and codec == "json")
    ],
)
async def test_acknowledgements_have_every_key_in_order(
    alpaca: Bench, name: str, codec: str
) -> None:
    """Each feed's ack names all its channels, empty ones too, in the documented order."""
    feed = FEEDS[name]
    async with alpaca.consumer(feed.path, codec) as client:
        ack = await client.subscribe()
        assert list(ack) == KEYS[feed.kind]
        assert all(list(ack[key]) == [] for key in list(ack)[1:])


async def test_sets_grow_and_shrink_as_documented(alpaca: Bench) -> None:
    """Complete sets, insertion order, idempotence, followers of trades, and a literal star."""
    async with alpaca.consumer() as client:
        ack = await client.subscribe(trades=["MSFT", "AAPL"], bars=["*"])
        assert (ack["trades"], ack["bars"]) == (["MSFT", "AAPL"], ["*"])
        assert ack["corrections"] == ack["cancelErrors"] == ["MSFT", "AAPL"]
        assert await client.subscribe(trades=["AAPL", "MSFT"]) == ack
        assert await client.ask("unsubscribe", bars=["AAPL"], quotes=["AAPL"]) == ack
        ack = await client.ask("unsubscribe", trades=["MSFT"], bars=["*"])
        assert (ack["trades"], ack["corrections"], ack["bars"]) == (["AAPL"], ["AAPL"], [])
        ack = await client.subscribe(imbalances=["AAPL"])
        assert list(ack) == [*STOCK_KEYS, "imbalances"]


async def test_the_symbol_limit_is_all_or_nothing() -> None:
    """A request beyond the plan changes nothing; bars don't count."""
    async with bench(symbol_limit=3) as alpaca, alpaca.consumer() as client:
        before = await client.subscribe(trades=["AAPL"], quotes=["AAPL"], bars=["*"])
        assert await client.subscribe(trades=["MSFT", "NVDA"]) == error(405)
        assert await client.subscribe() == before
        ack = await client.subscribe(trades=["MSFT"], dailyBars=["NVDA", "AMZN"])
        assert ack["trades"] == ["AAPL", "MSFT"]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_the_acknowledgement_comes_before_data(codec: str) -> None:
    """The Go SDK reads exactly one message after its subscribe."""
    async with bench(rate=20_000) as alpaca:
        headers = {"Content-Type": f"application/{codec}"}
        async with connect(alpaca.url(), additional_headers=headers, proxy=None) as socket:
            await first_words(socket, codec)


async def first_words(socket: ClientConnection, codec: str) -> None:
    def encoded(message: dict[str, Any]) -> str | bytes:
        return MSGPACK.encode(message) if codec == "msgpack" else json.dumps(message)

    def decoded(frame: str | bytes) -> Any:
        assert isinstance(frame, bytes) == (codec == "msgpack")
        return MSGPACK.decode(frame) if isinstance(frame, bytes) else json.loads(frame)

    await socket.send(encoded({"action": "auth", "key": "k", "secret": "s"}))
    await socket.send(encoded({"action": "subscribe", "quotes": ["*"]}))
    kinds = [[m["T"] for m in decoded(await socket.recv())] for _ in range(4)]
    assert kinds[:3] == [["success"], ["success"], ["subscription"]]
    assert set(kinds[3]) == {"q"}


async def test_each_message_is_sent_once(alpaca: Bench) -> None:
    """Holding both ``*`` and a name doubles nothing; what was sent is what came."""
    async with alpaca.consumer(codec="msgpack") as client:
        await client.subscribe(quotes=["*", "AAPL"], trades=["AAPL", "*"])
        await eventually(lambda: client.counts["q", "AAPL"] > 5, 20, "data")
        alpaca.simulator.run_markets(False)
        record = alpaca.simulator.ledger.connections[0]
        await eventually(lambda: client.messages == record.messages, 10, "all of it")
        assert client.checksum == record.checksum


MARKETS = [
    ("/v2/iex", ["trades", "quotes"]),
    ("/v1beta1/indicative", ["trades"]),
    ("/v1beta3/crypto/us", ["trades", "quotes", "orderbooks"]),
    ("/v2/test", ["quotes"]),
    ("/v1beta1/news", ["news"]),
]


@pytest.mark.parametrize(("path", "channels"), MARKETS)
async def test_msgpack_items_are_as_the_sdks_need_them(
    alpaca: Bench, path: str, channels: list[str]
) -> None:
    """``T`` is the first key, times are extension -1, sizes of stocks and options are integers."""
    async with alpaca.consumer(path, "msgpack", keep=True) as client:
        await client.subscribe(**{channel: ["*"] for channel in channels})
        await eventually(lambda: client.messages >= (1 if "news" in path else 50), 60, "data")
        for item in client.items:
            assert 0x80 <= item[0] <= 0x8F or item[0] in (0xDE, 0xDF)
            fields = client.codec.decode_fields(item)
            assert next(iter(fields)) == "T"
            for key in ("created_at", "updated_at") if fields["T"] == "n" else ("t",):
                assert isinstance(fields[key], Ext) and fields[key].code == -1
            if "crypto" not in path:
                for key in ("s", "bs", "as", "v", "n"):
                    assert isinstance(fields.get(key, 0), int)


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_407() -> None:
    """The server's buffer is bounded: the client is told, and closed."""
    async with (
        bench(rate=50_000, slow_client_bytes=1000) as alpaca,
        connect(alpaca.url(), proxy=None, max_queue=1) as socket,
    ):
        await first_words(socket, "json")
        record = alpaca.simulator.ledger.connections[0]
        await eventually(lambda: record.errors, 60, "407")
        assert record.errors == [407]
