"""The reference of configurations and messages: it is what is committed, and it leaves nothing out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sortie_cli.configurations import NAMES, kind_of
from sortie_cli.key_comments import read_comments
from sortie_cli.key_reference import described_schema, documented_keys, values_text
from sortie_cli.message_page import read_definition
from sortie_cli.reference import PARTS, reference
from sortie_core.config import keys

PROJECT = Path(__file__).resolve().parents[2]
MADE = reference(PROJECT)


@pytest.mark.parametrize("path", MADE, ids=str)
def test_what_is_committed_is_what_is_made(path: Path) -> None:
    assert (PROJECT / path).read_text(encoding="utf-8") == MADE[path], "run `make reference`"


@pytest.mark.parametrize("name", NAMES)
def test_every_key_says_what_it_means(name: str) -> None:
    listed = documented_keys(NAMES[name], PARTS.get(name))
    assert {key.path for key in listed} >= set(keys(NAMES[name]))
    assert [key.path for key in listed if len(key.meaning) < 9] == []
    assert [key.group for key in listed if key.group and not key.about] == []
    assert [key.path for key in listed if values_text(key.schema) == "any" and key.name not in ("values", "over")] == []


@pytest.mark.parametrize("path", sorted((PROJECT / "configs").rglob("*.yaml")), ids=lambda path: path.name)
def test_editors_find_the_schema_of_a_shipped_file_and_every_key_in_it(path: Path) -> None:
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    schema = (path.parent / first.removeprefix("# yaml-language-server: $schema=")).resolve()
    assert NAMES[schema.stem] is kind_of(path)
    described = described_schema(NAMES[schema.stem], PARTS.get(schema.stem))
    assert unknown(yaml.safe_load(path.read_text(encoding="utf-8")), described, described["$defs"]) == []


def unknown(data: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Keys that a schema does not know."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(data, list):
        return [key for entry in data for key in unknown(entry, schema.get("items", {}), definitions)]
    if not isinstance(data, dict) or schema.get("additionalProperties") is True:
        return []
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    others = others or next(iter(schema.get("patternProperties", {}).values()), None)
    if not known and not others:
        return [] if schema == {} or "anyOf" in schema else list(data)
    found = []
    for key, value in data.items():
        inner = known.get(key, others or None)
        found += [key] if inner is None else unknown(value, inner if isinstance(inner, dict) else {}, definitions)
    return found


def test_the_schema_refuses_what_it_should() -> None:
    schema = described_schema(NAMES["cluster"], PARTS["cluster"])
    wrong = {"cluster": {"n_node": 3}, "suites": {"mine": {"key": {}}}, "trainings": {"mine": {"suit": "a"}}}
    assert unknown(wrong, schema, schema["$defs"]) == ["n_node", "key", "suit"]


def test_a_comment_is_the_whole_comment_of_its_key_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(
        "# about the file\n"
        "team:             # who flies\n"
        "  address: a#b    # no comment begins\n"
        "                  # within a word\n"
        "  # above the next one\n"
        '  name: " # "\n'
        "  among: [one,\n"
        "    two]          # of a value in two lines\n"
        "claims:\n"
        "  - says: it      # in an entry\n",
        encoding="utf-8",
    )
    assert read_comments(path) == {
        "team": "who flies",
        "team.address": "no comment begins within a word",
        "team.among": "of a value in two lines",
        "claims[].says": "in an entry",
    }


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 1}, "integer >= 1"),
        ({"type": "number", "minimum": 0, "maximum": 1, "exclusiveMaximum": 1}, "number >= 0, < 1"),
        ({"type": "number", "exclusiveMinimum": 0, "infinite": True}, "number > 0 or `.inf`"),
        ({"enum": ["a", "b"]}, "`a`, `b`"),
        ({"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer"}}, "[a, b], each integer"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "`true`, `false`"),
        ({"type": "object", "additionalProperties": {"$ref": "#/$defs/Suite"}}, "keys as below, by name"),
    ],
)
def test_values_are_told_in_words(schema: dict[str, Any], text: str) -> None:
    assert values_text(schema) == text


def test_a_definition_is_read_with_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "Ask.srv"
    text = "# What\n# is asked.\nuint8 ONE=1  # a constant\nfloat64[3] at  # m\n---\nbool ok\n"
    path.write_text(text, encoding="utf-8")
    asked, answered = [("ONE = 1", "uint8", "a constant"), ("at", "float64[3]", "m")], [("ok", "bool", "")]
    assert read_definition(path) == ("Ask", "What is asked.", [asked, answered])
    path.write_text("# What\nnonsense\n", encoding="utf-8")
    with pytest.raises(ValueError, match="nonsense"):
        read_definition(path)


def test_every_field_of_every_message_has_a_comment() -> None:
    bare = [
        f"{path.name}: {name}"
        for path in sorted((PROJECT / "ros2_ws/src/sortie_interfaces").glob("*/*.*"))
        if path.suffix in (".msg", ".srv", ".action")
        for rows in read_definition(path).parts
        for name, _, text in rows
        if not text
    ]
    assert bare == []
