"""A small client of Alpaca's market-data protocol, for the commands that look at streams.

It connects once, authenticates, subscribes and hands over messages as they come. It doesn't
reconnect: what happened to the connection is what the user of a command wants to know.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from stream_proxy.config.schema import Settings
from stream_proxy.errors import StreamProxyError
from stream_proxy.model.feeds import FEEDS, Feed, feed_paths
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.wire.alpaca.codec import JSON, MSGPACK, Codec, FrameDamaged, Item
from stream_proxy.wire.alpaca.codes import CONNECTION_LIMIT, ErrorCode, known_or_internal
from stream_proxy.wire.alpaca.requests import Credentials
from stream_proxy.wire.alpaca.salvage import salvage
from stream_proxy.wire.alpaca.transcode import NotTranscodable, to_json

CONTROL_TYPES = frozenset({"success", "error", "subscription"})
_MAX_MESSAGE_BYTES = 16 << 20
"""News articles can be larger than the library's default of 1 MiB."""


class StreamFailed(StreamProxyError):
    """The stream can't be had, or ended; the text says why and what to do.

    ``code`` is Alpaca's error, if it sent one.
    """

    def __init__(self, text: str, code: ErrorCode | None = None) -> None:
        self.code = code
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Received:
    """One data message: its fields, and itself as JSON with nanoseconds intact."""

    fields: dict[str, Any]
    json: bytes


