"""The command line as users have it: a process of its own, in an empty directory."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

_LONGEST_SECONDS = 40.0


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str


Command = Callable[..., Awaitable[Ran]]


def bare_environment(home: Path) -> dict[str, str]:
    """Nothing of the machine's own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"HOME": str(home), "NO_COLOR": "1", "PYTHONUTF8": "1"}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run ``stream-proxy ARGUMENTS`` with only these variables."""

    async def run(*arguments: str, **variables: str) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stream_proxy", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=bare_environment(tmp_path) | variables,
            cwd=tmp_path,
        )
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        ran = Ran(process.returncode, out.decode(), err.decode())
        assert "Traceback" not in ran.err + ran.out, ran
        return ran

    return run


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
