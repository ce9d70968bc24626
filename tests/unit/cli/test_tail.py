"""`tail`: topics are understood, messages come through whole, errors come with their cure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from harness.proxies import running_app
from harness.simulated import simulator
from stream_proxy.cli.subscriber import StreamFailed, credentials_for, stream_address
from stream_proxy.cli.tail import guessed_feed, parse_topics
from stream_proxy.cli.tail_view import TailTable, describe, line
from stream_proxy.config.schema import Settings
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet

if TYPE_CHECKING:
    from conftest import Command


def test_a_topic_is_a_channel_and_symbols():
    wanted = parse_topics(["quotes:AAPL,MSFT", "trades:*", "bars:SPY"], FEEDS["iex"])
    assert wanted == SubscriptionSet({"quotes": ["AAPL", "MSFT"], "trades": ["*"], "bars": ["SPY"]})


@pytest.mark.parametrize(
    ("feed", "channels"),
    [("iex", ["trades", "quotes"]), ("indicative", ["trades", "quotes"]), ("news", ["news"])],
)
def test_a_bare_symbol_means_the_usual_channels(feed: str, channels: list[str]):
    assert parse_topics(["X"], FEEDS[feed]) == SubscriptionSet({c: ["X"] for c in channels})


def test_a_mistyped_channel_is_answered_with_the_right_one():
    with pytest.raises(StreamFailed, match="Did you mean quotes"):
        parse_topics(["quote:AAPL"], FEEDS["iex"])


def test_a_topic_without_symbol_is_refused():
    with pytest.raises(StreamFailed, match="names no symbol"):
        parse_topics(["quotes:"], FEEDS["iex"])


@pytest.mark.parametrize(
    ("topics", "feed"),
    [
        (["AAPL"], "iex"),
        (["orderbooks:BTC/USD"], "crypto-us"),
        (["AAPL270115C00270000"], "indicative"),
        (["news:*"], "news"),
        (["FAKEPACA"], "test"),
    ],
)
def test_the_feed_follows_from_the_symbols(topics: list[str], feed: str):
    assert guessed_feed(topics) == feed


def test_an_address_with_a_path_is_taken_as_it_is():
    url = "wss://stream.data.alpaca.markets/v2/sip"
    assert stream_address(url, "iex") == (url, FEEDS["sip"])
    assert stream_address("ws://127.0.0.1:8099", "news")[0] == "ws://127.0.0.1:8099/v1beta1/news"


def test_alpacas_keys_and_the_proxys_tokens_go_where_they_belong():
    settings = Settings.model_validate(
        {
            "key": "real", "secret": "real-secret",
            "access_tokens": [{"name": "n", "key": "t", "secret": "0123456789abcdef"}],
        }
    )  # fmt: skip
    assert credentials_for("wss://stream.data.alpaca.markets/v2/iex", settings).key == "real"
    assert credentials_for("ws://127.0.0.1:8099/v2/iex", settings).key == "t"
    assert credentials_for("ws://x.notalpaca.markets/v2/iex", Settings()).key == "any"
    with pytest.raises(StreamFailed, match="ALPACA_KEY"):
        credentials_for("wss://stream.data.alpaca.markets/v2/iex", Settings())


def test_messages_are_described_in_words():
    quote = {
        "T": "q",
        "S": "AAPL",
        "bp": 1.5,
        "bs": 2,
        "ap": 1.6,
        "as": 3,
        "t": "2026-01-02T03:04:05Z",
    }
    expected = "2026-01-02T03:04:05Z  quotes:AAPL  1.5 × 2  |  1.6 × 3"  # noqa: RUF001
    assert line(FEEDS["iex"], quote) == expected
    assert "whole book" in describe({"T": "o", "r": True, "b": [1], "a": []})
    assert describe({"T": "zz", "S": "A", "future": 1}) == "future=1"


def test_the_table_keeps_one_row_a_topic():
    table = TailTable(FEEDS["iex"], "somewhere")
    for price in range(5):
        table.note({"T": "t", "S": "AAPL", "p": price, "s": 1})
    table.note({"T": "t", "S": "[red]", "p": 1, "s": 1})
    assert table.messages == 6
    assert table.__rich__().row_count == 2


async def test_json_lines_come_through_proxy_and_simulator_with_nanoseconds(command: Command):
    with simulator("--rate", "300") as upstream:
        async with running_app(upstream.streams) as app:
            ran = await command(
                "tail", "AAPL", "bars:*", "--json", "--count", "5", "--url", app.addresses()[0]
            )
    assert ran.status == 0, ran.err
    messages = [json.loads(text) for text in ran.out.splitlines()]
    assert len(messages) == 5
    assert {message["S"] for message in messages} == {"AAPL"}
    assert any(re.search(r"\.\d{7,9}Z$", message["t"]) for message in messages)


async def test_options_are_read_as_msgpack_and_shown_as_json(command: Command):
    with simulator("--rate", "300") as upstream:
        ran = await command(
            "tail", "trades:*", "--feed", "indicative", "--json", "--count", "2",
            "--url", upstream.streams,
        )  # fmt: skip
    assert ran.status == 0, ran.err
    messages = [json.loads(text) for text in ran.out.splitlines()]
    assert [message["T"] for message in messages] == ["t", "t"]
    assert any(re.search(r"\.\d{7,9}Z$", message["t"]) for message in messages)


async def test_an_error_is_shown_with_its_cure(command: Command):
    with simulator("--account", "a:right-secret") as upstream:
        wrong = {"ALPACA_KEY": "a", "ALPACA_SECRET": "wrong-secret"}
        ran = await command("tail", "AAPL", "--url", upstream.streams, **wrong)
        assert (ran.status, ran.out) == (1, "")
        assert "402 auth failed" in ran.err and "valid key pair" in ran.err
        assert "wrong-secret" not in ran.err
        right = {"ALPACA_KEY": "a", "ALPACA_SECRET": "right-secret"}
        ran = await command(
            "tail", "quotes:*", "--feed", "indicative", "--url", upstream.streams, **right
        )
        assert "413" in ran.err and "Name the option contracts" in ran.err


async def test_nobody_there_is_a_sentence(command: Command, free_port: int):
    ran = await command("tail", "AAPL", "--url", f"ws://127.0.0.1:{free_port}")
    assert ran.status == 1
    assert "Is it running" in ran.err


async def test_silence_is_explained(command: Command):
    with simulator("--hold") as upstream:
        ran = await command("tail", "AAPL", "--duration", "0.5", "--url", upstream.streams)
    assert ran.status == 0
    assert "No message came" in ran.err
