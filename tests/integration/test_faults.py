"""Every fault that the simulator can commit, and what the proxy makes of it.

After each the proxy is back within the bounds that its settings give; upstream never has two
connections; consumers stay connected; and what they missed is counted as a gap, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.consumers import TestConsumer, consumer
from harness.proxies import QUICK, proxy_process, running_app
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.app import App
from stream_proxy.config.schema import Settings
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.simulator.faults import ARMED, NOW
from stream_proxy.sources.alpaca import SourceTimings
from stream_proxy.wire.alpaca.codes import ERROR_CODES, Verdict

FEED = "iex"
UNION = {"trades": {"AAPL", "MSFT"}, "quotes": {"AAPL", "MSFT"}}
MARGIN = 3
"""Bounds are stretched by this: other programs share the machine."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "200", "--symbols", "5", "--slot-seconds", "3") as process:
        yield process


@pytest.fixture(autouse=True)
def _disarmed(alpaca: SimulatorProcess) -> None:
    urllib.request.urlopen(
        urllib.request.Request(alpaca.control + "/faults", method="DELETE"), timeout=20
    ).close()


# The scene: one proxy, three consumers, data flowing


@dataclass
class Scene:
    """A proxy with consumers, and the simulator's record of it."""

    alpaca: SimulatorProcess
    app: App
    handler: FeedHandler
    consumers: Sequence[TestConsumer]
    first_record: int

    async def flowing(self, seconds: float) -> None:
        """Wait until every consumer got something new."""
        await flowing(self.consumers, seconds)

    async def records(self) -> list[dict[str, Any]]:
        """The simulator's connections with this proxy, oldest first."""
        ledger = await self.alpaca.ledger()
        return [
            record
            for record in ledger["connections"]
            if record["feed"] == FEED and record["number"] >= self.first_record
        ]

    async def restored(self, seconds: float) -> dict[str, Any]:
        """Wait until the simulator's newest connection is open and holds the union again."""

        def holds(records: list[dict[str, Any]]) -> bool:
            newest = records[-1]
            topics = {channel: set(symbols) for channel, symbols in newest["topics"].items()}
            return not newest["closed_ns"] and topics == UNION

        records = await until(self.records, holds, seconds, "the union upstream")
        return records[-1]

    async def never_two(self) -> None:
        """Each connection had ended, as the simulator saw it, before the next one began."""
        records = await self.records()
        for earlier, later in pairwise(records):
            assert 0 < earlier["closed_ns"] <= later["opened_ns"], (earlier, later)
        assert self.handler.upstream.peak_open_connections == 1

    def nobody_left(self) -> None:
        for client in self.consumers:
            assert client.closed is None
            assert not [c for c in client.controls if c["T"] == "error"]


async def flowing(consumers: Sequence[TestConsumer], seconds: float) -> None:
    before = [client.messages for client in consumers]
    await eventually(
        lambda: all(c.messages > b for c, b in zip(consumers, before, strict=True)),
        seconds,
        "data at every consumer",
    )


async def until(
    look: Callable[[], Any], holds: Callable[[Any], bool], seconds: float, what: str
) -> Any:
    """Look, over the network, until what is seen holds."""
    deadline = time.monotonic() + seconds
    while not holds(seen := await look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}: {seen}"
    return seen


@contextlib.asynccontextmanager
async def scene(alpaca: SimulatorProcess, app: App) -> AsyncIterator[Scene]:
    first = len((await alpaca.ledger())["connections"]) + 1
    url = app.addresses()[0] + f"/v2/{FEED}"
    async with (
        consumer(url, "json") as one,
        consumer(url, "msgpack") as two,
        consumer(url, "json") as three,
    ):
        # Two stocks each: one at a time may be halted.
        await one.subscribe(trades=["AAPL"], quotes=["AAPL", "MSFT"])
        await two.subscribe(trades=["MSFT"], quotes=["AAPL", "MSFT"])
        await three.subscribe(trades=["AAPL", "MSFT"])
        made = Scene(alpaca, app, app.handlers[FEED], (one, two, three), first)
        await made.flowing(20)
        yield made


@contextlib.asynccontextmanager
async def proxied(alpaca: SimulatorProcess, **settings: Any) -> AsyncIterator[Scene]:
    async with running_app(alpaca.streams, **settings) as app, scene(alpaca, app) as made:
        yield made


# Every kind


def reconnecting(settings: Settings) -> float:
    """A lost connection is noticed at once: one wait, then a handshake."""
    return settings.backoff_max_seconds + 1


