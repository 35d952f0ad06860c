"""Learned routers that push: at its arrival every task is kept, or handed to a neighbour, as choices are worth.

Nodes serve their own queues in order of arrival and take from nobody. What a choice is worth `value_networks.QNetwork`
says, computed here in NumPy for the one node that decides, from what that node knows. A checkpoint is a zip archive
with ``metadata.json`` (method, options, seed, figures), the cluster's ``config.yaml``, and ``weights-<epoch>.npz`` for
each epoch that was evaluated.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from math import inf, log1p
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sortie_cluster.scheduler import ROOM, Scheduler
from sortie_core.config import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sortie_cluster.cluster_world import ClusterWorld

FORMAT = 1
_TIME_SCALE_S = 10.0
_COUNT_SCALE = 4.0
_MOST = 10.0
"""Bound of features that grow with a queue, so that a burst does not leave the range that was learned."""
_LEAKY_SLOPE = 0.2  # of value_networks, which needs torch
# What zipfile, JSON and NumPy raise for changed bytes, depending on where those lie.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, KeyError, OSError, EOFError, ValueError,
    TypeError,
)  # fmt: skip


class Options(NamedTuple):
    """What a network is given, as `value_networks.QNetwork` has it; and its name in tables.

    Attributes:
        graph: none, mean, full or attention.
        observation: local or neighbours.
        relay: whether candidates are seen with what they hear of their own neighbours.
    """

    graph: str = "none"
    observation: str = "neighbours"
    relay: bool = False

    @property
    def hops(self) -> float:
        """How far a node's knowledge reaches, hops."""
        if self.graph == "full":
            return inf
        return int(self.observation == "neighbours" or self.graph != "none") + int(self.relay and self.graph != "none")


class Decision(NamedTuple):
    """One decision as it is learned from; N nodes, K candidates: the node itself first, then its neighbours.

    Attributes:
        at_s: when.
        task: number of the task.
        agent: the node that decided.
        choice: the index of the candidate.
        nodes: [N, F] features of all nodes.
        allowed: [K] whether each candidate could ever run the task.
        fits: [K] whether it could start at once.
        features: [Ft] of the task.
    """

    at_s: float
    task: int
    agent: int
    choice: int
    nodes: np.ndarray
    allowed: list[bool]
    fits: list[float]
    features: tuple[float, ...]


