"""`doctor`: what is wrong is found, said with its cure, and nobody loses a connection over it."""

from __future__ import annotations

import time
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.proxies import running_app
from harness.simulated import simulator
from stream_proxy.cli.checks import Mark, check_build, judge_certificate, judge_clock
from stream_proxy.cli.subscriber import open_stream
from stream_proxy.model.feeds import FEEDS
from stream_proxy.wire.alpaca.requests import Credentials

if TYPE_CHECKING:
    from conftest import Command

KEYS = {"ALPACA_KEY": "PKTEST", "ALPACA_SECRET": "a-secret-to-hide"}


async def test_all_is_well_at_the_simulator(command: Command, free_port: int):
    with simulator("--account", "PKTEST:a-secret-to-hide") as upstream:
        ran = await command(
            "doctor",
            STREAM_PROXY_UPSTREAM_URL=upstream.streams, STREAM_PROXY_PORT=str(free_port), **KEYS,
        )  # fmt: skip
        ledger = await upstream.ledger()
    assert ran.status == 0, ran.out
    assert "All is well" in ran.out
    for name in ("iex", "indicative", "crypto-us", "news"):
        assert f"✓ stream {name}: authenticated" in ran.out
    assert "key from ALPACA_KEY" in ran.out
    assert "a-secret-to-hide" not in ran.out + ran.err
    assert {connection["ended"] for connection in ledger["connections"]} == {"clean"}


async def test_wrong_keys_are_tried_once(command: Command, free_port: int):
    with simulator("--account", "PKTEST:another-secret") as upstream:
        ran = await command(
            "doctor",
            STREAM_PROXY_UPSTREAM_URL=upstream.streams, STREAM_PROXY_PORT=str(free_port), **KEYS,
        )  # fmt: skip
        ledger = await upstream.ledger()
    assert ran.status == 1
    assert "✗ stream iex: refused with 402 auth failed. → Set ALPACA_KEY" in ran.out
    assert sum(connection["errors"] == [402] for connection in ledger["connections"]) == 1
    assert "a-secret-to-hide" not in ran.out + ran.err


async def test_a_taken_slot_is_told_with_its_cure(command: Command, free_port: int):
    with simulator() as upstream:
        holder = await open_stream(
            upstream.streams + "/v2/iex", FEEDS["iex"], Credentials("PKTEST", "x")
        )
        ran = await command(
            "doctor",
            STREAM_PROXY_UPSTREAM_URL=upstream.streams, STREAM_PROXY_PORT=str(free_port), **KEYS,
        )  # fmt: skip
        await holder.close()
    assert ran.status == 1
    assert "✗ stream iex: refused with 406" in ran.out and "Stop the other program" in ran.out
    assert "✓ stream news" in ran.out


async def test_a_stream_outside_the_plan_is_wrong_only_if_it_is_wanted(
    command: Command, free_port: int
):
    with simulator("--deny", "indicative") as upstream:
        where = {"STREAM_PROXY_UPSTREAM_URL": upstream.streams, "STREAM_PROXY_PORT": str(free_port)}
        ran = await command("doctor", **where, **KEYS)
        assert ran.status == 0
        assert "! stream indicative: refused with 409" in ran.out
        ran = await command("doctor", STREAM_PROXY_FEEDS="indicative", **where, **KEYS)
        assert ran.status == 1
        assert "✗ stream indicative: refused with 409" in ran.out


async def test_a_running_proxy_is_asked_instead_of_alpaca(command: Command):
    with simulator() as upstream:
        async with running_app(upstream.streams) as app:
            port = app.addresses()[0].rpartition(":")[2]
            ran = await command(
                "doctor",
                STREAM_PROXY_UPSTREAM_URL=upstream.streams, STREAM_PROXY_PORT=port, **KEYS,
            )  # fmt: skip
            ledger = await upstream.ledger()
    assert ran.status == 0, ran.out
    assert "a proxy is running here already" in ran.out
    assert "✓ stream iex: the running proxy lets us in" in ran.out
    assert [connection["feed"] for connection in ledger["connections"]] == ["iex"]


