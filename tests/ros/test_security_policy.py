"""The security policy grants the processes of a mission what they do in the graph, and nothing beyond it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import rclpy
from lxml import etree
from sortie_interfaces.msg import WorldStatus

from sortie_bringup.fleet import ENCLAVES, fleet
from sortie_core.config import load_config
from sortie_nodes import qos, viewer_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Graph
    from rclpy.node import Node

PROJECT = Path(__file__).parents[2]
YAML, POLICY = PROJECT / "configs" / "delivery.yaml", PROJECT / "configs" / "security" / "policy.xml"
OPERATOR = f"{ENCLAVES}/operator"
ACTION = {
    "execute": {
        "reply": ("send_goal", "cancel_goal", "get_result"),
        "publish": ("feedback", "status"),
    },
    "call": {
        "request": ("send_goal", "cancel_goal", "get_result"),
        "subscribe": ("feedback", "status"),
    },
}
"""What the right to an action is made of."""


class Right(NamedTuple):
    """What one process may do, or does.

    Attributes:
        enclave: of the process.
        deed: publish, subscribe, reply or request.
        name: of the topic or service, in full; of what is granted a pattern.
    """

    enclave: str
    deed: str
    name: str

    def covers(self, done: Right) -> bool:
        """Whether this grants what is done; a star stands for slashes as well, as in DDS."""
        return self[:2] == done[:2] and fnmatchcase(done.name, self.name)


def rights(policy: Path = POLICY) -> set[Right]:
    """All that a policy grants, as SROS 2 reads it."""
    tree = etree.parse(str(policy))
    tree.xinclude()
    assert tree.getroot().get("version") == "0.2.0"
    found = set()
    for enclave in tree.find("enclaves"):
        assert enclave.tag == "enclave", "SROS 2 takes a comment between enclaves for one of them"
        for profile in enclave.iterfind("profiles/profile"):
            for group in profile.iterchildren(etree.Element):
                for deed, qualifier in group.attrib.items():
                    if deed.endswith("base"):  # where it was included from
                        continue
                    assert qualifier == "ALLOW", "what is not granted is refused without being named"
                    for item in group.iterchildren(etree.Element):
                        found |= granted(enclave.get("path"), deed, full_name(profile, item.text))
    return found


def granted(enclave: str, deed: str, name: str) -> set[Right]:
    if deed not in ACTION:
        return {Right(enclave, deed, name)}
    parts = [(part, each) for part, endings in ACTION[deed].items() for each in endings]
    return {Right(enclave, part, f"{name}/_action/{each}") for part, each in parts}


def full_name(profile: etree._Element, name: str) -> str:
    """A name in a profile, which may be one of its node or of its namespace."""
    namespace = profile.get("ns").rstrip("/")
    if name.startswith("~"):
        return f"{namespace}/{profile.get('node')}{name[1:]}"
    return name if name.startswith("/") else f"{namespace}/{name}"


def doings(witness: Node) -> set[Right]:
    """All that the processes of the graph do, the witness left aside."""
    asked = {
        "publish": witness.get_publisher_names_and_types_by_node,
        "subscribe": witness.get_subscriber_names_and_types_by_node,
        "reply": witness.get_service_names_and_types_by_node,
        "request": witness.get_client_names_and_types_by_node,
    }
    return {
        Right(enclave, deed, endpoint)
        for node, namespace, enclave in witness.get_node_names_and_namespaces_with_enclaves()
        if node != witness.get_name()
        for deed, ask in asked.items()
        for endpoint, _ in ask(node, namespace)
    }


def instances(right: Right, n_agents: int) -> list[Right]:
    """What a right grants for each drone, where it is one for all of them."""
    drones = range(n_agents) if "drone_*" in right.name else range(1)
    return [right._replace(name=right.name.replace("drone_*", f"drone_{k}")) for k in drones]


def test_there_is_an_enclave_for_every_process_of_the_mission() -> None:
    config = load_config(YAML, ["ros.view=true"])
    processes = {node.enclave for node in fleet(config, YAML, out="/somewhere")}
    assert processes | {f"{ENCLAVES}/runner", OPERATOR} == {right.enclave for right in rights()}
    assert all(re.fullmatch(r"/sortie/\w+", enclave) for enclave in processes), "SROS 2 takes no other characters"


def test_no_more_than_the_gate_says_a_setpoint_and_a_drone_speaks_for_itself_alone() -> None:
    def who(deed: str, name: str) -> set[str]:
        return {each.enclave for each in rights() if each.covers(Right(each.enclave, deed, name))}

    assert who("publish", "/drone_3/setpoint") == {f"{ENCLAVES}/safety_gate"}
    assert who("publish", "/drone_3/odom") == {f"{ENCLAVES}/world"}
    for topic in ("cmd_vel", "comm/tx", "claim", "report"):
        assert who("publish", f"/drone_3/{topic}") == {f"{ENCLAVES}/drone_3"}
    assert who("request", "/drone_3/emergency") == {OPERATOR}
    assert who("request", "/world/set_parameters") == set()


@pytest.fixture
def mission(graph: Graph, tmp_path: Path) -> Iterator[Node]:
    """A witness of a mission that is under way, recorded and shown."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    changes = ["world.backend=point", "ros.view=true", f"ros.view_port={port}"]
    runner = [sys.executable, "-m", "sortie_bringup.runner", "--config", str(YAML), "--out", str(tmp_path / "run")]
    environment = os.environ | {"BROWSER": "true"}
    process = subprocess.Popen([*runner, "--json", "--", *changes], stdout=subprocess.DEVNULL, env=environment)
    heard: list[WorldStatus] = []
    witness = rclpy.create_node("witness", start_parameter_services=False)
    witness.create_subscription(WorldStatus, "/team_status", heard.append, qos.TEAM_STATUS)
    graph.add(witness)
    try:
        graph.until(lambda: heard, 60, "the first tick")
        yield witness
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.ros
def test_it_grants_what_the_graph_does_and_nothing_else(mission: Node, graph: Graph) -> None:
    policy, n_agents = rights(), load_config(YAML).team.n_agents
    enclaves = {right.enclave for right in policy} - {OPERATOR}
    # what a viewer says where ROS has tf2_msgs
    absent = set() if viewer_node.TFMessage else {Right(f"{ENCLAVES}/viewer", "publish", "/tf")}
    wanted = {each for right in policy - absent for each in instances(right, n_agents)}

    graph.until(lambda: enclaves <= {each.enclave for each in doings(mission)}, 20, "all processes in the graph")
    graph.spin(2.0)  # discovery of what they say
    done = doings(mission)
    assert sorted(each for each in done if not any(right.covers(each) for right in policy)) == [], "not granted"
    idle = {right for right in wanted if not any(right.covers(each) for each in done)}
    assert sorted(right for right in idle if right.enclave != OPERATOR) == [], "granted, and nobody does it"

    offered = {each.name for each in done if each.deed == "reply"}
    in_vain = {right for right in idle if right.deed == "request" and right.name not in offered}
    assert sorted(in_vain) == [], "operators may ask for it, and nobody offers it"
