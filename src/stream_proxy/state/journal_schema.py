"""The journal's tables and how a connection to them is set up."""

from __future__ import annotations

import apsw

from stream_proxy.state.page_checksums import PAGE_BYTES, RESERVED_BYTES

VERSION = 1

OPEN = "status NOT IN ('filled', 'canceled', 'expired', 'rejected', 'replaced')"
"""Which orders may still change, as in `model.orders.END_STATUSES`."""

SCHEMA = """
CREATE TABLE journal (       -- one row
    commits INTEGER NOT NULL -- how many transactions changed anything
) STRICT;
INSERT INTO journal VALUES (0);
CREATE TABLE accounts (      -- one row an account
    account TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,     -- names this numbering; a new file is a new epoch
    next_sequence INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    reconciled_until_ns INTEGER NOT NULL,
    last_event_id TEXT NOT NULL,
    last_timestamp_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE events (        -- the record itself
    account TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    timestamp_ns INTEGER NOT NULL,
    origin TEXT NOT NULL,
    event_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    data BLOB NOT NULL,      -- the JSON object as it came
    checksum INTEGER NOT NULL,
    UNIQUE (account, sequence)
) STRICT;
CREATE INDEX events_by_time ON events (account, timestamp_ns);
CREATE TABLE names (         -- what tells events apart: e: event, x: execution, o: order and time,
    account TEXT NOT NULL,   -- k: what happened, r: the same of reconstructed events
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_sequence ON names (account, sequence);
CREATE TABLE orders (        -- where each order stands
    account TEXT NOT NULL,
    order_id TEXT NOT NULL,
    status TEXT NOT NULL,
    filled_qty TEXT NOT NULL,
    submitted_ns INTEGER NOT NULL,
    PRIMARY KEY (account, order_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX open_orders ON orders (account) WHERE
    status NOT IN ('filled', 'canceled', 'expired', 'rejected', 'replaced');
CREATE TABLE cursors (       -- how far each consumer has come
    account TEXT NOT NULL,
    cursor TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    seen_ns INTEGER NOT NULL,
    PRIMARY KEY (account, cursor)
) STRICT, WITHOUT ROWID;
"""


def configure(db: apsw.Connection) -> int:
    """Set a fresh connection up; give the version of the tables, 0 if there are none yet.

    Raises:
        apsw.Error: the file can't be used.
    """
    # Exclusive: one process numbers; it also keeps the log's index in memory, off the disk.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.reserve_bytes("main", RESERVED_BYTES)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA temp_store = MEMORY")
    return int(db.pragma("user_version"))


def create(db: apsw.Connection) -> None:
    """Make the tables."""
    db.execute(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
