"""A whole recorded trading day through simulator and proxy: nothing lost, doubled or changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import digest
from harness.proxies import proxy_process
from harness.simulated import simulator

ROWS = 1_221_344
TESTS = Path(__file__).parents[1]
EVERYTHING = json.dumps({"trades": ["*"], "quotes": ["*"]})


def client(*command: str) -> subprocess.Popen[str]:
    variables = os.environ | {"PYTHONPATH": str(TESTS)}
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=variables,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("upstream_codec", ["msgpack", "json"])
def test_a_recorded_day_arrives_whole(
    recorded_data: Path, tmp_path: Path, upstream_codec: str
) -> None:
    """Three consumers get every row of the file, in order per symbol, in the file's values.

    Those of upstream's codec get the very bytes that the simulator sent.
    """
    recording = recorded_data / "us_equity_ticks_20131007.parquet"
    expected = digest.of_file(recording)
    assert expected.messages == ROWS

    replay = [
        "--replay",
        str(recording),
        "--replay-speed",
        "0",
        "--hold",
        "--array-messages",
        "200",
    ]
    with (
        simulator(*replay) as alpaca,
        # The consumers read as fast as they can, each at its own pace: what the slower ones
        # have not read yet waits for them.
        proxy_process(
            alpaca.streams,
            tmp_path,
            "--feeds",
            "sip",
            STREAM_PROXY_OUTBOX_BYTES=str(1 << 30),
            STREAM_PROXY_OUTBOX_AGE_SECONDS="200",
            STREAM_PROXY_UPSTREAM_CODEC=upstream_codec,
        ) as proxy,
    ):
        url = f"{proxy.addresses[0]}/v2/sip"
        own = {
            codec: client("-m", "harness.digest", url, codec, str(ROWS))
            for codec in ("json", "msgpack")
        }
        sdk = client(
            str(TESTS / "sdk" / "alpaca_py_client.py"),
            "--raw",
            "--stream",
            "stock",
            "--url",
            url,
            "--key",
            "k",
            "--secret",
            "s",
            "--subscribe",
            EVERYTHING,
        )
        clients = [*own.values(), sdk]
        try:
            for process in clients:
                assert process.stdout is not None
                assert json.loads(process.stdout.readline())["event"] == "subscribed"
            alpaca.post("/start")
            assert sdk.stdout is not None
            of_sdk = digest.of_lines(sdk.stdout, ROWS)
            results = {codec: json.loads(p.communicate(timeout=200)[0]) for codec, p in own.items()}
        finally:
            for process in clients:
                process.kill()
                process.communicate()
        ledger = alpaca.get("/ledger")

    (connection,) = ledger["connections"]
    assert connection["messages"] == ROWS
    assert ledger["peak_open"] == {"sip": 1}
    for name, result in [*results.items(), ("alpaca-py", of_sdk.as_dict())]:
        assert result["messages"] == ROWS, name
        assert result["by_symbol"] == expected.by_symbol, name
    # Byte for byte in upstream's codec: the sum over all items is the ledger's own.
    assert results[upstream_codec]["bytes_sum"] % (1 << 64) == connection["checksum"]