async def test_no_server_is_a_sentence_and_so_is_no_name(command: Command, free_port: int):
    for url, expected in (
        (f"ws://127.0.0.1:{free_port}", "✗ connection: can't connect"),
        ("wss://no-such-host.invalid", "✗ name: no-such-host.invalid doesn't resolve"),
    ):
        started = time.monotonic()
        ran = await command(
            "doctor",
            STREAM_PROXY_UPSTREAM_URL=url, STREAM_PROXY_PORT=str(free_port), **KEYS,
        )  # fmt: skip
        assert ran.status == 1
        assert expected in ran.out and "! streams: not tried" in ran.out
        assert time.monotonic() - started < 20


async def test_a_certificate_nobody_signed_is_refused_until_it_is_trusted(
    command: Command, tmp_path: Path, free_port: int
):
    tls = {"tls_self_signed": True, "tls_port": 0, "state_dir": tmp_path}
    with simulator() as upstream:
        async with running_app(upstream.streams, **tls) as app:
            where = {
                "STREAM_PROXY_UPSTREAM_URL": app.addresses()[1],
                "STREAM_PROXY_PORT": str(free_port),
                "STREAM_PROXY_FEEDS": "iex",
            }
            ran = await command("doctor", **where, **KEYS)
            assert ran.status == 1
            assert "✗ tls: the certificate of 127.0.0.1 was refused" in ran.out
            trusted = {"STREAM_PROXY_UPSTREAM_CA": str(app.certificate)}
            ran = await command("doctor", **where, **trusted, **KEYS)
            assert ran.status == 0, ran.out
            assert "✓ tls: the certificate of 127.0.0.1 is valid until" in ran.out
            assert "✓ stream iex: authenticated" in ran.out


async def test_wrong_settings_are_lines_of_the_report(command: Command):
    ran = await command("doctor", STREAM_PROXY_PROT="1")
    assert ran.status == 1
    assert "✗ settings: STREAM_PROXY_PROT" in ran.out and "STREAM_PROXY_PORT?" in ran.out


async def test_a_port_of_somebody_else_and_missing_keys_are_wrong(command: Command):
    with simulator() as stranger:
        port = stranger.control.rpartition(":")[2]  # speaks HTTP, not Alpaca's protocol
        ran = await command("doctor", STREAM_PROXY_PORT=port, STREAM_PROXY_HOST="127.0.0.1")
    assert ran.status == 1
    assert "✗ keys: no Alpaca keys are set" in ran.out
    assert f"✗ port: {port} on 127.0.0.1 is taken" in ran.out


@pytest.mark.parametrize(
    ("offset", "mark"), [(0, Mark.FINE), (-1, Mark.FINE), (30, Mark.REMARK), (-30, Mark.REMARK)]
)
def test_the_clock_is_compared_with_upstreams(offset: int, mark: Mark):
    now = time.time()
    head = f"HTTP/1.1 400 Bad Request\r\nDate: {formatdate(now + offset, usegmt=True)}\r\n\r\n"
    assert judge_clock(head.encode(), now, now).mark is mark
    assert judge_clock(b"HTTP/1.1 400 Bad Request\r\n\r\n", now, now).mark is Mark.REMARK


def test_a_certificate_that_ends_soon_is_remarked():
    def ending(days: int) -> dict[str, str]:
        return {
            "notAfter": time.strftime(
                "%b %d %H:%M:%S %Y GMT", time.gmtime(time.time() + days * 86_400)
            )
        }

    assert judge_certificate("host", ending(5)).mark is Mark.REMARK
    assert judge_certificate("host", ending(60)).mark is Mark.FINE
    assert judge_certificate("127.0.0.1", None).mark is Mark.FINE
    assert judge_certificate("host", None).mark is Mark.REMARK


def test_an_interpreted_build_is_a_remark_with_a_cure():
    assert check_build(compiled=True).mark is Mark.FINE
    finding = check_build(compiled=False)
    assert finding.mark is Mark.REMARK
    assert "C compiler" in str(finding)
