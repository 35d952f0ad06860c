"""Shows a run while it goes on: to Foxglove, to a web page, to RViz; takes no part in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import TransformStamped, Vector3
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from visualization_msgs.msg import MarkerArray

from sortie_nodes import RECORDER, qos
from sortie_nodes.conversions import stamp_of
from sortie_nodes.markers import scene_markers
from sortie_nodes.params import declare_config
from sortie_nodes.spinning import run
from sortie_nodes.topic_tap import Steps, TopicTap
from sortie_view.scene import Scene
from sortie_view.view_server import ViewServer

if TYPE_CHECKING:
    from nav_msgs.msg import Odometry
    from rclpy.publisher import Publisher

try:  # not everybody has it; no wheel of it is on PyPI
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None


class ViewerNode(Node):
    """Hears what it takes to draw the run, and of all other topics those that somebody looks at."""

    def __init__(self) -> None:
        """Begin to serve.

        Raises:
            UserError: the configuration cannot be read, or a port is taken.
        """
        super().__init__("viewer", start_parameter_services=False)
        self._config = declare_config(self)
        title = Path(self.get_parameter("config_file").value).name
        self._scene = Scene(self._config)
        ros = self._config.ros
        self._server = ViewServer(f"{title}, seed {self._config.seed}", ros.view_port, ros.view_host)
        self._markers = self.create_publisher(MarkerArray, "markers", qos.MARKERS)
        self._transforms = self.create_publisher(TFMessage, "/tf", qos.DIAGNOSTICS) if TFMessage else None
        self._drawn = self._posed = False
        self._tap = TopicTap(self, self._server.advertise, self._wants)
        self.get_logger().info(f"the run is shown at {self._server.page_url} (Foxglove: {self._server.foxglove_url})")

    def step(self) -> None:
        """Take what has come, and show how it stands."""
        self._drawn, self._posed = self._is_heard(self._markers), self._is_heard(self._transforms)
        shown_ns, transforms = 0, []
        for heard in self._tap.hear():
            self._server.pass_on(heard.topic, heard.data, heard.received_ns)
            if Scene.reads(heard.topic):
                if self._scene.hear(heard.topic, deserialize_message(heard.data, heard.kind)):
                    shown_ns = heard.received_ns
            elif self._moves(heard.topic):
                transforms.append(transform_of(deserialize_message(heard.data, heard.kind)))
        if transforms and self._transforms:
            self._transforms.publish(TFMessage(transforms=transforms))
        if shown_ns:
            self._show(shown_ns)

    def destroy_node(self) -> None:
        """Serve no more."""
        self._server.close()
        super().destroy_node()

    def _wants(self, topic: str) -> bool:
        return Scene.reads(topic) or self._server.wants(topic) or self._moves(topic)

    def _moves(self, topic: str) -> bool:
        """Whether a topic is a pose that somebody wants as a transform."""
        return self._posed and topic.endswith("/odom")

    def _is_heard(self, publisher: Publisher | None) -> bool:
        """Whether somebody hears what is drawn, other than the recorder, who hears everything."""
        if not publisher or not publisher.get_subscription_count():
            return False
        return any(each.node_name != RECORDER for each in self.get_subscriptions_info_by_topic(publisher.topic_name))

    def _show(self, time_ns: int) -> None:
        if not (self._server.watched or self._drawn):
            return
        snapshot = self._scene.snapshot()
        self._server.show(snapshot, self._scene.history, time_ns)
        if self._drawn:
            self._markers.publish(scene_markers(snapshot, stamp_of(snapshot["tick"], self._config.world.dt_s)))


def transform_of(odometry: Odometry) -> TransformStamped:
    """A pose as a transform from its frame to its child frame."""
    found: Any = TransformStamped(header=odometry.header, child_frame_id=odometry.child_frame_id)
    at = odometry.pose.pose.position
    found.transform.translation = Vector3(x=at.x, y=at.y, z=at.z)
    found.transform.rotation = odometry.pose.pose.orientation
    return found


def main() -> int:
    """Show the run until told to end."""
    return run(lambda: [ViewerNode()], make_executor=Steps)
