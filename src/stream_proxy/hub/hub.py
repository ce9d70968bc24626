"""HOT PATH. Hand each message to everybody who wants it.

A message costs one look-up by symbol and one ``list.append`` per group of consumers; a flush costs
one encoding per group and one write per consumer. No await, no lock, no log line.
Guarded by ``tests/unit/hub/test_hot_path.py``, explained with figures in ``docs/performance.md``.

Consumers with the same shape (codec) and the same subscriptions share a group, and so its frames.
Subscribing pays for all this: it keeps, per type and symbol, the list of groups to append to,
consumers of ``*`` included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, compress, repeat
from typing import Any, Protocol, TypeAlias

from stream_proxy.hub.distribute import distribute, look_up, tally
from stream_proxy.hub.flow import Batch, Counts, Flow, Meter, add
from stream_proxy.hub.latency import Latency
from stream_proxy.hub.outbox import Outbox
from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet, Symbol

Item: TypeAlias = Any
"""One encoded message: ``bytes`` or anything with its buffer (``msgspec.Raw``)."""

_Columns: TypeAlias = tuple[list[str], list[Symbol], list[Item]]
"""Types, symbols and items of a batch, index by index."""


class Shape(Protocol):
    """How a kind of consumer wants its messages.

    ``protocol`` names it for whoever counts. ``letters`` are the types that it can carry, None if
    all. ``at_once`` is how many messages it transcodes in about 2 ms. ``transcode`` makes this
    shape's items from upstream's, given with their sequences and the time of their receipt (wall
    clock, ns), and None for each that can't be made; it is None itself for consumers in upstream's
    own codec. ``transcode_whole``, where a shape of one type can, makes frames of all these at
    once, and tells how many messages they hold. ``classify`` counts the messages in frames.
    ``frames`` makes ready-to-write frames of a batch. ``whole`` makes them of upstream's own
    frames, for consumers in upstream's codec who want all that is in them; None means that they
    must be taken apart.
    """

    protocol: str
    letters: frozenset[str] | None
    at_once: int

    @property
    def transcode(
        self,
    ) -> Callable[[Sequence[Item], Sequence[int], int], Sequence[bytes | None]] | None: ...

    @property
    def transcode_whole(
        self,
    ) -> Callable[[Sequence[Item], Sequence[int], int], tuple[list[bytes], int]] | None: ...

    def classify(self, frames: Sequence[bytes]) -> Counts: ...

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

    def flush(self) -> int:
        """Write what there is to every member; give the number of deliveries."""
        frames, count = self.ready, self.ready_messages + len(self)
        if self:
            frames = frames + self.shape.frames(self)
            self.clear()
        if count:
            self.ready, self.ready_messages = [], 0
            for outbox in self.members:
                outbox.offer(frames, count)
        return count * len(self.members)


class _Routes:
    """For one shape: type → (groups by symbol, groups of all other symbols).

    Two tables by channel say who asked: ``_named`` by name, ``_starred`` with ``*``. What the hot
    path reads follows from them: a symbol that anybody named has a list of all who get it, any
    other symbol falls back to ``everyone``. Each topic is added and removed on its own.
    """

    __slots__ = (
        "_known",
        "_letters",
        "_named",
        "_starred",
        "by_channel",
        "by_type",
        "everyone",
        "flow",
        "meter",
    )

    def __init__(self, types: dict[str, Channel], flow: Flow, meter: Meter) -> None:
        self.flow = flow
        self.meter = meter
        self._known: dict[str, dict[Symbol, int]] = {letter: {} for letter in types}
        """For `tally`."""
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

    def changed(self) -> None:
        """Somebody came or went: what was counted holds no longer."""
        for known in self._known.values():
            known.clear()

    def count(
        self,
        kinds: AbstractSet[str],
        types: list[str],
        symbols: list[Symbol],
        targets: list[list[Group]],
    ) -> None:
        """Note how many consumers get each message."""
        routed, mixed = self.flow.routed, len(kinds) > 1
        for kind in kinds:
            known = self._known.get(kind)
            if known is not None:
                deliveries = tally(kind, mixed, types, symbols, targets, known)
                if deliveries:
                    routed[kind] = routed.get(kind, 0) + deliveries

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


UNKNOWN = "?"
"""Stands for all types that this version doesn't know, where messages are counted."""

