"""What `doctor` looks at: one function a check, each bounded in time, each giving findings.

A finding is a sentence about what is, and, unless all is well, one about what to do.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from stream_proxy.cli.subscriber import StreamFailed, credentials_for, open_stream
from stream_proxy.config.load import Loaded
from stream_proxy.config.schema import Settings
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.outlets.doorkeeper import is_loopback
from stream_proxy.sources.market_hours import ExchangeMarketHours
from stream_proxy.wire.alpaca.codes import AUTH_FAILED, INSUFFICIENT_SUBSCRIPTION
from stream_proxy.wire.alpaca.walk import COMPILED

_NETWORK_SECONDS = 4.0
_STREAM_SECONDS = 5.0
_CERTIFICATE_DAYS = 14
_CLOCK_SECONDS = 1.0


class Mark(Enum):
    """How a check went."""

    FINE = "✓"
    REMARK = "!"
    WRONG = "✗"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    mark: Mark
    subject: str
    text: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.mark.value} {self.subject}: {self.text}" + (
            f" → {self.cure}" if self.cure else ""
        )


def check_settings(loaded: Loaded) -> list[Finding]:
    """How many settings there are, where from, and what was said about them."""
    by_origin: dict[str, list[str]] = {}
    for name, origin in loaded.origins.items():
        by_origin.setdefault(origin, []).append(name)
    shown = "; ".join(f"{', '.join(names)} from {origin}" for origin, names in by_origin.items())
    return [Finding(Mark.FINE, "settings", shown or "all defaults")] + [
        Finding(Mark.REMARK, "settings", remark, "Remove it, or leave it.")
        for remark in loaded.remarks
    ]


def check_keys(loaded: Loaded) -> Finding:
    """Whether Alpaca keys are there and look like keys. Their values are never shown."""
    settings = loaded.settings
    if settings.key is None or settings.secret is None:
        if "alpaca.markets" in settings.upstream_url:
            return Finding(
                Mark.WRONG,
                "keys",
                "no Alpaca keys are set, so Alpaca will refuse every connection.",
                "Set ALPACA_KEY and ALPACA_SECRET, or try `stream-proxy demo` without keys.",
            )
        return Finding(Mark.FINE, "keys", "none are set; a simulator may need none")
    for name, secret in (("key", settings.key), ("secret", settings.secret)):
        value = secret.get_secret_value()
        if not value.isascii() or any(c.isspace() or c in "\"'" for c in value):
            return Finding(
                Mark.REMARK,
                "keys",
                f"the {name} (from {loaded.origins[name]}) has spaces or quotes in it.",
                "Check how it was copied: Alpaca's have letters and digits only.",
            )
    origins = f"key from {loaded.origins['key']}, secret from {loaded.origins['secret']}"
    return Finding(Mark.FINE, "keys", f"{origins} (values are never shown)")


def check_state_dir(settings: Settings) -> Finding:
    """Whether files of our own can be kept."""
    wanted = settings.state_dir
    existing = wanted
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        made = "is writable" if existing == wanted else "will be made when it is needed"
        return Finding(Mark.FINE, "state_dir", f"{_home(wanted)} {made}")
    return Finding(
        Mark.WRONG,
        "state_dir",
        f"{_home(wanted)} can't be written, because {_home(existing)} can't.",
        "Set STREAM_PROXY_STATE_DIR to a directory of yours, or fix its permissions.",
    )


def check_build(compiled: bool = COMPILED) -> Finding:
    """Whether the innermost loops run at full speed."""
    if compiled:
        return Finding(Mark.FINE, "build", "the hot path is compiled")
    return Finding(
        Mark.REMARK,
        "build",
        "the hot path is interpreted: everything works, with half the throughput.",
        "Install a C compiler (Debian: apt install gcc python3-dev; macOS: xcode-select --install) "
        "and install the package again.",
    )


def _home(path: Path) -> str:
    """The path with the home directory as ``~``."""
    text, home = str(path), str(Path.home())
    return f"~{text[len(home) :]}" if text.startswith(f"{home}/") else text


# The way to upstream


def _upstream(settings: Settings) -> tuple[SplitResult, str, int]:
    url = urlsplit(settings.upstream_url)
    return url, url.hostname or "", url.port or (443 if url.scheme == "wss" else 80)


async def check_name(settings: Settings) -> Finding:
    """Whether upstream's name resolves."""
    _, host, port = _upstream(settings)
    try:
        async with asyncio.timeout(_NETWORK_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except (TimeoutError, OSError, UnicodeError) as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else "no such name"
        return Finding(
            Mark.WRONG,
            "name",
            f"{host} doesn't resolve ({why}).",
            "Check the network and its DNS, and STREAM_PROXY_UPSTREAM_URL for typing errors.",
        )
    addresses = sorted({str(entry[4][0]) for entry in found})
    return Finding(Mark.FINE, "name", f"{host} is {', '.join(addresses[:3])}")


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.upstream_url.startswith("wss:"):
        return None
    return ssl.create_default_context(cafile=settings.upstream_ca)


async def check_connection(settings: Settings) -> list[Finding]:
    """Connect once: the certificate, and the clock by the answer's Date header."""
    url, host, port = _upstream(settings)
    try:
        tls = _tls(settings)
    except OSError as error:
        cure = "Set STREAM_PROXY_UPSTREAM_CA to a PEM file of authorities."
        return [Finding(Mark.WRONG, "tls", f"upstream_ca can't be used: {error.strerror}.", cure)]
    try:
        async with asyncio.timeout(_NETWORK_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=tls, server_hostname=host if tls else None
            )
            try:
                certificate = writer.get_extra_info("peercert") or {}
                before = time.time()
                writer.write(f"GET / HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
                head = await reader.read(4096)
                after = time.time()
            finally:
                writer.close()
    except ssl.SSLCertVerificationError as error:
        return [
            Finding(
                Mark.WRONG,
                "tls",
                f"the certificate of {host} was refused: {error.verify_message}.",
                "If your network inspects TLS, set STREAM_PROXY_UPSTREAM_CA to its authority; "
                "if the clock of this machine is wrong, set it.",
            )
        ]
    except (OSError, TimeoutError) as error:
        return [
            Finding(
                Mark.WRONG,
                "connection",
                f"can't connect to {host}:{port} ({_why(error)}).",
                "Is a firewall between, or, with a simulator, is it running? "
                "STREAM_PROXY_UPSTREAM_URL says where upstream is.",
            )
        ]
    return [judge_certificate(host, certificate if tls else None), judge_clock(head, before, after)]


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_NETWORK_SECONDS:g} s"
    return getattr(error, "strerror", None) or type(error).__name__


def judge_certificate(host: str, certificate: dict[str, str] | None) -> Finding:
    """How long the certificate is valid; None stands for a connection without TLS."""
    if certificate is None:
        if is_loopback(host):
            return Finding(Mark.FINE, "tls", "not used, which is right for a simulator here")
        return Finding(
            Mark.REMARK, "tls", f"not used: keys travel to {host} in clear text.", "Use wss://."
        )
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = (ends - time.time()) / 86_400
    text = f"the certificate of {host} is valid until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d}"
    if days < _CERTIFICATE_DAYS:
        return Finding(
            Mark.REMARK, "tls", f"{text}, {days:.0f} days.", "Its owner has to renew it."
        )
    return Finding(Mark.FINE, "tls", text)


def judge_clock(head: bytes, before: float, after: float) -> Finding:
    """Compare clocks; the Date header has whole seconds and may be one old: one is added to it."""
    for header in head.decode("latin-1").split("\r\n"):
        name, _, value = header.partition(":")
        if name.strip().lower() == "date":
            try:
                theirs = parsedate_to_datetime(value.strip()).timestamp() + 1.0
            except (ValueError, TypeError):
                break
            offset = (before + after) / 2 - theirs
            text = f"this machine is {abs(offset):.1f} s {'ahead' if offset > 0 else 'behind'}"
            if abs(offset) <= _CLOCK_SECONDS + (after - before) / 2:
                return Finding(Mark.FINE, "clock", f"{text}, within what can be measured")
            return Finding(
                Mark.REMARK,
                "clock",
                f"{text} of upstream: ages and gaps will be judged wrongly.",
                "Let the clock be set by NTP (timedatectl set-ntp true).",
            )
    return Finding(
        Mark.REMARK, "clock", "upstream didn't say what time it is.", "Compare the clock yourself."
    )


async def check_market(now_ns: int) -> Finding:
    """Whether quiet stock feeds are to be expected."""
    hours = ExchangeMarketHours()
    await asyncio.to_thread(hours.load, now_ns)
    change = hours.next_change(now_ns)
    if change is None:
        return Finding(
            Mark.REMARK, "market", "no calendar for today.", "Update exchange-calendars."
        )
    what, when_ns = change
    instant = f"{datetime.fromtimestamp(when_ns / NS_PER_SECOND, UTC):%Y-%m-%d %H:%M} UTC"
    if what == "close":
        return Finding(Mark.FINE, "market", f"the regular session is on until {instant}")
    return Finding(
        Mark.FINE, "market", f"closed until {instant}: quiet stock and option feeds are normal"
    )


# The ports, and the proxy that may be there


async def check_port(settings: Settings) -> tuple[Finding, bool]:
    """Whether the port is free; and whether a proxy of ours has it."""
    host, port = settings.host, settings.port
    if port == 0 or await _is_free(host, port):
        return Finding(Mark.FINE, "port", f"{port} is free on {host}"), False
    if await is_proxy(local_address(settings)):
        text = f"{port}: a proxy is running here already, so it is asked instead of Alpaca"
        return Finding(Mark.FINE, "port", text), True
    return Finding(
        Mark.WRONG,
        "port",
        f"{port} on {host} is taken by a program that isn't this proxy, or can't be bound.",
        "Stop that program, or choose another port with STREAM_PROXY_PORT.",
    ), False


async def check_tls_port(settings: Settings) -> Finding:
    """The same for the port with TLS, where a running proxy has been found or not."""
    port = settings.tls_port
    if port == 0 or await _is_free(settings.host, port):
        return Finding(Mark.FINE, "tls_port", f"{port} is free on {settings.host}")
    return Finding(
        Mark.WRONG,
        "tls_port",
        f"{port} on {settings.host} is taken.",
        "Stop the program that has it, or choose another port with STREAM_PROXY_TLS_PORT.",
    )


async def _is_free(host: str, port: int) -> bool:
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    except OSError:
        return False
    server.close()
    await server.wait_closed()
    return True


def local_address(settings: Settings) -> str:
    """Where a proxy with these settings is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"ws://{f'[{host}]' if ':' in host else host}:{settings.port}"


async def is_proxy(address: str) -> bool:
    """Whether whoever listens there greets like Alpaca, which is how our proxy greets."""
    try:
        async with (
            asyncio.timeout(_NETWORK_SECONDS),
            connect(f"{address}/v2/test", proxy=None, compression=None) as greeter,
        ):
            return "connected" in str(await greeter.recv())
    except (OSError, TimeoutError, WebSocketException):
        return False


# The streams


def streams_to_try(settings: Settings, through_proxy: bool) -> Sequence[str]:
    """The configured feeds; else the usual one of each kind.

    A running proxy would connect what it is asked for and keep it, so it is asked for no more
    than the default stock feed.
    """
    if settings.feeds:
        return settings.feeds
    if through_proxy:
        return [settings.feed]
    options = "opra" if settings.environment == "live" else "indicative"
    return [settings.feed, options, "crypto-us", "news"]


async def check_streams(settings: Settings, through_proxy: bool) -> list[Finding]:
    """Authenticate on each stream, one after the other, and leave with a close frame."""
    base = local_address(settings) if through_proxy else settings.upstream_url.rstrip("/")
    findings: list[Finding] = []
    for name in streams_to_try(settings, through_proxy):
        findings.append(await _try_stream(settings, base, name, through_proxy))
        if AUTH_FAILED.cure in findings[-1].cure:
            break  # the other streams would say the same
    return findings


async def _try_stream(settings: Settings, base: str, name: str, through_proxy: bool) -> Finding:
    feed = FEEDS[name]
    subject = f"stream {name}"
    try:
        credentials = credentials_for(base, settings)
        stream = await open_stream(
            base + feed.path,
            feed,
            credentials,
            tls=None if through_proxy else _tls(settings),
            timeout_seconds=_STREAM_SECONDS,
        )
        await stream.close()
    except StreamFailed as failure:
        if failure.code is None:
            return Finding(Mark.WRONG, subject, str(failure))
        needed = name in settings.feeds or name == settings.feed
        optional = failure.code is INSUFFICIENT_SUBSCRIPTION and not needed
        return Finding(
            Mark.REMARK if optional else Mark.WRONG,
            subject,
            f"refused with {failure.code.code} {failure.code.text}.",
            failure.code.cure,
        )
    if through_proxy:
        return Finding(Mark.FINE, subject, "the running proxy lets us in; it holds the connection")
    return Finding(Mark.FINE, subject, "authenticated; the connection was free, and is again")
