"""A small client of a proxy's order updates, for the command that shows them.

It connects once, from a position, and hands over updates with their sequences. What follows from
an end is the caller's to decide: an end says whether coming back with the last position helps.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from stream_proxy.cli.subscriber import StreamFailed
from stream_proxy.outlets.limits import CLOSE_POLICY
from stream_proxy.outlets.orders import CLOSE_POSITION_LOST
from stream_proxy.wire.alpaca.requests import Credentials

_FINAL = frozenset({CLOSE_POLICY, CLOSE_POSITION_LOST})
"""Ends after which the same request gets the same answer."""


class OrdersEnded(StreamFailed):
    """The updates can't be had, or ended; ``final`` says that coming back doesn't help."""

    def __init__(self, text: str, *, final: bool) -> None:
        self.final = final
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Position:
    """Where the proxy says that we begin."""

    account: str
    epoch: str
    sequence: int


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """An update: its fields, and the message as it came."""

    fields: dict[str, Any]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Warned:
    """The proxy says that updates wait, and why; the connection stays."""

    text: str


class _DirectConnect(connect):
    """A connect that stays where it was sent: a redirect would carry the keys elsewhere."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def orders_address(url: str, account: str | None, since: str | None) -> str:
    """Where an account's numbered updates are, from a position on."""
    path = f"/{quote(account, safe='')}/stream" if account else "/stream"
    options = {"numbered": "1", **({"since": since} if since else {})}
    return f"{url.rstrip('/')}{path}?{urlencode(options)}"


async def order_updates(
    url: str, account: str | None, since: str | None, credentials: Credentials
) -> AsyncGenerator[Position | OrderUpdate | Warned, None]:
    """Connect, and give what comes until the connection ends.

    Raises:
        OrdersEnded: it ended, or never began.
    """
    socket = await _connected(url, account, since)
    said = ""
    try:
        await socket.send(_login(credentials))
        await socket.send('{"action":"listen","data":{"streams":["trade_updates"]}}')
        while True:
            payload = await socket.recv(decode=False)
            message = _object(payload, url)
            data = message.get("data")
            body = data if isinstance(data, dict) else {}
            match message.get("stream"):
                case "trade_updates":
                    yield OrderUpdate(message, payload)
                case "position":
                    yield Position(
                        str(body.get("account")), str(body.get("epoch")), int(body["sequence"])
                    )
                case "authorization" if body.get("status") != "authorized":
                    raise OrdersEnded(
                        f"{url} refused the credentials. It asks for one of its access tokens: "
                        "set STREAM_PROXY_ACCESS_TOKENS here as well, or ALPACA_KEY and "
                        "ALPACA_SECRET to a token's key and secret.",
                        final=True,
                    )
                case None if message.get("action") == "error":
                    said = str(body.get("error_message"))[:500]
                    yield Warned(said)
    except ConnectionClosed as closed:
        raise _ended(url, closed, said) from None
    finally:
        await socket.close()


async def _connected(url: str, account: str | None, since: str | None) -> ClientConnection:
    address = orders_address(url, account, since)
    try:
        return await _DirectConnect(
            address,
            user_agent_header="alpaca-stream-proxy",
            compression=None,
            proxy=None,
            open_timeout=10,
            close_timeout=2,
        )
    except TimeoutError:
        raise OrdersEnded(
            f"{url} didn't answer within 10 s: a firewall, or nothing is there. Check the address.",
            final=False,
        ) from None
    except InvalidStatus as error:
        raise _refused(url, account, error.response.status_code) from None
    except (InvalidURI, ValueError):
        raise OrdersEnded(
            f"{url} is not an address of a proxy. Write ws://HOST:PORT or wss://HOST.", final=True
        ) from None
    except (OSError, InvalidHandshake) as error:
        raise OrdersEnded(
            f"Can't connect to {url}: {str(error)[:150] or type(error).__name__}. Is a proxy "
            "running there? Start one with `stream-proxy serve`, or name another with --url.",
            final=False,
        ) from None


def _refused(url: str, account: str | None, status: int) -> OrdersEnded:
    if status == 404:
        what = f"no account {account!r}" if account else "no order updates"
        return OrdersEnded(
            f"The proxy at {url} has {what}. Its accounts are those that it has credentials for "
            "(paper, live, and [accounts.<name>]), and STREAM_PROXY_ORDERS=off takes all away.",
            final=True,
        )
    return OrdersEnded(
        f"{url} refused the connection with HTTP {status}. Check the address, and try again later.",
        final=status < 500 and status != 429,
    )


def _login(credentials: Credentials) -> bytes:
    data = {"key_id": credentials.key, "secret_key": credentials.secret}
    return msgspec.json.encode({"action": "authenticate", "data": data})


def _object(payload: bytes, url: str) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        message = None
    if not isinstance(message, dict):
        raise OrdersEnded(
            f"{url} sent something that is no order update. Is it a proxy of this kind?", final=True
        )
    return message


def _ended(url: str, closed: ConnectionClosed, said: str) -> OrdersEnded:
    if closed.rcvd is None:
        return OrdersEnded(f"The connection to {url} broke off.", final=False)
    final = closed.rcvd.code in _FINAL
    reason = said or closed.rcvd.reason
    if final and reason:
        return OrdersEnded(reason, final=True)
    return OrdersEnded(
        f"{url} closed the connection with {int(closed.rcvd.code)}"
        f"{f' ({reason})' if reason else ''}.",
        final=final,
    )