def pinging(settings: Settings) -> float:
    """Silence is noticed by a missing pong, and the close isn't answered either."""
    return (
        settings.ping_interval_seconds
        + settings.pong_timeout_seconds
        + SourceTimings().close_seconds
        + reconnecting(settings)
    )


def timing_out(settings: Settings) -> float:
    """The handshake is given up, then begun again."""
    return settings.handshake_timeout_seconds + 2 * reconnecting(settings)


def unacknowledged(settings: Settings) -> float:
    return settings.acknowledgement_timeout_seconds + 2 * reconnecting(settings)


def twice(settings: Settings) -> float:
    """The first attempt after the end fails at once, and so may the second."""
    return 3 * reconnecting(settings)


def slot(settings: Settings) -> float:
    return 2 * settings.slot_seconds + reconnecting(settings)


@dataclass(frozen=True)
class Strike:
    """A fault, what sets it off, and what is to follow."""

    kind: str
    bound: Callable[[Settings], float]
    interrupts: bool = True
    set_off: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    bad_messages: int = 0

    def __str__(self) -> str:
        return "-".join([self.kind, *(f"{k}={v}" for k, v in self.details.items())])


STRIKES = (
    Strike("drop", reconnecting),
    Strike("drop", slot, details={"hold_slot": True}),
    Strike("reset", reconnecting),
    Strike("close", reconnecting),
    Strike("close", reconnecting, details={"code": 1000}),
    Strike("close", reconnecting, details={"code": 1011}),
    Strike("mute", lambda s: 2, interrupts=False, details={"seconds": 1}),
    Strike("stall", pinging, details={"seconds": 3}),
    Strike("garbage", lambda s: 1, interrupts=False, bad_messages=1),
    Strike("error", reconnecting, details={"code": 500}),
    Strike("error", reconnecting, details={"code": 407}),
    Strike("half_message", reconnecting),
    Strike("refuse_upgrade", twice, set_off="drop"),
    Strike("refuse_upgrade", twice, set_off="drop", details={"code": 502, "times": 2}),
    Strike("refuse_upgrade", twice, set_off="drop", details={"code": 403}),
    Strike("refuse_upgrade", twice, set_off="drop", details={"code": 404}),
    Strike("refuse_auth", twice, set_off="drop", details={"code": 500}),
    Strike(
        "delay_acks", lambda s: 2, interrupts=False, set_off="subscribe", details={"seconds": 0.7}
    ),
    Strike("delay_acks", unacknowledged, set_off="subscribe", details={"seconds": 20}),
    Strike("no_acks", unacknowledged, set_off="subscribe"),
    Strike("no_greeting", timing_out, set_off="drop"),
    Strike("end_at_auth", twice, set_off="drop"),
    Strike("end_at_subscribe", twice, set_off="drop"),
    Strike("end_at_subscribe", reconnecting, set_off="subscribe"),
    Strike("flap", twice, set_off="drop", details={"times": 2}),
)


def test_every_fault_is_tried() -> None:
    """A new fault of the simulator needs a row here."""
    assert {strike.kind for strike in STRIKES} == {*NOW, *ARMED}


@pytest.mark.parametrize("strike", STRIKES, ids=str)
async def test_the_proxy_is_back(alpaca: SimulatorProcess, strike: Strike) -> None:
    """After this fault: data within bounds, one connection, the union, and an honest count."""
    async with proxied(alpaca) as scene:
        handler, settings = scene.handler, scene.app.settings
        bound = MARGIN * strike.bound(settings)
        opened = handler.upstream.connections
        expected = UNION
        began = time.monotonic()
        await alpaca.fault(strike.kind, feed=FEED, **strike.details)
        if strike.set_off == "drop":
            await alpaca.fault("drop", feed=FEED)
        elif strike.set_off == "subscribe":
            # The consumer is answered within its own patience, whatever upstream does.
            await scene.consumers[0].subscribe(trades=["MSFT"], bars=["AAPL"])
            expected = UNION | {"bars": {"AAPL"}}
        if strike.interrupts:
            await eventually(lambda: handler.upstream.interruptions, bound, "the end is noticed")
            await eventually(
                lambda: (
                    handler.upstream.state is UpstreamState.CONNECTED
                    and handler.gaps.current is None
                ),
                bound,
                "everything confirmed again",
            )
        await scene.flowing(bound)
        assert time.monotonic() - began < bound + 5

        records = await until(
            scene.records,
            lambda seen: {c: set(s) for c, s in seen[-1]["topics"].items()} == expected,
            bound,
            "the union upstream",
        )
        assert records[-1]["closed_ns"] == 0
        await scene.never_two()
        scene.nobody_left()
        assert handler.bad_messages == strike.bad_messages

        connections = [c for c in scene.app.outlet.consumers() if c.consumer is not None]
        if strike.interrupts:
            assert handler.upstream.connections > opened
            assert handler.upstream.interruptions >= 1
            assert handler.gaps.count == 1
            (gap,) = handler.gaps.recent()
            assert gap.to_ns is not None and gap.from_ns < gap.to_ns
            assert len(gap.topics) >= 4
            assert gap.why
        else:
            assert handler.upstream.connections == opened
            assert handler.upstream.interruptions == 0
            # What couldn't be read is missing, too.
            assert handler.gaps.count == (strike.bad_messages > 0)
        for connection in connections:
            missed = handler.gaps.count - connection.consumer.gaps_before
            assert missed == int(strike.interrupts or strike.bad_messages > 0)


