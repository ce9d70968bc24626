"""Faults of what Alpaca says, and when: U5, U17 to U31, U33."""

from __future__ import annotations

from collections.abc import Callable

from faults.alpaca import Line, Step
from faults.frames import BINARY, server_frame
from faults.market import Tick
from faults.strike import Strike, fault
from stream_proxy.model.topics import SubscriptionSet

_HOUR_SECONDS = 3600.0


@fault("U5", "no data, but pings are answered")
def mute(strike: Strike) -> None:
    line = strike.line()
    if line is not None:
        strike.fired()
        # For ever: a pause that ends before anybody's patience does can't be told from quiet.
        line.fall_mute()


@fault("U17", "no welcome")
def no_welcome(strike: Strike) -> None:
    strike.at_next("welcome", lambda line: None)


@fault("U17", "two welcomes")
def two_welcomes(strike: Strike) -> None:
    def twice(line: Line) -> None:
        line.welcome()
        line.welcome()

    strike.at_next("welcome", twice)


@fault("U18", "auth refused for now: 401, 403, 404")
def refused_for_now(strike: Strike) -> None:
    code = strike.random.choice((401, 403, 404))

    def refuse(line: Line) -> None:
        line.refuse(code)
        if code == 403:
            line.authenticate()

    strike.at_next("auth", refuse, strike.random.randint(1, 2))


@fault("U18", "402: the keys are refused for good", weight=0.7)
def refused_for_good(strike: Strike) -> None:
    strike.alpaca.keys_valid = False
    strike.at_next("auth", lambda line: line.authenticate(False))


@fault("U19", "406: the slot of the dead connection is still taken", steps_share=0.3)
def slot_lives_on(strike: Strike) -> None:
    line = strike.alpaca.line
    if line is not None and line.authenticated:
        line.hold_seconds = strike.random.uniform(1.0, 95.0)
        strike.fired(line.hold_seconds)
        line.drop()


@fault("U20", "406: another program has taken the slot")
def foreign(strike: Strike) -> None:
    alpaca, seconds = strike.alpaca, strike.random.uniform(30.0, 240.0)
    strike.fired(seconds)
    strike.make_it_reconnect()
    alpaca.slot_free_at = strike.now + seconds
    strike.world.expect_patience(strike.name, seconds, most=5 + int(seconds / 25))


@fault("U21", "405: no room for more symbols")
def no_room(strike: Strike) -> None:
    line = strike.alpaca.line
    if line is not None and line.topics:
        seconds = strike.random.uniform(5.0, 60.0)
        strike.fired(seconds)
        strike.alpaca.symbol_limit = len(line.topics)
        strike.world.loop.call_later(seconds, setattr, strike.alpaca, "symbol_limit", 0)


@fault("U21", "408 or 409: not in the plan", weight=0.7)
def not_in_the_plan(strike: Strike) -> None:
    code = strike.random.choice((408, 409))
    strike.at_next("auth", lambda line: line.refuse(code))


@fault("U22", "407: we read too slowly", steps_share=0.2)
def slow_client(strike: Strike) -> None:
    if (line := strike.line()) is not None and line.upgraded:
        strike.fired()
        line.refuse(407)


@fault("U23", "no acknowledgement")
def no_ack(strike: Strike) -> None:
    strike.at_next("ack", lambda line: None)


@fault("U23", "an acknowledgement seconds late")
def late_ack(strike: Strike) -> None:
    seconds = strike.random.uniform(0.5, 9.0)

    def later(line: Line) -> None:
        # Until then it sends what it sent before.
        topics, line.topics = line.topics, line.topics_before

        def apply() -> None:
            line.topics = topics
            line.acknowledge()

        line.alpaca.loop.call_later(seconds, apply)

    strike.at_next("ack", later)


@fault("U23", "an acknowledgement of another set, or two of them", weight=1.5)
def wrong_ack(strike: Strike) -> None:
    way = strike.random.randrange(3)

    def wrong(line: Line) -> None:
        if way == 0:
            line.acknowledge()
            line.acknowledge()
        elif way == 1:
            # One topic was forgotten, in truth as well.
            left_out = SubscriptionSet.of([next(iter(line.topics))])
            line.topics = line.topics - left_out
            line.acknowledge()
        else:
            line.acknowledge(line.topics | SubscriptionSet({"quotes": ["NEVER"]}))

    strike.at_next("ack", wrong)


@fault("U24", "400 to a valid subscribe")
def invalid_syntax(strike: Strike) -> None:
    strike.at_next("subscribe", lambda line: line.refuse(400))


@fault("U24", "an error out of the blue", steps_share=0.2)
def unknown_error(strike: Strike) -> None:
    if (line := strike.line()) is not None and line.upgraded:
        strike.fired()
        line.refuse(strike.random.choice((400, 403, 405, 410, 413, 499, 500, 599)))


