"""``stream-proxy journal``: look into the order journal, check it, and take it out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from stream_proxy.cli.journal_copy import copied_journal, log_path
from stream_proxy.cli.serve import ConfigFile
from stream_proxy.config.load import load
from stream_proxy.errors import StreamProxyError
from stream_proxy.model.orders import OrderRecord
from stream_proxy.model.time import rfc3339
from stream_proxy.order_desk import journal_path
from stream_proxy.state.journal import Journal, JournalDamaged, JournalError
from stream_proxy.state.journal_salvage import Salvage, salvage

journal = typer.Typer(
    help="Look into the order journal, check it, export it; also while a proxy writes to it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

JournalFile = Annotated[
    Path | None, typer.Option("--file", help="Another journal than the one of the settings.")
]


class ExportFormat(StrEnum):
    """How records are written."""

    jsonl = "jsonl"


@journal.command()
def info(
    config: ConfigFile = None,
    file: JournalFile = None,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show accounts, how far their records reach, and how far each cursor has come."""
    with _opened(_path(config, file)) as (opened, path):
        shown = _summary(opened, path)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))
        return
    for line in _lines(shown):
        typer.echo(line)


@journal.command()
def verify(config: ConfigFile = None, file: JournalFile = None) -> None:
    """Compare every checksum: exit status 0 if all is sound, 1 with what isn't."""
    with _opened(_path(config, file)) as (opened, path):
        count = opened.verify()
        accounts = len(opened.accounts())
    typer.echo(f"{path} is sound: {_counted(count, 'record')}, {_counted(accounts, 'account')}")


@journal.command()
def export(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    format: Annotated[ExportFormat, typer.Option(help="One JSON object a line.")] = (
        ExportFormat.jsonl
    ),
    config: ConfigFile = None,
    file: JournalFile = None,
) -> None:
    """Write all records to standard output, as far as they are sound.

    What is damaged or missing is named on standard error, and the exit status is 1.
    """
    path = _path(config, file)
    try:
        whole = _export(path, account)
    except BrokenPipeError:
        # The reader has had enough: `export … | head`. Python's own flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if not whole:
        raise typer.Exit(1)


def _path(config: Path | None, file: Path | None) -> Path:
    return file or journal_path(load(os.environ, config_file=config).settings)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Journal, Path]]:
    """A copy of the journal, opened. Damage ends the command with its sentence and status 1."""
    with copied_journal(path) as copy:
        try:
            made = _open(copy)
            try:
                yield made, path
            finally:
                made.abandon()
        except JournalError as error:
            # What is said of the copy is true of the journal.
            typer.echo(f"error: {str(error).replace(str(copy), str(path))}", err=True)
            raise typer.Exit(1) from None


def _open(copy: Path) -> Journal:
    return Journal(copy, new_epoch=lambda: "")


# info


def _summary(opened: Journal, path: Path) -> dict[str, Any]:
    return {
        "file": str(path),
        "bytes": sum(part.stat().st_size for part in (path, log_path(path)) if part.exists()),
        "accounts": [_account(opened, name) for name in opened.accounts()],
    }


def _account(opened: Journal, name: str) -> dict[str, Any]:
    state = opened.account(name)
    ends = [
        opened.read(name, sequence - 1, 1)
        for sequence in (state.first_sequence, state.last_sequence)
    ]
    first, last = (_instant(records[0].received_ns) if records else None for records in ends)
    return {
        "account": name,
        "epoch": state.epoch,
        "records": max(0, state.last_sequence - state.first_sequence + 1),
        "first_sequence": state.first_sequence,
        "last_sequence": state.last_sequence,
        "first_received": first,
        "last_received": last,
        "complete_since": _instant(state.since_ns),
        "reconciled_until": _instant(state.reconciled_until_ns),
        "cursors": [
            {
                "cursor": cursor.cursor,
                "sequence": cursor.sequence,
                "behind": max(0, state.last_sequence - cursor.sequence),
                "last_seen": _instant(cursor.seen_ns),
            }
            for cursor in opened.cursors(name)
        ],
    }


def _instant(ns: int) -> str | None:
    return rfc3339(ns) if ns else None


def _lines(shown: dict[str, Any]) -> Iterator[str]:
    yield f"{shown['file']}  {shown['bytes'] / 1e6:.1f} MB"
    if not shown["accounts"]:
        yield "no account has a record yet"
    for account in shown["accounts"]:
        yield ""
        yield f"{account['account']}  epoch {account['epoch']}"
        if account["records"]:
            yield (
                f"  {_counted(account['records'], 'record')}, sequences "
                f"{account['first_sequence']} to {account['last_sequence']}"
            )
            yield f"  received {account['first_received']} to {account['last_received']}"
        else:
            yield f"  no records are kept; the last sequence was {account['last_sequence']}"
        yield f"  complete since {account['complete_since'] or 'it never was'}"
        yield f"  compared with Alpaca's record until {account['reconciled_until'] or 'never yet'}"
        for cursor in account["cursors"]:
            yield (
                f"  cursor {cursor['cursor']}: at {cursor['sequence']}, "
                f"{cursor['behind']} behind, last seen {cursor['last_seen']}"
            )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


# export


def _export(path: Path, account: str | None) -> bool:
    """Write the records; False if some are damaged or missing."""
    with copied_journal(path) as copy:
        try:
            opened = _open(copy)
            try:
                # Read twice: before the first line is written it is known that all will come.
                opened.verify()
                for name in _chosen(opened.accounts(), account):
                    _write_all(opened, name)
            finally:
                opened.abandon()
        except JournalDamaged as damage:
            typer.echo(f"error: {str(damage).replace(str(copy), str(path))}", err=True)
            _write_salvaged(salvage(copy), account)
            return False
        except JournalError as error:
            raise StreamProxyError(str(error).replace(str(copy), str(path))) from None
    return True


def _chosen(names: list[str], account: str | None) -> list[str]:
    if account is None:
        return names
    if account not in names:
        raise StreamProxyError(
            f"The journal has no account {account!r}. It has {', '.join(names) or 'none'}."
        )
    return [account]


def _write_all(opened: Journal, name: str) -> None:
    after = opened.account(name).first_sequence - 1
    while records := opened.read(name, after):
        for record in records:
            _write(record)
        after = records[-1].sequence


def _write_salvaged(found: Salvage, account: str | None) -> None:
    names = sorted({*found.records, *found.last_sequences})
    for name in [account] if account is not None else names:
        for record in found.in_order(name):
            _write(record)
        for first, last in found.missing(name):
            which = f"record {first}" if first == last else f"records {first} to {last}"
            typer.echo(f"{which} of account {name}: damaged or missing, left out", err=True)


def _write(record: OrderRecord) -> None:
    event = record.event
    head = {
        "account": record.account,
        "epoch": record.epoch or None,
        "sequence": record.sequence,
        "received": rfc3339(record.received_ns),
        "origin": event.origin.value,
    }
    # Line breaks can stand only between the tokens of JSON, so that blanks mean the same.
    data = event.data.replace(b"\n", b" ").replace(b"\r", b" ")
    line = msgspec.json.encode(head)[:-1] + b',"data":' + data + b"}\n"
    sys.stdout.buffer.write(line)
