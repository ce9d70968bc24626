"""What was missed, in the forms of the WebSocket clients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from stream_proxy.feed.back_fill import BARS, Missed
from stream_proxy.outlets.continuity import PositionedShape
from stream_proxy.outlets.shapes import WebSocketShape


class PlainForm:
    """For clients that know Alpaca's protocol alone: minute bars, looking as ever."""

    letters: frozenset[str] | None = BARS

    def __init__(self, shape: WebSocketShape) -> None:
        self.shape = shape

    def frames(
        self, missed: Sequence[Missed], sequences: Sequence[int], received_ns: int
    ) -> tuple[list[bytes], int]:
        items = [one.plain for one in missed]
        if self.shape.transcode is not None:
            others = self.shape.transcode(items, sequences, received_ns)
            items = [other for other in others if other is not None]
        return (self.shape.frames(items) if items else []), len(items)


class MarkedForm:
    """For clients that asked for continuity: everything, each message marked."""

    letters: frozenset[str] | None = None

    def __init__(self, shape: PositionedShape) -> None:
        self.shape = shape

    def frames(
        self, missed: Sequence[Missed], sequences: Sequence[int], received_ns: int
    ) -> tuple[list[bytes], int]:
        made = self.shape.translated([one.marked for one in missed])
        items = [item for item in made if item is not None]
        return (self.shape.frames_until(items, sequences[-1]) if items else []), len(items)


@cache
def form_for(shape: WebSocketShape) -> PlainForm | MarkedForm:
    """The one form of a shape: clients share what was missed only through the same object."""
    return MarkedForm(shape) if isinstance(shape, PositionedShape) else PlainForm(shape)
