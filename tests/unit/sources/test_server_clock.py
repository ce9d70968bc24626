"""What is taken for Alpaca's time, with our clock right, wrong, and jumping."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import CapturingLogger

from stream_proxy.model.time import NS_PER_SECOND
from stream_proxy.sources.trading.server_clock import ServerClock, ServerTime, told_by

NOON = 1_772_000_000 * NS_PER_SECOND


def ns(seconds: float) -> int:
    return int(seconds * NS_PER_SECOND)


class Ours:
    """Our clock, turned by hand, beside the true time."""

    def __init__(self, ahead_seconds: float = 0.0) -> None:
        self.passed_ns = 0
        self.ahead_ns = ns(ahead_seconds)

    def now_ns(self) -> int:
        return self.true_ns + self.ahead_ns

    def monotonic_ns(self) -> int:
        return self.passed_ns

    @property
    def true_ns(self) -> int:
        return NOON + self.passed_ns


class Rig:
    """A clock of ours, and what it makes of Alpaca's answers."""

    def __init__(self, ahead_seconds: float = 0.0) -> None:
        self.ours = Ours(ahead_seconds)
        self.log = CapturingLogger()
        self.clock = ServerClock(self.ours, self.log)

    async def ask(
        self,
        way_there: float = 0.02,
        way_back: float = 0.02,
        *,
        within: float = 0.0,
        jump: float = 0,
    ) -> None:
        async def told() -> ServerTime:
            self.ours.passed_ns += ns(way_there)
            answer = ServerTime(self.ours.true_ns, ns(within))
            self.ours.ahead_ns += ns(jump)
            self.ours.passed_ns += ns(way_back)
            return answer

        await self.clock.compare(told)

    def off(self) -> float:
        """How far from the truth it is, in seconds."""
        return (self.clock.now_ns() - self.ours.true_ns) / NS_PER_SECOND

    def said(self) -> list[Any]:
        return [call.args[0] for call in self.log.calls]


@pytest.mark.parametrize("ahead", [0.0, 0.1, -0.1])
async def test_a_good_clock_is_believed(ahead: float) -> None:
    rig = Rig(ahead)
    await rig.ask()
    await rig.ask(9.0, 0.1)
    assert rig.clock.offset_ns == 0 and rig.said() == []
    assert rig.off() == pytest.approx(ahead)


@pytest.mark.parametrize("ahead", [0.3, -0.3, 5.0, -70.0, 3600.0, -3600.0])
async def test_a_wrong_clock_is_corrected(ahead: float) -> None:
    rig = Rig(ahead)
    assert rig.off() == pytest.approx(ahead)
    await rig.ask(0.01, 0.07)
    assert abs(rig.off()) <= 0.03 + 1e-6
    earlier = rig.ours.monotonic_ns()
    rig.ours.passed_ns += ns(300)
    assert abs(rig.off()) <= 0.03 + 1e-6
    assert rig.clock.now_ns() - rig.clock.at(earlier) == ns(300)


async def test_an_answer_that_took_long_contradicts_little() -> None:
    """Neither a good clock nor a correction is given up for it."""
    rig = Rig()
    await rig.ask(20.0, 0.1)
    assert rig.clock.offset_ns == 0
    wrong = Rig(-70.0)
    await wrong.ask()
    known = wrong.clock.offset_ns
    await wrong.ask(0.1, 20.0)
    assert wrong.clock.offset_ns == known
    await wrong.ask(within=0.5)
    assert wrong.clock.offset_ns == known
    # More than the way explains is believed all the same.
    late = Rig(3600.0)
    await late.ask(20.0, 0.1)
    assert abs(late.off()) < 11


async def test_how_far_a_correction_may_be_from_the_truth() -> None:
    rig = Rig(300.0)
    assert rig.clock.doubt_ns == 0, "nothing is corrected"
    await rig.ask(way_there=0.3, way_back=0.02, within=0.01)
    assert abs(rig.clock.offset_ns + ns(300.0)) <= rig.clock.doubt_ns
    rig.ours.ahead_ns = 0
    await rig.ask()
    assert rig.clock.offset_ns == rig.clock.doubt_ns == 0


async def test_an_answer_in_whole_seconds() -> None:
    rig = Rig(0.6)
    await rig.ask(within=0.5)
    assert rig.clock.offset_ns == 0
    rig.ours.ahead_ns = ns(-2.0)
    await rig.ask(within=0.5)
    assert abs(rig.off()) <= 0.5


async def test_jumps() -> None:
    """Between two answers they change nothing, and the next answer sees them."""
    rig = Rig()
    await rig.ask()
    for jump in (3600.0, -3600.0, -90.0, 90.0):
        rig.ours.ahead_ns += ns(jump)
        assert rig.off() == pytest.approx(0)
        await rig.ask()
        assert rig.off() == pytest.approx(0)
    await rig.ask(jump=3600.0)
    assert rig.off() == pytest.approx(0)


async def test_no_answer_changes_nothing() -> None:
    rig = Rig(-70.0)
    await rig.ask()

    async def tells_nothing() -> None:
        return None

    async def fails() -> None:
        raise OSError("nobody there")

    await rig.clock.compare(tells_nothing)
    assert rig.off() == pytest.approx(0)
    with pytest.raises(OSError, match="nobody there"):
        await rig.clock.compare(fails)
    assert rig.off() == pytest.approx(0)


async def test_it_is_said_once_with_the_cure_and_again_when_it_is_good() -> None:
    rig = Rig(1.0)
    await rig.ask()
    assert rig.said() == []
    rig.ours.ahead_ns = ns(70.0)
    await rig.ask()
    await rig.ask()
    assert rig.said() == ["trading.clock_apart"]
    assert "NTP" in rig.log.calls[0].kwargs["cure"] and rig.log.calls[0].kwargs["seconds"] == 70
    rig.ours.ahead_ns = 0
    await rig.ask()
    await rig.ask()
    assert rig.said() == ["trading.clock_apart", "trading.clock_good"]


@pytest.mark.parametrize("old_seconds", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("into_the_second", [0.0, 0.4, 0.99])
async def test_whole_seconds_that_were_written_a_second_ago_contradict_nothing(
    old_seconds: float, into_the_second: float
) -> None:
    """As a web server writes its Date: once a second, for all answers until the next."""
    rig = Rig()
    rig.ours.passed_ns = ns(7 + into_the_second)

    async def told() -> ServerTime:
        written_ns = rig.ours.true_ns - ns(old_seconds)
        return told_by(written_ns - written_ns % NS_PER_SECOND)

    await rig.clock.compare(told)
    assert rig.clock.offset_ns == 0
    assert rig.clock.now_ns() == rig.ours.true_ns
