"""HOT PATH. Who wants what: shapes, groups of like-minded consumers, tables that lead to them.

Consumers with the same shape (codec) and the same subscriptions share a group, and so its frames.
Subscribing pays: it keeps, per type and symbol, the list of groups to append to, consumers of
``*`` included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import repeat
from typing import Any, Protocol, TypeAlias

from stream_proxy.hub.distribute import look_up, tally
from stream_proxy.hub.flow import Counts, Flow, Meter
from stream_proxy.hub.outbox import Frame, Outbox
from stream_proxy.model.topics import WILDCARD, Channel, SubscriptionSet, Symbol

Item: TypeAlias = Any
"""One encoded message: ``bytes`` or anything with its buffer (``msgspec.Raw``)."""

Late: TypeAlias = tuple[Outbox, list[Frame], int]
"""A consumer whose socket is full, and what is to be queued for it."""

_NOBODY: tuple[dict[Symbol, list[Group]], list[Group]] = ({}, [])


class Shape(Protocol):
    """How a kind of consumer wants its messages.

    ``protocol`` names it for whoever counts. ``letters`` are the types that it can carry, None if
    all. ``at_once`` is how many messages it transcodes in about 2 ms. ``transcode`` makes this
    shape's items from upstream's, given with their sequences and the time of their receipt (wall
    clock, ns), and None for each that can't be made; it is None itself for consumers in upstream's
    own codec. ``transcode_whole``, where a shape of one type can, makes frames of all these at
    once, and tells how many messages they hold. ``classify`` counts the messages in frames.
    ``frames`` makes frames of a batch, ready to write, or what an outbox that conflates takes.
    ``whole`` makes them of upstream's own frames, for consumers in upstream's codec who want all
    that is in them; None means that they must be taken apart.
    """

    protocol: str
    letters: frozenset[str] | None
    at_once: int

    @property
    def transcode(
        self,
    ) -> Callable[[Sequence[Item], Sequence[int], int], Sequence[Item | None]] | None: ...

    @property
    def transcode_whole(
        self,
    ) -> Callable[[Sequence[Item], Sequence[int], int], tuple[list[bytes], int]] | None: ...

    def classify(self, frames: Sequence[Frame]) -> Counts: ...

    def frames(self, items: Sequence[Item]) -> list[Frame]: ...

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

    def flush(self, behind: list[Late]) -> int:
        """Write what there is to every member; give the number of deliveries.

        Those whose sockets are full are only noted: nobody else waits until it is queued for them.
        """
        frames, count = self.ready, self.ready_messages + len(self)
        if self:
            frames = frames + self.shape.frames(self)
            self.clear()
        if count:
            self.ready, self.ready_messages = [], 0
            for outbox in self.members:
                if outbox.queues:
                    behind.append((outbox, frames, count))
                else:
                    outbox.offer(frames, count)
        return count * len(self.members)


class Routes:
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
