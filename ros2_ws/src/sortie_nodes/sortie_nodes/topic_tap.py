"""Hears topics of the graph as their messages are sent, without taking part in it."""

from __future__ import annotations

import re
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from sortie_nodes import qos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from rclpy.subscription import Subscription

_TAKING_PERIOD_S = 0.05
_DISCOVERY_PERIOD_S = 0.5
_LEFT_OUT = ("/parameter_events",)
_SEPARATOR = f"\n{'=' * 80}\n"


class Heard(NamedTuple):
    """A message as it went over the wire.

    Attributes:
        topic: full name.
        kind: its class.
        data: CDR.
        received_ns, sent_ns: since the epoch.
        number: of its publisher.
    """

    topic: str
    kind: type
    data: bytes
    received_ns: int
    sent_ns: int
    number: int


class TopicTap:
    """Subscriptions to all topics that are wanted, made as they appear.

    Messages wait in the middleware, which stamps them as they come and go, and are taken many at a time. That costs
    less than a callback for each, and EventsExecutor cannot tell callbacks the stamps.

    Args:
        node: whose subscriptions they are.
        found: called once with each topic that appears, its kind and the definition of that.
        wanted: whether a topic is to be heard now.
    """

    def __init__(
        self, node: Node, found: Callable[[str, str, str], object], wanted: Callable[[str], bool] = lambda _: True
    ) -> None:
        """Nothing is heard yet."""
        self._node, self._found, self._wanted = node, found, wanted
        self._definitions: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._unreadable: set[str] = set()
        self._subscriptions: dict[str, Subscription] = {}
        self._next_discovery_s = 0.0

    def hear(self) -> Iterator[Heard]:
        """What has come since the last call; now and then, look for topics first."""
        if time.monotonic() >= self._next_discovery_s:
            yield from self._discover()
            self._next_discovery_s = time.monotonic() + _DISCOVERY_PERIOD_S
        for topic, subscription in self._subscriptions.items():
            yield from self._take(topic, subscription)

    def _discover(self) -> Iterator[Heard]:
        node = self._node
        for topic, (kind, *_) in node.get_topic_names_and_types():
            if not is_public(topic) or topic in self._unreadable:
                continue
            known = self._subscriptions.get(topic)
            if not (self._knows(topic, kind) and self._wanted(topic)):
                if known:
                    node.destroy_subscription(self._subscriptions.pop(topic))
                continue
            if known and known.get_publisher_count() == node.count_publishers(topic):
                continue
            if not (publishers := node.get_publishers_info_by_topic(topic)):
                continue
            profile = qos.recording([each.qos_profile for each in publishers])
            if known:
                if known.qos_profile == profile:
                    continue
                yield from self._take(topic, known)
                node.destroy_subscription(known)  # not every publisher offers what it asks for
            self._subscriptions[topic] = self._subscribe(topic, kind, profile)

    def _knows(self, topic: str, kind: str) -> bool:
        """Whether a topic's messages can be read; the first time, tell of it."""
        if topic in self._kinds:
            return True
        try:
            if kind not in self._definitions:
                self._definitions[kind] = definition(kind)
        except (ImportError, AttributeError, OSError, PackageNotFoundError) as error:
            self._node.get_logger().warning(f"{topic} is left out: no definition of {kind} is found ({error})")
            self._unreadable.add(topic)
            return False
        self._kinds[topic] = kind
        self._found(topic, kind, self._definitions[kind])
        return True

    def _subscribe(self, topic: str, kind: str, profile: QoSProfile) -> Subscription:
        return self._node.create_subscription(message_type(kind), topic, lambda _: None, profile, raw=True)

    @staticmethod
    def _take(topic: str, subscription: Subscription) -> Iterator[Heard]:
        handle, kind = subscription.handle, subscription.msg_type
        with handle:
            while taken := handle.take_message(kind, True):
                data, info = taken
                number = (info["publication_sequence_number"] or 0) % 2**32
                yield Heard(topic, kind, data, info["received_timestamp"], info["source_timestamp"], number)


def is_public(topic: str) -> bool:
    """Whether a topic is heard at all: not those of actions, nor that of parameters, as none ever changes here."""
    return "/_" not in topic and topic not in _LEFT_OUT


class Steps:
    """In the place of an executor, which would call back for each message: the node's `step` again and again."""

    def add_node(self, node: Any) -> None:
        """The node to step."""
        self._node = node

    def spin_once(self, timeout_sec: float) -> None:
        """Wait a little, and step."""
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
