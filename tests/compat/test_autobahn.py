"""RFC 6455 by the book: Autobahn's core cases against the consumer port."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from autobahn.run import CASES, NoPython27, run_cases
from harness.proxies import QUICK
from stream_proxy.app import App
from stream_proxy.config.schema import Settings
from stream_proxy.outlets.connection import ServedConnection
from stream_proxy.runtime.loop import run
from stream_proxy.wire.websocket import frame

ENVIRONMENT = Path(__file__).parents[2] / ".autobahn"
CORE_CASES = 247


class EchoingConsumer(ServedConnection):
    """The consumer connection, repeating what it hears instead of acting on it.

    Handshake, input, closing and the writing of frames are the real ones.
    """

    def on_open(self) -> None:
        self._opened = False
        self._deadline = float("inf")

    def on_message(self, payload: bytes, binary: bool) -> None:
        self.outbox.offer([frame(payload, binary)], 1)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_autobahn_core_cases() -> None:
    """All 247 core cases end as the RFC has it."""
    listening, done = threading.Event(), threading.Event()
    address: list[str] = []

    async def serve() -> None:
        app = App(
            Settings.model_validate(
                QUICK
                | {
                    "upstream_url": "ws://127.0.0.1:9",
                    "consumer_ping_seconds": 0,
                    "max_message_bytes": 32 << 20,
                    "outbox_bytes": 64 << 20,
                }
            )
        )

        def accept() -> asyncio.Protocol:
            return EchoingConsumer(app.outlet)

        app.outlet.accept = accept  # type: ignore[method-assign]
        await app.start()
        address.append(app.addresses()[0])
        listening.set()
        await asyncio.to_thread(done.wait)
        await app.stop()

    server = threading.Thread(target=lambda: run(serve()))
    server.start()
    try:
        assert listening.wait(20)
        verdict = run_cases(f"{address[0]}/v2/iex", CASES, ENVIRONMENT)
    except NoPython27:
        print("\n*** Python 2.7 is missing: Autobahn's cases are left out ***", file=sys.__stdout__)
        assert not os.environ.get("CI"), (
            "CI has Python 2.7: something is wrong with its environment"
        )
        pytest.skip("no Python 2.7 on this machine")
    finally:
        done.set()
        server.join(20)

    print(f"\n{verdict}", file=sys.__stdout__)
    assert not verdict.failures
    assert len(verdict.behaviors) == CORE_CASES
