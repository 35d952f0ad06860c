"""What the keys of configurations mean: the comments of the shipped files, found by the keys they stand beside.

A key's comment stands on its line, and goes on below in lines of comment alone that begin in the same column.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import yaml

from sortie_core.shipped import find, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sortie_core.config import Configuration

ENTRY = "[]"
"""Stands in a key's path for any entry of a list."""
_COMMENT = re.compile(r"(?:^|\s)#\s?(.*)$")


def comments(kind: type[Configuration]) -> dict[str, str]:
    """The comment of each key of a kind's shipped example and of the files that it extends, by dotted key."""
    found: dict[str, str] = {}
    for path in chain(shipped(kind.EXAMPLE)):
        found = read_comments(path) | found
    return found


def chain(path: Path) -> list[Path]:
    """A file and those that it extends, one after the other."""
    extended = yaml.safe_load(path.read_text(encoding="utf-8")).get("extends")
    return [path, *(chain(find(extended, path.parent)) if extended else [])]


@cache
def read_comments(path: Path) -> dict[str, str]:
    """The comment of each key of a file that has one, by dotted key."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found: dict[str, str] = {}
    for name, key, value in _keys(yaml.compose(text, yaml.SafeLoader), ""):
        if comment := _comment(lines, key, value):
            found.setdefault(name, comment)
    return found


def _keys(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Every key below a node: its dotted name, itself, its value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            yield name, key, value
            yield from _keys(value, f"{name}.")
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _keys(entry, f"{prefix.removesuffix('.')}{ENTRY}.")


def _comment(lines: list[str], key: yaml.Node, value: yaml.Node) -> str:
    """The comment beside a key, or at the end of a value that takes several lines."""
    block = isinstance(value, yaml.CollectionNode) and not value.flow_style
    ends = [key.end_mark] if block else [value.end_mark]
    if not block and key.end_mark.line < value.end_mark.line:
        ends.append(key.end_mark)
    for line, column in ((end.line, end.column) for end in ends):
        if line < len(lines) and (match := _COMMENT.search(lines[line], column)):
            return " ".join([match[1], *_continued(lines[line + 1 :], lines[line].index("#", match.start()))])
    return ""


def _continued(lines: list[str], column: int) -> Iterator[str]:
    for line in lines:
        if line[:column].strip() or line[column : column + 1] != "#":
            return
        yield line[column + 1 :].strip()
