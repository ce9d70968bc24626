"""What upstream should never send, sent while data flows: only the bad message is lost."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from harness.consumers import TestConsumer, consumer
from harness.proxies import running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.time import to_timestamp
from stream_proxy.wire.alpaca.codec import CODECS, Codec

FEED = "iex"
OURS = 7_000_000_000
"""Trade ids from here on are not the market's."""
NOON_NS = 1_700_000_000_123_456_789
NOON = {"json": "2023-11-14T22:13:20.123456789Z", "msgpack": to_timestamp(NOON_NS)}


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "50", "--symbols", "5") as process:
        yield process


@dataclass
class Scene:
    """A proxy whose upstream speaks ``codec``, and a consumer of each codec."""

    alpaca: SimulatorProcess
    codec: Codec
    handler: FeedHandler
    consumers: dict[str, TestConsumer]
    other: TestConsumer
    logs: list[Any]

    def trade(self, number: int, **more: Any) -> dict[str, Any]:
        """A good trade, known by its number."""
        return {
            "T": "t",
            "S": "AAPL",
            "i": OURS + number,
            "x": "V",
            "p": 1.5,
            "s": 100,
            "c": ["@"],
            "t": NOON[self.codec.name],
            "z": "C",
        } | more

    def item(self, number: int, **more: Any) -> bytes:
        return self.codec.encode(self.trade(number, **more))

    async def send(self, payload: bytes) -> None:
        await self.alpaca.order("/frames", feed=FEED, payload_hex=payload.hex())

    def received(self, name: str, number: int) -> list[dict[str, Any]]:
        """What this consumer got of this number."""
        needle = CODECS[name].encode(OURS + number)
        client = self.consumers[name]
        items = [item for item in client.items if needle in item]
        decode = client.codec.decode if name == "json" else client.codec.decode_fields
        return [m for m in map(decode, items) if m.get("i") == OURS + number]

    async def arrived(self, *numbers: int) -> None:
        """Each of these came once, to consumers of both codecs."""
        for number in numbers:
            for name in self.consumers:
                await eventually(
                    lambda name=name, number=number: self.received(name, number),
                    20,
                    f"{number} at the {name} consumer",
                )
                assert len(self.received(name, number)) == 1

    async def unharmed(self) -> None:
        """Ordinary data goes on, on the same connection, and nobody heard of it."""
        clients = [*self.consumers.values(), self.other]
        before = [client.messages for client in clients]
        await eventually(
            lambda: all(c.messages > b for c, b in zip(clients, before, strict=True)), 20, "data"
        )
        assert self.handler.upstream.connections == 1
        assert self.handler.upstream.interruptions == 0
        # What can't be read is missing, and that is all: nothing is open, nothing else was missed.
        gaps = self.handler.gaps
        assert gaps.current is None
        assert {gap.why for gap in gaps.recent()} <= {"a message that can't be read"}
        for client in clients:
            assert client.closed is None
            assert not [c for c in client.controls if c["T"] == "error"]

    def logged(self, event: str) -> list[str]:
        return [
            line.get("reason") or line.get("what") for line in self.logs if line["event"] == event
        ]


