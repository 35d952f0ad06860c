"""Networks of learned routers, which push tasks at arrival: what a node's choices are worth, and QMIX's mixer.

A node that holds a new task may keep it or hand it to a neighbour. Every node of the cluster runs the same network:

    e_j  = relu(W_e x_j + b_e)                              what node j is like
    z_i  = relu(U e_i + sum_j w_ij W e_j)                   what node i and its surroundings are like
    Q_ij = value(z_i, c_j, pair_ij, task)                   what handing the task to j is worth, i itself included

The weights w_ij are those of the graph mode: none at all (z_i = e_i), the mean over the neighbours, the mean over all
other nodes (a fully connected graph), or graph attention (arXiv 1710.10903). A candidate is seen as c_j = e_j, what it
tells of itself; as c_j = z_j where neighbours relay what they hear of theirs (two hops); or, with local observation,
not at all unless it is the node itself. All sums run over nodes and candidates, so that any cluster fits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sortie_core.config import UserError
from sortie_policy.attention import mlp
from sortie_train.team_networks import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortie_cluster.schedule import Schedule
    from sortie_schedule.q_schedulers import QScheduler
    from sortie_schedule.train_q_scheduler import QTraining

Graph = Literal["none", "mean", "full", "attention"]
Observation = Literal["local", "neighbours"]

NODE_FEATURES = (
    "waiting", "backlog", "log_backlog", "remaining", "elapsed", "free_cpu", "free_memory", "log_speed"
)  # fmt: skip
"""Of a node; see `sortie_schedule.q_schedulers` for what they are."""
TASK_FEATURES = ("log_predicted", "cpu", "memory")
"""Of the task that is to be placed."""
PAIR_FEATURES = ("own", "fits", "nothing")
"""Of a choice: to keep the task, that it could start at once, and that there is no task to place."""
LEAKY_SLOPE = 0.2
"""Of the attention's scores, as in arXiv 1710.10903."""
_COMPLETION_SCALE_S = 10.0
_OF_REWARDS = ("at_s", "completion_s", "in_system")


@dataclass(frozen=True)
class Decisions:
    """B decisions in clusters of N nodes, with K places for candidates: the node itself first, then its neighbours.

    Attributes:
        nodes: [B, N, F] `NODE_FEATURES`.
        linked: [B, N, N] bool, who hears whom; no node hears itself.
        agent: [B] the node that decides.
        near: [B, K] candidates; places that are left over name the node itself.
        allowed: [B, K] bool, whether there is a candidate that could ever run the task.
        fits: [B, K] 1 where the task could start at once.
        task: [B, Ft] `TASK_FEATURES`.
    """

    nodes: Tensor
    linked: Tensor
    agent: Tensor
    near: Tensor
    allowed: Tensor
    fits: Tensor
    task: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Decisions:
        """The same with a function applied to every array."""
        return Decisions(*(function(getattr(self, each.name)) for each in fields(self)))


