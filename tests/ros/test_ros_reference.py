"""docs/reference/ros.md says what the graphs are: every node, topic, service, action, parameter and profile of them."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import rclpy
from rcl_interfaces.srv import ListParameters
from rclpy.node import NodeNameNonExistentError
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from sortie_nodes import qos

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Graph
    from rclpy.node import Node

pytestmark = pytest.mark.ros

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "reference" / "ros.md").read_text(encoding="utf-8")
ONLOOKER = "onlooker"
LIFECYCLE = {
    "change_state": "ChangeState",
    "get_state": "GetState",
    "get_available_states": "GetAvailableStates",
    "get_available_transitions": "GetAvailableTransitions",
    "get_transition_graph": "GetAvailableTransitions",
}
OWN_SERVICES = re.compile(r"/(\w+_parameters|get_parameter_types|set_parameters_atomically|get_type_description)$")
OWN_TOPICS = {"/rosout", "/parameter_events"}
ROS_PARAMETERS = {"use_sim_time", "start_type_description_service"}
HELPERS = {"action_msgs/msg/GoalStatusArray", "action_msgs/srv/CancelGoal"}
"""What every action has beside its own types."""
UNMANAGED = {"mission", "runner", "recorder", "viewer"}


class Row(NamedTuple):
    """A line of a node's table."""

    does: str
    name: str
    kind: str
    profile: str
    when: str


class Fleet(NamedTuple):
    """A graph to start, and how the names of the page read in it."""

    graph: str
    config: str
    overrides: tuple[str, ...]
    adapter: str = ""
    size: int = 2


SLOW = ("team.n_agents=2", "task.duration_s=90", "task.service_rate_per_s=0.01")
"""Long enough to be looked at."""
FLYING = (*SLOW, "flight.peers=true")
FLEETS = {
    "mission": Fleet("mission", "delivery.yaml", (*SLOW, "world.backend=point")),
    "mavlink": Fleet("flight", "flight/mavlink.yaml", FLYING, "mavlink"),
    "crazyswarm2": Fleet("flight", "flight/crazyswarm2.yaml", FLYING, "crazyswarm2"),
    "cluster": Fleet(
        "cluster", "cluster_live.yaml", ("live.backend=simulated", "cluster.n_nodes=3", "live.time_scale=1.0"), size=3
    ),
}


def rows_of(lines: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" |")] for line in lines.splitlines()[2:]]


def tables() -> dict[tuple[str, str], list[Row]]:
    """The table of each node in each graph, and whether the page has it at all."""
    found: dict[tuple[str, str], list[Row]] = {}
    for node, graphs, body in re.findall(r"^### `/(.*)` in (.*)\n([^#]*)", PAGE, re.MULTILINE):
        table = re.search(r"^\| does .*(?:\n\|.*)*", body, re.MULTILINE)
        for graph in graphs.split(", "):
            found[graph, node] = [Row(*cells) for cells in rows_of(table[0])] if table else []
    return found


TABLES = tables()
Endpoint = tuple[str, str, str]
"""What a node does, with which name, of which type."""


def expected(fleet: Fleet) -> tuple[dict[str, set[Endpoint]], dict[str, set[Endpoint]], dict[Endpoint, str]]:
    """What the page says of a fleet: of each node what it must have, and what it may; and profiles by endpoint."""
    nodes = {
        node: rows for (graph, node), rows in TABLES.items() if graph == fleet.graph and node != "crazyflie_server"
    }
    must: dict[str, set[Endpoint]] = {}
    may: dict[str, set[Endpoint]] = {}
    profiles: dict[Endpoint, str] = {}
    managed = {each for node in nodes if node not in UNMANAGED for each in filled(node, fleet)}
    for node, rows in nodes.items():
        for own in filled(node, fleet):
            drone = re.match(r"drone_(\d+)/", own)
            for row in rows:
                if row.name == "every topic" or ("crazyswarm2" in row.when and fleet.adapter != "crazyswarm2"):
                    continue
                names = [row.name.replace("<k>", drone[1])] if drone else filled(row.name, fleet)
                if row.name.startswith("<node>"):
                    names = [row.name.replace("<node>", f"/{each}") for each in managed]
                side = may if row.when.startswith("optional") else must
                for name in names:
                    side.setdefault(own, set()).add((row.does, name, row.kind))
                    profiles[own, row.does, name] = row.profile
            must.setdefault(own, set())
    for own in managed:
        must[own] |= {("serves", f"/{own}/{name}", f"lifecycle_msgs/srv/{kind}") for name, kind in LIFECYCLE.items()}
        must[own].add(("pub", f"/{own}/transition_event", "lifecycle_msgs/msg/TransitionEvent"))
    return must, may, profiles


