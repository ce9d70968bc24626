"""``stream-proxy doctor``: find out what is wrong before anybody has to ask."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator

import typer

from stream_proxy.app import check_exposure
from stream_proxy.cli.checks import (
    Finding,
    Mark,
    check_build,
    check_connection,
    check_keys,
    check_market,
    check_name,
    check_port,
    check_settings,
    check_state_dir,
    check_streams,
    check_tls_port,
)
from stream_proxy.cli.serve import ConfigFile
from stream_proxy.config.load import Loaded, load
from stream_proxy.errors import SettingsError
from stream_proxy.runtime.loop import run

_COLOURS = {Mark.FINE: "green", Mark.REMARK: "yellow", Mark.WRONG: "red"}


def doctor(config: ConfigFile = None) -> None:
    """Check settings, keys, network, clock, ports and every stream, and say what to do.

    A proxy that is running already is asked instead of Alpaca, so nobody loses a connection.
    The exit status is 1 if anything is wrong.
    """
    try:
        loaded = load(os.environ, config_file=config)
        check_exposure(loaded.settings)
    except SettingsError as error:
        for problem in error.problems:
            _show(Finding(Mark.WRONG, "settings", problem))
        typer.echo("\nThe rest can be checked once the settings are right.")
        raise typer.Exit(1) from None
    wrong = run(_examine(loaded))
    if wrong:
        typer.echo(f"\n{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.")
        raise typer.Exit(1)
    typer.echo("\nAll is well.")


async def _examine(loaded: Loaded) -> int:
    """Show each finding as it comes; give how many are wrong."""
    wrong = 0
    async for finding in _findings(loaded):
        _show(finding)
        wrong += finding.mark is Mark.WRONG
    return wrong


async def _findings(loaded: Loaded) -> AsyncIterator[Finding]:
    settings = loaded.settings
    for finding in check_settings(loaded):
        yield finding
    keys = check_keys(loaded)
    yield keys
    yield check_state_dir(settings)
    yield check_build()
    yield await check_market(time.time_ns())
    port, proxy_runs = await check_port(settings)
    yield port
    if settings.tls and not proxy_runs:
        yield await check_tls_port(settings)
    if proxy_runs:
        for finding in await check_streams(settings, through_proxy=True):
            yield finding
        return
    name = await check_name(settings)
    yield name
    if name.mark is Mark.WRONG:
        yield Finding(Mark.REMARK, "streams", "not tried.", "First the name has to resolve.")
        return
    reachable = True
    for finding in await check_connection(settings):
        yield finding
        reachable = reachable and finding.mark is not Mark.WRONG
    if not reachable:
        yield Finding(Mark.REMARK, "streams", "not tried.", "First upstream has to be reached.")
    elif keys.mark is Mark.WRONG:
        yield Finding(Mark.REMARK, "streams", "not tried.", "First keys have to be set.")
    else:
        for finding in await check_streams(settings, through_proxy=False):
            yield finding


def _show(finding: Finding) -> None:
    mark = typer.style(finding.mark.value, fg=_COLOURS[finding.mark], bold=True)
    typer.echo(f"{mark}{str(finding)[1:]}")
