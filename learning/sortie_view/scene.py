"""A run as people see it, put together from its messages; live ones and those of a recording have the same fields."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sortie_cluster.live_config import LiveConfig
from sortie_core.comm_graph import adjacency

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sortie_core.config import Config

_RATE_WINDOW_S = 1.0
_MOST_ROWS = 600
"""Of the history; twice as many are thinned out to every other one."""
_MOST_RUNS = 2000
"""Of tasks, that a snapshot holds."""
_DIGITS = 3


class Row(NamedTuple):
    """One tick of the history; its fields are the columns that viewers plot.

    Attributes:
        time_s: mission time.
        delivered: share of the demand that is met, or of the tasks that have ended.
        messages_per_s: packets on the air, in mission time.
        separation_m: least distance between two drones; NaN where there is none.
    """

    time_s: float
    delivered: float
    messages_per_s: float
    separation_m: float


class Scene:
    """The state of a run; N drones or nodes, M consumers or queues, R resources.

    Args:
        config: of the run.

    Attributes:
        rows: the history, thinned out where it gets long.
    """

    def __init__(self, config: Config) -> None:
        """Nothing is known yet."""
        self.config = config
        self.rows: list[Row] = []
        self._is_cluster = isinstance(config, LiveConfig)
        self._facts = _cluster_facts(config) if isinstance(config, LiveConfig) else _mission_facts(config)
        self.restart()

    def restart(self) -> None:
        """Forget what has been heard."""
        n_agents = self.config.team.n_agents
        self.rows = []
        self._status: Any = None
        self._consumers: Any = None
        self._choice = [-1] * n_agents
        self._faults: list[dict[str, Any]] = []
        self._vehicles: dict[str, dict[str, str]] = {}
        self._shielded = 0
        self._runs: dict[tuple[int, int, int], list[Any]] = {}
        self._sent: deque[tuple[float, int, int]] = deque([(0.0, 0, 0)])
        self._stride, self._n_ticks, self._ticks_shown = 1, 0, 0

    @staticmethod
    def reads(topic: str) -> bool:
        """Whether a topic's messages change the scene."""
        return _last(topic) in _READERS

    def hear(self, topic: str, message: Any) -> bool:
        """Take in a message.

        Args:
            topic: its full name.
            message: as rclpy or `mcap_ros2` decodes it.

        Returns:
            Whether a tick is complete, so that there is something new to show.
        """
        reader = _READERS.get(_last(topic))
        if reader:
            reader(self, topic, message)
        return reader is Scene._on_status

    # What is heard.

    def _on_status(self, _: str, message: Any) -> None:
        if message.tick < self._ticks_shown:  # another mission has begun
            consumers = self._consumers
            self.restart()
            self._consumers = consumers
        self._status = message
        self._ticks_shown = message.tick
        self._add_row()

    def _on_consumers(self, _: str, message: Any) -> None:
        self._consumers = message

    def _on_claim(self, topic: str, message: Any) -> None:
        drone = int(topic.split("/")[-2].removeprefix("drone_"))
        self._choice[drone] = message.choice if message.choice < self._facts["n_consumers"] else -1

    def _on_radio(self, _: str, message: Any) -> None:
        time_s = message.tick * self.config.world.dt_s
        self._sent.append((time_s, message.messages_sent, message.bytes_sent))
        while len(self._sent) > 2 and self._sent[1][0] <= time_s - _RATE_WINDOW_S:
            self._sent.popleft()

    def _on_fault(self, _: str, message: Any) -> None:
        told = {"drone": message.drone, "kind": message.kind, "text": message.text}
        if not any(told.items() <= fault.items() for fault in self._faults):
            self._faults.append({"time_s": round(self.time_s, _DIGITS), "lost": message.lost} | told)

    def _on_diagnostics(self, _: str, message: Any) -> None:
        for status in message.status:
            if status.name.endswith("/safety_gate"):
                self._shielded = int(_values(status).get("separation", 0))

    def _on_flight_status(self, _: str, message: Any) -> None:
        for status in message.status:
            self._vehicles[status.name.removeprefix("drone ")] = _values(status) | {"message": status.message}

    def _on_task_runs(self, _: str, message: Any) -> None:
        for run in message.runs:
            ended_s = None if math.isnan(run.ended) else round(run.ended, _DIGITS)
            began_s = round(run.began, _DIGITS)
            self._runs[run.task, run.node, run.attempt] = [run.task, run.node, began_s, ended_s, run.lost]

    # What is shown.

    @property
    def time_s(self) -> float:
        """Mission time of the last tick, s."""
        return self._status.tick * self.config.world.dt_s if self._status else 0.0

    @property
    def task_runs(self) -> list[list[Any]]:
        """All of a cluster's so far: task, node, began_s, ended_s or None, lost; the snapshot has the last ones."""
        return list(self._runs.values())

    def snapshot(self) -> dict[str, Any]:
        """The last tick, ready for JSON.

        Returns:
            kind: "delivery" or "cluster"; time_s, tick, done, delivered; facts: what does not change (n_agents,
            n_consumers, n_resources; arena_half_m, service_radius_m, or capacity [N][2] of a cluster); links: pairs of
            drones; drones: x, y, z m [N], alive [N], stock [N][R], choice [N] (the consumer agreed on, -1 for none);
            unmet [M][R]; consumers: x, y m [M], demand [M][R], active [M], tasks [M]; rates; shielded: setpoints that
            the safety gate has changed; reward by term, of the last tick; faults; vehicles; runs: the last of
            `task_runs`; n_runs: how many there are in all.
        """
        status, consumers = self._status, self._consumers
        found: dict[str, Any] = {
            "kind": "cluster" if self._is_cluster else "delivery",
            "time_s": round(self.time_s, _DIGITS),
            "facts": self._facts,
            "faults": self._faults,
            "vehicles": self._vehicles,
        }
        if status:
            n_resources = self._facts["n_resources"]
            position = np.reshape(np.asarray(status.position, float), (-1, 3)).round(_DIGITS)
            found |= {
                "tick": status.tick,
                "done": bool(status.done),
                "delivered": round(status.delivered_fraction, 5),
                "drones": {
                    **dict(zip("xyz", position.T.tolist(), strict=True)),
                    "alive": [bool(each) for each in status.alive],
                    "stock": _table(status.stock, n_resources),
                    "choice": self._choice,
                },
                "unmet": _table(status.unmet, n_resources),
                "links": self._links(position),
                "rates": self._rates(),
                "shielded": self._shielded,
                "reward": dict(zip(status.reward_terms, map(float, status.reward), strict=True)),
            }
        if consumers:
            found["consumers"] = {
                "x": [round(each.position.x, _DIGITS) for each in consumers.consumers],
                "y": [round(each.position.y, _DIGITS) for each in consumers.consumers],
                "demand": [[round(float(a), _DIGITS) for a in each.demand] for each in consumers.consumers],
                "active": [bool(each.active) for each in consumers.consumers],
                "tasks": [len(each.tasks) for each in consumers.consumers],
            }
        if self._is_cluster:
            found |= {"runs": self.task_runs[-_MOST_RUNS:], "n_runs": len(self._runs)}
        return found

    def _links(self, position: np.ndarray) -> list[list[int]]:
        """Pairs of drones that hear each other: [[i, j], ...] with i < j."""
        if isinstance(self.config, LiveConfig):
            linked = self.config.nodes.linked
        else:
            flat = position[None, :, : self.config.task.dimensions]
            linked = adjacency(flat, np.asarray(self._status.alive, bool)[None], self.config.comm.radius_m)[0]
        pairs: list[list[int]] = np.argwhere(np.triu(linked, 1)).tolist()
        return pairs

    def history(self) -> dict[str, list[float | None]]:
        """The columns of `Row`, ready for JSON: T ticks each."""
        columns = zip(*self.rows, strict=True) if self.rows else ([] for _ in Row._fields)
        return {name: [_plain(each) for each in column] for name, column in zip(Row._fields, columns, strict=True)}

    def _rates(self) -> dict[str, float]:
        (from_s, packets_before, bytes_before), (to_s, packets, n_bytes) = self._sent[0], self._sent[-1]
        span_s = max(to_s - from_s, _RATE_WINDOW_S)  # before that has passed, a single burst would be a rate
        return {
            "messages_per_s": round((packets - packets_before) / span_s, 1),
            "bytes_per_s": round((n_bytes - bytes_before) / span_s, 1),
            "delivered_per_s": round(self._delivery_rate(), 5),
        }

    def _delivery_rate(self) -> float:
        """Share of the demand delivered per s, over the last second of the mission."""
        recent = [row for row in self.rows[-60:] if row.time_s >= self.time_s - _RATE_WINDOW_S - 1e-9]
        if len(recent) < 2:
            return 0.0
        return (recent[-1].delivered - recent[0].delivered) / max(recent[-1].time_s - recent[0].time_s, 1e-9)

    def _add_row(self) -> None:
        status = self._status
        self._n_ticks += 1
        if (self._n_ticks - 1) % self._stride and not status.done:
            return
        self.rows.append(
            Row(
                round(self.time_s, _DIGITS),
                round(status.delivered_fraction, 5),
                self._rates()["messages_per_s"],
                round(least_separation_m(np.reshape(status.position, (-1, 3)), status.alive), _DIGITS),
            )
        )
        if len(self.rows) >= 2 * _MOST_ROWS:
            self.rows, self._stride = self.rows[::2], 2 * self._stride


