"""A real Prometheus reads a real proxy; its rules and the dashboard's queries work on that."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.consumers import TestConsumer, consumer
from harness.prometheus import PROMETHEUS, PROMTOOL, PrometheusServer, prometheus
from harness.proxies import ProxyProcess, proxy_process
from harness.simulated import SimulatorProcess, simulator
from harness.waiting import eventually
from stream_proxy.control.metrics.collector import FAMILIES
from stream_proxy.control.metrics.messages import CLASSES

_DEPLOY = Path(__file__).parents[2] / "deploy"
_RULES = _DEPLOY / "prometheus" / "alerts.yml"
_RULE_TESTS = sorted((_DEPLOY / "prometheus" / "tests").glob("*.yml"))
_DASHBOARD = _DEPLOY / "grafana" / "dashboards" / "stream-proxy.json"
_STREAM_OF = {"iex": "stocks", "crypto-us": "crypto"}
_NOT_OURS = {"ALERTS", "up"}


def installed(program: str | None, name: str) -> None:
    if program is None:
        assert not os.environ.get("CI"), f"CI must have {name}: apt-get install prometheus"
        pytest.skip(f"{name} is not installed: apt-get install prometheus")


def dashboard_queries() -> list[str]:
    """Every expression of the dashboard, as it stands there."""
    dashboard = json.loads(_DASHBOARD.read_text(encoding="utf-8"))
    panels = [target["expr"] for p in dashboard["panels"] for target in p.get("targets", ())]
    notes = [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    lists = [
        re.sub(r"label_values\((\w+), \w+\)", r"\1", variable["query"]["query"])
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    ]
    return [*panels, *notes, *lists]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(_RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


# What needs no Prometheus


def metrics_in(expression: str) -> set[str]:
    """The names of metrics in an expression, without the endings of histograms."""
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"|\b(by|without|on) \([^)]*\)', " ", expression)
    names = re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare)
    kept = {name for name in names if name.startswith(("alpaca_proxy", "process_", "up", "ALERTS"))}
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in kept}


@pytest.mark.parametrize(
    "expression", [*dashboard_queries(), *(rule["expr"] for rule in rules())], ids=lambda e: e[:60]
)
def test_every_metric_that_is_asked_for_exists(expression: str) -> None:
    known = {family.name for family in FAMILIES} | _NOT_OURS
    known |= {rule["record"] for rule in rules() if "record" in rule}
    asked = metrics_in(expression)
    assert asked
    assert {name for name in asked if not name.startswith("process_")} <= known


def test_every_rule_has_a_test_and_says_what_to_do() -> None:
    tested = "".join(path.read_text(encoding="utf-8") for path in _RULE_TESTS)
    for rule in rules():
        if "alert" in rule:
            assert re.search(rf"\b{rule['alert']}\b", tested), rule["alert"]
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert rule["annotations"]["summary"] and rule["annotations"]["description"]


def test_names_of_rules_are_unique() -> None:
    counted = Counter(rule.get("alert") or rule["record"] for rule in rules())
    assert set(counted.values()) == {1}


# Prometheus's own judgement of the rules


def test_rules_are_well_formed() -> None:
    installed(PROMTOOL, "promtool")
    ran = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(_RULES)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("path", _RULE_TESTS, ids=lambda path: path.stem)
def test_rules_fire_when_they_should(path: Path) -> None:
    installed(PROMTOOL, "promtool")
    ran = subprocess.run(
        [str(PROMTOOL), "test", "rules", str(path)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


# A whole day at work, in half a minute


@dataclass
class Scene:
    alpaca: SimulatorProcess
    proxy: ProxyProcess
    server: PrometheusServer
    consumers: list[TestConsumer]

    async def ask(self, expression: str) -> float:
        return await asyncio.to_thread(self.server.value, expression)

    async def until(self, expression: str, wanted: float, seconds: float = 20) -> None:
        """Wait until Prometheus says so."""
        found: float | None = None
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            answers = await asyncio.to_thread(self.server.query, expression)
            found = answers[0].value if len(answers) == 1 else None
            if found == wanted:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{expression} is {found}, not {wanted}")

    async def settled(self, expression: str, seconds: float = 20) -> int:
        """Wait until Prometheus and the consumers agree on how many messages these got."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (told := await self.ask(expression)) != (got := self.got()):
            assert asyncio.get_running_loop().time() < deadline, (told, got)
            await asyncio.sleep(0.1)
        return got

    def got(self) -> int:
        return sum(made.messages for made in self.consumers)


@pytest.fixture(scope="module")
def alpaca() -> Iterator[SimulatorProcess]:
    with simulator("--rate", "100", "--symbols", "8", "--slot-seconds", "1") as running:
        yield running


@asynccontextmanager
async def at_work(alpaca: SimulatorProcess, folder: Path) -> AsyncIterator[Scene]:
    environment = {
        "STREAM_PROXY_ORDERS": "on",
        "STREAM_PROXY_PAPER_STREAM_URL": f"{alpaca.streams}/paper/stream",
        "STREAM_PROXY_PAPER_API_URL": f"{alpaca.control}/paper",
        "STREAM_PROXY_BACKOFF_INITIAL_SECONDS": "0.1",
        "STREAM_PROXY_LOG_LEVEL": "info",
    }
    async with AsyncExitStack() as stack:
        proxy = stack.enter_context(proxy_process(alpaca.streams, folder, **environment))
        consumers = []
        for path, codec in (
            ("/v2/iex", "json"),
            ("/v2/iex", "msgpack"),
            ("/v1beta3/crypto/us", "json"),
        ):
            made = await stack.enter_async_context(consumer(proxy.addresses[0] + path, codec))
            consumers.append(made)
        target = proxy.metrics.removeprefix("http://")
        server = stack.enter_context(prometheus(target, _RULES, folder))
        scene = Scene(alpaca, proxy, server, consumers)
        await scene.until('up{job="stream-proxy"}', 1)
        yield scene


