"""The catalogue of faults, U1 to U36: what each is, in which world it is made, and by what.

Three worlds make them. *Market*: this folder; the product's connector, session, hub and outlet in
virtual time, on sockets in memory. *Orders*: `simulation`; the order side on the real journal, in
virtual time. *Real*: processes, sockets, certificates and disks, in the tests that are named.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from faults import in_the_talk, on_the_host, on_the_wire
from faults.strike import FAULTS, FaultKind

FAULT_MODULES = (on_the_wire, in_the_talk, on_the_host)
"""Where the market's world has them from; importing them fills `FAULTS`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the catalogue.

    Attributes:
        orders: how the orders' world makes it, by the names of `simulation.world.Struck`.
        real: the tests that make it with real sockets, files and processes.
        missing: what of it can't be made here, and why.
    """

    number: str
    title: str
    kind: str
    orders: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    missing: str = ""
    note: str = field(default="")

    @property
    def market(self) -> list[FaultKind]:
        """How the market's world makes it."""
        return [found for found in FAULTS.values() if found.row == self.number]


_FAULTS = "tests/integration/test_faults.py"
_BAD = "tests/integration/test_bad_upstream.py"
_REST = "tests/integration/test_trading_rest.py"
_DISK = "tests/unit/state/test_journal_disk_faults.py"
_KILLS = "tests/integration/test_order_kills.py"

ROWS = {
    row.number: row
    for row in (
        Row("U1", "TCP reset in the middle of a frame", "socket", ("reset",), (_FAULTS,)),
        Row("U2", "end of stream without a close frame", "socket", real=(_FAULTS,)),
        Row("U3", "half open: the peer vanishes", "socket", ("half open",)),
        Row("U4", "silent stall: pings are not answered", "socket", real=(_FAULTS,)),
        Row("U5", "no data, but pings are answered", "application", ("mute",), (_FAULTS,)),
        Row("U6", "slow drip, one byte at a time", "socket", ("slow",)),
        Row("U7", "connect refused, connect hangs", "socket", ("refused upgrade",)),
        Row("U8", "slow answer to the upgrade", "HTTP"),
        Row(
            "U9", "HTTP error on the upgrade, Retry-After", "HTTP", ("refused upgrade",), (_FAULTS,)
        ),
        Row("U10", "redirect to another host", "HTTP"),
        Row("U11", "wrong Sec-WebSocket-Accept", "HTTP"),
        Row("U12", "DNS fails, is slow, leads elsewhere", "name"),
        Row(
            "U13",
            "TLS: bad certificate, handshake stalls, old version",
            "TLS",
            note="The market's world raises what the TLS library raises; no certificate is read.",
        ),
        Row("U14", "close frames of all codes", "WebSocket", ("finished",), (_FAULTS,)),
        Row(
            "U15",
            "masked, reserved bits, bad opcode, bad UTF-8, garbage",
            "WebSocket",
            real=(_BAD,),
        ),
        Row("U16", "huge length, thousands of fragments", "WebSocket", real=(_BAD,)),
        Row("U17", "no welcome, two welcomes", "Alpaca", real=(_FAULTS,)),
        Row("U18", "auth: 402, 404, 403, 401", "Alpaca", real=(_FAULTS,)),
        Row("U19", "406: the old session lives on", "Alpaca", real=(_FAULTS,)),
        Row("U20", "406: another process has the slot", "Alpaca"),
        Row("U21", "405, 408, 409", "Alpaca", real=(_FAULTS,)),
        Row("U22", "407: we are cut for slowness", "Alpaca", real=(_FAULTS,)),
        Row("U23", "acknowledgement missing, late, wrong, doubled", "Alpaca", real=(_FAULTS,)),
        Row("U24", "400 to a valid message, unknown codes", "Alpaca", real=(_FAULTS,)),
        Row("U25", "garbage, truncated, wrongly typed, deep, large", "payload", real=(_BAD,)),
        Row("U26", "unknown type, missing, null and new fields", "payload", real=(_BAD,)),
        Row("U27", "duplicate and disordered ticks, wrong times", "data", ("told again",)),
        Row(
            "U28",
            "the wall clock jumps",
            "host",
            ("clock jump",),
        ),
        Row("U29", "burst of fifty times, then silence", "load"),
        Row(
            "U30", "disconnect during subscribe, auth, back-fill, drain", "timing", ("at a moment",)
        ),
        Row("U31", "accepted, then closed, for ever", "timing", real=(_FAULTS,)),
        Row(
            "U32",
            "orders: fills in the gap, doubles, stream and REST",
            "orders",
            ("told again", "swallowed", "in a gap"),
        ),
        Row("U33", "REST: errors, late, pages repeat", "REST", ("REST fails",), (_REST,)),
        Row(
            "U34",
            "disk full, failing writes, torn and flipped bytes",
            "disk",
            ("disk",),
            real=(_DISK, "tests/integration/test_full_disk.py"),
            note="A simulated disk below SQLite fails at its k-th operation; time is real there.",
        ),
        Row("U35", "killed, told to end, stopped for a while", "process", ("killed",), (_KILLS,)),
        Row("U36", "no file descriptors left", "process"),
    )
}
