"""Recordings made without ROS: messages of the graph, serialised by their definitions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from mcap_ros2.writer import Writer

from sortie_core.config import load_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_core.config import Config

PROJECT = Path(__file__).parents[2]
YAML = PROJECT / "configs" / "delivery.yaml"
_SEPARATOR = f"\n{'=' * 80}\n"
_OTHERS = {
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id",
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z",
}
_OWN = {
    "WorldStatus": ("std_msgs/Header", "builtin_interfaces/Time"),
    "ConsumerArray": ("std_msgs/Header", "builtin_interfaces/Time", "Consumer", "geometry_msgs/Point", "Task"),
    "Claim": ("std_msgs/Header", "builtin_interfaces/Time", "HandOver"),
    "RadioStatistics": (),
    "Fault": (),
}


def definition(name: str) -> str:
    """Of a message of this project, and of all that it holds."""
    folder = PROJECT / "ros2_ws" / "src" / "sortie_interfaces" / "msg"
    parts = [(folder / f"{name}.msg").read_text()]
    for part in _OWN[name]:
        text = _OTHERS[part] if part in _OTHERS else (folder / f"{part}.msg").read_text()
        full = part if "/" in part else f"sortie_interfaces/{part}"
        parts.append(f"MSG: {full}\n{text}")
    return _SEPARATOR.join(parts)


class RecordedMission:
    """A made-up mission: drones circle their consumers, in pairs that have agreed on one, and deliver evenly.

    Args:
        path: of the file.
        config: of the mission; attached.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.config = config
        self._file = path.open("wb")
        self._writer = Writer(self._file, chunk_size=20_000)
        content = config.to_yaml().encode()
        self._writer._writer.add_attachment(0, 0, "config.yaml", "application/yaml", content)
        self._schemas = {
            name: self._writer.register_msgdef(f"sortie_interfaces/msg/{name}", definition(name)) for name in _OWN
        }
        self._numbers: dict[str, int] = {}

    def say(self, topic: str, kind: str, time_ns: int, /, **fields: Any) -> None:
        self._numbers[topic] = self._numbers.get(topic, 0) + 1
        self._writer.write_message(topic, self._schemas[kind], fields, time_ns, time_ns, self._numbers[topic])

    def tick(self, tick: int, n_ticks: int) -> None:
        task, n_agents, dt_s = self.config.task, self.config.team.n_agents, self.config.world.dt_s
        time_ns, share = 10**18 + round(tick * dt_s * 1e9), tick / (n_ticks - 1)
        header = {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": "world"}
        centres = (
            self.config.arena_half_m * 0.8 * np.array([[math.cos(m), math.sin(m)] for m in range(task.n_consumers)])
        )
        choice = [(k // 2) % task.n_consumers for k in range(n_agents)]
        angle = np.arange(n_agents) + tick * dt_s
        place = centres[choice] + 0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        position = np.column_stack([place, np.ones(n_agents)])
        demand, unmet = [1.0] * task.n_resources, [1.0 - share] * task.n_resources
        consumers = [
            {"position": {"x": x, "y": y, "z": 0.0}, "demand": demand, "unmet": unmet, "active": True,
             "completed": False, "settled": False, "tasks": []}
            for x, y in centres.tolist()
        ]  # fmt: skip
        self.say("/consumers", "ConsumerArray", time_ns, header=header, tick=tick,
                 presence=[False] * task.n_resources, consumers=consumers)  # fmt: skip
        for k in range(n_agents):
            self.say(f"/drone_{k}/claim", "Claim", time_ns, header=header, choice=choice[k], attention=[], asks=[],
                     hand_overs=[])  # fmt: skip
        self.say("/radio_statistics", "RadioStatistics", time_ns, tick=tick, messages_sent=n_agents * tick,
                 messages_delivered=0, messages_lost=0, messages_refused=0, messages_late=0,
                 bytes_sent=100 * n_agents * tick)  # fmt: skip
        self.say(
            "/team_status", "WorldStatus", time_ns, header=header, tick=tick, seed=1, alive=[True] * n_agents,
            position=position.ravel().tolist(), stock=[1.0 - share] * (n_agents * task.n_resources),
            unmet=unmet * task.n_consumers, delivered_fraction=share, reward_terms=["demand", "collision"],
            reward=[0.5, -0.25], late_ticks=0, done=tick == n_ticks - 1, metrics="",
        )  # fmt: skip

    def fault(self, tick: int, drone: int, text: str) -> None:
        time_ns = 10**18 + round(tick * self.config.world.dt_s * 1e9)
        self.say("/faults", "Fault", time_ns, kind="failed", drone=drone, lost=True, text=text)

    def close(self) -> None:
        self._writer.finish()
        self._file.close()


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """Record a made-up mission; returns its file."""

    def record(name: str = "run", n_ticks: int = 40, *overrides: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        mission = RecordedMission(folder / "run.mcap", load_config(YAML, overrides))
        for tick in range(n_ticks):
            if tick == n_ticks - 1:
                mission.fault(tick, 1, "drone 1 failed, as its layout has it")
            mission.tick(tick, n_ticks)
        mission.close()
        return folder / "run.mcap"

    return record
