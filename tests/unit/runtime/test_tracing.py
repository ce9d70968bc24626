"""Traces: what they cost when nobody wants them, what leaves, and what a dead collector can't do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from harness.collector import Collector, collector
from harness.waiting import eventually
from stream_proxy.config.load import load
from stream_proxy.errors import SettingsError
from stream_proxy.runtime.logs import SecretMask
from stream_proxy.runtime.trace_export import TraceExport, TraceTarget
from stream_proxy.runtime.tracing import NO_SPAN, NO_TRACER

SECRET = "the-secret-of-the-account"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of W3C Trace Context, section 3.2.4."""


@pytest.fixture(autouse=True)
def _quick_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def receiving() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture
def nobody() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.asynccontextmanager
async def traces(
    endpoint: str, asked_for: bool = True, timeout_seconds: float = 1.0
) -> AsyncIterator[TraceExport]:
    target = TraceTarget(endpoint, "the-service", timeout_seconds, asked_for)
    made = TraceExport(target, SecretMask([SECRET]).clean, look_seconds=0.05)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


# Without a collector


def test_off_nothing_is_made() -> None:
    """Whoever holds the tracer that makes nothing can do everything with its spans."""
    with NO_TRACER.start("whole") as whole, NO_TRACER.span("part", {"a": 1}) as part:
        assert whole is part is NO_SPAN
        part.set({"b": 2})
        part.event("something")
        part.fail("a reason")
        part.rename("another")
        part.end()
    assert NO_TRACER.remote_parent(CALLER) is None


_QUIET = """
import asyncio, sys
import stream_proxy.app
from stream_proxy.runtime.trace_export import TraceExport, TraceTarget

async def main():
    for target in (None, TraceTarget(sys.argv[1], "service", 1.0, asked_for=False)):
        traces = TraceExport(target, str)
        await traces.open()
        with traces.start("whole"), traces.span("part"):
            assert not traces.sending
        await traces.close()

asyncio.run(main())
theirs = "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "requests"
print([name for name in sys.modules if name.startswith(theirs) or name.endswith("runtime.otel")])
"""


def test_nobody_asked_and_nobody_there_costs_no_import_and_no_line(nobody: str) -> None:
    """FastAPI itself imports OpenTelemetry's small API package; nothing imports the rest."""
    run = subprocess.run(
        [sys.executable, "-c", _QUIET, nobody], capture_output=True, text=True, timeout=60
    )
    assert (run.stdout, run.stderr) == ("[]\n", "")


async def test_without_the_extra_one_line_for_who_asked(
    monkeypatch: pytest.MonkeyPatch, nobody: str, receiving: Collector
) -> None:
    """It says what to install; who didn't ask isn't told, though a collector is there."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "stream_proxy.runtime.otel", raising=False)
    with capture_logs() as lines:
        async with traces(receiving.endpoint, asked_for=False) as silent:
            assert not silent.sending
        assert lines == []
        async with traces(nobody) as asked:
            assert not asked.sending
            asked.start("something").end()
    (line,) = lines
    assert (line["log_level"], line["event"]) == ("warning", "traces.unavailable")
    assert "pip install 'alpaca-stream-proxy[otel]'" in line["cure"]


async def test_a_setting_that_opentelemetry_refuses_keeps_nobody_from_serving(
    monkeypatch: pytest.MonkeyPatch, receiving: Collector
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with capture_logs() as lines:
        async with traces(receiving.endpoint) as made:
            assert not made.sending
    assert [line["event"] for line in lines] == ["traces.unavailable"]
    assert "max_queue_size" in lines[0]["reason"]


async def test_a_setting_that_opentelemetry_ignores_is_told(
    monkeypatch: pytest.MonkeyPatch, receiving: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """By OpenTelemetry itself; only later its own lines are kept back."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "no-such-sampler")
    logging.getLogger("opentelemetry").propagate = True
    async with traces(receiving.endpoint) as made:
        made.start("sent all the same").end()
    assert "no-such-sampler" in caplog.text and receiving.named("sent all the same")


