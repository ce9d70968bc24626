"""``stream-proxy document``: write the reference pages from the code they describe.

``docs/settings.md`` comes from the schema and the aliases, ``docs/errors.md`` from the table of
error codes, ``docs/metrics.md`` from the metric families, ``docs/commands.md`` from the commands
themselves. A test compares them with what is
in the repository, so they can't grow stale.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo, OptionInfo

from stream_proxy.config.aliases import ALIASES
from stream_proxy.config.load import PREFIX
from stream_proxy.config.schema import Settings
from stream_proxy.control.metrics.collector import SUBJECTS
from stream_proxy.control.metrics.family import Family
from stream_proxy.control.metrics.upstream import STREAMS
from stream_proxy.control.refusals import CAUSES, PROBES_FAIL
from stream_proxy.outlets.close_codes import CLOSE_COME_BACK, CLOSE_FLOODED, CLOSE_STAY_AWAY
from stream_proxy.outlets.limits import CLOSE_GOING_AWAY, CLOSE_POLICY
from stream_proxy.outlets.orders import CLOSE_POSITION_LOST, CLOSE_SLOW, CLOSE_TRY_LATER
from stream_proxy.wire.alpaca.codes import ERROR_CODES, Verdict

_GENERATED = "<!-- Made by `stream-proxy document --write docs`; edit the code instead. -->"

_VERDICTS = {
    Verdict.IGNORE: "The connection is kept; whoever asked for it gets the error.",
    Verdict.RETRY: "Reconnect, with growing delays.",
    Verdict.WAIT_FOR_SLOT: "Wait out the slot, then try again, rarely.",
    Verdict.GIVE_UP: "Stop trying until the configuration changes.",
}

_CLOSE_CODES = (
    (1000, "Answer to the consumer's own close with 1000.", "Nothing."),
    (CLOSE_GOING_AWAY, "The proxy is going down.", "Reconnect, with growing delays."),
    (1002, "The consumer broke the WebSocket protocol.", "Repair or update its WebSocket library."),
    (1007, "A text message was not UTF-8.", "Send valid UTF-8, or msgpack in binary messages."),
    (
        CLOSE_POLICY,
        "An error that ends the connection was sent just before (402, 404, 407, 408, 409, 411, "
        "412, 500), or "
        "too many messages were sent; the close reason says which.",
        "See that error in the first table; send fewer messages, with more symbols in each.",
    ),
    (
        1009,
        "A message of the consumer was too large.",
        "Subscribe in several messages, or raise `max_message_bytes`.",
    ),
    (
        CLOSE_TRY_LATER,
        "Order updates can't be served: the order journal can't be used. A message just before "
        "says why.",
        "Do at the proxy what the message says; reconnect, with growing delays.",
    ),
    (
        CLOSE_COME_BACK,
        "With `continuity`, in place of 1008: an error that passes (404, 500).",
        "Reconnect, with growing delays.",
    ),
    (
        CLOSE_SLOW,
        "A consumer of order updates, or of market data with `continuity`, read too slowly. "
        "Of order updates nothing is lost; see `docs/slow-consumers.md`.",
        "Come back with `since` or `cursor`; with `resume`.",
    ),
    (
        CLOSE_POSITION_LOST,
        "The position in `since` or `cursor` can't be honoured; a message just before says why.",
        "Come back with `since=oldest` or `since=now`, after comparing with Alpaca's REST.",
    ),
    (
        CLOSE_FLOODED,
        "With `continuity`, in place of 1008: too many messages were sent.",
        "Come back, and send fewer messages, with more symbols in each.",
    ),
    (
        CLOSE_STAY_AWAY,
        "With `continuity`, in place of 1008: an error that doesn't pass by itself "
        "(402, 408, 409, 411, 412).",
        "See that error in the first table before coming back.",
    ),
)

_HTTP_STATUSES = (
    (
        400,
        "`slow`, or the header `Stream-Proxy-Slow`, names no policy.",
        "Use one of those in `docs/slow-consumers.md`.",
    ),
    (403, "A web page's Origin is not in `allowed_origins`.", "Add it there, exactly."),
    (404, "No stream is served at this path.", "Use one of Alpaca's paths, such as `/v2/iex`."),
    (
        421,
        "The Host header names a machine that this proxy doesn't go by.",
        "Connect to the address it is bound to, or add the name to `allowed_hosts`.",
    ),
    (503, "`max_connections` consumers are connected.", "Raise it, or close some."),
)

_SETTINGS_EXAMPLES = """\
## Three ways to say the same

