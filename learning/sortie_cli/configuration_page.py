"""The reference of configurations as a page."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from sortie_cli.configurations import NAMES
from sortie_cli.key_reference import documented_keys, value_at, values_text, yaml_text
from sortie_core.config import Config, load
from sortie_core.flight_config import FlightConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

    from sortie_cli.key_reference import DocumentedKey
    from sortie_core.config import Configuration

    Parts = Mapping[str, Mapping[str, type[BaseModel]]]

TITLES = {
    "delivery": ("A delivery mission", "`sortie sim`, `train`, `evaluate`, `sweep`"),
    "flight": ("A flight", "`sortie fly`"),
    "cluster": ("A compute cluster", "`sortie cluster`, `train`, `evaluate`, `sweep`"),
    "cluster_live": ("A live compute cluster", "`sortie cluster`"),
    "flows": ("Flows of tasks", "`sortie flows`, `evaluate`"),
}
"""Of each kind, and which commands take it."""
_HEAD = """# Configuration

<!-- Made by `make reference` from the schema and the comments of the shipped files; edit those. -->

A configuration is a YAML file. Which kind it is, is told by its sections: `flows`, `live`, `cluster` or `flight`;
without any of these it is a delivery mission. Every key is demanded, in the file or in one that it extends; but in
entries that you name yourself (`<name>`) or list (`[]`), keys with a third column may be left out; that is what they
then are. An unknown key, a wrong type or a value out of bounds is one line that names it, and exit code 2.

- `sortie init NAME` writes a file of your own to begin with; `--full` has every key in it.
- `extends: FILE` takes all keys that a file leaves out from another one, which lies beside it or is shipped
  (`configs/...`). Sections are merged key by key; `suites`, `questions`, `learned`, `most_agents` are replaced whole.
- `section.key=value` on the command line changes a key for one run; the value is YAML, `.inf` is without limit.
- Paths such as `policy.checkpoint` are looked for in the working folder, then among what is shipped.
- `[a, b]` is a list of so many values; ranges and pairs from start to end are written so.
- Editors with a YAML language server complete and check a file that begins with
  `# yaml-language-server: $schema=PATH`, as the shipped ones and those of `sortie init` do; the schemas lie in
  [configs/schema](../../configs/schema).
"""
_LONGEST = 60


def configuration_page(parts: Parts) -> str:
    """Every key of every kind, in Markdown.

    Args:
        parts: as of `documented_keys`, by the kind's name.
    """
    contents = [f"- {_link(title, title)}, for {used}" for title, used in TITLES.values()]
    return "\n".join([_HEAD, *contents, *(_kind(name, kind, parts.get(name, {})) for name, kind in NAMES.items())])


def _link(text: str, title: str) -> str:
    return f"[{text}](#{title.lower().replace(' ', '-')})"


def _kind(name: str, kind: type[Configuration], parts: Mapping[str, type[BaseModel]]) -> str:
    title, used = TITLES[name]
    keys, example = documented_keys(kind, parts), load(kind, kind.EXAMPLE).model_dump()
    intro = f"For {used}. The third column is the value in [{kind.EXAMPLE}](../../{kind.EXAMPLE})."
    if kind is FlightConfig:
        keys = [key for key in keys if key.path.partition(".")[0] not in Config.model_fields]
        intro += f" Beside these it has all keys of {_link('a delivery mission', TITLES['delivery'][0])}."
    groups = groupby(keys, key=lambda key: (key.group, key.about))
    tables = [_table(group, about, listed, example) for (group, about), listed in groups]
    return "\n".join(["", f"## {title}", "", intro, *tables])


def _table(group: str, about: str, keys: Iterable[DocumentedKey], example: dict[str, Any]) -> str:
    head = ["", f"### `{group}`", "", about] if group else []
    rows = [
        f"| `{key.name}` | {_cell(values_text(key.schema))} | {_shown(key, example)} | {_cell(key.meaning)} |"
        for key in keys
    ]
    return "\n".join([*head, "", "| key | value | shipped | meaning |", "| --- | --- | --- | --- |", *rows])


def _shown(key: DocumentedKey, example: dict[str, Any]) -> str:
    """A key's value in the example, or else its default, as YAML; empty where it has none."""
    value = value_at(example, key.path)
    if value is None and "default" not in key.schema:
        return ""
    value = key.schema["default"] if value is None else value
    text = yaml_text(value)
    return f"`{_cell(text)}`" if len(text) <= _LONGEST else "(see the file)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
