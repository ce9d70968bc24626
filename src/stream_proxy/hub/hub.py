"""HOT PATH. Hand each message to everybody who wants it.

A message costs one look-up by type, one by symbol, and one ``list.append`` per group of consumers;
a flush costs one encoding per group and one write per consumer. No await, no lock, no log line.
Guarded by ``tests/unit/hub/test_hot_path.py``.

Consumers with the same shape (codec) and the same subscriptions share a group, and so its frames.
Subscribing pays for all this: it keeps, per type and symbol, the list of ``append`` methods to
call, consumers of ``*`` included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Protocol, TypeAlias

from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet, Symbol

Item: TypeAlias = Any
"""One encoded message: ``bytes`` or anything with its buffer (``msgspec.Raw``)."""


class Head(Protocol):
    """What routing reads: ``T`` the type letter, ``S`` the symbol."""

    T: str
    S: str


class Shape(Protocol):
    """How a kind of consumer wants its messages.

    ``transcode`` makes this shape's item from upstream's, or None when that can't be done;
    it is None itself for consumers in upstream's own codec.
    ``frames`` makes ready-to-write frames of a batch.
    """

    transcode: Callable[[Item], bytes | None] | None

    def frames(self, items: Sequence[Item]) -> list[bytes]: ...


class Group(list[Item]):
    """The messages that a set of like-minded consumers gets at the next flush.

    A list, so that its bound ``append`` is both the fastest way in and, through ``__self__``, the
    way back to the group.
    """

    __slots__ = ("key", "members", "shape", "topics")

    def __init__(self, shape: Shape, topics: SubscriptionSet, key: object) -> None:
        self.shape = shape
        self.topics = topics
        self.key = key
        self.members: dict[Outbox, None] = {}


Append: TypeAlias = Callable[[Item], None]


class _Routes:
    """For one shape: type → (look-up of targets by symbol, targets of ``*``).

    Two tables by channel say who asked: ``_named`` by name, ``_starred`` with ``*``. What the hot
    path reads follows from them: a symbol that anybody named has a list of all who get it, any
    other symbol falls back to ``everyone``. Each topic is added and removed on its own.
    """

    __slots__ = ("_letters", "_named", "_starred", "by_channel", "by_type", "everyone")

    def __init__(self, types: dict[str, Channel]) -> None:
        self._letters: dict[Channel, list[str]] = {}
        for letter, channel in types.items():
            self._letters.setdefault(channel, []).append(letter)
        self._named: dict[Channel, dict[Symbol, dict[Append, None]]] = {}
        self._starred: dict[Channel, dict[Append, None]] = {}
        self.by_channel: dict[Channel, dict[Symbol, list[Append]]] = {}
        self.everyone: dict[Channel, list[Append]] = {}
        self.by_type: dict[str, tuple[Callable[..., list[Append]], list[Append]]] = {}

    def add(self, append: Append, topics: Iterable[tuple[Channel, Symbol]]) -> None:
        for channel, symbol in topics:
            if channel not in self.by_channel:
                self._open(channel)
            named, starred = self._named[channel], self._starred[channel]
            table = self.by_channel[channel]
            if symbol == WILDCARD:
                starred[append] = None
                self.everyone[channel].append(append)
                for name, targets in table.items():
                    if append not in named[name]:
                        targets.append(append)
            else:
                if symbol not in table:
                    named[symbol], table[symbol] = {}, [*starred]
                named[symbol][append] = None
                if append not in starred:
                    table[symbol].append(append)

    def remove(self, append: Append, topics: Iterable[tuple[Channel, Symbol]]) -> None:
        for channel, symbol in topics:
            named, starred = self._named[channel], self._starred[channel]
            table = self.by_channel[channel]
            if symbol == WILDCARD:
                del starred[append]
                self.everyone[channel].remove(append)
                for name, targets in table.items():
                    if append not in named[name]:
                        targets.remove(append)
            else:
                del named[symbol][append]
                if not named[symbol]:
                    del named[symbol], table[symbol]
                elif append not in starred:
                    table[symbol].remove(append)

    def everyone_of(self, kinds: set[str]) -> list[Append] | None:
        """Who gets a whole frame of these types, if nobody gets only a part of it."""
        by_type = self.by_type
        first: list[Append] | None = None
        for kind in kinds:
            entry = by_type.get(kind)
            if entry is None or entry[0].__self__:  # type: ignore[attr-defined]
                return None
            if first is None:
                first = entry[1]
            elif first != entry[1]:
                return None
        return first

    def _open(self, channel: Channel) -> None:
        self._named[channel], self._starred[channel] = {}, {}
        table = self.by_channel[channel] = {}
        everyone = self.everyone[channel] = []
        for letter in self._letters.get(channel, ()):
            self.by_type[letter] = (table.get, everyone)


_NOBODY: tuple[Any, tuple[()]] = ({}.get, ())


class Hub:
    """The routing table of one feed.

    Args:
        types: wire letter → channel, the feed's vocabulary.
    """

    def __init__(self, types: dict[str, Channel]) -> None:
        self._types = types
        self._routes: dict[Shape, _Routes] = {}
        self._foreign: list[tuple[Shape, _Routes]] = []
        self._native: list[_Routes] = []
        self._groups: dict[object, Group] = {}
        self._group_of: dict[Outbox, Group] = {}
        self._touched: list[Sequence[Append]] = []
        self.messages = 0
        self.not_transcodable = 0

    # Membership: the control plane pays

    def set_topics(self, outbox: Outbox, shape: Shape, topics: SubscriptionSet) -> None:
        """Make this the consumer's whole set; an empty one takes it out."""
        self.flush()
        current = self._group_of.get(outbox)
        key = (shape, topics.key())
        if current is not None and current.key == key:
            return
        existing = self._groups.get(key)
        if current is not None and len(current.members) == 1 and existing is None and topics:
            self._regroup(current, key, topics)
            return
        if current is not None:
            self._leave(outbox, current)
        if topics:
            # A group with nothing to say is an empty list, and so false: compare with None.
            group = self._new_group(shape, key, topics) if existing is None else existing
            self._join(outbox, group)

    def remove(self, outbox: Outbox) -> None:
        """Take a consumer out; nobody else notices."""
        current = self._group_of.get(outbox)
        if current is not None:
            self.flush()
            self._leave(outbox, current)

    def _new_group(self, shape: Shape, key: object, topics: SubscriptionSet) -> Group:
        group = self._groups[key] = Group(shape, topics, key)
        routes = self._routes.get(shape)
        if routes is None:
            routes = self._routes[shape] = _Routes(self._types)
            if shape.transcode is None:
                self._native.append(routes)
            else:
                self._foreign.append((shape, routes))
        routes.add(group.append, topics)
        return group

    def _regroup(self, group: Group, key: object, topics: SubscriptionSet) -> None:
        # A consumer that adds symbols one by one must not pay for all of them each time.
        routes = self._routes[group.shape]
        routes.remove(group.append, group.topics - topics)
        routes.add(group.append, topics - group.topics)
        del self._groups[group.key]
        group.key, group.topics = key, topics
        self._groups[key] = group

    def _join(self, outbox: Outbox, group: Group) -> None:
        group.members[outbox] = None
        self._group_of[outbox] = group

    def _leave(self, outbox: Outbox, group: Group) -> None:
        del group.members[outbox], self._group_of[outbox]
        if not group.members:
            del self._groups[group.key]
            routes = self._routes[group.shape]
            routes.remove(group.append, group.topics)
            if not any(other.shape is group.shape for other in self._groups.values()):
                del self._routes[group.shape]
                self._native = [r for r in self._native if r is not routes]
                self._foreign = [pair for pair in self._foreign if pair[1] is not routes]

    def consumers(self) -> int:
        return len(self._group_of)

    # Messages: the hot path

    def publish(self, heads: Sequence[Head], items: Sequence[Item]) -> list[int]:
        """Queue a batch for its consumers; give the indexes of items of unknown type.

        Nothing is written before `flush`.
        """
        kinds = {head.T for head in heads}
        touch = self._touched.append
        for routes in self._native:
            alike = routes.everyone_of(kinds)
            if alike is not None:
                # Who wants any of this wants all of it: 10 ns a message instead of 300.
                for append in alike:
                    append.__self__.extend(items)  # type: ignore[attr-defined]
                touch(alike)
                continue
            by_type = routes.by_type.get
            for head, item in zip(heads, items, strict=True):
                get, everyone = by_type(head.T, _NOBODY)
                targets = get(head.S, everyone)
                if targets:
                    for append in targets:
                        append(item)
                    touch(targets)
        for shape, routes in self._foreign:
            by_type = routes.by_type.get
            transcode = shape.transcode
            assert transcode is not None
            for head, item in zip(heads, items, strict=True):
                get, everyone = by_type(head.T, _NOBODY)
                targets = get(head.S, everyone)
                if targets:
                    other = transcode(item)
                    if other is None:
                        self.not_transcodable += 1
                        continue
                    for append in targets:
                        append(other)
                    touch(targets)
        types = self._types
        strays: list[int] = []
        if not kinds <= types.keys():
            strays = [index for index, head in enumerate(heads) if head.T not in types]
        self.messages += len(items) - len(strays)
        return strays

    def publish_news(self, symbols: Sequence[Symbol], item: Item) -> None:
        """Queue one article: once for each group that wants any of its symbols, or ``*``."""
        self.messages += 1
        for shape, routes in self._routes.items():
            tables = routes.by_channel.get("news", {})
            everyone = routes.everyone.get("news", [])
            found = chain(everyone, *(tables.get(symbol, ()) for symbol in symbols))
            self._queue(shape, list(dict.fromkeys(found)), item)

    def publish_unknown(self, symbol: Symbol, item: Item) -> None:
        """Queue a message of a type that this version doesn't know.

        It goes to whoever wants its symbol on any channel; without a symbol, to all.
        """
        for shape in list(self._routes):
            groups = [
                group.append
                for group in self._groups.values()
                if group.shape is shape
                and (
                    not symbol
                    or any(group.topics.covers(c, symbol) for c in group.topics.channels())
                )
            ]
            self._queue(shape, groups, item)

    def _queue(self, shape: Shape, targets: Sequence[Append], item: Item) -> None:
        if not targets:
            return
        if shape.transcode is not None:
            item = shape.transcode(item)
            if item is None:
                self.not_transcodable += 1
                return
        for append in targets:
            append(item)
        self._touched.append(targets)

    def flush(self) -> None:
        """Write once to each consumer that has something."""
        touched = self._touched
        if not touched:
            return
        # In a small batch only few groups have something: find them by what was touched. In a
        # large one nearly all have, and looking at each costs less than hashing each append.
        groups: Iterable[Group]
        if len(touched) < len(self._groups):
            groups = [append.__self__ for append in set().union(*touched)]  # type: ignore[attr-defined]
        else:
            groups = self._groups.values()
        for group in groups:
            if group:
                count = len(group)
                frames = group.shape.frames(group)
                group.clear()
                for outbox in group.members:
                    outbox.offer(frames, count)
        touched.clear()
