"""Whether an answer is what the server's own OpenAPI document says of it."""

from __future__ import annotations

from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def differences(document: dict[str, Any], path: str, status: int, answer: object) -> list[str]:
    """Everything in which the answer to ``GET path`` isn't as described; empty if it is.

    Fields that the document doesn't name count, too: it is meant to be complete.
    """
    described = document["paths"][path]["get"]["responses"]
    if str(status) not in described:
        return [f"{path}: status {status} is not described"]
    schema = described[str(status)]["content"]["application/json"]["schema"]
    return list(_compare(document["components"]["schemas"], schema, answer, path))


def _compare(schemas: dict[str, Any], schema: dict[str, Any], value: Any, where: str) -> list[str]:
    if "$ref" in schema:
        return _compare(schemas, schemas[schema["$ref"].rpartition("/")[2]], value, where)
    if "anyOf" in schema:
        tried = [_compare(schemas, choice, value, where) for choice in schema["anyOf"]]
        return [] if [] in tried else tried[0]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    match schema["type"]:
        case "object" if isinstance(value, dict):
            return _compare_object(schemas, schema, value, where)
        case "array" if isinstance(value, list):
            items = schema["items"]
            return [d for part in value for d in _compare(schemas, items, part, f"{where}[]")]
        case "object" | "array" as kind:
            return [f"{where}: {value!r} is no {kind}"]
        case kind:
            same = isinstance(value, _TYPES[kind]) and (kind == "boolean") == (
                isinstance(value, bool)
            )
            return [] if same else [f"{where}: {value!r} is no {kind}"]


def _compare_object(
    schemas: dict[str, Any], schema: dict[str, Any], value: dict[str, Any], where: str
) -> list[str]:
    named, others = schema.get("properties", {}), schema.get("additionalProperties")
    found = [f"{where}: no {name}" for name in schema.get("required", ()) if name not in value]
    for name, part in value.items():
        expected = named.get(name, others)
        if expected is None:
            found.append(f"{where}: {name} is not described")
        else:
            found += _compare(schemas, expected, part, f"{where}.{name}")
    return found
