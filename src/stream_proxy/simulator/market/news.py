"""Simulated news: an article now and then, as Alpaca's news feed brings them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random

from msgspec.structs import replace

from stream_proxy.model.messages import Message, News
from stream_proxy.model.time import NS_PER_SECOND, to_timestamp

LARGEST_CONTENT = 200_000

_FIRST_ID = 42_106_318
_AUTHORS = ("Benzinga Newsdesk", "Ana Duarte", "Chris Müller", "Priya Raman", "Tomás O'Neill")
_SUBJECTS = ("Earnings", "Guidance", "Insider Purchase", "Price Target", "Buyback", "Outlook")
_VERBS = ("Raises", "Lowers", "Confirms", "Reports", "Withdraws", "Announces")
_OPENINGS = ("Shares of", "Analysts covering", "Options traders in", "Management of", "Holders of")
_EVENTS = (
    "moved after the company's latest filing",
    "look to the quarter's revenue & margins",
    "see the ratio of debt to equity at < 1.5",
    "were told that costs are > 3% lower",
    "expect “no surprises” from the meeting",
    "point to demand in São Paulo and Zürich",
    "pay $4.20 — up from $3.75 — for each share",
    "wait for the regulator's answer",
)

# Shares of articles: updates of earlier ones, without symbols, without a summary, very long.
_UPDATES, _NO_SYMBOLS, _NO_SUMMARY, _LONG, _EMPTY = 0.15, 0.10, 0.3, 0.03, 0.05
_MOST_SYMBOLS = 5
_USUAL_PARAGRAPHS = 12
_REMEMBERED = 20


class NewsMarket:
    """Articles at irregular intervals of market time, whatever the count asked for.

    Some are updates: the same id, a later ``updated_at``. Content is HTML of a few hundred bytes
    to some kilobytes, rarely up to ``LARGEST_CONTENT`` characters. Symbols may be missing.

    Args:
        seed: the same seed and calls give the same messages.
        symbols: the stocks that make news.
        start_ns: when market time begins.
        mean_interval_seconds: the mean time between articles; no two are closer than half of it.
    """

    def __init__(
        self,
        seed: int,
        symbols: Sequence[str],
        start_ns: int,
        mean_interval_seconds: float = 30.0,
    ) -> None:
        self.symbols: Sequence[str] = symbols
        self._rng = Random(seed)
        self._mean_ns = mean_interval_seconds * NS_PER_SECOND
        self._recent: deque[News] = deque(maxlen=_REMEMBERED)
        self._last_id = _FIRST_ID
        self._next_ns = start_ns
        self._schedule()

    def snapshot(self, channel: str, symbol: str) -> list[Message]:
        """Nothing: the news begin with the next article."""
        return []

    def take(self, count: int, now_ns: int) -> list[Message]:
        """See ``Market.take``; the count does not matter here."""
        out: list[Message] = []
        while self._next_ns <= now_ns:
            out.append(self._article(self._next_ns))
            self._schedule()
        return out

    def _schedule(self) -> None:
        self._next_ns += max(1, int(self._mean_ns * (0.5 + self._rng.random())))

    def _article(self, at_ns: int) -> News:
        rng = self._rng
        # News carry whole seconds.
        timestamp = to_timestamp(at_ns - at_ns % NS_PER_SECOND)
        if self._recent and rng.random() < _UPDATES:
            old = rng.choice(self._recent)
            addition = f"<p>Update: {self._sentence()}</p>"
            content = old.content + addition if len(old.content) < LARGEST_CONTENT else addition
            return replace(old, content=content[:LARGEST_CONTENT], updated_at=timestamp)
        self._last_id += 1 + int(40 * rng.random())
        symbols: list[str] = []
        if rng.random() >= _NO_SYMBOLS:
            most = min(_MOST_SYMBOLS, len(self.symbols))
            symbols = rng.sample(self.symbols, 1 + int(most * rng.random() ** 3))
        about = symbols[0] if symbols else "The Market"
        headline = f"{about} {rng.choice(_VERBS)} {rng.choice(_SUBJECTS)}; {self._sentence()}"
        slug = "-".join(headline.lower().split()[:4]).strip(";")
        article = News(
            self._last_id,
            headline,
            "" if rng.random() < _NO_SUMMARY else self._sentence() + ".",
            rng.choice(_AUTHORS),
            timestamp,
            timestamp,
            f"https://www.benzinga.com/news/{self._last_id}/{slug}",
            self._content(about),
            symbols,
            "benzinga",
        )
        self._recent.append(article)
        return article

    def _sentence(self) -> str:
        rng = self._rng
        subject = rng.choice(self.symbols) if self.symbols else "the index"
        return f"{rng.choice(_OPENINGS)} {subject} {rng.choice(_EVENTS)}"

    def _content(self, about: str) -> str:
        rng = self._rng
        chance = rng.random()
        if chance < _EMPTY:
            return ""
        if chance < _EMPTY + _LONG:
            return self._long_content(about)
        paragraphs = 1 + int(_USUAL_PARAGRAPHS * rng.random() ** 2)
        return self._head(about) + "".join(self._paragraph() for _ in range(paragraphs))

    def _long_content(self, about: str) -> str:
        # A few paragraphs over and over: what matters is the size.
        length = int(LARGEST_CONTENT * (0.25 + 0.75 * self._rng.random()))
        block = "".join(self._paragraph() for _ in range(20))
        head = self._head(about)
        room = max(0, length - len(head))
        body = (block * (1 + room // len(block)))[:room]
        return head + body[: body.rfind("</p>") + len("</p>")]

    def _head(self, about: str) -> str:
        link = f'<a class="ticker" href="https://www.benzinga.com/quote/{about}">{about}</a>'
        return f"<p>(NASDAQ: {link})</p>\n"

    def _paragraph(self) -> str:
        sentences = ". ".join(self._sentence() for _ in range(1 + int(4 * self._rng.random())))
        escaped = sentences.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return f"<p>{escaped}.</p>\n"
