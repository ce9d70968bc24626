"""Back-off, certificates, masked logs."""

from __future__ import annotations

import io
import logging
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import structlog
from hypothesis import given
from hypothesis import strategies as st

from stream_proxy.runtime.backoff import Backoff
from stream_proxy.runtime.certificates import self_signed, server_context
from stream_proxy.runtime.logs import set_up_logs


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_delays_grow_within_bounds(seed: int, failures: int) -> None:
    """Each delay lies between half of its ceiling and its ceiling; the ceiling doubles to the most."""
    backoff = Backoff(0.5, 30, Random(seed))
    for failure in range(failures):
        ceiling = min(30, 0.5 * 2 ** min(failure, 60))
        assert ceiling / 2 <= backoff.next_delay_seconds() <= ceiling


def test_only_a_reset_starts_over() -> None:
    """After data the next delay is short again."""
    backoff = Backoff(0.5, 30, Random(1))
    for _ in range(10):
        backoff.next_delay_seconds()
    backoff.reset()
    assert backoff.next_delay_seconds() <= 0.5


def test_a_self_signed_certificate_is_kept_until_it_gets_old(tmp_path: Path) -> None:
    """Made once, readable by its owner alone, good for a context, renewed in time."""
    now = datetime.now(UTC)
    names = ["localhost", "127.0.0.1", "::1"]
    certificate, key = self_signed(tmp_path, names, now)
    first = certificate.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert isinstance(server_context(certificate, key), ssl.SSLContext)
    self_signed(tmp_path, names, now + timedelta(days=300))
    assert certificate.read_bytes() == first
    self_signed(tmp_path, names, now + timedelta(days=340))
    assert certificate.read_bytes() != first
    second = certificate.read_bytes()
    self_signed(tmp_path, [*names, "proxy.lan"], now + timedelta(days=341))
    assert certificate.read_bytes() != second


def test_secrets_never_reach_the_log() -> None:
    """Neither through our own events, exceptions, nor other libraries' lines; nor forged lines."""
    out = io.StringIO()
    secret = "hunter2-is-the-secret"
    set_up_logs("debug", "json", [secret], out)
    log = structlog.get_logger("test")
    log.warning("event", why=f"auth with {secret}\nFORGED LINE")
    logging.getLogger("somebody.else").warning("header: %s", secret)
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
    try:
        raise ValueError(f"{secret}\nFORGED LINE")
    except ValueError:
        logging.getLogger("somebody.else").exception("failed with %s", secret)
    log.warning("event", headers={"authorization": [secret]})
    text = out.getvalue()
    assert secret not in text
    assert text.count("***") >= 6
    assert "\nFORGED" not in text


def test_freed_memory_is_kept() -> None:
    """Half a megabyte that was freed is there again without a page fault."""
    program = (
        "import resource\n"
        "from stream_proxy.runtime.memory import keep_freed_memory\n"
        "keep_freed_memory()\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for size in (500_000, 400_000, 300_000) * 30: b'x' + bytes(size)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "faults()\n"
        "print(faults())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 500, "each buffer was unmapped: about 18,000 faults"