_READERS: dict[str, Callable[[Scene, str, Any], None]] = {
    "team_status": Scene._on_status,
    "consumers": Scene._on_consumers,
    "claim": Scene._on_claim,
    "radio_statistics": Scene._on_radio,
    "faults": Scene._on_fault,
    "diagnostics": Scene._on_diagnostics,
    "flight_status": Scene._on_flight_status,
    "task_runs": Scene._on_task_runs,
}


def least_separation_m(position: np.ndarray, alive: Sequence[bool]) -> float:
    """The least distance between two living drones, [N, 3] m; NaN where there are less than two."""
    flying = np.asarray(position, float)[np.asarray(alive, bool)]
    if len(flying) < 2:
        return math.nan
    from scipy.spatial.distance import pdist

    return float(pdist(flying).min())


def _mission_facts(config: Config) -> dict[str, Any]:
    return {
        "n_agents": config.team.n_agents,
        "n_consumers": config.task.n_consumers,
        "n_resources": config.task.n_resources,
        "arena_half_m": round(config.arena_half_m, _DIGITS),
        "service_radius_m": config.task.service_radius_m,
    }


def _cluster_facts(config: LiveConfig) -> dict[str, Any]:
    cluster = config.nodes  # without the tasks, whose trace may not be here any more
    return {
        "n_agents": config.team.n_agents,
        "n_consumers": config.task.n_consumers,
        "n_resources": config.task.n_resources,
        "capacity": np.stack([cluster.cpu, cluster.memory], axis=1).round(_DIGITS).tolist(),
    }


def _values(status: Any) -> dict[str, str]:
    return {item.key: item.value for item in status.values}


def _last(topic: str) -> str:
    return topic.rsplit("/", 1)[-1]


def _table(flat: Iterable[float], width: int) -> list[list[float]]:
    table: list[list[float]] = np.reshape(np.asarray(flat, float), (-1, width)).round(_DIGITS).tolist()
    return table


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