@pytest.fixture(params=["msgpack", "json"])
async def scene(alpaca: SimulatorProcess, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    name: str = request.param
    with capture_logs() as logs:
        async with contextlib.AsyncExitStack() as stack:
            app = await stack.enter_async_context(running_app(alpaca.streams, upstream_codec=name))
            url = app.addresses()[0] + f"/v2/{FEED}"
            consumers = {
                codec: await stack.enter_async_context(consumer(url, codec, keep=True))
                for codec in ("json", "msgpack")
            }
            for client in consumers.values():
                # Two stocks each: one at a time may be halted.
                await client.subscribe(trades=["AAPL", "AMZN"], quotes=["AAPL", "AMZN"])
            other = await stack.enter_async_context(consumer(url, "json", keep=True))
            await other.subscribe(trades=["MSFT", "NVDA"], quotes=["MSFT", "NVDA"])
            made = Scene(alpaca, CODECS[name], app.handlers[FEED], consumers, other, logs)
            await made.unharmed()
            yield made


# Damage: (scene) -> the pieces of a frame between two good trades, and how many of them are lost

JSON_BOMB = b'{"T":"t","S":"AAPL","i":9,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
MSGPACK_BOMB = b"\x84\xa1T\xa1t\xa1S\xa4AAPL\xa1i\x09\xa1x" + b"\x91" * 100_000 + b"\x90"


def nan(scene: Scene) -> list[bytes]:
    """JSON has no NaN; in msgpack it is a number as any other."""
    if scene.codec.binary:
        return [scene.codec.encode({"S": "AAPL", "p": float("nan")})]
    return [b'{"T":"t","S":"AAPL","p":NaN}']


DAMAGE: dict[str, Callable[[Scene], list[bytes]]] = {
    "null symbol": lambda s: [s.item(9, S=None)],
    "number for a symbol": lambda s: [s.item(9, S=7)],
    "list for a symbol": lambda s: [s.item(9, S=["AAPL"])],
    "no type": lambda s: [s.codec.encode({"S": "AAPL", "i": 9})],
    "null type": lambda s: [s.item(9, T=None)],
    "number for a type": lambda s: [s.item(9, T=5)],
    "values instead of maps": lambda s: [s.codec.encode(v) for v in ("t", 12, None, [], True, 1.5)],
    "an empty map": lambda s: [s.codec.encode({})],
    "NaN": nan,
    "nested without end": lambda s: [MSGPACK_BOMB if s.codec.binary else JSON_BOMB],
}


@pytest.mark.parametrize("kind", DAMAGE)
async def test_only_the_bad_message_of_a_frame_is_lost(scene: Scene, kind: str) -> None:
    """The good messages on both sides of it arrive; it is counted, and logged once."""
    bad = DAMAGE[kind](scene)
    await scene.send(scene.codec.join([scene.item(1001), *bad, scene.item(1002)]))
    await scene.arrived(1001, 1002)
    assert scene.handler.bad_messages == len(bad)
    assert not scene.received("json", 9)
    logged = len(scene.logged("upstream.bad_message"))
    assert 1 <= logged <= len(bad)

    await scene.send(scene.codec.join([scene.item(1003), *bad, scene.item(1004)]))
    await scene.arrived(1003, 1004)
    assert scene.handler.bad_messages == 2 * len(bad)
    assert len(scene.logged("upstream.bad_message")) == logged
    await scene.unharmed()


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1\xff\x00 neither {",
        b"",
        b"\x00",
        b"hello",
        b"{",
        b"\xdd\xff\xff\xff\xff",
        b"[,,]",
        b"[]]",
        b"\x90\x90",
    ],
    ids=repr,
)
async def test_garbage_costs_nothing_else(scene: Scene, payload: bytes) -> None:
    """A frame that is no array of messages is one bad message, and one line in the log."""
    await scene.send(payload)
    await eventually(lambda: scene.handler.bad_messages, 20, "it is counted")
    assert len(scene.logged("upstream.bad_message")) >= 1
    await scene.send(scene.codec.join([scene.item(1001)]))
    await scene.arrived(1001)
    await scene.unharmed()


async def test_what_came_before_a_cut_is_kept(scene: Scene) -> None:
    """Of a frame that is cut off at any byte, the whole messages arrive."""
    items = [scene.item(2001), scene.item(2002)]
    whole = scene.codec.join(items)
    start = len(whole) - len(items[1]) - (not scene.codec.binary)
    for cut in range(start + 1, len(whole), 9):
        before = scene.handler.bad_messages, len(scene.received("json", 2001))
        await scene.send(whole[:cut])
        await eventually(
            lambda before=before: len(scene.received("json", 2001)) > before[1],
            20,
            f"the first of two, cut at {cut}",
        )
        assert scene.handler.bad_messages == before[0] + 1
    assert not scene.received("json", 2002)
    assert len(scene.logged("upstream.bad_message")) <= 3
    await scene.unharmed()


