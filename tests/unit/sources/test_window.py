"""What time it is at the exchange, told by what came last."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from simulation.virtual_time import START_NS, VirtualClock, VirtualLoop
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.model.feeds import FEEDS
from stream_proxy.model.time import rfc3339
from stream_proxy.sources.window import Window, exchange_ns
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

    def error_seconds(self, shown_error_seconds: float | None = None) -> float:
        """How wrong the time is that is believed; of Alpaca's clock it is given."""
        now_ns, shown_ns = self.now_ns, None
        if shown_error_seconds is not None:
            shown_ns = START_NS + now_ns + int(shown_error_seconds * SECOND)
        found = exchange_ns(self.handler, now_ns, self.clock.now_ns(), shown_ns)
        return (found - START_NS - now_ns) / SECOND

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


_HOUR, _DAY = 3600.0, 86_400.0


@pytest.mark.parametrize(
    ("ours", "alpacas", "late", "expected"),
    [
        # Our clock is right: exact, whatever comes late or bears a wrong time.
        (0.0, None, [], 0.0),
        (0.0, -1.4, [], 0.0),
        (0.0, -0.5, [0.05], 0.0),
        (0.0, None, [30.0, 90.0], 0.0),
        (0.0, None, [0.05, 0.05, -_DAY], 0.0),
        (0.0, -0.5, [-_DAY] * 5, 0.0),
        # It is wrong: an answer tells, and before there is one, most of the messages.
        (_DAY, -0.5, [], -0.5),
        (-_DAY, -0.5, [0.05], -0.05),
        (_DAY, None, [0.05], -0.05),
        (-_DAY, None, [0.05], -0.05),
        (_DAY, None, [30.0, 0.1, 20.0], -0.1),
        (-_HOUR, None, [0.05, -_DAY, 0.06], -0.05),
        (-0.5, -1.0, [0.05], -0.05),
        # Nobody can tell.
        (_DAY, None, [], _DAY),
        # Another day is replayed.
        (0.0, -0.5, [30 * _DAY + 0.1] * 3, -30 * _DAY - 0.1),
    ],
)
def test_what_time_it_is(
    make: Make, ours: float, alpacas: float | None, late: list[float], expected: float
) -> None:
    scene = make(wrong_ns=int(ours * SECOND))
    for index, seconds in enumerate(late):
        scene.come(100.0 + index, seconds)
    scene.loop.skip(5)
    assert scene.error_seconds(alpacas) == pytest.approx(expected)


def test_of_a_read_the_last_counts(make: Make) -> None:
    """A batch of wrong times is one voice among others."""
    scene = make(wrong_ns=int(_DAY * SECOND))
    for second in range(3):
        scene.come(100.0 + second, 0.1)
    wrong = {"T": "t", "S": "AAPL", "t": rfc3339(START_NS + int(_DAY * SECOND)), "i": 1}
    scene.handler.receive([msgspec.json.encode([wrong] * 10)])
    assert scene.error_seconds() == pytest.approx(-0.1)


def test_a_bar_says_when_it_began(make: Make) -> None:
    scene = make(wrong_ns=int(_DAY * SECOND))
    scene.come(120.0, 60.2, "b")
    assert scene.error_seconds() == pytest.approx(-0.2)


def test_a_delayed_feed_shows_another_time(make: Make) -> None:
    scene = make("delayed_sip")
    assert scene.error_seconds(-0.5) == -900.0


@pytest.mark.parametrize("wrong_seconds", [0.0, _DAY, -_DAY])
def test_our_clock_does_not_matter(make: Make, wrong_seconds: float) -> None:
    scene = make(wrong_ns=int(wrong_seconds * SECOND))
    for second in range(3):
        scene.come(100.0 + second)
    window = scene.window(age_seconds=1.0)
    scene.clock.jump(7 * SECOND)
    scene.loop.skip(4)
    window.end(scene.now_ns)
    shown = [(at_ns - START_NS) / SECOND for at_ns in (window.from_ns, window.to_ns)]
    assert shown == pytest.approx([101.0, 106.0])
    window.widen(2 * SECOND)
    assert (window.from_ns - START_NS) / SECOND == pytest.approx(99.0)


def test_nothing_but_silence_is_asked_for(make: Make) -> None:
    """Our clock was set forward: the gap can't be older than the last message."""
    scene = make()
    scene.come(100.0)
    scene.loop.skip(3)
    assert scene.window(_HOUR, clipped=True).began_ns == 99 * SECOND
    assert scene.window(_HOUR).began_ns == (103 - 3600) * SECOND


def test_a_stream_that_was_late_misses_what_happened_before(make: Make) -> None:
    scene = make()
    for second in range(3):
        scene.come(100.0 + second, 15.0)
    assert scene.window(clipped=True).from_ns == START_NS + 87 * SECOND
    # Also where it goes on, and a message of it can't be read, or a symbol was mute.
    assert scene.window(clipped=False).from_ns == START_NS + 87 * SECOND
    scene.come(103.0)
    for clipped in (True, False):
        assert scene.window(clipped=clipped).from_ns == START_NS + 103 * SECOND


def test_our_clock_alone_is_not_sure(make: Make) -> None:
    scene = make()
    window = scene.window()
    assert not window.sure
    window.look(scene.now_ns, scene.clock.now_ns(), START_NS)
    assert window.sure
    scene.come(1.0)
    assert scene.window().sure