async def test_a_gap_begins_with_the_last_message(alpaca: SimulatorProcess) -> None:
    """The gap of a stalled connection reaches back to before the stall, not to its discovery."""
    async with proxied(alpaca) as scene:
        await alpaca.fault("stall", feed=FEED, seconds=3)
        stalled_ns = time.time_ns()
        await eventually(lambda: scene.handler.gaps.count, 20, "the stall is noticed")
        await eventually(lambda: scene.handler.gaps.current is None, 30, "it is over")
        (gap,) = scene.handler.gaps.recent()
        assert gap.from_ns < stalled_ns + 20_000_000


async def test_a_dead_peer_is_cut_off(alpaca: SimulatorProcess) -> None:
    """An upstream that stays silent for good, even to our close frame, is left and replaced."""
    with simulator("--rate", "200", "--symbols", "5", "--slot-seconds", "1") as other:
        async with proxied(other) as scene:
            await other.fault("stall", feed=FEED, seconds=600)
            await eventually(
                lambda: scene.handler.upstream.interruptions, 60, "the connection is given up"
            )
            assert scene.handler.upstream.open_connections == 0
            assert "pong" in scene.handler.gaps.recent()[0].why
            scene.nobody_left()
            # For the peer the dead connection still holds the slot: no more than asking is done.
            await eventually(
                lambda: scene.handler.upstream.state is UpstreamState.SLOT_TAKEN, 60, "406"
            )
            assert scene.handler.upstream.peak_open_connections == 1


# Silence


class ClosedHours:
    """A market that never opens."""

    def expects_data(self, feed: object, now_ns: int) -> bool:
        return False


IMPATIENT = {"silence_shortest_seconds": 1.0, "silence_longest_seconds": 1.5}


async def test_a_mute_connection_is_replaced_while_the_market_is_open(
    alpaca: SimulatorProcess,
) -> None:
    """Pongs alone are no sign of life when data is due."""
    async with proxied(alpaca, **IMPATIENT) as scene:
        await alpaca.fault("mute", feed=FEED, seconds=3000)
        await eventually(lambda: scene.handler.gaps.count, 20, "the silence is noticed")
        assert "mute" in scene.handler.gaps.recent()[-1].why
        await scene.flowing(MARGIN * reconnecting(scene.app.settings))
        await scene.restored(10)
        await scene.never_two()
        scene.nobody_left()


async def test_silence_is_normal_while_the_market_is_closed(alpaca: SimulatorProcess) -> None:
    """Nothing is concluded from silence out of hours: the connection that comes back is the same."""
    settings = Settings.model_validate(QUICK | IMPATIENT | {"upstream_url": alpaca.streams})
    app = App(settings, hours=ClosedHours())
    await app.start()
    try:
        async with scene(alpaca, app) as made:
            await alpaca.fault("mute", feed=FEED, seconds=2 * settings.silence_longest_seconds)
            (before,) = await made.records()
            await until(
                made.records,
                lambda seen: seen[-1]["messages"] > before["messages"] + 20,
                20,
                "the end of the silence",
            )
            await made.flowing(20)
            assert len(await made.records()) == 1
            assert made.handler.gaps.count == 0
    finally:
        await app.stop()


# Error codes


