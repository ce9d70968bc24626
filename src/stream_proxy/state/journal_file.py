"""The journal's file: made sure of where the disk isn't sure.

Theory. A sync that fails may leave pages that the kernel calls clean though they never reached the
disk: the next sync "succeeds" without them (Rebello et al., "Can Applications Recover from fsync
Failures?", USENIX ATC 2020). Worse, a program that starts again reads them from the cache, as if
they were there, and appends behind them; after a power failure the log breaks at the hole, and
what was acknowledged behind it is gone. So a log that is found at the start is written over itself,
byte for byte, and synchronised, before anything follows it. Writing the same bytes again is safe at
whatever moment the power goes, which a new layout of the pages would not be.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from stream_proxy.state.page_checksums import ChecksumVFS

_BLOCK_BYTES = 1 << 16
"""SQLite's unix VFS writes at most 128 KiB less a byte at a time, and nothing of 128 KiB."""


def renew(db: apsw.Connection, path: Path, base_vfs: str, *, everything: bool) -> None:
    """Make sure that what can be read is on the disk, and begin an empty log.

    Args:
        everything: the database itself too, not only the log.

    Raises:
        apsw.Error: the disk doesn't take it.
    """
    _write_again(f"{path}-wal", base_vfs, apsw.SQLITE_OPEN_WAL)
    if everything:
        _write_again(str(path), base_vfs, apsw.SQLITE_OPEN_MAIN_DB)
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _write_again(name: str, base_vfs: str, kind: int) -> None:
    """Write a file's own bytes over it. Through SQLite, since a plain close drops its locks."""
    try:
        file = apsw.VFSFile(base_vfs, name, [kind | apsw.SQLITE_OPEN_READWRITE, 0])
    except apsw.CantOpenError:
        return  # there is no log
    try:
        size = file.xFileSize()
        for offset in range(0, size, _BLOCK_BYTES):
            block = file.xRead(min(_BLOCK_BYTES, size - offset), offset)
            file.xWrite(block, offset)
        if size:
            file.xSync(apsw.SQLITE_SYNC_FULL)
    finally:
        file.xClose()


def abandon(db: apsw.Connection) -> None:
    """Close without touching the disk: not even the log is carried over, which may be evidence."""
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        db.close()
    except apsw.Error:
        db.close(force=True)


_registered: dict[str, ChecksumVFS] = {}


def checksum_vfs(base: str) -> str:
    """The name of the VFS that checks pages; registered once a process."""
    name = f"checked-{base or 'system'}"
    if name not in _registered:
        _registered[name] = ChecksumVFS(name, base)
    return name