def _instead(strike: Strike, say: Callable[[Line, list[Tick]], None]) -> None:
    strike.in_wait("data", lambda line: say(line, line.sending))


@fault("U25", "messages that can't be read, between good ones", weight=2.0)
def garbage(strike: Strike) -> None:
    random = strike.random
    bombs = (
        b'[{"T":"t","S":"AAPL","i":',
        b"\x93\x81\xa1T\xa1t\x81",
        b"\x91\x82\xa1T\x07\xa1S\xa4AAPL",
        b'[{"T":7,"S":["AAPL"]}]',
        b'{"T":"t"}',
        b"[" * 3000,
        b"\x91" * 3000,
        b"\xdd\x00\x00\x40\x00" + b"\xc0" * 0x4000,
        random.randbytes(200),
        b"",
    )

    def say(line: Line, ticks: list[Tick]) -> None:
        strike.world.sent_unreadable = True
        line.put(server_frame(BINARY, random.choice(bombs)))
        line.send(ticks)

    _instead(strike, say)


@fault("U25", "a damaged item among good ones")
def damaged(strike: Strike) -> None:
    def say(line: Line, ticks: list[Tick]) -> None:
        market, codec = line.alpaca.market, line.alpaca.codec
        assert market is not None
        good = [market.item(tick) for tick in ticks]
        bad = codec.encode({"T": ["t"], "S": 5})
        payload = codec.join([*good[:1], bad, *good[1:]])
        strike.world.sent_unreadable = True
        line.say(payload, [tick.serial for tick in ticks])

    _instead(strike, say)


@fault("U26", "unknown types, missing, null, and new fields", weight=2.0)
def odd_fields(strike: Strike) -> None:
    random = strike.random

    def say(line: Line, ticks: list[Tick]) -> None:
        market, codec = line.alpaca.market, line.alpaca.codec
        assert market is not None
        changes: tuple[dict[str, object], ...] = (
            {"p": None, "ap": None},
            {"p": "100.25", "s": "100"},
            {"s": [1, 2], "c": None},
            {"brand_new": {"a": [1, 2.5, None, "x"]}},
        )
        items = [codec.encode(market.fields(tick) | random.choice(changes)) for tick in ticks]
        items.insert(
            random.randint(0, len(items)),
            codec.encode({"T": "zz", "S": "AAPL", "what": "is this"}),
        )
        line.say(codec.join(items), [tick.serial for tick in ticks])

    _instead(strike, say)


@fault("U27", "the same again, the wrong way round, at wrong times", weight=1.5)
def odd_order(strike: Strike) -> None:
    random = strike.random

    def say(line: Line, ticks: list[Tick]) -> None:
        match random.randrange(3):
            case 0:
                line.send(ticks)
                line.send(ticks)
            case 1:
                line.send(ticks[::-1])
            case _:
                strike.world.odd_times = True
                line.send(ticks, random.choice((-_HOUR_SECONDS, _HOUR_SECONDS, 1e6)))

    _instead(strike, say)


@fault("U29", "fifty times the rate, then silence")
def burst(strike: Strike) -> None:
    market = strike.world.market
    count = max(1, int(market.rate * 50 / 10))
    strike.fired(5.0)
    for tenth in range(50):
        strike.world.loop.call_later(tenth / 10, market.happen, count)


def _drop_at(step: Step) -> Callable[[Strike], None]:
    def commit(strike: Strike) -> None:
        held = strike.random.choice((0.0, 0.0, 20.0))

        def drop(line: Line) -> None:
            line.hold_seconds = held
            line.drop()

        strike.at_next(step, drop)

    return commit


@fault("U30", "the connection ends during back-filling", weight=0.7)
def reset_in_back_fill(strike: Strike) -> None:
    strike.in_wait("history", lambda line: line.drop())
    strike.make_it_reconnect()


@fault("U33", "REST fails, is slow, or lags behind the stream", weight=2.0)
def rest_fails(strike: Strike) -> None:
    history, seconds = strike.world.history, strike.random.uniform(1.0, 60.0)
    strike.fired(seconds)
    match strike.random.randrange(3):
        case 0:
            history.fails_until = strike.now + seconds
        case 1:
            history.slow_until = strike.now + seconds
        case _:
            history.lags_until = strike.now + seconds
            history.lag_seconds = strike.random.uniform(0.5, 20.0)
    strike.make_it_reconnect()


for _step in ("upgrade", "welcome", "auth", "subscribe", "ack"):
    fault("U30", f"reset at {_step}", weight=0.5)(_drop_at(_step))  # type: ignore[arg-type]


@fault("U31", "let in, then closed, again and again")
def flap(strike: Strike) -> None:
    def close(line: Line) -> None:
        line.authenticate()
        line.finish(1001)

    strike.at_next("auth", close, strike.random.randint(3, 12))
    strike.world.expect_patience(strike.name, 60.0, most=14)