async def test_unknown_type_with_a_symbol_goes_to_who_wants_the_symbol(scene: Scene) -> None:
    """A message type of tomorrow reaches the symbol's consumers in both codecs, and only them."""
    fields = {"T": "zz", "S": "AAPL", "i": OURS + 3001, "deep": {"list": [1, 2.5, None, "x"]}}
    await scene.send(scene.codec.encode([fields]))
    await scene.arrived(3001)
    for name in scene.consumers:
        assert scene.received(name, 3001) == [fields]
    await scene.unharmed()
    assert ("zz", "AAPL") not in scene.other.counts
    assert scene.handler.unknown_messages == 1
    assert scene.handler.bad_messages == 0


async def test_unknown_type_without_a_symbol_goes_to_all(scene: Scene) -> None:
    """What concerns no symbol may concern everybody."""
    await scene.send(scene.codec.encode([{"T": "zz", "i": OURS + 3002}]))
    await scene.arrived(3002)
    await eventually(lambda: scene.other.counts["zz", ""], 20, "it came to everybody")
    await scene.unharmed()


async def test_new_fields_pass_through(scene: Scene) -> None:
    """A known type with more fields keeps them, nanoseconds included, in both codecs."""
    await scene.send(scene.codec.encode([scene.trade(3003, new={"a": [1]}, id64=2**60 + 1)]))
    await scene.arrived(3003)
    for name in scene.consumers:
        (trade,) = scene.received(name, 3003)
        assert trade == scene.trade(3003, new={"a": [1]}, id64=2**60 + 1, t=NOON[name])
        assert next(iter(trade)) == "T"
    await scene.unharmed()


@pytest.mark.parametrize(
    "more", [{"p": "high"}, {"p": None}, {"c": 5}, {"t": "noon"}, {"t": 5}], ids=str
)
async def test_wrong_types_in_fields_are_not_our_business(
    scene: Scene, more: dict[str, Any]
) -> None:
    """What is only carried is not judged: the consumer gets what Alpaca sent."""
    await scene.send(scene.codec.encode([scene.trade(3004, **more)]))
    await scene.arrived(3004)
    for name in scene.consumers:
        assert scene.received(name, 3004)[0] == scene.trade(3004, t=NOON[name]) | more
    assert scene.handler.bad_messages == 0
    await scene.unharmed()


async def test_nan(scene: Scene) -> None:
    """In msgpack it is a number, and null for JSON consumers; in JSON it is damage, lost alone."""
    if not scene.codec.binary:
        text = scene.codec.encode([scene.trade(3005, p=0.125), scene.trade(3006)])
        await scene.send(text.replace(b"0.125", b"NaN", 1))
        await scene.arrived(3006)
        assert scene.handler.bad_messages == 1
        await scene.unharmed()
        return
    await scene.send(scene.codec.encode([scene.trade(3005, p=float("nan"))]))
    await scene.arrived(3005)
    assert scene.received("json", 3005)[0]["p"] is None
    await scene.unharmed()


async def test_any_depth_is_survived(scene: Scene) -> None:
    """Messages nested to any depth either pass or are lost alone, whatever the codecs' limits."""
    if scene.codec.binary:

        def nested(depth: int) -> bytes:
            head = b"\x83\xa1T\xa1t\xa1S\xa4AAPL\xa1x"
            return head + b"\x91" * depth + b"\x90"
    else:

        def nested(depth: int) -> bytes:
            return b'{"T":"t","S":"AAPL","x":' + b"[" * depth + b"]" * depth + b"}"

    bombs = [nested(depth) for depth in range(600, 1010)]
    await scene.send(scene.codec.join([scene.item(1001), *bombs, scene.item(1002)]))
    await scene.arrived(1001, 1002)
    # Alone, since each part of the way has its own limit: some pass one and fail at the next.
    for bomb in bombs[320:]:
        await scene.send(scene.codec.join([bomb]))
    await scene.send(scene.codec.join([scene.item(1003)]))
    await scene.arrived(1003)
    await scene.unharmed()
    assert scene.handler.bad_messages > 0