async def time_passes(app: App, alpaca: SimulatorProcess, seconds: float) -> None:
    """Another feed of the same proxy brings as many messages as take this long to come."""
    async with consumer(app.addresses()[0] + "/v2/test") as other:
        await other.subscribe(trades=["*"], quotes=["*"])
        wanted = int(200 * seconds)
        await eventually(lambda: other.messages > wanted, 10 + 5 * seconds, "time passes")


async def refused_for_good(scene: Scene, code: int, opened: int) -> None:
    """The feed stays refused, without attempts, and each consumer has heard why."""
    upstream = scene.handler.upstream
    await eventually(lambda: upstream.state is UpstreamState.REFUSED, 20, "refused")
    attempts = upstream.attempts
    for client in scene.consumers:
        error = await client.control("error")
        assert (error["code"], error["msg"]) == (code, ERROR_CODES[code].text)
        await eventually(lambda client=client: client.closed is not None, 10, "the end")
    await time_passes(scene.app, scene.alpaca, 3 * scene.app.settings.backoff_max_seconds)
    assert upstream.attempts == attempts
    assert upstream.open_connections == 0
    assert upstream.error is ERROR_CODES[code]
    assert len(await scene.records()) == opened

    url = scene.app.addresses()[0] + f"/v2/{FEED}"
    async with consumer(url, authenticate=False) as late:
        await late.say(action="auth", key="any", secret="any")
        assert (await late.control("error"))["code"] == code


@pytest.mark.parametrize("code", ERROR_CODES)
async def test_error_in_answer_to_auth(alpaca: SimulatorProcess, code: int) -> None:
    """Terminal codes end all attempts and reach the consumers; all others are tried again."""
    async with proxied(alpaca) as scene:
        upstream, settings = scene.handler.upstream, scene.app.settings
        await alpaca.fault("refuse_auth", feed=FEED, code=code)
        await alpaca.fault("drop", feed=FEED)
        if ERROR_CODES[code].verdict is Verdict.GIVE_UP:
            await refused_for_good(scene, code, opened=2)
            return
        await eventually(
            lambda: upstream.connections == 3 and upstream.state is UpstreamState.CONNECTED,
            MARGIN * (slot if code == 406 else twice)(settings),
            "connected again",
        )
        await scene.flowing(10)
        await scene.restored(10)
        await scene.never_two()
        scene.nobody_left()
        _, refused, _ = await scene.records()
        assert refused["errors"] == [code]
        assert scene.handler.gaps.count == 1


@pytest.mark.parametrize("code", ERROR_CODES)
async def test_error_out_of_the_blue(alpaca: SimulatorProcess, code: int) -> None:
    """In mid-stream, codes about requests change nothing; the others end the connection."""
    async with proxied(alpaca) as scene:
        verdict = ERROR_CODES[code].verdict
        upstream = scene.handler.upstream
        await alpaca.fault("error", feed=FEED, code=code)
        if verdict is Verdict.GIVE_UP:
            await refused_for_good(scene, code, opened=1)
            return
        if verdict is Verdict.IGNORE:
            await eventually(lambda: upstream.surprises, 10, "the error is noted")
        else:
            await eventually(lambda: scene.handler.gaps.count, 10, "the error ends the connection")
            await eventually(lambda: scene.handler.gaps.current is None, 30, "back again")
        await scene.flowing(10)
        await scene.restored(10)
        await scene.never_two()
        scene.nobody_left()
        assert scene.handler.gaps.count == (0 if verdict is Verdict.IGNORE else 1)


async def test_unknown_code_is_tried_again(alpaca: SimulatorProcess) -> None:
    """A code that this version doesn't know costs a reconnect, nothing else."""
    async with proxied(alpaca) as scene:
        # MessagePack of [{"T": "error", "code": 999, "msg": "new"}]
        payload = b"\x91\x83\xa1T\xa5error\xa4code\xcd\x03\xe7\xa3msg\xa3new"
        await alpaca.order("/frames", feed=FEED, payload_hex=payload.hex())
        await eventually(lambda: scene.handler.gaps.count, 10, "the error ends the connection")
        assert "999" in scene.handler.gaps.recent()[0].why
        await scene.flowing(10)
        await scene.restored(10)
        await scene.never_two()
        scene.nobody_left()


# The slot


