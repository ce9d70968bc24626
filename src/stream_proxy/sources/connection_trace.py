"""The spans of an upstream connection: its life, the steps within it, and the way back after it.

A connection is a trace of its own: connecting, authenticating and each question with its answer
are parts of it. Its loss begins a reconnect, still a part of the lost connection, that lasts until
one works again; the attempts are traces of their own, linked to it, so that no trace grows for
ever.
"""

from __future__ import annotations

from stream_proxy.runtime.tracing import NO_SPAN, NOTHING, Attributes, Span, Tracer


class ConnectionTrace:
    """What a source tells of its connection.

    Args:
        whose: attributes that name the feed or the account.
    """

    def __init__(self, tracer: Tracer, whose: Attributes) -> None:
        self._tracer = tracer
        self._whose = whose
        self._life: Span | None = None
        self._step: Span = NO_SPAN
        self._question: Span = NO_SPAN
        self._reconnect: Span | None = None

    def begin(self, attempt: int) -> None:
        """A connection is tried, for the how-manieth time since the start."""
        self._life = self._tracer.start(
            "alpaca.connection", {**self._whose, "attempt": attempt}, link=self._reconnect
        )
        self.step("alpaca.connect")

    def step(self, name: str) -> None:
        """The handshake went on to its next step."""
        self._step.end()
        self._step = self.part(name)

    def ready(self) -> None:
        """The handshake is over: the connection works."""
        self._step.end()
        self.event("ready")
        if self._reconnect is not None:
            self._reconnect.end()
            self._reconnect = None

    def ask(self, name: str, attributes: Attributes) -> None:
        """A question is sent; there is one at a time."""
        self._question = self.part(name, attributes)

    def answered(self, refusal: str = "") -> None:
        """Its answer came."""
        if refusal:
            self._question.fail(refusal)
        self._question.end()

    def event(self, name: str, attributes: Attributes = NOTHING) -> None:
        """Something happened to the connection."""
        if self._life is not None:
            self._life.event(name, attributes)

    def part(self, name: str, attributes: Attributes = NOTHING) -> Span:
        """Begin a part of the connection or, where there is none, of the way back to one."""
        return self._tracer.start(
            name, {**self._whose, **attributes}, parent=self._life or self._reconnect
        )

    def ended(self, why: str, cause: str, *, wanted: bool = False) -> None:
        """The connection ended, or couldn't be made; after the first call nothing happens.

        Args:
            wanted: we ended it, and no other follows.
        """
        life, self._life = self._life, None
        if life is None:
            return
        if not wanted:
            life.set({"cause": cause})
        for span in (self._step, self._question, life):
            if not wanted:
                span.fail(why)
            span.end()
        if wanted:
            self.stopped()
        elif self._reconnect is None:
            self._reconnect = self._tracer.start(
                "alpaca.reconnect", {**self._whose, "cause": cause}, parent=life
            )
        else:
            self._reconnect.event("attempt failed", {"why": why, "cause": cause})

    def waits(self, seconds: float) -> None:
        """The next attempt comes after this long."""
        if self._reconnect is not None:
            self._reconnect.event("waiting", {"seconds": round(seconds, 3)})

    def stopped(self, why: str = "") -> None:
        """No other connection follows; the reason, if that is a failure."""
        if self._reconnect is not None:
            self._reconnect.fail(why or "stopped before there was a connection")
            self._reconnect.end()
            self._reconnect = None
