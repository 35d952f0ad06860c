"""Records every topic of the graph into one MCAP file, and takes no part in what it records.

Left out are hidden topics, which are those of actions, and /parameter_events, since no parameter here ever changes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from mcap.writer import Writer
from rclpy.node import Node

from sortie_core.config import UserError
from sortie_nodes import RECORDER
from sortie_nodes.params import declare, declare_config
from sortie_nodes.spinning import FAILED, run
from sortie_nodes.topic_tap import Steps, TopicTap

if TYPE_CHECKING:
    from sortie_core.config import Config

_CHUNK_PERIOD_S = 1.0
_CHUNK_BYTES = 2**30
"""Never reached: chunks end with time, so that what a kill costs is a matter of time alone."""
_CONFIGURATION = "config.yaml"


class RecorderNode(Node):
    """Writes what is published as it is published, with the definitions that it takes to read it.

    A killed recording can be read up to its last whole chunk; it only lacks the index at its end.

    Attributes:
        exit_code: None until the recording has to be given up.
    """

    def __init__(self) -> None:
        """Open the file.

        Raises:
            UserError: no file is named, it exists, or it cannot be written; or the configuration cannot be read.
        """
        super().__init__(RECORDER, start_parameter_services=False)
        self.exit_code: int | None = None
        path = declare(self, "out", "", "MCAP file to record into; it must not exist")
        if not path:
            raise UserError(f"{self.get_fully_qualified_name()}: set the parameter out to the file to record into")
        config = declare_config(self)
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "xb")
        except FileExistsError:
            raise UserError(f"{path} exists and is not overwritten; move it, or record into another file") from None
        except OSError as error:
            raise UserError(f"cannot record into {path}: {error.strerror}") from None
        self._writer = Writer(self._file, chunk_size=_CHUNK_BYTES)
        self._begin(config)
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._tap = TopicTap(self, self._register)
        self._next_chunk_s = 0.0

    def step(self) -> None:
        """Take what has come, and do what is due."""
        self._take()
        now_s = time.monotonic()
        if now_s >= self._next_chunk_s:
            self._next_chunk_s = now_s + _CHUNK_PERIOD_S
            self._end_chunk()

    def destroy_node(self) -> None:
        """Finish the file."""
        try:
            self._take()
            self._writer.finish()
            self._file.close()
        except OSError as error:
            self._break_off(error)
        super().destroy_node()

    def _begin(self, config: Config) -> None:
        """Say what is run, so that the file can be read without anything beside it."""
        self._writer.start("ros2")
        now_ns = time.time_ns()
        self._writer.add_attachment(now_ns, now_ns, _CONFIGURATION, "application/yaml", config.to_yaml().encode())
        self._writer.flush()

    def _register(self, topic: str, kind: str, definition: str) -> None:
        if kind not in self._schemas:
            self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", definition.encode())
        self._channels[topic] = self._writer.register_channel(topic, "cdr", self._schemas[kind])

    def _take(self) -> None:
        for heard in self._tap.hear():
            channel = self._channels[heard.topic]
            self._writer.add_message(channel, heard.received_ns, heard.data, heard.sent_ns, heard.number)

    def _end_chunk(self) -> None:
        try:
            self._writer.flush()
        except OSError as error:
            self._break_off(error)

    def _break_off(self, error: OSError) -> None:
        if self.exit_code is None:
            self.get_logger().error(f"the recording breaks off: {error}")
        self.exit_code = FAILED


def main() -> int:
    """Record until told to end."""
    return run(lambda: [RecorderNode()], make_executor=Steps)
