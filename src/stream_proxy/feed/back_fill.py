"""Messages that were missed, on their way to the consumers: numbered, kept, and handed out.

They don't pass through the hub, since not every subscriber gets them. Each consumer's form says
which kinds it takes and how they look; consumers with the same form and the same topics share the
frames. Minute bars go to everybody who holds them, all else to who asked for continuity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stream_proxy.feed.replay import is_wanted, wanted_of
from stream_proxy.hub.routes import Shape

if TYPE_CHECKING:
    from stream_proxy.feed.consumer import Consumer
    from stream_proxy.feed.handler import FeedHandler

BARS = frozenset({"b", "u"})


@dataclass(frozen=True, slots=True)
class Missed:
    """A message that was asked for afterwards.

    Attributes:
        kind: its wire letter.
        symbol: of news, a list of them.
        plain: in upstream's codec, as it would have come.
        marked: the same with ``"backfilled": true``.
    """

    kind: str
    symbol: Any
    plain: bytes
    marked: bytes


class BackFillForm(Protocol):
    """How a kind of consumer gets what was missed.

    ``letters`` are the types that it takes, None for all. ``shape`` is what its messages are
    counted by. ``frames`` makes ready-to-write frames, and tells how many messages they hold.
    """

    letters: frozenset[str] | None

    @property
    def shape(self) -> Shape: ...

    def frames(
        self, missed: Sequence[Missed], sequences: Sequence[int], received_ns: int
    ) -> tuple[list[bytes], int]: ...


def hand_out(handler: FeedHandler, missed: Sequence[Missed], received_ns: int) -> None:
    """Number messages that were missed, keep them, and give them to those who take them.

    Not too many at once: nobody else is served meanwhile.
    """
    first = handler.keep_back_filled([one.marked for one in missed], received_ns)
    groups: dict[object, list[Consumer]] = {}
    for consumer in handler.consumers:
        # Who resumes gets them from the ring, in their place.
        if consumer.back_fill is not None and consumer.replay is None and consumer.topics:
            key = id(consumer.back_fill), consumer.topics.key()
            groups.setdefault(key, []).append(consumer)
    for consumers in groups.values():
        _serve(handler, consumers, missed, first, received_ns)


def _serve(
    handler: FeedHandler,
    consumers: Sequence[Consumer],
    missed: Sequence[Missed],
    first: int,
    received_ns: int,
) -> None:
    """Consumers that get the same."""
    form = consumers[0].back_fill
    assert form is not None
    wanted = wanted_of(consumers[0].topics, handler.feed.types)
    chosen = [
        (one, sequence)
        for sequence, one in enumerate(missed, first)
        if (form.letters is None or one.kind in form.letters)
        and is_wanted(wanted, one.kind, one.symbol)
    ]
    if not chosen:
        return
    frames, count = form.frames([one for one, _ in chosen], [n for _, n in chosen], received_ns)
    if not count:
        return
    counts = Counter(one.kind for one, _ in chosen)
    for consumer in consumers:
        meter = consumer.outbox.meter = handler.hub.meter(form.shape)
        meter.flow.aside(counts)
        consumer.outbox.offer(frames, count)