async def test_text_that_is_not_utf8_hurts_nobody(scene: Scene) -> None:
    """A broken character is not passed on in a text frame: a client would have to hang up."""
    bad = scene.item(4001, z="~~").replace(b"~~", b"\xff\xfe")
    await scene.send(scene.codec.join([scene.item(1001), bad, scene.item(1002)]))
    await scene.arrived(1001, 1002)
    await scene.unharmed()


@pytest.mark.slow
async def test_a_huge_array_arrives_in_frames_that_clients_accept(scene: Scene) -> None:
    """Five megabytes in one message: everything arrives, no frame is larger than 512 KiB."""
    count = 5_000_000 // len(scene.item(0))
    items = [scene.item(100_000 + n) for n in range(count)]
    await scene.send(scene.codec.join(items))
    for client in scene.consumers.values():
        await eventually(
            lambda client=client: client.counts["t", "AAPL"] >= count, 60, "all of them"
        )
        assert client.largest_frame <= 512 * 1024
    assert {m["i"] for m in scene.consumers["json"].decoded() if m["T"] == "t"} >= {
        OURS + 100_000 + n for n in range(count)
    }
    assert scene.handler.bad_messages == 0
    await scene.unharmed()


async def test_an_empty_array_is_nothing(scene: Scene) -> None:
    """No message, no damage."""
    frames = scene.handler.frames
    await scene.send(scene.codec.join([]))
    await eventually(lambda: scene.handler.frames > frames, 20, "it came")
    await scene.unharmed()
    assert scene.handler.bad_messages == 0


STRANGE_CONTROLS: list[dict[str, Any]] = [
    {"T": "success"},
    {"T": "success", "msg": 5},
    {"T": "success", "msg": "connected"},
    {"T": "success", "msg": "authenticated"},
    {"T": "success", "msg": "party"},
    {"T": "error"},
    {"T": "error", "code": "402"},
    {"T": "error", "msg": "auth failed"},
    {"T": "error", "code": 400, "msg": "nobody asked"},
]


async def test_control_messages_of_unknown_form_are_noted(scene: Scene) -> None:
    """They change nothing, are counted by kind, logged once a kind, and not passed on."""
    for _ in range(2):
        for control in STRANGE_CONTROLS:
            await scene.send(scene.codec.encode([control]))
    # Among data they are told apart as well.
    await scene.send(
        scene.codec.encode([scene.trade(1001), STRANGE_CONTROLS[4], scene.trade(1002)])
    )
    await scene.arrived(1001, 1002)
    surprises = scene.handler.upstream.surprises
    assert sum(surprises.values()) == 2 * len(STRANGE_CONTROLS) + 1
    assert sorted(scene.logged("upstream.surprise")) == sorted(surprises)
    await scene.unharmed()
    for client in scene.consumers.values():
        assert [c["T"] for c in client.controls] == ["success", "success", "subscription"]


@pytest.mark.parametrize(
    "fields",
    [{}, {"trades": None}, {"trades": 5}, {"trades": ["MSFT"]}, {"trades": [5, None]}],
    ids=str,
)
async def test_an_acknowledgement_that_takes_away_is_put_right(
    scene: Scene, fields: dict[str, Any]
) -> None:
    """When upstream says that it holds less than is wanted, it is asked again, and data goes on."""
    before = scene.alpaca.connections(FEED)[-1]["subscribes"]
    await scene.send(scene.codec.encode([{"T": "subscription", **fields}]))
    await eventually(
        lambda: scene.alpaca.connections(FEED)[-1]["subscribes"] > before, 20, "asked again"
    )
    everything = {"AAPL", "AMZN", "MSFT", "NVDA"}
    wanted = {"trades": everything, "quotes": everything}
    await eventually(
        lambda: (
            {c: set(s) for c, s in scene.handler.demand.confirmed().as_dict().items()} == wanted
        ),
        20,
        "confirmed again",
    )
    await scene.unharmed()
