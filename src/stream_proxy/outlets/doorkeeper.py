"""Who may come in: Host, Origin, credentials.

A web page that the user visits can open WebSockets to loopback, and after DNS rebinding even with
a "same" origin. So ``Origin`` is compared with an exact list (most native programs send none), and
``Host`` with the names that this server goes by. Patterns are not offered: they have let
``trusted.example.evil.example`` in elsewhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream_proxy.model.slow_policy import SlowPolicy
from stream_proxy.wire.alpaca.requests import Credentials

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_WILD_ADDRESSES = ("0.0.0.0", "::", "")  # noqa: S104 (compared with, not bound to)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A key and secret that a consumer shows as if they were Alpaca's.

    ``slow`` is what its consumers get when they read too slowly and don't say themselves.
    """

    name: str
    key: str
    secret: str
    slow: SlowPolicy | None = None

    def __repr__(self) -> str:
        return f"AccessToken({self.name!r}, ***)"


class Doorkeeper:
    """Decides on handshakes and credentials.

    Args:
        hosts: names under which this server is reached, without port; None = any (bound wide,
            with tokens, and no names given).
        origins: web origins whose pages may read, exactly as browsers send them.
        tokens: when there are any, a consumer must show one of them.
    """

    def __init__(
        self, hosts: Iterable[str] | None, origins: Iterable[str], tokens: Sequence[AccessToken]
    ) -> None:
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._origins = frozenset(origins)
        self._tokens = tuple(tokens)

    def allows_host(self, host: str | None) -> bool:
        """Whether the ``Host`` header names this server, whatever the port."""
        if self._hosts is None:
            return True
        if not host:
            return False
        name, separator, port = host.rpartition(":")
        if not separator or not port.isdigit() or (name.startswith("[") and "]" not in name):
            name = host
        return name.lower() in self._hosts

    def allows_origin(self, origins: Sequence[str], host: str | None) -> bool:
        """Whether the ``Origin`` headers are none, or exactly one: from the list, or our own.

        Our own is the very address that the request was sent to (``host``, which has passed
        `allows_host`): the library websocket-client says so of itself, and no page but ours can.
        Where any name is accepted, a rebound one would be too: then it doesn't count.
        """
        if not origins:
            return True
        if len(origins) != 1:
            return False
        (origin,) = origins
        if origin in self._origins:
            return True
        return (
            self._hosts is not None
            and bool(host)
            and origin in (f"http://{host}", f"https://{host}")
        )

    def identify(self, credentials: Credentials) -> str | None:
        """The name of who shows these credentials; None if nobody may.

        Without tokens everybody is welcome. All tokens are compared, in constant time each, so
        that the time tells nothing.
        """
        if not self._tokens:
            return "anybody"
        found = None
        for token in self._tokens:
            same_key = credentials.bearer or hmac.compare_digest(
                token.key.encode(), credentials.key.encode()
            )
            same_secret = hmac.compare_digest(token.secret.encode(), credentials.secret.encode())
            if same_key and same_secret:
                found = token.name
        return found

    def slow_policy(self, identity: str) -> SlowPolicy | None:
        """What a token's consumers get when they read too slowly; None where it doesn't say."""
        return next((token.slow for token in self._tokens if token.name == identity), None)


def host_names(bound: str, extra: Sequence[str]) -> list[str] | None:
    """The names a server bound to this address goes by; None when that can't be known."""
    if bound in _WILD_ADDRESSES:
        return [*_LOOPBACK_NAMES, *extra] if extra else None
    own = f"[{bound}]" if ":" in bound else bound
    return [*_LOOPBACK_NAMES, own, *extra]


def is_loopback(bound: str) -> bool:
    """Whether only programs on this machine can connect to this address."""
    return bound in ("localhost", "::1") or bound.startswith("127.")
