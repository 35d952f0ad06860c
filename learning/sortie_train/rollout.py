"""Experience of a batch of environments, one entry per decision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sortie_core.action import team_command
from sortie_core.beacons import Beacons
from sortie_core.delivery import MET, outstanding
from sortie_core.exploration import Exploration
from sortie_core.metrics import delivered_share
from sortie_core.state import WorldState
from sortie_expert.auction import auction
from sortie_expert.greedy import useful_amount
from sortie_sim.point_world import PointWorld
from sortie_train.losses import log_probability
from sortie_train.objectives import by_kind
from sortie_train.outlook import first_knowledge, outlook
from sortie_train.teacher import teach

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.demand_knowledge import DemandKnowledge
    from sortie_core.observation import Observation
    from sortie_policy.team_policy import Deliberation, Memory, Recalled, TeamPolicy
    from sortie_train.teacher import Lesson


@dataclass
class Rollout:
    """T decisions of B environments.

    Attributes:
        seen: observations, [T, B, ...] each.
        linked: [T, B, N, N] bool, or [T, B, rounds, N, N] by radio round.
        recalled: what agents had heard of each other, [T, B, ...] each.
        start: [B, N, F] state x before the first decision.
        fresh: [T, B] bool, an episode began with this decision, whose state is zero.
        choice: [T, B, N] int.
        lesson: what the teacher says of the first b environments, [T, b, ...] each; None where nothing is taught.
        drawn: [T, B, N, D] correction before its tanh.
        log_probability: [T, B, N].
        value: [T, B, N] cluster value before the decision; [T, B, N, R*] with one objective per resource kind.
        next_value: the same after it, of the same episode.
        reward: the same of the cluster's reward, the sum over the decision's ticks.
        ended, terminated: [T, B] bool.
        weight: [T, B, N] 1 for agents alive at the decision, else 0.
        terms: name -> mean reward per agent and decision.
        delivered: delivered shares of the episodes that ended.
        returned: what an agent earned on average in each of them.
    """

    seen: Observation
    linked: Tensor
    recalled: Recalled
    start: Tensor
    fresh: Tensor
    choice: Tensor
    lesson: Lesson | None
    drawn: Tensor
    log_probability: Tensor
    value: Tensor
    next_value: Tensor
    reward: Tensor
    ended: Tensor
    terminated: Tensor
    weight: Tensor
    terms: dict[str, float]
    delivered: list[float]
    returned: list[float]


class Collector:
    """Steps the environments with the current policy.

    Args:
        config: a whole configuration.
        bank: layouts [L, ...] from which episodes are drawn.
        assignment: [L, N] the expert's assignment of each layout.
        seed: of the draws.
        device: torch device.
    """

    def __init__(
        self, config: Config, bank: WorldState, assignment: np.ndarray, seed: int, device: str = "cpu"
    ) -> None:
        self.config, self.bank, self.device = config, bank, device
        self._bank_assignment = torch.as_tensor(assignment, device=device)
        self.memory: Memory | None = None
        self.random = torch.Generator(device).manual_seed(seed)
        self.beacons = Beacons(config, partial(torch.rand, generator=self.random, device=device))
        self.layouts = np.random.default_rng(seed)
        self.world = PointWorld(config, "torch", device)
        n_envs = config.train.n_envs
        self.taught = max(1, round(config.train.taught_share * n_envs))
        picked = self._pick(n_envs)
        self.world.restart(self._layout(picked))
        # Episodes that start together would end together; spread them over the mission time.
        offset = torch.rand(n_envs, generator=self.random, device=device) * config.duration_s
        self.world.state.time_s += torch.floor(offset / config.world.dt_s) * config.world.dt_s
        self.assignment = self._bank_assignment[picked]
        self.fresh = torch.ones(n_envs, dtype=torch.bool, device=device)
        self.earned = torch.zeros(n_envs, device=device)
        self.knowledge = first_knowledge(self.world.state, config)
        self.exploration = Exploration.beginning(self.world.state.position, config) if self.knowledge else None

    def _pick(self, count: int) -> np.ndarray:
        return self.layouts.integers(len(self.bank.time_s), size=count)

    def _layout(self, picked: np.ndarray) -> WorldState:
        return self.bank.map(lambda array: array[picked])

    @torch.no_grad()
    def collect(self, policy: TeamPolicy, guidance: float, taught: bool) -> Rollout:
        """One rollout of train.decisions_per_rollout decisions.

        Args:
            policy: acts by sampling.
            guidance: factor on the guidance term, 1 .. 0 over training.
            taught: a teacher judges the decisions.
        """
        if self.memory is None:
            self.memory = policy.initial_memory(self._look()[0], late=self.config.comm.latency_steps > 0)
        start, steps = self.memory.state, []
        sums: dict[str, float] = {}
        delivered: list[float] = []
        returned: list[float] = []
        for _ in range(self.config.train.decisions_per_rollout):
            step, terms = self._decide(policy, guidance)
            steps.append(step)
            delivered += step.pop("shares")
            returned += step.pop("returns")
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value / self.config.train.decisions_per_rollout
        everywhere = torch.ones_like(self.fresh)
        following = [step["value"] for step in steps[1:]] + [self._value(policy, self.memory, everywhere)]
        for step, value in zip(steps, following, strict=True):
            ended = step["ended"].view(-1, *[1] * (value.ndim - 1))
            step["next_value"] = torch.where(ended, step["next_value"], value)
        judged = [step.pop("judged") for step in steps]
        columns = {name: _stacked([step[name] for step in steps]) for name in steps[0]}
        lesson = teach(_stacked(judged), self.config) if taught else None
        return Rollout(start=start, lesson=lesson, terms=sums, delivered=delivered, returned=returned, **columns)

    def _decide(self, policy: TeamPolicy, guidance: float) -> tuple[dict, dict[str, float]]:
        seen, linked, self.knowledge = self._look()
        before = self.world.state
        if self.config.reward.guidance:
            self._reassign(before)
        out, memory, recalled = policy(seen, linked, self.memory)
        choice = self._sample(out.log_choice)
        noise = torch.randn(out.correction.shape, generator=self.random, device=self.device)
        drawn = out.correction + policy.log_std.exp() * noise
        reward, terms = self._play(choice, torch.tanh(drawn), before.alive, guidance)
        terminated, truncated = self._over
        ended = terminated | truncated
        next_value = torch.zeros_like(out.value)
        if ended.any():
            next_value[ended] = self._value(policy, memory, ended)
        weight, shared = before.alive.float(), self.config.train.cluster_value
        step = {
            "seen": seen,
            "linked": linked,
            "recalled": recalled,
            "fresh": self.fresh,
            "choice": choice,
            "judged": before.map(lambda values: values[: self.taught]),
            "drawn": drawn,
            "log_probability": log_probability(out.log_choice, choice, out.correction, policy.log_std, drawn),
            "value": _of_the_living(out.value, before.alive),
            "next_value": next_value,
            # Agents of a cluster share what they earn (this project's reading of LGTC-IPPO's cluster value).
            "reward": torch.einsum("bij,bj...->bi...", out.support, reward) if shared else reward,
            "ended": ended,
            "terminated": terminated,
            "weight": weight,
            "shares": delivered_share(self.world.state)[ended].tolist(),
            "returns": self._earn(terms, weight)[ended].tolist(),
        }
        self._restart(ended, memory)
        count = weight.sum().clamp(min=1.0)
        return step, {name: float((term * weight).sum() / count) for name, term in terms.items()}

    def _earn(self, terms: dict[str, Tensor], weight: Tensor) -> Tensor:
        """[B] what an agent has earned on average since its episode began."""
        earned = (torch.stack(list(terms.values())).sum(0) * weight).sum(-1) / weight.sum(-1).clamp(min=1.0)
        self.earned = self.earned + earned
        return self.earned

    def _value(self, policy: TeamPolicy, memory: Memory, where: Tensor) -> Tensor:
        """Cluster values of the environments of the mask as they are now; 0 for agents that have failed."""
        seen, linked, _ = self._look()
        here = memory.map(lambda values: values[where])
        value = policy(seen.map(lambda array: array[where]), linked[where], here)[0].value
        return _of_the_living(value, self.world.state.alive[where])

    def _look(self) -> tuple[Observation, Tensor, DemandKnowledge | None]:
        return outlook(self.world.state, self.world.graph()[1], self.knowledge, self.config, self.random)

    def _sample(self, log_choice: Tensor) -> Tensor:
        flat = log_choice.exp().flatten(0, -2)
        if not torch.isfinite(flat).all():
            raise FloatingPointError("the policy's choices are no longer finite")
        return torch.multinomial(flat, 1, generator=self.random).view(log_choice.shape[:-1])

    def _reassign(self, state: WorldState) -> None:
        """Agents that can bring nothing more where they were sent are guided to where the auction sends them."""
        useful = useful_amount(state.stock, outstanding(state, self.config))
        nowhere = torch.zeros_like(useful[..., :1])
        spent = torch.cat([useful, nowhere], -1).gather(-1, self.assignment[..., None]).squeeze(-1) <= MET
        self.assignment = torch.where(spent, auction(state, self.config), self.assignment)

    def _play(
        self, choice: Tensor, correction: Tensor, alive: Tensor, guidance: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The ticks of one decision; rewards after the end of an episode do not count."""
        total: dict[str, Tensor] = {}
        rewards = []
        running = torch.ones(len(alive), dtype=torch.bool, device=self.device)
        self._over = (~running, ~running)
        linked = self.world.graph()[1]
        for tick in range(self.config.policy.decision_steps):
            state = self.world.state
            neighbours = self.beacons.exchange(state, linked)
            if self.exploration and not tick:
                self.exploration = self.exploration.looked(state.position, neighbours, self.config)
            command = team_command(state, choice, neighbours, correction, self.config, self.exploration)
            result = self.world.step(command, self.assignment)
            linked = result.adjacency
            terms = {
                name: (guidance if name == "guidance" else 1.0) * term * running[:, None]
                for name, term in result.terms.items()
            }
            reward = torch.stack(list(terms.values())).sum(0)
            if self.config.train.algorithm == "momappo":
                reward = by_kind(state, result.state, reward, self.config) * running[:, None, None]
            rewards.append(reward)
            total = {name: total.get(name, 0.0) + term for name, term in terms.items()}
            self._over = tuple(
                was | (now & running)
                for was, now in zip(self._over, (result.terminated, result.truncated), strict=True)
            )
            running = running & ~result.done
        return torch.stack(rewards).sum(0), total

    def _restart(self, ended: Tensor, memory: Memory) -> None:
        picked = self._pick(int(ended.sum()))
        if len(picked):
            self.world.restart_where(ended, self._layout(picked))
            self.assignment = self.assignment.clone()
            self.assignment[ended] = self._bank_assignment[picked]
        self.memory = memory.cleared(ended)
        self.beacons.forget(ended)
        if self.knowledge:
            self.knowledge = self.knowledge.forgotten(ended)
        if self.exploration:
            self.exploration = self.exploration.forgotten(ended)
        self.fresh = ended
        self.earned = torch.where(ended, 0.0, self.earned)

    def snapshot(self) -> dict[str, Any]:
        """Everything that `collect` changes, to go on from."""
        return {
            "random": self.random.get_state(),
            "layouts": self.layouts.bit_generator.state,
            "world": vars(self.world.state),
            "assignment": self.assignment,
            "memory": self.memory,
            "beacons": (self.beacons.flying, self.beacons.last),
            "knowledge": self.knowledge,
            "exploration": self.exploration,
            "fresh": self.fresh,
            "earned": self.earned,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.random.set_state(saved["random"])
        self.layouts.bit_generator.state = saved["layouts"]
        self.world.restart(WorldState(**saved["world"]))
        self.assignment, self.memory, self.fresh = saved["assignment"], saved["memory"], saved["fresh"]
        self.beacons.flying, self.beacons.last = saved["beacons"]
        self.knowledge, self.exploration = saved["knowledge"], saved["exploration"]
        self.earned = saved["earned"]


def _of_the_living(value: Tensor, alive: Tensor) -> Tensor:
    """Values [B, N, ...] without those of agents that earn nothing any more, which nothing is fitted to."""
    return value * alive.view(*alive.shape, *[1] * (value.ndim - alive.ndim))


def replay(policy: TeamPolicy, rollout: Rollout, envs: Tensor) -> Deliberation:
    """The policy's outcome over a rollout of some environments, differentiable through its recurrence.

    Perception does not read the state, so that it runs on all decisions at once; only the cell goes step by step.

    Args:
        policy: the policy.
        rollout: T decisions.
        envs: [b] indices of environments.

    Returns:
        A `Deliberation` with leading axes [T, b].
    """
    steps, count = rollout.choice.shape[0], len(envs)

    def flat(array: Tensor) -> Tensor:
        return array[:, envs].flatten(0, 1)

    perception, _, _ = policy.perceive(rollout.seen.map(flat), flat(rollout.linked), None, rollout.recalled.map(flat))
    by_step = perception.map(lambda array: array.unflatten(0, (steps, count)))
    state, states = rollout.start[envs], []
    for t in range(steps):
        state = torch.where(rollout.fresh[t, envs, None, None], 0.0, state)
        state = policy.remember(by_step.map(itemgetter(t)), state)
        states.append(state)
    out = policy.outcome(perception, torch.stack(states).flatten(0, 1))
    return out.map(lambda array: array.unflatten(0, (steps, count)))


def _stacked(values: list[Any]) -> Any:
    """Tensors, dataclasses of tensors, or None, stacked along a new first axis."""
    first = values[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.stack(values)
    return type(first)(**{name: _stacked([getattr(value, name) for value in values]) for name in vars(first)})
