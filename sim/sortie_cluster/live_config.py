"""The configuration of a live cluster run; configs/cluster_live.yaml says what each key is for.

The nodes of the graph that fly drones serve a cluster as well. What they read of a delivery mission's configuration is
given to them by properties: an agent for each node, a consumer for each queue, CPU and memory for resources, and the
wall clock's seconds for those of the mission.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

from pydantic import Field, model_validator

from sortie_cluster.cluster import linked_by_radius
from sortie_cluster.config import Agents, Arrivals, Nodes, Trace  # noqa: TC001  pydantic needs them
from sortie_cluster.reports import Reports
from sortie_core.config import Config, Configuration, UserError, load, sections
from sortie_core.config_sections import Comm, NonNegative, Positive, Ros, Section, Seed
from sortie_core.flight_config import FlightConfig

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sortie_cluster.cluster import Cluster
    from sortie_cluster.scenario import Scenario


class Live(Section):
    """Where tasks run, and how fast time goes."""

    backend: Literal["simulated", "dask"]
    address: str
    time_scale: Positive
    duration_s: Positive
    core_share: Annotated[float, Field(gt=0, le=1)]
    memory_mb: NonNegative
    kill_node: Annotated[int, Field(ge=-1)]
    kill_at_s: NonNegative
    restart_s: Positive

    @model_validator(mode="after")
    def _an_address_is_of_dask(self) -> Live:
        if self.address and self.backend != "dask":
            raise ValueError(f'address: a {self.backend} backend has none; set backend to dask or address to ""')
        return self


class TeamView(NamedTuple):
    """What the graph reads of a team."""

    n_agents: int


class WorldView(NamedTuple):
    """What the graph reads of a world: wall-clock s of a tick, and the height of all nodes, m."""

    dt_s: float
    altitude_m: float = 0.0


class TaskView(NamedTuple):
    """What the graph reads of a delivery task."""

    n_consumers: int
    n_resources: int = 2
    dimensions: int = 2


class PolicyView(NamedTuple):
    """What the graph reads of a policy: with these, a tick is one round, see `sortie_core.packets.n_rounds`."""

    checkpoint: str
    hops: int = 0
    exchanges: int = 0
    decision_steps: int = 1


class LiveConfig(Configuration):
    """A cluster whose agents schedule live, as nodes of the graph."""

    EXAMPLE = "configs/cluster_live.yaml"

    seed: Seed
    trace: Trace
    cluster: Nodes
    arrivals: Arrivals
    agents: Agents
    live: Live
    comm: Comm
    ros: Ros

    @model_validator(mode="after")
    def _can_be_run_live(self) -> LiveConfig:
        if self.arrivals.mode != "open":
            raise ValueError("arrivals.mode: only open arrivals can be run live; set it to open")
        if self.cluster.n_nodes < 2:
            raise ValueError("cluster.n_nodes: one node has nobody to talk to; raise it to 2 or more")
        if self.cluster.hop_s:
            raise ValueError("cluster.hop_s: live, handing a task over takes a tick (agents.tick_s); set it to 0")
        if self.agents.hops != 1:
            raise ValueError("agents.hops: a radio reaches one hop; set it to 1, or raise comm.radius_m")
        if self.live.backend == "dask" and self.ros.lockstep:
            raise ValueError("ros.lockstep: real workers wait for nobody; set it to false, or live.backend=simulated")
        if self.live.backend == "dask" and self.ros.real_time_factor != 1:
            raise ValueError("ros.real_time_factor: real workers keep the clock's time; set it to 1")
        if self.live.kill_node >= self.cluster.n_nodes:
            raise ValueError(f"live.kill_node: {self.live.kill_node} is no node; set it to -1 .. n_nodes - 1")
        return self

    @property
    def team(self) -> TeamView:
        """An agent for each node."""
        return TeamView(self.cluster.n_nodes)

    @property
    def world(self) -> WorldView:
        """Ticks in wall-clock time."""
        return WorldView(self.agents.tick_s * self.live.time_scale)

    @property
    def task(self) -> TaskView:
        """A consumer for each node's queue."""
        return TaskView(self.cluster.n_nodes)

    @property
    def policy(self) -> PolicyView:
        """One round a tick."""
        return PolicyView(self.agents.checkpoint)

    @property
    def n_steps(self) -> int:
        """Ticks of a run at most."""
        return max(1, math.ceil(self.live.duration_s / self.agents.tick_s))

    @property
    def duration_s(self) -> float:
        """Wall-clock time of a run at most, s."""
        return self.n_steps * self.world.dt_s

    @property
    def failures(self) -> tuple[tuple[int, float, float], ...]:
        """Whose worker dies when, and when it is back: node, s, s."""
        live = self.live
        return ((live.kill_node, live.kill_at_s, live.kill_at_s + live.restart_s),) if live.kill_node >= 0 else ()

    @property
    def heard(self) -> Reports:
        """What the cluster world must be told to hear as the agents do."""
        tick_s = self.agents.tick_s
        return Reports(tick_s, self.comm.latency_steps * tick_s, min(self.comm.loss, 0.99))

    @cached_property
    def nodes(self) -> Cluster:
        """The cluster; the radio's radius says who hears whom.

        Raises:
            UserError: the radius leaves the nodes in several parts.
        """
        from sortie_cluster.scenario import make_cluster

        return self._linked(make_cluster(self.cluster, self.seed))

    @cached_property
    def scenario(self) -> Scenario:
        """The nodes and their tasks.

        Raises:
            UserError: as `sortie_cluster.scenario.make_scenario` and `nodes`.
        """
        from sortie_cluster.scenario import make_scenario

        sections: Any = self  # has all those that a scenario is made of
        return make_scenario(sections, self.seed)._replace(cluster=self.nodes)

    def _linked(self, cluster: Cluster) -> Cluster:
        linked = replace(cluster, linked=linked_by_radius(cluster.position, self.comm.radius_m))
        if not all(map(math.isfinite, linked.distance.ravel())):
            raise UserError(
                f"comm.radius_m: {self.comm.radius_m:g} m leaves nodes without a way to others; raise it "
                "(on a ring, neighbours are 1 m apart)"
            )
        return linked


def load_graph_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a graph: a delivery mission's, or by its section `flight` or `live` one of those.

    A `LiveConfig` is called a `Config` as well, since it has all that the nodes which serve both read of one.

    Raises:
        UserError: as `sortie_core.config.load`.
    """
    return cast("Config", load(graph_kind(sections(path)), path, overrides))


def graph_kind(sections: Iterable[str]) -> type[Configuration]:
    """The kind of a graph's configuration that has these sections."""
    kinds: dict[str, type[Configuration]] = {"live": LiveConfig, "flight": FlightConfig}
    return next((kinds[name] for name in kinds if name in sections), Config)
