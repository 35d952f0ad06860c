"""Records every topic of the graph into one MCAP file, and takes no part in what it records.

Left out are hidden topics, which are those of actions, and /parameter_events, since no parameter here ever changes.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from mcap.writer import Writer
from rclpy.node import Node

from sortie_core.config import UserError
from sortie_nodes import qos
from sortie_nodes.params import declare
from sortie_nodes.spinning import FAILED, run

if TYPE_CHECKING:
    from rclpy.subscription import Subscription

_TAKE_PERIOD_S = 0.05
"""Messages wait in the middleware, which stamps them, until many can be taken at once: a third of the CPU time."""
_DISCOVERY_PERIOD_S = 0.5
_CHUNK_PERIOD_S = 1.0
_CHUNK_BYTES = 2**30
"""Never reached: chunks end with time, so that what a kill costs is a matter of time alone."""
_UNRECORDED = ("/parameter_events",)
_SEPARATOR = f"\n{'=' * 80}\n"


@dataclass(frozen=True)
class _Topic:
    """A topic that is recorded.

    Attributes:
        channel: of the file.
        kind: type of its messages.
        subscription: to it.
    """

    channel: int
    kind: type
    subscription: Subscription


class Recorder(Node):
    """Writes what is published as it is published, with the definitions that it takes to read it.

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
        self._topics: dict[str, _Topic | None] = {}  # None: cannot be recorded
        self._schemas: dict[str, int] = {}
        self._discovery_s = self._chunk_s = 0.0

    def step(self) -> None:
        """Do what is due."""
        now_s = time.monotonic()
        if now_s >= self._discovery_s:
            self._discovery_s = now_s + _DISCOVERY_PERIOD_S
            self._discover()
        self._take()
        if now_s >= self._chunk_s:
            self._chunk_s = now_s + _CHUNK_PERIOD_S
            self._end_chunk()

    def _discover(self) -> None:
        for topic, types in self.get_topic_names_and_types():
            if "/_" in topic or topic in _UNRECORDED:
                continue
            publishers = self.get_publishers_info_by_topic(topic)
            if topic in self._topics or not publishers:
                continue
            profile = qos.recording([each.qos_profile for each in publishers])
            try:
                kind, channel = self._channel(topic, types[0])
            except (ImportError, AttributeError, PackageNotFoundError, OSError) as error:
                self.get_logger().warning(f"{topic} is not recorded: no definition of {types[0]} ({error})")
                self._topics[topic] = None
                continue
            sub = self.create_subscription(kind, topic, lambda _: None, profile, raw=True)
            self._topics[topic] = _Topic(channel, kind, sub)

    def _channel(self, topic: str, name: str) -> tuple[type, int]:
        kind = message_type(name)
        if name not in self._schemas:
            self._schemas[name] = self._writer.register_schema(name, "ros2msg", definition(name).encode())
        return kind, self._writer.register_channel(topic, "cdr", self._schemas[name])

    def _take(self) -> None:
        for topic in self._topics.values():
            if topic is None:
                continue
            handle = topic.subscription.handle
            with handle:
                while taken := handle.take_message(topic.kind, True):
                    data, info = taken
                    self._writer.add_message(
                        topic.channel,
                        info["received_timestamp"],
                        data,
                        info["source_timestamp"],
                        (info["publication_sequence_number"] or 0) % 2**32,
                    )

    def _end_chunk(self) -> None:
        try:
            self._writer.flush()
        except OSError as error:
            self.get_logger().error(f"the recording ends here: {error}")
            self.exit_code = FAILED

    def destroy_node(self) -> None:
        """Finish the file."""
        self._take()
        with suppress(OSError):  # told above
            self._writer.finish()
            self._file.close()
        super().destroy_node()


class _Batches:
    """In an executor's place."""
    def add_node(self, node): self._node = node
    def spin_once(self, timeout_sec):
        time.sleep(_TAKE_PERIOD_S); self._node.step()


def message_type(name: str) -> type:
    package, _, message = name.split("/") if name.count("/") == 2 else (name.split("/")[0], "", name.split("/")[1])
    return getattr(import_module(f"{package}.msg"), message)


def definition(name: str) -> str:
    """The definition of a message and of all that it holds, as rosbag2 writes it."""
    found: dict[str, str] = {}

    def add(name: str) -> None:
        package, message = name.split("/")
        path = Path(get_package_share_directory(package)) / "msg" / f"{message}.msg"
        found[name] = path.read_text(encoding="utf-8")
        for kind in message_type(name).get_fields_and_field_types().values():
            for part in re.findall(r"\w+/\w+", kind):
                if part not in found:
                    add(part)

    add(name.replace("/msg/", "/"))
    first, *others = found.items()
    return first[1] + "".join(f"{_SEPARATOR}MSG: {name}\n{text}" for name, text in others)


def main() -> int:
    """Record until told to end."""
    return run(lambda: [Recorder()], make_executor=_Batches)
