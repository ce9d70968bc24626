"""
The Go SDK's conversation, replayed on a raw connection: Go cannot run here.

Retold from alpaca-trade-api-go v3 and coder/websocket: the handshake, the
messages and how they are cut into frames, the 3 s patience with every step,
and the decoder's type rules. Not retold: the compressed bytes (zlib's differ
from Go's) and the buffering between socket and handlers.

Exits with 1 and a sentence on stderr where the real SDK would fail.
"""

from __future__ import annotations

import random
import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any

import msgpack
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from raw_connection import RawConnection, ReplayError, Stopped
from reporting import Report, StopRequest, arguments

PATIENCE_SECONDS = 3

AUTH_ATTEMPTS = 15

RSV1 = 0b0100_0000

# net/http: Host and User-Agent first, the rest sorted, the transport's own last.
HANDSHAKE = [
    "Host: {host}",
    "User-Agent: APCA-GO/v3.9.1 GoRuntime/go1.25.3",
    "Connection: Upgrade",
    "Content-Type: application/msgpack",
    "Sec-Websocket-Extensions: permessage-deflate",
    "Sec-Websocket-Key: {key}",
    "Sec-Websocket-Version: 13",
    "Upgrade: websocket",
    "Accept-Encoding: gzip",
]

CHANNELS = (
    "trades",
    "quotes",
    "bars",
    "updatedBars",
    "dailyBars",
    "statuses",
    "imbalances",
    "lulds",
    "orderbooks",
    "news",
    "pricing",
)

# The decoder's type for each field, by stream and message type. What is not
# named is skipped unread, as are message types that are not named.
_STRING, _STRINGS, _INT, _UINT32, _UINT64, _FLOAT, _TIME, _BOOL, _LEVELS = (
    "string",
    "list of strings",
    "int64",
    "uint32",
    "uint64",
    "float64",
    "time",
    "bool",
    "list of price levels",
)
_STOCK_BAR = {
    **dict.fromkeys("S", _STRING),
    **dict.fromkeys(("o", "h", "l", "c", "vw"), _FLOAT),
    **dict.fromkeys("vn", _UINT64),
    "t": _TIME,
}
_CRYPTO_BAR = {**_STOCK_BAR, "x": _STRING, "v": _FLOAT}
_STOCK = {
    "t": {
        **dict.fromkeys("Sxz", _STRING),
        "i": _INT,
        "p": _FLOAT,
        "s": _UINT32,
        "t": _TIME,
        "r": _TIME,
        "c": _STRINGS,
    },
    "q": {
        **dict.fromkeys(("S", "bx", "ax", "z"), _STRING),
        **dict.fromkeys(("bp", "ap"), _FLOAT),
        **dict.fromkeys(("bs", "as"), _UINT32),
        "t": _TIME,
        "r": _TIME,
        "c": _STRINGS,
    },
    "b": _STOCK_BAR,
    "u": _STOCK_BAR,
    "d": _STOCK_BAR,
    "s": {**dict.fromkeys(("S", "sc", "sm", "rc", "rm", "z"), _STRING), "t": _TIME},
    "i": {**dict.fromkeys("Sz", _STRING), "p": _FLOAT, "t": _TIME},
    "l": {**dict.fromkeys("Siz", _STRING), **dict.fromkeys("ud", _FLOAT), "t": _TIME},
    "x": {**dict.fromkeys("Sxaz", _STRING), "i": _INT, "p": _FLOAT, "s": _UINT32, "t": _TIME},
    "c": {
        **dict.fromkeys("Sxz", _STRING),
        **dict.fromkeys(("oi", "ci"), _INT),
        **dict.fromkeys(("op", "cp"), _FLOAT),
        **dict.fromkeys(("os", "cs"), _UINT32),
        **dict.fromkeys(("oc", "cc"), _STRINGS),
        "t": _TIME,
    },
}
_CRYPTO = {
    "t": {
        **dict.fromkeys(("S", "x", "tks"), _STRING),
        "p": _FLOAT,
        "s": _FLOAT,
        "i": _INT,
        "t": _TIME,
    },
    "q": {
        **dict.fromkeys("Sx", _STRING),
        **dict.fromkeys(("bp", "bs", "ap", "as"), _FLOAT),
        "t": _TIME,
    },
    "b": _CRYPTO_BAR,
    "u": _CRYPTO_BAR,
    "d": _CRYPTO_BAR,
    "o": {**dict.fromkeys("Sx", _STRING), "b": _LEVELS, "a": _LEVELS, "r": _BOOL, "t": _TIME},
    "p": {
        **dict.fromkeys("Sx", _STRING),
        **dict.fromkeys(("ip", "mp", "fr", "oi"), _FLOAT),
        "t": _TIME,
        "ft": _TIME,
    },
}
_OPTION = {
    "t": {**dict.fromkeys("Sxc", _STRING), "p": _FLOAT, "s": _UINT32, "t": _TIME},
    "q": {
        **dict.fromkeys(("S", "bx", "ax", "c"), _STRING),
        **dict.fromkeys(("bp", "ap"), _FLOAT),
        **dict.fromkeys(("bs", "as"), _UINT32),
        "t": _TIME,
    },
}
_NEWS = {
    "n": {
        **dict.fromkeys(("author", "headline", "summary", "content", "url", "source"), _STRING),
        "id": _INT,
        "created_at": _TIME,
        "updated_at": _TIME,
        "symbols": _STRINGS,
    }
}
SCHEMAS = {"stock": _STOCK, "crypto": _CRYPTO, "option": _OPTION, "news": _NEWS}


