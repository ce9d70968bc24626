"""Which option contracts belong to an underlying."""

from __future__ import annotations

import pytest

from stream_proxy.wire.grpc.occ import matches_underlying, occ_root


@pytest.mark.parametrize(
    ("symbol", "root"),
    [
        ("AAPL261218C00200000", "AAPL"),
        ("A261218P00010500", "A"),
        ("AAPL1261218C00200000", "AAPL1"),
        ("GOOGL261218C00200000", "GOOGL"),
        ("AAPL", ""),
        ("", ""),
        ("261218C00200000", ""),
        ("AAPL261218X00200000", ""),
        ("AAPL  261218C00200000", ""),
        ("AAPL261218C00200000\n", ""),
        ("AAPL\uff1261218C00200000", ""),
    ],
)
def test_the_root_is_what_is_before_the_date(symbol: str, root: str) -> None:
    assert occ_root(symbol) == root


@pytest.mark.parametrize(
    ("symbol", "underlying", "belongs"),
    [
        ("AAPL261218C00200000", "AAPL", True),
        ("AAPL261218C00200000", "aapl", True),
        ("AAPL261218C00200000", "A", False),
        ("AAPL261218C00200000", "AAP", False),
        ("A261218C00200000", "AAPL", False),
        ("AAPL1261218C00200000", "AAPL", True),
        ("AAPL1261218C00200000", "AAPL1", True),
        ("AAPL261218C00200000", "AAPL1", False),
        ("AAPL2261218C00200000", "AAPL1", False),
        ("BRKB261218P00472500", "BRK.B", True),
        ("SPXW240327P04925000", "SPX", False),
        ("AAPL261218C00200000", "", False),
        ("AAPL", "AAPL", False),
    ],
)
def test_contracts_of_an_underlying(symbol: str, underlying: str, belongs: bool) -> None:
    assert matches_underlying(symbol, underlying) is belongs
