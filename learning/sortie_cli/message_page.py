"""The reference of the project's ROS messages as a page, from their definitions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = """# Messages, services, actions

<!-- Made by `make reference` from the definitions in ros2_ws/src/sortie_interfaces; edit those. -->

Package `sortie_interfaces`. N drones, M consumers, R resource kinds; units as in the comments; who publishes what is in
[ros.md](ros.md).
"""
_PARTS = {"msg": ("",), "srv": ("Request", "Response"), "action": ("Goal", "Result", "Feedback")}
_FIELD = re.compile(r"(?P<type>[\w/\[\]<=]+)\s+(?P<name>\w+)\s*(?:=\s*(?P<value>[^#]*?))?\s*(?:#\s*(?P<text>.*))?")


class Definition(NamedTuple):
    """A message, service or action as its file defines it.

    Attributes:
        name: without the package.
        about: the comment at its beginning.
        parts: of a service or action; a message has one. Rows of name, type and comment each.
    """

    name: str
    about: str
    parts: list[list[tuple[str, str, str]]]


def message_page(package: Path) -> str:
    """Every definition of a package, in Markdown.

    Args:
        package: its folder.
    """
    sections = [_HEAD.rstrip()]
    for kind, parts in _PARTS.items():
        for path in sorted((package / kind).glob(f"*.{kind}")):
            found = read_definition(path)
            sections += [f"## {found.name}", f"`{package.name}/{kind}/{found.name}`. {found.about}"]
            for title, rows in zip(parts, found.parts, strict=True):
                sections += [f"**{title}**"] if title else []
                sections += [_table(rows)] if rows else []
    return "\n\n".join(sections) + "\n"


def read_definition(path: Path) -> Definition:
    """A definition's fields and comments.

    Raises:
        ValueError: a line that is neither a field nor a comment.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    about = [line[1:].strip() for line in lines[: next(k for k, line in enumerate(lines) if line[:1] != "#")]]
    parts: list[list[tuple[str, str, str]]] = [[]]
    for line in lines[len(about) :]:
        if line == "---":
            parts.append([])
        elif line.strip():
            if not (match := _FIELD.fullmatch(line.strip())):
                raise ValueError(f"{path}: {line!r} is neither a field nor a comment")
            value = f" = {match['value']}" if match["value"] else ""
            parts[-1].append((f"{match['name']}{value}", match["type"], match["text"] or ""))
    return Definition(path.stem, " ".join(about), parts)


def _table(rows: list[tuple[str, str, str]]) -> str:
    cells = [f"| `{name}` | `{kind}` | {text.replace('|', chr(92) + '|')} |" for name, kind, text in rows]
    return "\n".join(["| field | type | meaning |", "| --- | --- | --- |", *cells])
