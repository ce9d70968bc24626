"""``/docs``: the OpenAPI document as one page that loads nothing.

The framework's own page fetches a script from a foreign server: with no network it stays empty,
and with one it runs what that server sends. This one is text and tables, and says so in its
content security policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}"
    "code{font-family:ui-monospace,monospace}h2{margin-top:2.5rem}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;"
    "border-bottom:1px solid #8884}"
)
_JSON = "application/json"


def docs_page(document: Mapping[str, Any]) -> str:
    """The page that describes this OpenAPI document."""
    return "\n".join(["<!doctype html>", *_page(document), ""])


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    title = escape(info["title"])
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{title}: HTTP</title>'
    yield f"<style>{_STYLE}</style></head><body>"
    yield f"<h1>{title} {escape(info['version'])}</h1>"
    yield f"<p>{_text(info.get('description', ''))}</p>"
    yield '<p>For programs: <a href="openapi.json"><code>openapi.json</code></a></p>'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(method, path, operation)
    yield "<h2>Objects</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield from _object(name, schema)
    yield "</body></html>"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    for paragraph in operation.get("description", "").split("\n\n"):
        yield f"<p>{_text(paragraph)}</p>"
    parameters = [
        (parameter["name"], _type(parameter["schema"]), parameter.get("description", ""))
        for parameter in operation.get("parameters", ())
    ]
    if parameters:
        yield from _table(("parameter", "type", "meaning"), parameters)
    answers = [
        (status, _body(answer), answer["description"])
        for status, answer in sorted(operation["responses"].items())
    ]
    yield from _table(("status", "body", "meaning"), answers)


def _object(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3>'
    yield f"<p>{_text(schema.get('description', ''))}</p>"
    if "enum" in schema:
        yield f"<p>One of {', '.join(f'<code>{escape(v)}</code>' for v in schema['enum'])}.</p>"
    fields = [
        (field, _type(part), part.get("description", ""))
        for field, part in schema.get("properties", {}).items()
    ]
    if fields:
        yield from _table(("field", "type", "meaning"), fields)


def _table(columns: tuple[str, ...], rows: list[tuple[str, str, str]]) -> Iterator[str]:
    yield "<table><tr>" + "".join(f"<th>{column}</th>" for column in columns) + "</tr>"
    for name, kind, meaning in rows:
        cells = f"<code>{escape(name)}</code>", kind, _text(meaning)
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    yield "</table>"


def _body(answer: Mapping[str, Any]) -> str:
    """The kind of an answer's body."""
    content = answer.get("content", {})
    if not content:
        return ""
    kind = next(iter(content))
    return _type(content[kind].get("schema", {})) if kind == _JSON else escape(kind)


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a word or two, with a link to the object if it is one."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "additionalProperties" in schema:
        return f"{_type(schema['additionalProperties'])} by name"
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    return escape(str(schema.get("type", "")))


def _text(text: str) -> str:
    """Plain text with `code` in back quotes."""
    parts = escape(" ".join(text.split())).split("`")
    return "".join(
        f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)
    )