class GoMessageWriter:
    """
    coder/websocket's way of cutting a message into frames.

    Without compression, one frame. With it, the payload in non-final frames and
    then an empty final one, whether or not this message is compressed; messages
    below a threshold are not.
    """

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection
        self._extensions = connection.extensions
        self._compressor: Any = None

    def send(self, payload: bytes) -> None:
        self._connection.send_bytes(b"".join(self._frames(payload)))

    def _frames(self, payload: bytes) -> Iterator[bytes]:
        if not self._extensions:
            yield Frame(Opcode.BINARY, payload).serialize(mask=True)
            return
        takeover = not self._extensions[0].local_no_context_takeover
        compressed = len(payload) >= (128 if takeover else 512)
        pieces = self._compress(payload, keep_context=takeover) if compressed else [payload]
        opcode = Opcode.BINARY
        for piece in pieces:
            frame = bytearray(Frame(opcode, piece, fin=False).serialize(mask=True))
            if compressed and opcode is Opcode.BINARY:
                # The library sets this bit only for what it compressed itself.
                frame[0] |= RSV1
            yield bytes(frame)
            opcode = Opcode.CONT
        yield Frame(Opcode.CONT, b"").serialize(mask=True)

    def _compress(self, payload: bytes, *, keep_context: bool) -> list[bytes]:
        if self._compressor is None or not keep_context:
            self._compressor = zlib.compressobj(level=1, wbits=-15)
        data = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        data = data.removesuffix(b"\x00\x00\xff\xff")
        # Go's compressor hands out its output in pieces of at most 240 bytes.
        return [data[start : start + 240] for start in range(0, len(data), 240)]


def negotiate(headers: Headers) -> list[PerMessageDeflate]:
    """Accept what coder/websocket accepts in the handshake response."""
    value = ", ".join(headers.get_all("Sec-WebSocket-Extensions"))
    if not value:
        return []
    name, *parameters = [part.strip() for part in value.split(";")]
    if name != "permessage-deflate":
        raise ReplayError(f"unsupported extensions from server: {value}")
    for parameter in parameters:
        if parameter not in (
            "client_no_context_takeover",
            "server_no_context_takeover",
        ) and not parameter.startswith("server_max_window_bits="):
            raise ReplayError(f"unsupported permessage-deflate parameter: {parameter}")
    return [
        PerMessageDeflate(
            remote_no_context_takeover="server_no_context_takeover" in parameters,
            local_no_context_takeover="client_no_context_takeover" in parameters,
            remote_max_window_bits=15,
            local_max_window_bits=15,
        )
    ]


