"""The viewer shows what is published, while it goes on: in a browser, to Foxglove's protocol, to RViz."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rclpy
import yaml
from geometry_msgs.msg import Point, Quaternion, Vector3
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, HistoryPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sortie_interfaces.msg import Claim, Consumer, ConsumerArray, RadioStatistics, WorldStatus
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from sortie_bringup.fleet import NodeDescription
from sortie_nodes import RECORDER, qos
from sortie_nodes.viewer_node import transform_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from conftest import Graph
    from playwright.sync_api import Page

    Start = Callable[..., subprocess.Popen[str]]
    StartNode = Callable[[NodeDescription], subprocess.Popen[str]]

pytestmark = pytest.mark.ros

PROJECT = Path(__file__).parents[2]
RVIZ = PROJECT / "launch" / "sortie.rviz"
N_AGENTS, N_CONSUMERS, DT_S = 100, 20, 0.1


@pytest.fixture
def start(start_node: StartNode, port: int) -> Start:
    """Start viewers of a team of a hundred."""

    def start(*overrides: str) -> subprocess.Popen[str]:
        changes = [f"team.n_agents={N_AGENTS}", f"task.n_consumers={N_CONSUMERS}", f"ros.view_port={port}", *overrides]
        parameters = {"config_file": str(PROJECT / "configs" / "delivery.yaml"), "overrides": changes}
        return start_node(NodeDescription("sortie_nodes", "viewer_node", "viewer", "/", parameters))

    return start


class Team:
    """Says all that a team's nodes say of themselves in a tick, at the rates of a mission."""

    def __init__(self, graph: Graph) -> None:
        self.node = rclpy.create_node("team")
        graph.add(self.node)
        make = self.node.create_publisher
        self._status = make(WorldStatus, "team_status", qos.TEAM_STATUS)
        self._consumers = make(ConsumerArray, "consumers", qos.TICK_STATE)
        self._radio = make(RadioStatistics, "radio_statistics", qos.TEAM_STATUS)
        self._claims = [make(Claim, f"drone_{k}/claim", qos.COMMAND) for k in range(N_AGENTS)]
        self.tick = 0

    @property
    def heard(self) -> bool:
        publishers = [self._status, self._consumers, self._radio, *self._claims]
        return all(each.get_subscription_count() for each in publishers)

    def say(self) -> None:
        """One tick."""
        self.tick += 1
        angles = [2 * math.pi * k / N_AGENTS + 0.05 * self.tick for k in range(N_AGENTS)]
        position = [v for k, a in enumerate(angles) for v in (0.04 * k * math.cos(a), 0.04 * k * math.sin(a), 1.0)]
        places = [Point(x=4.0 - 0.4 * m, y=4.0) for m in range(N_CONSUMERS)]
        consumer = {"demand": [1.0, 1.0], "unmet": [0.5, 0.25], "active": True}
        self._consumers.publish(
            ConsumerArray(tick=self.tick, consumers=[Consumer(position=place, **consumer) for place in places])
        )
        if self.tick % 5 == 1:
            for k, claim in enumerate(self._claims):
                claim.publish(Claim(choice=k % (N_CONSUMERS + 1)))
        self._radio.publish(
            RadioStatistics(tick=self.tick, messages_sent=N_AGENTS * self.tick, bytes_sent=50 * N_AGENTS * self.tick)
        )
        self._status.publish(
            WorldStatus(
                tick=self.tick, alive=[True] * N_AGENTS, position=position, stock=[0.5] * (2 * N_AGENTS),
                unmet=[0.5, 0.25] * N_CONSUMERS, delivered_fraction=0.25,
            )
        )  # fmt: skip


