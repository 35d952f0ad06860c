"""Records every topic of the graph into one MCAP file, and takes no part in what it records.

Left out are hidden topics, which are those of actions, and /parameter_events, since no parameter here ever changes.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from mcap.writer import Writer
from rclpy.node import Node

from sortie_core.config import UserError
from sortie_nodes import qos
from sortie_nodes.params import declare
from sortie_nodes.spinning import FAILED, run

if TYPE_CHECKING:
    from rclpy.qos import QoSProfile
    from rclpy.subscription import Subscription

_TAKING_PERIOD_S = 0.05
_DISCOVERY_PERIOD_S = 0.5
_CHUNK_PERIOD_S = 1.0
_CHUNK_BYTES = 2**30
"""Never reached: chunks end with time, so that what a kill costs is a matter of time alone."""
_LEFT_OUT = ("/parameter_events",)
_SEPARATOR = f"\n{'=' * 80}\n"


class RecorderNode(Node):
    """Writes what is published as it is published, with the definitions that it takes to read it.

    Messages wait in the middleware, which stamps them as they come and go, and are taken many at a time. That costs
    less than a callback for each, and EventsExecutor cannot tell callbacks the stamps.

    A killed recording can be read up to its last whole chunk; it only lacks the index at its end.

    Attributes:
        exit_code: None until the recording has to be given up.
    """

    def __init__(self) -> None:
        """Open the file.

        Raises:
            UserError: no file is named, it exists, or it cannot be written.
        """
        super().__init__("recorder", start_parameter_services=False)
        self.exit_code: int | None = None
        path = declare(self, "out", "", "MCAP file to record into; it must not exist")
        if not path:
            raise UserError(f"{self.get_fully_qualified_name()}: set the parameter out to the file to record into")
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "xb")
        except FileExistsError:
            raise UserError(f"{path} exists and is not overwritten; move it, or record into another file") from None
        except OSError as error:
            raise UserError(f"cannot record into {path}: {error.strerror}") from None
        self._writer = Writer(self._file, chunk_size=_CHUNK_BYTES)
        self._writer.start("ros2")
        self._writer.flush()
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._subscriptions_by_topic: dict[str, Subscription] = {}
        self._unreadable: set[str] = set()
        self._next_discovery_s = self._next_chunk_s = 0.0

    def step(self) -> None:
        """Take what has come, and do what is due."""
        self._take()
        now_s = time.monotonic()
        if now_s >= self._next_discovery_s:
            self._next_discovery_s = now_s + _DISCOVERY_PERIOD_S
            self._discover()
        if now_s >= self._next_chunk_s:
            self._next_chunk_s = now_s + _CHUNK_PERIOD_S
            self._end_chunk()

    def destroy_node(self) -> None:
        """Finish the file."""
        with suppress(OSError):  # has been told
            self._take()
            self._writer.finish()
            self._file.close()
        super().destroy_node()

    def _discover(self) -> None:
        for topic, (kind, *_) in self.get_topic_names_and_types():
            if "/_" in topic or topic in _LEFT_OUT or topic in self._unreadable:
                continue
            known = self._subscriptions_by_topic.get(topic)
            if known and known.get_publisher_count() == self.count_publishers(topic):
                continue
            if publishers := self.get_publishers_info_by_topic(topic):
                self._subscribe(topic, kind, qos.recording([each.qos_profile for each in publishers]))

    def _subscribe(self, topic: str, kind: str, profile: QoSProfile) -> None:
        if known := self._subscriptions_by_topic.get(topic):
            if known.qos_profile == profile:
                return
            self._take()
            self.destroy_subscription(known)  # not every publisher offers what it asks for
        try:
            if kind not in self._schemas:
                self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", definition(kind).encode())
            if topic not in self._channels:
                self._channels[topic] = self._writer.register_channel(topic, "cdr", self._schemas[kind])
        except (ImportError, AttributeError, OSError, PackageNotFoundError) as error:
            self.get_logger().warning(f"{topic} is not recorded: no definition of {kind} is found ({error})")
            self._unreadable.add(topic)
            return
        self._subscriptions_by_topic[topic] = self.create_subscription(
            message_type(kind), topic, lambda _: None, profile, raw=True
        )

    def _take(self) -> None:
        for topic, subscription in self._subscriptions_by_topic.items():
            channel, handle, kind = self._channels[topic], subscription.handle, subscription.msg_type
            with handle:
                while taken := handle.take_message(kind, True):
                    data, info = taken
                    number = (info["publication_sequence_number"] or 0) % 2**32
                    received, sent = info["received_timestamp"], info["source_timestamp"]
                    self._writer.add_message(channel, received, data, sent, number)

    def _end_chunk(self) -> None:
        try:
            self._writer.flush()
        except OSError as error:
            self.get_logger().error(f"the recording breaks off: {error}")
            self.exit_code = FAILED


class _Steps:
    """In the place of an executor, which would call back for each message."""

    def add_node(self, node: RecorderNode) -> None:
        self._node = node

    def spin_once(self, timeout_sec: float) -> None:
        time.sleep(min(timeout_sec, _TAKING_PERIOD_S))
        self._node.step()


def message_type(name: str) -> Any:
    """The class of a message by its name, such as std_msgs/msg/String.

    Raises:
        ImportError: there is no such package of messages here.
        AttributeError: it has no such message.
    """
    package, message = name.split("/msg/")
    return getattr(import_module(f"{package}.msg"), message)


def definition(name: str) -> str:
    """The definition of a message and of all that it holds, as rosbag2 writes it.

    Raises:
        ImportError, AttributeError: as `message_type`.
        PackageNotFoundError, OSError: the definition is not installed.
    """
    texts: dict[str, str] = {}
    missing = [name]
    while missing:
        name = missing.pop()
        package, message = name.split("/msg/")
        path = Path(get_package_share_directory(package)) / "msg" / f"{message}.msg"
        texts[name] = path.read_text(encoding="utf-8")
        fields = " ".join(message_type(name).get_fields_and_field_types().values())
        parts = [f"{package}/msg/{message}" for package, message in re.findall(r"(\w+)/(\w+)", fields)]
        missing += [part for part in parts if part not in texts]
    first, *others = texts.items()
    return first[1] + "".join(f"{_SEPARATOR}MSG: {name.replace('/msg', '')}\n{text}" for name, text in others)


def main() -> int:
    """Record until told to end."""
    return run(lambda: [RecorderNode()], make_executor=_Steps)