class GoClient:
    """The SDK's initialisation, step by step, and then its read loop."""

    def __init__(self, options: Any, report: Report, stop_request: StopRequest) -> None:
        self._options = options
        self._report = report
        self._schemas = SCHEMAS[options.stream]
        self.connection = RawConnection(
            options.url, HANDSHAKE, stop_request, PATIENCE_SECONDS, negotiate
        )
        self._writer = GoMessageWriter(self.connection)

    def initialize(self) -> None:
        welcome = self._only_message("connected")
        if (welcome.get("T"), welcome.get("msg")) != ("success", "connected"):
            raise ReplayError("did not receive connected message")
        self._authenticate()
        symbols = {channel: self._options.subscribe.get(channel) for channel in CHANNELS}
        # A Go map is encoded in random order.
        fields = [("action", "subscribe"), *symbols.items()]
        random.shuffle(fields)
        self._writer.send(msgpack.packb(dict(fields)))
        ack = self._only_message("the subscription's ack")
        if ack.get("T") == "error":
            self._report.error(ack.get("code"), ack.get("msg", ""))
            raise ReplayError(f"sub: error from server: {ack.get('msg')}")
        if ack.get("T") != "subscription":
            raise ReplayError("did not receive subscribed message")
        self._report.subscribed()

    def _authenticate(self) -> None:
        credentials = [
            ("action", "auth"),
            ("key", self._options.key),
            ("secret", self._options.secret),
        ]
        for attempt in range(AUTH_ATTEMPTS):
            # The SDK really sleeps between attempts, on the same socket.
            time.sleep(0.5 * min(attempt, 10))
            random.shuffle(credentials)
            self._writer.send(msgpack.packb(dict(credentials)))
            reply = self._only_message("the reply to auth")
            if reply.get("T") == "error":
                self._report.error(reply.get("code"), reply.get("msg", ""))
                if reply.get("code") == 406:
                    continue
                raise ReplayError(f"auth: {reply.get('msg')} ({reply.get('code')})")
            if (reply.get("T"), reply.get("msg")) != ("success", "authenticated"):
                raise ReplayError("did not receive authenticated message")
            return
        raise ReplayError("connection limit exceeded in every attempt to log in")

    def listen(self) -> None:
        while True:
            for message in self._messages(None):
                self._handle(message)

    def _only_message(self, what: str) -> dict[str, Any]:
        try:
            messages = self._messages(PATIENCE_SECONDS)
        except ReplayError as error:
            raise ReplayError(f"while waiting for {what}: {error}") from error
        if len(messages) != 1:
            raise ReplayError(f"expected {what} alone in its array, got {len(messages)} messages")
        return messages[0]

    def _messages(self, deadline_seconds: float | None) -> list[dict[str, Any]]:
        payload = self.connection.receive(deadline_seconds)
        if isinstance(payload, str):
            payload = payload.encode()
        try:
            # timestamp=0 keeps the extension's own type, with its nanoseconds.
            messages = msgpack.unpackb(payload, timestamp=0)
        except ValueError as error:
            raise ReplayError(f"not msgpack: {error}") from error
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise ReplayError("not an array of maps")
        return messages

    def _handle(self, message: dict[str, Any]) -> None:
        if not message:
            return
        first_key = next(iter(message))
        if first_key != "T":
            raise ReplayError(f"first key is not T but: {first_key}")
        if message["T"] == "error":
            self._report.error(message.get("code"), message.get("msg", ""))
        elif message["T"] == "subscription":
            self._report.subscribed()
        elif schema := self._schemas.get(message["T"]):
            fields = {"T": message["T"]}
            for name, value in message.items():
                if kind := schema.get(name):
                    fields[name] = decode(kind, value, f"{message['T']}.{name}")
            self._report.message(fields)


def decode(kind: str, value: Any, where: str) -> Any:
    """Accept what the Go decoder for that type accepts; nil is every type's zero."""
    match kind, value:
        case "string", str() | None:
            return value or ""
        case "list of strings", list() | None:
            return [decode(_STRING, item, where) for item in value or []]
        case "int64" | "uint32" | "uint64", int() | None if not isinstance(value, bool):
            bits = {"int64": 63, "uint32": 32, "uint64": 64}[kind]
            if (value or 0) >> bits == 0:
                return value or 0
        case "float64", float() | int() | None if not isinstance(value, bool):
            return value or 0
        case "bool", bool() | None:
            return bool(value)
        case "time", msgpack.Timestamp():
            return value.to_unix_nano()
        case "list of price levels", list() | None:
            return [
                {name: decode(_FLOAT, level.get(name), where) for name in ("p", "s")}
                for level in value or []
            ]
    raise ReplayError(f"cannot decode {where} as {kind}: {value!r}")


def main() -> int:
    options = arguments(__doc__ or "").parse_args()
    report = Report(t_resolution_ns=1)
    stop_request = StopRequest()
    try:
        client = GoClient(options, report, stop_request)
        try:
            client.initialize()
            client.listen()
        except Stopped:
            client.connection.close()
    except (ReplayError, OSError) as error:
        report.event("failed", msg=str(error))
        report.closed()
        sys.stderr.write(f"the Go SDK would fail here: {error}\n")
        return 1
    except Stopped:
        pass
    report.closed()
    return 0


if __name__ == "__main__":
    sys.exit(main())
