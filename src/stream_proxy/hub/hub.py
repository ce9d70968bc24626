"""HOT PATH. Hand each message to everybody who wants it.

A message costs one look-up by symbol and one ``list.append`` per group of consumers; a flush costs
one encoding per group and one write per consumer. No await, no lock, no log line.
Guarded by ``tests/unit/hub/test_hot_path.py``, explained with figures in ``docs/performance.md``.

Consumers with the same shape (codec) and the same subscriptions share a group, and so its frames.
Subscribing pays for all this: it keeps, per type and symbol, the list of groups to append to,
consumers of ``*`` included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, repeat
from typing import Any, Protocol, TypeAlias

from stream_proxy.hub.distribute import distribute, look_up
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet, Symbol

Item: TypeAlias = Any
"""One encoded message: ``bytes`` or anything with its buffer (``msgspec.Raw``)."""


class Shape(Protocol):
    """How a kind of consumer wants its messages.

    ``transcode`` makes this shape's item from upstream's, or None when that can't be done;
    it is None itself for consumers in upstream's own codec.
    ``frames`` makes ready-to-write frames of a batch. ``whole`` makes them of upstream's own
    frames, for consumers in upstream's codec who want all that is in them; None means that they
    must be taken apart.
    """

    transcode: Callable[[Item], bytes | None] | None

    def frames(self, items: Sequence[Item]) -> list[bytes]: ...

    def whole(self, payloads: Sequence[bytes]) -> list[bytes] | None: ...


class Group(list[Item]):
    """The messages that a set of like-minded consumers gets at the next flush.

    A list, because that is the fastest thing to append to; unlike other lists, each is equal to
    itself alone. ``ready`` are frames that go out before the list, with the number of messages in
    them.
    """

    __slots__ = ("key", "members", "ready", "ready_messages", "shape", "topics")

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, shape: Shape, topics: SubscriptionSet, key: object) -> None:
        self.shape = shape
        self.topics = topics
        self.key = key
        self.members: dict[Outbox, None] = {}
        self.ready: list[bytes] = []
        self.ready_messages = 0

    def take(self, items: Sequence[Item], frames: list[bytes] | None) -> None:
        """Take a whole batch, as frames if they exist and would keep its place."""
        if frames is None or self:
            self.extend(items)
        else:
            self.ready += frames
            self.ready_messages += len(items)

    def flush(self) -> None:
        """Write what there is to every member."""
        frames, count = self.ready, self.ready_messages + len(self)
        if self:
            frames = frames + self.shape.frames(self)
            self.clear()
        if count:
            self.ready, self.ready_messages = [], 0
            for outbox in self.members:
                outbox.offer(frames, count)


class _Routes:
    """For one shape: type → (groups by symbol, groups of all other symbols).

    Two tables by channel say who asked: ``_named`` by name, ``_starred`` with ``*``. What the hot
    path reads follows from them: a symbol that anybody named has a list of all who get it, any
    other symbol falls back to ``everyone``. Each topic is added and removed on its own.
    """

    __slots__ = ("_letters", "_named", "_starred", "by_channel", "by_type", "everyone")

    def __init__(self, types: dict[str, Channel]) -> None:
        self._letters: dict[Channel, list[str]] = {}
        for letter, channel in types.items():
            self._letters.setdefault(channel, []).append(letter)
        self._named: dict[Channel, dict[Symbol, dict[Group, None]]] = {}
        self._starred: dict[Channel, dict[Group, None]] = {}
        self.by_channel: dict[Channel, dict[Symbol, list[Group]]] = {}
        self.everyone: dict[Channel, list[Group]] = {}
        self.by_type: dict[str, tuple[dict[Symbol, list[Group]], list[Group]]] = {}

    def add(self, group: Group, topics: Iterable[tuple[Channel, Symbol]]) -> None:
        for channel, symbol in topics:
            if channel not in self.by_channel:
                self._open(channel)
            named, starred = self._named[channel], self._starred[channel]
            table = self.by_channel[channel]
            if symbol == WILDCARD:
                starred[group] = None
                self.everyone[channel].append(group)
                for name, targets in table.items():
                    if group not in named[name]:
                        targets.append(group)
            else:
                if symbol not in table:
                    named[symbol], table[symbol] = {}, [*starred]
                named[symbol][group] = None
                if group not in starred:
                    table[symbol].append(group)

    def remove(self, group: Group, topics: Iterable[tuple[Channel, Symbol]]) -> None:
        for channel, symbol in topics:
            named, starred = self._named[channel], self._starred[channel]
            table = self.by_channel[channel]
            if symbol == WILDCARD:
                del starred[group]
                self.everyone[channel].remove(group)
                for name, targets in table.items():
                    if group not in named[name]:
                        targets.remove(group)
            else:
                del named[symbol][group]
                if not named[symbol]:
                    del named[symbol], table[symbol]
                elif group not in starred:
                    table[symbol].remove(group)

    def everyone_of(self, kinds: AbstractSet[str]) -> list[Group] | None:
        """Who gets a whole batch of these types, if nobody gets only a part of it."""
        first: list[Group] | None = None
        for kind in kinds:
            table, everyone = self.by_type.get(kind, _NOBODY)
            if table:
                return None
            if first is not None and first != everyone and set(first) != set(everyone):
                return None
            first = everyone
        return first

    def targets(
        self, kinds: AbstractSet[str], types: list[str], symbols: list[Symbol]
    ) -> list[list[Group]]:
        """Who gets each message of a batch."""
        if len(kinds) == 1:
            table, everyone = self.by_type.get(types[0], _NOBODY)
            return list(map(table.get, symbols, repeat(everyone)))
        tables = {kind: self.by_type.get(kind, _NOBODY) for kind in kinds}
        return look_up(tables, types, symbols)  # type: ignore[arg-type,return-value]

    def _open(self, channel: Channel) -> None:
        self._named[channel], self._starred[channel] = {}, {}
        table = self.by_channel[channel] = {}
        everyone = self.everyone[channel] = []
        for letter in self._letters.get(channel, ()):
            self.by_type[letter] = (table, everyone)


_TRANSCODED_AT_ONCE = 1000
"""Messages: about 2 ms of work."""

_NOBODY: tuple[dict[Symbol, list[Group]], list[Group]] = ({}, [])


class Hub:
    """The routing table of one feed.

    Args:
        types: wire letter → channel, the feed's vocabulary.
    """

    def __init__(self, types: dict[str, Channel]) -> None:
        self._types = types
        self._routes: dict[Shape, _Routes] = {}
        self._groups: dict[object, Group] = {}
        self._group_of: dict[Outbox, Group] = {}
        self._touched: list[list[Group]] | None = []
        """Who has something to write; None when there are too many to note."""
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
        routes.add(group, topics)
        return group

    def _regroup(self, group: Group, key: object, topics: SubscriptionSet) -> None:
        # A consumer that adds symbols one by one must not pay for all of them each time.
        routes = self._routes[group.shape]
        routes.remove(group, group.topics - topics)
        routes.add(group, topics - group.topics)
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
            routes.remove(group, group.topics)
            if not any(other.shape is group.shape for other in self._groups.values()):
                del self._routes[group.shape]

    def consumers(self) -> int:
        return len(self._group_of)

    # Messages: the hot path

    def publish(
        self,
        kinds: AbstractSet[str],
        types: list[str],
        symbols: list[Symbol],
        items: list[Item],
        payloads: Sequence[bytes] | None,
    ) -> None:
        """Queue a batch for its consumers; what needs no transcoding waits for `flush`.

        Args:
            kinds: the types that occur in the batch; the feed knows them all.
            types, symbols, items: the batch, index by index.
            payloads: upstream's frames, if they hold exactly this batch.
        """
        self.messages += len(items)
        self._note_few(len(items))
        foreign = False
        for shape, routes in self._routes.items():
            if shape.transcode is not None:
                foreign = True
                continue
            alike = routes.everyone_of(kinds)
            if alike is not None:
                # Who wants any of this wants all of it.
                self._give_all(alike, shape, items, payloads)
                continue
            targets = routes.targets(kinds, types, symbols)
            if self._touched is not None:
                self._touched += targets
            distribute(targets, items)  # type: ignore[arg-type]
        if foreign:
            self._publish_transcoded(kinds, types, symbols, items)

    def _note_few(self, messages: int) -> None:
        if messages > len(self._groups):
            # Nearly all groups have something: looking at each costs less than noting which.
            self._touched = None

    def _give_all(
        self,
        groups: list[Group],
        shape: Shape,
        items: list[Item],
        payloads: Sequence[bytes] | None,
    ) -> None:
        frames = shape.whole(payloads) if payloads is not None and groups else None
        for group in groups:
            group.take(items, frames)
        if self._touched is not None:
            self._touched.append(groups)

    def _publish_transcoded(
        self,
        kinds: AbstractSet[str],
        types: list[str],
        symbols: list[Symbol],
        items: list[Item],
    ) -> None:
        """The same for consumers in another codec, in shares.

        Transcoding takes several times as long as all the rest: nobody waits for more than a
        share of it, and who needs none waits for nothing.
        """
        if len(items) > _TRANSCODED_AT_ONCE:
            self.flush()
        for start in range(0, len(items), _TRANSCODED_AT_ONCE):
            share = slice(start, start + _TRANSCODED_AT_ONCE)
            if start:
                self.flush()
            self._note_few(min(len(items) - start, _TRANSCODED_AT_ONCE))
            for shape, routes in self._routes.items():
                if shape.transcode is not None:
                    targets = routes.targets(kinds, types[share], symbols[share])
                    if self._touched is not None:
                        self._touched += targets
                    self._transcode(shape.transcode, targets, items[share])

    def _transcode(
        self,
        transcode: Callable[[Item], bytes | None],
        targets: list[list[Group]],
        items: list[Item],
    ) -> None:
        for groups, item in zip(targets, items, strict=True):
            if groups:
                other = transcode(item)
                if other is None:
                    self.not_transcodable += 1
                    continue
                for group in groups:
                    group.append(other)

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
                group
                for group in self._groups.values()
                if group.shape is shape
                and (
                    not symbol
                    or any(group.topics.covers(c, symbol) for c in group.topics.channels())
                )
            ]
            self._queue(shape, groups, item)

    def _queue(self, shape: Shape, targets: list[Group], item: Item) -> None:
        if not targets:
            return
        if shape.transcode is not None:
            item = shape.transcode(item)
            if item is None:
                self.not_transcodable += 1
                return
        for group in targets:
            group.append(item)
        if self._touched is not None:
            self._touched.append(targets)

    def flush(self) -> None:
        """Write once to each consumer that has something."""
        touched = self._touched
        if touched is None:
            for group in self._groups.values():
                group.flush()
            self._touched = []
        elif touched:
            for group in set[Group]().union(*touched):
                group.flush()
            touched.clear()
