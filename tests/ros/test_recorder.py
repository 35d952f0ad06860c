"""The recorder writes all that is published, and what it has written can be read whatever becomes of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rclpy
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.qos import qos_profile_sensor_data
from sortie_interfaces.msg import Fault, Frame, Packet
from std_msgs.msg import String

from sortie_bringup.fleet import NodeDescription, fleet
from sortie_bringup.processes import command_line
from sortie_core.config import load
from sortie_core.flight_config import FlightConfig
from sortie_nodes import qos

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from conftest import Graph
    from mcap.reader import DecodedMessageTuple
    from rclpy.node import Node

    Start = Callable[[Path], subprocess.Popen[str]]
    StartNode = Callable[[NodeDescription], subprocess.Popen[str]]

pytestmark = pytest.mark.ros

FLIGHT = Path(__file__).parents[2] / "configs" / "flight" / "mavlink.yaml"
N_MESSAGES = 200


@pytest.fixture
def start(start_node: StartNode) -> Start:
    """Start recorders."""

    def start(out: Path) -> subprocess.Popen[str]:
        parameters = {"out": str(out), "config_file": str(FLIGHT)}
        return start_node(NodeDescription("sortie_nodes", "recorder_node", "recorder", "/", parameters))

    return start


@pytest.fixture
def node(graph: Graph) -> Node:
    node = rclpy.create_node("speaker", namespace="/drone_3")
    graph.add(node)
    return node


def read(path: Path) -> dict[str, list[DecodedMessageTuple]]:
    """All messages of a finished recording, by topic."""
    found: dict[str, list[DecodedMessageTuple]] = {}
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        for each in reader.iter_decoded_messages():
            found.setdefault(each.channel.topic, []).append(each)
    return found


def test_all_that_is_published_is_read_back_as_it_was(graph: Graph, node: Node, start: Start, tmp_path: Path) -> None:
    texts = node.create_publisher(String, "text", qos.COMMAND)
    frames = node.create_publisher(Frame, "comm/rx", qos.RADIO)
    faults = node.create_publisher(Fault, "/faults", qos.FAULTS)
    hidden = node.create_publisher(String, "_hidden", qos.COMMAND)
    faults.publish(Fault(kind=Fault.LINK, drone=3, lost=True, text="long before anyone listens"))
    recorder = start(tmp_path / "new folder" / "run.mcap")
    graph.until(lambda: texts.get_subscription_count() and frames.get_subscription_count(), 15, "a recorder")
    for number in range(N_MESSAGES):
        texts.publish(String(data=f"ü {number}"))
        frames.publish(Frame(tick=number, packets=[Packet(sender=k) for k in range(number % 8)]))
        graph.spin(0.001)
    late = node.create_publisher(String, "late", qos.COMMAND)
    graph.until(late.get_subscription_count, 15, "the recorder on a topic that has come later")
    late.publish(String(data="the last"))
    assert not hidden.get_subscription_count()
    recorder.terminate()
    assert recorder.wait(15) == 0

    found = read(tmp_path / "new folder" / "run.mcap")
    assert {"/drone_3/text", "/drone_3/comm/rx", "/faults", "/drone_3/late"} <= set(found)
    assert set(found) <= {"/drone_3/text", "/drone_3/comm/rx", "/faults", "/drone_3/late", "/rosout"}
    heard = found["/drone_3/text"]
    assert [each.decoded_message.data for each in heard] == [f"ü {number}" for number in range(N_MESSAGES)]
    assert [each.message.sequence for each in heard] == list(range(1, N_MESSAGES + 1))
    assert all(0 < each.message.log_time - each.message.publish_time < 5e9 for each in heard)
    frames_heard = [each.decoded_message for each in found["/drone_3/comm/rx"]]
    assert [frame.tick for frame in frames_heard] == list(range(N_MESSAGES))
    assert [[packet.sender for packet in frame.packets] for frame in frames_heard] == [
        list(range(number % 8)) for number in range(N_MESSAGES)
    ]
    (fault,) = found["/faults"]
    assert (fault.decoded_message.kind, fault.decoded_message.drone) == (Fault.LINK, 3)
    assert fault.message.publish_time < fault.message.log_time
    assert fault.schema.name == "sortie_interfaces/msg/Fault"
    assert found["/drone_3/late"][0].decoded_message.data == "the last"


def test_publishers_of_one_topic_are_heard_whatever_they_offer(
    graph: Graph, node: Node, start: Start, tmp_path: Path
) -> None:
    reliable = node.create_publisher(String, "text", qos.COMMAND)
    recorder = start(tmp_path / "run.mcap")
    graph.until(reliable.get_subscription_count, 15, "a recorder")
    reliable.publish(String(data="reliable"))
    graph.spin(0.2)
    best_effort = node.create_publisher(String, "text", qos_profile_sensor_data)
    graph.until(best_effort.get_subscription_count, 15, "the recorder on the other publisher")
    best_effort.publish(String(data="best effort"))
    graph.until(reliable.get_subscription_count, 15, "the recorder on the first publisher again")
    reliable.publish(String(data="still there"))
    graph.spin(0.2)
    recorder.terminate()
    assert recorder.wait(15) == 0
    texts = [each.decoded_message.data for each in read(tmp_path / "run.mcap")["/drone_3/text"]]
    assert texts == ["reliable", "best effort", "still there"]


def test_a_killed_recording_is_read_as_far_as_it_got(graph: Graph, node: Node, start: Start, tmp_path: Path) -> None:
    texts = node.create_publisher(String, "text", qos.COMMAND)
    recorder = start(tmp_path / "run.mcap")
    graph.until(texts.get_subscription_count, 15, "a recorder")
    for number in range(N_MESSAGES):
        texts.publish(String(data=str(number)))
    graph.spin(2.5)  # a chunk takes a second; the machine may be busy
    texts.publish(String(data="lost with the recorder, or not"))
    recorder.kill()
    recorder.wait(15)

    heard: list[Any] = []
    with (tmp_path / "run.mcap").open("rb") as file, suppress(EndOfFile):
        reader = NonSeekingReader(file, decoder_factories=[DecoderFactory()])
        for each in reader.iter_decoded_messages("/drone_3/text", log_time_order=False):
            heard.append(each.decoded_message.data)
    assert heard[:N_MESSAGES] == [str(number) for number in range(N_MESSAGES)]


def test_an_existing_file_is_refused(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    path.write_text("the flight of a lifetime")
    recorder = start(path)
    _, said = recorder.communicate(timeout=30)
    assert recorder.returncode == 2
    assert said.splitlines() == [f"{path} exists and is not overwritten; move it, or record into another file"]
    assert path.read_text() == "the flight of a lifetime"


@pytest.mark.parametrize(("record", "out"), [("true", "/runs/a"), ("true", None), ("false", "/runs/a")])
def test_a_flight_is_recorded_where_it_leaves_anything(record: str, out: str | None) -> None:
    overrides = [f"ros.record={record}"]
    nodes = fleet(load(FlightConfig, FLIGHT, overrides), FLIGHT, overrides, out)
    recorders = [node for node in nodes if node.executable == "recorder_node"]
    assert len(recorders) == (record == "true" and out is not None)
    for node in recorders:
        assert node.parameters["out"] == "/runs/a/run.mcap"
        assert node.outlives and not node.needed
        assert Path(command_line(node)[0]).is_file()
    assert all(node.needed != bool(node.drones) for node in nodes if node not in recorders)
