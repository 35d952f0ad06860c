"""Which kind of configuration a file holds, by its sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortie_cluster.config import ClusterConfig
from sortie_cluster.flows_config import FlowsConfig
from sortie_cluster.live_config import LiveConfig, graph_kind
from sortie_core.config import Config, Configuration, UserError, load, load_config, sections
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


def load_mission(path: str | Path, overrides: Iterable[str] | None) -> Config:
    """The delivery mission of a file.

    Raises:
        UserError: as `sortie_core.config.load`, or the file is a flight's.
    """
    if "flight" in sections(path):
        raise UserError(f"{path} is a flight; use `sortie fly`, or a mission such as {Config.EXAMPLE}")
    return load_config(path, overrides or [])
