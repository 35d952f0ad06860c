"""Every key of a kind of configuration: what it may be, what it is in the shipped example, and what it means.

All of this comes from the schema and the shipped files. A key's meaning is its comment there; in parts that the example
leaves empty, such as suites and claims, it is the attribute's in the docstring.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from sortie_cli.key_comments import ENTRY, comments
from sortie_core.config import load
from sortie_core.config_sections import INFINITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from sortie_core.config import Configuration

    Schema = dict[str, Any]

NAME = "<name>"
"""Stands in a key's path for any name of the user's own."""
_ATTRIBUTES = "Attributes:"
_EXTENDS = {
    "type": "string",
    "description": "YAML file that says what this one leaves out; beside this one, or shipped (configs/...)",
}


class DocumentedKey(NamedTuple):
    """What is known of a key.

    Attributes:
        group: the section, or the part of one, that it belongs to; dotted, with `NAME` and `ENTRY`; empty for none.
        about: what that is.
        name: of the key in it.
        schema: of its value.
        meaning: empty where nothing says it.
    """

    group: str
    about: str
    name: str
    schema: Schema
    meaning: str

    @property
    def path(self) -> str:
        """Group and name."""
        return f"{self.group}.{self.name}" if self.group else self.name


def documented_keys(
    kind: type[Configuration], parts: Mapping[str, type[BaseModel]] | None = None
) -> list[DocumentedKey]:
    """Every key of a kind, section by section.

    Args:
        kind: of configuration.
        parts: what entries hold that the kind itself leaves open, by the section.key that holds them by name.
    """
    root = _schema(kind, parts or {})
    return list(_walk(root, "", root["$defs"], comments(kind)))


def described_schema(kind: type[Configuration], parts: Mapping[str, type[BaseModel]] | None = None) -> Schema:
    """The JSON schema of a kind's files, for editors; a file may extend another, and hence leave out anything."""
    root, example = _schema(kind, parts or {}), load(kind, kind.EXAMPLE).model_dump()
    for key in _walk(root, "", root["$defs"], comments(kind)):
        key.schema["description"] = key.meaning
        if (shown := value_at(example, key.path)) is not None and "inf" not in str(shown):
            key.schema["default"] = shown
        key.schema.pop("title", None)
    for schema in (root, *root["$defs"].values()):
        schema.pop("required", None)
        schema["description"] = _about(schema.get("description", ""))
    root["properties"] = {"extends": _EXTENDS} | root["properties"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | root


def value_at(data: Any, path: str) -> Any:
    """What configuration data hold at a dotted path; None for nothing."""
    for name in path.split("."):
        data = data.get(name) if isinstance(data, dict) else None
    return data


def yaml_text(value: Any) -> str:
    """A value as it is written in a file, in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("...\n").strip() if value != "" else '""'


def values_text(schema: Schema) -> str:
    """What a value may be, in words; strings that are meant literally are in backticks."""
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(values_text(each) for each in schema["anyOf"] if each.get("type") != "null")
    match schema.get("type"):
        case "boolean":
            return "`true`, `false`"
        case "integer" | "number":
            return _number_text(schema)
        case "string":
            return f"text like `{schema['pattern']}`" if "pattern" in schema else "text"
        case "array":
            return _array_text(schema)
        case "object":
            entries = schema.get("additionalProperties")
            return "keys as below, by name" if isinstance(entries, dict) and "$ref" in entries else "keys with values"
    return "keys as below" if "$ref" in schema else "any"


def _number_text(schema: Schema) -> str:
    what = "integer" if schema["type"] == "integer" else "number"
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    high = None if below is not None else high
    if low is not None and high is not None:
        return f"{what}, {low:g} to {high:g}"
    bounds = [
        f"{sign} {'2^53' if bound == 2**53 else format(bound, 'g')}"
        for sign, bound in ((">=", low), (">", above), ("<=", high), ("<", below))
        if bound is not None
    ]
    return f"{what} {', '.join(bounds)}".strip() + (" or `.inf`" if schema.get(INFINITE) else "")


def _array_text(schema: Schema) -> str:
    entries = schema.get("prefixItems") or [schema.get("items", {})] * schema.get("maxItems", 0)
    if entries and schema.get("minItems") == len(entries):
        return f"[{', '.join('abc'[: len(entries)])}], each {values_text(entries[0])}"
    return f"list, each {values_text(schema.get('items', {}))}"


def _schema(kind: type[Configuration], parts: Mapping[str, type[BaseModel]]) -> Schema:
    root = kind.model_json_schema()
    definitions: Schema = root["$defs"]
    for path, part in parts.items():
        section, key = path.split(".") if "." in path else ("", path)
        holder = definitions[_referred(root["properties"][section])] if section else root
        own = part.model_json_schema()
        definitions |= own.pop("$defs", {}) | {part.__name__: own}
        held = holder["properties"][key]
        held.pop("patternProperties", None)  # of entries whose names are restricted
        held["additionalProperties"] = {"$ref": f"#/$defs/{part.__name__}"}
    return root


def _walk(schema: Schema, group: str, definitions: Schema, meant: Mapping[str, str]) -> Iterator[DocumentedKey]:
    described = schema.get("description", "")
    about, attributes = _about(described), _attributes(described)
    within = []
    for name, value in schema["properties"].items():
        path = f"{group}.{name}" if group else name
        if "$ref" in value:
            within.append((value, path))
            continue
        yield DocumentedKey(group, about, name, value, meant.get(path) or attributes.get(name, ""))
        within += [(value.get("additionalProperties"), f"{path}.{NAME}"), (value.get("items"), f"{path}{ENTRY}")]
    for value, path in within:
        if isinstance(value, dict) and "$ref" in value:
            yield from _walk(definitions[_referred(value)], path, definitions, meant)


def _referred(schema: Schema) -> str:
    name: str = schema["$ref"].rpartition("/")[2]
    return name


def _about(docstring: str) -> str:
    return " ".join(inspect.cleandoc(docstring).partition(_ATTRIBUTES)[0].split())


def _attributes(docstring: str) -> dict[str, str]:
    """What a docstring says of attributes, by name."""
    listed = inspect.cleandoc(docstring).partition(f"{_ATTRIBUTES}\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()).removesuffix(".") for name, text in entries}
