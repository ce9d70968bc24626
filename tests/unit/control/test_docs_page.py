"""The page at /docs: everything that the OpenAPI document says, and nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from stream_proxy.control.docs_page import docs_page

DOCUMENT: dict[str, Any] = {
    "info": {"title": "A <title>", "version": "1", "description": "With `code` & more."},
    "paths": {
        "/things/{name}": {
            "get": {
                "description": "What it does.\n\nAnd when.",
                "parameters": [
                    {"name": "name", "schema": {"type": "string"}, "description": "Which."}
                ],
                "responses": {
                    "200": {
                        "description": "<b>fine</b>",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}
                        },
                    },
                    "201": {"description": "A stream.", "content": {"text/event-stream": {}}},
                    "204": {"description": "Nothing."},
                },
            }
        }
    },
    "components": {
        "schemas": {
            "Thing": {
                "description": "One thing.",
                "properties": {
                    "age": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "s"},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Kind"}},
                    "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                },
            },
            "Kind": {"enum": ["small", "large"]},
        }
    },
}


class Balanced(HTMLParser):
    """Notes elements that aren't closed in their order, and whatever loads something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        if tag in ("script", "link", "img", "iframe") or dict(attrs).keys() & {"src", "onclick"}:
            self.wrong.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")


def test_it_says_everything_and_loads_nothing():
    page = docs_page(DOCUMENT)
    reader = Balanced()
    reader.feed(page)
    assert not reader.wrong and not reader.open
    assert "A &lt;title&gt;" in page and "&lt;b&gt;fine&lt;/b&gt;" in page
    assert "With <code>code</code> &amp; more." in page
    assert "GET /things/{name}" in page and "<p>And when.</p>" in page
    assert '<td><a href="#Thing">Thing</a></td>' in page and 'id="Thing"' in page
    assert "integer or null" in page and "list of <a" in page and "integer by name" in page
    assert "text/event-stream" in page
    assert "<code>small</code>, <code>large</code>" in page
    assert not re.findall(r"https?://", page)
