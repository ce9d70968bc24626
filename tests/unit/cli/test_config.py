"""`config`: what is in force, where it comes from, and what is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stream_proxy.config.schema import Settings

if TYPE_CHECKING:
    from conftest import Command

SECRETS = {
    "ALPACA_KEY": "PKHIDDENKEY",
    "ALPACA_SECRET": "hidden-secret",
    "STREAM_PROXY_ACCESS_TOKENS": '[{"name":"n","key":"hidden-token","secret":"hidden-0123456789"}]',
}


async def test_check_says_that_settings_are_fine_and_remarks_on_idle_ones(command: Command):
    ran = await command("config", "check", BATCH_SIZE="100")
    assert (ran.status, ran.err) == (0, "")
    remark, verdict = ran.out.splitlines()
    assert remark.startswith("remark: BATCH_SIZE has no effect")
    assert verdict == "settings are fine"


async def test_check_ends_with_2_and_a_line_per_problem(command: Command):
    ran = await command("config", "check", STREAM_PROXY_PROT="1", STREAM_PROXY_PORT="x")
    assert (ran.status, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 2
    assert "did you mean STREAM_PROXY_PORT?" in ran.err


async def test_check_refuses_to_serve_strangers(command: Command):
    ran = await command("config", "check", STREAM_PROXY_HOST="0.0.0.0")
    assert ran.status == 2
    assert "STREAM_PROXY_ACCESS_TOKENS" in ran.err


async def test_show_masks_every_secret_and_names_every_origin(command: Command):
    for form in ((), ("--json",)):
        ran = await command("config", "show", *form, **SECRETS, STREAM_PROXY_PORT="9000")
        assert ran.status == 0
        assert "HIDDEN" not in ran.out.upper()
        assert "***" in ran.out and "STREAM_PROXY_PORT" in ran.out and "ALPACA_KEY" in ran.out
    shown = json.loads(ran.out)
    assert set(shown) == set(Settings.model_fields)
    assert shown["port"] == {"value": 9000, "origin": "STREAM_PROXY_PORT"}
    assert shown["key"] == {"value": "***", "origin": "ALPACA_KEY"}
    assert shown["feed"]["origin"] == "default"


async def test_schema_is_the_json_schema_of_the_settings(command: Command):
    ran = await command("config", "schema")
    assert json.loads(ran.out) == Settings.model_json_schema()