As a TOML file, named with `--config` or `STREAM_PROXY_CONFIG`:

```toml
feed = "iex"
feeds = ["iex", "crypto-us"]
port = 8099
outbox_bytes = 16777216

[[access_tokens]]
name = "bots"
key = "bots"
secret = "choose-a-long-one-please"
```

As environment variables:

```sh
export ALPACA_KEY=your-key
export ALPACA_SECRET=your-secret
export STREAM_PROXY_FEED=iex
export STREAM_PROXY_FEEDS=iex,crypto-us
export STREAM_PROXY_OUTBOX_BYTES=16777216
```

As a file named `.env` in the working directory:

```dotenv
ALPACA_KEY=your-key
ALPACA_SECRET=your-secret
STREAM_PROXY_FEED=iex
STREAM_PROXY_FEEDS=iex,crypto-us
```
"""


def document(
    folder: Annotated[Path, typer.Argument(help="Where the pages are.")] = Path("docs"),
    write: Annotated[bool, typer.Option("--write/--check", help="Write, or only compare.")] = False,
) -> None:
    """Write the reference pages, or check that they are up to date."""
    stale = []
    for name, text in pages().items():
        path = folder / name
        if write:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path))
    if stale:
        typer.echo(
            f"error: {', '.join(stale)}: not what the code says any more. "
            f"Run `stream-proxy document --write {folder}`.",
            err=True,
        )
        raise typer.Exit(1)


def pages() -> dict[str, str]:
    """Every generated page by file name."""
    return {
        "settings.md": settings_page(),
        "errors.md": errors_page(),
        "metrics.md": metrics_page(),
        "commands.md": commands_page(),
    }


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


# Settings


def settings_page() -> str:
    """All settings, and the names other programs have for them."""
    settings = _table(
        ("variable", "in TOML", "default", "meaning"),
        (
            (f"`{PREFIX}{name.upper()}`", f"`{name}`", _default(field), _meaning(field))
            for name, field in Settings.model_fields.items()
        ),
    )
    aliases = _table(
        ("variable", "sets", "note"),
        (
            (f"`{alias.variable}`", _code(alias.setting) or "nothing", alias.note)
            for alias in ALIASES
        ),
    )
    return (
        f"# Settings\n\n{_GENERATED}\n\n"
        "Highest precedence first: command line, environment, `.env` in the working directory, "
        "TOML file, default. `stream-proxy config show` prints what is in force and where it "
        "comes from, `stream-proxy config check` what is wrong. Unknown names and contradictions "
        "are errors.\n\n"
        f"{settings}\n"
        "An access token is a table with `name` (who it is for, appears in logs), `key` and "
        "`secret` (at least 16 characters), and may have `slow`, its consumers' `slow_policy`; in "
        "an environment variable, a JSON list of them.\n\n"
        f"{_SETTINGS_EXAMPLES}\n"
        "## Names that other programs use\n\n"
        "The environment of the programs that this one replaces works unchanged. Two names that "
        "set one setting to different values are an error; our own name goes before all others.\n\n"
        f"{aliases}"
    )


def _code(setting: str | None) -> str:
    return ", ".join(f"`{name}`" for name in setting.split(", ")) if setting else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _meaning(field: FieldInfo) -> str:
    text = str(field.description)
    if get_origin(field.annotation) is Literal:
        text += f" One of {', '.join(f'`{choice}`' for choice in get_args(field.annotation))}."
    return text


# Errors


def errors_page() -> str:
    """Error codes, close codes and refused handshakes."""
    errors = _table(
        ("code", "text", "what the proxy does if Alpaca sends it", "connection after it", "cure"),
        (
            (
                row.code,
                f"`{row.text}`",
                _VERDICTS[row.verdict],
                "is closed" if row.closes else "stays",
                row.cure,
            )
            for row in ERROR_CODES.values()
        ),
    )
    causes = ((cause.status, cause.why, cause.cure) for cause in (*CAUSES, PROBES_FAIL))
    return (
        f"# Errors\n\n{_GENERATED}\n\n"
        "Consumers get Alpaca's own codes and texts, "
        '`[{"T":"error","code":402,"msg":"auth failed"}]`, whether Alpaca or the proxy says them. '
        "The third column is what the proxy itself does when Alpaca sends the code to it.\n\n"
        f"{errors}\n"
        "## Close codes that consumers see\n\n"
        f"{_table(('code', 'why', 'what to do'), _CLOSE_CODES)}\n"
        "## Refused handshakes\n\n"
        "The body of the answer is a sentence that says the same.\n\n"
        f"{_table(('HTTP status', 'why', 'what to do'), _HTTP_STATUSES)}\n"
        "## Answers over HTTP\n\n"
        'On port 8082 an error is `{"code":40410000,"message":"…"}`, as Alpaca\'s REST has it: the '
        "HTTP status and five digits, and a sentence that says the same.\n\n"
        f"{_table(('HTTP status', 'why', 'what to do'), causes)}"
    )


# Metrics

_METRICS_INTRODUCTION = """\
Prometheus reads them at `http://127.0.0.1:9090/metrics` (setting `metrics_port`), as OpenMetrics or
as plain text. No access token is needed, since no symbol, order, address or key is in them.

