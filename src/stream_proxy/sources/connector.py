"""HOT PATH. The upstream socket: picows, with what it leaves to us.

picows parses frames in C and hands them over one by one. Reassembling fragments, refusing masked
or reserved-bit frames, and keeping credentials away from redirects is done here.
The source knows only the two protocols below, so a simulation can bring its own socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from stream_proxy.feed.upstream_status import Cause

_MAX_FRAME_BYTES = 16 * 1024 * 1024
_MAX_FRAGMENTS = 10_000
_READ_BYTES = 1024 * 1024
_BATCH_BYTES = 500 * 1024
"""A longer read comes in parts of about this size, which still make one frame downstream: 3 ms of
work for 100 consumers, 15 for 1,000. Batches grow so only while upstream sends faster than we work,
and then larger ones let us catch up sooner."""

_BINARY, _TEXT = WSMsgType.BINARY, WSMsgType.TEXT

_log = structlog.get_logger("stream_proxy.connector")


class Receiver(Protocol):
    """Who gets what the socket brings; called synchronously."""

    def on_messages(self, payloads: list[bytes]) -> None:
        """Whole messages: all that a socket read held, or a share of a long one."""

    def on_pong(self) -> None: ...

    def on_lost(self, why: str) -> None:
        """The socket is gone. Called once, and not after `Connection.close` returned."""


class Connection(Protocol):
    """An open socket."""

    def send(self, payload: bytes, binary: bool) -> None: ...

    def ping(self) -> None: ...

    async def close(self, code: int, timeout_seconds: float) -> None:
        """Send a close frame, wait for its answer, and end the socket in any case."""


@dataclass
class ConnectFailed(Exception):
    """The socket never opened. ``status`` is the HTTP status, or None before any answer."""

    reason: str
    status: int | None = None
    retry_after_seconds: float | None = None

    def __str__(self) -> str:
        return self.reason

    @property
    def cause(self) -> Cause:
        """Which kind of failure this is."""
        match self.status:
            case None:
                return Cause.UNREACHABLE
            case 429:
                return Cause.SLOT_TAKEN
            case _:
                return Cause.REFUSED


class Connect(Protocol):
    """Opens a socket, or raises `ConnectFailed`."""

    async def __call__(
        self, url: str, headers: Mapping[str, str], receiver: Receiver, timeout_seconds: float
    ) -> Connection: ...


# Its debug lines print handshakes; nothing of ours may carry a header into a log.
_quiet = logging.getLogger("stream_proxy.picows")
_quiet.setLevel(logging.CRITICAL)


class _Listener(WSListener):
    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self._receiver = receiver
        self._payloads: list[bytes] = []
        self._payloads_bytes = 0
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._problem = ""
        self.silenced = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            kind = frame.msg_type
            if (
                (kind is _BINARY or kind is _TEXT)
                and frame.fin
                and not (frame.rsv1 or frame.rsv2 or frame.rsv3 or self._fragments)
            ):
                self._keep(frame.get_payload_as_bytes())
            else:
                self._take_unusual(transport, frame)
            # Of any kind: the last of a read may be a ping or a pong.
            if frame.last_in_buffer or self._payloads_bytes > _BATCH_BYTES:
                self._deliver()
        except Exception:
            self._give_up(transport)

    def _give_up(self, transport: WSTransport) -> None:
        """A bug of ours: end the connection rather than go on with half of what it brought."""
        _log.exception("upstream.internal_error")
        self._problem = "an internal error of the proxy, see the log"
        transport.send_close(WSCloseCode.OK)
        transport.disconnect()

    def _keep(self, payload: bytes) -> None:
        self._payloads.append(payload)
        self._payloads_bytes += len(payload)

    def _deliver(self) -> None:
        payloads = self._payloads
        if payloads:
            self._payloads, self._payloads_bytes = [], 0
            if not self.silenced:
                self._receiver.on_messages(payloads)

    def _take_unusual(self, transport: WSTransport, frame: WSFrame) -> None:
        """Anything but a whole message: fragments, control frames, violations."""
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._violation(transport, "a compressed frame that was not negotiated")
        elif kind is _BINARY or kind is _TEXT:
            self._fragment(transport, frame, starts=True)
        elif kind is WSMsgType.CONTINUATION:
            self._fragment(transport, frame, starts=False)
        elif kind is WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind is WSMsgType.PONG:
            self._receiver.on_pong()
        elif kind is WSMsgType.CLOSE:
            self._deliver()
            self._problem = _close_text(frame)
            # Not its own code: none, or one that may not be sent, would be a violation by us.
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def _fragment(self, transport: WSTransport, frame: WSFrame, starts: bool) -> None:
        if starts == bool(self._fragments):
            self._violation(transport, "fragments out of order")
            return
        self._fragments.append(frame.get_payload_as_bytes())
        self._fragments_bytes += len(self._fragments[-1])
        too_many = len(self._fragments) > _MAX_FRAGMENTS
        if self._fragments_bytes > _MAX_FRAME_BYTES or too_many:
            self._violation(transport, "a message larger than 16 MiB")
        elif frame.fin:
            payload, self._fragments = b"".join(self._fragments), []
            self._fragments_bytes = 0
            self._keep(payload)

    def _violation(self, transport: WSTransport, what: str) -> None:
        self._deliver()
        self._problem = f"protocol violation by upstream: {what}"
        transport.send_close(WSCloseCode.PROTOCOL_ERROR)
        transport.disconnect(graceful=False)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._deliver()
        if not self.silenced:
            self.silenced = True
            self._receiver.on_lost(self._problem or "connection lost without a close frame")


class _PicowsConnection:
    def __init__(self, transport: WSTransport, listener: _Listener) -> None:
        self._transport = transport
        self._listener = listener

    def send(self, payload: bytes, binary: bool) -> None:
        self._transport.send(WSMsgType.BINARY if binary else WSMsgType.TEXT, payload)

    def ping(self) -> None:
        self._transport.send_ping(b"")

    async def close(self, code: int, timeout_seconds: float) -> None:
        self._listener.silenced = True
        if not self._transport.is_disconnected:
            self._transport.send_close(WSCloseCode(code))
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._disconnected()
        except TimeoutError:
            self._transport.disconnect(graceful=False)
            await self._disconnected()

    async def _disconnected(self) -> None:
        try:
            await self._transport.wait_disconnected()
        except (WSError, UnicodeDecodeError, OSError):
            pass  # the peer broke the protocol: closed all the same


class PicowsConnect:
    """Opens sockets with picows.

    TLS certificates are always verified. Redirects are not followed: they would carry the key to
    another host.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context

    async def __call__(
        self, url: str, headers: Mapping[str, str], receiver: Receiver, timeout_seconds: float
    ) -> Connection:
        listener = _Listener(receiver)
        attempt = asyncio.ensure_future(
            ws_connect(
                lambda: listener,
                url,
                ssl_context=self._ssl_context,
                websocket_handshake_timeout=timeout_seconds,
                max_frame_size=_MAX_FRAME_BYTES,
                max_redirects=0,
                extra_headers=dict(headers),
                logger_name=_quiet,
                read_buffer_init_size=_READ_BYTES,
                # Else pings are answered unseen, and one behind messages hides their end.
                enable_auto_pong=False,
            )
        )
        try:
            async with asyncio.timeout(timeout_seconds):
                transport, _ = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.cancel()
            raise
        except TimeoutError:
            listener.silenced = True
            await _abandoned(attempt, timeout_seconds)
            raise ConnectFailed(f"no answer within {timeout_seconds:g} s") from None
        except WSHandshakeError as error:
            listener.silenced = True
            raise _refusal(error) from None
        except (OSError, WSError, ValueError) as error:
            listener.silenced = True
            raise ConnectFailed(_reason(error)) from None
        return _PicowsConnection(transport, listener)


