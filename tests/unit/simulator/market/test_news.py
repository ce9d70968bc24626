"""Simulated news keep their pace and vary in what makes readers stumble."""

from __future__ import annotations

import msgspec

from stream_proxy.model.messages import News
from stream_proxy.model.time import NS_PER_SECOND, parse_rfc3339, timestamp_ns
from stream_proxy.simulator.market.news import LARGEST_CONTENT, NewsMarket

START_NS = parse_rfc3339("2026-11-21T15:00:00Z")
SYMBOLS = ("AAPL", "MSFT", "F", "TSLA", "BRK.B", "SPY", "QQQ")


def articles(seconds: int, mean: float, count: int = 1) -> list[News]:
    market = NewsMarket(5, SYMBOLS, START_NS, mean)
    made = []
    for second in range(1, seconds + 1):
        for article in market.take(count, START_NS + second * NS_PER_SECOND):
            assert isinstance(article, News)
            made.append(article)
    return made


def test_the_pace_follows_market_time_not_the_count() -> None:
    """About one per mean interval, whatever is asked for."""
    few, many = articles(1200, 30.0, count=0), articles(1200, 30.0, count=500)

    assert msgspec.msgpack.encode(few) == msgspec.msgpack.encode(many)
    assert 30 <= len(few) <= 55


def test_articles_vary() -> None:
    """Sizes, missing symbols and summaries, updates of the same article."""
    made = articles(1500, 1.0)
    sizes = [len(article.content) for article in made]

    assert 50_000 < max(sizes) <= LARGEST_CONTENT
    assert min(sizes) == 0
    assert sum(size > 20_000 for size in sizes) < len(sizes) / 10
    assert any(not article.symbols for article in made)
    assert any(len(article.symbols) > 1 for article in made)
    assert any(not article.summary for article in made)
    assert all(set(article.symbols) <= set(SYMBOLS) for article in made)
    text = "".join(article.content for article in made)
    assert "&lt;" in text
    assert "ã" in text
    by_id: dict[int, News] = {}
    updates = 0
    for article in made:
        created, updated = timestamp_ns(article.created_at), timestamp_ns(article.updated_at)
        assert created <= updated
        assert created % NS_PER_SECOND == 0
        if article.id in by_id:
            updates += 1
            assert by_id[article.id].created_at == article.created_at
        by_id[article.id] = article
    assert updates > 10


def test_no_snapshot() -> None:
    """News begin with the next article."""
    assert NewsMarket(1, SYMBOLS, START_NS).snapshot("news", "AAPL") == []
