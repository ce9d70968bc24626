"""The upstream session: the table of states, and every answer to every error."""

from __future__ import annotations

from typing import Any

import pytest

from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.wire.alpaca.codec import JSON
from stream_proxy.wire.alpaca.codes import ERROR_CODES, Verdict
from stream_proxy.wire.alpaca.requests import Credentials
from stream_proxy.wire.alpaca.upstream import (
    Acknowledged,
    Failed,
    Ready,
    Refused,
    State,
    Surprise,
    UpstreamSession,
)

CONNECTED = {"T": "success", "msg": "connected"}
AUTHENTICATED = {"T": "success", "msg": "authenticated"}
TOPICS = SubscriptionSet({"trades": ["AAPL"]})


def session(*messages: dict[str, Any]) -> UpstreamSession:
    made = UpstreamSession(FEEDS["iex"], JSON, Credentials("key", "secret"))
    for message in messages:
        made.receive(message)
    return made


def test_the_handshake() -> None:
    """Greeting, auth, ready: and the credentials go out once, after the greeting."""
    made = session()
    assert made.frames_to_send() == []
    assert made.receive(CONNECTED) is None
    assert made.frames_to_send() == [b'{"action":"auth","key":"key","secret":"secret"}']
    assert made.receive(AUTHENTICATED) == Ready()
    assert made.state is State.READY
    assert made.frames_to_send() == []


def test_header_authentication_needs_no_message() -> None:
    """``authenticated`` may come unasked."""
    assert session().receive(AUTHENTICATED) == Ready()


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ((CONNECTED,), CONNECTED),
        ((CONNECTED, AUTHENTICATED), CONNECTED),
        ((CONNECTED, AUTHENTICATED), AUTHENTICATED),
        ((), {"T": "success", "msg": "something new"}),
        ((), {"T": "subscription", "trades": []}),
        ((), {"T": "success"}),
        ((), {"T": "error", "code": "402"}),
        ((), {}),
        ((CONNECTED, AUTHENTICATED), {"T": "error", "code": 405, "msg": "symbol limit exceeded"}),
    ],
)
def test_what_does_not_belong_is_a_surprise(before: tuple[Any, ...], message: Any) -> None:
    """Twice, too early, of another form: counted by the caller, and nothing changes."""
    made = session(*before)
    state = made.state
    assert isinstance(made.receive(message), Surprise)
    assert made.state is state


def test_one_request_at_a_time() -> None:
    """The next request has to wait for the answer to this one."""
    made = session(CONNECTED, AUTHENTICATED)
    made.frames_to_send()
    made.ask(True, TOPICS)
    assert made.frames_to_send() == [b'{"action":"subscribe","trades":["AAPL"]}']
    with pytest.raises(RuntimeError):
        made.ask(False, TOPICS)
    acknowledged = made.receive({"T": "subscription", "trades": ["AAPL"], "quotes": None})
    assert acknowledged == Acknowledged(TOPICS)
    made.ask(False, TOPICS)
    assert made.frames_to_send() == [b'{"action":"unsubscribe","trades":["AAPL"]}']


@pytest.mark.parametrize("code", ERROR_CODES)
@pytest.mark.parametrize("asked", [True, False])
def test_errors_on_a_ready_connection(code: int, asked: bool) -> None:
    """A refused request keeps the connection; anything worse ends it, with its verdict."""
    made = session(CONNECTED, AUTHENTICATED)
    if asked:
        made.ask(True, TOPICS)
    event = made.receive({"T": "error", "code": code, "msg": "whatever"})
    row = ERROR_CODES[code]
    if asked and (row.verdict is Verdict.IGNORE or code == 500):
        assert event == Refused(row)
        assert made.asked is None
    elif row.verdict is not Verdict.IGNORE:
        assert event == Failed(row)
    else:
        assert isinstance(event, Surprise)


@pytest.mark.parametrize("code", ERROR_CODES)
def test_errors_during_authentication_end_it(code: int) -> None:
    """Whatever goes wrong before ready, the connection is of no use."""
    made = session(CONNECTED)
    assert made.receive({"T": "error", "code": code, "msg": "x"}) == Failed(ERROR_CODES[code])


def test_an_unknown_answer_to_a_request_concerns_the_request() -> None:
    """A reconnect would ask the same again and be answered the same, at everybody's cost."""
    made = session(CONNECTED, AUTHENTICATED)
    made.ask(True, TOPICS)
    event = made.receive({"T": "error", "code": 499, "msg": "brand new"})
    assert isinstance(event, Refused)
    assert event.error.code == 499


def test_an_unknown_code_means_a_retry() -> None:
    """Codes that Alpaca may add are carried with their text."""
    event = session(CONNECTED).receive({"T": "error", "code": 499, "msg": "brand new"})
    assert isinstance(event, Failed)
    assert (event.error.code, event.error.text) == (499, "brand new")
    assert event.error.verdict is Verdict.RETRY