def by_class(ledger: dict[str, Any]) -> dict[tuple[str, str], int]:
    """What the simulator sent, by stream and class."""
    sent: Counter[tuple[str, str]] = Counter()
    for connection in ledger["connections"]:
        for letter, symbols in connection["counts"].items():
            stream = _STREAM_OF[connection["feed"]]
            sent[stream, CLASSES[letter]] += sum(symbols.values())
    return dict(sent)


async def counts_are_true(scene: Scene) -> None:
    """Every name of the seed, with the ledger's numbers."""
    ledger = await scene.alpaca.ledger()
    sent = by_class(ledger)
    assert {stream for stream, _ in sent} == {"stocks", "crypto"}
    for (stream, kind), count in sent.items():
        series = f'alpaca_proxy_messages_received_total{{stream="{stream}", type="{kind}"}}'
        await scene.until(series, count)
    got = await scene.settled('alpaca_proxy_messages_sent_total{consumer="anybody"}')
    for stream, active in {"stocks": 1, "crypto": 1, "options": 0, "news": 0, "trading": 1}.items():
        which = f'{{stream="{stream}"}}'
        assert await scene.ask(f"alpaca_proxy_upstream_connections_active{which}") == active
        assert await scene.ask(f"alpaca_proxy_upstream_reconnections_total{which}") == 0
    assert await scene.ask("alpaca_proxy_message_latency_seconds_count") == got
    quantiles = [
        await scene.ask(f'alpaca_proxy_message_latency_seconds{{quantile="{q}"}}')
        for q in ("0.5", "0.9", "0.99")
    ]
    assert 0 < quantiles[0] <= quantiles[1] <= quantiles[2] < 5
    assert await scene.ask("alpaca_proxy_websocket_connections") == len(scene.consumers)
    assert await scene.ask("alpaca_proxy_subscriptions_total{stream='stocks'}") == 4
    # Each message, for each consumer, met exactly one fate.
    fates = " + ".join(
        f"sum by (stream, type, protocol) (alpaca_proxy_messages_{fate})"
        for fate in (
            "delivered_total",
            "filtered_total",
            "conflated_total",
            "dropped_total",
            "waiting",
        )
    )
    offered = "sum by (stream, type, protocol) (alpaca_proxy_messages_offered_total)"
    compared = await asyncio.to_thread(scene.server.query, f"({offered}) == bool ({fates})")
    assert compared and all(series.value == 1 for series in compared)


async def something_of_everything(scene: Scene) -> None:
    """Let happen what the dashboard has a panel for."""
    alpaca = scene.alpaca
    await scene.consumers[1].subscribe(trades=["MSFT"])
    await alpaca.order(
        "/trading/orders",
        account="PKTESTKEY",
        order={"symbol": "AAPL", "qty": 2, "side": "buy", "type": "market", "time_in_force": "day"},
    )
    await alpaca.fault("error", feed="iex", code=500)
    await scene.until('alpaca_proxy_upstream_reconnections_total{stream="stocks"}', 1)
    ledger = await alpaca.ledger()
    assert sum(connection["feed"] == "iex" for connection in ledger["connections"]) == 2


def complaints(address: str) -> list[str]:
    """What promtool has to say about names, types and help texts."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=20) as answer:
        text = answer.read()
    ran = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True)
    return (ran.stdout + ran.stderr).decode().splitlines()


@pytest.mark.timeout(120)
async def test_a_real_prometheus_sees_the_truth(alpaca: SimulatorProcess, tmp_path: Path) -> None:
    installed(PROMETHEUS, "prometheus")
    async with at_work(alpaca, tmp_path) as scene:
        stocks, more_stocks, crypto = scene.consumers
        await stocks.subscribe(trades=["*"], quotes=["AAPL"])
        await more_stocks.subscribe(quotes=["AAPL", "MSFT"])
        await crypto.subscribe(trades=["*"], quotes=["*"], orderbooks=["*"])
        await eventually(lambda: all(made.messages > 20 for made in scene.consumers), 20)
        await alpaca.order("/hold")
        await counts_are_true(scene)
        assert await asyncio.to_thread(complaints, scene.proxy.metrics) == [
            # Other programs gave this name to what isn't a counter here.
            'alpaca_proxy_subscriptions_total non-counter metrics should not have "_total" suffix'
        ]

        await alpaca.order("/start")
        await something_of_everything(scene)
        queries = [
            query.replace("$__rate_interval", "30s")
            .replace("$instance", ".*")
            .replace("$job", ".*")
            for query in dashboard_queries()
            if not query.startswith("changes(process_start_time_seconds")  # it didn't start again
        ]
        unanswered = set(queries)

        async def answered() -> bool:
            for query in list(unanswered):
                if await asyncio.to_thread(scene.server.query, query):
                    unanswered.discard(query)
            return not unanswered

        deadline = asyncio.get_running_loop().time() + 20
        while not await answered():
            assert asyncio.get_running_loop().time() < deadline, unanswered
            await asyncio.sleep(0.2)
        loaded = await asyncio.to_thread(scene.server.rules)
        assert len(loaded) == len(rules())
        assert {rule["health"] for rule in loaded} == {"ok"}
