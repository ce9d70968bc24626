"""Recorded ticks in the common form, read in small batches from Parquet or CSV.

The common form is one row a tick, in time order, with the columns ``ts_ns``, ``symbol``, ``kind``
(``t`` or ``q``), ``price``, ``size``, ``bid``, ``bid_size``, ``ask``, ``ask_size``, ``exchange``,
``ask_exchange`` and ``conditions``. Columns may be missing and fields empty.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from math import isnan
from pathlib import Path
from typing import Any, TextIO, TypeAlias

COLUMNS = (
    "ts_ns",
    "symbol",
    "kind",
    "price",
    "size",
    "bid",
    "bid_size",
    "ask",
    "ask_size",
    "exchange",
    "ask_exchange",
    "conditions",
)
# Small enough that reading the next batch does not hold up a running stream noticeably.
BATCH_ROWS = 2048

Batch: TypeAlias = list[list[Any]]

_NUMBERS = frozenset(COLUMNS) - {"symbol", "kind", "exchange", "ask_exchange", "conditions"}
_PRICES = frozenset({"price", "bid", "ask"})
_FLOATS = frozenset({"float", "double"})


class Recording:
    """A file of recorded ticks.

    Raises:
        ValueError: the file is neither ``.parquet`` nor ``.csv`` nor ``.csv.gz``.
        ImportError: the file is Parquet and the extra ``parquet`` is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_parquet = path.suffix == ".parquet"
        if not self._is_parquet and not path.name.endswith((".csv", ".csv.gz")):
            raise ValueError(f"{path.name}: ticks are read from .parquet, .csv or .csv.gz files")

    def symbols(self) -> list[str]:
        """All symbols as the file spells them, in order of appearance; reads the file once."""
        batches = self._parquet(("symbol",)) if self._is_parquet else self._csv(("symbol",))
        return list(dict.fromkeys(symbol for (column,) in batches for symbol in column))

    def batches(self) -> Iterator[Batch]:
        """The rows from top to bottom, as batches of columns in the order of ``COLUMNS``.

        Numbers are ``int`` or ``float``, empty fields are ``None`` (or ``""`` in text columns).
        """
        return self._parquet(COLUMNS) if self._is_parquet else self._csv(COLUMNS)

    def _parquet(self, columns: tuple[str, ...]) -> Iterator[Batch]:
        try:
            parquet: Any = import_module("pyarrow.parquet")
        except ImportError as error:
            raise ImportError(
                f"reading {self.path.name} needs pyarrow: install the extra 'parquet', for "
                "instance with pip install 'alpaca-stream-proxy[parquet]'"
            ) from error
        with parquet.ParquetFile(self.path) as file:
            present = [name for name in columns if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=present):
                read = {name: _values(batch.column(name)) for name in present}
                empty = [None] * batch.num_rows
                yield [read.get(name, empty) for name in columns]

    def _csv(self, columns: tuple[str, ...]) -> Iterator[Batch]:
        with _open_text(self.path) as file:
            reader = csv.reader(file)
            header = next(reader, [])
            places = [header.index(name) if name in header else None for name in columns]
            while rows := list(islice(reader, BATCH_ROWS)):
                read = list(zip(*rows, strict=True))
                yield [
                    [None] * len(rows) if place is None else _parsed(name, read[place])
                    for name, place in zip(columns, places, strict=True)
                ]


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8")
    return path.open(newline="", encoding="utf-8")


def _values(array: Any) -> list[Any]:
    # Dictionary-coded text: look the words up here, once per batch, not once per row.
    if hasattr(array, "dictionary"):
        words = [*array.dictionary.to_pylist(), None]
        return [words[index] for index in array.indices.fill_null(len(words) - 1).to_pylist()]
    values: list[Any] = array.to_pylist()
    if str(array.type) in _FLOATS:
        # Some writers have no other way to leave a number out.
        return [None if value is None or isnan(value) else value for value in values]
    return values


def _parsed(name: str, texts: tuple[str, ...]) -> list[Any]:
    if name not in _NUMBERS:
        return list(texts)
    if name == "ts_ns":
        return [int(text) for text in texts]
    if name in _PRICES:
        return [float(text) if text else None for text in texts]
    return [_size(text) for text in texts]


def _size(text: str) -> float | None:
    if not text:
        return None
    size = float(text)
    return int(size) if size.is_integer() and "." not in text else size
