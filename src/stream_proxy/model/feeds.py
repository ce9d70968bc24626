"""Which endpoints Alpaca has, what each carries, and under which paths people ask for it.

Sources: Alpaca's streaming documentation for the official paths; the SDKs' environment variables
for the aliases (``DATA_PROXY_WS`` makes the Go SDK ask for ``/iex`` without a version).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stream_proxy.model.topics import FOLLOWERS_OF_TRADES, Channel

STOCK_CHANNELS = (
    "trades",
    "quotes",
    "bars",
    "updatedBars",
    "dailyBars",
    "statuses",
    "lulds",
    "imbalances",
)
OPTION_CHANNELS = ("trades", "quotes")
CRYPTO_CHANNELS = ("trades", "quotes", "orderbooks", "bars", "updatedBars", "dailyBars")
PERPETUAL_CHANNELS = (*CRYPTO_CHANNELS, "pricing")
NEWS_CHANNELS = ("news",)

# Wire type letter -> the channel whose subscribers get it. Corrections and cancels follow trades.
STOCK_TYPES = {
    "t": "trades",
    "q": "quotes",
    "b": "bars",
    "u": "updatedBars",
    "d": "dailyBars",
    "s": "statuses",
    "l": "lulds",
    "i": "imbalances",
    "c": "trades",
    "x": "trades",
}
OPTION_TYPES = {"t": "trades", "q": "quotes"}
CRYPTO_TYPES = {
    "t": "trades",
    "q": "quotes",
    "o": "orderbooks",
    "b": "bars",
    "u": "updatedBars",
    "d": "dailyBars",
    "p": "pricing",
}
NEWS_TYPES = {"n": "news"}


@dataclass(frozen=True, slots=True)
class Feed:
    """One upstream endpoint.

    ``name`` is how settings and logs call it, ``path`` where Alpaca serves it, ``kind`` one of
    stocks, options, crypto, news. ``types`` maps wire letters to channels.
    """

    name: str
    kind: str
    path: str
    aliases: tuple[str, ...] = ()
    channels: tuple[Channel, ...] = STOCK_CHANNELS
    types: dict[str, Channel] = field(default_factory=lambda: STOCK_TYPES, hash=False)
    wildcard_channels: frozenset[Channel] = frozenset(STOCK_CHANNELS)
    msgpack_only: bool = False
    always_open: bool = False

    def followers_of(self, channels: Iterable[Channel]) -> tuple[Channel, ...]:
        """The channels that come with these without being asked for."""
        return FOLLOWERS_OF_TRADES if self.kind == "stocks" and "trades" in channels else ()


def _stocks(name: str, path: str, *aliases: str, always_open: bool = False) -> Feed:
    return Feed(name, "stocks", path, aliases, always_open=always_open)


def _options(name: str) -> Feed:
    return Feed(
        name,
        "options",
        f"/v1beta1/{name}",
        (f"/{name}",),
        OPTION_CHANNELS,
        OPTION_TYPES,
        wildcard_channels=frozenset({"trades"}),
        msgpack_only=True,
    )


def _crypto(location: str) -> Feed:
    channels = PERPETUAL_CHANNELS if location == "global" else CRYPTO_CHANNELS
    retired = ("/v1beta1/crypto", "/v1beta2/crypto") if location == "us" else ()
    return Feed(
        f"crypto-{location}",
        "crypto",
        f"/v1beta3/crypto/{location}",
        (f"/{location}", *retired),
        channels,
        CRYPTO_TYPES,
        frozenset(channels),
        always_open=True,
    )


FEEDS: dict[str, Feed] = {
    feed.name: feed
    for feed in (
        _stocks("sip", "/v2/sip", "/sip"),
        _stocks("iex", "/v2/iex", "/iex"),
        _stocks("delayed_sip", "/v2/delayed_sip", "/delayed_sip"),
        _stocks("otc", "/v2/otc", "/otc"),
        # The documentation says v1beta1, the C# and Go SDKs ask for v2: both are served.
        _stocks("boats", "/v1beta1/boats", "/v2/boats", "/boats"),
        _stocks("overnight", "/v1beta1/overnight", "/v2/overnight", "/overnight"),
        _stocks("test", "/v2/test", "/test", always_open=True),
        _options("opra"),
        _options("indicative"),
        *map(_crypto, ("us", "us-1", "us-2", "eu-1", "bs-1", "global")),
        Feed(
            "news",
            "news",
            "/v1beta1/news",
            ("/news",),
            NEWS_CHANNELS,
            NEWS_TYPES,
            frozenset(NEWS_CHANNELS),
            always_open=True,
        ),
    )
}

STOCK_FEEDS = tuple(name for name, feed in FEEDS.items() if feed.kind == "stocks")


def feed_paths(default_stock_feed: str, default_option_feed: str = "indicative") -> dict[str, Feed]:
    """Every path that is served, without trailing slash.

    ``/`` is the default stock feed, ``/options`` the default option feed.
    """
    paths = {path: feed for feed in FEEDS.values() for path in (feed.path, *feed.aliases)}
    paths["/"] = FEEDS[default_stock_feed]
    paths["/options"] = FEEDS[default_option_feed]
    return paths