async def test_a_collector_that_comes_later_is_found() -> None:
    """Also by who asked for nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with traces(endpoint, asked_for=False) as made:
            assert not made.sending
            listener.listen()
            await eventually(lambda: made.sending)


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        ("collector:4318", "write scheme, host and port"),
        ("http://", "write scheme, host and port"),
        ("http://collector:port", "write scheme, host and port"),
        (f"http://user:{SECRET}@collector:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        (f"https://collector/?token={SECRET}", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_an_address_that_cant_be_used_is_refused(address: str, cure: str) -> None:
    """And not repeated: there may be a password in it."""
    with pytest.raises(SettingsError, match=cure) as refused:
        load({"OTEL_EXPORTER_OTLP_ENDPOINT": address}, env_file=None)
    assert SECRET not in str(refused.value)


# What leaves


async def test_spans_have_parents_links_and_a_service(receiving: Collector) -> None:
    async with traces(receiving.endpoint) as made:
        old = made.start("connection", {"number": 1})
        with made.start("reconcile", parent=old) as around:
            with made.span("request", kind="client"):
                await asyncio.sleep(0)
            apart = made.start("another trace", link=old)
        apart.rename("renamed")
        apart.event("something")
        apart.end()
        old.end()
        called = made.start("answer", parent=made.remote_parent(CALLER), kind="server")
        called.end()
        around.set({"too": "late"})
    (connection,) = receiving.named("connection")
    (reconcile,) = receiving.named("reconcile")
    (request,) = receiving.named("request")
    (other,) = receiving.named("renamed")
    (answer,) = receiving.named("answer")
    assert connection.parent == "" and connection.attributes == {"number": 1}
    assert reconcile.parent == connection.span and request.parent == reconcile.span
    assert len({connection.trace, reconcile.trace, request.trace}) == 1
    assert other.parent == "" and other.trace != connection.trace
    assert other.links == [connection.span] and other.events == ["something"]
    assert (answer.trace, answer.parent) == tuple(CALLER.split("-")[1:3])
    assert {span.service for span in receiving.spans} == {"the-service"}
    assert not any(span.failed for span in receiving.spans)


@pytest.mark.parametrize("header", ["", "nonsense", f"{CALLER}-more", CALLER.replace("0", "g"), CALLER[:-3], "00-" + "0" * 32 + "-b7ad6b7169203331-01"])  # fmt: skip
async def test_a_broken_traceparent_begins_a_new_trace(receiving: Collector, header: str) -> None:
    async with traces(receiving.endpoint) as made:
        assert made.remote_parent(header) is None
        made.start("answer", parent=made.remote_parent(header, "a=b,,=")).end()
    (answer,) = receiving.named("answer")
    assert answer.parent == ""


async def test_a_caller_that_is_not_sampled_gets_no_span(receiving: Collector) -> None:
    async with traces(receiving.endpoint) as made:
        unsampled = made.remote_parent(CALLER[:-1] + "0")
        with made.start("answer", parent=unsampled), made.span("part"):
            pass
        made.start("own").end()
    assert [span.name for span in receiving.spans] == ["own"]


async def test_opentelemetrys_own_variables_work(
    monkeypatch: pytest.MonkeyPatch, receiving: Collector
) -> None:
    """A sampler that leaves out whatever no caller keeps; a token for the collector."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=sesame")
    async with traces(receiving.endpoint) as made:
        made.start("left out").end()
        made.start("kept", parent=made.remote_parent(CALLER)).end()
    assert [span.name for span in receiving.spans] == ["kept"]
    assert receiving.headers["x-token"] == "sesame"


async def test_secrets_texts_of_exceptions_and_floods_stay_inside(receiving: Collector) -> None:
    async with traces(receiving.endpoint) as made:
        with contextlib.suppress(ValueError), made.start("bug"):
            raise ValueError("the text of an exception")
        with contextlib.suppress(asyncio.CancelledError), made.start("cancelled"):
            raise asyncio.CancelledError
        told = made.start("told", {"why": f"sent {SECRET}\n", "long": "x" * 10_000})
        told.set({f"attribute{number}": number for number in range(1000)})
        for number in range(1000):
            told.event(f"event {number}", {"key": SECRET})
        told.fail(f"refused {SECRET}")
        told.fail("the second reason")
        told.end()
        told.fail("too late")
    body = b"".join(receiving.bodies)
    assert SECRET.encode() not in body and b"the text of" not in body and len(body) < 20_000
    (bug,), (cancelled,), (span,) = map(receiving.named, ("bug", "cancelled", "told"))
    assert (bug.failed, bug.why) == (True, "ValueError") and not cancelled.failed
    assert (span.failed, span.why) == (True, "refused ***")
    assert span.events[-1] == "event 999" and len(span.events) < 100
    assert len(span.attributes) < 50 and max(len(str(v)) for v in span.attributes.values()) <= 200


# A collector in trouble


async def test_a_failing_collector_is_told_of_once(receiving: Collector) -> None:
    """One line, silence while it lasts, one line when it works again."""
    receiving.status = 403
    with capture_logs() as lines:
        async with traces(receiving.endpoint) as made:
            for number in range(4):
                made.start(f"lost {number}").end()
                await eventually(lambda number=number: receiving.requests > number)
            receiving.status = 200
            made.start("kept").end()
            await eventually(lambda: receiving.named("kept"))
            made.start("kept as well").end()
    events = [line["event"] for line in lines]
    assert events == ["traces.sent", "traces.lost", "traces.sent_again"]
    assert "403" in lines[1]["reason"]


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "exporting"])
async def test_a_dead_collector_holds_the_end_up_no_longer_than_allowed(
    nobody: str, busy: bool
) -> None:
    """Deaf or gone, whether or not a batch is on its way; left alone it is half a minute."""
    with deaf() as endpoint:
        for address in (endpoint, nobody):
            seconds = await _seconds_to_close(address, busy)
            assert seconds < 0.5 + 1.0, address


async def _seconds_to_close(endpoint: str, busy: bool) -> float:
    target: Any = TraceTarget(endpoint, "the-service", 0.5, asked_for=True)
    made = TraceExport(target, str)
    with capture_logs() as lines:
        await made.open()
        for _ in range(3000):
            made.start("never seen").end()
        if busy:
            await eventually(lambda: any(line["event"] == "traces.lost" for line in lines))
            made.start("in the middle").end()
        begun = time.monotonic()
        await made.close()
        return time.monotonic() - begun
