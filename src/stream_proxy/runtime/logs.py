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
            if isinstance(value, str):
                event[name] = self.clean(value)
        return event

    def clean(self, text: str) -> str:
        """The text without secrets, and on one line."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class _MaskFilter(logging.Filter):
    """The same for libraries that log by themselves."""

    def __init__(self, mask: SecretMask) -> None:
        super().__init__()
        self._mask = mask

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._mask.clean(record.getMessage()), ()
        return True


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
    handler.addFilter(_MaskFilter(mask))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
