"""Settings are found where they may stand, in the right order, and mistakes are said plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_proxy.config.load import Loaded, load
from stream_proxy.config.schema import Settings
from stream_proxy.errors import SettingsError

SECRET = "sEcReT-vAlUe-0123456789"


def from_variables(**variables: str) -> Loaded:
    return load(variables, env_file=None)


def problems(variables: dict[str, str], **arguments: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(variables, **({"env_file": None} | arguments))
    return list(caught.value.problems)


def test_nothing_set_gives_the_defaults():
    loaded = from_variables()
    assert loaded.settings == Settings()
    assert (loaded.origins, loaded.remarks) == ({}, ())


def test_each_place_goes_before_the_next(tmp_path: Path):
    toml, env_file = tmp_path / "proxy.toml", tmp_path / ".env"
    toml.write_text("port = 1\ntls_port = 1\nlinger_seconds = 1\nsubscribe_chunk = 1\n")
    env_file.write_text(
        "STREAM_PROXY_PORT=2\nSTREAM_PROXY_TLS_PORT=2\nSTREAM_PROXY_LINGER_SECONDS=2\n"
    )
    loaded = load(
        {"STREAM_PROXY_PORT": "3", "STREAM_PROXY_TLS_PORT": "3"},
        overrides={"port": 4},
        env_file=env_file,
        config_file=toml,
    )
    settings = loaded.settings
    assert (settings.port, settings.tls_port) == (4, 3)
    assert (settings.linger_seconds, settings.subscribe_chunk) == (2, 1)
    assert loaded.origins == {
        "port": "command line",
        "tls_port": "STREAM_PROXY_TLS_PORT",
        "linger_seconds": f"{env_file}: STREAM_PROXY_LINGER_SECONDS",
        "subscribe_chunk": str(toml),
    }


def test_a_variable_names_the_file(tmp_path: Path):
    toml = tmp_path / "proxy.toml"
    toml.write_text('feed = "sip"\n')
    assert from_variables(STREAM_PROXY_CONFIG=str(toml)).settings.feed == "sip"


def test_an_alias_sets_what_it_stands_for_and_our_own_name_goes_first():
    assert from_variables(PROXY_PORT="9000").settings.port == 9000
    assert from_variables(PROXY_PORT="9000", STREAM_PROXY_PORT="9001").settings.port == 9001


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("STREAM_PROXY_RECONNECT_DELAY_INITIAL_MS", "250", {"backoff_initial_seconds": 0.25}),
        ("CREAM_ENV", "LIVE", {"environment": "live"}),
        ("ALPACA_FEED", "SIP", {"feed": "sip"}),
        ("RUST_LOG", "info,h2=warn", {"log_level": "info"}),
        ("RUST_LOG", "warn", {"log_level": "warning"}),
        ("RUST_LOG", "h2=warn", {"log_level": "info"}),
        (
            "ALPACA_WEBSOCKET_URL",
            "wss://stream.data.alpaca.markets/v2/test",
            {"upstream_url": "wss://stream.data.alpaca.markets", "feed": "test"},
        ),
    ],
)
def test_aliases_are_read_in_their_own_units(variable: str, text: str, expected: dict[str, Any]):
    settings = load({variable: text}, env_file=None).settings
    assert {name: getattr(settings, name) for name in expected} == expected


def test_two_names_that_disagree_are_both_named():
    (problem,) = problems({"ALPACA_KEY": "a", "APCA_API_KEY_ID": "b", "ALPACA_SECRET": "c"})
    assert "ALPACA_KEY" in problem and "APCA_API_KEY_ID" in problem and "keep one" in problem


def test_two_names_that_agree_are_fine():
    loaded = from_variables(ALPACA_KEY="a", APCA_API_KEY_ID="a", ALPACA_SECRET="c")
    assert loaded.settings.key is not None and loaded.settings.key.get_secret_value() == "a"


def test_a_mistyped_variable_is_answered_with_the_right_one():
    (problem,) = problems({"STREAM_PROXY_OUTBOX_BITES": "1"})
    assert "STREAM_PROXY_OUTBOX_BITES: unknown setting" in problem
    assert "did you mean STREAM_PROXY_OUTBOX_BYTES?" in problem


def test_a_mistyped_key_of_a_file_as_well(tmp_path: Path):
    toml = tmp_path / "proxy.toml"
    toml.write_text("prot = 1\n")
    (problem,) = problems({}, config_file=toml)
    assert "prot: unknown setting; did you mean port?" in problem and str(toml) in problem


@pytest.mark.parametrize("text", [None, "port = \n", "\x00"])
def test_a_file_that_cant_be_read_is_named(tmp_path: Path, text: str | None):
    toml = tmp_path / "proxy.toml"
    if text is not None:
        toml.write_text(text)
    (problem,) = problems({}, config_file=toml)
    assert str(toml) in problem


def test_every_problem_is_reported_at_once():
    found = problems(
        {"STREAM_PROXY_PORT": "abc", "STREAM_PROXY_FEED": "nyse", "STREAM_PROXY_X": "1"}
    )
    assert len(found) == 3
    assert any("port (from STREAM_PROXY_PORT)" in problem for problem in found)


def test_variables_that_are_set_but_empty_are_not_set():
    assert (
        from_variables(ALPACA_KEY="", ALPACA_SECRET=" ", STREAM_PROXY_PORT="").settings
        == Settings()
    )


def test_a_name_without_use_here_is_accepted_with_a_remark():
    (remark,) = from_variables(KINESIS_STREAM_NAME="ticks").remarks
    assert "KINESIS_STREAM_NAME has no effect" in remark


@pytest.mark.parametrize(
    "variables",
    [
        {"ALPACA_KEY": SECRET},
        {"ALPACA_SECRET": SECRET},
        {"ALPACA_KEY": SECRET, "APCA_API_KEY_ID": SECRET + "x", "ALPACA_SECRET": "c"},
        {"STREAM_PROXY_ACCESS_TOKENS": f'[{{"name":"n","key":"k","secret":"{SECRET}'},
        {"STREAM_PROXY_ACCESS_TOKENS": f'[{{"name":"n","key":"","secret":"{SECRET[:12]}"}}]'},
        {"STREAM_PROXY_ACCESS_TOKENS": f'[{{"name":"n","secret":"{SECRET}"}}]'},
        {"STREAM_PROXY_ACCESS_TOKENS": f'"{SECRET}"'},
        {"STREAM_PROXY_ACCESS_TOKENS": SECRET},
        {"STREAM_PROXY_PORT": SECRET},
    ],
)
def test_a_value_never_appears_in_a_message(variables: dict[str, str]):
    with pytest.raises(SettingsError) as caught:
        load(variables, env_file=None)
    assert SECRET[:12] not in str(caught.value)
    assert SECRET[:12] not in repr(caught.value)


def test_settings_never_print_their_secrets():
    loaded = from_variables(
        ALPACA_KEY=SECRET,
        ALPACA_SECRET=SECRET,
        STREAM_PROXY_ACCESS_TOKENS=f'[{{"name":"n","key":"k","secret":"{SECRET}"}}]',
    )
    assert SECRET not in repr(loaded) + str(loaded.settings) + loaded.settings.model_dump_json()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"STREAM_PROXY_TLS_KEY": "k.pem"}, "belong together"),
        ({"ALPACA_KEY": "k"}, "belong together"),
        ({"STREAM_PROXY_UPSTREAM_URL": "https://x"}, "must start with wss://"),
        ({"STREAM_PROXY_FEEDS": "iex,nyse"}, "no feed is called nyse"),
        ({"STREAM_PROXY_BACKOFF_INITIAL_SECONDS": "60"}, "larger than backoff_max_seconds"),
        ({"STREAM_PROXY_PORT": "70000"}, "65535"),
        ({"STREAM_PROXY_RECONNECT_DELAY_INITIAL_MS": "soon"}, "expected a number"),
    ],
)
def test_contradictions_are_sentences(variables: dict[str, str], words: str):
    assert words in " ".join(problems(variables))


def test_lists_are_comma_separated_or_lists(tmp_path: Path):
    toml = tmp_path / "proxy.toml"
    toml.write_text('feeds = ["iex", "news"]\n')
    assert load({}, env_file=None, config_file=toml).settings.feeds == ["iex", "news"]
    assert from_variables(STREAM_PROXY_FEEDS="iex, news,").settings.feeds == ["iex", "news"]


def test_the_home_directory_is_meant_by_a_tilde():
    assert "~" not in str(Settings().state_dir)
    assert "~" not in str(from_variables(STREAM_PROXY_STATE_DIR="~/x").settings.state_dir)


def test_the_data_rest_belongs_to_upstream():
    """Keys meant for a simulator never go to Alpaca, nor Alpaca's to its sandbox."""
    assert Settings().data_rest == "https://data.alpaca.markets"
    sandbox = Settings(upstream_url="wss://stream.data.sandbox.alpaca.markets")
    assert sandbox.data_rest == "https://data.sandbox.alpaca.markets"
    assert Settings(upstream_url="ws://127.0.0.1:8765").data_rest is None
    for name in ("STREAM_PROXY_DATA_API_URL", "APCA_API_DATA_URL"):
        assert (
            from_variables(**{name: "http://127.0.0.1:1"}).settings.data_rest
            == "http://127.0.0.1:1"
        )
    assert "data_api_url must start with https://" in problems({"APCA_API_DATA_URL": "data"})[0]