class QNetwork(nn.Module):
    """What each choice of a node is worth; see this module's head.

    Args:
        hidden: H, width of all layers.
        graph: none, mean, full or attention.
        observation: local, or neighbours.
        relay: whether candidates are seen with what they hear of their own neighbours (two hops).
    """

    def __init__(
        self, hidden: int = 32, graph: Graph = "none", observation: Observation = "neighbours", relay: bool = False
    ) -> None:
        super().__init__()
        self.hidden, self.graph, self.observation, self.relay = hidden, graph, observation, relay
        self.encoder = nn.Linear(len(NODE_FEATURES), hidden)
        if graph != "none":
            self.own = nn.Linear(hidden, hidden)
            self.other = nn.Linear(hidden, hidden, bias=False)
        if graph == "attention":
            self.listener = nn.Linear(hidden, 1, bias=False)
            self.speaker = nn.Linear(hidden, 1, bias=False)
        self.centre = nn.Linear(hidden, hidden)
        self.candidate = nn.Linear(hidden, hidden, bias=False)
        self.pair = nn.Linear(len(PAIR_FEATURES) + len(TASK_FEATURES), hidden, bias=False)
        self.middle = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, 1)

    def embed(self, nodes: Tensor, linked: Tensor) -> tuple[Tensor, Tensor]:
        """Features e and z [B, N, H] of all nodes, from `Decisions.nodes` and `Decisions.linked`."""
        each = torch.relu(self.encoder(nodes))
        if self.graph == "none":
            return each, each
        told = self.other(each)
        return each, torch.relu(self.own(each) + self.weights(told, linked) @ told)

    def weights(self, told: Tensor, linked: Tensor) -> Tensor:
        """[B, N, N] w of the graph mode, rows of sum 1 (0 for a mean over nobody), from W e [B, N, H]."""
        n_nodes = linked.shape[-1]
        alone = torch.eye(n_nodes, dtype=torch.bool, device=linked.device)
        if self.graph == "attention":
            scores = nn.functional.leaky_relu(self.listener(told) + self.speaker(told).transpose(-1, -2), LEAKY_SLOPE)
            return torch.softmax(scores.masked_fill(~(linked | alone), -torch.inf), -1)
        heard = (linked if self.graph == "mean" else ~alone.expand_as(linked)).to(told.dtype)
        return heard / heard.sum(-1, keepdim=True).clamp(min=1.0)

    def forward(self, seen: Decisions) -> tuple[Tensor, Tensor]:
        """Values of choices and of having nothing to choose.

        Returns:
            [B, K] of each candidate, minus infinity where there is none; [B, N] of each node without a task to place.
        """
        each, around = self.embed(seen.nodes, seen.linked)
        centre = self.centre(around)
        row = torch.arange(len(seen.agent), device=seen.agent.device)
        own = (seen.near == seen.agent[:, None]).to(each.dtype)
        candidate = (around if self.relay else each)[row[:, None], seen.near]
        fits = seen.fits
        if self.observation == "local":
            candidate, fits = candidate * own[..., None], fits * own
        pair = torch.stack([own, fits, torch.zeros_like(own)], -1)
        task = seen.task[:, None].expand(-1, pair.shape[1], -1)
        mixed = centre[row, seen.agent][:, None] + self.candidate(candidate) + self.pair(torch.cat([pair, task], -1))
        nothing = torch.zeros(pair.shape[-1] + task.shape[-1], dtype=each.dtype, device=each.device)
        nothing[len(PAIR_FEATURES) - 1] = 1.0
        return self._head(mixed).masked_fill(~seen.allowed, -torch.inf), self._head(centre + self.pair(nothing))

    def _head(self, mixed: Tensor) -> Tensor:
        return self.value(torch.relu(self.middle(torch.relu(mixed)))).squeeze(-1)


