"""What is configured for slow consumers: of all, and of a token's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from stream_proxy.cli.config import masked
from stream_proxy.config.schema import Settings

TOKEN = {"name": "one", "key": "k", "secret": "s" * 16}


def settings(**values: Any) -> Settings:
    return Settings.model_validate(values)


def test_nobody_gets_less_unasked() -> None:
    made = settings(access_tokens=[TOKEN])
    assert made.slow_policy == "disconnect"
    assert made.access_tokens[0].slow is None
    assert "slow" not in masked(made.access_tokens)[0]


def test_policies_are_read_in_any_case() -> None:
    tokens = json.dumps([TOKEN | {"slow": "Conflate"}])
    made = settings(slow_policy="Sample=250", access_tokens=tokens)
    assert made.slow_policy == "sample=250"
    assert made.access_tokens[0].slow == "conflate"
    assert masked(made.access_tokens)[0]["slow"] == "conflate"


@pytest.mark.parametrize(
    "values", [{"slow_policy": "drop"}, {"access_tokens": [TOKEN | {"slow": "sample"}]}]
)
def test_what_is_no_policy_is_refused_with_those_that_are(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="write disconnect, conflate, bars, or sample=<ms>"):
        settings(**values)
