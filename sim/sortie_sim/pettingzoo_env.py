"""The point world as a PettingZoo environment, for outside algorithms and for PettingZoo's own contract tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pettingzoo import ParallelEnv

from sortie_sim.gymnasium_env import action_space, observation_space
from sortie_sim.learner_world import ActionKind, LearnerWorld

if TYPE_CHECKING:
    from gymnasium.spaces import Space

    from sortie_core.config import Config

_Ends = dict[str, bool]


class DeliveryEnv(ParallelEnv[str, np.ndarray, np.ndarray]):
    """One mission with the parallel API; agents are ``drone_0`` to ``drone_<N-1>``.

    Observations are those of `flat_observation`. A failed drone is terminated.

    Args:
        config: a whole configuration; world.backend is not read.
        action: the kind of actions.

    Raises:
        UserError: as for `LearnerWorld`.
    """

    metadata = {"name": "sortie_delivery", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(self, config: Config, action: ActionKind = "velocity") -> None:
        """Make the spaces; `reset` makes the mission."""
        self.config = config
        self.possible_agents = [f"drone_{index}" for index in range(config.team.n_agents)]
        self.agents: list[str] = []
        self._world = LearnerWorld(config, 1, action)
        self.observation_spaces = {agent: observation_space(config) for agent in self.possible_agents}
        self.action_spaces = {agent: action_space(config, action) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> Space:
        """The space of one agent's observations, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
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
            self._world.seed(seed)
        self._world.reset(seeds=None if seed is None else [seed])
        self.agents = list(self.possible_agents)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], _Ends, _Ends, dict[str, dict[str, Any]]]:
        """Let the agents act; the reward terms are in the infos under "reward_terms"."""
        team = self._world.idle()
        for agent, action in actions.items():
            if np.shape(action) != team.shape[2:]:
                raise ValueError(f"the action of {agent} must be of shape {team.shape[2:]}, not {np.shape(action)}")
            team[0, self._index(agent)] = action
        turn = self._world.step(team)
        observations = self._observations()
        terminated, truncated = bool(turn.terminated[0]), bool(turn.truncated[0])
        alive, reward = self._world.state.alive[0], turn.reward[0]

        agents, self.agents = self.agents, []
        rewards, terminations, infos = {}, {}, {}
        for agent in agents:
            index = self._index(agent)
            rewards[agent] = float(reward[index])
            terminations[agent] = terminated or not bool(alive[index])
            infos[agent] = {"reward_terms": {name: float(term[0, index]) for name, term in turn.terms.items()}}
            if not (terminations[agent] or truncated):
                self.agents.append(agent)
        return observations, rewards, terminations, dict.fromkeys(agents, truncated), infos

    def _observations(self) -> dict[str, np.ndarray]:
        """The observation of every agent that has not left."""
        team = self._world.observe()[0]
        return {agent: team[self._index(agent)] for agent in self.agents}

    def _index(self, agent: str) -> int:
        return self.possible_agents.index(agent)
