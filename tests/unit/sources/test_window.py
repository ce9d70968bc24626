"""What time it is at the exchange, told by what came last."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from simulation.virtual_time import START_NS, VirtualClock, VirtualLoop
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import rfc3339
from stream_proxy.sources.window import Window, told_by_messages_ns
from stream_proxy.wire.alpaca.codec import JSON

SECOND = 1_000_000_000


class Scene:
    """A feed, whose wall clock may be wrong."""

    def __init__(self, feed: str = "sip", wrong_ns: int = 0) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop, wrong_ns)
        self.handler = FeedHandler(
            FEEDS[feed], JSON, self.clock, epoch="e", ring_bytes=1 << 20, ring_seconds=600
        )

    @property
    def now_ns(self) -> int:
        return self.clock.monotonic_ns()

    def come(self, at_seconds: float, late_seconds: float = 0.0, kind: str = "t") -> None:
        """A message comes, so long after it happened."""
        self.loop.skip(at_seconds - self.loop.time())
        at_ns = START_NS + int((at_seconds - late_seconds) * SECOND)
        message = {"T": kind, "S": "AAPL", "t": rfc3339(at_ns), "i": 1}
        self.handler.receive([msgspec.json.encode([message])])

    def error_seconds(self) -> float | None:
        """How wrong the time is that is believed."""
        found = told_by_messages_ns(self.handler, self.now_ns)
        return None if found is None else (found - START_NS - self.now_ns) / SECOND

    def window(self, age_seconds: float = 0.0, clipped: bool = False) -> Window:
        age_ns = int(age_seconds * SECOND)
        return Window(self.handler, self.clock.now_ns(), self.now_ns, age_ns, clipped=clipped)


Make = Callable[..., Scene]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes scenes, and closes their loops."""
    scenes: list[Scene] = []

    def made(feed: str = "sip", wrong_ns: int = 0) -> Scene:
        scenes.append(Scene(feed, wrong_ns))
        return scenes[-1]

    yield made
    for scene in scenes:
        scene.loop.close()


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        ([], None),
        ([0.05], -0.05),
        ([30.0], -30.0),
        ([30.0, 0.1], -0.1),
        ([0.05, 30.0, 30.0, 0.06], -0.06),
        ([0.05, -3600.0, 0.06], -0.05),
    ],
)
def test_the_second_latest_is_believed(
    make: Make, late: list[float], expected: float | None
) -> None:
    """Some come late, and one says that it is yet to happen."""
    scene = make()
    for index, seconds in enumerate(late):
        scene.come(100.0 + index, seconds)
    scene.loop.skip(5)
    assert scene.error_seconds() == (None if expected is None else pytest.approx(expected))


def test_a_bar_says_when_it_began(make: Make) -> None:
    scene = make()
    scene.come(120.0, 60.2, "b")
    assert scene.error_seconds() == pytest.approx(-0.2)


@pytest.mark.parametrize("wrong_seconds", [0.0, 86_400.0, -86_400.0])
def test_our_clock_does_not_matter(make: Make, wrong_seconds: float) -> None:
    scene = make(wrong_ns=int(wrong_seconds * SECOND))
    for second in range(3):
        scene.come(100.0 + second, 0.1)
    window = scene.window(age_seconds=1.0)
    scene.clock.jump(7 * SECOND)
    scene.loop.skip(4)
    window.end(scene.now_ns)
    shown = [(at_ns - START_NS) / SECOND for at_ns in (window.from_ns, window.to_ns)]
    assert shown == pytest.approx([100.9, 105.9])
    window.widen(2 * SECOND)
    assert (window.from_ns - START_NS) / SECOND == pytest.approx(98.9)


def test_nothing_but_silence_is_asked_for(make: Make) -> None:
    """Our clock was set forward: the gap can't be older than the last message."""
    scene = make()
    scene.come(100.0)
    scene.loop.skip(3)
    assert scene.window(3600.0, clipped=True).began_ns == 99 * SECOND
    assert scene.window(3600.0).began_ns == (103 - 3600) * SECOND


def test_a_clock_of_alpacas_helps_where_nothing_came(make: Make) -> None:
    scene = make("delayed_sip", wrong_ns=86_400 * SECOND)
    window = scene.window()
    assert not window.sure
    window.look(scene.now_ns, START_NS)
    assert window.sure and window.to_ns == START_NS - 900 * SECOND
    scene.come(1.0, 902.0)
    window.look(scene.now_ns, START_NS + 3600 * SECOND)
    assert window.to_ns == START_NS - 902 * SECOND


def test_where_nothing_is_kept_our_clock_is_believed(make: Make) -> None:
    scene = make()
    scene.handler = FeedHandler(FEEDS["sip"], JSON, scene.clock)
    window = scene.window()
    assert window.sure and window.to_ns == START_NS