_WORTH_A_FLUSH = 1000
"""Messages: transcoding so many takes longer than looking whether somebody else has something."""

_NOBODY: tuple[dict[Symbol, list[Group]], list[Group]] = ({}, [])


class Hub:
    """The routing table of one feed.

    Args:
        types: wire letter → channel, the feed's vocabulary.
    """

    def __init__(self, types: dict[str, Channel]) -> None:
        self._types = types
        self._routes: dict[Shape, _Routes] = {}
        self._meters: dict[Shape, Meter] = {}
        self.flows: dict[str, Flow] = {}
        """By protocol."""
        self.latency = Latency()
        """From received to written to the consumers' sockets."""
        self.received: Counts = {}
        """Messages by their wire type."""
        self._batch = Batch()
        self._deliveries = 0
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
            routes = self._new_routes(shape)
            shapes = {**self._routes, shape: routes}
            # The quick ones first: they don't wait for the slow.
            self._routes = dict(sorted(shapes.items(), key=lambda one: -one[0].at_once))
        routes.add(group, topics)
        return group

    def _new_routes(self, shape: Shape) -> _Routes:
        types = self._types
        if shape.letters is not None:
            types = {kind: types[kind] for kind in shape.letters if kind in types}
        meter = self.meter(shape)
        return _Routes(types, meter.flow, meter)

    def meter(self, shape: Shape) -> Meter:
        """What counts for the consumers of a shape."""
        meter = self._meters.get(shape)
        if meter is None:
            flow = self.flows.setdefault(shape.protocol, Flow(self.received))
            meter = self._meters[shape] = Meter(flow, self._batch, shape.classify, self.latency)
        return meter

    def _regroup(self, group: Group, key: object, topics: SubscriptionSet) -> None:
        # A consumer that adds symbols one by one must not pay for all of them each time.
        routes = self._routes[group.shape]
        routes.remove(group, group.topics - topics)
        routes.add(group, topics - group.topics)
        routes.changed()
        del self._groups[group.key]
        group.key, group.topics = key, topics
        self._groups[key] = group

    def _join(self, outbox: Outbox, group: Group) -> None:
        group.members[outbox] = None
        self._group_of[outbox] = group
        routes = self._routes[group.shape]
        routes.changed()
        routes.flow.change(1)
        outbox.meter = routes.meter

    def _leave(self, outbox: Outbox, group: Group) -> None:
        del group.members[outbox], self._group_of[outbox]
        routes = self._routes[group.shape]
        routes.changed()
        routes.flow.change(-1)
        if not group.members:
            del self._groups[group.key]
            routes.remove(group, group.topics)
            if not any(other.shape is group.shape for other in self._groups.values()):
                del self._routes[group.shape]

    def consumers(self) -> int:
        return len(self._group_of)

    # Messages: the hot path

    def begin(self, begun_ns: int) -> None:
        """A batch was received then (monotonic)."""
        self._deliveries = 0
        self._batch.begun_ns = begun_ns
        self._batch.behind = 0

    def end(self, elapsed_ns: int) -> None:
        """All of the batch was written, or queued, so much later."""
        deliveries, behind = self._deliveries, self._batch.behind
        if behind:
            deliveries -= behind
            for meter in self._meters.values():
                meter.forget()
        if deliveries > 0:
            self.latency.observe(elapsed_ns, deliveries)

    def publish(
        self,
        received: Mapping[str, int],
        types: list[str],
        symbols: list[Symbol],
        items: list[Item],
        payloads: Sequence[bytes] | None,
        sequence: int = 0,
        received_ns: int = 0,
    ) -> None:
        """Queue a batch for its consumers; what needs no transcoding waits for `flush`.

        Args:
            received: how many there are of each type in the batch; the feed knows them all.
            types, symbols, items: the batch, index by index.
            payloads: upstream's frames, if they hold exactly this batch.
            sequence: of the first message.
            received_ns: when the batch came, wall clock.
        """
        self.messages += len(items)
        self._note_few(len(items))
        add(self.received, received)
        kinds = received.keys()
        foreign = False
        for shape, routes in self._routes.items():
            if shape.transcode is not None:
                foreign = True
                continue
            alike = routes.everyone_of(kinds)
            if alike is not None:
                # Who wants any of this wants all of it.
                self._give_all(alike, shape, items, payloads)
                routes.flow.route(received, _members(alike))
                continue
            targets = routes.targets(kinds, types, symbols)
            if self._touched is not None:
                self._touched += targets
            distribute(targets, items)  # type: ignore[arg-type]
            routes.count(kinds, types, symbols, targets)
        if foreign:
            self._publish_transcoded(kinds, types, symbols, items, sequence, received_ns)

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
        sequence: int,
        received_ns: int,
    ) -> None:
        """The same for consumers in another codec, in shares.

        Nobody waits for more than a share of it but those whose own takes longer, and who needs
        none waits for nothing.
        """
        for shape, routes in self._routes.items():
            mine = kinds & routes.by_type.keys()
            if shape.transcode is None or not mine:
                continue
            for start in range(0, len(items), shape.at_once):
                if len(items) > _WORTH_A_FLUSH:
                    self.flush()
                share = slice(start, start + shape.at_once)
                columns = types[share], symbols[share], items[share]
                first, many = sequence + start, len(columns[0])
                numbers: Sequence[int] = range(first, first + many)
                self._note_few(many)
                if len(mine) < len(kinds):
                    chosen = [kind in mine for kind in columns[0]]
                    columns, numbers = _chosen(chosen, columns, numbers)
                self._transcode(shape, routes, mine, columns, numbers, received_ns)

    def _transcode(
        self,
        shape: Shape,
        routes: _Routes,
        kinds: AbstractSet[str],
        columns: _Columns,
        sequences: Sequence[int],
        received_ns: int,
    ) -> None:
        assert shape.transcode is not None
        alike = routes.everyone_of(kinds)
        if alike is None:
            targets = routes.targets(kinds, columns[0], columns[1])
            if not all(targets):
                columns, sequences = _chosen(targets, columns, sequences)
                targets = list(filter(None, targets))
            routes.count(kinds, columns[0], columns[1], targets)
        else:
            counts = {kind: columns[0].count(kind) for kind in kinds}
            routes.flow.route(counts, _members(alike))
            if shape.transcode_whole is not None and not any(alike):
                self._transcode_whole(shape, routes.flow, alike, columns, sequences, received_ns)
                return
            targets = [alike] * len(columns[0])
        types, _, items = columns
        made: Sequence[Item] = shape.transcode(items, sequences, received_ns)
        if not all(made):
            for kind, groups, one in zip(types, targets, made, strict=True):
                if not one:
                    self._not_transcoded(routes.flow, kind, groups)
            targets = list(compress(targets, made))
            made = list(filter(None, made))
        if self._touched is not None:
            self._touched += targets
        if alike is None:
            distribute(targets, made)  # type: ignore[arg-type]
        else:
            for group in alike:
                group.extend(made)

    def _transcode_whole(
        self,
        shape: Shape,
        flow: Flow,
        groups: list[Group],
        columns: _Columns,
        sequences: Sequence[int],
        received_ns: int,
    ) -> None:
        """The same where all get all: nothing is made for a message alone."""
        assert shape.transcode_whole is not None
        frames, messages = shape.transcode_whole(columns[2], sequences, received_ns)
        lost = len(columns[2]) - messages
        if lost:
            self.not_transcodable += lost
            flow.lose({columns[0][0]: lost * _members(groups)})
        for group in groups:
            group.ready += frames
            group.ready_messages += messages
        if self._touched is not None:
            self._touched.append(groups)

    def _not_transcoded(self, flow: Flow, kind: str, groups: Sequence[Group]) -> None:
        self.not_transcodable += 1
        flow.lose({kind: _members(groups)})

    def publish_news(
        self, symbols: Sequence[Symbol], item: Item, sequence: int = 0, received_ns: int = 0
    ) -> None:
        """Queue one article: once for each group that wants any of its symbols, or ``*``."""
        self.messages += 1
        add(self.received, {"n": 1})
        for shape, routes in self._routes.items():
            tables = routes.by_channel.get("news", {})
            everyone = routes.everyone.get("news", [])
            found = chain(everyone, *(tables.get(symbol, ()) for symbol in symbols))
            targets = list(dict.fromkeys(found))
            self._queue(shape, routes, targets, item, "n", sequence, received_ns)

    def publish_unknown(self, symbol: Symbol, item: Item) -> None:
        """Queue a message of a type that this version doesn't know.

        It goes to whoever wants its symbol on any channel; without a symbol, to all.
        """
        add(self.received, {UNKNOWN: 1})
        for shape, routes in list(self._routes.items()):
            if shape.letters is not None:
                continue
            groups = [
                group
                for group in self._groups.values()
                if group.shape is shape
                and (
                    not symbol
                    or any(group.topics.covers(c, symbol) for c in group.topics.channels())
                )
            ]
            self._queue(shape, routes, groups, item, UNKNOWN, 0, 0)

    def _queue(
        self,
        shape: Shape,
        routes: _Routes,
        targets: list[Group],
        item: Item,
        kind: str,
        sequence: int,
        received_ns: int,
    ) -> None:
        if not targets:
            return
        routes.flow.route({kind: 1}, _members(targets))
        if shape.transcode is not None:
            [other] = shape.transcode([item], [sequence], received_ns)
            if other is None:
                self._not_transcoded(routes.flow, kind, targets)
                return
            item = other
        for group in targets:
            group.append(item)
        if self._touched is not None:
            self._touched.append(targets)

    # What became of them, by protocol and wire type

    def delivered(self) -> dict[tuple[str, str], int]:
        return _by_protocol({name: flow.delivered() for name, flow in self.flows.items()})

    def filtered(self) -> dict[tuple[str, str], int]:
        return _by_protocol({name: flow.filtered() for name, flow in self.flows.items()})

    def dropped(self) -> dict[tuple[str, str], int]:
        return _by_protocol({name: flow.dropped for name, flow in self.flows.items()})

    def conflated(self) -> dict[tuple[str, str], int]:
        return _by_protocol({name: flow.conflated for name, flow in self.flows.items()})

    def waiting(self) -> dict[tuple[str, str], int]:
        return _by_protocol({name: flow.waiting() for name, flow in self.flows.items()})

    def flush(self) -> None:
        """Write once to each consumer that has something."""
        touched = self._touched
        if touched is None:
            for group in self._groups.values():
                self._deliveries += group.flush()
            self._touched = []
        elif touched:
            for group in set[Group]().union(*touched):
                self._deliveries += group.flush()
            touched.clear()


def _by_protocol(counts: Mapping[str, Counts]) -> dict[tuple[str, str], int]:
    return {(name, kind): n for name, by_kind in counts.items() for kind, n in by_kind.items()}


def _chosen(
    chosen: Sequence[object], columns: _Columns, sequences: Sequence[int]
) -> tuple[_Columns, list[int]]:
    """What is to be kept of a batch, index by index."""
    types, symbols, items = columns
    return (
        (
            list(compress(types, chosen)),
            list(compress(symbols, chosen)),
            list(compress(items, chosen)),
        ),
        list(compress(sequences, chosen)),
    )


def _members(groups: Sequence[Group]) -> int:
    return sum([len(group.members) for group in groups])
