"""HOT PATH. Hand each message to everybody who wants it.

A message costs one look-up by symbol and one ``list.append`` per group of consumers; a flush costs
one encoding per group and one write per consumer. No await, no lock, no log line.
Guarded by ``tests/unit/hub/test_hot_path.py``, explained with figures in ``docs/performance.md``.
Who gets what is found in ``routes.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, compress
from typing import TypeAlias

from stream_proxy.hub.distribute import distribute
from stream_proxy.hub.flow import Batch, Counts, Flow, Meter, add
from stream_proxy.hub.latency import Latency
from stream_proxy.hub.outbox import Outbox
from stream_proxy.hub.routes import Group, Item, Late, Routes, Shape
from stream_proxy.model.topics import Channel, SubscriptionSet, Symbol

_Columns: TypeAlias = tuple[list[str], list[Symbol], list[Item]]
"""Types, symbols and items of a batch, index by index."""


UNKNOWN = "?"
"""Stands for all types that this version doesn't know, where messages are counted."""

_WORTH_A_FLUSH = 1000
"""Messages: transcoding so many takes longer than looking whether somebody else has something."""


class Hub:
    """The routing table of one feed.

    Args:
        types: wire letter → channel, the feed's vocabulary.
    """

    def __init__(self, types: dict[str, Channel]) -> None:
        self._types = types
        self._routes: dict[Shape, Routes] = {}
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
        alone = current is not None and len(current.members) == 1 and current.shape is shape
        if current is not None and alone and existing is None and topics:
            self._regroup(current, key, topics)
            return
        if current is not None:
            self._leave(outbox, current)
        if topics:
            # A group with nothing to say is an empty list, and so false: compare with None.
            group = self._new_group(shape, key, topics) if existing is None else existing
            self._join(outbox, group)

    def reshape(self, outbox: Outbox, shape: Shape) -> None:
        """Give a consumer's messages another shape; one who isn't here stays away."""
        current = self._group_of.get(outbox)
        if current is not None:
            self.set_topics(outbox, shape, current.topics)

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

    def _new_routes(self, shape: Shape) -> Routes:
        types = self._types
        if shape.letters is not None:
            types = {kind: types[kind] for kind in shape.letters if kind in types}
        meter = self.meter(shape)
        return Routes(types, meter.flow, meter)

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
        routes: Routes,
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

    def publish_unknown(self, symbol: Symbol, item: Item, sequence: int = 0) -> None:
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
            self._queue(shape, routes, groups, item, UNKNOWN, sequence, 0)

    def _queue(
        self,
        shape: Shape,
        routes: Routes,
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
        behind: list[Late] = []
        try:
            if touched is None:
                for group in self._groups.values():
                    self._deliveries += group.flush(behind)
                self._touched = []
            elif touched:
                for group in set[Group]().union(*touched):
                    self._deliveries += group.flush(behind)
                touched.clear()
        finally:
            for outbox, frames, messages in behind:
                outbox.offer(frames, messages)


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
