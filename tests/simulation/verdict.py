"""Hold what every consumer heard against what happened: lost, twice, reordered.

Always promised: a consumer hears the journal, record by record, sequences growing by one; each
event is there once; nothing is there that did not happen.

With Alpaca's record of events: every event since the record began is there. In the order in which
they happened, if all of a gap is found before fresh events stop waiting for it (REST answers in
time, without lag, and the stream does not swallow events unseen); otherwise late ones come late,
and the proxy has counted and logged that it let fresh ones pass.

Without one: what leaves a trace in orders and fills is there, known by order, event and cumulative
quantity; in the order of each order's life, under the same condition. Made events are marked. (What leaves
no trace is heard if the stream brings it; it may come behind what was found out meanwhile.)
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from simulation.consumer import Heard, SimulatedConsumer
from simulation.world import Outcome
from stream_proxy.model.orders import FILLS, OrderEvent, Origin
from stream_proxy.wire.alpaca.trade_updates import read_event

TRACED = FILLS | {"new", "canceled", "expired", "rejected", "replaced"}
"""What leaves a trace in orders and fills."""

_DOUBT_NS = 1_000_000_000
"""Where our clock was wrong, the record may begin so much earlier."""


def complaints(outcome: Outcome) -> list[str]:
    """Everything that is not as promised; empty if all is well."""
    found = list(outcome.complaints)
    if outcome.second_lines:
        found.append(f"{outcome.second_lines} attempts to hold a second connection")
    happened = _between(outcome, outcome.since_ns)
    earlier = {event.id for event in outcome.ledger} - {event.event_id for event in happened}
    for consumer in outcome.consumers:
        found += consumer.complaints
        found += _against_the_journal(outcome, consumer)
    whole = [c for c in outcome.consumers if c.begun_behind == 0]
    if not whole:
        found.append("nobody heard the record from its beginning")
    for consumer in whole[:1]:
        # The others heard the same, record by record.
        events = [heard.event for heard in consumer.heard if heard.event.event_id not in earlier]
        judge = _exact if outcome.weather.has_events else _reconstructed
        found += judge(outcome, happened, events)
        found += _marks(consumer.heard)
    return found


def _between(outcome: Outcome, since_ns: int, until_ns: float = math.inf) -> list[OrderEvent]:
    """What happened from one instant up to another."""
    return [
        read_event(msgspec.json.encode(event.data), Origin.STREAM)
        for event in outcome.ledger
        if since_ns <= event.at_ns < until_ns
    ]


def _against_the_journal(outcome: Outcome, consumer: SimulatedConsumer) -> list[str]:
    begun = consumer.begun_behind
    if begun is None:
        return [f"{consumer.name} never came in"]
    wanted = [
        (record.epoch, record.sequence, record.event.data, record.event.origin)
        for record in outcome.journal[begun:]
    ]
    got = [(h.epoch, h.sequence, h.event.data, h.origin) for h in consumer.heard]
    if got == wanted:
        return []
    return [f"{consumer.name} heard {len(got)} of {len(wanted)} records, or others"]


def _exact(outcome: Outcome, happened: list[OrderEvent], events: list[OrderEvent]) -> list[str]:
    found = _same([e.event_id for e in happened], [e.event_id for e in events], str)
    if not found and outcome.in_order:
        wanted = [event.event_id for event in happened]
        found += _first_difference(wanted, [event.event_id for event in events])
    if not found:
        data = {event.event_id: event.data for event in happened}
        changed = [event for event in events if data[event.event_id] != event.data]
        found += [f"{event.event_id} is not as it happened" for event in changed]
    return found


def _reconstructed(
    outcome: Outcome, happened: list[OrderEvent], events: list[OrderEvent]
) -> list[str]:
    since_ns = outcome.since_ns
    # REST doesn't tell when an older order came to the market, so nobody knows if that was since.
    unknown = {e.kind for e in happened if e.event == "new" and e.submitted_ns < since_ns}
    if outcome.weather.ahead_seconds:
        unknown |= {e.kind for e in _between(outcome, since_ns - _DOUBT_NS, since_ns)}
    wanted = Counter(
        event.kind for event in happened if event.event in TRACED and event.kind not in unknown
    )
    got = Counter(
        event.kind for event in events if event.event in TRACED and event.kind not in unknown
    )
    found = _same(list(wanted.elements()), list(got.elements()), str)
    names = Counter(event.event_id for event in events if event.event_id)
    found += [f"twice: {name}" for name, count in names.items() if count > 1]
    strange = names.keys() - {event.event_id for event in happened}
    found += [f"never happened: {name}" for name in strange]
    if not found and outcome.in_order:
        lives = _by_order(happened)
        traced = (e for e in events if e.event in TRACED and e.kind not in unknown)
        for order_id, told in _by_order(traced).items():
            if not _is_part(told, lives.get(order_id, [])):
                found.append(
                    f"reordered: {order_id} lived {_short(lives.get(order_id, []))}, "
                    f"told was {_short(told)}"
                )
    return found


def _same(wanted: list[str], got: list[str], name: Callable[[str], str]) -> list[str]:
    want, have = Counter(wanted), Counter(got)
    found = [f"lost: {name(one)}" for one in (want - have)]
    found += [f"twice: {name(one)}" for one, n in have.items() if n > 1 and n > want[one] > 0]
    found += [f"never happened: {name(one)}" for one in have if one not in want]
    return found


def _first_difference(wanted: Sequence[str], got: Sequence[str]) -> list[str]:
    for place, (one, other) in enumerate(zip(wanted, got, strict=True)):
        if one != other:
            late = sum(a != b for a, b in zip(wanted, got, strict=True))
            return [f"reordered: {late} of {len(wanted)}, first {other} at {place}, for {one}"]
    return []


def _by_order(events: Iterable[OrderEvent]) -> dict[str, list[str]]:
    lives: dict[str, list[str]] = defaultdict(list)
    for event in events:
        lives[event.order_id].append(event.kind)
    return lives


def _is_part(told: Sequence[str], life: Sequence[str]) -> bool:
    """Whether what was told is the life, perhaps with gaps, in its order."""
    rest = iter(life)
    return all(kind in rest for kind in told)


def _short(kinds: Sequence[str]) -> str:
    return " ".join(kind.partition(":")[2] for kind in kinds)


def _marks(heard: Sequence[Heard]) -> list[str]:
    """Made events say so, and nothing else does."""
    found = []
    for one in heard:
        made = one.origin is Origin.RECONSTRUCTED
        says = msgspec.json.decode(one.event.data).get("reconstructed", False)
        if made != says or made == bool(one.event.event_id):
            found.append(f"record {one.sequence} is {one.origin.value}, marked {says}")
    return found
