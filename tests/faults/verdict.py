"""Hold what every consumer heard against the ledger: lost unflagged, twice, reordered, at rest.

From upstream's socket on, nothing may be missing, twice or out of order: what a consumer heard is
what was read from upstream, filtered by the topics that it had been promised, and its end may be
missing only where its connection ended. Before that, what happened on the exchange and was not
read must lie within a gap that the proxy has noted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from faults.alpaca import describe
from faults.consumer import Client, Visit
from faults.market import Tick
from faults.world import LIMITS, TIMINGS, Life, World
from stream_proxy.feed.upstream_status import UpstreamState
from stream_proxy.model.topics import SubscriptionSet
from stream_proxy.state.gaps import Gap

_ON_ITS_WAY_SECONDS = 1.0
_NOTICED_SECONDS = 22.0
"""Until a ping has waited in vain."""
_HEARD_LATELY_TICKS = 12
"""Of so many that a consumer is owed, the last ones, it must have heard some."""


@dataclass
class Verdict:
    """What was found out about one world."""

    complaints: list[str] = field(default_factory=list)
    lost: int = 0
    """Market data that is missing without any gap that says so."""
    duplicated: int = 0
    reordered: int = 0
    flagged: int = 0
    """Missing, and said so."""
    heard: int = 0


def judge(world: World) -> Verdict:
    """Everything that is not as promised."""
    verdict = Verdict([*world.complaints, *world.alpaca.complaints])
    arrived = {serial for read in world.read_log for serial in read.serials}
    for client in world.clients:
        verdict.complaints += client.complaints
        for visit in client.stories():
            verdict.heard += len(visit.serials)
            _fidelity(world, client, visit, verdict)
            _completeness(world, client, visit, arrived, verdict)
    _rest(world, verdict)
    _counts(world, verdict)
    return verdict


# From socket to socket


@dataclass(slots=True)
class _Expected:
    serial: int
    sure: bool


def _expected(world: World, visit: Visit) -> Iterator[_Expected]:
    """What follows for a consumer from what was read, in order."""
    ticks = world.market.ticks
    stretches = visit.stretches
    for index, stretch in enumerate(stretches):
        following = stretches[index + 1] if index + 1 < len(stretches) else None
        first = stretch.after if stretch.within else stretch.after + 1
        last = following.after if following is not None else len(world.read_log)
        for number in range(max(first, 1), last + 1):
            read = world.read_log[number - 1]
            # A read in whose middle the topics changed counts for both sides, surely for neither.
            seam = (number == stretch.after and stretch.within) or (
                following is not None and following.within and number == last
            )
            before = stretches[index - 1] if index and number == stretch.after else None
            if number == stretch.after and stretch.within and before is not None:
                continue  # the stretch before has told it already
            for serial in read.serials:
                tick = ticks[serial]
                topics = [stretch.topics]
                if seam and following is not None and number == last:
                    topics.append(following.topics)
                covered = [t.covers(tick.channel, tick.symbol) for t in topics]
                if any(covered):
                    yield _Expected(serial, read.whole and not seam)


def _fidelity(world: World, client: Client, visit: Visit, verdict: Verdict) -> None:
    expected = deque(_expected(world, visit))
    heard = visit.serials[_last_values(world, client, visit, verdict) :]
    if not client.told_of_gaps:
        owed = Counter(one.serial for one in expected)
        heard = _without_filled_bars(world, visit, heard, owed)
    twice = len(visit.filled) - len(set(visit.filled) - set(heard))
    if twice and not world.odd_times:
        verdict.duplicated += twice
        verdict.complaints.append(f"{client.name} heard {twice} again, as back-filled")
    wanted = Counter(one.serial for one in expected)
    found = Counter(heard)
    twice = sum(n - wanted[serial] for serial, n in found.items() if n > wanted[serial] > 0)
    never = [serial for serial in found if not wanted[serial]]
    if twice:
        verdict.duplicated += twice
        verdict.complaints.append(f"{client.name} heard {twice} messages twice")
    if never:
        verdict.complaints.append(
            f"{client.name} heard {len(never)} that it should not: {never[:5]}"
        )
    if twice or never:
        return
    for serial in heard:
        while expected and expected[0].serial != serial and not expected[0].sure:
            expected.popleft()
        if not expected or expected[0].serial != serial:
            missing = found.get(expected[0].serial, 0) == 0 if expected else True
            if missing:
                verdict.lost += 1
                what = "lost" if expected else "?"
            else:
                verdict.reordered += 1
                what = "reordered"
            verdict.complaints.append(
                f"{what} between sockets: {client.name} heard {serial} for "
                f"{expected[0].serial if expected else None}"
            )
            return
        expected.popleft()
    if visit.ended is None:
        long_ago = world.loop.time() - _ON_ITS_WAY_SECONDS
        late = [
            one.serial
            for one in expected
            if one.sure and world.market.ticks[one.serial].due < long_ago
        ]
        if client.visits[-1].began > long_ago:
            late = []
        if late and not _is_slow(world, client):
            verdict.lost += len(late)
            verdict.complaints.append(f"{client.name} never heard {late[:5]}, {len(late)} in all")


def _without_filled_bars(
    world: World, visit: Visit, heard: list[int], owed: Counter[int]
) -> list[int]:
    """What came live: minute bars that were missed come to everybody, as if they came late."""
    live: list[int] = []
    for serial in heard:
        if world.market.ticks[serial].kind == "b" and not owed[serial]:
            visit.filled.append(serial)
        else:
            owed[serial] -= 1
            live.append(serial)
    return live


def _last_values(world: World, client: Client, visit: Visit, verdict: Verdict) -> int:
    """How many messages at the beginning are last values: who can't go on where it was gets them.

    They were read before, and each is the last one of its topic then.
    """
    if not client.told_of_gaps or not visit.stretches:
        return 0
    ticks = world.market.ticks
    count = 0
    last: dict[tuple[str, str], int] = {}
    for read in world.read_log[: visit.stretches[0].after]:
        for serial in read.serials:
            last[ticks[serial].kind, ticks[serial].symbol] = serial
    for serial in visit.serials:
        tick = ticks[serial]
        if serial not in last.values():
            break
        count += 1
        if last[tick.kind, tick.symbol] != serial:
            verdict.complaints.append(f"{client.name} got {serial} as the last of its topic")
    return count


def _is_slow(world: World, client: Client) -> bool:
    """Whether it doesn't read just now: then its queue holds what it hasn't heard."""
    end = client.end
    return end is not None and (not end.reading or end.peer.get_write_buffer_size() > 0)


# From the exchange to upstream's socket


def _completeness(
    world: World, client: Client, visit: Visit, arrived: set[int], verdict: Verdict
) -> None:
    """Whether what a consumer was owed came, or lies in a gap."""
    life = _life_at(world, visit.began)
    if life is None:
        return
    end = min(
        visit.ended if visit.ended is not None else world.loop.time() - _ON_ITS_WAY_SECONDS,
        life.ended if life.ended is not None else world.loop.time(),
    )
    known: set[int] = set()
    for owed in _owed(world, visit, end):
        if owed.serial in arrived:
            continue
        gaps = _flagged(world, life, owed)
        if not gaps and _was_killed_too_soon(life, owed):
            continue
        if gaps:
            verdict.flagged += 1
            _filled(client, visit, life, owed, gaps, verdict)
            if client.told_of_gaps and not known & set(gaps):
                known.update(gaps)
                _told(world, client, visit, owed, gaps, verdict)
        else:
            verdict.lost += 1
            verdict.complaints.append(
                f"lost unflagged: {client.name} was owed {owed.kind} {owed.symbol} number "
                f"{owed.serial}, born {owed.born:.3f}"
            )
            return


def _owed(world: World, visit: Visit, end: float) -> Iterator[Tick]:
    ticks = world.market.ticks
    stretches = [one for one in visit.stretches if one.heard_at is not None]
    for index, stretch in enumerate(stretches):
        assert stretch.heard_at is not None
        following = stretches[index + 1].heard_at if index + 1 < len(stretches) else None
        until = end if following is None else min(end, following)
        start = bisect_left(ticks, stretch.heard_at, key=lambda tick: tick.born)
        for tick in ticks[start:]:
            if tick.due >= until - _ON_ITS_WAY_SECONDS:
                if tick.born > until:
                    break
                continue
            # Who doesn't read hears later that something was taken away.
            said = [
                one for one in visit.stretches if stretch.written_at < one.written_at <= tick.due
            ]
            if all(one.topics.covers(tick.channel, tick.symbol) for one in (stretch, *said)):
                yield tick


def _flagged(world: World, life: Life, tick: Tick) -> list[int]:
    """The gaps of its topic that hold some instant between its birth and the end of its way."""
    from_ns, to_ns = world.wall_ns(tick.born), world.wall_ns(tick.due)
    return [
        gap.number
        for gap in life.gaps
        if _names(gap, tick)
        and (
            gap.from_ns <= to_ns and from_ns <= gap.to_ns
            if gap.to_ns is not None
            else gap.began_ns is not None and gap.began_ns <= tick.due * 1e9
        )
    ]


def _was_killed_too_soon(life: Life, tick: Tick) -> bool:
    """Whether the process was killed on a silent line before it had to know that it was one.

    Its consumers hear of it all the same: what comes afterwards has another epoch.
    """
    if life.ended is None or life.silent_since is None or tick.due < life.silent_since:
        return False
    longest = TIMINGS.silence_longest_seconds if life.mute else 0.0
    return life.ended - life.silent_since < longest + _NOTICED_SECONDS


def _names(gap: Gap, tick: Tick) -> bool:
    return gap.topics.covers(tick.channel, tick.symbol)


def _filled(
    client: Client, visit: Visit, life: Life, missing: Tick, gaps: list[int], verdict: Verdict
) -> None:
    """Whether what a gap says was filled, was."""
    if visit.ended is not None or not client.told_of_gaps or missing.serial in visit.filled:
        return
    for gap in life.gaps:
        if gap.number in gaps and gap.filled.covers(missing.channel, missing.symbol):
            verdict.lost += 1
            verdict.complaints.append(
                f"gap {gap.number} says that {missing.channel} {missing.symbol} was filled; "
                f"{client.name} did not get {missing.serial}"
            )
            return


def _told(
    world: World, client: Client, visit: Visit, missing: Tick, gaps: list[int], verdict: Verdict
) -> None:
    """Whether who asked for it heard of a gap before the next message of the same topic."""
    ticks = world.market.ticks
    told = [visit.gaps[number] for number in gaps if number in visit.gaps]
    next_heard = next(
        (
            index
            for index, serial in enumerate(visit.serials)
            if serial > missing.serial
            and (ticks[serial].kind, ticks[serial].symbol) == (missing.kind, missing.symbol)
        ),
        None,
    )
    if next_heard is not None and (not told or min(told) > next_heard):
        when = "too late" if told else "never"
        verdict.complaints.append(f"{client.name} was told {when} of gap {gaps[0]}")


def _life_at(world: World, at: float) -> Life | None:
    for life in reversed(world.lives):
        if life.began <= at:
            return life
    return None


# When nothing has gone wrong for a while


def _rest(world: World, verdict: Verdict) -> None:
    life = world.life
    if life is None:
        return
    found = verdict.complaints
    handler = life.handler
    upstream = handler.upstream
    if upstream.state is not UpstreamState.CONNECTED:
        found.append(f"at rest it is {upstream.state.value}: {upstream.why}")
        return
    if handler.gaps.current is not None:
        found.append(f"at rest a gap is open: {handler.gaps.current}")
    if upstream.peak_open_connections > 1:
        found.append("it counts more than one connection at once")
    wanted = SubscriptionSet()
    for dialog in life.outlet.consumers():
        if dialog.consumer is not None:
            wanted = wanted | dialog.consumer.topics
    line = world.alpaca.holder
    if line is None:
        found.append(f"at rest nobody holds the slot: {list(map(describe, world.alpaca.lines))}")
    else:
        missing = [topic for topic in wanted if not line.topics.covers(*topic)]
        if missing:
            found.append(f"at rest upstream does not send {missing}, wanted by consumers")
    for client in world.clients:
        _hears(world, client, verdict)


def _hears(world: World, client: Client, verdict: Verdict) -> None:
    visit = client.visit
    if visit is None or not visit.stretches or visit.stretches[-1].heard_at is None:
        return
    if _is_slow(world, client):
        return
    since, topics = visit.stretches[-1].heard_at, visit.stretches[-1].topics
    owed = [
        tick.serial
        for tick in world.market.ticks[-400:]
        if tick.born > since
        and world.loop.time() - tick.due > _ON_ITS_WAY_SECONDS
        and topics.covers(tick.channel, tick.symbol)
    ][-_HEARD_LATELY_TICKS:]
    heard = {serial for story in client.stories()[-1:] for serial in story.serials}
    if len(owed) == _HEARD_LATELY_TICKS and not heard & set(owed):
        verdict.complaints.append(f"at rest {client.name} hears nothing")


def _counts(world: World, verdict: Verdict) -> None:
    """What the proxy counts as delivered is what it wrote."""
    counted: Counter[str] = Counter()
    for life in world.lives:
        counted += life.delivered
    written: Counter[str] = Counter()
    for client in world.clients:
        for visit in client.visits:
            written.update(visit.written)
    for kind in "tqbs":
        if counted[kind] != written[kind]:
            verdict.complaints.append(
                f"counts {counted[kind]} messages of type {kind} as delivered, wrote {written[kind]}"
            )
    if any(life.handler.bad_messages for life in world.lives) and not world.sent_unreadable:
        verdict.complaints.append("could not read what was fine")
    for life in world.lives:
        for connection in life.outlet.connections:
            if connection.outbox.peak_queued_bytes > LIMITS.outbox_bytes:
                verdict.complaints.append("a queue grew beyond its bound")
