"""How messages reach consumers that are behind: unframed, with their types and symbols.

One such shape stands beside each ordinary one, and belongs to all its consumers that are behind at
the moment. It costs the others nothing, and its consumers one look at each message together. What
their outboxes let through is translated and framed only then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress, groupby, repeat
from typing import Any

from stream_proxy.hub.conflation import Message, OpenChanges, Rules
from stream_proxy.hub.outbox import Frame, count_kinds
from stream_proxy.hub.routes import Shape
from stream_proxy.model.slow_policy import SlowPolicy
from stream_proxy.outlets.continuity import PositionedShape
from stream_proxy.wire.alpaca.book_changes import BookChanges
from stream_proxy.wire.alpaca.codec import Codec, FrameDamaged, Item

_TRADE, _QUOTE, _BOOK = "t", "q", "o"
_NS_PER_MS = 1_000_000


def rules_for(policy: SlowPolicy, upstream: Codec) -> Rules:
    """What becomes less for a consumer that is behind."""
    open_changes: OpenChanges = partial(BookChanges.of, upstream)
    left_out = frozenset((_TRADE, _QUOTE) if policy.kind == "bars" else ())
    return Rules(
        newest=_QUOTE,
        added_up={_BOOK: open_changes},
        left_out=left_out,
        interval_ns=policy.sample_ms * _NS_PER_MS,
    )


class ConflatingShape:
    """Messages for outboxes that conflate, and the way back to frames.

    Args:
        base: how the same consumers get their messages otherwise.
    """

    def __init__(self, base: Shape, upstream: Codec) -> None:
        self.base = base
        self.protocol = base.protocol
        self.letters = base.letters
        # Few, so that it comes after all others: nobody waits for those who are behind.
        self.at_once = 100
        self.transcode_whole = None
        self.sequence = 0
        """Of the last message that came by."""
        self.positioned = isinstance(base, PositionedShape)
        self._upstream = upstream

    def transcode(
        self, items: Sequence[Item], sequences: Sequence[int], received_ns: int
    ) -> list[Message]:
        """Still in upstream's codec: most of what is merged later need not be translated."""
        if sequences:
            self.sequence = max(self.sequence, sequences[-1])
        types, symbols = self._heads(items)
        # Copies: a raw item would keep its whole batch in memory for as long as it waits.
        columns = zip(
            types, symbols, map(bytes, items), sequences, repeat(received_ns), strict=False
        )
        return list(map(Message._make, columns))

    def _heads(self, items: Sequence[Item]) -> tuple[Sequence[str], Sequence[Any]]:
        try:
            types, symbols, _ = self._upstream.ticks.split_all([self._upstream.join(items)])
        except FrameDamaged:
            # It was read when it came; whatever it is, it keeps its place and its bytes.
            return ["?"] * len(items), [""] * len(items)
        return types, symbols

    def frames(self, items: Sequence[Item]) -> list[Frame]:
        return list(items)

    def whole(self, payloads: Sequence[bytes]) -> None:
        """They have to be taken apart."""

    def classify(self, frames: Sequence[Frame]) -> dict[str, int]:
        # Either all are messages, or all are finished.
        if isinstance(frames[0], Message):
            return count_kinds(frames)
        return self.base.classify(frames)

    def finish(
        self, messages: Sequence[Message], position: int
    ) -> tuple[list[bytes], Sequence[Message]]:
        """Frames of what was let through, and the messages that could be translated.

        Args:
            position: everything up to this sequence has left with these; told to those who asked.
        """
        made = self._translated(messages)
        if not all(made):
            messages = list(compress(messages, made))
            made = [one for one in made if one]
        if not made:
            return [], messages
        if isinstance(self.base, PositionedShape):
            return self.base.frames_until(made, position), messages
        return self.base.frames(made), messages

    def _translated(self, messages: Sequence[Message]) -> list[Any]:
        base = self.base
        if isinstance(base, PositionedShape):
            return base.translated([message.item for message in messages])
        if base.transcode is None:
            return [message.item for message in messages]
        made: list[Any] = []
        for received_ns, run in groupby(messages, lambda message: message.received_ns):
            together = list(run)
            items = [message.item for message in together]
            made += base.transcode(items, [message.sequence for message in together], received_ns)
        return made


_beside: dict[Shape, ConflatingShape] = {}


def conflating(base: Shape, upstream: Codec) -> ConflatingShape:
    """The one shape beside this one: consumers share a look at a message only through it."""
    if base not in _beside:
        _beside[base] = ConflatingShape(base, upstream)
    return _beside[base]
