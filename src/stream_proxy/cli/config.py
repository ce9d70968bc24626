"""``stream-proxy config``: check, show and describe the settings."""

from __future__ import annotations

import json as json_library
import os
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from stream_proxy.app import check_exposure
from stream_proxy.cli.serve import ConfigFile
from stream_proxy.config.load import load
from stream_proxy.config.schema import AccessTokenSettings, Settings

MASK = "***"

config = typer.Typer(
    help="Check, show and describe the settings.", no_args_is_help=True, rich_markup_mode=None
)


@config.command()
def check(file: ConfigFile = None) -> None:
    """Check all settings: one line per problem and exit status 2, or that they are fine."""
    loaded = load(os.environ, config_file=file)
    check_exposure(loaded.settings)
    for remark in loaded.remarks:
        typer.echo(f"remark: {remark}")
    typer.echo("settings are fine")


@config.command()
def show(
    file: ConfigFile = None,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show every setting, its value and where it comes from; secrets are masked."""
    loaded = load(os.environ, config_file=file)
    rows = {
        name: (masked(getattr(loaded.settings, name)), loaded.origins.get(name, "default"))
        for name in Settings.model_fields
    }
    if json:
        shown = {name: {"value": value, "origin": origin} for name, (value, origin) in rows.items()}
        typer.echo(json_library.dumps(shown, indent=2))
        return
    texts = {name: _text(value) for name, (value, _) in rows.items()}
    name_width = max(map(len, texts))
    value_width = min(40, max(map(len, texts.values())))
    for name, (_, origin) in rows.items():
        typer.echo(f"{name:<{name_width}}  {texts[name]:<{value_width}}  {origin}")


@config.command()
def schema() -> None:
    """Print the JSON Schema of a settings file, for editors and for other programs."""
    typer.echo(json_library.dumps(Settings.model_json_schema(), indent=2))


def masked(value: Any) -> Any:
    """The value as plain data, with every secret in it masked."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, AccessTokenSettings):
        shown = {"name": value.name, "key": MASK, "secret": MASK}
        return shown | {"slow": value.slow} if value.slow else shown
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _text(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
