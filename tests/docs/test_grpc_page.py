"""The gRPC page's table of ends has every reason that the code gives, under its status."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from stream_proxy.outlets.grpc import refusals
from stream_proxy.wire.alpaca.codes import (
    ALREADY_AUTHENTICATED,
    ERROR_CODES,
    INTERNAL_ERROR,
    Verdict,
)

_ROOT = Path(__file__).resolve().parents[2]
_CODE = sorted((_ROOT / "src/stream_proxy/outlets/grpc").glob("*.py"))


def told() -> set[tuple[str, str]]:
    """Status and reason of every row and word of the table."""
    page = (_ROOT / "docs/grpc.md").read_text(encoding="utf-8")
    table = page[page.index("| status | reasons |") :].split("\n\n")[0]
    found = set()
    for line in table.splitlines()[2:]:
        _, status, reasons, *_ = line.split("|")
        for reason in re.findall(r"`(\w+)`", reasons):
            found.add((status.strip(" `"), reason))
    return found


def given() -> Iterator[tuple[str, str]]:
    """What the code says itself, and what Alpaca's answers to a subscription become."""
    for path in _CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "refusal":
                status, _, reason = node.args[:3]
                if isinstance(reason, ast.Constant):
                    names = {n.attr for n in ast.walk(status) if isinstance(n, ast.Attribute)}
                    yield from ((name, str(reason.value)) for name in names)
    for code, row in ERROR_CODES.items():
        final = row.verdict in (Verdict.IGNORE, Verdict.GIVE_UP) or row is INTERNAL_ERROR
        if final and row is not ALREADY_AUTHENTICATED:
            yield refusals.refused_upstream(row).status.name, f"ALPACA_{code}"


def test_the_table_of_ends_is_whole_and_true():
    in_code = set(given())
    assert len(in_code) > 30, "the code was read"
    assert told() == in_code