class ClusterMixer(nn.Module):
    """The cluster's value as a monotonic function of its nodes' values, by weights that its state gives (QMIX).

    As in arXiv 1803.11485, but as in `sortie_train.team_networks.QMixer` the weights of a node come from what it and
    the whole cluster are like instead of from its number.

    Args:
        width: of the features of nodes.
        mixing: E, units of the hidden layer.
    """

    def __init__(self, width: int = 32, mixing: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Linear(len(NODE_FEATURES) + 1, width)
        self.agent_weight = nn.Linear(2 * width, mixing)
        self.bias = nn.Linear(width, mixing)
        self.final_weight = nn.Linear(width, mixing)
        self.state_value = mlp([width, width, 1])

    def forward(self, values: Tensor, seen: Decisions) -> Tensor:
        """[B, N] values of the nodes, one of which decides, give [B] of the cluster."""
        deciding = nn.functional.one_hot(seen.agent, values.shape[1]).to(values.dtype)
        each = torch.relu(self.encoder(torch.cat([seen.nodes, deciding[..., None]], -1)))
        team = each.mean(1)
        weight = self.agent_weight(torch.cat([each, team[:, None].expand_as(each)], -1)).abs()
        final = self.final_weight(team).abs()
        return monotonic(values, weight, self.bias(team), final, self.state_value(team).squeeze(-1))


class Memory:
    """Decisions of some episodes, one after the other.

    Attributes:
        choice: [n] index of the candidate.
        reward: [n] until the following decision.
        discount: [n] of what follows.
        following: [n] index of the following decision.
        usable: indices of those that have one.
    """

    def __init__(self, episodes: list[dict[str, Tensor]]) -> None:
        """Put episodes together; places for candidates are filled up to the most that any has."""
        places = max(each["near"].shape[1] for each in episodes)
        filled = [each | _fill(each, places) for each in episodes]
        joined = {name: torch.cat([each[name] for each in filled]) for name in filled[0] if name != "linked"}
        sizes = [len(each["agent"]) for each in filled]
        self._linked = torch.stack([each["linked"] for each in filled])
        self._episode = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        start = torch.tensor([0, *np.cumsum(sizes)[:-1].tolist()])[self._episode]
        self._joined = joined
        self.choice, self.reward, self.discount = joined["choice"], joined["reward"], joined["discount"]
        self.usable = torch.nonzero(joined["following"] >= 0).squeeze(-1)
        self.following = joined["following"] + start

    def seen(self, index: Tensor) -> Decisions:
        """Decisions of these indices [B]."""
        part = {name: self._joined[name][index] for name in ("nodes", "agent", "near", "allowed", "fits", "task")}
        return Decisions(linked=self._linked[self._episode[index]], **part)


def _fill(episode: dict[str, Tensor], places: int) -> dict[str, Tensor]:
    missing = places - episode["near"].shape[1]
    near = torch.cat([episode["near"], episode["agent"][:, None].expand(-1, missing)], 1)
    return {"near": near} | {name: nn.functional.pad(episode[name], (0, missing)) for name in ("allowed", "fits")}


def recorded(scheduler: QScheduler, log: Schedule) -> dict[str, np.ndarray]:
    """The decisions of a run that a scheduler has recorded, up to the first whose task has not ended.

    Returns:
        What `Memory` takes, but without rewards; instead of these `at_s`, `completion_s`, and `in_system`, the integral
        over time of the tasks per node up to each decision, s.

    Raises:
        UserError: there are none.
    """
    taken = scheduler.decisions
    completion_s = log.completion_s[[each.task for each in taken]] if taken else np.zeros(0)
    n_known = int(np.argmax(np.isnan(completion_s))) if np.isnan(completion_s).any() else len(taken)
    if n_known < 2:
        raise UserError("episode_s: hardly a task ends in an episode; raise it")
    taken, at_s = taken[:n_known], np.array([each.at_s for each in taken[:n_known]])
    near, allowed, fits = np.zeros((3, n_known, max(map(len, scheduler.near))))
    for index, each in enumerate(taken):
        count, near[index] = len(each.fits), each.agent
        near[index, :count] = scheduler.near[each.agent]
        allowed[index, :count], fits[index, :count] = each.allowed, each.fits
    ready, end = (np.sort(np.array(each)) for each in (log.ready_s, log.end_s_of))  # not-a-numbers come last
    return {
        "at_s": at_s,
        "completion_s": completion_s[:n_known],
        "in_system": (_passed_s(ready, at_s) - _passed_s(end, at_s)) / len(log.cluster),
        "nodes": np.stack([each.nodes for each in taken]),
        "agent": np.array([each.agent for each in taken]),
        "choice": np.array([each.choice for each in taken]),
        "near": near.astype(np.int64),
        "allowed": allowed.astype(bool),
        "fits": fits.astype(np.float32),
        "task": np.array([each.features for each in taken], np.float32),
        "linked": np.array(log.cluster.linked),
    }


def _passed_s(since_s: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """[n] sum over ascending times of what has passed since each at `at_s`, s; those that are still to come count 0."""
    count = np.searchsorted(since_s, at_s, side="right")
    return count * at_s - np.concatenate([[0.0], np.cumsum(np.nan_to_num(since_s))])[count]


def with_rewards(played: dict[str, np.ndarray], training: QTraining, usual: tuple[float, float]) -> dict[str, Tensor]:
    """The decisions of a run with `reward`, `discount` and `following`, as `Memory` takes them.

    Args:
        played: from `recorded`.
        training: `mixer`, `reward`, `gamma` and `lookahead_s` are read.
        usual: completion time, s, and tasks in the system per node that give no reward.
    """
    at_s, agent, gamma = played["at_s"], played["agent"], training.gamma
    everyone = np.arange(len(at_s))
    sequences = [everyone] if training.mixer == "qmix" else [np.flatnonzero(agent == i) for i in np.unique(agent)]
    following = np.full(len(at_s), -1)
    for order in sequences:
        later = np.searchsorted(at_s[order], at_s[order] + training.lookahead_s)
        later = np.maximum(later, np.arange(1, len(order) + 1))
        following[order[later < len(order)]] = order[later[later < len(order)]]
    known = following >= 0
    discount = np.where(known, gamma ** (at_s[following] - at_s), 0.0)
    held = -(np.diff(played["in_system"], append=played["in_system"][-1]) - usual[1] * np.diff(at_s, append=at_s[-1]))
    own = -(played["completion_s"] - usual[0]) / _COMPLETION_SCALE_S
    local = {"local": 1.0, "global": 0.0, "both": 0.5}[training.reward]
    reward = np.zeros(len(at_s))
    for weight, each, along in ((local, own, sequences), (1 - local, held, [everyone])):
        total = np.zeros(len(at_s))
        for order in along:
            total[order] = _discounted(each[order], at_s[order], gamma)
        reward += weight * np.where(known, total - discount * total[following], 0.0)
    arrays = {name: torch.from_numpy(each) for name, each in played.items() if name not in _OF_REWARDS}
    learned = {"reward": reward.astype(np.float32), "discount": discount.astype(np.float32), "following": following}
    return arrays | {name: torch.from_numpy(each) for name, each in learned.items()}


def _discounted(reward: np.ndarray, at_s: np.ndarray, gamma: float) -> np.ndarray:
    """[n] discounted sums of all rewards from each one on."""
    kept, total = gamma ** np.diff(at_s, append=at_s[-1]), reward.copy()
    for k in range(len(total) - 2, -1, -1):
        total[k] += kept[k] * total[k + 1]
    return total
