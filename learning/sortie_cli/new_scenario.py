"""Writes a scenario file for people to change: `sortie init`."""

from __future__ import annotations

import re
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sortie_cli.configurations import NAMES
from sortie_cli.key_comments import chain, comments
from sortie_cli.key_reference import value_at, yaml_text
from sortie_core.config import UserError, load
from sortie_core.shipped import shipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sortie_core.config import Configuration

_FIRST = {
    "delivery": """
        seed team.n_agents team.kinds_per_agent task.n_consumers task.n_resources task.arena_half_m task.duration_s
        task.supply_ratio world.backend comm.radius_m comm.loss policy.checkpoint ros.success_fraction
    """,
    "flight": """
        seed team.n_agents task.arena_half_m task.duration_s world.max_speed_mps world.altitude_m safety.geofence
        safety.separation_m ros.success_fraction flight.adapter flight.address flight.first_port flight.vehicles
        flight.peers flight.battery_warn_v flight.battery_land_v
    """,
    "cluster": """
        trace.path trace.window cluster.n_nodes cluster.topology cluster.mean_degree cluster.speed arrivals.n_tasks
        arrivals.load reports.period_s reports.delay_s reports.loss comparison.policies comparison.seeds
    """,
    "cluster_live": """
        seed trace.path cluster.n_nodes arrivals.n_tasks arrivals.load agents.checkpoint live.backend live.address
        live.time_scale live.kill_node comm.radius_m
    """,
    "flows": """
        network.n_agents network.n_neighbours network.n_kinds network.kinds_per_agent flows.n_flows
        flows.arrivals_per_step flows.steps reports.period_s reports.delay_s comparison.policies comparison.topologies
    """,
}
"""Of each kind, the keys that people change first."""
_RUN = {
    "delivery": "sortie sim {file}",
    "flight": "sortie fly {file} flight.peers=true",
    "cluster": "sortie cluster {file}",
    "cluster_live": "sortie cluster {file}",
    "flows": "sortie flows {file}",
}
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_COLUMN, _WIDTH = 37, 120
"""Where comments begin, and lines end."""


def write_scenario(name: str, kind: str, *, full: bool, folder: Path) -> str:
    """Write a scenario file that loads as it is.

    Args:
        name: of the file, with or without its ending; may name a folder that exists.
        kind: key of `configurations.NAMES`.
        full: with every key, instead of those that people change first.
        folder: that `name` counts from.

    Returns:
        What to tell people.

    Raises:
        UserError: there is no such kind, no file can have the name, it exists, or its folder does not.
    """
    if kind not in NAMES:
        raise UserError(f"--kind {kind}: there is no such kind; choose one of {', '.join(NAMES)}")
    path = folder / f"{name.removesuffix('.yaml')}.yaml"
    if not _NAME.fullmatch(path.stem):
        raise UserError(f"{name!r} is no name for a scenario; take letters, digits, _ and -, e.g. my_scenario")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}; make it, or name a file in one that there is")
    run = _RUN[kind].format(file=path)
    body = _whole(kind) if full else _short(kind)
    text = "\n".join([*_head(path.stem, kind, run, full=full), *body]).rstrip() + "\n"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{path} exists and is not overwritten; choose another name") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name a file in another folder") from None
    return f"{path} is written; run it: {run}"


def _head(name: str, kind: str, run: str, *, full: bool) -> Iterator[str]:
    example = NAMES[kind].EXAMPLE
    yield f"# {name}:  {run}"
    about = f"Every key is here, as in {example}; change any. "
    if not full:
        about = (
            f"What is not here is as in {example}, which says of every key what it is for. To change one of those, "
            f"write it below its section; or begin with every key: sortie init NAME --kind {kind} --full. "
        )
    about += "For one run, any key is changed by section.key=value behind the command."
    yield from textwrap.wrap(about, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    schema = shipped(f"configs/schema/{kind}.json")
    yield f"# yaml-language-server: $schema={schema}"
    if not full:
        yield f"extends: {example}\n"


def _short(kind: str) -> Iterator[str]:
    """The keys that people change first, with the values and comments of the shipped file, section by section."""
    example, meant = _data(NAMES[kind]), comments(NAMES[kind])
    for section, listed in groupby(_FIRST[kind].split(), key=lambda key: key.rpartition(".")[0]):
        if section:
            yield f"{section}:"
        for key in listed:
            leaf, value = key.rpartition(".")[2], yaml_text(value_at(example, key))
            yield from _line(f"{'  ' if section else ''}{leaf}: {value}", meant[key])
        yield ""


def _data(kind: type[Configuration]) -> dict[str, Any]:
    return load(kind, kind.EXAMPLE).model_dump()


def _line(setting: str, comment: str) -> Iterator[str]:
    """A setting with its comment, which goes on below where it is long; before it, where the setting is."""
    if len(setting) >= _COLUMN + 20:
        yield from (f"  # {line}" for line in textwrap.wrap(comment, _WIDTH - 4))
        yield from textwrap.wrap(setting, _WIDTH, subsequent_indent="    ", break_on_hyphens=False)
        return
    column = max(_COLUMN, len(setting) + 2)
    for index, line in enumerate(textwrap.wrap(comment, _WIDTH - column - 2)):
        yield f"{'' if index else setting:<{column}}# {line}"


def _whole(kind: str) -> Iterator[str]:
    """The shipped example with all that it extends, without what stands before the first key of each file."""
    for path in reversed(chain(shipped(NAMES[kind].EXAMPLE))):
        lines = path.read_text(encoding="utf-8").splitlines()
        first = next(index for index, line in enumerate(lines) if line and line[0] not in "# ")
        yield ""
        yield "\n".join(line for line in lines[first:] if not line.startswith("extends:")).strip("\n")