async def test_a_held_slot_is_waited_out(alpaca: SimulatorProcess) -> None:
    """While Alpaca counts a dead connection, few attempts are made, and one succeeds in time."""
    async with proxied(alpaca) as scene:
        slot_seconds = scene.app.settings.slot_seconds
        await alpaca.fault("drop", feed=FEED, hold_slot=True)
        await eventually(
            lambda: scene.handler.upstream.state is UpstreamState.SLOT_TAKEN, 20, "406"
        )
        await eventually(lambda: scene.handler.gaps.current is None, 10 * slot_seconds, "the slot")
        await scene.flowing(10)
        await scene.never_two()
        scene.nobody_left()
        first, *refused, last = await scene.records()
        waited = (last["authenticated_ns"] - first["closed_ns"]) / 1e9
        assert 0.9 * slot_seconds < waited < 2 * slot_seconds + 3
        assert all(record["errors"] == [406] for record in refused)
        assert all(record["ended"] == "clean" for record in refused)
        assert 2 <= len(refused) <= 4


@pytest.mark.parametrize(("retry_after", "times"), [(1, 1), (0, 3)])
async def test_too_many_requests_is_waited_out(
    alpaca: SimulatorProcess, retry_after: int, times: int
) -> None:
    """HTTP 429 is treated as a held slot, and Retry-After is obeyed."""
    async with proxied(alpaca) as scene:
        await alpaca.fault("refuse_upgrade", feed=FEED, code=429, seconds=retry_after, times=times)
        await alpaca.fault("drop", feed=FEED)
        upstream, slot_seconds = scene.handler.upstream, scene.app.settings.slot_seconds
        await eventually(lambda: upstream.state is UpstreamState.SLOT_TAKEN, 20, "429")
        await eventually(lambda: scene.handler.gaps.current is None, 10 * slot_seconds, "the slot")
        await scene.flowing(10)
        await scene.never_two()
        scene.nobody_left()
        first, last = await scene.records()
        waited = (last["opened_ns"] - first["closed_ns"]) / 1e9
        # Without advice: a 1/18, a 1/6 and a 1/3 of the window.
        assert waited >= (retry_after or slot_seconds * 10 / 18)
        assert upstream.attempts == 2 + times


async def test_flapping_is_not_hammered(alpaca: SimulatorProcess) -> None:
    """An upstream that greets and closes, for ever, is asked ever more slowly."""
    async with proxied(alpaca) as scene:
        settings = scene.app.settings
        await alpaca.fault("flap", feed=FEED, times=50)
        await alpaca.fault("drop", feed=FEED)
        records = await until(scene.records, lambda seen: len(seen) >= 11, 60, "ten attempts")
        opened = [record["opened_ns"] / 1e9 for record in records[1:]]
        pauses = [later - earlier for earlier, later in pairwise(opened)]
        # Half of each delay is certain; from the fifth on it is the longest.
        assert all(pause >= settings.backoff_max_seconds / 2 for pause in pauses[4:]), pauses
        assert scene.handler.gaps.count == 1
        scene.nobody_left()
        await scene.never_two()


# The whole process


async def served(address: str) -> None:
    """A consumer of this proxy gets data."""
    async with consumer(f"{address}/v2/{FEED}") as client:
        await client.subscribe(trades=["*"])
        await eventually(lambda: client.messages, 60, "data")


async def test_a_killed_proxy_leaves_its_slot_taken(
    alpaca: SimulatorProcess, tmp_path: Path
) -> None:
    """After kill -9 the next proxy meets 406, waits the window out, and is through."""
    slot_setting = {"STREAM_PROXY_SLOT_SECONDS": "3"}
    before = len(alpaca.connections(FEED))
    with proxy_process(alpaca.streams, tmp_path, "--feeds", FEED, **slot_setting) as first:
        await served(first.addresses[0])
        first.process.kill()
        await asyncio.to_thread(first.process.wait, 20)
    with proxy_process(alpaca.streams, tmp_path, "--feeds", FEED, **slot_setting) as second:
        await served(second.addresses[0])
    killed, *refused, last = alpaca.connections(FEED)[before:]
    assert killed["ended"] == "unclean"
    assert refused and all(record["errors"] == [406] for record in refused)
    assert last["messages"] > 0 and last["errors"] == []
    assert all(record["ended"] == "clean" for record in [*refused, last])


async def test_a_terminated_proxy_frees_its_slot(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    """After SIGTERM the connection ends with a close frame, and the next proxy is in at once."""
    before = len(alpaca.connections(FEED))
    for _ in range(2):
        with proxy_process(alpaca.streams, tmp_path, "--feeds", FEED) as proxy:
            await served(proxy.addresses[0])
        assert proxy.process.returncode == 0
    first, second = alpaca.connections(FEED)[before:]
    assert first["ended"] == second["ended"] == "clean"
    assert second["errors"] == []
