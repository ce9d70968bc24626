"""Names, origins and tokens."""

from __future__ import annotations

import pytest

from stream_proxy.app import check_exposure
from stream_proxy.config.schema import Settings
from stream_proxy.errors import SettingsError
from stream_proxy.outlets.doorkeeper import AccessToken, Doorkeeper, host_names
from stream_proxy.wire.alpaca.requests import Credentials

TOKENS = [AccessToken("bots", "bots", "s" * 20), AccessToken("desk", "desk", "t" * 20)]


@pytest.mark.parametrize(
    ("key", "secret", "name"),
    [
        ("bots", "s" * 20, "bots"),
        ("desk", "t" * 20, "desk"),
        ("bots", "t" * 20, None),
        ("", "t" * 20, "desk"),
        ("oauth", "s" * 20, "bots"),
        ("access_token", "s" * 20, "bots"),
        ("bots", "", None),
        ("", "", None),
        ("böts", "s" * 20, None),
        ("bots", "\x00", None),
    ],
)
def test_tokens(key: str, secret: str, name: str | None) -> None:
    """Key and secret must belong together; Alpaca's bearer forms bring the secret alone."""
    doorkeeper = Doorkeeper(None, [], TOKENS)
    assert doorkeeper.identify(Credentials(key, secret)) == name


def test_without_tokens_everybody_is_welcome() -> None:
    """Zero configuration on loopback."""
    assert Doorkeeper(None, [], []).identify(Credentials("any", "any")) == "anybody"


def test_secrets_are_not_shown() -> None:
    """Neither tokens nor credentials print themselves."""
    assert "sss" not in repr(TOKENS[0])
    assert "hush" not in repr(Credentials("key", "hush"))


def test_an_ipv6_address_is_a_name_of_its_own() -> None:
    """Brackets and ports are understood."""
    doorkeeper = Doorkeeper(host_names("fd00::7", []), [], [])
    assert doorkeeper.allows_host("[fd00::7]:8099")
    assert doorkeeper.allows_host("[fd00::7]")
    assert not doorkeeper.allows_host("[fd00::8]:8099")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_binding_wide_without_tokens_is_refused(host: str) -> None:
    """The error names the line that fixes it."""
    with pytest.raises(SettingsError, match="STREAM_PROXY_ACCESS_TOKENS"):
        check_exposure(Settings(host=host))
    token = {"name": "a", "key": "a", "secret": "0123456789abcdef"}
    check_exposure(Settings.model_validate({"host": host, "access_tokens": [token]}))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.53"])
def test_loopback_needs_no_tokens(host: str) -> None:
    """Only programs on this machine can connect."""
    check_exposure(Settings(host=host))


def test_our_own_origin_counts_only_under_a_known_name() -> None:
    """Where any Host is accepted, a rebound name would be its own origin."""
    named, open_door = Doorkeeper(["localhost"], [], []), Doorkeeper(None, [], TOKENS)
    assert named.allows_origin(["http://localhost:8099"], "localhost:8099")
    assert not named.allows_origin(["http://localhost:8099"], "localhost:8098")
    assert not named.allows_origin(["http://"], "")
    assert not open_door.allows_origin(["http://evil.example:8099"], "evil.example:8099")
