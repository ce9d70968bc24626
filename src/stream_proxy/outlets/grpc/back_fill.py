"""What was missed, as gRPC messages with ``back_filled`` set."""

from __future__ import annotations

from collections.abc import Sequence

from stream_proxy.feed.back_fill import Missed
from stream_proxy.outlets.grpc.shapes import GrpcShape


class GrpcForm:
    """For the calls of one method: each of its messages says that it comes late.

    Args:
        shape: what the calls' messages are counted by.
        marked: the same, with the mark.
    """

    def __init__(self, shape: GrpcShape, marked: GrpcShape) -> None:
        self.letters = shape.letters
        self.shape = shape
        self.marked = marked

    def frames(
        self, missed: Sequence[Missed], sequences: Sequence[int], received_ns: int
    ) -> tuple[list[bytes], int]:
        items = [one.plain for one in missed]
        made = self.marked.transcode(items, sequences, received_ns)
        messages = [message for message in made if message is not None]
        return (self.marked.frames(messages) if messages else []), len(messages)
