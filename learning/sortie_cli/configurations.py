"""Which kind of configuration a file holds, by its sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_cluster.config import ClusterConfig
from sortie_cluster.flows_config import FlowsConfig
from sortie_cluster.live_config import LiveConfig, graph_kind
from sortie_core.config import Config, Configuration, UserError, load, sections
from sortie_core.flight_config import FlightConfig

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAMES: dict[str, type[Configuration]] = {
    "delivery": Config,
    "flight": FlightConfig,
    "cluster": ClusterConfig,
    "cluster_live": LiveConfig,
    "flows": FlowsConfig,
}
"""What kinds are called."""
_COMMANDS: dict[type[Configuration], str] = {
    Config: "sim",
    FlightConfig: "fly",
    ClusterConfig: "cluster",
    LiveConfig: "cluster",
    FlowsConfig: "flows",
}
"""What runs each of them."""


def kind_of(path: str | Path) -> type[Configuration]:
    """The class of a file's configuration, by its sections.

    Raises:
        UserError: the file cannot be read.
    """
    found = sections(path)
    if "flows" in found:
        return FlowsConfig
    return ClusterConfig if "cluster" in found and "live" not in found else graph_kind(found)


def load_any(path: str | Path, overrides: Iterable[str] = ()) -> Configuration:
    """A file's configuration, whatever its kind; errors as of `sortie_core.config.load`."""
    return load(kind_of(path), path, overrides)


def kind_for(path: str | Path, *kinds: type[Configuration]) -> type[Configuration]:
    """The class of a file's configuration, of those that a command takes.

    Raises:
        UserError: as `kind_of`, or it is another.
    """
    found = kind_of(path)
    if found not in kinds:
        name = next(name for name, kind in NAMES.items() if kind is found)
        raise UserError(
            f"{path} is a configuration of kind {name}, which `sortie {_COMMANDS[found]}` takes; "
            f"here, name one such as {kinds[0].EXAMPLE}"
        )
    return found
