"""What `serve` asks of the system before it listens."""

from __future__ import annotations

from stream_proxy.cli.serve import files_needed
from stream_proxy.config.schema import Settings


def needed(**settings: object) -> int:
    return files_needed(Settings.model_validate(settings))


def test_every_protocol_may_have_all_its_consumers_at_once():
    """Streams, event streams over HTTP, and gRPC."""
    assert needed(max_connections=2000) - needed(max_connections=1000) == 3000
    without = needed(max_connections=2000, grpc=False) - needed(max_connections=1000, grpc=False)
    assert without == 2000


def test_there_is_room_beside_the_consumers():
    assert needed(max_connections=1, grpc=False) > 200, "probes, scrapes, upstream, listeners, logs"
