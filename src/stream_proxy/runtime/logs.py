"""Structured logs, for people or for machines, with secrets masked on the way out."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, TextIO

import structlog

_MASK = "***"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class SecretMask:
    """A last line of defence: known secret values never leave, whatever put them into an event.

    It also escapes control characters, so that a peer can't forge log lines.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 4)

    def __call__(
        self, logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        for name, value in event.items():
            if name == "exception":
                # Our own traceback keeps its lines.
                event[name] = "\n".join(map(self.clean, str(value).split("\n")))
            else:
                event[name] = self._clean_any(value)
        return event

    def _clean_any(self, value: Any) -> Any:
        match value:
            case str():
                return self.clean(value)
            case list() | tuple() | set():
                return [self._clean_any(item) for item in value]
            case dict():
                return {self._clean_any(key): self._clean_any(item) for key, item in value.items()}
            case int() | float() | None:
                return value
            case _:
                return self.clean(str(value))

    def clean(self, text: str) -> str:
        """The text without secrets, and on one line."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class _MaskingFormatter(logging.Formatter):
    """The same for libraries that log by themselves, their tracebacks included: one line each."""

    def __init__(self, mask: SecretMask) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        return self._mask.clean(super().format(record))


def set_up_logs(
    level: str, form: str, secrets: Iterable[str], stream: TextIO | None = None
) -> None:
    """Configure logging for the whole program; lines go to standard error."""
    mask = SecretMask(secrets)
    out = stream or sys.stderr
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(out),
        # Not cached: tests and the demo configure more than once in one process.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(_MaskingFormatter(mask))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
