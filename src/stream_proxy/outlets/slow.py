"""What is done about a consumer that reads too slowly, by its policy, and what it is told.

While it keeps up there is nothing here but a callback, which a full socket calls. From then on it
is looked at ten times a second until nothing waits any more. One that is behind leaves its group
for that of a `ConflatingShape`, so that the others' path stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from stream_proxy.feed.consumer import Consumer
from stream_proxy.feed.handler import FeedHandler
from stream_proxy.hub.conflation import Conflation, Message
from stream_proxy.hub.outbox import Outbox
from stream_proxy.hub.routes import Shape
from stream_proxy.model.slow_policy import SlowPolicy, read_slow_policy
from stream_proxy.outlets.conflating import ConflatingShape, conflating, rules_for
from stream_proxy.outlets.lag import BEHIND_SHARE, Lag, Load, Turn

SLOW_HEADER = "Stream-Proxy-Slow"

_LOOK_SECONDS = 0.1
_EXACT_SECONDS = 1e-6
_TELL_NS = 1_000_000_000
_NS_PER_MS = 1_000_000

_log = structlog.get_logger("stream_proxy.slow")


def policy_asked_for(query: Mapping[str, Sequence[str]], header: str | None) -> SlowPolicy | None:
    """What a client names itself, in its query or else in a header; None if it doesn't.

    Raises:
        ValueError: it is no policy; the message says what is.
    """
    text = query.get("slow", [header or ""])[-1]
    return read_slow_policy(text) if text else None


@dataclass(frozen=True, slots=True)
class LagReport:
    """What a consumer is told of itself.

    Attributes:
        state: ``live``; ``conflating`` or ``bars_only`` while it gets less; ``warning`` when it is
            about to be cut.
        lag_ms: how long the oldest of what waits has waited.
        merged, left_out: messages that newer ones stand for, and that were not kept, since it fell
            behind.
        oldest_ms: the longest that a place was taken by messages that became one.
    """

    state: str
    policy: str
    lag_ms: int
    queued_bytes: int
    merged: int
    left_out: int
    oldest_ms: int
    limit_bytes: int
    limit_ms: int

    def sentence(self) -> str:
        """For people."""
        lost = f"{self.merged} messages were merged into newer ones, {self.left_out} left out"
        match self.state:
            case "live":
                return f"it has caught up; {lost}"
            case "warning":
                return (
                    f"it will be cut: {self.queued_bytes} of {self.limit_bytes} bytes wait, the "
                    f"oldest for {self.lag_ms} of {self.limit_ms} ms"
                )
            case _:
                return f"it is behind by {self.lag_ms} ms, and gets less ({self.policy}); {lost}"

    def message(self) -> dict[str, Any]:
        """In words of the streams."""
        said = {
            "T": "lag",
            "state": self.state,
            "policy": self.policy,
            "lag_ms": self.lag_ms,
            "queued_bytes": self.queued_bytes,
            "merged": self.merged,
            "left_out": self.left_out,
            "oldest_ms": self.oldest_ms,
        }
        if self.state == "warning":
            said |= {"limit_bytes": self.limit_bytes, "limit_ms": self.limit_ms}
        return said


class SlowConsumer:
    """Watches one consumer, and changes what it gets.

    Args:
        announce: tells the consumer, if it wants to be told.
        held_ns: how long something has waited outside of the outbox.
    """

    def __init__(
        self,
        policy: SlowPolicy,
        handler: FeedHandler,
        consumer: Consumer,
        announce: Callable[[LagReport], None],
        held_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        self.policy = policy
        self._handler = handler
        self._consumer = consumer
        self._announce = announce
        self._held_ns = held_ns
        self._loop = asyncio.get_running_loop()
        self._lag = Lag(yields=policy.kind != "disconnect")
        self._follows: Shape = consumer.shape
        self._shape: ConflatingShape | None = None
        self._conflation: Conflation | None = None
        self._position = 0
        self._merged_before = self._left_out_before = 0
        self._told_ns = 0
        self._look: asyncio.Handle | None = None
        self._look_soon = False
        self._due: asyncio.TimerHandle | None = None
        self._outbox.on_behind = self._filled_up
        if policy.kind == "sample":
            self._conflate()

    @property
    def _outbox(self) -> Outbox:
        return self._consumer.outbox

    @property
    def state(self) -> str:
        """``live``, or what it gets instead."""
        if not self._lag.behind:
            return "live"
        return "bars_only" if self.policy.kind == "bars" else "conflating"

    def close(self) -> None:
        """The consumer goes."""
        for timer in (self._look, self._due):
            if timer is not None:
                timer.cancel()
        self._outbox.on_behind = lambda: None

    # Looking

    def _now_ns(self) -> int:
        return int(self._loop.time() * 1e9)

    def _filled_up(self) -> None:
        """The socket is full, or much waits; a flush may be going on, so nothing is changed yet."""
        outbox, now_ns = self._outbox, self._now_ns()
        self._lag.filled_up(now_ns, outbox.waiting_since_ns is not None)
        outbox.tick(now_ns)
        if outbox.queued_bytes >= BEHIND_SHARE * outbox.max_bytes:
            self._look_again(0)
        elif self._look is None:
            self._look_again(_LOOK_SECONDS)

    def _look_again(self, seconds: float) -> None:
        if self._look is not None:
            if self._look_soon:
                return
            self._look.cancel()
        self._look_soon = not seconds
        self._look = self._loop.call_later(seconds, self._judge)

    def _judge(self) -> None:
        self._look = None
        outbox, now_ns = self._outbox, self._now_ns()
        outbox.tick(now_ns)
        if outbox.closed:
            return
        if self._consumer.replay is None:
            for turn in self._lag.judge(now_ns, self._load(now_ns)):
                self._take_turn(turn)
            if self._lag.behind and now_ns - self._told_ns >= _TELL_NS:
                self._tell(self.state)
        if outbox.paused or not self._lag.settled:
            self._look_again(_LOOK_SECONDS)

    def _load(self, now_ns: int) -> Load:
        outbox = self._outbox
        return Load(
            waits=outbox.paused or outbox.waiting_since_ns is not None,
            bytes_share=outbox.queued_bytes / outbox.max_bytes,
            age_share=self._waited_ns(now_ns) / outbox.max_age_ns,
        )

    def _waited_ns(self, now_ns: int) -> int:
        since_ns = self._outbox.waiting_since_ns
        waited_ns = 0 if since_ns is None else now_ns - since_ns
        return max(waited_ns, self._held_ns())

    # Acting

    def _take_turn(self, turn: Turn) -> None:
        if turn is Turn.BEHIND:
            self._begin_episode()
            self._tell(self.state)
            self._note("consumer.behind", gets=self.state)
        elif turn is Turn.CAUGHT_UP:
            self._tell("live")
            self._note("consumer.caught_up")
            self._end_episode()
        elif turn is Turn.NEAR_CUT:
            self._tell("warning")
            self._note("consumer.near_cut", meaning="it will be cut if it doesn't read faster")
        else:
            self._tell(self.state)
            self._note("consumer.clear")

    def _begin_episode(self) -> None:
        if self._conflation is None:
            self._conflate()
        conflation = self._conflation
        assert conflation is not None
        conflation.longest_ns = 0
        self._merged_before, self._left_out_before = conflation.merged, conflation.left_out

    def _conflate(self) -> None:
        """Leave the others: from now on the outbox gets messages."""
        handler, consumer = self._handler, self._consumer
        shape = conflating(self._follows, handler.codec)
        handler.hub.reshape(self._outbox, shape)
        consumer.shape = self._shape = shape
        self._position = handler.sequence
        self._conflation = Conflation(rules_for(self.policy, handler.codec))
        self._conflation.on_held = self._wake
        meter = handler.hub.meter(shape)
        self._outbox.conflate(self._conflation, self._finish, self._now_ns, meter)

    def _end_episode(self) -> None:
        """Join the others again: nothing waits, and frames follow what was written."""
        if self.policy.kind != "sample":
            self._handler.hub.reshape(self._outbox, self._follows)
            self._consumer.shape = self._follows
            self._outbox.follow()
            self._conflation = None

    def _finish(self, messages: Sequence[Message]) -> tuple[list[bytes], Sequence[Message]]:
        shape, conflation = self._shape, self._conflation
        assert shape is not None and conflation is not None
        if shape.positioned:
            lowest = conflation.lowest_sequence
            last = shape.sequence if lowest is None else lowest - 1
            self._position = max(self._position, last)
        return shape.finish(messages, self._position)

    def _wake(self, due_ns: int) -> None:
        """Something waits for its interval alone."""
        if self._due is not None:
            self._due.cancel()
        # A little later: seconds as a float are less exact than nanoseconds.
        self._due = self._loop.call_at(due_ns / 1e9 + _EXACT_SECONDS, self._release)

    def _release(self) -> None:
        self._due = None
        due_ns = self._outbox.release(self._now_ns())
        if due_ns is not None:
            self._wake(due_ns)

    # Telling

    def _report(self, state: str) -> LagReport:
        outbox, conflation = self._outbox, self._conflation
        merged = left_out = longest_ns = 0
        if conflation is not None and (self._lag.behind or state == "live"):
            merged = conflation.merged - self._merged_before
            left_out = conflation.left_out - self._left_out_before
            longest_ns = conflation.longest_ns
        return LagReport(
            state=state,
            policy=str(self.policy),
            lag_ms=self._waited_ns(self._now_ns()) // _NS_PER_MS,
            queued_bytes=outbox.queued_bytes,
            merged=merged,
            left_out=left_out,
            oldest_ms=longest_ns // _NS_PER_MS,
            limit_bytes=outbox.max_bytes,
            limit_ms=outbox.max_age_ns // _NS_PER_MS,
        )

    def _tell(self, state: str) -> None:
        self._told_ns = self._now_ns()
        self._announce(self._report(state))

    def _note(self, event: str, **more: str) -> None:
        report = self._report(self.state)
        _log.log(
            logging.WARNING if event == "consumer.near_cut" else logging.INFO,
            event,
            peer=self._consumer.name,
            feed=self._handler.feed.name,
            policy=report.policy,
            lag_ms=report.lag_ms,
            queued_bytes=report.queued_bytes,
            merged=report.merged,
            left_out=report.left_out,
            **more,
        )
