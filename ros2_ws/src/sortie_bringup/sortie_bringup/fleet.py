"""The processes of a mission as data: one description for `ros2 launch` and for the runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sortie_bridge.dask_backend import reachable
from sortie_bringup.part import part_of
from sortie_cluster.live_config import LiveConfig
from sortie_core.config import UserError
from sortie_core.flight_config import FlightConfig
from sortie_core.layout import sample_layout
from sortie_flight.adapters import check_addresses
from sortie_nodes import RECORDER
from sortie_policy.checkpoint import check_compatible, check_exported, load_metadata
from sortie_policy.cluster_checkpoint import load_cluster_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sortie_core.config import Config

MANAGER = "mission"
"""Name of the node that flies the mission; its process ends with the mission, and its exit code is the outcome."""
MOST_PROCESSES = 100
"""Fast DDS finds no ports for more participants on one machine."""
RECORDING = "run.mcap"
ENCLAVES = "/sortie"
"""Above the enclaves of all processes; configs/security/policy.xml grants them what they need."""
_N_INFRASTRUCTURE = 9
"""World or bridge, radio, safety gate, manager, runner, recorder, viewer; in flight vehicles and peers."""
Value = str | bool | int | list[str]


@dataclass(frozen=True)
class NodeDescription:
    """One process of the graph.

    Attributes:
        package: ROS package of the executable.
        executable: its name.
        name: of the node; None where the process holds several, which name themselves.
        namespace: of the node; None as for `name`.
        parameters: ROS parameters.
        arguments: of the command line, before ROS's own.
        drones: whose policies run in it.
        needed: no mission goes on without it.
        outlives: it ends after the others, who talk to it until they have.
        title: for people, where it is no node.
    """

    package: str
    executable: str
    name: str | None
    namespace: str | None
    parameters: Mapping[str, Value] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    drones: tuple[int, ...] = ()
    needed: bool = True
    outlives: bool = False
    title: str = ""

    @property
    def label(self) -> str:
        """A short name for people."""
        if len(self.drones) == 1:
            return f"drone_{self.drones[0]}"
        return f"drones_{self.drones[0]}-{self.drones[-1]}" if self.drones else self.title or str(self.name)

    @property
    def enclave(self) -> str:
        """Where its keys and permissions lie in a keystore, if the graph is secured."""
        return f"{ENCLAVES}/{self.label.replace('-', '_')}"


def fleet(
    config: Config,
    config_file: str | Path,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    only: str = "",
) -> list[NodeDescription]:
    """The processes of one mission, or a part of them.

    Args:
        config: `config_file` with `overrides`, loaded.
        config_file: what every node reads for itself.
        overrides: strings ``section.key=value``.
        out: where the mission's manager writes; None for nowhere.
        only: the part, as `sortie_bringup.part.part_of` has it.

    Raises:
        UserError: there is no such part.

    Returns:
        World, radio, safety gate, manager, and the agents: ros.agents_per_process of them to a process. A live cluster
        has a bridge for a world, and no safety gate; a flight has vehicles besides, a process for each adapter, and
        where flight.peers asks for them what they speak to. Where ros.record and `out` do, something records it, and
        where ros.view does, something shows it.
    """
    common: dict[str, Value] = {"config_file": str(config_file), "overrides": list(overrides) or [""]}
    manager = common | {"out": "" if out is None else str(out), "autostart": True}
    if _is_recorded(config, out):
        manager["recorder"] = RECORDER
    if isinstance(config, LiveConfig):
        world, gate, managing = ("sortie_bridge", "bridge_node"), None, "sortie_nodes"
    elif isinstance(config, FlightConfig):
        world, gate, managing = ("sortie_flight", "flight_world_node"), "flight_gate_node", "sortie_flight"
    else:
        world, gate, managing = ("sortie_nodes", "world_node"), "safety_node", "sortie_nodes"
    flown = isinstance(config, FlightConfig)
    executable = "flight_mission_node" if flown else "mission_node"
    infrastructure = [
        *_onlookers(config, common, out),
        *(_vehicles(config, common, config_file, overrides) if isinstance(config, FlightConfig) else ()),
        NodeDescription(*world, "world", "/", common),
        NodeDescription("sortie_nodes", "comm_relay_node", "comm_relay", "/", common),
        *([NodeDescription("sortie_flight", gate, "safety_gate", "/", common, outlives=flown)] if gate else []),
        NodeDescription(managing, executable, MANAGER, "/", manager),
    ]
    part, size = part_of(only, config.team.n_agents), config.ros.agents_per_process
    groups = [part.drones[first : first + size] for first in range(0, len(part.drones), size)]
    return (infrastructure if part.world else []) + [_agents(drones, common) for drones in groups]


def _is_recorded(config: Config, out: str | Path | None) -> bool:
    return config.ros.record and out is not None


def _onlookers(config: Config, common: Mapping[str, Value], out: str | Path | None) -> list[NodeDescription]:
    """What records and shows the graph: first, to miss nothing of it; a run goes on without."""
    recording = {**common, "out": f"{out}/{RECORDING}"}
    asked = ((RECORDER, _is_recorded(config, out), recording), ("viewer", config.ros.view, common))
    return [
        NodeDescription("sortie_nodes", f"{name}_node", name, "/", parameters, needed=False, outlives=True)
        for name, wanted, parameters in asked
        if wanted
    ]


def _vehicles(
    config: FlightConfig, common: Mapping[str, Value], config_file: str | Path, overrides: Sequence[str]
) -> list[NodeDescription]:
    """What speaks to the drones, and what it speaks to where that is not real."""
    nodes = []
    for adapter in config.adapters if config.flight.peers else ():
        arguments = ("--config", str(config_file), "--adapter", adapter, "--", *overrides)
        if adapter == "crazyswarm2":
            nodes.append(
                NodeDescription(
                    "sortie_flight", "crazyswarm2_peer_node", "crazyflie_server", "/", common, outlives=True
                )
            )
        elif adapter != "simulated":
            peers = NodeDescription(
                "sortie_flight", "peers", None, None, {}, arguments, outlives=True, title=f"{adapter}_peers"
            )
            nodes.append(peers)
    for adapter in config.adapters:
        parameters = {**common, "adapter": adapter}
        nodes.append(NodeDescription("sortie_flight", "vehicle_node", f"vehicles_{adapter}", "/", parameters))
    return nodes


def check(config: Config, only: str = "") -> None:
    """Refuse what no node could fly, or no cluster run, before any process is started.

    Args:
        config: of the mission.
        only: the part of its processes that this machine runs.

    Raises:
        UserError: no such part, too many processes, heights that the safety gate forbids, no usable checkpoint, a
            layout that does not fit into the arena; or tasks that cannot be read, or a Dask scheduler that does not
            answer.
    """
    most, here = MOST_PROCESSES - _N_INFRASTRUCTURE, len(part_of(only, config.team.n_agents).drones)
    if here > most * config.ros.agents_per_process:
        raise UserError(
            f"ros.agents_per_process: {config.ros.agents_per_process} makes more processes of {here} "
            f"drones than one machine's DDS can hold ({MOST_PROCESSES}); raise it to {-(-here // most)}"
        )
    if isinstance(config, LiveConfig):
        _check_live(config)
        return
    half_m = config.arena_half_m if config.task.dimensions > 2 else 0.0
    low_m, high_m = config.world.altitude_m, config.world.altitude_m + 2 * half_m
    if not config.safety.z_min_m <= low_m <= high_m <= config.safety.z_max_m:
        raise UserError(
            f"safety.z_min_m, safety.z_max_m: {config.safety.z_min_m:g} to {config.safety.z_max_m:g} m is allowed, "
            f"the task needs {low_m:g} to {high_m:g} m above the ground; widen it or change world.altitude_m"
        )
    if isinstance(config, FlightConfig):
        _check_flight(config)
    path = config.policy.checkpoint
    check_compatible(load_metadata(path), config, path)
    check_exported(path)
    sample_layout(config, [config.seed])


def _check_flight(config: FlightConfig) -> None:
    invented = config.flight.peers or "simulated" in config.adapters
    if invented and config.world.backend == "point":
        raise UserError("world.backend: point has no quadrotors for simulated autopilots; set it to pybullet")
    check_addresses(config)


def _check_live(config: LiveConfig) -> None:
    load_cluster_policy(config.agents.checkpoint)
    _ = config.scenario
    if config.live.address:
        reachable(config.live.address)


def _agents(drones: tuple[int, ...], common: Mapping[str, Value]) -> NodeDescription:
    if len(drones) == 1:
        name, namespace, parameters = "agent", f"/drone_{drones[0]}", {**common, "index": drones[0]}
        return NodeDescription("sortie_nodes", "agent_node", name, namespace, parameters, drones=drones, needed=False)
    arguments = ("--drones", *map(str, drones))
    return NodeDescription("sortie_nodes", "agent_host", None, None, common, arguments, drones, needed=False)
