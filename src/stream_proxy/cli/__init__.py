"""The command line: one file a command."""

from __future__ import annotations

import sys

import typer

from stream_proxy import __version__
from stream_proxy.cli.config import config
from stream_proxy.cli.demo import demo
from stream_proxy.cli.doctor import doctor
from stream_proxy.cli.document import document
from stream_proxy.cli.journal import journal
from stream_proxy.cli.orders import orders
from stream_proxy.cli.serve import serve
from stream_proxy.cli.simulate import simulate
from stream_proxy.cli.tail import tail
from stream_proxy.errors import StreamProxyError

app = typer.Typer(
    name="stream-proxy",
    help="One Alpaca connection in, any number of consumers out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and end."
    ),
) -> None:
    """One Alpaca connection in, any number of consumers out."""


app.command()(serve)
app.command()(demo)
app.command()(simulate)
app.command()(tail)
app.command()(orders)
app.command()(doctor)
app.command(hidden=True)(document)
app.add_typer(config, name="config")
app.add_typer(journal, name="journal")


def main() -> None:
    """Run the command line; errors of ours are shown as sentences, not as tracebacks."""
    try:
        app()
    except StreamProxyError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(2)
