"""One client of the trading stream, treated as Alpaca's protocol has it.

Messages are single JSON objects, in binary frames unless told otherwise. The server is silent
until the client speaks. Sources: Alpaca, "WebSocket Stream" of the Trading API; where it is
silent, what the SDKs were seen to rely on.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from websockets.http11 import Request, Response

from stream_proxy.simulator.faults import Fault
from stream_proxy.simulator.trading.account import Account, Event
from stream_proxy.simulator.trading.desk import TradingDesk, feed_name
from stream_proxy.simulator.trading.ledger import StreamRecord
from stream_proxy.wire.alpaca.requests import Credentials, header_credentials
from stream_proxy.wire.websocket import frame

if TYPE_CHECKING:
    from stream_proxy.simulator.session import SimulatorConnection

PATHS: dict[str, str | None] = {"/stream": None, "/paper/stream": "paper", "/live/stream": "live"}
"""Path without trailing slash -> the kind of account it is for; None leaves that to the key."""

STREAMS = ("trade_updates",)
_MALFORMED = b'{"stream":"trade_updates","data":{"event":"fill","order":{"id":'
_ERROR_TEXT = "internal server error"


class TradingSession:
    """What a connection means on a trading path."""

    def __init__(self, desk: TradingDesk, connection: SimulatorConnection, path: str) -> None:
        self.desk = desk
        self.connection = connection
        self.path = path
        self.path_kind = PATHS[path]
        self.account: Account | None = None
        self.record: StreamRecord | None = None
        self._listening = False
        self._exceeded = False
        self._msgpack = False
        self._last: Event | None = None
        self._kept_back: Event | None = None

    @property
    def feed(self) -> str:
        kind = self.account.kind if self.account is not None else self.path_kind
        return feed_name(kind or "paper")

    def concerned(self, fault: Fault) -> bool:
        return fault.concerns(self.feed, self.account.key if self.account else None)

    # Handshake

    def on_request(self, request: Request) -> Response | None:
        desk = self.desk
        fault = desk.faults.strike("refuse_upgrade", self.feed)
        if fault is not None:
            return self._refuse_upgrade(fault.code or 503, "refused on purpose", fault.seconds)
        self._msgpack = "msgpack" in (request.headers.get("Content-Type") or "").lower()
        credentials = header_credentials(request.headers.get)
        if credentials is None:
            if desk.options.trading_refusal == "upgrade" and not desk.room(self.path_kind):
                return self._refuse_upgrade(429, "too many connections of this account")
        elif (account := self._judged(credentials)) is not None:
            if self._take(account):
                self.account = account
            elif desk.options.trading_refusal == "upgrade":
                return self._refuse_upgrade(429, "too many connections of this account")
            else:
                self._exceeded = True
        desk.sessions[self] = None
        return None

    def _refuse_upgrade(self, status: int, text: str, retry_after: float = 0) -> Response:
        self.desk.ledger.refused_upgrades[self.path] += 1
        response = self.connection.reject(HTTPStatus(status), text)
        if retry_after:
            response.headers["Retry-After"] = str(int(retry_after))
        return response

    def on_open(self) -> None:
        desk, now_ns = self.desk, self.desk.clock.now_ns()
        self.record = desk.ledger.opened(self.path, self.connection.peer, now_ns)
        if self.account is not None:
            desk.ledger.authenticated(self.record, self.account, now_ns)

    def authentication_due(self) -> None:
        """Nobody may hold a slot without saying who it is for."""
        if self.account is None and self.connection.open:
            self.connection.end(1008, "no authentication in time")

    # Messages

    def on_message(self, payload: bytes, binary: bool) -> None:
        try:
            decode = msgspec.msgpack.decode if self._msgpack else msgspec.json.decode
            message: Any = decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            message = None
        if not isinstance(message, dict):
            self._fail("invalid message: send one JSON object")
            return
        data = message.get("data")
        fields = data if isinstance(data, dict) else {}
        match message.get("action"):
            case "authenticate":
                self._authenticate(_credentials(fields))
            case "auth":
                self._authenticate(_text_pair(message.get("key"), message.get("secret")))
            case "listen":
                self._listen(fields.get("streams"))
            case _:
                self._fail("unknown action: send authenticate or listen")

    def _judged(self, credentials: Credentials) -> Account | None:
        account = self.desk.account_of(credentials, self.path_kind)
        if account is None or self.desk.denied(account.kind):
            return None
        if self.desk.faults.strike("refuse_auth", feed_name(account.kind), account.key):
            return None
        return account

    def _authenticate(self, credentials: Credentials | None) -> None:
        assert self.record is not None
        faults = self.desk.faults
        if faults.strike("end_at_auth", self.feed):
            self.connection.drop("ended at auth", hold_slot=False)
            return
        account = self._judged(credentials) if credentials is not None else None
        if account is None or self.account not in (None, account):
            self._say_status("unauthorized", "authenticate")
            return
        if self.account is None:
            if not self._take(account):
                self._refuse_second()
                return
            self.account = account
            self.desk.ledger.authenticated(self.record, account, self.desk.clock.now_ns())
        self._say_status("authorized", "authenticate")
        if faults.strike("flap", self.feed, account.key):
            self.connection.end(1001, "flapping on purpose")

    def _take(self, account: Account) -> bool:
        return self.desk.slots.take(feed_name(account.kind), account.key, self)

    def _refuse_second(self) -> None:
        # The C# SDK knows this status; the others take anything but "authorized" as a refusal.
        self._say_status("exceeded", "authenticate")
        self.connection.end(1008, "another connection is open under the same account")

    def _listen(self, streams: object) -> None:
        assert self.record is not None
        if self._exceeded:
            self._refuse_second()
            return
        if self.account is None:
            self._say_status("unauthorized", "listen")
            return
        if self.desk.faults.strike("end_at_subscribe", self.feed, self.account.key):
            self.connection.drop("ended at listen", hold_slot=False)
            return
        asked = streams if isinstance(streams, list) else []
        known = [stream for stream in STREAMS if stream in asked]
        self.record.listening = known
        if self.desk.faults.strike("no_acks", self.feed, self.account.key):
            return
        self._say({"stream": "listening", "data": {"streams": known}})
        # Only now: the answer comes before the first event.
        self._listening = bool(known)

    # Events

    def deliver(self, event: Event) -> None:
        """Send an event, unless the client doesn't listen or a fault is in the way."""
        if not self._listening or self.account is None or not self.connection.open:
            return
        faults, key = self.desk.faults, self.account.key
        if faults.strike("lose_event", self.feed, key):
            return
        if self._kept_back is None and faults.strike("swap_events", self.feed, key):
            self._kept_back = event
            return
        self._send(event)
        if faults.strike("duplicate_event", self.feed, key):
            self._send(event)
        if self._kept_back is not None:
            late, self._kept_back = self._kept_back, None
            self._send(late)

    def _send(self, event: Event) -> None:
        assert self.record is not None
        if self.connection.silent:
            self.record.withheld += 1
            return
        self._last = event
        self.record.sent.append(event.id)
        self._say({"stream": "trade_updates", "data": event.data})

    # Faults and the end

    def commit(self, fault: Fault) -> None:
        """Do something bad, now."""
        match fault.kind:
            case "duplicate":
                if self._last is not None:
                    self._send(self._last)
            case "fill_in_gap":
                self.connection.drop("dropped", fault.hold_slot)
                # The socket's end is seen a moment later, but nothing more is sent from here.
                self._listening = False
            case "unauthorized":
                self._say_status("unauthorized", "listen")
                self.connection.end(1008, "unauthorized on purpose")
            case "error":
                self._fail(_ERROR_TEXT)
            case "garbage":
                raw = bytes.fromhex(fault.payload_hex) if fault.payload_hex else _MALFORMED
                self._write(raw)
            case _:
                self.connection.commit_on_socket(fault)

    def on_closed(self, clean: bool, hold_slot: bool, how: str) -> None:
        self.desk.sessions.pop(self, None)
        if self.account is not None:
            # Who never came through the handshake holds nothing.
            hold = hold_slot and not clean and self.record is not None
            self.desk.slots.free(feed_name(self.account.kind), self.account.key, self, hold)
        if self.record is not None:
            self.desk.ledger.closed(self.record, how, self.desk.clock.now_ns())

    def _fail(self, text: str) -> None:
        self._say({"action": "error", "data": {"error_message": text}})
        self.connection.end(1011, text)

    def _say_status(self, status: str, action: str) -> None:
        self._say({"stream": "authorization", "data": {"status": status, "action": action}})

    def _say(self, message: dict[str, Any]) -> None:
        encode = msgspec.msgpack.encode if self._msgpack else msgspec.json.encode
        self._write(encode(message))

    def _write(self, payload: bytes) -> None:
        binary = self._msgpack or not self.desk.options.trading_text_frames
        if self.connection.open and not self.connection.silent:
            self.connection.write(frame(payload, binary))


def _credentials(data: dict[str, Any]) -> Credentials | None:
    token = data.get("oauth_token")
    if isinstance(token, str) and token:
        return Credentials("", token)
    return _text_pair(data.get("key_id"), data.get("secret_key"))


def _text_pair(key: object, secret: object) -> Credentials | None:
    if isinstance(key, str) and isinstance(secret, str) and secret:
        return Credentials(key, secret)
    return None
