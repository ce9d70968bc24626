"""A disk in memory that forgets what was not synchronised, and fails on order; a VFS for SQLite.

Three layers. `Disk` is the state: what a running program reads, and beside it what is sure to be
there after a power failure. `ForgetfulVFS` lets SQLite work on the disk of the moment;
`journal_on` opens a journal there. The log of all operations lets a test run once and lose power
at every one of them afterwards.

The rules, of POSIX and of the usual file systems on bad days: a write survives for sure only once
a sync of its file has returned; until then each may survive or not, in any order, and the one
that was under way may be torn at any byte. A new file's name, and a deletion, are sure once the
directory was synchronised, which SQLite's own VFS does with a log's first sync. A failed sync
marks what it should have written as clean: it is on the disk or not, and no later sync writes it
(Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import apsw

from stream_proxy.state.high_water import HighWater
from stream_proxy.state.journal import Journal

JOURNAL, LOG, NOTE = "orders.sqlite3", "orders.sqlite3-wal", "orders.sqlite3.high"
_LOGS = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
_KERNEL_KEEPS = 40
"""Unsynchronised operations of a file that never is; older ones the kernel has written by then."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One I/O call that changes something: write, truncate, sync, create, delete."""

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""
    sync_names: bool = False


@dataclass(eq=False, slots=True)
class _Content:
    """A file's bytes: as read, as sure, and the operations between the two."""

    seen: bytearray = field(default_factory=bytearray)
    sure: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)
    locks: dict[int, int] = field(default_factory=dict)


class Disk:
    """One directory of files.

    Attributes:
        log: every operation so far, in order.
        fault: called before each operation, with it and its number; what it raises is what the
            program gets.
        reverts: whether a failed sync shows at once: reads give the old bytes again. Otherwise
            only a power failure shows it.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None, *, reverts: bool = False) -> None:
        self._names: dict[str, _Content] = {}
        self._earlier: dict[str, list[_Content | None]] = {}
        self.log: list[Operation] = []
        self.fault: Callable[[Operation, int], None] = lambda operation, number: None
        self.reverts = reverts
        for name, content in (files or {}).items():
            self._names[name] = _Content(bytearray(content), bytearray(content))

    # What a program does

    def do(self, operation: Operation) -> None:
        """Carry an operation out, or fail with it as `fault` wants."""
        number = len(self.log)
        self.log.append(operation)
        try:
            self.fault(operation, number)
        except apsw.Error:
            if operation.kind == "sync":
                self._mark_clean(self._names[operation.name])
            raise
        self.apply(operation)

    def apply(self, operation: Operation) -> None:
        name, kind = operation.name, operation.kind
        if kind == "sync":
            content = self._names[name]
            for waiting in content.pending:
                _change(content.sure, waiting)
            content.pending = []
        elif kind in ("write", "truncate"):
            content = self._names[name]
            _change(content.seen, operation)
            content.pending.append(operation)
            if len(content.pending) > _KERNEL_KEEPS and not name.endswith(("-wal", ".sqlite3")):
                _change(content.sure, content.pending.pop(0))
        else:
            self._earlier.setdefault(name, []).append(self._names.get(name))
            if kind == "create":
                self._names[name] = _Content()
            else:
                self._names.pop(name, None)
        if operation.sync_names:
            self._earlier = {}

    def _mark_clean(self, content: _Content) -> None:
        content.pending = []
        if self.reverts:
            content.seen = bytearray(content.sure)

    def read(self, name: str) -> bytes:
        if name not in self._names:
            raise FileNotFoundError(name)
        return bytes(self._names[name].seen)

    def overwrite(self, name: str, content: bytes) -> None:
        """As ``Path.write_bytes`` does it: cut to nothing, then write, with no sync."""
        if name not in self._names:
            self.do(Operation("create", name))
        else:
            self.do(Operation("truncate", name))
        self.do(Operation("write", name, 0, content))

    def files(self) -> dict[str, bytes]:
        """What a program that was shot leaves to the next one: all it wrote."""
        return {name: bytes(content.seen) for name, content in self._names.items()}

    # What the power does

    def after_power_loss(self, random: Random, last: Operation | None = None) -> dict[str, bytes]:
        """The files that are there when the power comes back.

        ``last`` was under way. The random source decides: everything unsynchronised is gone, all
        of it is there, or any part of it.
        """
        share = random.choice((0.0, 0.5, 0.9, 1.0))
        names: dict[str, _Content | None] = dict(self._names)
        for name, earlier in self._earlier.items():
            if random.random() >= share:
                names[name] = random.choice(earlier)
        left = {}
        for name, content in names.items():
            if content is not None:
                under_way = last if self._names.get(name) is content else None
                left[name] = _survivors(content, name, under_way, share, random)
        return left

    # What SQLite needs

    def has(self, name: str) -> bool:
        return name in self._names

    def content(self, name: str) -> _Content:
        return self._names[name]


def _survivors(
    content: _Content, name: str, last: Operation | None, share: float, random: Random
) -> bytes:
    left = bytearray(content.sure)
    for operation in content.pending:
        if random.random() < share:
            _change(left, operation)
    if last is not None and last.name == name and random.random() < 0.7:
        if last.kind == "write":
            torn = last.data[: random.randint(0, len(last.data))]
            _change(left, Operation("write", name, last.offset, torn))
        elif last.kind == "truncate":
            _change(left, last)
    return bytes(left)


def _change(content: bytearray, operation: Operation) -> None:
    offset, data = operation.offset, operation.data
    if operation.kind == "truncate":
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class ForgetfulVFS(apsw.VFS):
    """SQLite's way to the disk of the moment: ``vfs.disk``."""

    def __init__(self, name: str) -> None:
        self.disk = Disk()
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        flags[1] = flags[0]
        return _File(self.disk, Path(path).name, flags[0])

    def xAccess(self, pathname: str, flags: int) -> bool:
        return self.disk.has(Path(pathname).name)

    def xFullPathname(self, name: str) -> str:
        return name

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.disk.do(Operation("delete", Path(filename).name, sync_names=bool(syncdir)))


