"""The reference pages say what the code does, and their examples work."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

from stream_proxy.cli.document import document as document_command
from stream_proxy.cli.document import pages
from stream_proxy.config.load import load
from stream_proxy.config.schema import Settings
from stream_proxy.wire.alpaca.codes import ERROR_CODES

_ROOT = Path(__file__).resolve().parents[2]
_DOCS = _ROOT / "docs"


@pytest.mark.parametrize("name", pages())
def test_a_page_is_up_to_date(name: str):
    assert (_DOCS / name).read_text(encoding="utf-8") == pages()[name], (
        f"docs/{name} is stale: run `stream-proxy document --write docs`"
    )


def test_pages_dont_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch):
    before = pages()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    assert pages() == before


def test_the_command_finds_stale_pages_and_writes_them(tmp_path: Path):
    with pytest.raises(typer.Exit):
        document_command(tmp_path, write=False)
    document_command(tmp_path, write=True)
    document_command(tmp_path, write=False)
    assert {path.name for path in tmp_path.iterdir()} == set(pages())


def examples(language: str) -> list[str]:
    text = (_DOCS / "settings.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_examples_of_settings_load(tmp_path: Path):
    (toml,), (shell,), (dotenv,) = examples("toml"), examples("sh"), examples("dotenv")
    file, env_file = tmp_path / "proxy.toml", tmp_path / ".env"
    file.write_text(toml)
    env_file.write_text(dotenv)
    variables = dict(line.removeprefix("export ").split("=", 1) for line in shell.splitlines())
    from_file = load({}, env_file=None, config_file=file).settings
    from_variables = load(variables, env_file=None).settings
    from_env_file = load({}, env_file=env_file).settings
    assert from_file.feeds == from_variables.feeds == from_env_file.feeds == ["iex", "crypto-us"]
    assert (
        from_file.outbox_bytes == from_variables.outbox_bytes == tomllib.loads(toml)["outbox_bytes"]
    )
    assert len(from_file.access_tokens) == 1


def test_every_setting_and_every_error_has_its_row():
    made = pages()
    assert all(
        f"`STREAM_PROXY_{name.upper()}`" in made["settings.md"] for name in Settings.model_fields
    )
    assert all(
        f"| {code} | `{row.text}` |" in made["errors.md"] for code, row in ERROR_CODES.items()
    )


def test_hidden_options_stay_hidden():
    assert "until-stdin-closes" not in pages()["commands.md"]
    assert "`--config PATH`" in pages()["commands.md"]


@pytest.mark.parametrize("path", sorted((_ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_an_example_is_short_and_says_how_to_run_it(path: Path):
    text = path.read_text(encoding="utf-8")
    compile(text, str(path), "exec")
    assert len(text.splitlines()) <= 40
    assert f"python examples/{path.name}" in text
    assert "make demo" in text
