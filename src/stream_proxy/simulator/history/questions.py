"""What is asked of the market-data REST: parameters, their limits, and the tokens of pages.

Source: Alpaca, "Historical Stock Data", "Historical Crypto Data", "Historical Option Data", "News".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stream_proxy.model.time import NS_PER_MINUTE, parse_rfc3339, rfc3339

MOST_ITEMS = 10_000
USUAL_ITEMS = 1_000
MOST_ARTICLES = 50
USUAL_ARTICLES = 10
_MOST_SYMBOLS = 10_000
_DAY_MINUTES = 24 * 60
_MOST_IN_FRAME = {"Min": 59, "Hour": 23, "Day": 1}
_MINUTES_IN_FRAME = {"Min": 1, "Hour": 60, "Day": _DAY_MINUTES}
_SHORT_FRAMES = {"T": "Min", "H": "Hour", "D": "Day"}
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9./-]*")


class Refusal(Exception):
    """A question that is answered with an error: Alpaca's data REST gives a message alone."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: after this many items of this instant of this symbol."""

    symbol: str
    time_ns: int
    taken: int

    @property
    def token(self) -> str:
        text = f"{self.symbol}|{rfc3339(self.time_ns)}|{self.taken}"
        return base64.b64encode(text.encode()).decode()


@dataclass(frozen=True, slots=True)
class Question:
    """One question about the past: an interval, ends included, and how much of it at once."""

    symbols: tuple[str, ...]
    from_ns: int
    to_ns: int
    limit: int
    ascending: bool
    after: Position | None


def question(
    query: Mapping[str, str], now_ns: int, symbols: tuple[str, ...], *, news: bool = False
) -> Question:
    """Read the parameters that all history has.

    Raises:
        Refusal: one of them can't be meant.
    """
    midnight_ns = now_ns - now_ns % (_DAY_MINUTES * NS_PER_MINUTE)
    from_ns = instant(query, "start", 0 if news else midnight_ns)
    to_ns = instant(query, "end", now_ns)
    if from_ns > to_ns:
        raise Refusal(400, "end should not be before start")
    usual, most = (USUAL_ARTICLES, MOST_ARTICLES) if news else (USUAL_ITEMS, MOST_ITEMS)
    sort = query.get("sort") or ("desc" if news else "asc")
    if sort not in ("asc", "desc"):
        raise Refusal(400, f"invalid sort: {sort[:20]}")
    token = query.get("page_token")
    after = _position(token) if token else None
    if after is not None and not news and after.symbol not in symbols:
        raise Refusal(400, "invalid page_token")
    limit = _limit(query.get("limit"), usual, most)
    return Question(symbols, from_ns, to_ns, limit, sort == "asc", after)


def symbols_of(query: Mapping[str, str], *, needed: bool = True) -> tuple[str, ...]:
    """The symbols asked for, sorted, each once.

    Raises:
        Refusal: there are none, or one is none.
    """
    wanted = {part.strip() for part in query.get("symbols", "").split(",")} - {""}
    if needed and not wanted:
        raise Refusal(400, "symbols is required")
    if len(wanted) > _MOST_SYMBOLS:
        raise Refusal(400, "too many symbols")
    for symbol in wanted:
        check_symbol(symbol)
    return tuple(sorted(wanted))


def check_symbol(symbol: str) -> str:
    """Give the symbol back.

    Raises:
        Refusal: nothing is called like that.
    """
    if not _SYMBOL.fullmatch(symbol):
        raise Refusal(400, f"invalid symbol: {symbol[:40]}")
    return symbol


def instant(query: Mapping[str, str], name: str, otherwise: int) -> int:
    """A time, or a date that means its midnight in UTC.

    Raises:
        Refusal: it is neither.
    """
    text = query.get(name)
    if not text:
        return otherwise
    # A plus sign that was not escaped comes as a space.
    text = text.replace(" ", "+") if text.count(":") > 1 else text
    try:
        return parse_rfc3339(text if "T" in text else f"{text}T00:00:00Z")
    except ValueError:
        raise Refusal(400, f"invalid {name}: {text[:40]}") from None


def timeframe_minutes(text: str | None) -> int:
    """The length of the bars asked for; a day is 1440 minutes.

    Raises:
        Refusal: there are no such bars.
    """
    if not text:
        raise Refusal(400, "timeframe is required")
    match = re.fullmatch(r"(\d{1,2})(Min|T|Hour|H|Day|D)", text)
    unit = _SHORT_FRAMES.get(match[2], match[2]) if match is not None else ""
    if match is None or not 1 <= int(match[1]) <= _MOST_IN_FRAME[unit]:
        raise Refusal(400, f"invalid timeframe: {text[:20]} (the simulator has Min, Hour and Day)")
    return int(match[1]) * _MINUTES_IN_FRAME[unit]


def _limit(text: str | None, usual: int, most: int) -> int:
    if not text:
        return usual
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise Refusal(400, f"invalid limit: {text[:20]} (1 to {most})")
    return int(text)


def _position(token: str) -> Position:
    try:
        symbol, time, taken = base64.b64decode(token, validate=True).decode().split("|")
        return Position(symbol, parse_rfc3339(time), int(taken))
    except ValueError:
        raise Refusal(400, "invalid page_token") from None