class _File:
    def __init__(self, disk: Disk, name: str, flags: int) -> None:
        if not disk.has(name):
            if not flags & apsw.SQLITE_OPEN_CREATE:
                raise apsw.CantOpenError(f"no file {name}")
            disk.do(Operation("create", name))
        self._disk, self._name, self._content = disk, name, disk.content(name)
        self._names_unsynced = bool(flags & _LOGS and flags & apsw.SQLITE_OPEN_CREATE)

    def excepthook(self, *error: object) -> None:
        """A fault that SQLite may ignore, such as one of a checkpoint, is no news."""

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._content.seen[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.do(Operation("write", self._name, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        self._disk.do(Operation("truncate", self._name, size))

    def xSync(self, flags: int) -> None:
        self._disk.do(Operation("sync", self._name, sync_names=self._names_unsynced))
        self._names_unsynced = False

    def xFileSize(self) -> int:
        return len(self._content.seen)

    def xLock(self, level: int) -> None:
        others = [held for who, held in self._content.locks.items() if who != id(self)]
        most = max(others, default=0)
        if (
            most >= apsw.SQLITE_LOCK_PENDING
            or (level >= apsw.SQLITE_LOCK_RESERVED and most >= apsw.SQLITE_LOCK_RESERVED)
            or (level == apsw.SQLITE_LOCK_EXCLUSIVE and most)
        ):
            raise apsw.BusyError("locked")
        self._content.locks[id(self)] = max(level, self._content.locks.get(id(self), 0))

    def xUnlock(self, level: int) -> None:
        self._content.locks[id(self)] = level

    def xCheckReservedLock(self) -> bool:
        return any(held >= apsw.SQLITE_LOCK_RESERVED for held in self._content.locks.values())

    def xSectorSize(self) -> int:
        return 4096

    def xDeviceCharacteristics(self) -> int:
        # As SQLite assumes of disks: a torn write damages no bytes beside it.
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xClose(self) -> None:
        self._content.locks.pop(id(self), None)


_registered: dict[str, ForgetfulVFS] = {}


def forgetful_vfs(name: str = "forgetful") -> ForgetfulVFS:
    """The one of this name; SQLite knows it from its first use on."""
    if name not in _registered:
        _registered[name] = ForgetfulVFS(name)
    return _registered[name]


def failing(
    kinds: Sequence[str], names: str, make: Callable[[], Exception], times: int = 1
) -> Callable[[Operation, int], None]:
    """A fault of the next ``times`` operations of these kinds on files that end so."""
    left = [times]

    def fault(operation: Operation, number: int) -> None:
        if left[0] and operation.kind in kinds and operation.name.endswith(names):
            left[0] -= 1
            raise make()

    return fault


def journal_on(disk: Disk, **options: Any) -> Journal:
    """Open the journal of a disk; its note lies on the disk, too."""
    forgetful_vfs().disk = disk
    note = HighWater(lambda: disk.read(NOTE), lambda content: disk.overwrite(NOTE, content))
    return Journal(
        Path("/forgetful") / JOURNAL,
        new_epoch=lambda: "e1",
        base_vfs="forgetful",
        high_water=note,
        **options,
    )