async def _abandoned(
    attempt: asyncio.Future[tuple[WSTransport, WSListener]], handshake_seconds: float
) -> None:
    """Wait until nothing of an attempt is left: no second socket may be opened beside it.

    The library leaves the socket of a handshake that is cancelled open, so that a late answer would
    make it one more connection. A handshake that is let alone ends by itself in time.
    """
    done, _ = await asyncio.wait({attempt}, timeout=handshake_seconds)
    if not done:
        # Not even the TCP connection is there.
        attempt.cancel()
        await asyncio.wait({attempt})
    if not attempt.cancelled() and attempt.exception() is None:
        transport, _ = attempt.result()
        transport.send_close(WSCloseCode.OK)
        transport.disconnect()
        with contextlib.suppress(WSError, UnicodeDecodeError, OSError):
            await transport.wait_disconnected()


def _close_text(frame: WSFrame) -> str:
    code = frame.get_close_code()
    number = getattr(code, "value", code)
    if not number:
        return "closed by upstream without a code"
    reason = frame.get_close_message() or b""
    text = bytes(reason).decode(errors="replace")[:100]
    return f"closed by upstream with {number} {text}".rstrip()


def _refusal(error: WSHandshakeError) -> ConnectFailed:
    response = error.response
    if response is None:
        return ConnectFailed(f"the WebSocket handshake failed: {error}"[:200])
    status = int(response.status)
    retry_after = response.headers.get("Retry-After", "")
    return ConnectFailed(
        f"HTTP {status} instead of a WebSocket",
        status,
        float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate refused: {error.verify_message}"
    return f"{type(error).__name__}: {error}"[:200]