def filled(name: str, fleet: Fleet) -> list[str]:
    """A name for each drone, with the fleet's adapter."""
    name = name.replace("<adapter>", fleet.adapter)
    if "<name>" in name:
        return [name.replace("<name>", f"cf{k + 1}") for k in range(fleet.size)]
    return [name.replace("<k>", str(k)) for k in range(fleet.size)] if "<k>" in name else [name]


def found(onlooker: Node) -> dict[str, set[Endpoint]]:
    """What the graph has, of each node, without what ROS gives every node."""
    nodes = {}
    for name, namespace in onlooker.get_node_names_and_namespaces():
        if name in (ONLOOKER, "crazyflie_server"):
            continue
        sides = {
            "pub": onlooker.get_publisher_names_and_types_by_node,
            "sub": onlooker.get_subscriber_names_and_types_by_node,
            "serves": onlooker.get_service_names_and_types_by_node,
            "calls": onlooker.get_client_names_and_types_by_node,
        }
        has = {
            (does, topic, kind)
            for does, ask in sides.items()
            for topic, kinds in ask(name, namespace)
            for kind in kinds
            if topic not in OWN_TOPICS and not (does == "serves" and OWN_SERVICES.search(topic))
        }
        if name in ("recorder", "viewer"):
            has = {each for each in has if each[0] != "sub"}
        nodes[f"{namespace}/{name}".lstrip("/")] = {_action(each) for each in has}
    return nodes


def _action(endpoint: Endpoint) -> Endpoint:
    """The topics and services of an action are one."""
    does, name, kind = endpoint
    if "/_action/" not in name:
        return endpoint
    own = re.sub(r"_(SendGoal|GetResult|FeedbackMessage)$", "", kind)
    kind = "sortie_interfaces/action/Mission" if kind in HELPERS else own
    return "action", name.partition("/_action/")[0], kind


