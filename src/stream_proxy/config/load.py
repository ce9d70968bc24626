"""Collect settings from command line, environment, ``.env`` and a TOML file, and say where from.

Precedence, highest first: command line, environment, ``.env``, TOML file, default. Within one
place our own name (``STREAM_PROXY_…``) goes before foreign ones (``aliases.py``). Unknown names
and contradictions are errors that name the setting: a typo in a limit must not pass in silence.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from stream_proxy.config.aliases import ALIASES
from stream_proxy.config.schema import Settings
from stream_proxy.errors import SettingsError

PREFIX = "STREAM_PROXY_"
_FILE_VARIABLE = "STREAM_PROXY_CONFIG"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, the origin of each that isn't a default, and remarks worth a log line."""

    settings: Settings
    origins: dict[str, str]
    remarks: tuple[str, ...]


def load(
    environment: Mapping[str, str],
    *,
    overrides: Mapping[str, object] | None = None,
    env_file: Path | None = Path(".env"),
    config_file: Path | None = None,
) -> Loaded:
    """Read and check all settings.

    Raises:
        SettingsError: with one line per problem.
    """
    problems: list[str] = []
    remarks: list[str] = []
    values: dict[str, object] = {}
    origins: dict[str, str] = {}

    def put(found: Mapping[str, tuple[object, str]]) -> None:
        for name, (value, origin) in found.items():
            values[name], origins[name] = value, origin

    in_file: dict[str, str] = {}
    if env_file is not None and env_file.is_file():
        in_file = {k: v for k, v in dotenv_values(env_file).items() if v is not None}
    named = environment.get(_FILE_VARIABLE) or in_file.get(_FILE_VARIABLE)
    path = config_file or (Path(named) if named else None)
    if path is not None:
        put(_from_toml(path, problems))
    put(_from_variables(in_file, f"{env_file}: ", problems, remarks))
    put(_from_variables(environment, "", problems, remarks))
    put({name: (value, "command line") for name, value in (overrides or {}).items()})

    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += [
            _explain(dict(item), origins)
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, origins, tuple(remarks))


def _from_toml(path: Path, problems: list[str]) -> dict[str, tuple[object, str]]:
    try:
        with path.open("rb") as file:
            table: dict[str, Any] = tomllib.load(file)
    except FileNotFoundError:
        problems.append(f"{path}: there is no such file; check --config or {_FILE_VARIABLE}")
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{path}: can't be read as TOML: {error}")
        return {}
    problems += [
        f"{path}: {name}: unknown setting{_did_you_mean(name)}"
        for name in table
        if name not in Settings.model_fields
    ]
    return {k: (v, f"{path}") for k, v in table.items() if k in Settings.model_fields}


def _from_variables(
    variables: Mapping[str, str], where: str, problems: list[str], remarks: list[str]
) -> dict[str, tuple[object, str]]:
    aliases = {alias.variable: alias for alias in ALIASES}
    found: dict[str, tuple[object, str]] = {}
    for variable in sorted(variables.keys() & aliases.keys()):
        text = variables[variable]
        if not text.strip():
            continue  # set but empty: a line left over from an example file
        alias = aliases[variable]
        if alias.setting is None:
            remarks.append(f"{where}{variable} has no effect: {alias.note}")
            continue
        try:
            made = alias.read(text.strip())
        except ValueError:
            problems.append(f"{where}{variable}: expected a number")
            continue
        for name, value in made.items():
            if name in found and found[name][0] != value:
                problems.append(
                    f"{where}{variable} and {found[name][1]} both set {name}, to different values: "
                    "keep one"
                )
            found[name] = (value, f"{where}{variable}")
    for variable, text in variables.items():
        if not variable.startswith(PREFIX) or variable in aliases or variable == _FILE_VARIABLE:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in Settings.model_fields:
            problems.append(f"{where}{variable}: unknown setting{_did_you_mean(name, PREFIX)}")
        elif text.strip():
            found[name] = (text, f"{where}{variable}")
    return found


def _did_you_mean(name: str, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, Settings.model_fields, n=1)
    if not close:
        return "; `stream-proxy config schema` lists all settings"
    return f"; did you mean {prefix}{close[0].upper() if prefix else close[0]}?"


def _explain(error: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """One problem as a sentence; the value itself is left out, it may be a secret."""
    location = [str(part) for part in error["loc"]]
    text = str(error["msg"]).removeprefix("Value error, ")
    if not location:
        return text
    name = location[0]
    origin = f" (from {origins[name]})" if name in origins else ""
    return f"{'.'.join(location)}{origin}: {text}"
