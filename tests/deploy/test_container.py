"""The image runs as an engine would run it: by the Dockerfile's steps, without rights, read-only."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from deploy.image import Image, build
from deploy.rootfs import Process, missing_means
from harness.waiting import eventually

_PROJECT = Path(__file__).resolve().parents[2]
_TOKENS = '[{"name":"bots","key":"bots","secret":"sixteen-and-more"}]'
_KEYS = {"ALPACA_KEY": "PKTESTKEY", "ALPACA_SECRET": "a-secret-of-the-account"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image, built once; its half a gigabyte is removed afterwards."""
    missing = missing_means()
    if missing:
        print(f"\n*** no container is tried: {missing} ***", file=sys.__stdout__)
        assert not os.environ.get("CI"), f"CI must be able to imitate containers: {missing}"
        pytest.skip(f"containers can't be imitated here: {missing}")
    with tempfile.TemporaryDirectory(prefix="stream-proxy-image-") as workshop:
        yield build(_PROJECT, Path(workshop))


def is_healthy(process: Process, image: Image) -> bool:
    """What an engine finds out with ``HEALTHCHECK``."""
    return bool(process.pid) and not process.execute(image.stage.health_check()).returncode


async def test_it_serves_without_rights_on_a_read_only_root(image: Image, tmp_path: Path):
    volume = tmp_path / "volume"
    volume.mkdir()
    environment = _KEYS | {"STREAM_PROXY_ACCESS_TOKENS": _TOKENS}
    container = image.container(environment, volume=volume)
    with container.running(image.command(), tmp_path / "log") as process:
        await eventually(partial(is_healthy, process, image), 30, "healthy")
        assert set(process.status("Uid").split()) == {"65532"}
        assert set(process.status("Gid").split()) == {"65532"}
        assert int(process.status("CapEff"), 16) == int(process.status("CapBnd"), 16) == 0
        assert process.status("NoNewPrivs") == "1"
        assert process.listening() == {("0.0.0.0", port) for port in image.ports()}
        assert "hot_path=compiled" in process.said()

        refused = process.execute(["touch", "/opt/stream-proxy/written"])
        assert "Read-only file system" in refused.stderr
        # What keeps a check that always passes from being taken for one. From outside: nothing
        # inside can stop the first process.
        os.kill(process.pid, signal.SIGSTOP)
        assert not is_healthy(process, image)
        os.kill(process.pid, signal.SIGCONT)

        begun = time.monotonic()
        assert process.stop(signal.Signals[image.stage.only("STOPSIGNAL").rest]) == 0
        assert time.monotonic() - begun < 10, "docker stop would have killed it"
    assert "a-secret" not in process.said()


def test_without_tokens_it_refuses_and_says_what_is_missing(image: Image):
    done = image.container(_KEYS).run(image.command())
    assert done.returncode == 2
    assert "STREAM_PROXY_ACCESS_TOKENS=" in done.stderr


def test_the_demo_needs_nothing(image: Image):
    done = image.container({}).run(image.command("demo", "--duration", "2"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "order updates in" in done.stdout


def test_nothing_that_only_builds_is_in_it(image: Image):
    packages = next(image.root.glob("opt/stream-proxy/lib/python*/site-packages"))
    installed = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
    assert {"alpaca_stream_proxy", "opentelemetry_sdk", "uvloop"} <= installed
    assert not installed & {"pip", "setuptools", "mypy", "hatchling", "pytest"}


async def test_the_demo_of_the_compose_file_delivers(image: Image, tmp_path: Path):
    """Its services in one network, as it says; here they share the rest of a container too."""
    services = yaml.safe_load((_PROJECT / "deploy/compose.yaml").read_text())["services"]
    demo, alpaca, reader = (services[name] for name in ("demo", "demo-alpaca", "demo-reader"))
    container = image.container(demo["environment"], temporary=demo["tmpfs"])
    with container.running(image.command(), tmp_path / "log") as process:
        await eventually(partial(is_healthy, process, image), 30, "healthy")
        with process.beside(image.command(*alpaca["command"])):
            tail = process.execute(image.command(*reader["command"], "--count", "50"))
            assert tail.returncode == 0, tail.stderr + process.said()
            messages = [json.loads(line) for line in tail.stdout.splitlines()]
            assert len(messages) == 50
            assert {"q", "t"} <= {message["T"] for message in messages}
            await eventually(partial(_has_orders, process, image), 20, "orders in the journal")
            _, metrics = _get(process, "http://127.0.0.1:9090/metrics", "proxy:9090")
            assert 'alpaca_proxy_upstream_connections_active{stream="stocks"} 1.0' in metrics
            assert process.stop() == 0


def _has_orders(process: Process, image: Image) -> bool:
    info = process.execute(image.command("orders", "--since", "oldest", "--json", "--count", "1"))
    return info.returncode == 0 and bool(info.stdout.strip())


async def test_the_probes_of_kubernetes_are_answered(image: Image, tmp_path: Path):
    documents = yaml.safe_load_all((_PROJECT / "deploy/kubernetes/stream-proxy.yaml").read_text())
    (pod,) = next(documents)["spec"]["template"]["spec"]["containers"]
    # A list of names is the hard case: the kubelet asks for a pod's address.
    environment = _KEYS | {
        "STREAM_PROXY_ACCESS_TOKENS": _TOKENS,
        "STREAM_PROXY_ALLOWED_HOSTS": "proxy.example",
    }
    container = image.container(environment, temporary=["/tmp", image.stage.only("VOLUME").rest])
    with container.running(image.command(), tmp_path / "log") as process:
        await eventually(partial(is_healthy, process, image), 30, "healthy")
        for probe, expected in (("startupProbe", 200), ("livenessProbe", 200)):
            wanted = pod[probe]["httpGet"]
            (header,) = wanted["httpHeaders"]
            url = f"http://127.0.0.1:8082{wanted['path']}"
            assert _get(process, url, header["value"])[0] == expected
        wanted = pod["readinessProbe"]["httpGet"]
        url = f"http://127.0.0.1:8082{wanted['path']}"
        assert _get(process, url, wanted["httpHeaders"][0]["value"])[0] in (200, 503)
        assert _get(process, url, "10.1.2.3:8082")[0] == 421


def _get(process: Process, url: str, host: str) -> tuple[int, str]:
    """Status and body, asked for under a name, from within."""
    program = (
        "import json, sys, urllib.error, urllib.request as web\n"
        "asked = web.Request(sys.argv[1], headers={'Host': sys.argv[2]})\n"
        "try: answer = web.urlopen(asked, timeout=5)\n"
        "except urllib.error.HTTPError as error: answer = error\n"
        "print(json.dumps([answer.status, answer.read().decode()]))"
    )
    done = process.execute(["python", "-c", program, url, host])
    assert done.returncode == 0, done.stderr
    status, body = json.loads(done.stdout)
    return status, body
