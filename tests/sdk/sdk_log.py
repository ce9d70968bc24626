"""
What the two Python SDKs say only in their log: acks, error frames, reconnects.

Neither SDK hands these to the caller, and wrapping its methods would no longer
run it unmodified.
"""

from __future__ import annotations

import logging
import re
import threading

from reporting import Report

_ERROR_FRAME = re.compile(r"error: (?P<msg>.*) \((?P<code>\d+|None)\)")
_FAILURES = ("error during websocket communication: ",)
_RECONNECTS = ("data websocket error, restarting connection: ",)


class LogWatcher(logging.Handler):
    """Turn an SDK's log records into events of the report."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.INFO)
        self._report = report
        # The SDKs' stop() needs the event loop they set just before this record.
        self.started = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("started "):
            self.started.set()
        elif text.startswith("subscribed to "):
            self._report.subscribed()
        elif frame := _ERROR_FRAME.fullmatch(text):
            code = frame["code"]
            self._report.error(None if code == "None" else int(code), frame["msg"])
        elif text.startswith(_FAILURES):
            # A refusal during the handshake arrives here, without its code, and
            # so does a message that the SDK could not digest.
            self._report.error(None, text.removeprefix(_FAILURES[0]))
        elif text.startswith(_RECONNECTS):
            self._report.event("reconnecting", msg=text.removeprefix(_RECONNECTS[0]))


def watch(logger_name: str, report: Report) -> LogWatcher:
    """Watch a module's logger, without the records reaching stderr as well."""
    watcher = LogWatcher(report)
    logger = logging.getLogger(logger_name)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(watcher)
    return watcher
