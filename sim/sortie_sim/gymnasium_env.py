"""The point world as Gymnasium environments: one mission, or many stepped together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gymnasium import Env, register
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from sortie_core.config import UserError
from sortie_sim.flat_observation import flat_bound
from sortie_sim.learner_world import ActionKind, LearnerWorld

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sortie_core.config import Config

View = Literal["team", "drone"]
"""Who the learner is.

team: all drones of a mission together, [N, F] observations, one action for each drone; the reward is the drones' mean.
drone: each drone for itself, so that B missions are B x N environments whose learners share their parameters. A mission
    ends for all of its drones at once; one that fails earns nothing from then on.
"""


def observation_space(config: Config) -> Box:
    """The space of one drone's `flat_observation`."""
    bound = flat_bound(config)
    return Box(-bound, bound, dtype=np.float32)


def action_space(config: Config, action: ActionKind) -> Space:
    """The space of one drone's actions."""
    if action == "choice":
        return Discrete(config.task.n_consumers + 1)
    return Box(-1.0, 1.0, shape=(config.task.dimensions,), dtype=np.float32)


class DeliveryTeamEnv(Env[np.ndarray, np.ndarray]):
    """One mission with the whole team as one agent.

    Observations are [N, F], see `flat_observation`; actions are one for each drone, see `ActionKind`; the reward is the
    mean over drones. The infos hold the delivered share and, after a step, the means of the reward terms.
    ``gymnasium.make("sortie_sim.gymnasium_env:sortie/Delivery-v0", config=config)`` makes one as well.

    Args:
        config: a whole configuration; world.backend is not read.
        action: the kind of actions.

    Raises:
        UserError: as for `LearnerWorld`.
    """

    metadata = {"render_modes": []}

    def __init__(self, config: Config, action: ActionKind = "velocity") -> None:
        """Make the spaces; `reset` makes the mission."""
        self._world = LearnerWorld(config, 1, action)
        n_agents = config.team.n_agents
        self.observation_space = batch_space(observation_space(config), n_agents)
        self.action_space = batch_space(action_space(config, action), n_agents)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a mission.

        Args:
            seed: of the layout, and of the layouts of later resets without a seed.
            options: not read.

        Raises:
            UserError: drones or consumers do not fit into the arena.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._world.seed(seed)
        self._world.reset(seeds=None if seed is None else [seed])
        return self._world.observe()[0], {"delivered": float(self._world.delivered[0])}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Let the team act."""
        turn = self._world.step(np.asarray(action)[None])
        info = {"delivered": float(self._world.delivered[0])}
        info |= {name: float(term.mean()) for name, term in turn.terms.items()}
        ends = bool(turn.terminated[0]), bool(turn.truncated[0])
        return self._world.observe()[0], float(turn.reward.mean()), *ends, info


class DeliveryVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Missions stepped together; those that end begin anew in the same step.

    The infos hold ``delivered``, the delivered share of each environment's mission so far; where missions ended,
    ``final_obs`` and ``final_info`` hold the last observations and shares, as Gymnasium's own vector environments give
    them.

    Args:
        config: a whole configuration; world.backend is not read.
        n_missions: B.
        action: the kind of actions.
        view: who the learner is.

    Raises:
        UserError: no such view, or as for `LearnerWorld`.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, config: Config, n_missions: int, action: ActionKind = "velocity", view: View = "team") -> None:
        """Make the spaces; `reset` makes the missions."""
        if view not in ("team", "drone"):
            raise UserError(f"view {view!r} is neither team nor drone")
        self._world = LearnerWorld(config, n_missions, action)
        self._n_agents, self._by_drone = config.team.n_agents, view == "drone"
        self.num_envs = n_missions * (self._n_agents if self._by_drone else 1)
        observed: Space = observation_space(config)
        acted = action_space(config, action)
        if not self._by_drone:
            observed, acted = (batch_space(space, self._n_agents) for space in (observed, acted))
        self.single_observation_space, self.single_action_space = observed, acted
        self.observation_space, self.action_space = (batch_space(space, self.num_envs) for space in (observed, acted))

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all missions.

        Args:
            seed: of the layouts, the first and those of later missions; or the layout of each mission, one by one, as
                in `sortie_core.layout`.
            options: not read.

        Raises:
            UserError: not one layout per mission, or drones or consumers do not fit into the arena.
        """
        if seed is None or isinstance(seed, int):
            super().reset(seed=seed)
            if seed is not None:
                self._world.seed(seed)
            self._world.reset()
        else:
            self._world.reset(seeds=seed)
        return self._observations(), {"delivered": self._each(self._world.delivered)}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Let all agents act."""
        turn = self._world.step(np.reshape(actions, self._world.idle().shape))
        over, alive = turn.terminated | turn.truncated, self._world.state.alive
        infos: dict[str, Any] = {}
        if over.any():
            infos = self._finals(self._each(over))
            self._world.reset(over)
        infos["delivered"] = self._each(self._world.delivered)
        if not self._by_drone:
            return self._observations(), turn.reward.mean(axis=1), turn.terminated, turn.truncated, infos
        # Nothing is to come for a drone that has failed, also where the others only ran out of time.
        truncated = (turn.truncated[:, None] & alive).ravel()
        return self._observations(), turn.reward.ravel(), self._each(over) & ~truncated, truncated, infos

    def _finals(self, over: np.ndarray) -> dict[str, Any]:
        """The infos of the environments [num_envs] bool that are over, before they begin anew."""
        final = np.full(self.num_envs, None, dtype=object)
        last = self._observations()
        for index in np.flatnonzero(over):
            final[index] = last[index]
        shares = {"delivered": self._each(self._world.delivered), "_delivered": over}
        return {"final_obs": final, "_final_obs": over, "final_info": shares, "_final_info": over}

    def _observations(self) -> np.ndarray:
        observed = self._world.observe()
        return observed.reshape(self.num_envs, -1) if self._by_drone else observed

    def _each(self, values: np.ndarray) -> np.ndarray:
        """[num_envs] of [B], copied."""
        return np.repeat(values, self._n_agents if self._by_drone else 1)


register("sortie/Delivery-v0", entry_point="sortie_sim.gymnasium_env:DeliveryTeamEnv")