class _DirectConnect(connect):
    """A connect that stays where it was sent: a redirect would carry the keys elsewhere."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Subscriber:
    """One authenticated connection to a stream. Made by `open_stream`."""

    def __init__(self, socket: ClientConnection, feed: Feed, codec: Codec, url: str) -> None:
        self._socket = socket
        self.feed = feed
        self.codec = codec
        self.url = url

    @property
    def local_port(self) -> int:
        """Our end of the connection: how the other end's lists know us."""
        port: int = self._socket.local_address[1]
        return port

    async def authenticate(self, credentials: Credentials, timeout_seconds: float) -> None:
        """Go through greeting and authentication.

        Raises:
            StreamFailed: with the error code's cure, or what was missing.
        """
        await self._expect("connected", timeout_seconds)
        await self._send({"action": "auth", "key": credentials.key, "secret": credentials.secret})
        await self._expect("authenticated", timeout_seconds)

    async def subscribe(self, topics: SubscriptionSet) -> None:
        """Ask for topics; the answer comes among the messages."""
        await self._send({"action": "subscribe", **topics.as_dict()})

    async def batches(self) -> AsyncIterator[list[Received]]:
        """Data messages as they arrive together, until the connection ends.

        Raises:
            StreamFailed: the server sent an error, or the connection was lost.
        """
        while True:
            batch = []
            for item in self._split(await self._receive()):
                fields = self.codec.decode_fields(item)
                match fields.get("T"):
                    case "error":
                        raise self._failure(fields)
                    case kind if kind in CONTROL_TYPES:
                        continue
                    case _:
                        batch.append(Received(fields, self._as_json(item)))
            if batch:
                yield batch

    async def close(self) -> None:
        """Say goodbye with a close frame, which frees the slot at once."""
        await self._socket.close()

    def _split(self, payload: bytes) -> list[Item]:
        splitter = self.codec.news if self.feed.kind == "news" else self.codec.ticks
        try:
            return [*splitter.split(payload)[2]]
        except FrameDamaged:
            return [*salvage(self.codec, splitter, payload)[0][2]]

    def _as_json(self, item: Item) -> bytes:
        if self.codec is JSON:
            return bytes(item)
        try:
            return to_json(item)
        except NotTranscodable:
            return b"null"

    async def _expect(self, text: str, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                payload = await self._receive()
        except TimeoutError:
            raise StreamFailed(
                f"{self.url} didn't say '{text}' within {timeout_seconds:g} s: it is overloaded, "
                "or not a stream of Alpaca's protocol. Check the address."
            ) from None
        messages = self._decode(payload)
        if messages and messages[0].get("T") == "error":
            raise self._failure(messages[0])
        if not messages or messages[0].get("msg") != text:
            raise StreamFailed(
                f"{self.url} didn't say '{text}' but something else: it is not a stream of "
                "Alpaca's protocol. Check the address."
            )

    def _decode(self, payload: bytes) -> list[dict[str, Any]]:
        try:
            decoded = self.codec.decode(payload)
        except FrameDamaged:
            return []
        messages = decoded if isinstance(decoded, list) else [decoded]
        return [message for message in messages if isinstance(message, dict)]

    def _failure(self, message: dict[str, Any]) -> StreamFailed:
        number, text = message.get("code"), str(message.get("msg", ""))[:100]
        code = known_or_internal(number if isinstance(number, int) else 0, text)
        return StreamFailed(f"{self.url} answered {code.code} {code.text}. {code.cure}", code)

    async def _send(self, message: dict[str, Any]) -> None:
        payload = self.codec.encode(message)
        try:
            await self._socket.send(payload, text=not self.codec.binary)
        except ConnectionClosed as closed:
            raise self._ended(closed) from None

    async def _receive(self) -> bytes:
        try:
            return await self._socket.recv(decode=False)
        except ConnectionClosed as closed:
            raise self._ended(closed) from None

    def _ended(self, closed: ConnectionClosed) -> StreamFailed:
        if closed.rcvd is None:
            return StreamFailed(
                f"The connection to {self.url} broke off without a close frame: the server or the "
                "network between went away. Try again; `stream-proxy doctor` finds out more."
            )
        reason = f" ({closed.rcvd.reason})" if closed.rcvd.reason else ""
        return StreamFailed(
            f"{self.url} closed the connection with {int(closed.rcvd.code)}{reason}. Try again; "
            "docs/errors.md lists the close codes."
        )


async def open_stream(
    url: str,
    feed: Feed,
    credentials: Credentials,
    *,
    codec: Codec | None = None,
    tls: ssl.SSLContext | None = None,
    timeout_seconds: float = 10.0,
) -> Subscriber:
    """Connect to a whole endpoint address and authenticate.

    Raises:
        StreamFailed: not connected or not let in.
    """
    codec = codec or (MSGPACK if feed.msgpack_only else JSON)
    try:
        socket = await _DirectConnect(
            url,
            ssl=tls,
            additional_headers={"Content-Type": f"application/{codec.name}"},
            user_agent_header="alpaca-stream-proxy",
            compression=None,
            # The proxy itself goes to Alpaca directly, too.
            proxy=None,
            open_timeout=timeout_seconds,
            close_timeout=2,
            max_size=_MAX_MESSAGE_BYTES,
        )
    except TimeoutError:
        raise StreamFailed(
            f"{url} didn't answer within {timeout_seconds:g} s: a firewall, or nothing is there. "
            "Check the address and the network."
        ) from None
    except InvalidStatus as error:
        raise _refusal(url, error.response.status_code) from None
    except (InvalidURI, ValueError):
        raise StreamFailed(
            f"{url} is not an address of a stream. Write ws://HOST:PORT or wss://HOST."
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise StreamFailed(
            f"The certificate of {url} was refused: {error.verify_message}. Set "
            "STREAM_PROXY_UPSTREAM_CA to the authority that signed it, if you trust it."
        ) from None
    except (OSError, InvalidHandshake) as error:
        raise StreamFailed(
            f"Can't connect to {url}: {str(error)[:150] or type(error).__name__}. Is it running, "
            "and is the address right?"
        ) from None
    subscriber = Subscriber(socket, feed, codec, url)
    try:
        await subscriber.authenticate(credentials, timeout_seconds)
    except BaseException:
        await subscriber.close()
        raise
    return subscriber


def _refusal(url: str, status: int) -> StreamFailed:
    if status == 429:
        return StreamFailed(
            f"{url} refused the connection with HTTP 429: too many connections. "
            f"{CONNECTION_LIMIT.cure}",
            CONNECTION_LIMIT,
        )
    cure = {
        403: "This Origin or network isn't allowed there.",
        404: "There is no stream at this path: check --feed, or the path in the address.",
        421: "The server doesn't go by this name: add it to STREAM_PROXY_ALLOWED_HOSTS there.",
    }.get(status, "Check the address, and try again later.")
    return StreamFailed(f"{url} refused the connection with HTTP {status}. {cure}")


def stream_address(url: str, feed_name: str) -> tuple[str, Feed]:
    """The whole address and the feed; an address that has a path already is taken as it is.

    Raises:
        StreamFailed: there is no such feed or path.
    """
    if feed_name not in FEEDS:
        raise StreamFailed(f"No feed is called {feed_name!r}. There are {', '.join(FEEDS)}.")
    path = urlsplit(url).path.rstrip("/")
    if not path:
        feed = FEEDS[feed_name]
        return url.rstrip("/") + feed.path, feed
    named = feed_paths(feed_name).get(path)
    if named is None:
        raise StreamFailed(
            f"{url}: no feed has the path {path}. Leave the path away and choose one with --feed."
        )
    return url, named


def credentials_for(url: str, settings: Settings) -> Credentials:
    """What to show at this address: Alpaca's keys, one of the proxy's tokens, or anything.

    Raises:
        StreamFailed: Alpaca itself is asked and no keys are set.
    """
    at_alpaca = f".{urlsplit(url).hostname}".endswith(".alpaca.markets")
    if settings.access_tokens and not at_alpaca:
        token = settings.access_tokens[0]
        return Credentials(token.key, token.secret.get_secret_value())
    if settings.key is not None and settings.secret is not None:
        return Credentials(settings.key.get_secret_value(), settings.secret.get_secret_value())
    if at_alpaca:
        raise StreamFailed(
            "No Alpaca keys are set, so Alpaca would refuse the connection. Set ALPACA_KEY and "
            "ALPACA_SECRET, or leave --url away to read from a proxy on this machine."
        )
    return Credentials("any", "any")
