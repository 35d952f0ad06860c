"""The point world as a PettingZoo environment, for outside algorithms and for PettingZoo's own contract tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box
from pettingzoo import ParallelEnv

from sortie_core.observation import consumer_size, observe, own_size
from sortie_sim.point_world import PointWorld

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import Array


class DeliveryEnv(ParallelEnv[str, np.ndarray, np.ndarray]):
    """One mission with the parallel API; agents are ``drone_0`` to ``drone_<N-1>``.

    An action is a velocity command in [-1, 1]^D times world.max_speed_mps. An observation is one flat vector: what the
    drone knows of itself, every consumer with its need and whether it may be chosen, and for every other drone its
    relative position, relative velocity, stock and 1 where it is in radio range, all 0 where it is not. A failed drone
    is terminated.

    Args:
        config: a whole configuration; world.backend is not read.
    """

    metadata = {"name": "sortie_delivery", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(self, config: Config) -> None:
        """Make the spaces; `reset` makes the mission."""
        self.config = config
        self.possible_agents = [f"drone_{index}" for index in range(config.team.n_agents)]
        self.agents: list[str] = []
        self._world = PointWorld(config, namespace="numpy")
        self._seeds = np.random.default_rng(config.seed)
        dimensions, most = config.task.dimensions, config.policy.max_resources
        size = own_size(dimensions, most)
        size += config.task.n_consumers * (consumer_size(dimensions, most) + 1)
        size += (config.team.n_agents - 1) * (2 * dimensions + most + 1)
        self.observation_spaces = {
            agent: Box(-np.inf, np.inf, shape=(size,), dtype=np.float32) for agent in self.possible_agents
        }
        self.action_spaces = {
            agent: Box(-1.0, 1.0, shape=(dimensions,), dtype=np.float32) for agent in self.possible_agents
        }

    def observation_space(self, agent: str) -> Box:
        """The space of one agent's observations, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        """The space of one agent's actions, always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Begin a mission.

        Args:
            seed: of the layout, and of the layouts of later resets without a seed.
            options: not read.

        Raises:
            UserError: drones or consumers do not fit into the arena.
        """
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        self._world.reset([int(self._seeds.integers(2**31)) if seed is None else seed])
        self.agents = list(self.possible_agents)
        _, linked, _ = self._world.graph()
        return self._observations(linked), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[
        dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:
        """Advance by world.dt_s; the reward terms are in the infos under "reward_terms"."""
        command = np.zeros((1, len(self.possible_agents), self.config.task.dimensions), dtype=np.float32)
        for agent, action in actions.items():
            command[0, self._index(agent)] = np.clip(action, -1.0, 1.0) * self.config.world.max_speed_mps
        result = self._world.step(command)
        observations = self._observations(result.adjacency)
        terminated, truncated = bool(result.terminated[0]), bool(result.truncated[0])
        alive, reward = result.state.alive[0], result.reward[0]

        agents, self.agents = self.agents, []
        rewards, terminations, infos = {}, {}, {}
        for agent in agents:
            index = self._index(agent)
            rewards[agent] = float(reward[index])
            terminations[agent] = terminated or not bool(alive[index])
            infos[agent] = {"reward_terms": {name: float(term[0, index]) for name, term in result.terms.items()}}
            if not (terminations[agent] or truncated):
                self.agents.append(agent)
        return observations, rewards, terminations, dict.fromkeys(agents, truncated), infos

    def _observations(self, linked: Array) -> dict[str, np.ndarray]:
        """The flat observation of every agent that has not left; `linked` is [1, N, N] bool."""
        state = self._world.state
        seen = observe(state, self.config)
        consumers = np.concatenate([seen.consumers[0], seen.consumer_mask[0][:, None]], axis=1).ravel()
        relative = [values[0][None] - values[0][:, None] for values in (seen.position, seen.velocity)]
        stock = np.broadcast_to(seen.stock[0][None], (*linked.shape[1:], seen.stock.shape[2]))
        known = linked[0][:, :, None].astype(np.float32)
        others = np.concatenate([*relative, stock, np.ones_like(known)], axis=2) * known
        return {agent: self._flat(self._index(agent), seen.own[0], consumers, others) for agent in self.agents}

    @staticmethod
    def _flat(index: int, own: Array, consumers: Array, others: Array) -> np.ndarray:
        rest = np.delete(others[index], index, axis=0).ravel()
        return np.concatenate([own[index], consumers, rest], dtype=np.float32)

    def _index(self, agent: str) -> int:
        return self.possible_agents.index(agent)
