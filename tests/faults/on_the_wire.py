"""Faults of sockets, names, certificates, HTTP and WebSocket: U1 to U4, U6 to U16, U36."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from faults.alpaca import Line
from faults.frames import BINARY, TEXT, server_frame
from faults.network import unknown_name
from faults.strike import Strike, fault

_FOREVER_SECONDS = 1e6


@fault("U1", "reset in the middle of a frame")
def reset(strike: Strike) -> None:
    share = strike.random.random()
    strike.line()
    strike.in_wait("data", lambda line: line.cut_short(line.sending, share, reset=True))


@fault("U1", "reset between two frames", steps_share=0.5)
def reset_between(strike: Strike) -> None:
    if (line := strike.line()) is not None:
        strike.fired()
        line.drop()


@fault("U2", "end of stream in the middle of a frame")
def finish(strike: Strike) -> None:
    share = strike.random.random()
    strike.line()
    strike.in_wait("data", lambda line: line.cut_short(line.sending, share, reset=False))


@fault("U2", "end of stream without a close frame", steps_share=0.5)
def finish_between(strike: Strike) -> None:
    if (line := strike.line()) is not None:
        strike.fired()
        line.end()


@fault("U3", "half open: nothing passes, neither end knows", steps_share=0.3)
def half_open(strike: Strike) -> None:
    if (line := strike.line()) is not None:
        strike.fired()
        line.vanish(strike.random.uniform(1.0, 100.0))


@fault("U4", "open, but nothing is read or written", steps_share=0.3)
def stall(strike: Strike) -> None:
    if (line := strike.line()) is not None:
        seconds = strike.random.choice((3.0, 40.0, 90.0))
        strike.fired(seconds)
        line.stall(seconds)


@fault("U6", "one byte at a time")
def drip(strike: Strike) -> None:
    line = strike.line()
    if line is None:
        return
    seconds = strike.random.uniform(2.0, 10.0)
    strike.fired(seconds)
    line.far.drip_seconds = strike.random.choice((0.0005, 0.002))
    strike.world.loop.call_later(seconds, setattr, line.far, "drip_seconds", 0.0)


@fault("U7", "connection refused")
def refused(strike: Strike) -> None:
    strike.at_dial(
        lambda: ConnectionRefusedError(111, "Connection refused"), strike.random.randint(1, 6)
    )


@fault("U7", "connect hangs")
def connect_hangs(strike: Strike) -> None:
    _at_dial_wait(strike, _FOREVER_SECONDS)


def _at_dial_wait(strike: Strike, seconds: float) -> None:
    async def hang() -> None:
        strike.fired()
        await asyncio.sleep(seconds)

    strike.alpaca.dial_traps.append(hang)
    strike.make_it_reconnect()


@fault("U8", "the answer to the upgrade stops half way")
def slow_upgrade(strike: Strike) -> None:
    strike.at_next("upgrade", lambda line: line.put(b"HTTP/1.1 101 Switching Pro"))


@fault("U8", "the answer to the upgrade takes seconds")
def late_upgrade(strike: Strike) -> None:
    seconds = strike.random.uniform(1.0, 8.0)

    def later(line: Line) -> None:
        line.alpaca.loop.call_later(seconds, line.accept)

    strike.at_next("upgrade", later)


def _http(status: int, *headers: str) -> Callable[[Line], None]:
    head = "\r\n".join([f"HTTP/1.1 {status} No", "Content-Length: 2", *headers, "", "no"])

    def answer(line: Line) -> None:
        line.put(head.encode())
        line.end()

    return answer


@fault("U9", "HTTP status instead of the upgrade", weight=2.0)
def http_status(strike: Strike) -> None:
    status = strike.random.choice((401, 403, 404, 500, 502, 503))
    strike.at_next("upgrade", _http(status), strike.random.randint(1, 4))


@fault("U9", "HTTP 429 with Retry-After")
def too_many(strike: Strike) -> None:
    seconds = strike.random.randint(2, 60)

    def answer(line: Line) -> None:
        _http(429, f"Retry-After: {seconds}")(line)
        line.alpaca.not_before = line.alpaca.loop.time() + seconds

    strike.at_next("upgrade", answer)


@fault("U10", "redirect to another host")
def redirect(strike: Strike) -> None:
    status = strike.random.choice((301, 302, 307, 308))
    strike.at_next("upgrade", _http(status, "Location: wss://elsewhere.invalid/v2/sip"))


@fault("U11", "wrong Sec-WebSocket-Accept")
def wrong_accept(strike: Strike) -> None:
    strike.at_next("upgrade", lambda line: line.accept("d3JvbmcgYW5zd2VyIGtleSAhIQ=="))


@fault("U12", "the name can't be resolved")
def no_name(strike: Strike) -> None:
    strike.at_dial(unknown_name, strike.random.randint(1, 5))


@fault("U12", "the name takes seconds to resolve")
def slow_name(strike: Strike) -> None:
    _at_dial_wait(strike, strike.random.uniform(2.0, 9.0))


@fault("U12", "the endpoint moves; the name follows later")
def moved(strike: Strike) -> None:
    alpaca = strike.alpaca
    seconds = strike.random.uniform(1.0, 30.0)
    strike.fired(seconds)
    alpaca.address = "b" if alpaca.address == "a" else "a"
    address = alpaca.address
    strike.world.loop.call_later(seconds, setattr, alpaca, "resolves_to", address)
    if (line := strike.line()) is not None:
        line.drop()


@fault("U13", "certificate expired, of another name, or of an unknown authority")
def bad_certificate(strike: Strike) -> None:
    message = strike.random.choice(
        (
            "certificate has expired",
            "Hostname mismatch, certificate is not valid for 'alpaca.invalid'.",
            "unable to get local issuer certificate",
        )
    )

    def error() -> Exception:
        found = ssl.SSLCertVerificationError(1, "certificate verify failed")
        found.verify_message = message
        return found

    strike.at_dial(error, strike.random.randint(1, 3))


@fault("U13", "TLS handshake stalls, or the version is refused")
def bad_handshake(strike: Strike) -> None:
    if strike.random.random() < 0.5:
        _at_dial_wait(strike, _FOREVER_SECONDS)
    else:
        strike.at_dial(lambda: ssl.SSLError(1, "tlsv1 alert protocol version"))


@fault("U14", "close frame", weight=2.0, steps_share=0.4)
def close(strike: Strike) -> None:
    codes = 1000, 1001, 1008, 1009, 1011, 1012, 1013, 4000, 4999
    if (line := strike.line()) is not None:
        strike.fired()
        line.finish(strike.random.choice(codes))


@fault("U15", "what no server may send", weight=2.0)
def violation(strike: Strike) -> None:
    line = strike.line()
    if line is None or not line.upgraded:
        return
    masked = bytearray(server_frame(BINARY, b"\x90"))
    masked[1] |= 0x80
    ways = (
        bytes(masked) + b"\1\2\3\4",
        b"\xc2\x01\x90",  # a reserved bit
        b"\x83\x01\x90",  # an opcode that means nothing
        b"\x80\x01\x90",  # a continuation of nothing
        server_frame(TEXT, b'["\xff\xfe not UTF-8"]'),
        strike.random.randbytes(64),
    )
    strike.fired()
    strike.world.sent_unreadable = True
    line.put(strike.random.choice(ways))
    # Whoever breaks the protocol once is not to be trusted with what follows.
    line.end()


@fault("U16", "a frame of a terabyte")
def huge(strike: Strike) -> None:
    line = strike.line()
    if line is not None and line.upgraded:
        strike.fired()
        line.put(b"\x82\x7f" + (1 << 40).to_bytes(8, "big") + bytes(1000))


@fault("U16", "a message in fragments of one byte")
def fragments(strike: Strike) -> None:
    def send(line: Line) -> None:
        market = line.alpaca.market
        assert market is not None
        payload = line.alpaca.codec.join([market.item(tick) for tick in line.sending])
        first = BINARY if line.alpaca.codec.binary else TEXT
        pieces = []
        for index in range(len(payload)):
            opcode = (0 if index else first) | (0x80 if index == len(payload) - 1 else 0)
            pieces.append(bytes((opcode, 1)) + payload[index : index + 1])
        line.put(b"".join(pieces), [tick.serial for tick in line.sending])

    strike.in_wait("data", send)


@fault("U16", "fragments without end", weight=0.3)
def endless(strike: Strike) -> None:
    line = strike.line()
    if line is not None and line.upgraded:
        strike.fired()
        line.put(b"\x02\x01\x90" + b"\x00\x01\x90" * 10_001)


@fault("U36", "no file descriptors are left")
def no_descriptors(strike: Strike) -> None:
    strike.at_dial(lambda: OSError(24, "Too many open files"), strike.random.randint(1, 5))