class QScheduler(Scheduler):
    """Every node takes the choice that is worth most; with a probability, for training, any.

    Args:
        weights: state dictionary of a `QNetwork`.
        options: of the same.
        exploration: probability of a random choice.
        recording: keep all decisions of a run in `decisions`, with what all nodes are like.
        max_hops: how often a task is handed over before it must stay; 1 for a single decision per task.

    Attributes:
        metadata: of the checkpoint that it was loaded from.
        decisions: of the last run, where it is recording.
    """

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        options: Options,
        exploration: float = 0.0,
        recording: bool = False,
        max_hops: int = 1,
    ) -> None:
        self.options, self.exploration, self.recording, self.max_hops = options, exploration, recording, max_hops
        self.metadata: dict[str, Any] = {}
        # [in, out] of a layer
        self._weights = {name: np.ascontiguousarray(value.T, np.float32) for name, value in weights.items()}

    def begin(self, world: ClusterWorld) -> None:
        """A run begins; random choices are drawn by the world's seed."""
        super().begin(world)
        cluster = world.cluster
        if self.recording and self.late:
            raise UserError("reports.period_s: training needs nodes that know what is true; set it to 0")
        self._random = np.random.default_rng([world.seed, 11])
        self._cores, self._all_memory = cluster.cpu.tolist(), cluster.memory.tolist()
        self._rate = (cluster.speed * cluster.cpu).tolist()
        self._log_speed = np.log(cluster.speed).tolist()
        self.near = [(node, *others) for node, others in enumerate(self.reach)]
        known = [(node, *others) for node, others in enumerate(cluster.within(self.options.hops))]
        self._known = [(*near, *(j for j in far if j not in near)) for near, far in zip(self.near, known, strict=True)]
        self._graph = [self._heard_by(node, cluster.linked) for node in range(world.n_nodes)]
        self._silent = self._all_rows()
        self.decisions: list[Decision] = []

    def _heard_by(self, node: int, linked: np.ndarray) -> np.ndarray:
        """Whom those of whom a node needs z hear, among those that it knows of: [R, M] bool."""
        known = list(self._known[node])
        n_rows = len(self.near[node]) if self.options.relay else 1
        alone = np.eye(n_rows, len(known), dtype=bool)
        if self.options.graph == "full":
            return ~alone
        among = linked[np.ix_(known, known)][:n_rows]
        return among | alone if self.options.graph == "attention" else among

    # What is known.

    def _row(self, node: int) -> tuple[float, ...]:
        """The node's `value_networks.NODE_FEATURES`.

        Tasks that wait; their predicted work, plain and logarithmic, and what is left of the running ones' predicted
        work, s on this node; how long the oldest of those has run, s; shares of CPU and memory that are free; speed.
        """
        world, rate = self.world, self._rate[node]
        running, now = world.running[node], world.now
        remaining_s = elapsed_s = 0.0
        for task, end_s in running.items():
            remaining_s += max(0.0, end_s - now)
            elapsed_s = max(elapsed_s, now - world.log.begin_s[task])
        backlog = world.backlog_s[node] / rate / _TIME_SCALE_S
        return (
            min(world.n_waiting[node] / self._cores[node] / _COUNT_SCALE, _MOST),
            min(backlog, _MOST),
            log1p(max(backlog, 0.0)),
            min(remaining_s / self._cores[node] / _TIME_SCALE_S, _MOST),
            min(elapsed_s / _TIME_SCALE_S, _MOST),
            world.free_cpu[node] / self._cores[node],
            world.free_memory[node] / self._all_memory[node],
            self._log_speed[node],
        )

    def _all_rows(self) -> np.ndarray:
        return np.array([self._row(node) for node in range(self.world.n_nodes)], np.float32)

    def announce(self) -> np.ndarray:
        """[N, F] what all nodes are like, where nodes know of others by reports only."""
        return self._all_rows()

    def _seen(self, node: int) -> np.ndarray:
        """[M, F] features of those that a node knows of, itself first, as it knows them."""
        known = self._known[node]
        if not self.late:
            return np.array([self._row(j) for j in known], np.float32)
        said = (self.world.heard(node, j).said if j != node else None for j in known)
        told = [self._silent if each is None else each for each in said]
        return np.array([self._row(node), *(each[j] for each, j in zip(told[1:], known[1:], strict=True))], np.float32)

    def _able(self, task: int, node: int) -> bool:
        world = self.world
        return world.cpu[task] <= self._cores[node] + ROOM and world.memory[task] <= self._all_memory[node] + ROOM

    def _fits(self, task: int, node: int, other: int) -> float:
        known, world = self.world.heard(node, other), self.world
        return float(
            not known.n_waiting[other]
            and known.free_cpu[other] + ROOM >= world.cpu[task]
            and known.free_memory[other] + ROOM >= world.memory[task]
        )

    # What is decided.

    def route(self, task: int, node: int) -> int:
        """The candidate that is worth most; a task that has been handed over often enough stays."""
        world, near = self.world, self.near[node]
        if world.hops[task] >= self.max_hops or len(near) == 1:
            return node
        allowed = [self._able(task, j) for j in near]
        if not any(allowed):
            return node
        fits = [self._fits(task, node, j) for j in near]
        features = (
            log1p(world.predicted_s[task] / _TIME_SCALE_S),
            world.cpu[task] / self._cores[node],
            world.memory[task] / self._all_memory[node],
        )
        if self.exploration and self._random.random() < self.exploration:
            choice = int(self._random.choice(np.flatnonzero(allowed)))
        else:
            choice = int(np.where(allowed, self.values(node, self._seen(node), fits, features), -inf).argmax())
        if self.recording:
            rows = self._all_rows()
            self.decisions.append(Decision(world.now, task, node, choice, rows, allowed, fits, features))
        return near[choice]

    def values(self, node: int, seen: np.ndarray, fits: list[float], task: tuple[float, ...]) -> np.ndarray:
        """[K] what each candidate is worth, as `QNetwork.forward` has it.

        Args:
            node: that decides.
            seen: [M, F] features of those that it knows of: its candidates first.
            fits: [K].
            task: [Ft].
        """
        w, count = self._weights, len(fits)
        each = np.maximum(seen @ w["encoder.weight"] + w["encoder.bias"], 0.0)
        around = each
        if self.options.graph != "none":
            told = each @ w["other.weight"]
            n_rows = len(self._graph[node])
            around = each[:n_rows] @ w["own.weight"] + w["own.bias"] + self._mean(node, told)
            around = np.maximum(around, 0.0)
        relayed = self.options.relay and self.options.graph != "none"
        candidate = (around if relayed else each)[:count]
        pair = np.zeros((count, 3 + len(task)), np.float32)
        pair[0, 0], pair[:, 1], pair[:, 3:] = 1.0, fits, task
        mixed = around[0] @ w["centre.weight"] + w["centre.bias"]
        if self.options.observation == "local":
            pair[1:, 1] = 0.0
            mixed = np.repeat(mixed[None], count, 0)
            mixed[0] += candidate[0] @ w["candidate.weight"]
        else:
            mixed = mixed + candidate @ w["candidate.weight"]
        mixed = np.maximum(mixed + pair @ w["pair.weight"], 0.0)
        mixed = np.maximum(mixed @ w["middle.weight"] + w["middle.bias"], 0.0)
        return (mixed @ w["value.weight"] + w["value.bias"])[:, 0]

    def _mean(self, node: int, told: np.ndarray) -> np.ndarray:
        """[R, H] what nodes hear, weighted by the graph mode."""
        heard = self._graph[node]
        if self.options.graph != "attention":
            return heard @ told / np.maximum(heard.sum(1, keepdims=True), 1)
        scores = told[: len(heard)] @ self._weights["listener.weight"] + (told @ self._weights["speaker.weight"])[:, 0]
        scores = np.where(heard, np.maximum(scores, _LEAKY_SLOPE * scores), -inf)
        weight = np.exp(scores - scores.max(1, keepdims=True))
        return weight @ told / weight.sum(1, keepdims=True)