The number of series doesn't grow with consumers or symbols: `stream` is one of {streams}; `feed` is
a feed, or an account if the stream is trading; `consumer` is the name of an access token;
`protocol` is websocket, grpc or sse.

`deploy/prometheus/alerts.yml` has rules for what should wake somebody, and
`deploy/grafana/dashboards/stream-proxy.json` is a dashboard for Grafana.
"""


def metrics_page() -> str:
    """Every metric family, and how they add up."""
    streams = ", ".join(STREAMS)
    sections = "\n".join(
        f"## {subject}\n\n{_table(('name', 'kind', 'labels', 'meaning'), map(_family, families))}"
        for subject, families in SUBJECTS
    )
    return (
        f"# Metrics\n\n{_GENERATED}\n\n{_METRICS_INTRODUCTION.format(streams=streams)}\n{sections}"
    )


def _family(family: Family) -> tuple[str, str, str, str]:
    return f"`{family.name}`", family.kind, _code(", ".join(family.labels)), family.meaning


# Commands

_VALUES = {int: "INTEGER", float: "NUMBER", Path: "PATH"}


def commands_page() -> str:
    """All commands, from the functions behind them."""
    from stream_proxy.cli import app  # this command is part of it

    sections = "\n".join(_command(path, function) for path, function in _walk(app, "stream-proxy"))
    return f"# Commands\n\n{_GENERATED}\n\n{app.info.help}\n\n{sections}"


def _walk(app: typer.Typer, path: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every visible command, in order of registration, groups last."""
    for command in app.registered_commands:
        assert command.callback is not None
        if not command.hidden:
            name = command.name or command.callback.__name__.replace("_", "-")
            yield f"{path} {name}", command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _walk(group.typer_instance, f"{path} {group.name}")


def _command(path: str, function: Callable[..., Any]) -> str:
    usage, rows = f"{path} [OPTIONS]", []
    hints = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        kind, info = get_args(hints[parameter.name])[:2]
        if info.hidden:
            continue
        if isinstance(info, ArgumentInfo):
            name = info.metavar or parameter.name.upper()
            usage += f" {name}"
        else:
            name = _option(parameter.name, kind, info)
        rows.append((f"`{name}`", _parameter_default(parameter.default), info.help or ""))
    text = f"## {path}\n\n{inspect.getdoc(function)}\n\n```sh\n{usage}\n```\n"
    return text + ("\n" + _table(("option", "default", "meaning"), rows) if rows else "")


def _option(name: str, kind: Any, info: OptionInfo) -> str:
    """How an option is written, with the kind of its value."""
    # What stands first inside an annotation is a name, though Typer's record calls it default.
    given = (info.default, *(info.param_decls or ()))
    declared = [text for text in given if isinstance(text, str) and text.startswith("-")]
    names = "/".join(declared) or f"--{name.replace('_', '-')}"
    if kind is bool:
        return names if declared else f"{names}/--no-{names[2:]}"
    for value_kind, text in _VALUES.items():
        if value_kind is kind or value_kind in get_args(kind):
            return f"{names} {text}"
    many = "TEXT, may be repeated" if list[str] in (kind, *get_args(kind)) else "TEXT"
    return f"{names} {many}"


def _parameter_default(default: object) -> str:
    if default is None or default is False or default is inspect.Parameter.empty:
        return ""
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
