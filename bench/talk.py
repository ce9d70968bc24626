"""How the processes of a benchmark talk: a JSON line each way, on standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from bench.machine import LOAD_CORE, ROOT, cpu_seconds, pin


class Broken(RuntimeError):
    """A process ended, fell silent, or said that something was wrong."""


class Process:
    """A process that was started here, pinned to a core, and ends here.

    Args:
        core: where it runs.
        environment: variables besides this process's own.
    """

    def __init__(
        self, command: Iterable[str], core: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = tempfile.TemporaryFile()
        self._buffer = b""
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env={**_clean_environment(), **(environment or {})},
            preexec_fn=lambda: pin(core),
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def say(self, **command: Any) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Broken(f"{self} ended\n{self.log()}") from None

    def hear(self, patience: float = 60.0) -> dict[str, Any]:
        """The next line that it prints.

        Raises:
            Broken: none came in time, or it names an error.
        """
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + patience
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise Broken(f"{self} said nothing for {patience:g} s\n{self.log()}")
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise Broken(f"{self} ended\n{self.log()}")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Broken(f"{self}: {answer['error']}")
        return answer

    def ask(self, patience: float = 60.0, **command: Any) -> dict[str, Any]:
        self.say(**command)
        return self.hear(patience)

    def log(self) -> str:
        """The end of what it wrote to standard error."""
        self._log.seek(0)
        return self._log.read()[-4000:].decode(errors="replace")

    def logged(self, pattern: str, seconds: float = 30.0) -> str:
        """Wait until standard error matches; the pattern's first group."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(pattern, self.log()):
                return found[1]
            time.sleep(0.02)  # a file can't be selected on
        raise Broken(f"{self} never logged {pattern!r}\n{self.log()}")

    def stop(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._log.close()

    def __str__(self) -> str:
        arguments = self.process.args
        return " ".join(map(str, arguments if isinstance(arguments, list) else [arguments]))[:200]


def python(module: str, *arguments: str, core: int = LOAD_CORE) -> Process:
    """A module of the benchmark as a process of its own."""
    return Process([sys.executable, "-m", module, *arguments], core)


def _clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("STREAM_PROXY_", "ALPACA"))}


# The other end


def tell(**words: Any) -> None:
    """Say a line to the process that started this one."""
    print(json.dumps(words), flush=True)


async def commands() -> AsyncIterator[dict[str, Any]]:
    """What the process that started this one says, until it is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)