def load_q_scheduler(path: str | Path, epoch: int | None = None, max_hops: int = 1) -> QScheduler:
    """A trained router.

    Args:
        path: of its checkpoint.
        epoch: one of those that were evaluated; None for the last one.
        max_hops: how often a task is handed over before it must stay; training has 1, a single decision per task.

    Raises:
        UserError: the file is missing, damaged or of another format, or has no such epoch.
    """
    if not Path(path).is_file():
        raise UserError(f"checkpoint {path} does not exist; train a DQN or QMIX router, or name another file")
    try:
        with zipfile.ZipFile(path) as archive:
            if changed := archive.testzip():
                raise ValueError(f"{changed} has been changed")
            metadata = json.loads(archive.read("metadata.json"))
            if metadata["format"] != FORMAT:
                raise UserError(f"checkpoint {path} has format {metadata['format']}, not {FORMAT}; train it again")
            epochs = [int(each) for each in metadata["epochs"]]
            if epoch is not None and epoch not in epochs:
                raise UserError(f"checkpoint {path} has no epoch {epoch}; it has {', '.join(map(str, epochs))}")
            with np.load(io.BytesIO(archive.read(f"weights-{epoch or epochs[-1]}.npz"))) as arrays:
                weights = {name: arrays[name] for name in arrays.files}
        training = metadata["training"]
        options = Options(training["graph"], training["observation"], training["relay"])
        scheduler = QScheduler(weights, options, max_hops=max_hops)
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise UserError(f"checkpoint {path} is truncated or damaged ({reason}); copy or train it again") from None
    scheduler.metadata = metadata
    return scheduler