@contextmanager
def started(fleet: Fleet, folder: Path, *overrides: str) -> Iterator[subprocess.Popen[bytes]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runner = [sys.executable, "-m", "sortie_bringup.runner", "--config", str(PROJECT / "configs" / fleet.config)]
    changed = (*fleet.overrides, *overrides, "ros.view=true", f"ros.view_port={min(port, 65000)}")
    with (folder / "said.txt").open("wb") as said:
        command = [*runner, "--out", str(folder / "run"), "--json", "--", *changed]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(40)


@pytest.mark.parametrize("name", FLEETS)
def test_the_page_has_all_that_the_graph_has_and_nothing_else(name: str, graph: Graph, tmp_path: Path) -> None:
    fleet = FLEETS[name]
    onlooker = rclpy.create_node(ONLOOKER)
    graph.add(onlooker)
    must, may, profiles = expected(fleet)
    seen: list[list[str]] = []

    def agrees() -> bool:
        try:
            has = found(onlooker)
        except NodeNameNonExistentError:  # it has ended meanwhile, or is not known to everybody yet
            return False
        differences = [f"node {node}" for node in must.keys() ^ has.keys()]
        for node in must.keys() & has.keys():
            differences += [f"{node} lacks {each}" for each in must[node] - has[node]]
            differences += [f"the page lacks {node} {each}" for each in has[node] - must[node] - may.get(node, set())]
        seen.append(sorted(differences))
        return not differences

    with started(fleet, tmp_path):
        try:
            graph.until(agrees, 60, "the graph of the page")
        except AssertionError:
            said = (tmp_path / "said.txt").read_text(encoding="utf-8")
            pytest.fail("\n".join([*min(seen, key=len), said[-2000:]]))
        assert wrong_profiles(onlooker, profiles) == []
        assert wrong_parameters(graph, onlooker, must) == []


def wrong_profiles(onlooker: Node, profiles: dict[Endpoint, str]) -> list[str]:
    """Endpoints that have another reliability or durability than the page says."""
    wrong = []
    for does, ask in (
        ("pub", onlooker.get_publishers_info_by_topic),
        ("sub", onlooker.get_subscriptions_info_by_topic),
    ):
        for topic in {name for _, each, name in profiles if each == does}:
            for each in ask(topic):
                node = f"{each.node_namespace}/{each.node_name}".replace("//", "/").lstrip("/")
                if profile := profiles.get((node, does, topic)):
                    said = getattr(qos, profile)
                    is_, should = each.qos_profile, (said.reliability, said.durability)
                    if (is_.reliability, is_.durability) != should:
                        wrong.append(f"{node} {does} {topic}: {is_.reliability}, {is_.durability}, not {should}")
    return wrong


def wrong_parameters(graph: Graph, onlooker: Node, nodes: dict[str, set[Endpoint]]) -> list[str]:
    """Nodes that have other parameters than the page says; those of ROS itself are left out."""
    cells = rows_of(re.search(r"^\| parameter .*(?:\n\|.*)*", PAGE, re.MULTILINE)[0])
    wrong = []
    for node in nodes:
        last = node.rpartition("/")[2]
        if last in ("runner", "recorder", "viewer"):
            continue
        named = {name for name, _, of, _ in cells if re.fullmatch(of.replace("<adapter>", r"\w+"), last)}
        said = named | {name for name, _, of, _ in cells if of.startswith("every node")}
        client = onlooker.create_client(ListParameters, f"/{node}/list_parameters")
        graph.until(client.service_is_ready, 20, f"the parameters of {node}")
        answer = client.call_async(ListParameters.Request())
        graph.until(answer.done, 20, f"the parameters of {node}")
        has = {name for name in answer.result().result.names if "." not in name} - ROS_PARAMETERS
        if has != said:
            wrong.append(f"{node}: {sorted(has)}, not {sorted(said)}")
    return wrong


def test_the_page_has_every_profile_as_it_is() -> None:
    cells = rows_of(re.search(r"^\| profile .*(?:\n\|.*)*", PAGE, re.MULTILINE)[0])
    said = {name: (int(depth), reliability, durability) for name, depth, reliability, durability, _ in cells}
    reliability = {ReliabilityPolicy.RELIABLE: "reliable", ReliabilityPolicy.BEST_EFFORT: "best effort"}
    durability = {DurabilityPolicy.VOLATILE: "volatile", DurabilityPolicy.TRANSIENT_LOCAL: "transient local"}
    assert said == {
        name: (profile.depth, reliability[profile.reliability], durability[profile.durability])
        for name, profile in vars(qos).items()
        if name.isupper() and isinstance(profile, rclpy.qos.QoSProfile)
    }
    used = {row.profile for rows in TABLES.values() for row in rows} - {""}
    assert used == set(said)


def test_every_interface_of_the_project_is_used_in_the_page() -> None:
    kinds = {row.kind for rows in TABLES.values() for row in rows}
    inner = {"Consumer", "HandOver", "Task", "TaskRun"}  # parts of others
    package = PROJECT / "ros2_ws" / "src" / "sortie_interfaces"
    for path in package.glob("*/*.*"):
        if path.parent.name in ("msg", "srv", "action") and path.stem not in inner:
            assert f"sortie_interfaces/{path.parent.name}/{path.stem}" in kinds, path
