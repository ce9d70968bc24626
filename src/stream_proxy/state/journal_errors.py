"""Why the journal can't do its work, in sentences that say what it means and what to do.

JournalError            it can't do what was asked; what was written before stands
├── JournalDiskFailed   the disk failed in the middle: nobody knows what of the last write is on it
├── JournalDamaged      what is on the disk isn't what was written
└── JournalInUse        another process holds it
"""

from __future__ import annotations

from pathlib import Path

import apsw

MISTAKES = (
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.MisuseError,
    apsw.RangeError,
    apsw.TooBigError,
)
"""What SQLite says of a program that asks for something wrong. No disk is at fault."""


class JournalError(Exception):
    """The journal can't do its work; the text says why and what to do."""

    disk_untrusted = False
    """Whether what was written before may be on the disk, or not."""


class JournalDiskFailed(JournalError):
    """The disk failed in the middle of a write or a sync."""

    disk_untrusted = True


class JournalDamaged(JournalError):
    """What is on the disk isn't what was written."""


class JournalInUse(JournalError):
    """Another process holds the journal."""


def explained(path: Path, error: apsw.Error) -> JournalError:
    """SQLite's error in words."""
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return damaged(path, str(error))
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return JournalInUse(
            f"{path} is in use by another process, probably another proxy. Stop it, or "
            "give this one its own STREAM_PROXY_STATE_DIR."
        )
    if isinstance(error, MISTAKES):
        return JournalError(
            f"{path} is no order journal of this version ({error}). Use the version that wrote it, "
            "or move the file and its companions away: a new epoch begins, and consumers are told."
        )
    if isinstance(error, apsw.FullError):
        return JournalError(
            f"no space left for {path}: no order event is passed on until some is free. Free "
            "some; nothing is lost, the events wait."
        )
    if isinstance(error, apsw.ReadOnlyError | apsw.PermissionsError):
        return JournalDiskFailed(
            f"{path} can't be written ({error}): no order event is passed on until it can. Make "
            "it and its folder writable; the events wait."
        )
    return JournalDiskFailed(
        f"the disk fails under {path} ({error}): no order event is passed on until it "
        "works again. Check the disk; the events wait."
    )


def damaged(path: Path, what: str) -> JournalDamaged:
    return JournalDamaged(
        f"the order journal {path} is damaged: {what}. Nothing was changed. Keep a copy; "
        "`stream-proxy journal export` saves what is sound. Then move the file and its "
        "companions away and restart: a new epoch begins, and consumers are told so."
    )
