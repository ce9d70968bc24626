"""A copy of a journal that a running proxy writes to.

The proxy holds its file's lock, so others can't open it; but they can copy it. Theory: what SQLite
writes into the database during a checkpoint is in its log as well, until the log begins anew, and
then the log's header has other salts (SQLite file format, section 4.1). So database first, log
second, and the same header before and after: then log over database is what was committed when the
log was copied. The note goes first of all, since it must not be newer than the log.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stream_proxy.errors import StreamProxyError
from stream_proxy.state.high_water import note_path

_TRIES = 50
_LOG_HEADER_BYTES = 32


@contextlib.contextmanager
def copied_journal(path: Path) -> Iterator[Path]:
    """Give a consistent copy in a folder that only this user can read, for the length of a block.

    Raises:
        StreamProxyError: there is no journal, or it changes too fast.
    """
    if not path.exists():
        raise StreamProxyError(
            f"There is no order journal at {path}: no order updates were recorded there. Name "
            "the proxy's folder with STREAM_PROXY_STATE_DIR, or the file with --file."
        )
    with tempfile.TemporaryDirectory(prefix="stream-proxy-journal-") as folder:
        copy = Path(folder) / path.name
        for _ in range(_TRIES):
            if _copy(path, copy):
                yield copy
                return
    raise StreamProxyError(
        f"{path} was written to faster than it could be copied, {_TRIES} times. Try again at a "
        "quieter time, or stop the proxy first."
    )


def _copy(path: Path, copy: Path) -> bool:
    """Copy all that belongs to it; False if it isn't sure to fit together."""
    before = _mark(path)
    for original, made in (
        (note_path(path), note_path(copy)),
        (path, copy),
        (log_path(path), log_path(copy)),
    ):
        made.unlink(missing_ok=True)
        try:
            shutil.copyfile(original, made)
        except FileNotFoundError:
            if original == path:
                return False
    return _mark(path) == before


def _mark(path: Path) -> tuple[object, ...]:
    """What changes when the log begins anew; without a log, whatever changes the database."""
    try:
        with log_path(path).open("rb") as log:
            header = log.read(_LOG_HEADER_BYTES)
    except FileNotFoundError:
        header = b""
    if header:
        return (header,)
    status = path.stat()
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def log_path(path: Path) -> Path:
    """Where SQLite keeps the log of a database."""
    return path.with_name(path.name + "-wal")