def speak_at_ten_hertz(graph: Graph, team: Team, condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Let the team say a tick every 0.1 s until a condition holds."""
    timer = team.node.create_timer(DT_S, team.say)
    graph.executor.wake()
    try:
        graph.until(condition, timeout_s, what)
    finally:
        team.node.destroy_timer(timer)


def test_a_hundred_drones_at_ten_hertz_in_a_browser(graph: Graph, start: Start, page: Page, port: int) -> None:
    viewer, team = start(), Team(graph)
    graph.until(lambda: team.heard, 30, "the viewer")
    page.goto(f"http://localhost:{port + 1}")
    page.wait_for_function("document.body.dataset.state == 'live'")

    def shown() -> int:
        return int(page.locator("body").get_attribute("data-ticks") or 0)

    first = team.tick
    speak_at_ten_hertz(graph, team, lambda: team.tick >= first + 100, 60, "a hundred ticks")
    graph.until(lambda: page.locator("#time").inner_text() == f"{team.tick * DT_S:.1f} s", 10, "the last tick")
    assert shown() >= 60  # all on an idle machine; ticks that come while the viewer is busy are shown as one
    assert page.locator("#messages").inner_text() == "1000"
    assert page.locator("#bytes").inner_text() == "50.0"
    assert page.locator(".need").count() == N_CONSUMERS

    viewer.kill()
    graph.until(lambda: page.locator("body").get_attribute("data-state") == "disconnected", 10, "the end of it")
    start()
    graph.until(lambda: team.heard, 30, "the next viewer")
    before = shown()
    speak_at_ten_hertz(graph, team, lambda: shown() > before + 10, 30, "ticks of the next viewer")
    assert page.locator("body").get_attribute("data-state") == "live"


FIRST_MESSAGE = """([port, topic]) => new Promise((found) => {
    const socket = new WebSocket(`ws://localhost:${port}`, ["foxglove.sdk.v1"]);
    socket.binaryType = "arraybuffer";
    let channel = null;
    socket.onmessage = ({data}) => {
        if (typeof data === "string") {
            const told = JSON.parse(data);
            channel ??= told.op === "advertise" ? told.channels.find((each) => each.topic === topic) : null;
            if (told.op === "advertise" && channel)
                socket.send(JSON.stringify({op: "subscribe", subscriptions: [{id: 7, channelId: channel.id}]}));
        } else if (new DataView(data).getUint8(0) === 1 && new DataView(data).getUint32(1, true) === 7) {
            window.first = {kind: channel.schemaName, encoding: channel.encoding, schema: channel.schema,
                            data: [...new Uint8Array(data, 13)]};
            socket.close();
        }
    };
    found(true);
})"""


def test_foxglove_gets_every_topic_as_it_was_sent(graph: Graph, start: Start, page: Page, port: int) -> None:
    """What Foxglove does by its protocol: it sees a topic advertised with its definition, and subscribes."""
    start()
    team = Team(graph)
    graph.until(lambda: team.heard, 30, "the viewer")
    page.goto(f"http://localhost:{port + 1}")
    page.evaluate(FIRST_MESSAGE, [port, "/drone_3/claim"])
    speak_at_ten_hertz(graph, team, lambda: page.evaluate("window.first !== undefined"), 30, "a claim")
    first = page.evaluate("window.first")
    assert (first["kind"], first["encoding"]) == ("sortie_interfaces/msg/Claim", "cdr")
    assert "uint16 choice" in first["schema"] and "MSG: std_msgs/Header" in first["schema"]
    assert deserialize_message(bytes(first["data"]), Claim).choice == 3


def test_rviz_shows_what_the_viewer_publishes(graph: Graph, start: Start) -> None:
    """The .rviz file asks for the topic and the QoS that are offered, and names the namespaces of the markers."""
    (display,) = [
        each
        for each in yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]
        if each["Class"] == "rviz_default_plugins/MarkerArray"
    ]
    topic = display["Topic"]
    asked = rclpy.qos.QoSProfile(
        depth=topic["Depth"],
        history=HistoryPolicy.get_from_short_key(topic["History Policy"].lower().replace(" ", "_")),
        reliability=ReliabilityPolicy.get_from_short_key(topic["Reliability Policy"].lower()),
        durability=DurabilityPolicy.get_from_short_key(topic["Durability Policy"].lower()),
    )
    start()
    team = Team(graph)
    recorder, recorded = rclpy.create_node(RECORDER), []
    graph.add(recorder)
    recorder.create_subscription(MarkerArray, topic["Value"], recorded.append, asked)
    graph.until(lambda: team.heard, 30, "the viewer")
    speak_at_ten_hertz(graph, team, lambda: team.tick >= 20, 20, "20 ticks")
    assert not recorded, "who hears everything is nobody who looks"
    heard: list[MarkerArray] = []
    team.node.create_subscription(MarkerArray, topic["Value"], heard.append, asked)
    speak_at_ten_hertz(graph, team, lambda: heard and len(heard[-1].markers) > N_AGENTS + 1, 20, "markers")
    markers = heard[-1].markers
    assert {each.ns for each in markers} == {name for name, shown in display["Namespaces"].items() if shown}
    drones = [each for each in markers if each.ns == "drones"]
    consumers = [each for each in markers if each.ns == "consumers"]
    assert [each.id for each in drones] == list(range(N_AGENTS)) and len(consumers) == N_CONSUMERS
    # drones 0 and 21 have agreed on the first consumer and have its colour; drone 20 waits
    assert drones[0].color.r == drones[21].color.r == consumers[0].color.r
    assert drones[1].color != drones[0].color and drones[20].color.r == drones[20].color.g == drones[20].color.b
    assert consumers[0].type == Marker.CYLINDER and consumers[0].scale.z == pytest.approx(0.05 + 0.5 * 0.75)
    assert len(next(each for each in markers if each.ns == "links").points) % 2 == 0


def test_a_taken_port_is_said_in_a_line(start: Start, port: int) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        _, said = start().communicate(timeout=30)
    assert "ros.view_port" in said.splitlines()[-1] and f"127.0.0.1:{port}" in said


def test_a_pose_is_the_same_as_a_transform() -> None:
    odometry = Odometry(header=Header(frame_id="world"), child_frame_id="drone_3")
    odometry.pose.pose.position = Point(x=1.0, y=-2.0, z=0.5)
    odometry.pose.pose.orientation = Quaternion(z=0.6, w=0.8)
    transform = transform_of(odometry)
    assert (transform.header.frame_id, transform.child_frame_id) == ("world", "drone_3")
    assert transform.transform.translation == Vector3(x=1.0, y=-2.0, z=0.5)
    assert transform.transform.rotation == Quaternion(z=0.6, w=0.8)
